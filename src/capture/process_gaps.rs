//! What of the processes could not be read, and why, in words.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::proc_dir::is_refusal;
use crate::model::snapshot::{Gap, Hides};

/// Something of a process that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unread {
    /// What.
    pub(super) thing: Thing,
    /// Why.
    pub(super) reason: Reason,
    /// Of which process.
    pub(super) pid: u32,
}

impl Unread {
    /// That this of the process could not be read, for this reason.
    pub(super) fn new(thing: Thing, reason: Reason, pid: u32) -> Self {
        Self { thing, reason, pid }
    }
}

/// What there is to read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// That it is there: it was asked for by number.
    Process,
    /// What the sockets it holds are.
    Descriptors,
    /// Whether it is one of those asked for by name, unit or container.
    Membership,
    /// All that says more of it than its name.
    Details,
    /// Its executable, and what runs it.
    Executable,
    /// Its unit and container.
    Cgroup,
    /// Its limit of descriptors.
    Limits,
    /// Its network namespace.
    NetNs,
    /// Whether TCP sockets of it that are in no table are ghosts.
    Ghosts,
    /// Which network namespace it is in, that may be one that nothing else leads to.
    Place,
    /// What is mounted in its mount namespace, network namespaces among it.
    Mounts,
}

/// Why it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The kernel said so.
    Os(i32),
    /// It was read and not understood.
    Malformed,
    /// The deadline had passed.
    TooLate,
    /// There is none.
    Absent,
    /// To read it would change it: its sockets would pass to our net_cls or net_prio cgroup.
    WouldMark,
}

impl From<Errno> for Reason {
    fn from(error: Errno) -> Self {
        Self::Os(error.raw_os_error())
    }
}

impl Thing {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "existence",
            Self::Descriptors => "descriptors",
            Self::Membership => "name, unit or container",
            Self::Details => "details",
            Self::Executable => "executable",
            Self::Cgroup => "unit and container",
            Self::Limits => "descriptor limit",
            Self::NetNs | Self::Place => "network namespace",
            Self::Mounts => "mounts",
            Self::Ghosts => "ghost sockets",
        }
    }

    fn hides(self) -> Hides {
        match self {
            Self::Limits => Hides::Limits,
            Self::Ghosts => Hides::Ghosts,
            Self::Place | Self::Mounts => Hides::Sockets,
            _ => Hides::Owners,
        }
    }
}

/// What this process may read of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Privilege {
    /// May take the right that ptrace(2) calls `PTRACE_MODE_READ`: the links of `fd`, `exe`, `ns/net`.
    pub(super) ptrace: bool,
    /// May list the `fd` directory, which only its owner may.
    pub(super) search: bool,
}

impl Privilege {
    /// Of the calling thread. Capabilities that cannot be read count as missing.
    pub(super) fn read() -> Self {
        let effective = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self {
            ptrace: effective.contains(CapabilitySet::SYS_PTRACE),
            search: effective.intersects(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE),
        }
    }

    /// Why a socket of another process cannot be asked (pidfd_getfd(2) wants `PTRACE_MODE_ATTACH`, which security modules
    /// refuse also to the process's own user).
    fn refusal_to_peek(self) -> &'static str {
        if self.ptrace {
            "refused although CAP_SYS_PTRACE is held: by a seccomp filter, a security module, or another user namespace"
        } else {
            "permission denied; to tell a dead socket from one that was never connected needs CAP_SYS_PTRACE"
        }
    }

    fn refusal(self) -> &'static str {
        match (self.ptrace, self.search) {
            (true, true) => {
                "permission denied although CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are held: \
                 protected even from root here, by a security module or by another user namespace"
            }
            (false, true) => "permission denied; reading another user's process needs CAP_SYS_PTRACE",
            (true, false) => "permission denied; reading another user's process needs CAP_DAC_READ_SEARCH",
            (false, false) => {
                "permission denied; reading another user's process needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
            }
        }
    }
}

/// One gap for each kind of thing and reason; a process that was in the way several times counts once.
pub(super) fn gaps_of(mut unread: Vec<Unread>, privilege: Privilege) -> Vec<Gap> {
    unread.sort_unstable();
    unread.dedup();
    let mut pids: BTreeMap<(Thing, Reason), Vec<u32>> = BTreeMap::new();
    for Unread { thing, reason, pid } in unread {
        pids.entry((thing, reason)).or_default().push(pid);
    }
    let gap = |((thing, reason), pids): ((Thing, Reason), Vec<u32>)| Gap {
        what: format!("{} of {}", thing.name(), processes(&pids)),
        why: why(thing, reason, privilege),
        hides: thing.hides(),
        count: pids.len() as u64,
    };
    pids.into_iter().map(gap).collect()
}

/// `3 processes (pids 1, 2, 7)`; of many, the first are named.
fn processes(pids: &[u32]) -> String {
    const NAMED: usize = 4;
    let named: Vec<String> = pids.iter().take(NAMED).map(u32::to_string).collect();
    let more = if pids.len() > NAMED { ", …" } else { "" };
    match named.as_slice() {
        [pid] => format!("1 process (pid {pid})"),
        _ => format!("{} processes (pids {}{more})", pids.len(), named.join(", ")),
    }
}

fn why(thing: Thing, reason: Reason, privilege: Privilege) -> String {
    match reason {
        Reason::Os(code) if is_refusal(Errno::from_raw_os_error(code)) => match thing {
            Thing::Ghosts => privilege.refusal_to_peek().to_owned(),
            _ => privilege.refusal().to_owned(),
        },
        Reason::Os(code) if thing == Thing::Ghosts && code == Errno::NOSYS.raw_os_error() => {
            "this kernel cannot tell a dead socket from one that was never connected; needs Linux 5.6".to_owned()
        }
        Reason::Os(code) => std::io::Error::from_raw_os_error(code).to_string(),
        Reason::Malformed => "what the kernel wrote was not understood".to_owned(),
        Reason::TooLate => "the deadline passed before they were looked at".to_owned(),
        Reason::Absent => "no such process in this /proc".to_owned(),
        Reason::WouldMark => "they are in another net_cls or net_prio cgroup, and to look at their sockets would move \
                              these into ours"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(pid: u32) -> Unread {
        Unread { thing: Thing::Descriptors, reason: Errno::ACCESS.into(), pid }
    }

    #[test]
    fn each_process_counts_once_and_the_first_are_named() {
        let unread = [9, 3, 3, 5, 1, 7, 9].map(denied).to_vec();
        let gaps = gaps_of(unread, Privilege { ptrace: false, search: false });
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].what, "descriptors of 5 processes (pids 1, 3, 5, 7, …)");
        assert_eq!((gaps[0].count, gaps[0].hides), (5, Hides::Owners));
        assert!(gaps[0].why.ends_with("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"), "{}", gaps[0].why);
    }

    #[test]
    fn only_the_missing_capability_is_named() {
        let why = |ptrace, search| gaps_of(vec![denied(1)], Privilege { ptrace, search })[0].why.clone();
        assert!(why(true, false).ends_with("needs CAP_DAC_READ_SEARCH"));
        assert!(why(false, true).ends_with("needs CAP_SYS_PTRACE"));
        assert!(why(true, true).contains("protected even from root"));
    }

    #[test]
    fn different_reasons_are_different_gaps() {
        let late = Unread { thing: Thing::Descriptors, reason: Reason::TooLate, pid: 4 };
        let full = Unread { thing: Thing::Limits, reason: Errno::MFILE.into(), pid: 4 };
        let gaps = gaps_of(vec![late, full, denied(4)], Privilege { ptrace: true, search: true });
        assert_eq!(gaps.iter().map(|gap| gap.hides).collect::<Vec<_>>(), [Hides::Owners, Hides::Owners, Hides::Limits]);
        assert!(gaps[2].why.contains("Too many open files"), "{}", gaps[2].why);
    }
}
