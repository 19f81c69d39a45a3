//! Sockets joined to the processes that hold them.
//!
//! The join is by inode, through one map, in one pass; every holder of a socket is kept, since forks share descriptors. Where
//! the holder is hidden, the cgroup that the socket was made in still tells the unit, the container or the pod.

mod near;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::model::ports::PortSet;
use crate::model::process::{Placement, ProcessIndex};
use crate::model::snapshot::{CgroupIndex, ProcessScan, Snapshot};
use crate::model::socket::{CgroupId, Inode, NetNsIndex, SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;

use near::Chains;
pub(crate) use near::NumberSet;

/// A map for keys of which there may be one per socket. Its hash is seeded at random, since peers choose ports, and takes a
/// tenth of the time of the standard one: at 60,000 sockets that is a fifth of the whole count.
pub(crate) type SocketMap<K, V> = HashMap<K, V, RandomState>;

/// A set of such keys.
pub(crate) type SocketSet<K> = HashSet<K, RandomState>;

/// Who a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// These processes hold a descriptor of it; each is named once, lowest index first.
    Held(&'a [ProcessIndex]),
    /// No one yet: it waits in the accept queue of this listener (index into [`Snapshot::sockets`]).
    NotAccepted(usize),
    /// The kernel alone: TIME-WAIT, a half-made handshake, a connection that its program has closed.
    Kernel,
    /// Somebody, but who is not known.
    Unresolved(Unresolved),
}

/// Why no holder is known for a socket that a file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unresolved {
    /// Nobody looked, or only at other processes.
    NotLooked,
    /// No descriptor that could be read refers to it: its process is hidden, the descriptor is in flight between
    /// processes or registered with io_uring, or it was closed during the look.
    NoHolderSeen,
    /// The source is saved text that names no process for it: the holder was hidden from whoever saved it, the text was
    /// made without holders, or the socket still waits for `accept()`, which not every text tells.
    NotTold,
}

/// The owners of all sockets of a snapshot, by the index of the socket.
#[derive(Debug, Clone)]
pub struct Owners {
    by_socket: Vec<Entry>,
    holders: Vec<ProcessIndex>,
    listeners: Listeners,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Held { first: u32, count: u32 },
    NotAccepted(u32),
    Kernel,
    Unresolved(Unresolved),
}

impl Owners {
    /// The owner of the socket with this index.
    ///
    /// # Panics
    /// When the index is not one of the snapshot that was joined.
    #[must_use]
    pub fn of(&self, socket: usize) -> Owner<'_> {
        match self.by_socket[socket] {
            Entry::Held { first, count } => Owner::Held(&self.holders[first as usize..(first + count) as usize]),
            Entry::NotAccepted(listener) => Owner::NotAccepted(listener as usize),
            Entry::Kernel => Owner::Kernel,
            Entry::Unresolved(reason) => Owner::Unresolved(reason),
        }
    }

    /// The listener (index into [`Snapshot::sockets`]) that connections to this local endpoint arrive at: the one bound to
    /// the very address goes before one bound to all. A connection with such a local end came in; any other went out.
    #[must_use]
    pub fn listener_at(&self, netns: NetNsIndex, local: &Endpoint) -> Option<usize> {
        self.listeners.at(netns, local).map(|index| index as usize)
    }
}

/// Finds the owner of every socket.
#[must_use]
pub fn join(snapshot: &Snapshot) -> Owners {
    let chains = Chains::of(snapshot.holdings.iter().map(|holding| holding.inode.get()));
    // Sockets come in no order, and what is looked up anywhere should be small: of a leak it fits into a cache.
    let processes: Vec<ProcessIndex> = snapshot.holdings.iter().map(|holding| holding.process).collect();
    let mut holders: Vec<ProcessIndex> = Vec::with_capacity(snapshot.holdings.len());
    let mut holders_of = |inode: Inode| {
        let first = holders.len();
        holders.extend(chains.places_of(inode.get()).map(|place| processes[place]));
        if holders.len() > first + 1 {
            holders[first..].sort_unstable();
            let own = holders.split_off(first);
            holders.extend(own.chunk_by(PartialEq::eq).map(|same| same[0]));
        }
        (holders.len() > first).then_some(Entry::Held { first: first as u32, count: (holders.len() - first) as u32 })
    };
    let nobody = match snapshot.scan {
        _ if snapshot.source.is_saved_text() => Unresolved::NotTold,
        ProcessScan::All => Unresolved::NoHolderSeen,
        ProcessScan::Selected | ProcessScan::Skipped => Unresolved::NotLooked,
    };
    let mut listeners = Listeners::default();
    // One pass over the rows, which no cache holds; those that may wait at a listener are looked at again when all are known.
    let mut may_wait = Vec::new();
    let mut by_socket: Vec<Entry> = Vec::with_capacity(snapshot.sockets.len());
    for (socket, index) in snapshot.sockets.iter().zip(0..) {
        if socket.state == TcpState::Listen {
            listeners.add(socket, index);
        }
        by_socket.push(match socket.inode {
            Some(inode) => holders_of(inode).unwrap_or(Entry::Unresolved(nobody)),
            None => {
                may_wait.extend(may_wait_for_accept(socket).then_some(index));
                Entry::Kernel
            }
        });
    }
    for index in may_wait {
        let socket = &snapshot.sockets[index as usize];
        if let Some(listener) = listeners.at(socket.netns, &socket.tuple.local) {
            by_socket[index as usize] = Entry::NotAccepted(listener);
        }
    }
    Owners { by_socket, holders, listeners }
}

/// Where sockets were made: what has one place has one index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(HashMap<CgroupId, CgroupIndex>);

impl Places {
    /// Of a snapshot. Cgroups that name the same unit, container and pod (a unit may have several) are one place: the first
    /// of them. What names none of these is no place.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut first: HashMap<&Placement, CgroupIndex> = HashMap::new();
        let mut places = HashMap::new();
        for (cgroup, nth) in snapshot.cgroups.iter().zip(0..) {
            if !cgroup.placement.is_nowhere() {
                places.insert(cgroup.id, *first.entry(&cgroup.placement).or_insert(CgroupIndex(nth)));
            }
        }
        Self(places)
    }

    /// That of a socket; `None` when it is not known, or none.
    pub(crate) fn place(&self, socket: &SocketRecord) -> Option<CgroupIndex> {
        self.0.get(&socket.cgroup?).copied()
    }
}

/// Who listens where.
#[derive(Debug, Clone, Default)]
struct Listeners {
    by_port: SocketMap<(NetNsIndex, u16), Vec<(Endpoint, u32)>>,
    /// The ports that are listened on in any namespace: spares nearly all connections the search.
    ports: PortSet,
}

impl Listeners {
    fn add(&mut self, socket: &SocketRecord, index: u32) {
        let local = socket.tuple.local;
        self.by_port.entry((socket.netns, local.port)).or_default().push((local, index));
        self.ports.insert(local.port);
    }

    /// The one that a connection with this local end arrives at.
    fn at(&self, netns: NetNsIndex, local: &Endpoint) -> Option<u32> {
        if !self.ports.contains(local.port) {
            return None;
        }
        let candidates = self.by_port.get(&(netns, local.port))?;
        let exact = candidates.iter().find(|(listener, _)| listener.address == local.address);
        exact.or_else(|| candidates.iter().find(|(listener, _)| listener.is_wildcard())).map(|(_, index)| *index)
    }
}

/// Whether a socket without a file may wait in the accept queue of a listener, if one listens on its port: it is a whole
/// socket, in a state that the queue knows.
fn may_wait_for_accept(socket: &SocketRecord) -> bool {
    socket.kind == SocketKind::Full
        && matches!(socket.state, TcpState::Established | TcpState::CloseWait | TcpState::SynRecv)
}
