//! Leaks of processes that the user of a monitoring system may not look into: told by user and unit.

use std::time::Duration;

use closewatch::attribution::Unresolved;
use closewatch::census::age::Age;
use closewatch::census::{CloseWaitCensus, StrangerCensus, UnreadCensus};
use closewatch::diagnosis::finding::{Confidence, Rule, Severity, Subject};
use closewatch::model::process::{ContainerRuntime, Placement};
use closewatch::model::snapshot::{Cgroup, CgroupIndex, Gap, Hides};
use closewatch::model::socket::CgroupId;
use closewatch::model::state::TcpState;

use crate::builder::{NS, Story, empty_host, endpoint};
use crate::stories::plain_finding;

/// One user in two units, a unit with a hostile name, a container, and a cgroup that is nothing's.
pub(crate) fn hidden() -> Story {
    let mut story = empty_host();
    story.process("zabbix_agentd", 611, Some("zabbix-agent.service"), &[("system", TcpState::Listen, 1)]);
    let unit = |unit: &str| Placement { unit: Some(unit.into()), ..Placement::default() };
    let id = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0";
    let container = Placement {
        container: Some(id.into()),
        runtime: Some(ContainerRuntime::Docker),
        ..unit(&format!("docker-{id}.scope"))
    };
    story.leak(998, Some(unit("telegraf.service")), 12_040);
    story.leak(998, Some(unit("collector@eu-1.service")), 700);
    story.leak(0, Some(unit("evil\u{1b}[2J\"\\.service")), 40);
    story.leak(0, Some(container), 25);
    story.leak(0, None, 12);
    story.snapshot.gaps.push(Gap {
        what: "descriptors of 212 processes (pids 1, 2, 7, 9, …)".into(),
        why: "permission denied; reading another user's process needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".into(),
        hides: Hides::Owners,
        count: 212,
    });
    let summary = "processes of user 998 in telegraf.service that could not be seen hold 12,040 sockets in CLOSE-WAIT";
    story.headline = summary.to_owned();
    let (rule, subject) = (Rule::CloseWaitLeak, Subject::Namespace(NS));
    story.findings = vec![plain_finding(rule, Severity::Critical, Confidence::Likely, subject, summary)];
    story
}

impl Story {
    /// So many stuck sockets that a process of the user has, and that were made there.
    fn leak(&mut self, uid: u32, placement: Option<Placement>, count: u64) {
        let nth = self.snapshot.cgroups.len() as u32;
        let place = placement.as_ref().map(|_| CgroupIndex(nth));
        let id = CgroupId::new(4_000 + u64::from(nth)).expect("not 0");
        self.snapshot.cgroups.extend(placement.map(|placement| Cgroup { id, placement }));
        self.unowned(TcpState::CloseWait, count);
        let oldest = Age { at_least: Duration::from_secs(7_200), at_most: None, exact: false };
        self.census.strangers.push(StrangerCensus {
            netns: NS,
            uid: Some(uid),
            place,
            reason: Unresolved::NoHolderSeen,
            close_wait: CloseWaitCensus {
                count,
                stuck: count,
                oldest: Some(oldest),
                eof_read: count,
                destinations: vec![(endpoint("10.0.3.7:8086"), count)],
                ..CloseWaitCensus::default()
            },
            unread: UnreadCensus::default(),
        });
    }
}
