//! Makes a report by hand: a host, processes and pools, whose sums add up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use closewatch::attribution;
use closewatch::census::pairs::Pairs;
use closewatch::census::pools::{Doubt, DoubtReason, PortPool};
use closewatch::census::{
    Census, CloseWaitCensus, Coverage, ListenerCensus, PortRangeCensus, ProcessCensus, Query, Unowned, UnreadCensus,
};
use closewatch::diagnosis::finding::{Finding, Verdict};
use closewatch::diagnosis::metrics;
use closewatch::diagnosis::policy::Policy;
use closewatch::diagnosis::scene::Scene;
use closewatch::diagnosis::verdict;
use closewatch::model::past::{HistoryNote, Past};
use closewatch::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use closewatch::model::process::{Placement, Process, ProcessIndex, ProcessKey, Runtime};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{
    Host, HostLimits, Namespace, NetNs, PortAnswers, ProcessScan, Snapshot, SourceKind, TcpCounters, Usage,
};
use closewatch::model::socket::{NetNsIndex, PortBinding, Queues, SocketKind, SocketRecord, Timer};
use closewatch::model::state::{StateCounts, TcpState};
use closewatch::model::tuple::{Endpoint, Family, FourTuple};
use closewatch::report::Report;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const NS: NetNsIndex = NetNsIndex(0);

/// A report before it is put together.
pub(crate) struct Story {
    pub(crate) snapshot: Snapshot,
    pub(crate) query: Query,
    policy: Policy,
    pub(crate) census: Census,
    pub(crate) findings: Vec<Finding>,
    pub(crate) headline: String,
    /// Where what is added happens.
    pub(crate) netns: NetNsIndex,
}

impl Story {
    /// Hands the report to a reader.
    pub(crate) fn tell<R>(self, reader: impl FnOnce(&Report<'_>) -> R) -> R {
        let owners = attribution::join(&self.snapshot);
        let metrics = metrics::measure(&Scene::new(&self.snapshot, &self.census, &[], &self.policy));
        // What was found is up to the story, and not to its numbers.
        let verdict: Verdict = verdict(&self.findings);
        reader(&Report {
            snapshot: &self.snapshot,
            query: &self.query,
            past: &Past::default(),
            history: HistoryNote::default(),
            policy: &self.policy,
            owners,
            census: self.census,
            memory: None,
            forecasts: Vec::new(),
            findings: self.findings,
            metrics,
            verdict,
            headline: self.headline,
        })
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    let parsed: std::net::SocketAddr = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Endpoint::new(parsed.ip(), parsed.port())
}

pub(crate) fn states(counts: &[(TcpState, u64)]) -> StateCounts {
    let mut states = StateCounts::default();
    for (state, count) in counts {
        states[*state] = *count;
    }
    states
}

fn taken_at() -> SystemTime {
    // 2025-11-22 09:38:18.250 UTC
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_804_298_250)
}

pub(crate) fn query(selection: Selection) -> Query {
    Query { selection, port_ranges: Vec::new(), stuck_after: Duration::from_secs(60), snat_limit: None }
}

/// A host of which everything could be read, and nothing runs on it.
pub(crate) fn empty_host() -> Story {
    let namespace = Namespace {
        id: NetNs { inode: Some(4_026_531_840), name: "init".into(), ..NetNs::default() },
        ports: PortSettings {
            range: Some(EphemeralRange { first: 32_768, last: 60_999 }),
            reserved: Some(PortSet::default()),
            tw_reuse: Some(TimeWaitReuse::Loopback),
            tw_reuse_delay_ms: Some(1000),
            timestamps: Some(true),
            autobind_reuse: Some(false),
            fin_timeout_s: Some(60),
        },
        sockstat: None,
        counters: TcpCounters::default(),
        conntrack: Some(Usage { used: 512, limit: 262_144 }),
        answers: PortAnswers { shared: BTreeMap::new(), time_wait: BTreeMap::new(), bind: BTreeMap::new() },
        took: Duration::from_millis(84),
        source: SourceKind::Netlink,
    };
    let snapshot = Snapshot {
        taken_at: taken_at(),
        host: Host {
            name: Some("web-1".into()),
            kernel: Some("6.18.44".into()),
            boot_id: Some("6f0c1a52-7f5e-4f0e-9a53-0b7a4f0f3b11".into()),
            uptime: Some(40 * DAY),
        },
        source: SourceKind::Netlink,
        namespaces: vec![namespace],
        sockets: Vec::new(),
        processes: Vec::new(),
        holdings: Vec::new(),
        scan: ProcessScan::All,
        limits: HostLimits {
            files: Some(Usage { used: 31_200, limit: 9_223_372 }),
            orphans: Some(Usage { used: 3, limit: 65_536 }),
            tcp_mem_pages: Some(Usage { used: 4096, limit: 188_000 }),
            max_tw_buckets: Some(65_536),
        },
        gaps: Vec::new(),
        file: None,
        ghosts: None,
        cgroups: Vec::new(),
    };
    let range = |name: &str, first, last| PortRangeCensus {
        name: name.into(),
        bounds: Some((first, last)),
        states: StateCounts::default(),
    };
    let census = Census {
        totals: StateCounts::default(),
        namespaces: vec![StateCounts::default()],
        processes: Vec::new(),
        port_ranges: vec![range("system", 0, 1023), range("ephemeral", 32_768, 60_999), range("user", 1024, 65_535)],
        port_pools: Vec::new(),
        bind_pools: Vec::new(),
        peers: Vec::new(),
        listeners: Vec::new(),
        unowned: Unowned::default(),
        strangers: Vec::new(),
        coverage: Coverage::default(),
        pairs: Pairs::default(),
        snat: Vec::new(),
    };
    let policy = Policy::default();
    let query = query(Selection::default());
    Story { snapshot, query, policy, census, findings: Vec::new(), headline: String::new(), netns: NS }
}

impl Story {
    pub(crate) fn process(
        &mut self,
        name: &str,
        pid: u32,
        unit: Option<&str>,
        held: &[(&str, TcpState, u64)],
    ) -> ProcessIndex {
        let index = ProcessIndex(self.snapshot.processes.len() as u32);
        self.snapshot.processes.push(Process {
            key: ProcessKey { pid, start_ticks: u64::from(pid) * 100 },
            name: name.into(),
            started_at: Some(taken_at() - 22 * DAY),
            exe: Some(PathBuf::from(format!("/usr/bin/{name}"))),
            uid: Some(990),
            user: Some("telegraf".into()),
            placement: Some(Placement { unit: unit.map(Into::into), container: None, runtime: None, pod: None }),
            netns: self.snapshot.namespaces[self.netns.0 as usize].id.inode,
            fds_open: Some(75 + held.iter().map(|(_, _, count)| count).sum::<u64>()),
            fds_limit: Some(65_536),
            runtime: Runtime::Go,
        });
        let mut row = ProcessCensus {
            process: index,
            netns: self.netns,
            states: StateCounts::default(),
            port_ranges: vec![StateCounts::default(); self.census.port_ranges.len()],
            close_wait: CloseWaitCensus::default(),
            unread: UnreadCensus::default(),
            ghosts: None,
        };
        for (range, state, count) in held {
            let place = self.census.port_ranges.iter().position(|row| row.name == *range).expect("a range");
            row.states[*state] += count;
            row.port_ranges[place][*state] += count;
            self.count(place, *state, *count);
        }
        let held: u64 = held.iter().map(|(_, _, count)| count).sum();
        self.census.coverage.attributable += held;
        self.census.coverage.attributed += held;
        row.close_wait.count = row.states[TcpState::CloseWait];
        row.close_wait.eof_read = row.close_wait.count;
        self.census.processes.push(row);
        index
    }

    pub(crate) fn unowned(&mut self, state: TcpState, count: u64) {
        match state {
            TcpState::CloseWait => self.census.unowned.close_wait += count,
            TcpState::TimeWait => self.census.unowned.time_wait += count,
            _ => self.census.unowned.other += count,
        }
        if state != TcpState::TimeWait {
            self.census.coverage.attributable += count;
        }
        self.count(1, state, count);
    }

    fn count(&mut self, range: usize, state: TcpState, count: u64) {
        self.census.port_ranges[range].states[state] += count;
        self.census.totals[state] += count;
        self.census.namespaces[self.netns.0 as usize][state] += count;
        self.snapshot.sockets.extend((0..count.min(1)).map(|_| socket_in(self.netns, state)));
        self.census.coverage.sockets += count;
    }

    pub(crate) fn pool(&mut self, from: &str, to: &str, used: u32, doubtful: u32) -> &mut PortPool {
        let remaining = 28_232 - used;
        self.census.port_pools.push(PortPool {
            netns: NS,
            source: address(from),
            destination: endpoint(to),
            interface: 0,
            usable: 28_232,
            used,
            remaining,
            remaining_at_least: remaining - doubtful,
            blocked: 8,
            doubts: match doubtful {
                0 => Vec::new(),
                ports => vec![Doubt { reason: DoubtReason::SharedPort, ports }],
            },
            states: states(&[(TcpState::Established, u64::from(used))]),
            holders: Vec::new(),
            holders_unseen: 0,
        });
        self.census.port_pools.last_mut().expect("just pushed")
    }

    pub(crate) fn listener(&mut self, local: &str, waiting: u32, holder: ProcessIndex) -> &mut ListenerCensus {
        self.census.listeners.push(ListenerCensus {
            socket: 0,
            netns: NS,
            local: endpoint(local),
            waiting,
            limit: Some(4096),
            close_wait_not_accepted: 0,
            oldest_not_accepted: None,
            holders: vec![holder],
            holders_unseen: 0,
            in_ephemeral_range: false,
        });
        self.census.listeners.last_mut().expect("just pushed")
    }
}

/// A socket that stands for all like it: it says that its namespace holds some.
fn socket_in(netns: NetNsIndex, state: TcpState) -> SocketRecord {
    let nowhere = endpoint("0.0.0.0:0");
    SocketRecord {
        netns,
        state,
        kind: SocketKind::Full,
        family: Family::V4,
        tuple: FourTuple { local: nowhere, remote: nowhere },
        interface: 0,
        cookie: None,
        inode: None,
        uid: None,
        cgroup: None,
        queues: Queues::Data { recv: 0, send: 0 },
        timer: Timer::Off,
        binding: PortBinding::Unknown,
        v6only: None,
        clocks: None,
        mptcp: None,
    }
}
