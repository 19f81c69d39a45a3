//! Looks made by hand, for the tests of the rules: a host at rest, to which each test adds what its rule is about.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::attribution::Unresolved;
use crate::census::age::Age;
use crate::census::memory::pool_name;
use crate::census::pairs::{EndHolder, FinWaits, PairCensus, PairEnd, Pairs};
use crate::census::pools::{BindPool, PortPool};
use crate::census::snat::SnatBudget;
use crate::census::{
    Census, CloseWaitCensus, Coverage, Direction, GhostCensus, ListenerCensus, PeerCensus, ProcessCensus,
    StrangerCensus, Unowned, UnreadCensus,
};
use crate::diagnosis::finding::{Finding, Rule, Verdict};
use crate::diagnosis::policy::Policy;
use crate::diagnosis::scene::Scene;
use crate::diagnosis::{headline, judge, verdict};
use crate::model::past::{Point, Track};
use crate::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use crate::model::process::{Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use crate::model::snapshot::{
    Host, HostLimits, Namespace, NetNs, PortAnswers, ProcessScan, Snapshot, SourceKind, TcpCounters,
};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, Queues, SocketKind, SocketRecord, Timer};
use crate::model::state::{StateCounts, TcpState};
use crate::model::tuple::{Endpoint, Family, FourTuple};
use crate::trend::forecast::{Forecast, Stayed};
use crate::trend::{Growth, Kind, Rate, Trend, Wall};

/// The address of the scripted host.
pub(super) const HERE: &str = "10.0.0.5";
/// How many ports its range has.
pub(super) const USABLE: u32 = 28_232;

/// `10.0.3.7:443` or `[fe80::1]:443`.
pub(super) fn endpoint(text: &str) -> Endpoint {
    let address: SocketAddr = text.parse().expect("an address and a port");
    Endpoint::new(address.ip(), address.port())
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An age of so many seconds, known exactly.
pub(super) fn exactly(seconds: u64) -> Age {
    let age = Duration::from_secs(seconds);
    Age { at_least: age, at_most: Some(age), exact: true }
}

/// CLOSE-WAIT sockets that are all stuck and of which only the FIN is unread.
pub(super) fn stuck(count: u64, seconds: u64) -> CloseWaitCensus {
    CloseWaitCensus {
        count,
        stuck: count,
        oldest: Some(exactly(seconds)),
        eof_unread: count,
        ..CloseWaitCensus::default()
    }
}

/// A snapshot and its census, kept in step by hand.
pub(super) struct Script {
    pub(super) snapshot: Snapshot,
    pub(super) census: Census,
    pub(super) forecasts: Vec<Forecast>,
    pub(super) policy: Policy,
}

impl Script {
    /// A host at rest: one namespace with the usual range, no sockets, no gaps.
    pub(super) fn new() -> Self {
        let ports = PortSettings {
            range: Some(EphemeralRange { first: 32_768, last: 60_999 }),
            reserved: Some(PortSet::default()),
            tw_reuse: Some(TimeWaitReuse::Loopback),
            tw_reuse_delay_ms: Some(1_000),
            timestamps: Some(true),
            autobind_reuse: Some(false),
            fin_timeout_s: Some(60),
        };
        let namespace = Namespace {
            id: NetNs { inode: Some(4_026_531_840), name: "init".to_owned(), ..NetNs::default() },
            ports,
            sockstat: None,
            counters: TcpCounters::default(),
            conntrack: None,
            answers: PortAnswers::default(),
            took: Duration::ZERO,
            source: SourceKind::Scripted,
        };
        let snapshot = Snapshot {
            taken_at: SystemTime::UNIX_EPOCH,
            host: Host::default(),
            source: SourceKind::Scripted,
            namespaces: vec![namespace],
            sockets: Vec::new(),
            processes: Vec::new(),
            holdings: Vec::new(),
            scan: ProcessScan::All,
            limits: HostLimits::default(),
            gaps: Vec::new(),
            file: None,
            ghosts: None,
            cgroups: Vec::new(),
        };
        let census = Census {
            totals: StateCounts::default(),
            namespaces: vec![StateCounts::default()],
            processes: Vec::new(),
            port_ranges: Vec::new(),
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
        Self { snapshot, census, forecasts: Vec::new(), policy: Policy::default() }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene::new(&self.snapshot, &self.census, &self.forecasts, &self.policy)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        judge(&self.scene())
    }

    pub(super) fn verdict(&self) -> Verdict {
        verdict(&self.findings())
    }

    pub(super) fn headline(&self) -> String {
        headline(&self.scene(), &self.findings())
    }

    /// The one finding of the rule.
    pub(super) fn only(&self, rule: Rule) -> Finding {
        let mut found: Vec<Finding> = self.findings().into_iter().filter(|finding| finding.rule == rule).collect();
        assert_eq!(found.len(), 1, "{rule:?} found {found:#?}");
        found.remove(0)
    }

    /// Holds the rule to find nothing.
    pub(super) fn none(&self, rule: Rule) {
        let found: Vec<Finding> = self.findings().into_iter().filter(|finding| finding.rule == rule).collect();
        assert!(found.is_empty(), "{rule:?} found {found:#?}");
    }

    /// The last pool is seen to fill up, by so many ports an hour, in so many hours.
    pub(super) fn fills_up(&mut self, per_hour: f64, hours: f64) {
        let pool = self.census.port_pools.last().expect("a pool");
        let holder = pool.holders.first().map(|(process, _)| self.snapshot.processes[process.0 as usize].key);
        let (used, usable) = (f64::from(pool.used), f64::from(pool.usable));
        let over = Duration::from_secs(86_400);
        let rate = Rate { per_hour, at_least: per_hour * 0.9, at_most: per_hour * 1.1, over, kind: Kind::Leak };
        let expected_s = hours * 3600.0;
        let wall = Wall::In { expected_s, earliest_s: expected_s * 0.9, latest_s: Some(expected_s * 1.1) };
        self.forecasts.push(Forecast {
            track: Track::Ports(pool_name(&self.snapshot, pool)),
            holder,
            now: Point { at: 0.0, used, leaked: used, limit: Some(usable), run: 0 },
            n_looks: 288,
            trend: Trend { growth: Growth::Growing(rate), wall },
            stayed: Stayed { since_last: 9_390, for_a_day: 7_400 },
        });
    }

    pub(super) fn namespace(&mut self) -> &mut Namespace {
        &mut self.snapshot.namespaces[0]
    }

    /// A process that holds no socket yet.
    pub(super) fn process(&mut self, name: &str, pid: u32) -> ProcessIndex {
        let index = ProcessIndex(u32::try_from(self.snapshot.processes.len()).expect("few processes"));
        self.snapshot.processes.push(Process {
            key: ProcessKey { pid, start_ticks: u64::from(pid) },
            name: name.to_owned(),
            started_at: None,
            exe: None,
            uid: Some(999),
            user: None,
            placement: Some(Placement::default()),
            netns: None,
            fds_open: None,
            fds_limit: None,
            runtime: Runtime::Unknown,
        });
        self.census.processes.push(ProcessCensus {
            process: index,
            netns: NetNsIndex(0),
            states: StateCounts::default(),
            port_ranges: Vec::new(),
            close_wait: CloseWaitCensus::default(),
            unread: UnreadCensus::default(),
            ghosts: None,
        });
        index
    }

    fn known(&mut self, process: ProcessIndex) -> &mut Process {
        &mut self.snapshot.processes[process.0 as usize]
    }

    pub(super) fn unit(&mut self, process: ProcessIndex, unit: &str) {
        self.known(process).placement.get_or_insert_default().unit = Some(unit.to_owned());
    }

    pub(super) fn container(&mut self, process: ProcessIndex, container: &str) {
        self.known(process).placement.get_or_insert_default().container = Some(container.to_owned());
    }

    pub(super) fn runtime(&mut self, process: ProcessIndex, runtime: Runtime) {
        self.known(process).runtime = runtime;
    }

    pub(super) fn fds(&mut self, process: ProcessIndex, open: u64, limit: Option<u64>) {
        let known = self.known(process);
        (known.fds_open, known.fds_limit) = (Some(open), limit);
    }

    /// Gives the process these CLOSE-WAIT, all to or from `peers`, the counts as even as they come.
    pub(super) fn close_wait(&mut self, process: ProcessIndex, mut held: CloseWaitCensus, peers: &[Endpoint]) {
        held.destinations = spread(held.count, peers);
        let census = &mut self.census.processes[process.0 as usize];
        census.states[TcpState::CloseWait] = held.count;
        self.census.totals[TcpState::CloseWait] += held.count - held.inherited;
        census.close_wait = held;
    }

    /// CLOSE-WAIT of user 999 whose holder is not known.
    pub(super) fn strangers(&mut self, mut held: CloseWaitCensus, reason: Unresolved, peer: Endpoint) {
        held.destinations = vec![(peer, held.count)];
        let (netns, uid, unread) = (NetNsIndex(0), Some(999), UnreadCensus::default());
        self.census.unowned.close_wait += held.count;
        self.census.strangers.push(StrangerCensus { netns, uid, place: None, reason, close_wait: held, unread });
    }

    /// Gives the process open connections that nobody has read for ten minutes.
    pub(super) fn unread(&mut self, process: ProcessIndex, n: u64, bytes: u64, peer: Endpoint) {
        let census = &mut self.census.processes[process.0 as usize];
        census.unread =
            UnreadCensus { stalled: n, bytes, oldest: Some(Duration::from_secs(600)), destinations: vec![(peer, n)] };
    }

    /// Gives the process these ghosts.
    pub(super) fn ghosts(&mut self, process: ProcessIndex, held: GhostCensus) {
        self.census.processes[process.0 as usize].ghosts = Some(held);
    }

    /// A peer that this host connects to, or that connects to this host.
    pub(super) fn peer(&mut self, direction: Direction, endpoint: Endpoint) -> &mut PeerCensus {
        let (address, port) = (endpoint.address, endpoint.port);
        let (netns, states, holders) = (NetNsIndex(0), StateCounts::default(), Vec::new());
        self.census.peers.push(PeerCensus { netns, direction, address, port, states, holders, holders_unseen: 0 });
        self.census.peers.last_mut().expect("just pushed")
    }

    /// A destination that this host connects to.
    pub(super) fn destination(&mut self, destination: Endpoint) {
        self.peer(Direction::Outbound, destination);
    }

    /// The pool from here to the destination.
    pub(super) fn pool(&mut self, destination: Endpoint, used: u32) -> &mut PortPool {
        self.census.port_pools.push(PortPool {
            netns: NetNsIndex(0),
            source: address(HERE),
            destination,
            interface: 0,
            usable: USABLE,
            used,
            remaining: USABLE - used,
            remaining_at_least: USABLE - used,
            blocked: 0,
            doubts: Vec::new(),
            states: StateCounts::default(),
            holders: Vec::new(),
            holders_unseen: 0,
        });
        self.census.port_pools.last_mut().expect("just pushed")
    }

    /// So many open connections of the process to the destination, held against a NAT's budget of 1,024.
    pub(super) fn snat(&mut self, destination: Endpoint, used: u64, process: ProcessIndex) -> &mut SnatBudget {
        let mut states = StateCounts::default();
        states[TcpState::Established] = used;
        self.census.snat.push(SnatBudget {
            destination,
            used,
            limit: 1_024,
            states,
            sources: vec![((NetNsIndex(0), address(HERE)), used)],
            holders: vec![(process, used)],
            holders_unseen: 0,
        });
        self.census.snat.last_mut().expect("just pushed")
    }

    pub(super) fn bind_pool(&mut self, at: &str, used: u32) {
        self.census.bind_pools.push(BindPool {
            netns: NetNsIndex(0),
            address: address(at),
            usable: USABLE,
            used,
            remaining: USABLE - used,
            remaining_at_least: USABLE - used,
            doubts: Vec::new(),
        });
    }

    /// A listener on all addresses, on a port that its program chose.
    pub(super) fn listener(&mut self, process: ProcessIndex, port: u16) -> &mut ListenerCensus {
        let local = Endpoint::new(address("0.0.0.0"), port);
        let socket = self.snapshot.sockets.len();
        self.socket(TcpState::Listen, local, endpoint("0.0.0.0:0")).binding = PortBinding::Explicit;
        let range = self.snapshot.namespaces[0].ports.range;
        self.census.listeners.push(ListenerCensus {
            socket,
            netns: NetNsIndex(0),
            local,
            waiting: 0,
            limit: Some(128),
            close_wait_not_accepted: 0,
            oldest_not_accepted: None,
            holders: vec![process],
            holders_unseen: 0,
            in_ephemeral_range: range.is_some_and(|range| range.contains(port)),
        });
        self.census.listeners.last_mut().expect("just pushed")
    }

    /// Connections from here, of which both ends were seen, and the server's has closed.
    pub(super) fn pair(&mut self, kept: EndHolder, closed: EndHolder, server: Endpoint, count: u64) -> &mut PairCensus {
        let end = |direction, holder| PairEnd { netns: NetNsIndex(0), direction, holder };
        self.census.pairs.rows.push(PairCensus {
            kept: end(Direction::Outbound, kept),
            closed: end(Direction::Inbound, closed),
            client: address(HERE),
            server,
            count,
            waiting: FinWaits { orphaned: count, ..FinWaits::default() },
        });
        self.census.pairs.rows.last_mut().expect("just pushed")
    }

    /// One row of the kernel's tables.
    pub(super) fn socket(&mut self, state: TcpState, local: Endpoint, remote: Endpoint) -> &mut SocketRecord {
        let inode = Inode::new(1_000 + self.snapshot.sockets.len() as u64).expect("not 0");
        self.snapshot.sockets.push(SocketRecord {
            netns: NetNsIndex(0),
            state,
            kind: SocketKind::Full,
            family: Family::V4,
            tuple: FourTuple { local, remote },
            interface: 0,
            cookie: None,
            inode: Some(inode),
            uid: Some(999),
            cgroup: None,
            queues: Queues::Data { recv: 1, send: 0 },
            timer: Timer::Off,
            binding: PortBinding::Auto,
            v6only: None,
            clocks: None,
            mptcp: None,
        });
        self.snapshot.sockets.last_mut().expect("just pushed")
    }

    /// Lets the process hold the socket.
    pub(super) fn hold(&mut self, process: ProcessIndex, inode: Inode) {
        self.snapshot.holdings.push(Holding { inode, process, fd: 7 });
    }
}

fn spread(count: u64, peers: &[Endpoint]) -> Vec<(Endpoint, u64)> {
    let n = peers.len() as u64;
    let share = |nth: u64| count / n + u64::from(nth < count % n);
    peers.iter().zip(0..).map(|(peer, nth)| (*peer, share(nth))).collect()
}
