//! Ports left for `connect()`, by source and destination.
//!
//! By `__inet_hash_connect` and `__inet_check_established` (kernel `net/ipv4/inet_hashtables.c`): a port is passed over
//! when it is reserved or closed to all (see `ledger`), and when a socket has the very four-tuple, on the same interface or
//! on none; unless that one is a TIME-WAIT that may be taken over (`tcp_twsk_unique`, `net/ipv4/tcp_ipv4.c`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::ledger::{Class, Ledger, holds_port};
use super::{PortPool, Tally};
use crate::attribution::{Owner, Owners, SocketMap};
use crate::model::ports::{PortSettings, TimeWaitReuse};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::{Namespace, PortAnswer, Snapshot};
use crate::model::socket::{NetNsIndex, SocketKind, SocketRecord, Timer};
use crate::model::state::{StateCounts, TcpState};
use crate::model::tuple::Endpoint;

/// How long a TIME-WAIT lasts, milliseconds (`TCP_TIMEWAIT_LEN`, kernel `include/net/tcp.h`).
const TIME_WAIT_MS: u32 = 60_000;
/// A tick of the slowest kernel clock (`HZ=100`), milliseconds: what is left of a TIME-WAIT is counted in ticks.
const TICK_MS: u32 = 10;
/// The interface `lo` of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK_INTERFACE: u32 = 1;

/// All pools that are in use: those with a connection that was opened from here and whose local port the ephemeral range
/// holds. Fewest ports left first, then most used.
///
/// An accepted connection whose listener is gone cannot be told from one that was opened from here and makes a pool too.
#[must_use]
pub fn connect_pools(snapshot: &Snapshot, owners: &Owners) -> Vec<PortPool> {
    pools_of(snapshot, owners, &Ledger::open_all(snapshot))
}

/// As [`connect_pools`], of ledgers that are open already.
pub(super) fn pools_of(snapshot: &Snapshot, owners: &Owners, ledgers: &[Option<Ledger>]) -> Vec<PortPool> {
    let bases: Vec<Option<Base>> = ledgers.iter().map(|ledger| ledger.as_ref().map(Base::of)).collect();
    let mut pools = Vec::new();
    for route in Routes::of(snapshot, ledgers).iter() {
        let first = &snapshot.sockets[route[0].socket as usize];
        let at = first.netns.0 as usize;
        let (Some(ledger), Some(base)) = (&ledgers[at], &bases[at]) else { continue };
        let on = |member: &Member| member.interface(&snapshot.sockets);
        for interface in interfaces_of(route, on) {
            let key = Key { interface, ..Key::of(first) };
            let near = route.iter().filter(|member| [0, interface].contains(&on(member)));
            let mut pool = base.pool(key, &conflicts(near), ledger);
            inhabit(&mut pool, route.iter().filter(|member| on(member) == interface), owners);
            pools.push(pool);
        }
    }
    pools.sort_by_cached_key(|pool| {
        (pool.remaining, Reverse(pool.used), pool.netns, pool.source, pool.destination, pool.interface)
    });
    pools
}

/// The interfaces that the outgoing sockets of a route are bound to: few, and each makes a pool of its own.
fn interfaces_of(route: &[Member], on: impl Fn(&Member) -> u32) -> Vec<u32> {
    let mut interfaces: Vec<u32> = Vec::new();
    for interface in route.iter().filter(|member| member.has(Member::OUTGOING)).map(on) {
        if let Err(place) = interfaces.binary_search(&interface) {
            interfaces.insert(place, interface);
        }
    }
    interfaces
}

/// The pool of one source and destination, also of one that nobody uses yet; its holders are left out. `None` when the
/// namespace's range or reserved ports are unknown.
#[must_use]
pub fn pool_for(
    snapshot: &Snapshot,
    netns: NetNsIndex,
    source: IpAddr,
    destination: Endpoint,
    interface: u32,
) -> Option<PortPool> {
    let key = Key { netns, source: source.to_canonical(), destination, interface };
    let ledger = Ledger::open(snapshot, netns)?;
    let sockets = snapshot.sockets.iter().enumerate().filter(|(_, socket)| {
        let tuple = &socket.tuple;
        socket.netns == netns
            && tuple.local.address == key.source
            && tuple.remote == destination
            && socket.kind != SocketKind::Request
    });
    let namespace = &snapshot.namespaces[netns.0 as usize];
    let members: Vec<Member> = sockets.map(|(index, socket)| Member::of(index, socket, &ledger, namespace)).collect();
    let on = |member: &Member| member.interface(&snapshot.sockets);
    let near = members.iter().filter(|member| [0, interface].contains(&on(member)));
    let mut pool = Base::of(&ledger).pool(key, &conflicts(near), &ledger);
    for member in members.iter().filter(|member| on(member) == interface) {
        pool.states.add(member.state);
    }
    Some(pool)
}

/// Which pool it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    netns: NetNsIndex,
    source: IpAddr,
    destination: Endpoint,
    interface: u32,
}

impl Key {
    fn of(socket: &SocketRecord) -> Self {
        Self {
            netns: socket.netns,
            source: socket.tuple.local.address,
            destination: socket.tuple.remote,
            interface: socket.interface,
        }
    }
}

/// Whether `connect()` may take over the connection, and with it the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takeover {
    No,
    Perhaps,
}

/// Whether a new connection with the same four-tuple may take this socket's place.
///
/// It is never sure: a dump tells neither whether the connection used timestamps nor, when `net.ipv4.tcp_timestamps` was
/// changed, whether it was made under the old setting. Only the kernel can say, and where it says yes the connection is
/// gone ([`holds_port`]).
pub(super) fn takeover(socket: &SocketRecord, namespace: &Namespace) -> Takeover {
    if socket.kind != SocketKind::TimeWait || socket.state != TcpState::TimeWait {
        return Takeover::No;
    }
    if namespace.answers.time_wait.get(&socket.tuple) == Some(&PortAnswer::Refused) {
        return Takeover::No;
    }
    let reusable = match namespace.ports.tw_reuse {
        Some(TimeWaitReuse::Off) => false,
        Some(TimeWaitReuse::Loopback) => is_loopback(socket),
        Some(TimeWaitReuse::Global) | None => true,
    };
    if reusable && is_old_enough(socket.timer, &namespace.ports) { Takeover::Perhaps } else { Takeover::No }
}

fn is_loopback(socket: &SocketRecord) -> bool {
    socket.interface == LOOPBACK_INTERFACE
        || socket.tuple.local.address.is_loopback()
        || socket.tuple.remote.address.is_loopback()
}

/// Without the setting, before Linux 6.14, two readings of a clock of whole seconds must differ: any age may do.
fn is_old_enough(timer: Timer, settings: &PortSettings) -> bool {
    match (timer, settings.tw_reuse_delay_ms) {
        (Timer::TimeWait(left_ms), Some(delay_ms)) => TIME_WAIT_MS.saturating_sub(left_ms) + TICK_MS > delay_ms,
        _ => true,
    }
}

/// What matters of a socket on a route. The rows are sixteen times as large and lie anywhere: of a host with many destinations
/// no cache holds them until they are looked at again.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Its index.
    socket: u32,
    port: u16,
    state: TcpState,
    /// Bits.
    traits: u8,
}

impl Member {
    /// It was opened from here, from a port of the range.
    const OUTGOING: u8 = 1;
    /// It is bound to an interface.
    const BOUND: u8 = 1 << 1;
    /// It is in the way, on a port that is not closed anyway.
    const IN_THE_WAY: u8 = 1 << 2;
    /// Perhaps it can be taken over.
    const PERHAPS: u8 = 1 << 3;

    fn of(index: usize, socket: &SocketRecord, ledger: &Ledger, namespace: &Namespace) -> Self {
        let port = socket.tuple.local.port;
        let is_open = matches!(ledger.class(port), Some(Class::Open | Class::Shared));
        let is_in_the_way = is_open && holds_port(socket, namespace);
        let traits = [
            (Self::OUTGOING, is_outgoing(socket, ledger)),
            (Self::BOUND, socket.interface != 0),
            (Self::IN_THE_WAY, is_in_the_way),
            (Self::PERHAPS, is_in_the_way && takeover(socket, namespace) == Takeover::Perhaps),
        ];
        let traits = traits.into_iter().filter(|(_, has)| *has).fold(0, |all, (one, _)| all | one);
        Self { socket: index as u32, port, state: socket.state, traits }
    }

    fn has(self, one: u8) -> bool {
        self.traits & one != 0
    }

    /// The index of the interface that it is bound to; 0 for none, which nearly all are.
    fn interface(self, sockets: &[SocketRecord]) -> u32 {
        if self.has(Self::BOUND) { sockets[self.socket as usize].interface } else { 0 }
    }

    fn conflict(self) -> Option<Conflict> {
        let takeover = if self.has(Self::PERHAPS) { Takeover::Perhaps } else { Takeover::No };
        self.has(Self::IN_THE_WAY).then_some(Conflict { port: self.port, takeover })
    }
}

/// The sockets on every route from source to destination that a pool in use is for.
struct Routes {
    /// Route by route.
    members: Vec<Member>,
    /// Where each route begins, and where the last one ends.
    starts: Vec<u32>,
}

impl Routes {
    fn of(snapshot: &Snapshot, ledgers: &[Option<Ledger>]) -> Self {
        let mut numbers: SocketMap<(NetNsIndex, IpAddr, Endpoint), u32> = SocketMap::default();
        let mut members: Vec<(u32, Member)> = Vec::with_capacity(snapshot.sockets.len());
        let mut others = Vec::new();
        for (index, socket) in snapshot.sockets.iter().enumerate() {
            let at = socket.netns.0 as usize;
            let Some(ledger) = &ledgers[at] else { continue };
            if socket.kind == SocketKind::Request || socket.tuple.remote.port == 0 {
                continue;
            }
            let member = Member::of(index, socket, ledger, &snapshot.namespaces[at]);
            if member.has(Member::OUTGOING) {
                let next = numbers.len() as u32;
                members.push((*numbers.entry(route_of(socket)).or_insert(next), member));
            } else {
                others.push(member);
            }
        }
        members.extend(others.into_iter().filter_map(|member| {
            let route = numbers.get(&route_of(&snapshot.sockets[member.socket as usize]))?;
            Some((*route, member))
        }));
        Self::sorted(&members, numbers.len())
    }

    /// A counting sort: there are as many routes as a crawler has destinations.
    fn sorted(members: &[(u32, Member)], count: usize) -> Self {
        let mut starts = vec![0; count + 1];
        for (route, _) in members {
            starts[*route as usize + 1] += 1;
        }
        for route in 0..count {
            starts[route + 1] += starts[route];
        }
        let mut next = starts.clone();
        let mut sorted = members.first().map_or_else(Vec::new, |(_, member)| vec![*member; members.len()]);
        for (route, member) in members {
            let place = &mut next[*route as usize];
            sorted[*place as usize] = *member;
            *place += 1;
        }
        Self { members: sorted, starts }
    }

    fn iter(&self) -> impl Iterator<Item = &[Member]> {
        self.starts.windows(2).map(|ends| &self.members[ends[0] as usize..ends[1] as usize])
    }
}

fn route_of(socket: &SocketRecord) -> (NetNsIndex, IpAddr, Endpoint) {
    (socket.netns, socket.tuple.local.address, socket.tuple.remote)
}

fn is_outgoing(socket: &SocketRecord, ledger: &Ledger) -> bool {
    let inactive = matches!(socket.state, TcpState::Listen | TcpState::Close | TcpState::BoundInactive);
    socket.kind != SocketKind::Request
        && !inactive
        && socket.tuple.remote.port != 0
        && ledger.range.contains(socket.tuple.local.port)
        && !ledger.is_accepted(&socket.tuple.local)
}

/// A port of the pool that somebody has for this very destination, and whether it can be had all the same. Two connections
/// of one four-tuple stand side by side when one is bound to an interface; which one the kernel looks at is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Conflict {
    port: u16,
    takeover: Takeover,
}

/// The conflicts with these sockets of a route, by port, of ports that are not closed anyway.
fn conflicts<'a>(near: impl Iterator<Item = &'a Member>) -> Vec<Conflict> {
    by_port(near.filter_map(|member| member.conflict()).collect())
}

/// In the order of the ports, each once; of several on one port, the one that leaves the most.
fn by_port(mut found: Vec<Conflict>) -> Vec<Conflict> {
    // From so many on, a place for every port there is costs less than to compare them.
    const MANY: usize = 2_048;
    if found.len() < MANY {
        found.sort_unstable();
        let same_port = found.chunk_by(|a, b| a.port == b.port);
        return same_port.map(|same| same[same.len() - 1]).collect();
    }
    let mut places = vec![None; usize::from(u16::MAX) + 1];
    for Conflict { port, takeover } in found.drain(..) {
        let place = &mut places[usize::from(port)];
        *place = (*place).max(Some(takeover));
    }
    let taken = (0..=u16::MAX).zip(places).filter_map(|(port, place)| Some(Conflict { port, takeover: place? }));
    found.extend(taken);
    found
}

/// What all pools of a namespace have in common.
struct Base {
    usable: u32,
    open: u32,
    unseen: u32,
    shared: u32,
    blocked: u32,
}

impl Base {
    fn of(ledger: &Ledger) -> Self {
        Self {
            usable: ledger.usable(),
            open: ledger.count(Class::Open),
            unseen: ledger.count(Class::Unseen),
            shared: ledger.count(Class::Shared),
            blocked: ledger.count(Class::Blocked),
        }
    }

    /// The pool in which these conflicts stand, without its sockets.
    fn pool(&self, key: Key, conflicts: &[Conflict], ledger: &Ledger) -> PortPool {
        let mut tally = Tally { sure: self.open, unlisted: self.unseen, shared: self.shared, ..Tally::default() };
        for conflict in conflicts {
            match ledger.class(conflict.port) {
                Some(Class::Open) => tally.sure -= 1,
                _ => tally.shared -= 1,
            }
            tally.time_wait += u32::from(conflict.takeover == Takeover::Perhaps);
        }
        let is_sure = |port: u16| {
            matches!(ledger.class(port), Some(Class::Open | Class::Unseen))
                && conflicts.binary_search_by_key(&port, |conflict| conflict.port).is_err()
        };
        tally.odd = ledger.odd_ends().is_some_and(|ends| ends.into_iter().any(is_sure));
        let (remaining, remaining_at_least, doubts) = tally.bounds(ledger.hidden);
        PortPool {
            netns: key.netns,
            source: key.source,
            destination: key.destination,
            interface: key.interface,
            usable: self.usable,
            used: self.usable - remaining,
            remaining,
            remaining_at_least,
            blocked: self.blocked,
            doubts,
            states: StateCounts::default(),
            holders: Vec::new(),
            holders_unseen: 0,
        }
    }
}

/// The states of the sockets on the pool's own interface, and who holds them, most first.
fn inhabit<'a>(pool: &mut PortPool, members: impl Iterator<Item = &'a Member>, owners: &Owners) {
    let mut counts: BTreeMap<ProcessIndex, u64> = BTreeMap::new();
    for member in members {
        pool.states.add(member.state);
        match owners.of(member.socket as usize) {
            Owner::Held(holders) => holders.iter().for_each(|holder| *counts.entry(*holder).or_default() += 1),
            Owner::Unresolved(_) => pool.holders_unseen += 1,
            Owner::NotAccepted(_) | Owner::Kernel => {}
        }
    }
    pool.holders = counts.into_iter().collect();
    pool.holders.sort_by_key(|(process, count)| (Reverse(*count), *process));
}
