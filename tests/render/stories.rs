//! Reports made by hand. Each tells a story that a reader must be able to read off the page.

use std::path::PathBuf;
use std::time::Duration;

use closewatch::attribution::Unresolved;
use closewatch::census::age::Age;
use closewatch::census::pools::{BindPool, Doubt, DoubtReason};
use closewatch::census::{CloseWaitCensus, Direction, PeerCensus, StrangerCensus, UnreadCensus};
use closewatch::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use closewatch::model::process::ProcessIndex;
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{Gap, Hides, HostLimits, ProcessScan, SourceKind};
use closewatch::model::state::{StateMask, TcpState};

use crate::builder::{DAY, NS, Story, address, empty_host, endpoint, query, states};

fn leak_finding(process: ProcessIndex) -> Finding {
    let remedy =
        |when, text: &str, command: Option<&str>| Remedy { when, text: text.into(), command: command.map(Into::into) };
    Finding {
        rule: Rule::CloseWaitLeak,
        severity: Severity::Critical,
        confidence: Confidence::Certain,
        subject: Subject::Process(process),
        summary: "telegraf[1234] (telegraf.service) holds 27,905 sockets to 10.0.3.7:8086 in CLOSE-WAIT, the oldest \
                  for at least 21 days."
            .into(),
        details: vec![
            "The peer closed; telegraf never read the end of file: response bodies are not closed (1,075 bytes unread \
             on each)."
                .into(),
        ],
        evidence: vec![
            Evidence {
                name: "close_wait_stuck",
                observed: Some(27_905.0),
                threshold: Some(1000.0),
                unit: Unit::Sockets,
            },
            Evidence { name: "oldest_at_least", observed: Some(1_814_400.0), threshold: None, unit: Unit::Seconds },
        ],
        remedies: vec![
            remedy(
                When::Now,
                "restart telegraf.service to free ports and descriptors; the leak starts again",
                Some("systemctl restart telegraf.service"),
            ),
            remedy(When::Fix, "Go: `defer resp.Body.Close()` after the error check, for every response", None),
        ],
        will_not_help: vec![
            "tcp_fin_timeout and tcp_tw_reuse do not touch CLOSE-WAIT; a wider range only delays it (8 listeners are \
             in the way)"
                .into(),
        ],
    }
}

pub(crate) fn plain_finding(
    rule: Rule,
    severity: Severity,
    confidence: Confidence,
    subject: Subject,
    summary: &str,
) -> Finding {
    Finding {
        rule,
        severity,
        confidence,
        subject,
        summary: summary.into(),
        details: Vec::new(),
        evidence: vec![Evidence { name: "share", observed: Some(0.9887), threshold: Some(0.8), unit: Unit::Ratio }],
        remedies: Vec::new(),
        will_not_help: Vec::new(),
    }
}

/// A metrics agent has leaked 27,905 connections to its database; 320 ports are left.
pub(crate) fn telegraf() -> Story {
    use TcpState::{CloseWait, Established, FinWait2, Listen, SynSent, TimeWait};
    let mut story = empty_host();
    let telegraf = story.process(
        "telegraf",
        1234,
        Some("telegraf.service"),
        &[("ephemeral", CloseWait, 27_905), ("ephemeral", Established, 14)],
    );
    let row = &mut story.census.processes[0].close_wait;
    row.stuck = 27_904;
    row.maybe_stuck = 1;
    row.oldest = Some(Age { at_least: 21 * DAY, at_most: Some(22 * DAY), exact: false });
    (row.eof_unread, row.eof_read) = (27_905, 0);
    (row.with_unread_bytes, row.unread_bytes) = (27_905, 27_905 * 1075);
    row.destinations = vec![(endpoint("10.0.3.7:8086"), 27_905)];
    let api = story.process(
        "api-server",
        40_221,
        Some("docker-8f2a.scope"),
        &[("user", Listen, 2), ("user", Established, 410), ("ephemeral", Established, 61), ("ephemeral", CloseWait, 6)],
    );
    story.census.processes[1].close_wait.oldest =
        Some(Age { at_least: Duration::from_secs(41), at_most: None, exact: true });
    story.snapshot.processes[1].placement.as_mut().expect("placed").container =
        Some("8f2ab6c0d1e24f35a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f80910111".into());
    let nginx =
        story.process("nginx", 811, Some("nginx.service"), &[("system", Listen, 4), ("system", Established, 212)]);
    for nth in 0..10 {
        let name = format!("worker-{nth}");
        story.process(
            &name,
            5000 + nth,
            Some("workers.service"),
            &[("ephemeral", Established, 11), ("user", Listen, 1)],
        );
    }
    story.process("dialer", 6001, Some("dialer.service"), &[("ephemeral", SynSent, 3)]);
    story.unowned(TimeWait, 96);
    story.unowned(FinWait2, 3);
    story.census.unowned.close_wait = 0;
    add_pools_and_listeners(&mut story, [telegraf, api, nginx]);
    story.snapshot.gaps.push(Gap {
        what: "descriptors of 2 processes".into(),
        why: "permission denied; needs CAP_SYS_PTRACE".into(),
        hides: Hides::Owners,
        count: 2,
    });
    story.headline = "ports from 10.0.0.5 to 10.0.3.7:8086 are nearly gone: 27,912 of 28,232 used, 320 left".into();
    story.findings = telegraf_findings(telegraf);
    story
}

fn add_pools_and_listeners(story: &mut Story, [telegraf, api, nginx]: [ProcessIndex; 3]) {
    use TcpState::{CloseWait, Established, TimeWait};
    let pool = story.pool("10.0.0.5", "10.0.3.7:8086", 27_912, 22);
    pool.states = states(&[(CloseWait, 27_905), (TimeWait, 7)]);
    pool.holders = vec![(telegraf, 27_905)];
    story.pool("10.0.0.5", "10.0.4.4:5432", 61, 0).holders = vec![(api, 61)];
    story.pool("2001:db8:10:20:30:40:50:60", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:443", 12, 0);
    for nth in 1..=12 {
        story.pool("10.0.0.5", &format!("10.0.9.{nth}:6379"), 20 - nth, 0);
    }
    story.listener("0.0.0.0:443", 3, nginx);
    story.listener("127.0.0.1:9100", 0, api).in_ephemeral_range = false;
    story.listener("[::]:40000", 0, api).in_ephemeral_range = true;
    story.census.bind_pools.push(BindPool {
        netns: NS,
        address: address("10.0.0.5"),
        usable: 28_232,
        used: 27_990,
        remaining: 242,
        remaining_at_least: 242,
        doubts: Vec::new(),
    });
    story.census.peers.push(PeerCensus {
        netns: NS,
        direction: Direction::Inbound,
        address: address("192.0.2.77"),
        port: 443,
        states: states(&[(Established, 212)]),
        holders_unseen: 0,
        holders: vec![(nginx, 212)],
    });
}

fn telegraf_findings(telegraf: ProcessIndex) -> Vec<Finding> {
    let pool = Subject::PortPool { netns: NS, source: address("10.0.0.5"), destination: endpoint("10.0.3.7:8086") };
    vec![
        leak_finding(telegraf),
        plain_finding(
            Rule::PortPool,
            Severity::Critical,
            Confidence::Certain,
            pool,
            "98.9 % of the ports from 10.0.0.5 to 10.0.3.7:8086 are used, 320 are left; connect() itself is slow from \
             50 % on.",
        ),
        plain_finding(
            Rule::ConnectUnanswered,
            Severity::Warning,
            Confidence::Likely,
            Subject::Peer { netns: NS, direction: Direction::Outbound, endpoint: endpoint("10.0.8.8:9000") },
            "10.0.8.8:9000 does not answer 3 connection attempts.",
        ),
        plain_finding(
            Rule::RangeConflict,
            Severity::Info,
            Confidence::Certain,
            Subject::Namespace(NS),
            "1 listener lies inside the ephemeral range 32768–60999: [::]:40000.",
        ),
    ]
}

/// Nothing is wrong.
pub(crate) fn quiet() -> Story {
    use TcpState::{Established, Listen, TimeWait};
    let mut story = empty_host();
    let sshd = story.process("sshd", 700, Some("ssh.service"), &[("system", Listen, 2), ("system", Established, 1)]);
    story.unowned(TimeWait, 4);
    story.pool("10.0.0.5", "10.0.4.4:5432", 3, 0);
    story.listener("0.0.0.0:22", 0, sshd);
    story.headline = "no leak and no shortage: 7 sockets, none of them in CLOSE-WAIT".into();
    story
}

/// The leak of [`telegraf`], seen by somebody who may not look into other people's processes, through /proc/net/tcp.
pub(crate) fn unprivileged() -> Story {
    use TcpState::{CloseWait, Established};
    let mut story = empty_host();
    let mine = story.process("bash", 9000, None, &[("ephemeral", Established, 1)]);
    story.snapshot.processes[0].exe = None;
    story.snapshot.processes[0].fds_limit = None;
    story.snapshot.processes[0].placement = None;
    story.unowned(CloseWait, 27_905);
    story.unowned(Established, 300);
    story.census.unowned.close_wait_not_accepted = 5;
    story.census.strangers.push(StrangerCensus {
        netns: NS,
        uid: Some(990),
        place: None,
        reason: Unresolved::NoHolderSeen,
        close_wait: CloseWaitCensus {
            count: 27_900,
            age_unknown: 27_900,
            eof_unread: 27_900,
            with_unread_bytes: 27_900,
            unread_bytes: 27_900 * 1075,
            unread_least: 1075,
            unread_most: 1075,
            destinations: vec![(endpoint("10.0.3.7:8086"), 27_900)],
            ..CloseWaitCensus::default()
        },
        unread: UnreadCensus::default(),
    });
    story.pool("10.0.0.5", "10.0.3.7:8086", 27_905, 0).holders = vec![(mine, 1)];
    story.snapshot.source = SourceKind::ProcText;
    story.snapshot.namespaces[0].conntrack = None;
    story.snapshot.namespaces[0].id.inode = None;
    story.snapshot.namespaces[0].ports.reserved = None;
    story.snapshot.limits = HostLimits::default();
    story.snapshot.host.boot_id = None;
    let gap = |what: &str, why: &str, hides, count| Gap { what: what.into(), why: why.into(), hides, count };
    story.snapshot.gaps = vec![
        gap("sockets that are bound and nothing else", "/proc/net/tcp does not list them", Hides::Ports, 1),
        gap("ages of 27,905 sockets", "/proc/net/tcp has no clocks", Hides::Ages, 27_905),
        gap("descriptors of 212 processes", "permission denied; needs CAP_SYS_PTRACE", Hides::Owners, 212),
        gap("reserved ports", "permission denied", Hides::Ports, 1),
    ];
    story.headline = "27,905 sockets are in CLOSE-WAIT; who holds them and for how long could not be seen".into();
    story.findings = vec![Finding {
        remedies: vec![Remedy {
            when: When::Now,
            text: "look again as root, or give the program the capability".into(),
            command: Some("sudo closewatch report".into()),
        }],
        ..plain_finding(
            Rule::Coverage,
            Severity::Unknown,
            Confidence::Certain,
            Subject::Host,
            "The descriptors of 212 processes were not seen, and netlink was refused: a leak cannot be told from \
             traffic.",
        )
    }];
    story
}

/// Names that try to repaint the screen, wide characters, long addresses, a filter.
pub(crate) fn hostile() -> Story {
    use TcpState::{CloseWait, Established, Listen};
    let mut story = empty_host();
    let first = story.process(") \u{1b}[31m\n", 66, Some("evil\u{202e}.service"), &[("ephemeral", CloseWait, 12)]);
    story.snapshot.processes[0].exe = Some(PathBuf::from("/tmp/\u{9b}2J\\x (deleted)"));
    story.snapshot.processes[0].user = Some("mallory\u{7}".into());
    story.snapshot.processes[0].placement.as_mut().expect("placed").container = Some("pod\u{200b}-x".into());
    story.census.processes[0].close_wait.age_unknown = 12;
    let wide = story.process("日本語サーバー", 67, None, &[("ephemeral", Established, 3), ("user", Listen, 1)]);
    story.snapshot.processes[1].fds_limit = Some(u64::MAX);
    story.snapshot.processes[1].user = None;
    for (to, used) in [("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535", 28_232), ("[fe80::1]:80", 3)] {
        let pool = story.pool("2001:db8:1111:2222:3333:4444:5555:6666", to, used, 0);
        pool.holders = vec![(wide, 3), (first, 1)];
        pool.interface = if used == 3 { 2 } else { 0 };
    }
    story.listener("[2001:db8:1111:2222:3333:4444:5555:6666]:8443", 9, first).close_wait_not_accepted = 2;
    story.snapshot.namespaces[0].id.name = "blue\u{1b}c".into();
    story.snapshot.host.name = Some("host\u{1b}]0;x\u{7}".into());
    story.snapshot.gaps.push(Gap {
        what: "the process \u{1b}[2J".into(),
        why: "vanished\nduring the look".into(),
        hides: Hides::Owners,
        count: 1,
    });
    story.query = query(Selection {
        states: Some(StateMask::of(CloseWait)),
        units: vec!["evil\u{1b}.service".into()],
        ..Selection::default()
    });
    story.headline = "12 sockets of `) \\u{1b}[31m\\n` are in CLOSE-WAIT".into();
    story.findings = vec![plain_finding(
        Rule::CloseWaitLeak,
        Severity::Warning,
        Confidence::Hint,
        Subject::Process(first),
        ") \\u{1b}[31m\\n[66] holds 12 sockets in CLOSE-WAIT whose age is not known.",
    )];
    story
}

/// One of everything that a report can say, whether it makes sense or not: the schema must know all of it.
pub(crate) fn one_of_everything() -> Story {
    let mut story = telegraf();
    let (local, source) = (endpoint("[::1]:80"), address("::1"));
    let subjects = [
        Subject::Process(ProcessIndex(0)),
        Subject::Process(ProcessIndex(999)),
        Subject::PortPool { netns: NS, source, destination: local },
        Subject::Snat { destination: local },
        Subject::BindPool { netns: NS, address: source },
        Subject::Listener { netns: NS, local },
        Subject::Peer { netns: NS, direction: Direction::Inbound, endpoint: local },
        Subject::Namespace(NS),
        Subject::Host,
    ];
    let rules = [
        Rule::CloseWaitLeak,
        Rule::ReceiveStalled,
        Rule::AcceptStalled,
        Rule::PortPool,
        Rule::SnatBudget,
        Rule::BindPool,
        Rule::FdLimit,
        Rule::TimeWaitChurn,
        Rule::ListenerBacklog,
        Rule::PeerNotClosing,
        Rule::ConnectUnanswered,
        Rule::Conntrack,
        Rule::RangeConflict,
        Rule::Coverage,
    ];
    let units = [Unit::Sockets, Unit::Ports, Unit::Descriptors, Unit::Count, Unit::Bytes, Unit::Seconds, Unit::Ratio];
    let evidence = units.map(|unit| Evidence { name: "x", observed: None, threshold: None, unit });
    let mut subjects = subjects.into_iter().cycle();
    story.findings = rules
        .map(|rule| {
            let subject = subjects.next().expect("they never end");
            let mut finding = plain_finding(rule, Severity::Warning, Confidence::Hint, subject, "x");
            finding.evidence = evidence.to_vec();
            finding.remedies = vec![Remedy { when: When::Soon, text: "x".into(), command: None }];
            finding
        })
        .to_vec();
    let reasons = [
        DoubtReason::SharedPort,
        DoubtReason::TimeWaitTimestamps,
        DoubtReason::OddRange,
        DoubtReason::V6Only,
        DoubtReason::BoundUnseen,
    ];
    story.census.port_pools[0].doubts = reasons.map(|reason| Doubt { reason, ports: 1 }).to_vec();
    story.census.port_pools[1].usable = 0;
    story.census.port_pools[1].used = 0;
    story.snapshot.gaps = [Hides::Sockets, Hides::Ports, Hides::Ages, Hides::Owners, Hides::Limits]
        .map(|hides| Gap { what: "x".into(), why: "y".into(), hides, count: 1 })
        .to_vec();
    story.snapshot.scan = ProcessScan::Skipped;
    story.snapshot.source = SourceKind::Scripted;
    story.snapshot.namespaces[0].ports.range = None;
    story.census.port_ranges[1].bounds = None;
    story.census.listeners[0].limit = None;
    story
}
