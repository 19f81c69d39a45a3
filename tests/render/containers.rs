//! A host of containers, looked at as a whole.

use std::time::Duration;

use closewatch::diagnosis::finding::{Confidence, Rule, Severity, Subject};
use closewatch::model::process::ContainerRuntime;
use closewatch::model::snapshot::{Gap, Hides, NetNs, SourceKind, Usage};
use closewatch::model::socket::NetNsIndex;
use closewatch::model::state::{StateCounts, TcpState};

use crate::builder::{Story, empty_host};
use crate::stories::plain_finding;

/// Six namespaces: the host's, one of `ip netns`, a pod, a container without a pod, a service that is cut off and holds
/// nothing, and one that could only be read from outside.
pub(crate) fn containers() -> Story {
    let mut story = empty_host();
    story.process(
        "sshd",
        611,
        Some("ssh.service"),
        &[("system", TcpState::Listen, 2), ("system", TcpState::Established, 3)],
    );
    story.enter(named("blue", 4_026_532_281), Duration::from_micros(2_310));
    story.process(
        "telegraf",
        1_204,
        None,
        &[("ephemeral", TcpState::CloseWait, 4), ("ephemeral", TcpState::TimeWait, 9)],
    );
    let pod = NetNs {
        container: Some("4c01db0b339c4b8a9c8d1e0f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d".into()),
        runtime: Some(ContainerRuntime::Containerd),
        pod: Some("1a2b3c4d-0102-4a5b-8c9d-00aa11bb22cc".into()),
        unit: Some("cri-containerd-4c01db0b339c4b8a9c8d1e0f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d.scope".into()),
        ..named("pod 1a2b3c4d", 4_026_532_360)
    };
    story.enter(pod, Duration::from_micros(12_840)).conntrack = Some(Usage { used: 41, limit: 262_144 });
    story.process("java", 5_120, None, &[("ephemeral", TcpState::Established, 240), ("user", TcpState::Listen, 1)]);
    let web = NetNs {
        container: Some("9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0".into()),
        runtime: Some(ContainerRuntime::Docker),
        unit: Some("docker-9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0.scope".into()),
        ..named("9f8e7d6c5b4a", 4_026_532_441)
    };
    story.enter(web, Duration::from_micros(1_150));
    story.process("nginx", 7_733, None, &[("system", TcpState::Listen, 1)]);
    let cut_off = NetNs { unit: Some("upower.service".into()), ..named("upower.service", 4_026_532_500) };
    story.enter(cut_off, Duration::from_micros(480));
    let closed = story.enter(NetNs { inode: None, ..named("pid 8120", 0) }, Duration::from_micros(3_900));
    closed.ports.range = None;
    closed.ports.reserved = None;
    closed.conntrack = None;
    closed.source = SourceKind::ProcText;
    story.process("app", 8_120, None, &[("user", TcpState::Established, 2)]);
    let why = "read through a process, since it could not be entered: operation not permitted; needs CAP_SYS_ADMIN";
    story.snapshot.gaps.push(Gap {
        what: "the ephemeral port range and the other settings for ports in namespace pid 8120".into(),
        why: why.into(),
        hides: Hides::Ports,
        count: 1,
    });
    let subject = Subject::Namespace(NetNsIndex(5));
    let summary = "the ports of namespace pid 8120 are not known".to_owned();
    story.findings = vec![plain_finding(Rule::Coverage, Severity::Unknown, Confidence::Certain, subject, &summary)];
    story.headline = summary;
    story
}

fn named(name: &str, inode: u64) -> NetNs {
    NetNs { inode: Some(inode), name: name.into(), ..NetNs::default() }
}

impl Story {
    /// Adds a namespace like the first; what follows happens there.
    fn enter(&mut self, id: NetNs, took: Duration) -> &mut closewatch::model::snapshot::Namespace {
        let mut namespace = self.snapshot.namespaces[0].clone();
        namespace.id = id;
        namespace.took = took;
        namespace.conntrack = namespace.conntrack.map(|usage| Usage { used: 0, ..usage });
        self.snapshot.namespaces.push(namespace);
        self.census.namespaces.push(StateCounts::default());
        self.netns = NetNsIndex(self.netns.0 + 1);
        self.snapshot.namespaces.last_mut().expect("just pushed")
    }
}
