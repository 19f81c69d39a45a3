//! The disease made on purpose, small and bounded: real HTTP, real sockets, the kernel's own states; and the proof that it is
//! seen, cured, and gone.
//!
//! A director starts workers, which are copies of this program and hold all sockets, and looks at the kernel between the
//! steps. Nothing outlives it: see [`worker`]. With a namespace of its own ([`isolation`]) the whole stage goes with it.
//!
//! What is looked at is handed in: this floor's other edges are none of its business.

mod budget;
mod client;
pub mod crew;
pub mod drill;
pub mod exhaust;
mod herd;
mod http;
pub mod isolation;
pub mod leak;
pub mod matrix;
mod message;
pub mod outcome;
pub mod scenario;
mod server;
mod sight;
mod signs;
pub mod worker;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use self::crew::StopSignals;
use crate::model::snapshot::Snapshot;
use crate::model::wording::count;

/// A look at the network namespace that the director is in: its sockets, its rules for ports and the limits of the host.
/// Whoever calls a probe says how; the error is in words.
pub type Look<'a> = &'a dyn Fn() -> Result<Snapshot, String>;

/// What a probe works with.
pub struct Stage<'a> {
    /// The program whose copies the workers are: this one.
    pub program: PathBuf,
    /// How the kernel is looked at.
    pub look: Look<'a>,
    /// Who hears of what happens, a line at a time, while it happens.
    pub tell: &'a dyn Fn(&str),
    /// The wishes to stop.
    pub stop: StopSignals,
}

/// Why a probe could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It would take more than its share.
    #[error("{} connections are more than this probe may make here: {}, {reason}", count((*wanted).into()), count(*allowed))]
    Budget {
        /// What was asked for.
        wanted: u32,
        /// What may be had.
        allowed: u64,
        /// Why no more.
        reason: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// There is no namespace to be had.
    #[error("making a network namespace: {0}")]
    Namespace(io::Error),
    /// The namespace is there and cannot be set up.
    #[error("setting {what} in the network namespace of the probe: {error}")]
    SetUp {
        /// What was to be set.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A worker could not be started.
    #[error("starting a worker: {0}")]
    Start(io::Error),
    /// A worker could not go on.
    #[error("{worker}: {said}")]
    Worker {
        /// Which one.
        worker: &'static str,
        /// What it said.
        said: String,
    },
    /// A worker has not answered for so long that something must be wrong.
    #[error("{0}: no answer for a minute")]
    Silent(&'static str),
    /// The kernel could not be looked at.
    #[error("looking at the sockets: {0}")]
    Look(String),
    /// The alarm that is drilled cannot answer.
    #[error("asking the alarm: {0}")]
    Alarm(String),
    /// What was asked for does not fit together.
    #[error("{what}")]
    Senseless {
        /// What does not.
        what: String,
        /// What would.
        hint: &'static str,
    },
    /// The target may not be leaked against.
    #[error("{address} is not a loopback address")]
    Remote {
        /// The target.
        address: SocketAddr,
    },
    /// A signal ended it before it was done; everything was released.
    #[error("stopped by {0}; everything was released")]
    Stopped(&'static str),
}

impl ProbeError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Budget { hint, .. } | Self::Senseless { hint, .. } => hint,
            Self::Namespace(_) => {
                "needs CAP_SYS_ADMIN, or user namespaces for everybody (sysctl user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            }
            Self::SetUp { error, .. } if error.kind() == io::ErrorKind::InvalidInput => {
                "ports below net.ipv4.ip_unprivileged_port_start, usually 1024, are not handed out"
            }
            Self::SetUp { .. } => "is /proc/sys mounted read-only, as in a container?",
            Self::Start(_) => "is there room for another process, and may this program be started again?",
            Self::Worker { said, .. } if said.contains("Address already in use") => {
                "somebody listens there already: name another port, or 0 for any free one"
            }
            Self::Worker { said, .. } if said.contains("Cannot assign requested address") => {
                "the server listens at an address of this host: 127.0.0.1:0 is always one"
            }
            Self::Worker { .. } | Self::Silent(_) => "everything that was made is released; try a smaller --count",
            Self::Look(_) => "`closewatch report --netns current` shows what can be seen from here",
            Self::Alarm(_) => "run the alarm by itself, and see that it ends with 0 when all is well",
            Self::Remote { .. } => "--allow-remote allows it, with few connections; be sure that the server is yours",
            Self::Stopped(_) => "let it run to its end to have a result",
        }
    }
}
