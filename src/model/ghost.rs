//! Ghosts: descriptors of TCP sockets whose connection is over, and which no kernel table lists as a connection any more.
//!
//! A reset takes a socket out of every table and gives its port back; the descriptor stays until the program closes it.

use std::time::Duration;

use super::process::{Holding, ProcessIndex};
use super::tuple::Endpoint;

/// How the connection of a ghost came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GhostEnd {
    /// It had been made, and was reset, or closed from both sides.
    Ended,
    /// The peer refused it: `connect()` was answered with a reset.
    Refused,
}

/// One descriptor of a socket whose connection is over.
///
/// The kernel itself said so (`TCP_INFO`): its state is CLOSE, and segments had come in. A socket that was never connected
/// has had none, and `connect()` to AF_UNSPEC, which makes a socket as good as new, forgets them (kernel `tcp_disconnect`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// Which process holds it by which descriptor.
    pub holding: Holding,
    /// How it ended.
    pub end: GhostEnd,
    /// The local end as it was; `None` when the kernel does not tell.
    pub local: Option<Endpoint>,
    /// Whether its error waits to be read: the program has not touched the socket since (`POLLERR`).
    pub untouched: bool,
    /// For how long nothing had come from the peer when it was looked at: it has been a ghost for no longer, but for the
    /// time between the last segment and the reset. `None` when there was no connection. Wraps at 2^32 ms.
    pub silent_for: Option<Duration>,
}

/// What the search for ghosts found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GhostScan {
    /// The ghosts, by process and descriptor.
    pub ghosts: Vec<Ghost>,
    /// The processes of which it is not known how many more they have, each once, ascending; gaps say why.
    pub undecided: Vec<ProcessIndex>,
}

impl GhostScan {
    /// The ghosts that the process holds.
    pub fn of(&self, process: ProcessIndex) -> impl Iterator<Item = &Ghost> {
        self.ghosts.iter().filter(move |ghost| ghost.holding.process == process)
    }
}
