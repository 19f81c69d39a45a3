//! Network namespaces: entering that of another process, and telling which one a thread is in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::sysctl::{gap, reason};
use super::{CaptureError, NetNsChoice};
use crate::model::snapshot::{Gap, Hides, NetNs};

/// Runs `look` on a thread that is in the network namespace of this process, and returns what it returns. No other
/// thread moves. Sockets that `look` opens stay in that namespace after they were handed out.
///
/// Being there already needs no privilege; entering another namespace needs CAP_SYS_ADMIN both in the user namespace
/// that owns it and in one's own (`man 2 setns`).
///
/// # Errors
/// [`CaptureError::EnterNetNs`], with `ENOENT` for a process that is not there, `EACCES` for one that this user may not
/// inspect (`man 2 ptrace`, PTRACE_MODE_READ), `EPERM` for a namespace that this user may not enter.
///
/// # Panics
/// When `look` does.
pub fn enter_netns_of<T: Send>(pid: u32, look: impl FnOnce() -> T + Send) -> Result<T, CaptureError> {
    let failed = |error| CaptureError::EnterNetNs { pid, error };
    thread::scope(|scope| {
        let visit = move || move_thread_to_netns_of(pid).map(|()| look());
        let visitor = thread::Builder::new().name(format!("netns of {pid}")).spawn_scoped(scope, visit);
        match visitor.map_err(failed)?.join() {
            Ok(outcome) => outcome.map_err(failed),
            Err(payload) => panic::resume_unwind(payload),
        }
    })
}

/// The namespace of the calling thread, and its best name: `init`, else `current` for that of this program, else
/// `pid N` of the process that was asked for.
///
/// An unreadable number is `None` and a gap.
#[must_use]
pub fn read_netns_id(asked: &NetNsChoice, gaps: &mut Vec<Gap>) -> NetNs {
    let here = match read_link_id(THREAD_NETNS) {
        Ok(here) => here,
        Err(error) => {
            gaps.push(gap("the number of the network namespace", reason(&error), Hides::Owners));
            return NetNs { inode: None, name: name_of(asked, Place::Elsewhere) };
        }
    };
    let place = if is_initial(here) {
        Place::Initial
    } else if read_link_id(PROCESS_NETNS).ok() == Some(here) {
        Place::OfThisProgram
    } else {
        Place::Elsewhere
    };
    NetNs { inode: Some(here.inode), name: name_of(asked, place) }
}

const THREAD_NETNS: &str = "/proc/thread-self/ns/net";
/// That of the main thread, which never moves.
const PROCESS_NETNS: &str = "/proc/self/ns/net";

/// What tells one namespace from another (`man 7 namespaces`): the device of nsfs and the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LinkId {
    device: u64,
    inode: u64,
}

impl LinkId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

fn read_link_id(link: &str) -> io::Result<LinkId> {
    fs::metadata(link).map(|metadata| LinkId::of(&metadata))
}

fn move_thread_to_netns_of(pid: u32) -> io::Result<()> {
    let target = File::open(format!("/proc/{pid}/ns/net"))?;
    if LinkId::of(&target.metadata()?) == read_link_id(THREAD_NETNS)? {
        return Ok(());
    }
    Ok(setns(target, CloneFlags::CLONE_NEWNET)?)
}

/// `NET_NS_INIT_INO` and `PID_NS_INIT_INO`: the numbers of the first namespaces (kernel `include/uapi/linux/nsfs.h`,
/// `enum init_ns_ino`). That of the network is fixed in newer kernels only; in older ones no network namespace has it,
/// since numbers are given out from 0xF0000000 on (`PROC_DYNAMIC_FIRST`, kernel `fs/proc/generic.c`).
const INITIAL_NETNS_INODE: u64 = 0xEFFF_FFF9;
const INITIAL_PID_NS_INODE: u64 = 0xEFFF_FFFC;

/// Whether this is the namespace that the host booted with: by its number, else because pid 1 is in it. In a container
/// pid 1 is another process and says nothing of the host.
fn is_initial(netns: LinkId) -> bool {
    let pid_1_is_of_the_host =
        || read_link_id("/proc/thread-self/ns/pid").is_ok_and(|pid_ns| pid_ns.inode == INITIAL_PID_NS_INODE);
    netns.inode == INITIAL_NETNS_INODE
        || pid_1_is_of_the_host() && read_link_id("/proc/1/ns/net").is_ok_and(|first| first == netns)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Initial,
    OfThisProgram,
    Elsewhere,
}

fn name_of(asked: &NetNsChoice, place: Place) -> String {
    match (place, asked) {
        (Place::Initial, _) => "init".to_owned(),
        (Place::OfThisProgram, _) | (Place::Elsewhere, NetNsChoice::Current) => "current".to_owned(),
        (Place::Elsewhere, NetNsChoice::Pid(pid)) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_needs_no_entering() {
        let here = read_link_id(THREAD_NETNS).expect("our own namespace");
        let there = enter_netns_of(std::process::id(), || read_link_id(THREAD_NETNS)).expect("entered");
        assert_eq!(there.expect("our own namespace"), here);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_that_says_so() {
        // Above any pid_max.
        let error = enter_netns_of(u32::MAX, || ()).expect_err("no such process");
        let CaptureError::EnterNetNs { pid, error } = &error else { panic!("{error}") };
        assert_eq!((*pid, error.kind()), (u32::MAX, io::ErrorKind::NotFound));
    }

    #[test]
    #[should_panic(expected = "the look went wrong")]
    fn a_panic_of_the_look_reaches_the_caller() {
        let _ = enter_netns_of(std::process::id(), || panic!("the look went wrong"));
    }

    #[test]
    fn a_namespace_has_the_best_name_there_is() {
        let (current, pid) = (NetNsChoice::Current, NetNsChoice::Pid(7));
        assert_eq!(name_of(&pid, Place::Initial), "init");
        assert_eq!(name_of(&pid, Place::OfThisProgram), "current");
        assert_eq!(name_of(&pid, Place::Elsewhere), "pid 7");
        assert_eq!(name_of(&current, Place::Elsewhere), "current");
    }
}
