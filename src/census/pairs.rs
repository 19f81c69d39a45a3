//! Both ends of one connection, seen in one look: a CLOSE-WAIT whose peer waits in FIN-WAIT on this host too. It tells who
//! closed and who did not.
//!
//! The ends are joined by their addresses, which each end has the other way round. Two ends in one namespace belong together:
//! both addresses are local there. Two ends in different namespaces (veth, bridge) belong together when no others have the
//! same addresses: containers may all have the same private ones. A NAT between them changes the addresses, and they are not
//! joined; nor is a CLOSE-WAIT whose peer is on another host, or has been ended by `tcp_fin_timeout`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use super::tally::first_holder;
use super::{Direction, Query};
use crate::attribution::{Owner, Owners};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{NetNsIndex, SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::{Endpoint, FourTuple};

/// The connections of which both ends were seen, one of them in CLOSE-WAIT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    /// By who is at both ends, most connections first.
    pub rows: Vec<PairCensus>,
    /// CLOSE-WAIT sockets that are not counted because several peers in other namespaces fit, or because others fit the same
    /// peer.
    pub ambiguous: u64,
}

/// The connections between two programs that one of them has closed and the other has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairCensus {
    /// The end in CLOSE-WAIT.
    pub kept: PairEnd,
    /// The end in FIN-WAIT-2 (or FIN-WAIT-1, for a moment).
    pub closed: PairEnd,
    /// The address of the end that connected.
    pub client: IpAddr,
    /// The end that it connected to.
    pub server: Endpoint,
    /// How many connections.
    pub count: u64,
    /// How the other ends wait.
    pub waiting: FinWaits,
}

/// One end of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairEnd {
    /// Where it was seen.
    pub netns: NetNsIndex,
    /// Who opened the connections, seen from this end.
    pub direction: Direction,
    /// Who has it.
    pub holder: EndHolder,
}

/// Who has one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndHolder {
    /// This process; of several that share it, the oldest.
    Held(ProcessIndex),
    /// No process yet: it waits to be accepted by this one, if that could be seen.
    NotAccepted(Option<ProcessIndex>),
    /// The kernel alone: its program has closed it. Who listens at its port, if somebody does.
    Kernel(Option<ProcessIndex>),
    /// Some process that could not be seen, or was not looked for.
    Unseen,
}

impl EndHolder {
    /// The process that has the end, will have it, or had it as far as can be told.
    #[must_use]
    pub fn process(self) -> Option<ProcessIndex> {
        match self {
            Self::Held(process) => Some(process),
            Self::NotAccepted(process) | Self::Kernel(process) => process,
            Self::Unseen => None,
        }
    }
}

/// How the ends that have closed wait for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FinWaits {
    /// In FIN-WAIT-1: the FIN is not acknowledged yet.
    pub fin_wait1: u64,
    /// In FIN-WAIT-2, held by a process that called `shutdown()`: nothing in the kernel ends that.
    pub held: u64,
    /// In FIN-WAIT-2 without a process: the kernel ends it after `tcp_fin_timeout`.
    pub orphaned: u64,
}

impl PairCensus {
    /// The peer of the end that has closed, as [`super::PeerCensus`] counts peers: its address and port.
    #[must_use]
    pub fn peer_of_closed(&self) -> (IpAddr, u16) {
        match self.closed.direction {
            Direction::Outbound => (self.server.address, self.server.port),
            Direction::Inbound => (self.client, self.server.port),
        }
    }
}

/// Finds the pairs of which at least one end was asked for.
///
/// Nothing is looked for where the count of all sockets, `any_closed`, has seen none that has closed.
pub(super) fn find(snapshot: &Snapshot, owners: &Owners, query: &Query, any_closed: bool) -> Pairs {
    if !any_closed {
        return Pairs::default();
    }
    let mut kept = Vec::new();
    let mut closed = Vec::new();
    for (index, socket) in snapshot.sockets.iter().enumerate() {
        if socket.is_close_wait() {
            kept.push(index);
        } else if has_closed(socket) {
            closed.push(index);
        }
    }
    if kept.is_empty() || closed.is_empty() {
        return Pairs::default();
    }
    let joined = Joined::of(&snapshot.sockets, &kept, closed);
    let mut sum = Sum { snapshot, owners, query, rows: HashMap::new() };
    for (kept, closed) in joined.pairs {
        sum.add(kept, closed);
    }
    Pairs { rows: sum.finish(), ambiguous: joined.ambiguous }
}

/// Whether the program at this end has closed, and the one at the other has not.
pub(super) fn has_closed(socket: &SocketRecord) -> bool {
    let waits = |state| matches!(state, TcpState::FinWait1 | TcpState::FinWait2);
    waits(socket.state) || socket.mptcp.is_some_and(waits)
}

/// The sockets that belong together, by index.
struct Joined {
    pairs: Vec<(usize, usize)>,
    ambiguous: u64,
}

/// The ends that have closed and that have the same two addresses, as a chain through [`Closed::next`].
struct Closed<'a> {
    sockets: &'a [SocketRecord],
    ends: Vec<usize>,
    /// The next end with the same addresses, by position in `ends`; itself at the end of a chain.
    next: Vec<usize>,
    /// Whether the other end was found.
    taken: Vec<bool>,
    /// The first end of each chain, by the addresses as the other end has them.
    first: HashMap<FourTuple, usize>,
}

impl<'a> Closed<'a> {
    fn new(sockets: &'a [SocketRecord], ends: Vec<usize>) -> Self {
        let mut next: Vec<usize> = (0..ends.len()).collect();
        let mut first = HashMap::with_capacity(ends.len());
        for (place, end) in ends.iter().enumerate() {
            let head = *first.entry(reversed(&sockets[*end].tuple)).or_insert(place);
            if head != place {
                next[place] = if next[head] == head { place } else { next[head] };
                next[head] = place;
            }
        }
        Self { taken: vec![false; ends.len()], sockets, ends, next, first }
    }

    /// The places of a chain.
    fn chain(&self, first: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(first), |place| Some(self.next[*place]).filter(|next| next != place))
    }

    fn netns(&self, place: usize) -> NetNsIndex {
        self.sockets[self.ends[place]].netns
    }

    /// The only one of these places; how many there are when it is not one.
    fn only(mut places: impl Iterator<Item = usize>) -> Result<usize, Fit> {
        match (places.next(), places.next()) {
            (None, _) => Err(Fit::None),
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => Err(Fit::Several),
        }
    }
}

/// Why there is no single fit.
#[derive(PartialEq, Eq)]
enum Fit {
    None,
    Several,
}

impl Joined {
    fn of(sockets: &[SocketRecord], kept: &[usize], closed: Vec<usize>) -> Self {
        let mut closed = Closed::new(sockets, closed);
        let mut joined = Self { pairs: Vec::with_capacity(kept.len().min(closed.ends.len())), ambiguous: 0 };
        // How many ends look for their peer in other namespaces, by the chain that it must be in.
        let mut claims = vec![0_u32; closed.ends.len()];
        let mut elsewhere = Vec::new();
        for &index in kept {
            let socket = &sockets[index];
            let Some(&first) = closed.first.get(&socket.tuple) else { continue };
            match Closed::only(closed.chain(first).filter(|place| closed.netns(*place) == socket.netns)) {
                Ok(place) => joined.pair(index, place, &mut closed),
                Err(Fit::Several) => joined.ambiguous += 1,
                Err(Fit::None) if is_loopback(&socket.tuple) => {}
                Err(Fit::None) => {
                    claims[first] += 1;
                    elsewhere.push((index, first));
                }
            }
        }
        for (index, first) in elsewhere {
            match Closed::only(closed.chain(first).filter(|place| !closed.taken[*place])) {
                Ok(place) if claims[first] == 1 => joined.pair(index, place, &mut closed),
                Err(Fit::None) => {}
                Ok(_) | Err(Fit::Several) => joined.ambiguous += 1,
            }
        }
        joined
    }

    fn pair(&mut self, kept: usize, place: usize, closed: &mut Closed<'_>) {
        closed.taken[place] = true;
        self.pairs.push((kept, closed.ends[place]));
    }
}

fn reversed(tuple: &FourTuple) -> FourTuple {
    FourTuple { local: tuple.remote, remote: tuple.local }
}

/// Whether the connection cannot leave its namespace.
fn is_loopback(tuple: &FourTuple) -> bool {
    tuple.local.address.is_loopback() || tuple.remote.address.is_loopback()
}

type Key = (PairEnd, PairEnd, IpAddr, Endpoint);

/// The pairs, summed up by who is at both ends.
struct Sum<'a> {
    snapshot: &'a Snapshot,
    owners: &'a Owners,
    query: &'a Query,
    rows: HashMap<Key, FinWaits>,
}

impl Sum<'_> {
    fn add(&mut self, kept: usize, closed: usize) {
        let everything = self.query.selection.is_everything();
        if !(everything || self.was_asked_for(kept) || self.was_asked_for(closed)) {
            return;
        }
        let sockets = &self.snapshot.sockets;
        let tuple = &sockets[kept].tuple;
        let (kept, closed, other) = (self.end(kept), self.end(closed), &sockets[closed]);
        let (client, server) = match kept.direction {
            Direction::Outbound => (tuple.local.address, tuple.remote),
            Direction::Inbound => (tuple.remote.address, tuple.local),
        };
        let waiting = self.rows.entry((kept, closed, client, server)).or_default();
        match other.state {
            TcpState::FinWait1 => waiting.fin_wait1 += 1,
            _ if other.kind == SocketKind::Full && other.inode.is_some() => waiting.held += 1,
            _ => waiting.orphaned += 1,
        }
    }

    fn was_asked_for(&self, index: usize) -> bool {
        let selection = &self.query.selection;
        let holders = || match self.owners.of(index) {
            Owner::Held(holders) => holders,
            Owner::NotAccepted(_) | Owner::Kernel | Owner::Unresolved(_) => &[],
        };
        let takes = |holder: &ProcessIndex| selection.takes_process(&self.snapshot.processes[holder.0 as usize]);
        selection.takes_socket(&self.snapshot.sockets[index])
            && (!selection.by_process() || holders().iter().any(takes))
    }

    fn end(&self, index: usize) -> PairEnd {
        let socket = &self.snapshot.sockets[index];
        let listener = self.owners.listener_at(socket.netns, &socket.tuple.local);
        let listening = |listener: usize| match self.owners.of(listener) {
            Owner::Held(holders) => first_holder(self.snapshot, holders),
            Owner::NotAccepted(_) | Owner::Kernel | Owner::Unresolved(_) => None,
        };
        let holder = match self.owners.of(index) {
            Owner::Held(holders) => first_holder(self.snapshot, holders).map_or(EndHolder::Unseen, EndHolder::Held),
            Owner::NotAccepted(listener) => EndHolder::NotAccepted(listening(listener)),
            Owner::Kernel => EndHolder::Kernel(listener.and_then(listening)),
            Owner::Unresolved(_) => EndHolder::Unseen,
        };
        let direction = if listener.is_some() { Direction::Inbound } else { Direction::Outbound };
        PairEnd { netns: socket.netns, direction, holder }
    }

    fn finish(self) -> Vec<PairCensus> {
        let row = |((kept, closed, client, server), waiting): (Key, FinWaits)| PairCensus {
            kept,
            closed,
            client,
            server,
            count: waiting.fin_wait1 + waiting.held + waiting.orphaned,
            waiting,
        };
        let mut rows: Vec<PairCensus> = self.rows.into_iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.count), row.kept, row.closed, row.server, row.client));
        rows
    }
}
