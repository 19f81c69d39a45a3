//! Network namespaces: entering another one, and telling which one a thread is in.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::CaptureError;
use super::netns_choice::place_of_process;

/// Runs `look` in the network namespace of this process, on a thread that goes there when it is another one, and returns
/// what it returns. No other thread moves. Sockets that `look` opens stay in that namespace after they were handed out.
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
    place_of_process(pid)?.visit(look).map_err(|closed| CaptureError::EnterNetNs { pid, error: closed.into() })
}

/// Moves the calling thread into the namespace that the file stands for, which must have this inode when one is given.
///
/// Nothing brings the thread back: this is for threads that end with their errand.
///
/// # Errors
/// `ESTALE` when the file is not that namespace, `EPERM` for a namespace that this user may not enter.
pub(super) fn move_this_thread(target: &File, inode: Option<u64>) -> io::Result<()> {
    let there = LinkId::of(&target.metadata()?);
    let here = read_link_id(THREAD_NETNS)?;
    if there.device != here.device || inode.is_some_and(|inode| inode != there.inode) {
        return Err(io::Error::from_raw_os_error(Errno::ESTALE as i32));
    }
    if there == here { Ok(()) } else { Ok(setns(target, CloneFlags::CLONE_NEWNET)?) }
}

/// The device of nsfs and the inode of the namespace that the calling thread is in.
pub(super) fn read_own_id() -> io::Result<LinkId> {
    read_link_id(THREAD_NETNS)
}

const THREAD_NETNS: &str = "/proc/thread-self/ns/net";

/// What tells one namespace from another (`man 7 namespaces`): the device of nsfs and the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkId {
    /// That of nsfs, the same for all: the kernel mounts it once.
    pub(super) device: u64,
    /// The N of `net:[N]`.
    pub(super) inode: u64,
}

impl LinkId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

fn read_link_id(link: &str) -> io::Result<LinkId> {
    fs::metadata(link).map(|metadata| LinkId::of(&metadata))
}

/// `NET_NS_INIT_INO` and `PID_NS_INIT_INO`: the numbers of the first namespaces (kernel `include/uapi/linux/nsfs.h`,
/// `enum init_ns_ino`). That of the network is fixed in newer kernels only; in older ones no network namespace has it,
/// since numbers are given out from 0xF0000000 on (`PROC_DYNAMIC_FIRST`, kernel `fs/proc/generic.c`).
const INITIAL_NETNS_INODE: u64 = 0xEFFF_FFF9;
const INITIAL_PID_NS_INODE: u64 = 0xEFFF_FFFC;

/// Whether this is the inode of the namespace that the host booted with: by its number, else because pid 1 is in it.
pub(super) fn is_initial(inode: u64) -> bool {
    inode == INITIAL_NETNS_INODE
        || pid_1_is_of_the_host() && read_link_id("/proc/1/ns/net").is_ok_and(|first| first.inode == inode)
}

/// Whether pid 1 is that of the host. In a container it is another process and says nothing of the host.
pub(super) fn pid_1_is_of_the_host() -> bool {
    read_link_id("/proc/thread-self/ns/pid").is_ok_and(|pid_ns| pid_ns.inode == INITIAL_PID_NS_INODE)
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
}
