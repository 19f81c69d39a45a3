//! Sockets that several rows show: of a table that was read while it changed, or of several looks in one text.

use std::collections::HashMap;

use super::assemble::Assembled;
use crate::model::socket::SocketRecord;
use crate::model::tuple::FourTuple;

/// The kernel counts inodes of sockets in 32 bits (`get_next_ino`, kernel `fs/inode.c`): from here on they are made up.
pub(super) const MADE_UP: u64 = 1 << 63;

/// What makes two rows the same socket. For what has no peer, sockets that share a port (`SO_REUSEPORT`) are told apart by
/// the how-manieth of its table a row is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    tuple: FourTuple,
    interface: u32,
    nth: u32,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    socket: usize,
    table: u32,
}

/// Which identities were seen, and as which sockets.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: HashMap<Identity, Vec<Sighting>>,
    /// How many rows of a table have the same ends.
    alike: HashMap<(u32, FourTuple, u32), u32>,
}

impl Sightings {
    /// The index of the socket that an earlier row showed, of which this row is another sight; `None` when this is the
    /// first, and its index will be the next.
    ///
    /// Within one table rows whose inodes are told and differ are two sockets: each is bound to an interface that the table
    /// does not tell.
    pub(super) fn earlier(&mut self, socket: &SocketRecord, table: u32, sockets: &[SocketRecord]) -> Option<usize> {
        let count = self.alike.entry((table, socket.tuple, socket.interface)).or_default();
        let nth = if socket.tuple.remote.port == 0 { *count } else { 0 };
        *count += 1;
        let told = |socket: &SocketRecord| socket.inode.filter(|inode| inode.get() < MADE_UP);
        let told_apart =
            |earlier: &SocketRecord| matches!((told(earlier), told(socket)), (Some(one), Some(other)) if one != other);
        let identity = Identity { tuple: socket.tuple, interface: socket.interface, nth };
        let sightings = self.seen.entry(identity).or_default();
        let same =
            sightings.iter_mut().find(|sighting| sighting.table != table || !told_apart(&sockets[sighting.socket]));
        match same {
            Some(sighting) => {
                sighting.table = table;
                Some(sighting.socket)
            }
            None => {
                sightings.push(Sighting { socket: sockets.len(), table });
                None
            }
        }
    }
}

/// The rows of `/proc/net/tcp` put together.
#[derive(Debug, Default)]
pub(super) struct ProcRows {
    seen: Sightings,
    made: Assembled,
}

impl ProcRows {
    /// Adds a row of one of the tables.
    pub(super) fn add(&mut self, socket: SocketRecord, table: u32) {
        match self.seen.earlier(&socket, table, &self.made.sockets) {
            Some(at) => {
                self.made.doubles += 1;
                self.made.sockets[at] = socket;
            }
            None => self.made.sockets.push(socket),
        }
    }

    /// What the rows amount to.
    pub(super) fn finish(self) -> Assembled {
        self.made
    }
}
