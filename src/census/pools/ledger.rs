//! Each port of a namespace's ephemeral range, classified once.

use std::collections::HashMap;
use std::net::IpAddr;

use super::bind::Taken;
use crate::model::ports::EphemeralRange;
use crate::model::snapshot::{Namespace, PortAnswer, Snapshot, SourceKind};
use crate::model::socket::{NetNsIndex, PortBinding, SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;

/// What a port is to a `connect()` whose four-tuple nobody has.
///
/// The kernel keeps one `struct inet_bind_bucket` per port, for both families and all addresses, and passes over the port
/// when the bucket's `fastreuse` or `fastreuseport` is not negative: when an owner came by `bind()`
/// (`__inet_hash_connect`, kernel `net/ipv4/inet_hashtables.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nobody is on it, or the kernel said that it can be shared.
    Open,
    /// Nobody was seen on it, by a source that does not list sockets that are bound and nothing else.
    Unseen,
    /// The kernel chose it for all its owners, as far as can be seen. `bind()` to port 0, an accepted connection whose
    /// listener is gone, and a TIME-WAIT of either look the same and close it.
    Shared,
    /// Closed to every destination.
    Blocked,
    /// Never handed out.
    Reserved,
}

/// The ports of one namespace.
pub(super) struct Ledger {
    pub(super) range: EphemeralRange,
    /// How many bound sockets there may be that the source did not list.
    pub(super) hidden: u32,
    classes: Vec<Class>,
    listeners: HashMap<u16, Vec<Listener>>,
    /// What a binder finds: noted in the same pass, since no cache holds the rows until the next.
    pub(super) taken: Taken,
}

struct Listener {
    address: IpAddr,
    v6only: Option<bool>,
}

impl Ledger {
    /// One for every namespace, in one pass over the sockets; `None` where the range or the reserved ports are unknown, and
    /// where no socket is among several namespaces: of hundreds, most hold nothing, and all their ports are left.
    pub(super) fn open_all(snapshot: &Snapshot) -> Vec<Option<Self>> {
        let is_alone = snapshot.namespaces.len() == 1;
        let mut is_used = vec![is_alone; snapshot.namespaces.len()];
        if !is_alone {
            snapshot.sockets.iter().for_each(|socket| is_used[socket.netns.0 as usize] = true);
        }
        let open = |(namespace, is_used)| if is_used { Self::empty(namespace, snapshot) } else { None };
        let mut ledgers: Vec<Option<Self>> = snapshot.namespaces.iter().zip(is_used).map(open).collect();
        for socket in &snapshot.sockets {
            let at = socket.netns.0 as usize;
            if let Some(ledger) = &mut ledgers[at] {
                ledger.enter(socket, &snapshot.namespaces[at]);
            }
        }
        for (ledger, namespace) in ledgers.iter_mut().zip(&snapshot.namespaces) {
            if let Some(ledger) = ledger {
                ledger.settle(namespace);
            }
        }
        ledgers
    }

    /// That of one namespace.
    pub(super) fn open(snapshot: &Snapshot, netns: NetNsIndex) -> Option<Self> {
        let namespace = snapshot.namespaces.get(netns.0 as usize)?;
        let mut ledger = Self::empty(namespace, snapshot)?;
        for socket in snapshot.sockets.iter().filter(|socket| socket.netns == netns) {
            ledger.enter(socket, namespace);
        }
        ledger.settle(namespace);
        Some(ledger)
    }

    fn empty(namespace: &Namespace, snapshot: &Snapshot) -> Option<Self> {
        let range = namespace.ports.range?;
        namespace.ports.reserved.as_ref()?;
        Some(Self {
            range,
            hidden: if lists_bound_sockets(namespace, snapshot) { 0 } else { unlisted_sockets(namespace) },
            classes: vec![Class::Open; range.span() as usize],
            listeners: HashMap::new(),
            taken: Taken::none_of(range),
        })
    }

    fn enter(&mut self, socket: &SocketRecord, namespace: &Namespace) {
        let local = socket.tuple.local;
        let holds_port = holds_port(socket, namespace);
        self.taken.enter(socket, holds_port);
        if !holds_port || !self.range.contains(local.port) {
            return;
        }
        let class = &mut self.classes[usize::from(local.port - self.range.first)];
        if is_bound(socket) {
            *class = Class::Blocked;
        } else if *class == Class::Open {
            *class = Class::Shared;
        }
        if socket.state == TcpState::Listen {
            let listener = Listener { address: local.address, v6only: socket.v6only };
            self.listeners.entry(local.port).or_default().push(listener);
        }
    }

    fn settle(&mut self, namespace: &Namespace) {
        self.taken.settle();
        for (port, class) in self.range.iter().zip(&mut self.classes) {
            if namespace.ports.reserved.as_ref().is_some_and(|reserved| reserved.contains(port)) {
                *class = Class::Reserved;
                continue;
            }
            *class = match (*class, namespace.answers.shared.get(&port)) {
                (Class::Blocked, _) | (_, Some(PortAnswer::Refused)) => Class::Blocked,
                (_, Some(PortAnswer::Usable)) => Class::Open,
                (Class::Open, None) if self.hidden > 0 => Class::Unseen,
                (class, None) => class,
            };
        }
    }

    /// `None` outside the range.
    pub(super) fn class(&self, port: u16) -> Option<Class> {
        port.checked_sub(self.range.first).and_then(|nth| self.classes.get(usize::from(nth))).copied()
    }

    /// The ports of the range, ascending, with their classes.
    pub(super) fn ports(&self) -> impl Iterator<Item = (u16, Class)> + '_ {
        self.range.iter().zip(self.classes.iter().copied())
    }

    /// How many ports are of this class.
    pub(super) fn count(&self, wanted: Class) -> u32 {
        self.classes.iter().map(|class| u32::from(*class == wanted)).sum()
    }

    /// Ports that are not reserved.
    pub(super) fn usable(&self) -> u32 {
        self.range.span() - self.count(Class::Reserved)
    }

    /// The two ports of an odd range of which one is out of reach: both scans are over an even number of ports
    /// (`remaining &= ~1U`), and the one over the even offsets begins at an offset `o` and so passes over the first port
    /// when `o` is not 0, over the last one when it is. A range of one port is left whole.
    pub(super) fn odd_ends(&self) -> Option<[u16; 2]> {
        (self.range.span() % 2 == 1 && self.range.span() > 1).then_some([self.range.first, self.range.last])
    }

    /// Whether a connection with this local end was accepted: its port, one of the range, is listened on at its
    /// address or at all.
    pub(super) fn is_accepted(&self, local: &Endpoint) -> bool {
        // Spares most connections the search: a port that is listened on is of one of two classes.
        if !matches!(self.class(local.port), Some(Class::Blocked | Class::Reserved)) {
            return false;
        }
        self.listeners.get(&local.port).is_some_and(|listeners| {
            listeners.iter().any(|listener| match (listener.address, local.address) {
                (address, local) if address == local => true,
                (IpAddr::V4(address), IpAddr::V4(_)) => address.is_unspecified(),
                (IpAddr::V6(address), IpAddr::V6(_)) => address.is_unspecified(),
                (IpAddr::V6(address), IpAddr::V4(_)) => address.is_unspecified() && listener.v6only != Some(true),
                (IpAddr::V4(_), IpAddr::V6(_)) => false,
            })
        })
    }
}

/// Whether the row takes part in the bookkeeping of ports. Half-made handshakes do not, nor does a TIME-WAIT any more
/// that the kernel was asked about and gave away.
pub(super) fn holds_port(socket: &SocketRecord, namespace: &Namespace) -> bool {
    match socket.kind {
        SocketKind::Full => true,
        SocketKind::TimeWait => namespace.answers.time_wait.get(&socket.tuple) != Some(&PortAnswer::Usable),
        SocketKind::Request => false,
    }
}

/// Whether the row surely came to its port by `bind()`, or has made its port one of `bind()`.
fn is_bound(socket: &SocketRecord) -> bool {
    matches!(socket.state, TcpState::Listen | TcpState::Close | TcpState::BoundInactive)
        || socket.binding == PortBinding::Explicit
}

/// Whether the source lists sockets that are bound and nothing else: sock_diag does since Linux 6.8, `/proc/net/tcp` never,
/// and saved text of `ss` where it shows one.
fn lists_bound_sockets(namespace: &Namespace, snapshot: &Snapshot) -> bool {
    let release = snapshot.host.kernel.as_deref().and_then(release);
    let able = match namespace.source {
        SourceKind::Scripted => true,
        SourceKind::ProcText | SourceKind::SavedProcText | SourceKind::SsText | SourceKind::NetstatText => false,
        SourceKind::Netlink => release.is_none_or(|release| release >= (6, 8)),
    };
    able || snapshot.sockets.iter().any(|socket| socket.state == TcpState::BoundInactive)
}

/// How many bound sockets there are at most: those that are allocated, on the whole host, and stand in no table.
fn unlisted_sockets(namespace: &Namespace) -> u32 {
    namespace.sockstat.map_or(u32::MAX, |stat| u32::try_from(stat.alloc.saturating_sub(stat.inuse)).unwrap_or(u32::MAX))
}

/// The first two numbers of a kernel release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
