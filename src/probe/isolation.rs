//! A network namespace of one's own: its ports, its tables and its settings are nobody else's, and go with the process.

use std::fs;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{DumpableBehavior, getegid, geteuid, set_dumpable_behavior};

use super::ProbeError;
use crate::model::ports::EphemeralRange;

/// What had to be given up for the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: the user may make network namespaces.
    Network,
    /// A user namespace came with it, in which the user is root.
    UserAndNetwork,
}

/// Moves this process into a network namespace of its own, with a user namespace around it where that is needed, and
/// brings its loopback up. Workers that are started from here on live there too. The kernel takes it all back when the last
/// of them has ended, however that comes about.
///
/// To be called before any other thread is started: a user namespace is for a whole process (`man 2 unshare`).
///
/// # Errors
/// [`ProbeError::Namespace`] where this user may have none, [`ProbeError::SetUp`] when the loopback cannot be brought up.
pub fn isolate() -> Result<Isolation, ProbeError> {
    let isolation = match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Isolation::Network,
        Err(nix::errno::Errno::EPERM) => {
            enter_user_namespace().map_err(ProbeError::Namespace)?;
            Isolation::UserAndNetwork
        }
        Err(error) => return Err(ProbeError::Namespace(error.into())),
    };
    set_loopback(Link::Up).map_err(|error| ProbeError::SetUp { what: "the loopback", error })?;
    Ok(isolation)
}

/// Makes both namespaces, and maps the user to root in them: what is started there keeps the capabilities that it needs to
/// look at the workers (`man 7 user_namespaces`).
fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // A program with file capabilities may not write its own maps until it says that it has nothing to hide.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// The index of `lo` in every namespace (`LOOPBACK_IFINDEX`, kernel `include/net/net_namespace.h`).
const LOOPBACK: u32 = 1;
/// `RTM_NEWLINK`: makes a link, or changes it (kernel `include/uapi/linux/rtnetlink.h`).
const RTM_NEWLINK: u16 = 16;
/// `IFF_UP` (kernel `include/uapi/linux/if.h`).
const IFF_UP: u32 = 1;
/// A netlink header, and a `struct ifinfomsg`.
const REQUEST_LENGTH: usize = 16 + 16;

/// Whether packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// They do.
    Up,
    /// They are lost.
    Down,
}

/// Brings the loopback of the namespace up, or takes it down.
pub(super) fn set_loopback(link: Link) -> io::Result<()> {
    let flags = if link == Link::Up { IFF_UP } else { 0 };
    let mut request = [0; REQUEST_LENGTH];
    let mut header = NetlinkBuffer::new(&mut request[..]);
    header.set_length(REQUEST_LENGTH as u32);
    header.set_message_type(RTM_NEWLINK);
    header.set_flags(NLM_F_REQUEST | NLM_F_ACK);
    // struct ifinfomsg: the index at byte 4, the flags at 8, and which of them change at 12.
    for (at, value) in [(20, LOOPBACK), (24, flags), (28, IFF_UP)] {
        request[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let refuse = || io::Error::from(io::ErrorKind::InvalidData);
    let header = NetlinkBuffer::new_checked(&answer).map_err(|_| refuse())?;
    // The error number of NLMSG_ERROR, negative; 0 is the ACK.
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match code {
        Some(0) if header.message_type() == NLMSG_ERROR => Ok(()),
        Some(code) if header.message_type() == NLMSG_ERROR => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(refuse()),
    }
}

/// Gives the namespace this range of ports to hand out.
///
/// # Errors
/// [`ProbeError::SetUp`].
pub(super) fn set_port_range(range: EphemeralRange) -> Result<(), ProbeError> {
    let text = format!("{} {}", range.first, range.last);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", text)
        .map_err(|error| ProbeError::SetUp { what: "ip_local_port_range", error })
}
