//! Who is blamed: a process, or the unseen processes of a user.

use crate::attribution::Unresolved;
use crate::census::StrangerCensus;
use crate::diagnosis::finding::{Remedy, Subject, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, home_of};
use crate::model::process::{ProcessIndex, Runtime};
use crate::model::snapshot::CgroupIndex;
use crate::model::socket::NetNsIndex;

/// Who holds the sockets that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A process.
    Process(ProcessIndex),
    /// Processes of this user, which could not be seen or were not looked for.
    Stranger {
        /// The user; `None` when that is not known either.
        uid: Option<u32>,
        /// Where the sockets were made; `None` when that is not known, or no unit, container or pod.
        place: Option<CgroupIndex>,
        /// Why they are not known.
        reason: Unresolved,
    },
}

impl Owner {
    /// The owner of these sockets.
    pub(super) fn of(stranger: &StrangerCensus) -> Self {
        Self::Stranger { uid: stranger.uid, place: stranger.place, reason: stranger.reason }
    }

    /// `telegraf[1234] (telegraf.service) holds`.
    pub(super) fn holds(self, scene: &Scene<'_>) -> String {
        match self {
            Self::Process(process) => format!("{} holds", scene.who_and_where(process)),
            Self::Stranger { uid, place, reason } => {
                let user = uid.map_or_else(String::new, |uid| format!(" of user {uid}"));
                let home = home(scene, place).map_or_else(String::new, |home| format!(" in {home}"));
                let why = match reason {
                    Unresolved::NotLooked => "were not looked for",
                    Unresolved::NoHolderSeen => "could not be seen",
                    Unresolved::NotTold => "the text does not name",
                };
                format!("processes{user}{home} that {why} hold")
            }
        }
    }

    /// `telegraf[1234]`, or a word for who is not known.
    pub(super) fn who(self, scene: &Scene<'_>) -> String {
        match self {
            Self::Process(process) => scene.who(process),
            Self::Stranger { .. } => "the program".to_owned(),
        }
    }

    /// What the finding is about.
    pub(super) fn subject(self, netns: NetNsIndex) -> Subject {
        match self {
            Self::Process(process) => Subject::Process(process),
            Self::Stranger { .. } => Subject::Namespace(netns),
        }
    }

    /// Why the process is not named.
    pub(super) fn why_unknown(self) -> Option<&'static str> {
        match self {
            Self::Process(_) => None,
            Self::Stranger { reason: Unresolved::NoHolderSeen, place: Some(_), .. } => Some(
                "No descriptor that this user may read refers to them: the process is hidden (needs CAP_SYS_PTRACE, or root), \
                 or the descriptors are in flight or registered with io_uring. The cgroup that they were made in tells where; \
                 a socket stays in it when it is handed on.",
            ),
            Self::Stranger { reason: Unresolved::NoHolderSeen, .. } => Some(
                "No descriptor that this user may read refers to them: the process is hidden (needs CAP_SYS_PTRACE, or root), \
                 or the descriptors are in flight or registered with io_uring.",
            ),
            Self::Stranger { reason: Unresolved::NotLooked, .. } => {
                Some("Which process holds them was not looked for, as asked.")
            }
            Self::Stranger { reason: Unresolved::NotTold, .. } => {
                Some("The text names no process for them: ss names those that the user who runs it may see, with -p.")
            }
        }
    }

    /// What relieves at once.
    pub(super) fn restart(self, scene: &Scene<'_>) -> Remedy {
        match self {
            Self::Process(process) => remedy::restart(scene, process, remedy::RELIEF),
            Self::Stranger { reason: Unresolved::NoHolderSeen, place, .. } => {
                let likely = home(scene, place).map_or_else(String::new, |home| format!(", most likely of {home}"));
                let text = format!("look again as root to learn who holds them, and restart that program{likely}");
                Remedy::new(When::Now, text)
            }
            Self::Stranger { reason: Unresolved::NotLooked, .. } => {
                Remedy::new(When::Now, "look again at all processes to learn who holds them, and restart that program")
            }
            Self::Stranger { reason: Unresolved::NotTold, .. } => Remedy::new(
                When::Now,
                "learn who holds them, with `ss -tanpieo` as root on that host, and restart that program",
            ),
        }
    }

    /// What runs the program.
    pub(super) fn runtime(self, scene: &Scene<'_>) -> Runtime {
        match self {
            Self::Process(process) => scene.process(process).map_or(Runtime::Unknown, |process| process.runtime),
            Self::Stranger { .. } => Runtime::Unknown,
        }
    }
}

/// What people call the place where sockets were made, safe to print.
fn home(scene: &Scene<'_>, place: Option<CgroupIndex>) -> Option<String> {
    home_of(scene.snapshot.placement(place?)?)
}
