//! What was seen of each socket of the command, look by look. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::attribution::{self, Owner, Owners};
use crate::census::age;
use crate::model::ghost::Ghost;
use crate::model::process::{Process, ProcessIndex, Runtime};
use crate::model::snapshot::Snapshot;
use crate::model::socket::{Inode, SockCookie, SocketRecord};
use crate::model::tuple::Endpoint;

/// What identifies a socket: its cookie, or its inode when only a descriptor is left. A socket that was seen by its cookie is
/// found again by its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Inode(Inode),
    /// It waits for `accept()` and has no inode yet.
    Cookie(SockCookie),
}

/// By which neglect a socket is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Neglect {
    /// In CLOSE-WAIT, with data before the end of file that nobody reads.
    BodyUnread,
    /// In CLOSE-WAIT; the end of file, and nothing else, waits to be read.
    EofUnread,
    /// In CLOSE-WAIT; everything was read.
    EofRead,
    /// In CLOSE-WAIT, and still waits for `accept()`.
    NotAccepted,
    /// No connection any more: closed by a reset, the descriptor open.
    Ghost,
}

impl Neglect {
    /// For machines.
    #[must_use]
    pub(super) fn token(self) -> &'static str {
        match self {
            Self::BodyUnread => "body_unread",
            Self::EofUnread => "eof_unread",
            Self::EofRead => "eof_read",
            Self::NotAccepted => "not_accepted",
            Self::Ghost => "ghost",
        }
    }
}

/// A process of the command, as it was when it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) runtime: Runtime,
}

/// A socket that is, or was, kept after its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) who: Who,
    pub(super) neglect: Neglect,
    /// The peer; `None` of a ghost that was never seen alive.
    pub(super) peer: Option<Endpoint>,
    pub(super) local: Option<Endpoint>,
    /// Whether the connection came in.
    pub(super) inbound: bool,
    /// Bytes not read, the FIN left out.
    pub(super) unread_bytes: u32,
    /// For how long it had surely been so at the last look that saw it.
    pub(super) age: Duration,
    first_seen: Duration,
    last_seen: Duration,
}

/// All sockets of the command that matter.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<Name, Entry>,
    /// The ends of the connections that were seen at the last look, for when one becomes a ghost.
    ends: HashMap<Inode, Ends>,
    before: HashMap<Inode, Ends>,
    now: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    peer: Endpoint,
    inbound: bool,
}

impl Ledger {
    /// Begins a look, so long after the first.
    pub(super) fn begin(&mut self, now: Duration) {
        self.now = now;
        self.before = std::mem::take(&mut self.ends);
    }

    /// Adds what one snapshot of the look shows, but for sockets that the command was born with.
    pub(super) fn add(&mut self, snapshot: &Snapshot, inherited: &HashSet<u64>) {
        let owners = attribution::join(snapshot);
        for (index, socket) in snapshot.sockets.iter().enumerate() {
            let Some(holder) = holder_of(index, &owners) else { continue };
            if socket.inode.is_some_and(|inode| inherited.contains(&inode.get())) {
                continue;
            }
            let inbound = owners.listener_at(socket.netns, &socket.tuple.local).is_some();
            if let Some(inode) = socket.inode {
                self.ends.insert(inode, Ends { peer: socket.tuple.remote, inbound });
            }
            if socket.is_close_wait() {
                self.add_close_wait(snapshot, socket, holder, inbound);
            }
        }
        for ghost in snapshot.ghosts.iter().flat_map(|scan| &scan.ghosts) {
            if !inherited.contains(&ghost.holding.inode.get()) {
                self.add_ghost(snapshot, ghost);
            }
        }
    }

    fn add_close_wait(&mut self, snapshot: &Snapshot, socket: &SocketRecord, holder: ProcessIndex, inbound: bool) {
        let name = match (socket.inode, socket.cookie) {
            (Some(inode), _) => Name::Inode(inode),
            (None, Some(cookie)) => Name::Cookie(cookie),
            (None, None) => return,
        };
        let age = age::of_close_wait(socket, snapshot.host.uptime).map_or(Duration::ZERO, |age| age.at_least);
        let neglect = match (socket.inode, socket.unread()) {
            (None, _) => Neglect::NotAccepted,
            (_, 0) => Neglect::EofRead,
            (_, 1) => Neglect::EofUnread,
            _ => Neglect::BodyUnread,
        };
        let entry = Entry {
            who: who(&snapshot.processes[holder.0 as usize]),
            neglect,
            peer: Some(socket.tuple.remote),
            local: Some(socket.tuple.local),
            inbound,
            unread_bytes: socket.unread().saturating_sub(1),
            age,
            first_seen: self.now,
            last_seen: self.now,
        };
        self.put(name, entry);
    }

    fn add_ghost(&mut self, snapshot: &Snapshot, ghost: &Ghost) {
        let Some(process) = snapshot.processes.get(ghost.holding.process.0 as usize) else { return };
        let inode = ghost.holding.inode;
        let name = Name::Inode(inode);
        let ends = self.before.get(&inode).copied();
        if let Some(ends) = ends {
            self.ends.insert(inode, ends);
        }
        let entry = Entry {
            who: who(process),
            neglect: Neglect::Ghost,
            peer: ends.map(|ends| ends.peer),
            local: ghost.local,
            inbound: ends.is_some_and(|ends| ends.inbound),
            unread_bytes: 0,
            age: Duration::ZERO,
            first_seen: self.now,
            last_seen: self.now,
        };
        self.put(name, entry);
    }

    /// A socket that was seen before has been so since then at least.
    fn put(&mut self, name: Name, mut entry: Entry) {
        if let Some(earlier) = self.entries.get(&name) {
            entry.first_seen = earlier.first_seen;
            entry.peer = entry.peer.or(earlier.peer);
            entry.inbound |= earlier.inbound;
            entry.age = entry.age.max(earlier.age);
        }
        entry.age = entry.age.max(entry.last_seen.saturating_sub(entry.first_seen));
        self.entries.insert(name, entry);
    }

    /// Ends a look: what was closed in time is no concern any more.
    pub(super) fn forget_what_is_gone(&mut self, grace: Duration) {
        let now = self.now;
        self.entries.retain(|_, entry| entry.last_seen == now || entry.age >= grace);
    }

    /// The sockets that were kept for so long or longer.
    pub(super) fn leaked(&self, grace: Duration) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.age >= grace)
    }
}

fn who(process: &Process) -> Who {
    Who { pid: process.key.pid, name: process.name.clone(), runtime: process.runtime }
}

/// Who has the socket: the first of several, or who listens where it waits.
fn holder_of(socket: usize, owners: &Owners) -> Option<ProcessIndex> {
    match owners.of(socket) {
        Owner::Held(holders) => holders.first().copied(),
        Owner::NotAccepted(listener) => match owners.of(listener) {
            Owner::Held(holders) => holders.first().copied(),
            _ => None,
        },
        Owner::Kernel | Owner::Unresolved(_) => None,
    }
}
