//! Ports left for `bind()` of an address to port 0, and for `listen()` without `bind()`.
//!
//! By `inet_csk_find_open_port` and `inet_csk_bind_conflict` (kernel `net/ipv4/inet_connection_sock.c`): a port is refused
//! when any owner's address overlaps the binder's, whatever the owner's state, TIME-WAIT included, and whatever interface
//! the owner is bound to. The binder meant here is a plain one: with `SO_REUSEADDR` and `net.ipv4.ip_autobind_reuse`
//! there is practically no limit.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ledger::{Class, Ledger, holds_port};
use super::{BindPool, Tally};
use crate::model::ports::EphemeralRange;
use crate::model::snapshot::{Namespace, PortAnswer, Snapshot};
use crate::model::socket::{NetNsIndex, SocketRecord};
use crate::model::tuple::Endpoint;

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The pools of every namespace that holds sockets, or that is the only one: of `0.0.0.0`, of `::` where there is an IPv6 socket, and of each local address that has
/// a socket on an ephemeral port. Fewest ports left first.
///
/// Link-local addresses are left out: what overlaps them depends on the interface.
#[must_use]
pub fn bind_pools(snapshot: &Snapshot) -> Vec<BindPool> {
    pools_of(snapshot, &Ledger::open_all(snapshot))
}

/// As [`bind_pools`], of ledgers that are open already.
pub(super) fn pools_of(snapshot: &Snapshot, ledgers: &[Option<Ledger>]) -> Vec<BindPool> {
    let mut pools: Vec<BindPool> = books(snapshot, ledgers).iter().flat_map(Book::pools).collect();
    pools.sort_by_key(|pool| (pool.remaining, pool.netns, pool.address));
    pools
}

/// The pool of one address, also of one that nobody uses yet. `None` when the namespace's range or reserved ports are
/// unknown.
#[must_use]
pub fn bind_pool_for(snapshot: &Snapshot, netns: NetNsIndex, address: IpAddr) -> Option<BindPool> {
    let ledgers = Ledger::open_all(snapshot);
    let book = books(snapshot, &ledgers).into_iter().find(|book| book.netns == netns)?;
    let address = address.to_canonical();
    if address.is_unspecified() {
        return Some(book.wildcard(address));
    }
    let own = book.taken.own.get(&address).map_or(&[][..], Vec::as_slice);
    Some(book.pool(address, own, &book.common_of(address)))
}

/// The addresses and ports of which it is in doubt whether an IPv6 socket is in their way, and nothing else is.
pub(super) fn doubtful(snapshot: &Snapshot, ledgers: &[Option<Ledger>]) -> Vec<(NetNsIndex, Endpoint)> {
    in_doubt(books(snapshot, ledgers))
}

/// The same of what `stays`.
pub(super) fn doubtful_when(
    snapshot: &Snapshot,
    ledgers: &[Option<Ledger>],
    stays: impl Fn(&SocketRecord) -> bool,
) -> Vec<(NetNsIndex, Endpoint)> {
    let none = |ledger: &Option<Ledger>| ledger.as_ref().map(|ledger| Taken::none_of(ledger.range));
    let mut taken: Vec<Option<Taken>> = ledgers.iter().map(none).collect();
    for socket in snapshot.sockets.iter().filter(|socket| stays(socket)) {
        let at = socket.netns.0 as usize;
        if let Some(taken) = &mut taken[at] {
            taken.enter(socket, holds_port(socket, &snapshot.namespaces[at]));
        }
    }
    taken.iter_mut().flatten().for_each(Taken::settle);
    // A namespace has both or neither.
    let staying = books(snapshot, ledgers).into_iter().zip(taken.iter().flatten());
    in_doubt(staying.map(|(book, taken)| Book { taken, ..book }))
}

fn in_doubt<'a>(books: impl IntoIterator<Item = Book<'a>>) -> Vec<(NetNsIndex, Endpoint)> {
    let of_one = |book: Book<'a>| book.in_doubt().into_iter().map(move |endpoint| (book.netns, endpoint));
    books.into_iter().flat_map(of_one).collect()
}

/// Whom the owners of a port shut out: bits.
mod shut {
    /// Somebody is on the port: `::` is shut out.
    pub(super) const OWNED: u8 = 1;
    /// Every IPv4 address.
    pub(super) const V4: u8 = 1 << 1;
    /// Every IPv4 address, unless an owner is IPv6-only.
    pub(super) const V4_PERHAPS: u8 = 1 << 2;
    /// `0.0.0.0`.
    pub(super) const ANY_V4: u8 = 1 << 3;
    /// `0.0.0.0`, unless an owner is IPv6-only.
    pub(super) const ANY_V4_PERHAPS: u8 = 1 << 4;
    /// Every IPv6 address.
    pub(super) const V6: u8 = 1 << 5;
}

/// The owners of one namespace's ephemeral ports, as a binder sees them.
pub(super) struct Taken {
    range: EphemeralRange,
    /// By port, from the first of the range on: bits of [`shut`].
    shut: Vec<u8>,
    /// The ports of the owners that are bound to an address, by address, each once, ascending.
    own: BTreeMap<IpAddr, Vec<u16>>,
    has_v6: bool,
}

/// What a namespace's binders find.
struct Book<'a> {
    netns: NetNsIndex,
    namespace: &'a Namespace,
    ledger: &'a Ledger,
    taken: &'a Taken,
}

fn books<'a>(snapshot: &'a Snapshot, ledgers: &'a [Option<Ledger>]) -> Vec<Book<'a>> {
    let book = |((ledger, namespace), nth): ((&'a Option<Ledger>, &'a Namespace), u32)| {
        let ledger = ledger.as_ref()?;
        Some(Book { netns: NetNsIndex(nth), namespace, ledger, taken: &ledger.taken })
    };
    ledgers.iter().zip(&snapshot.namespaces).zip(0..).filter_map(book).collect()
}

/// Puts the ports in order, each once.
fn ascending(ports: &mut Vec<u16>) {
    // From so many on, a bit for every port there is costs less than to compare them.
    const MANY: usize = 2_048;
    if ports.len() < MANY {
        ports.sort_unstable();
        ports.dedup();
        return;
    }
    let mut is_there = vec![false; usize::from(u16::MAX) + 1];
    ports.iter().for_each(|port| is_there[usize::from(*port)] = true);
    ports.clear();
    ports.extend((0..=u16::MAX).filter(|port| is_there[usize::from(*port)]));
}

impl Taken {
    /// Nobody has a port of this range.
    pub(super) fn none_of(range: EphemeralRange) -> Self {
        Self { range, shut: vec![0; range.span() as usize], own: BTreeMap::new(), has_v6: false }
    }

    /// Enters a socket of the namespace, which has its port or not.
    pub(super) fn enter(&mut self, socket: &SocketRecord, holds_port: bool) {
        let local = socket.tuple.local;
        self.has_v6 |= local.address.is_ipv6();
        if !holds_port || !self.range.contains(local.port) {
            return;
        }
        let shut = &mut self.shut[usize::from(local.port - self.range.first)];
        *shut |= shut::OWNED;
        *shut |= match (local.address, local.is_wildcard()) {
            (IpAddr::V4(_), true) => shut::V4 | shut::ANY_V4,
            (IpAddr::V4(_), false) => shut::ANY_V4,
            (IpAddr::V6(_), true) => {
                shut::V6
                    | match socket.v6only {
                        Some(true) => 0,
                        Some(false) => shut::V4 | shut::ANY_V4,
                        None => shut::V4_PERHAPS | shut::ANY_V4_PERHAPS,
                    }
            }
            // `ipv4_rcv_saddr_equal` looks at IPV6_V6ONLY of the owner and at nothing else when the binder is 0.0.0.0.
            (IpAddr::V6(_), false) => match socket.v6only {
                Some(true) => 0,
                Some(false) => shut::ANY_V4,
                None => shut::ANY_V4_PERHAPS,
            },
        };
        if !local.is_wildcard() && !is_link_local(local.address) {
            self.own.entry(local.address).or_default().push(local.port);
        }
    }

    /// To be called when all are entered.
    pub(super) fn settle(&mut self) {
        self.own.values_mut().for_each(ascending);
    }
}

impl Book<'_> {
    fn pools(&self) -> Vec<BindPool> {
        let wildcards = [Some(ANY_V4), self.taken.has_v6.then_some(ANY_V6)].into_iter().flatten();
        let mut pools: Vec<BindPool> = wildcards.map(|address| self.wildcard(address)).collect();
        let (v4, v6) = (self.common_of(ANY_V4), self.common_of(ANY_V6));
        pools.extend(self.taken.own.iter().map(|(address, own)| {
            let common = if address.is_ipv4() { &v4 } else { &v6 };
            self.pool(*address, own, common)
        }));
        pools
    }

    fn wildcard(&self, address: IpAddr) -> BindPool {
        let common = match address {
            IpAddr::V4(_) => self.common(shut::ANY_V4, shut::ANY_V4_PERHAPS),
            IpAddr::V6(_) => self.common(shut::OWNED, 0),
        };
        self.pool(address, &[], &common)
    }

    /// What each port is to every address of this one's family.
    fn common_of(&self, address: IpAddr) -> Common {
        match address {
            IpAddr::V4(_) => self.common(shut::V4, shut::V4_PERHAPS),
            IpAddr::V6(_) => self.common(shut::V6, 0),
        }
    }

    /// What each port is to the addresses that these bits shut out, surely and perhaps.
    fn common(&self, surely: u8, perhaps: u8) -> Common {
        let chances: Vec<Chance> = self
            .ledger
            .ports()
            .zip(&self.taken.shut)
            .map(|((_, class), shut)| match class {
                Class::Reserved => Chance::None,
                _ if shut & surely != 0 => Chance::None,
                _ if shut & perhaps != 0 => Chance::UnlessDualStack,
                // Where the kernel lets a `connect()` share the port, nobody came by bind(), seen or not.
                Class::Open => Chance::Sure,
                Class::Unseen | Class::Shared | Class::Blocked => Chance::UnlessHidden,
            })
            .collect();
        let mut tally = Tally::default();
        for chance in &chances {
            if let Some(count) = chance.count_in(&mut tally) {
                *count += 1;
            }
        }
        Common { chances, tally }
    }

    /// The pool of an address that has these ports itself.
    fn pool(&self, address: IpAddr, own: &[u16], common: &Common) -> BindPool {
        let first = self.ledger.range.first;
        let mut tally = common.tally;
        let mut change = |port: u16, to: Chance| {
            if let Some(count) = common.chances[usize::from(port - first)].count_in(&mut tally) {
                *count -= 1;
                if let Some(count) = to.count_in(&mut tally) {
                    *count += 1;
                }
            }
        };
        own.iter().for_each(|port| change(*port, Chance::None));
        let answers = self.answers(address).filter(|(endpoint, _)| own.binary_search(&endpoint.port).is_err());
        for (endpoint, answer) in answers {
            match answer {
                PortAnswer::Usable => change(endpoint.port, Chance::Sure),
                PortAnswer::Refused => change(endpoint.port, Chance::None),
            }
        }
        let is_sure = |port: u16| match self.namespace.answers.bind.get(&Endpoint::new(address, port)) {
            Some(answer) => *answer == PortAnswer::Usable,
            None => {
                let chance = common.chances[usize::from(port - first)];
                matches!(chance, Chance::Sure | Chance::UnlessHidden) && own.binary_search(&port).is_err()
            }
        };
        tally.odd = self.ledger.odd_ends().is_some_and(|ends| ends.into_iter().any(is_sure));
        let (remaining, remaining_at_least, doubts) = tally.bounds(self.ledger.hidden);
        let usable = self.ledger.usable();
        BindPool { netns: self.netns, address, usable, used: usable - remaining, remaining, remaining_at_least, doubts }
    }

    /// The kernel's answers for this address on ports of the range.
    fn answers(&self, address: IpAddr) -> impl Iterator<Item = (Endpoint, PortAnswer)> + '_ {
        let range = self.ledger.range;
        let span = Endpoint::new(address, range.first)..=Endpoint::new(address, range.last);
        self.namespace.answers.bind.range(span).map(|(endpoint, answer)| (*endpoint, *answer))
    }

    fn in_doubt(&self) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let mut collect = |address: IpAddr, own: &[u16], common: &Common| {
            for ((port, _), chance) in self.ledger.ports().zip(&common.chances) {
                let endpoint = Endpoint::new(address, port);
                let known = self.namespace.answers.bind.contains_key(&endpoint) || own.binary_search(&port).is_ok();
                if *chance == Chance::UnlessDualStack && !known {
                    endpoints.push(endpoint);
                }
            }
        };
        collect(ANY_V4, &[], &self.common(shut::ANY_V4, shut::ANY_V4_PERHAPS));
        let common = self.common_of(ANY_V4);
        if common.tally.v6only > 0 {
            let v4 = self.taken.own.iter().filter(|(address, _)| address.is_ipv4());
            v4.for_each(|(address, own)| collect(*address, own, &common));
        }
        endpoints
    }
}

/// The chance that a binder gets a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chance {
    None,
    UnlessDualStack,
    UnlessHidden,
    Sure,
}

impl Chance {
    /// Where it is counted, if it is.
    fn count_in(self, tally: &mut Tally) -> Option<&mut u32> {
        match self {
            Self::None => None,
            Self::UnlessDualStack => Some(&mut tally.v6only),
            Self::UnlessHidden => Some(&mut tally.unlisted),
            Self::Sure => Some(&mut tally.sure),
        }
    }
}

/// What a whole family of binders has in common.
struct Common {
    chances: Vec<Chance>,
    tally: Tally,
}

/// `fe80::/10`; IPv4 link-local addresses have no scope.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
