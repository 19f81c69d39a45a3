//! The looks: from the kernel's tables to a [`Snapshot`].

pub mod anonymize;
pub mod bytecode;
mod cgroup;
mod cgroup_tree;
mod collection;
pub mod counters;
mod descriptors;
mod dump;
mod everywhere;
mod few;
pub mod from;
mod gap_folding;
mod ghosts;
pub mod inet_diag;
mod latest;
pub mod live;
mod look;
pub mod netlink;
pub mod netns;
mod netns_choice;
mod netns_list;
mod netns_mounts;
mod netns_names;
mod peek;
mod place;
pub mod port_probe;
pub mod privilege;
mod proc_dir;
pub mod proc_net;
mod process_details;
mod process_gaps;
pub mod procfs;
pub mod recording;
mod room;
mod runtime;
pub mod saved_text;
mod shares;
pub mod standing;
mod stillness;
mod strays;
pub mod sysctl;
mod targets;
mod unix_diag;
mod users;
mod view;
mod visibility;
mod workers;

use std::time::{Duration, Instant};

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
    /// Whether to ask the kernel for the ports that a dump leaves in doubt.
    pub port_probe: PortProbeChoice,
    /// When to stop looking.
    pub deadline: Deadline,
}

/// Which network namespaces to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetNsChoice {
    /// All that something leads to: processes, threads, mounts and descriptors.
    All,
    /// That of this process.
    Current,
    /// That of another process.
    Pid(u32),
    /// The one that the report names so, that has this inode, or in which a container or pod lives whose id begins so.
    Name(String),
}

/// Whether to look for the holders of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessChoice {
    /// Look.
    Attribute,
    /// Do not: counts and ports only.
    Skip,
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

    /// When it is; `None` without one.
    #[must_use]
    pub fn moment(&self) -> Option<Instant> {
        self.0
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
    /// A namespace that no process is in could not be entered.
    #[error("entering the network namespace {name}: {error}")]
    EnterNamedNetNs {
        /// Its name.
        name: String,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// No namespace is called so.
    #[error("there is no network namespace `{name}`")]
    NoSuchNetNs {
        /// What was asked for.
        name: String,
        /// The names that there are, in order.
        known: Vec<String>,
    },
    /// Several namespaces are called so.
    #[error("`{name}` is the name of {} network namespaces", inodes.len())]
    ManyNetNs {
        /// What was asked for.
        name: String,
        /// Their inodes.
        inodes: Vec<u64>,
    },
    /// Neither netlink nor `/proc/net` gave a row.
    #[error("reading the TCP sockets: netlink: {netlink}; /proc/net/tcp: {text}")]
    NoTable {
        /// What netlink said.
        netlink: std::io::Error,
        /// What `/proc/net/tcp` said.
        text: std::io::Error,
    },
    /// A saved file cannot stand for a host.
    #[error("reading {name}: {error}")]
    From {
        /// The file, or standard input.
        name: String,
        /// What is wrong with it.
        error: from::FromError,
    },
}
