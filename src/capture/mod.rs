//! The looks: from the kernel's tables to a [`Snapshot`].

pub mod bytecode;
mod cgroup;
pub mod counters;
mod descriptors;
mod dump;
pub mod from;
pub mod inet_diag;
pub mod live;
pub mod netlink;
pub mod netns;
pub mod port_probe;
mod proc_dir;
pub mod proc_net;
mod process_details;
mod process_gaps;
pub mod procfs;
mod runtime;
pub mod saved_text;
pub mod sysctl;
mod targets;
mod users;
mod visibility;
mod workers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::saved_text::SavedTextError;
use crate::model::selection::Selection;
use crate::model::snapshot::Snapshot;

/// Something that can be looked at: the running host, a file that somebody saved, or a snapshot made by hand in a test.
pub trait SnapshotSource {
    /// Looks once.
    ///
    /// # Errors
    /// When there is nothing to look at. What is partly unreadable is no error: the snapshot's gaps tell of it.
    fn take(&self, request: &Request) -> Result<Snapshot, CaptureError>;
}

/// What to look at, and how closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which network namespaces.
    pub netns: NetNsChoice,
    /// What the reader asked to see; filters that the kernel can apply are handed to it.
    pub selection: Selection,
    /// Whether to look for holders.
    pub processes: ProcessChoice,
    /// For which sockets tcp_info is asked.
    pub tcp_info: TcpInfoChoice,
    /// Whether to ask the kernel for the ports that a dump leaves in doubt.
    pub port_probe: PortProbeChoice,
    /// When to stop looking.
    pub deadline: Deadline,
}

/// Which network namespaces to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetNsChoice {
    /// That of this process.
    Current,
    /// That of another process.
    Pid(u32),
}

/// Whether to look for the holders of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessChoice {
    /// Look.
    Attribute,
    /// Do not: counts and ports only.
    Skip,
}

/// For which sockets tcp_info is asked. It makes a row twice as dear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpInfoChoice {
    /// For CLOSE-WAIT, and for ESTABLISHED when some of them hold unread data.
    WhereNeeded,
    /// For every socket.
    All,
}

/// Whether to ask the kernel itself about ports that a dump leaves in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortProbeChoice {
    /// Give both bounds.
    Bounds,
    /// Ask (TCP_REPAIR; needs CAP_NET_ADMIN; no packet is sent).
    Exact,
}

/// A moment after which no new work is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// There is none.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// So long from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        Self(Instant::now().checked_add(span))
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.0.is_some_and(|moment| Instant::now() >= moment)
    }

    /// How much time is left; `None` without a deadline.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.0.map(|moment| moment.saturating_duration_since(Instant::now()))
    }
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The namespace of a process could not be entered.
    #[error("entering the network namespace of process {pid}: {error}")]
    EnterNetNs {
        /// The process.
        pid: u32,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// Neither netlink nor `/proc/net` gave a row.
    #[error("reading the TCP sockets: netlink: {netlink}; /proc/net/tcp: {text}")]
    NoTable {
        /// What netlink said.
        netlink: std::io::Error,
        /// What `/proc/net/tcp` said.
        text: std::io::Error,
    },
    /// A file could not be read.
    #[error("reading {}: {error}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// A file is not what can be looked at.
    #[error("reading {}: {error}", path.display())]
    SavedText {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: SavedTextError,
    },
}
