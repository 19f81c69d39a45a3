//! What one snapshot counts to: states, owners, port ranges, peers, listeners, ports left.
//!
//! Pure. One pass over the sockets fills the counts; [`pools`] makes a second over those that hold a port.

pub mod age;
mod ghosts;
mod hoard;
pub mod memory;
pub mod pairs;
pub mod pools;
pub mod snat;
mod tally;

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::attribution::{self, Owners, Unresolved};
use crate::census::age::Age;
use crate::census::pairs::Pairs;
use crate::census::pools::{BindPool, Ledgers, PortPool};
use crate::census::snat::SnatBudget;
use crate::model::gate::Gate;
use crate::model::past::Past;
use crate::model::ports::NamedPortRange;
use crate::model::process::ProcessIndex;
use crate::model::selection::Selection;
use crate::model::snapshot::{CgroupIndex, Snapshot};
use crate::model::socket::NetNsIndex;
use crate::model::state::StateCounts;
use crate::model::tuple::Endpoint;

/// What is counted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which sockets and processes the reader asked to see. Ports left are computed from all sockets all the same.
    pub selection: Selection,
    /// The operator's own port ranges, beside `system`, `ephemeral` and `user`.
    pub port_ranges: Vec<NamedPortRange>,
    /// From which age on a CLOSE-WAIT is stuck.
    pub stuck_after: Duration,
    /// How many connections to one destination a NAT lets through (`--snat-limit`); `None` when that was not asked.
    pub snat_limit: Option<u32>,
}

/// The counts of one snapshot, of the sockets that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// All sockets by state.
    pub totals: StateCounts,
    /// By namespace, in the snapshot's order.
    pub namespaces: Vec<StateCounts>,
    /// By process: most CLOSE-WAIT and ghosts first, then most sockets. A socket that forks share counts at each holder.
    pub processes: Vec<ProcessCensus>,
    /// By range of the local port: `system`, `ephemeral`, `user`, then the operator's own.
    pub port_ranges: Vec<PortRangeCensus>,
    /// Ports left for `connect()`, by source and destination; fewest left first, then most used.
    pub port_pools: Vec<PortPool>,
    /// Ports left for `bind()` to port 0, by address.
    pub bind_pools: Vec<BindPool>,
    /// By peer and direction, most sockets first.
    pub peers: Vec<PeerCensus>,
    /// Every listener.
    pub listeners: Vec<ListenerCensus>,
    /// Sockets that no process is known to hold.
    pub unowned: Unowned,
    /// The CLOSE-WAIT and unread sockets that some program holds and nobody could see which, by namespace, user and place;
    /// most CLOSE-WAIT first.
    pub strangers: Vec<StrangerCensus>,
    /// How much of what could be attributed was.
    pub coverage: Coverage,
    /// The connections of which both ends were seen here, one of them in CLOSE-WAIT.
    pub pairs: Pairs,
    /// What the connections from here take of a NAT's ports, by destination, fullest first; empty when no limit was given.
    pub snat: Vec<SnatBudget>,
}

/// The sockets of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCensus {
    /// Which one.
    pub process: ProcessIndex,
    /// The namespace that most of its sockets are in.
    pub netns: NetNsIndex,
    /// All its sockets by state.
    pub states: StateCounts,
    /// By range of the local port, in the order of [`Census::port_ranges`].
    pub port_ranges: Vec<StateCounts>,
    /// Its CLOSE-WAIT.
    pub close_wait: CloseWaitCensus,
    /// Its ESTABLISHED sockets whose receive queue stands unread.
    pub unread: UnreadCensus,
    /// Its descriptors of connections that are over; `None` when nobody looked, or when that could not be told.
    pub ghosts: Option<GhostCensus>,
}

/// The ghosts of one process: sockets whose connection is over and that it still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GhostCensus {
    /// All of them.
    pub count: u64,
    /// Whether there may be more: not all its descriptors could be asked.
    pub at_least: bool,
    /// Those whose error nobody has read: the program has not touched them since.
    pub untouched: u64,
    /// Those whose `connect()` was refused.
    pub refused: u64,
    /// Those that came in: their local port is one that is listened on.
    pub inbound: u64,
    /// Those that another process holds too, and that process started earlier: they are blamed there.
    pub inherited: u64,
    /// For how long nothing had come from the peer, shortest and longest; `None` when all were refused.
    pub silent_for: Option<(Duration, Duration)>,
}

/// The CLOSE-WAIT sockets of one owner: how many, of which kind, how old, to whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseWaitCensus {
    /// All of them, MPTCP connections included.
    pub count: u64,
    /// Surely older than the threshold.
    pub stuck: u64,
    /// Perhaps older: the upper bound is, the lower is not (keepalive answers and own writes refresh the lower one).
    pub maybe_stuck: u64,
    /// Without an age: no tcp_info.
    pub age_unknown: u64,
    /// The age of the one that is surely the oldest.
    pub oldest: Option<Age>,
    /// The end of file was not read, or data before it: something is in the receive queue.
    pub eof_unread: u64,
    /// Everything was read; `close()` is missing.
    pub eof_read: u64,
    /// Of `eof_unread`, those with data before the end of file: an abandoned body.
    pub with_unread_bytes: u64,
    /// Bytes not read, FINs left out.
    pub unread_bytes: u64,
    /// The fewest bytes, FIN left out, that one of `with_unread_bytes` holds unread; 0 when there is none.
    pub unread_least: u64,
    /// The most bytes, FIN left out, that one of them holds unread. Equal to the fewest when every socket was abandoned at
    /// the same place: a fingerprint of the code that leaks.
    pub unread_most: u64,
    /// Those that may have been written to after the peer's FIN: perhaps a half-close in use, not a leak.
    pub maybe_half_close: u64,
    /// Those that keepalive probes watch.
    pub keepalive: u64,
    /// MPTCP connections in CLOSE-WAIT, whose subflow `ss -t` shows as ESTAB.
    pub mptcp: u64,
    /// Those that another process holds too, and that process started earlier: they are blamed there.
    pub inherited: u64,
    /// The sockets by peer, most first, all of them.
    pub destinations: Vec<(Endpoint, u64)>,
}

/// ESTABLISHED sockets that hold data nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnreadCensus {
    /// With data in the receive queue and nothing received for longer than the stuck threshold.
    pub stalled: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long ago the last of their data came, of the one that waits longest.
    pub oldest: Option<Duration>,
    /// By peer, most first.
    pub destinations: Vec<(Endpoint, u64)>,
}

/// The sockets of one range of local ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRangeCensus {
    /// `system`, `ephemeral`, `user`, or the operator's own word.
    pub name: String,
    /// Lowest and highest port; `None` when the ephemeral range could not be read. `ephemeral` counts by each namespace's
    /// own range; the numbers here are those of the first.
    pub bounds: Option<(u16, u16)>,
    /// By state.
    pub states: StateCounts,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// This host.
    Outbound,
    /// The peer: the local port is one that is listened on.
    Inbound,
}

impl Direction {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// The sockets to or from one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCensus {
    /// The namespace.
    pub netns: NetNsIndex,
    /// Who opened the connections.
    pub direction: Direction,
    /// The peer's address.
    pub address: IpAddr,
    /// Outbound: the peer's port. Inbound: the port here.
    pub port: u16,
    /// By state.
    pub states: StateCounts,
    /// Who holds them, most first.
    pub holders: Vec<(ProcessIndex, u64)>,
    /// How many of them a program holds that nobody could see, or looked for.
    pub holders_unseen: u64,
}

/// One listener and what waits at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerCensus {
    /// Its index in the snapshot's sockets.
    pub socket: usize,
    /// The namespace.
    pub netns: NetNsIndex,
    /// Where it listens.
    pub local: Endpoint,
    /// Connections waiting for `accept()`.
    pub waiting: u32,
    /// How many may wait; `None` when the source does not tell.
    pub limit: Option<u32>,
    /// Waiting connections whose peer has closed already.
    pub close_wait_not_accepted: u64,
    /// The age of the oldest of them.
    pub oldest_not_accepted: Option<Age>,
    /// Who listens.
    pub holders: Vec<ProcessIndex>,
    /// 1 when some program listens that nobody could see, or looked for.
    pub holders_unseen: u64,
    /// Whether `connect()` could be given this port: it lies in the ephemeral range and is not reserved.
    pub in_ephemeral_range: bool,
}

/// Sockets without a known process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unowned {
    /// In CLOSE-WAIT, not accepted ones included.
    pub close_wait: u64,
    /// Of these, waiting at a listener for `accept()`.
    pub close_wait_not_accepted: u64,
    /// In TIME-WAIT.
    pub time_wait: u64,
    /// In any other state.
    pub other: u64,
}

/// The CLOSE-WAIT and unread sockets of one user and place whose processes are not known: hidden from the reader, or not
/// looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrangerCensus {
    /// The namespace.
    pub netns: NetNsIndex,
    /// Who created or accepted the sockets; `None` when the source does not tell.
    pub uid: Option<u32>,
    /// The unit, container or pod that the sockets were made in: [`Snapshot::placement`] tells it. `None` when it is not known,
    /// or when their cgroup is that of none.
    pub place: Option<CgroupIndex>,
    /// Whether holders were looked for at all.
    pub reason: Unresolved,
    /// Those with a file of their own: what waits at a listener for `accept()` is not among them.
    pub close_wait: CloseWaitCensus,
    /// Their ESTABLISHED sockets whose receive queue stands unread.
    pub unread: UnreadCensus,
}

/// How much of what could be attributed was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// All sockets seen.
    pub sockets: u64,
    /// Those that a file stands for.
    pub attributable: u64,
    /// Those of which a holder is known.
    pub attributed: u64,
    /// About how many TCP sockets of the host are in none of the namespaces that were read, when they are many.
    pub elsewhere: Option<u64>,
}

/// Finds the owner of every socket, and counts a snapshot.
#[must_use]
pub fn take(snapshot: &Snapshot, query: &Query, past: &Past) -> (Owners, Census) {
    let (owners, Counted { tally, mut port_pools, bind_pools }) = count(snapshot, query, past);
    let selection = &query.selection;
    port_pools.retain(|pool| {
        selection.local.takes_address(pool.source)
            && selection.peer.takes(&pool.destination)
            && takes_any(snapshot, selection, &pool.holders)
    });
    let mut processes = tally.processes;
    ghosts::add(snapshot, &owners, query, tally.port_ranges.len(), &mut processes);
    processes.sort_by_key(|census| {
        let key = snapshot.processes[census.process.0 as usize].key;
        let leaked = census.close_wait.count + census.ghosts.map_or(0, |ghosts| ghosts.count);
        (Reverse((leaked, census.states.total())), key, census.process)
    });
    let mut snat = query.snat_limit.map_or_else(Vec::new, |limit| snat::budgets(snapshot, &owners, limit));
    snat.retain(|budget| selection.peer.takes(&budget.destination) && takes_any(snapshot, selection, &budget.holders));
    let census = Census {
        totals: tally.totals,
        namespaces: tally.namespaces,
        processes,
        port_ranges: tally.port_ranges,
        port_pools,
        bind_pools,
        peers: tally.peers,
        listeners: tally.listeners,
        unowned: tally.unowned,
        strangers: tally.strangers,
        coverage: Coverage { elsewhere: ghosts::elsewhere(snapshot), ..tally.coverage },
        pairs: pairs::find(snapshot, &owners, query, tally.any_closed),
        snat,
    };
    (owners, census)
}

/// What takes a pass over all sockets each.
struct Counted {
    tally: tally::Tally,
    port_pools: Vec<PortPool>,
    bind_pools: Vec<BindPool>,
}

/// The owners, and what is counted. One thread finds the owners and counts; the other classifies the ports meanwhile, and needs
/// the owners only after that.
fn count(snapshot: &Snapshot, query: &Query, past: &Past) -> (Owners, Counted) {
    let (owners, ledgers, gate) = (OnceLock::new(), OnceLock::new(), Gate::default());
    let join = || owners.get_or_init(|| attribution::join(snapshot));
    let open = || ledgers.get_or_init(|| Ledgers::of(snapshot));
    let here = || {
        let opener = gate.opener();
        let owners = join();
        drop(opener);
        (tally::count(snapshot, owners, query, past), open().bind_pools(snapshot))
    };
    let pools = || {
        let ledgers = open();
        gate.wait();
        ledgers.connect_pools(snapshot, join())
    };
    let ((tally, bind_pools), port_pools) = side_by_side(snapshot, here, pools);
    let owners = owners.into_inner().unwrap_or_else(|| attribution::join(snapshot));
    (owners, Counted { tally, port_pools, bind_pools })
}

/// From so many sockets on, a second thread is made sooner than the first could do its work.
const WORTH_A_THREAD: usize = 8_192;

/// Both results of what takes passes over all sockets and needs nothing of each other: where there are many sockets, the
/// work is done at the same time.
fn side_by_side<A, B: Send>(snapshot: &Snapshot, here: impl FnOnce() -> A, there: impl Fn() -> B + Sync) -> (A, B) {
    if snapshot.sockets.len() < WORTH_A_THREAD {
        return (here(), there());
    }
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, &there) {
        Ok(helper) => (here(), helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        // A host that leaks may well be out of threads.
        Err(_) => (here(), there()),
    })
}

/// Whether one of the holders was asked for, or nobody in particular.
fn takes_any(snapshot: &Snapshot, selection: &Selection, holders: &[(ProcessIndex, u64)]) -> bool {
    let taken = |holder: ProcessIndex| {
        snapshot.processes.get(holder.0 as usize).is_some_and(|process| selection.takes_process(process))
    };
    !selection.by_process() || holders.iter().any(|(holder, _)| taken(*holder))
}
