//! A command watched from its start to its end: which sockets of it, or of what it started, nobody closed.
//!
//! Descriptors vanish with the process that holds them, and a leak with them. So the kernel is asked again and again while
//! the command runs, and what was seen is kept: a socket has leaked when it was seen in CLOSE-WAIT, or as a ghost, for longer
//! than the grace. What comes and goes between two looks is not seen, nor what has not reached the grace when its process
//! ends.
//!
//! What the command starts belongs to it, also what it leaves behind: closewatch makes itself the parent of orphans among
//! its descendants (`PR_SET_CHILD_SUBREAPER`).

mod family;
mod launch;
mod ledger;
pub mod verdict;
mod watcher;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use self::family::Family;
pub use self::launch::Ended;
use self::launch::Launched;
use self::verdict::Verdict;
use crate::model::snapshot::Snapshot;

/// What is run, and how it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecPlan {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// How long a socket may be in CLOSE-WAIT, or a ghost, and be no leak.
    pub grace: Duration,
    /// How much time lies between two looks at least. More when a look is so slow that the machine would feel it.
    pub interval: Duration,
}

/// Which processes are looked at, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The processes; each is in the network namespace.
    pub pids: Vec<u32>,
    /// A process in the namespace that is not that of closewatch itself; `None` when it is.
    pub through: Option<u32>,
}

/// A look at some processes. Whoever calls says how; the error is in words.
pub type Look<'a> = &'a (dyn Fn(&Sought) -> Result<Snapshot, String> + Sync);

/// Why a command could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("starting {command}: {error}")]
    Start {
        /// The program.
        command: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel did not let closewatch take its place between the command and its parent.
    #[error("{what}: {error}")]
    SetUp {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl ExecError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Start { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                "the command is run without a shell: `closewatch exec -- sh -c '…'` gives it one"
            }
            Self::Start { .. } => "is it a program that this user may run?",
            Self::SetUp { .. } => "does a seccomp filter forbid it?",
        }
    }
}

/// Runs the command to its end, and tells how it ended and what it leaked.
///
/// Its standard streams, its terminal and its signals are those that closewatch has.
///
/// # Errors
/// [`ExecError`], before the command has run. Looks that fail are told by the verdict.
pub fn run(plan: &ExecPlan, look: Look<'_>) -> Result<(Ended, Verdict), ExecError> {
    let mut launched = Launched::start(&plan.command)?;
    let family = Family::of_this_process();
    let watcher = watcher::Watcher { plan, look, family: &family };
    let (ended, kept) = watcher.watch_during(|| launched.wait());
    Ok((ended?, verdict::of(plan, &kept)))
}
