//! The one pass over the sockets that fills every count of the census but the ports left.

use std::net::IpAddr;
use std::time::Duration;

use super::age::{self, Age};
use super::hoard::{Hoard, keep_oldest, most_first};
use super::pairs::has_closed;
use super::{
    Coverage, Direction, ListenerCensus, PeerCensus, PortRangeCensus, ProcessCensus, Query, StrangerCensus, Unowned,
};
use crate::attribution::{Owner, Owners, Places, SocketMap, Unresolved};
use crate::model::past::Past;
use crate::model::ports::{EphemeralRange, NamedPortRange};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::{CgroupIndex, Snapshot};
use crate::model::socket::{NetNsIndex, Queues, SocketKind, SocketRecord};
use crate::model::state::{StateCounts, TcpState};

/// What the pass counts; the fields are those of the census.
pub(super) struct Tally {
    pub(super) totals: StateCounts,
    pub(super) namespaces: Vec<StateCounts>,
    pub(super) processes: Vec<ProcessCensus>,
    pub(super) port_ranges: Vec<PortRangeCensus>,
    pub(super) peers: Vec<PeerCensus>,
    pub(super) listeners: Vec<ListenerCensus>,
    pub(super) unowned: Unowned,
    pub(super) strangers: Vec<StrangerCensus>,
    pub(super) coverage: Coverage,
    /// Whether any socket at all has closed and waits for its peer to close.
    pub(super) any_closed: bool,
}

/// Counts every socket that the query takes.
pub(super) fn count(snapshot: &Snapshot, owners: &Owners, query: &Query, past: &Past) -> Tally {
    let mut pass = Pass::new(snapshot, owners, query, past);
    for index in 0..snapshot.sockets.len() {
        pass.socket(index);
    }
    pass.finish()
}

/// Whose sockets they are when no process is known: namespace, user, place, and why there is none.
type StrangerKey = (NetNsIndex, Option<u32>, Option<CgroupIndex>, Unresolved);

struct Pass<'a> {
    snapshot: &'a Snapshot,
    owners: &'a Owners,
    query: &'a Query,
    past: &'a Past,
    ranges: Ranges<'a>,
    found: Vec<usize>,
    taken: Vec<bool>,
    totals: StateCounts,
    namespaces: Vec<StateCounts>,
    range_states: Vec<StateCounts>,
    processes: SocketMap<ProcessIndex, Tallied>,
    peers: SocketMap<(NetNsIndex, Direction, IpAddr, u16), PeerTally>,
    listeners: SocketMap<usize, ListenerCensus>,
    unowned: Unowned,
    places: Places,
    strangers: SocketMap<StrangerKey, Hoard>,
    coverage: Coverage,
    any_closed: bool,
}

impl<'a> Pass<'a> {
    fn new(snapshot: &'a Snapshot, owners: &'a Owners, query: &'a Query, past: &'a Past) -> Self {
        let ranges = Ranges::new(snapshot, &query.port_ranges);
        Self {
            snapshot,
            owners,
            query,
            past,
            taken: snapshot.processes.iter().map(|process| query.selection.takes_process(process)).collect(),
            totals: StateCounts::default(),
            namespaces: vec![StateCounts::default(); snapshot.namespaces.len()],
            range_states: vec![StateCounts::default(); ranges.len()],
            ranges,
            found: Vec::new(),
            processes: SocketMap::default(),
            peers: SocketMap::default(),
            listeners: SocketMap::default(),
            unowned: Unowned::default(),
            places: Places::of(snapshot),
            strangers: SocketMap::default(),
            coverage: Coverage::default(),
            any_closed: false,
        }
    }

    fn socket(&mut self, index: usize) {
        let socket = &self.snapshot.sockets[index];
        self.any_closed |= has_closed(socket);
        if !self.query.selection.takes_socket(socket) {
            return;
        }
        let owner = self.owners.of(index);
        if self.query.selection.by_process() && !self.is_held_by_a_taken_process(owner) {
            return;
        }
        self.totals.add(socket.state);
        self.namespaces[socket.netns.0 as usize].add(socket.state);
        let mut found = std::mem::take(&mut self.found);
        self.ranges.find(socket, &mut found);
        for range in &found {
            self.range_states[*range].add(socket.state);
        }
        let age = socket.is_close_wait().then(|| age::with_past(socket, self.snapshot, self.past)).flatten();
        let seen = Seen { socket, ranges: &found, age };
        match owner {
            Owner::Held(holders) => self.held(&seen, holders),
            other => self.not_held(&seen, other),
        }
        self.found = found;
        self.peer(socket, owner);
        if socket.state == TcpState::Listen {
            self.listener(index, owner);
        }
        self.coverage.sockets += 1;
        self.coverage.attributable += u64::from(socket.inode.is_some());
        self.coverage.attributed += u64::from(matches!(owner, Owner::Held(_)));
    }

    fn is_held_by_a_taken_process(&self, owner: Owner<'_>) -> bool {
        match owner {
            Owner::Held(holders) => holders.iter().any(|holder| self.taken[holder.0 as usize]),
            _ => false,
        }
    }

    fn held(&mut self, seen: &Seen<'_>, holders: &[ProcessIndex]) {
        let first = first_holder(self.snapshot, holders);
        for holder in holders {
            if self.query.selection.by_process() && !self.taken[holder.0 as usize] {
                continue;
            }
            let tallied = self.processes.entry(*holder).or_insert_with(|| Tallied::new(self.ranges.len()));
            tallied.add(seen, self.query.stuck_after, first == Some(*holder));
        }
    }

    fn not_held(&mut self, seen: &Seen<'_>, owner: Owner<'_>) {
        match seen.socket.state {
            TcpState::TimeWait => self.unowned.time_wait += 1,
            _ if seen.socket.is_close_wait() => self.unowned.close_wait += 1,
            _ => self.unowned.other += 1,
        }
        if let Owner::Unresolved(reason) = owner {
            let key = (seen.socket.netns, seen.socket.uid, self.places.place(seen.socket), reason);
            self.strangers.entry(key).or_default().add(seen.socket, seen.age, self.query.stuck_after);
        }
        if let Owner::NotAccepted(listener) = owner
            && seen.socket.is_close_wait()
        {
            self.unowned.close_wait_not_accepted += 1;
            let entry = self.listener_entry(listener);
            entry.close_wait_not_accepted += 1;
            keep_oldest(&mut entry.oldest_not_accepted, seen.age);
        }
    }

    fn listener(&mut self, index: usize, owner: Owner<'_>) {
        let entry = self.listener_entry(index);
        match owner {
            Owner::Held(holders) => entry.holders = holders.to_vec(),
            _ => entry.holders_unseen = 1,
        }
    }

    fn listener_entry(&mut self, index: usize) -> &mut ListenerCensus {
        let socket = &self.snapshot.sockets[index];
        let ports = &self.snapshot.namespaces[socket.netns.0 as usize].ports;
        let port = socket.tuple.local.port;
        let handed_out = ports.range.is_some_and(|range| range.contains(port))
            && !ports.reserved.as_ref().is_some_and(|reserved| reserved.contains(port));
        self.listeners.entry(index).or_insert_with(|| {
            let (waiting, limit) = match socket.queues {
                Queues::Listen { waiting, limit } => (waiting, limit),
                Queues::Data { recv, .. } => (recv, None),
            };
            ListenerCensus {
                socket: index,
                netns: socket.netns,
                local: socket.tuple.local,
                waiting,
                limit,
                close_wait_not_accepted: 0,
                oldest_not_accepted: None,
                holders: Vec::new(),
                holders_unseen: 0,
                in_ephemeral_range: handed_out,
            }
        })
    }

    fn peer(&mut self, socket: &SocketRecord, owner: Owner<'_>) {
        let (local, remote) = (socket.tuple.local, socket.tuple.remote);
        if remote.port == 0 {
            return;
        }
        let inbound = socket.kind == SocketKind::Request || self.owners.listener_at(socket.netns, &local).is_some();
        let (direction, port) =
            if inbound { (Direction::Inbound, local.port) } else { (Direction::Outbound, remote.port) };
        let tally = self.peers.entry((socket.netns, direction, remote.address, port)).or_default();
        tally.states.add(socket.state);
        match owner {
            Owner::Held(holders) => holders.iter().for_each(|holder| tally.hold(*holder)),
            Owner::Unresolved(_) => tally.unseen += 1,
            Owner::NotAccepted(_) | Owner::Kernel => {}
        }
    }

    fn finish(self) -> Tally {
        let processes = self.processes.into_iter().map(|(process, tallied)| tallied.finish(process)).collect();
        let mut peers: Vec<PeerCensus> = self.peers.into_iter().map(|(key, tally)| tally.finish(key)).collect();
        peers.sort_by_key(|peer| {
            (std::cmp::Reverse(peer.states.total()), peer.netns, peer.direction, peer.address, peer.port)
        });
        let mut listeners: Vec<ListenerCensus> = self.listeners.into_values().collect();
        listeners
            .sort_by_key(|listener| (listener.netns, listener.local.port, listener.local.address, listener.socket));
        Tally {
            totals: self.totals,
            namespaces: self.namespaces,
            processes,
            port_ranges: self.ranges.name(self.range_states),
            peers,
            listeners,
            unowned: self.unowned,
            strangers: finish_strangers(self.strangers),
            coverage: self.coverage,
            any_closed: self.any_closed,
        }
    }
}

/// The owners unknown that hold something they should have let go of.
fn finish_strangers(strangers: SocketMap<StrangerKey, Hoard>) -> Vec<StrangerCensus> {
    let finish = |((netns, uid, place, reason), hoard): (StrangerKey, Hoard)| {
        let (close_wait, unread) = hoard.finish();
        StrangerCensus { netns, uid, place, reason, close_wait, unread }
    };
    let mut strangers: Vec<StrangerCensus> = strangers.into_iter().map(finish).collect();
    strangers.retain(|stranger| stranger.close_wait.count + stranger.unread.stalled > 0);
    strangers.sort_by_key(|stranger| {
        let leaked = (stranger.close_wait.count, stranger.unread.stalled);
        (std::cmp::Reverse(leaked), stranger.netns, stranger.uid, stranger.place)
    });
    strangers
}

/// One socket and what the pass has already found out about it.
struct Seen<'a> {
    socket: &'a SocketRecord,
    ranges: &'a [usize],
    age: Option<Age>,
}

/// The counts of one process while they grow.
struct Tallied {
    namespaces: SocketMap<NetNsIndex, u64>,
    states: StateCounts,
    ranges: Vec<StateCounts>,
    hoard: Hoard,
}

impl Tallied {
    fn new(ranges: usize) -> Self {
        Self {
            namespaces: SocketMap::default(),
            states: StateCounts::default(),
            ranges: vec![StateCounts::default(); ranges],
            hoard: Hoard::default(),
        }
    }

    fn add(&mut self, seen: &Seen<'_>, stuck_after: Duration, is_first_holder: bool) {
        *self.namespaces.entry(seen.socket.netns).or_default() += 1;
        self.states.add(seen.socket.state);
        for range in seen.ranges {
            self.ranges[*range].add(seen.socket.state);
        }
        self.hoard.add(seen.socket, seen.age, stuck_after);
        if seen.socket.is_close_wait() && !is_first_holder {
            self.hoard.inherit();
        }
    }

    fn finish(self, process: ProcessIndex) -> ProcessCensus {
        let (close_wait, unread) = self.hoard.finish();
        let netns = most_first(self.namespaces).first().map_or(NetNsIndex(0), |(netns, _)| *netns);
        ProcessCensus {
            process,
            netns,
            states: self.states,
            port_ranges: self.ranges,
            close_wait,
            unread,
            ghosts: None,
        }
    }
}

/// The oldest of the holders of a socket: the others have inherited it.
pub(super) fn first_holder(snapshot: &Snapshot, holders: &[ProcessIndex]) -> Option<ProcessIndex> {
    let started = |holder: &ProcessIndex| {
        let key = snapshot.processes[holder.0 as usize].key;
        (key.start_ticks, key.pid)
    };
    holders.iter().min_by_key(|holder| started(holder)).copied()
}

#[derive(Default)]
struct PeerTally {
    states: StateCounts,
    holders: Vec<(ProcessIndex, u64)>,
    unseen: u64,
}

impl PeerTally {
    fn hold(&mut self, holder: ProcessIndex) {
        match self.holders.iter_mut().find(|(process, _)| *process == holder) {
            Some((_, count)) => *count += 1,
            None => self.holders.push((holder, 1)),
        }
    }

    fn finish(mut self, key: (NetNsIndex, Direction, IpAddr, u16)) -> PeerCensus {
        let (netns, direction, address, port) = key;
        self.holders.sort_by_key(|(process, count)| (std::cmp::Reverse(*count), *process));
        PeerCensus {
            netns,
            direction,
            address,
            port,
            states: self.states,
            holders: self.holders,
            holders_unseen: self.unseen,
        }
    }
}

/// The ranges of local ports that are counted, and which of them a socket belongs to.
struct Ranges<'a> {
    /// The ephemeral range of each namespace.
    ephemeral: Vec<Option<EphemeralRange>>,
    own: &'a [NamedPortRange],
}

const SYSTEM: usize = 0;
const EPHEMERAL: usize = 1;
const USER: usize = 2;
/// How many ranges there are before the operator's own.
const BUILT_IN: usize = 3;
/// The last of the system ports (RFC 6335 section 6).
const LAST_SYSTEM_PORT: u16 = 1023;

impl<'a> Ranges<'a> {
    fn new(snapshot: &Snapshot, own: &'a [NamedPortRange]) -> Self {
        Self { ephemeral: snapshot.namespaces.iter().map(|namespace| namespace.ports.range).collect(), own }
    }

    fn len(&self) -> usize {
        BUILT_IN + self.own.len()
    }

    /// The ranges that the socket's local port lies in, written to `found`: one of the three that share all ports out, and
    /// any of the operator's own. The namespace's own ephemeral range goes before the other two.
    fn find(&self, socket: &SocketRecord, found: &mut Vec<usize>) {
        let port = socket.tuple.local.port;
        let ephemeral = self.ephemeral[socket.netns.0 as usize];
        found.clear();
        found.push(match port {
            port if ephemeral.is_some_and(|range| range.contains(port)) => EPHEMERAL,
            0..=LAST_SYSTEM_PORT => SYSTEM,
            _ => USER,
        });
        let own = self.own.iter().enumerate().filter(|(_, range)| (range.first..=range.last).contains(&port));
        found.extend(own.map(|(nth, _)| BUILT_IN + nth));
    }

    fn name(&self, counts: Vec<StateCounts>) -> Vec<PortRangeCensus> {
        let ephemeral = self.ephemeral.iter().flatten().next().map(|range| (range.first, range.last));
        let built_in = [
            ("system", Some((0, LAST_SYSTEM_PORT))),
            ("ephemeral", ephemeral),
            ("user", Some((LAST_SYSTEM_PORT + 1, u16::MAX))),
        ];
        let built_in = built_in.into_iter().map(|(name, bounds)| (name.to_owned(), bounds));
        let own = self.own.iter().map(|range| (range.name.clone(), Some((range.first, range.last))));
        let named = built_in.chain(own).zip(counts);
        named.map(|((name, bounds), states)| PortRangeCensus { name, bounds, states }).collect()
    }
}
