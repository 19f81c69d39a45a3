//! What the director of a probe and its workers say to each other: one JSON document a line, over pipes.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scenario::{Exchange, Variant};

/// What a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// It accepts, or does not, and answers.
    Server(ServerPlan),
    /// It connects and asks.
    Client(ClientPlan),
    /// It keeps the descriptors that it was born with.
    Heir,
    /// It becomes this program.
    Run(Vec<String>),
}

impl Role {
    /// What the process is called in `ps` and in reports: at most 15 bytes, which is all that the kernel keeps.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Server(_) => "probe-server",
            Self::Client(_) => "probe-client",
            Self::Heir => "probe-heir",
            Self::Run(_) => "probe-run",
        }
    }
}

/// How a server behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerPlan {
    /// Where it listens, one listener each; port 0 is any free one.
    pub(super) listen: Vec<SocketAddr>,
    /// What it answers, and whether it closes first.
    pub(super) exchange: Exchange,
    /// How it neglects its half when it does not.
    pub(super) variant: Variant,
}

/// How a client behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientPlan {
    /// Whom it connects to.
    pub(super) server: SocketAddr,
    /// The value of its `Host` field.
    pub(super) host: String,
    /// What it asks for.
    pub(super) path: String,
    /// What it asks for, and whether it closes first.
    pub(super) exchange: Exchange,
    /// How it neglects its half when it does not.
    pub(super) variant: Variant,
}

/// What the director wants done. The end of the orders is the end of the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Make so many connections, in the same distance from each other.
    Make {
        /// How many. Fewer when the kernel has no port for another one.
        count: u32,
        /// The distance; zero for as fast as it goes.
        every: Duration,
    },
    /// Make one connection there, and close it.
    Try(SocketAddr),
    /// Close everything that is held.
    Release,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// A server listens there, in the order of its plan.
    Listening(Vec<SocketAddr>),
    /// A client is ready.
    Ready,
    /// So many connections were made so far.
    Progress(u32),
    /// An order to make connections was carried out.
    Made(Made),
    /// What became of a try: the error in words, if any.
    Tried(Option<String>),
    /// So many connections were closed.
    Released(u32),
    /// It cannot go on.
    Failed(String),
}

/// How the making of connections ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Made {
    /// So many were made.
    pub(super) count: u32,
    /// `connect()` said EADDRNOTAVAIL: the kernel has no port for another one.
    pub(super) no_port_left: bool,
    /// How long each `connect()` took, in order, microseconds.
    pub(super) connect_us: Vec<u32>,
    /// The processes that hold the connections, if not the client itself.
    pub(super) heirs: Vec<u32>,
}
