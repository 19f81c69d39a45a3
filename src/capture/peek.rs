//! What the kernel tells of a socket that another process holds, through a descriptor of it taken for microseconds.
//!
//! Nothing here writes: `TCP_INFO`, `MPTCP_INFO`, `getsockname()`, `getpeername()` and `poll()` leave a socket as it is.
//! `SO_ERROR` would take the error away from the program and is never asked for.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{getpeername, getsockname};

use crate::model::ghost::GhostEnd;
use crate::model::tuple::Endpoint;

/// The protocols whose sockets leave the tables of TCP: what `system.sockprotoname` calls them (`struct proto`, kernel
/// `net/ipv4/tcp_ipv4.c`, `net/ipv6/tcp_ipv6.c`, `net/mptcp/protocol.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Mptcp,
}

impl Protocol {
    /// The protocol of this name, with or without the zero that ends it; `None` for any other.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        match name.strip_suffix(b"\0").unwrap_or(name) {
            b"TCP" | b"TCPv6" => Some(Self::Tcp),
            b"MPTCP" | b"MPTCPv6" => Some(Self::Mptcp),
            _ => None,
        }
    }
}

/// A connection that is over while its socket is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) end: GhostEnd,
    pub(super) local: Option<Endpoint>,
    pub(super) untouched: bool,
    pub(super) silent_for: Option<Duration>,
}

/// Whether a connection of the socket is over. `None` for one that is open, that listens, that tries to connect, or that
/// was never connected.
///
/// # Errors
/// What the kernel said when it did not tell.
pub(super) fn read_over(socket: BorrowedFd<'_>, protocol: Protocol) -> Result<Option<Over>, Errno> {
    let (end, silent_for) = match protocol {
        Protocol::Tcp => match read_tcp_end(socket)? {
            Some(end) => end,
            None => return Ok(None),
        },
        Protocol::Mptcp if is_mptcp_over(socket)? => (GhostEnd::Ended, None),
        Protocol::Mptcp => return Ok(None),
    };
    let local = getsockname(socket).and_then(SocketAddr::try_from).ok();
    Ok(Some(Over {
        end,
        local: local.map(|local| Endpoint::new(local.ip(), local.port())),
        untouched: has_error_waiting(socket)?,
        silent_for,
    }))
}

/// `struct tcp_info` (kernel `include/uapi/linux/tcp.h`) up to `tcpi_segs_in`, which is there since Linux 4.2.
const TCP_INFO_BYTES: usize = 144;
const LAST_DATA_RECV: usize = 52;
const LAST_ACK_RECV: usize = 56;
const RCV_SPACE: usize = 96;
const SEGS_IN: usize = 140;
/// `TCP_CLOSE` (kernel `include/net/tcp_states.h`).
const STATE_CLOSE: u8 = 7;

fn read_tcp_end(socket: BorrowedFd<'_>) -> Result<Option<(GhostEnd, Option<Duration>)>, Errno> {
    let mut info = [0; TCP_INFO_BYTES];
    if read_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)? < TCP_INFO_BYTES {
        return Err(Errno::PROTO);
    }
    Ok(parse_tcp_end(&info))
}

/// How the connection ended, and for how long nothing had come from the peer.
fn parse_tcp_end(info: &[u8; TCP_INFO_BYTES]) -> Option<(GhostEnd, Option<Duration>)> {
    let field = |offset: usize| info[offset..].first_chunk().map_or(0, |chunk| u32::from_ne_bytes(*chunk));
    if info[0] != STATE_CLOSE || field(SEGS_IN) == 0 {
        return None;
    }
    // The receive space is set when a connection is made (`tcp_init_buffer_space`), and so are the clocks.
    if field(RCV_SPACE) == 0 {
        return Some((GhostEnd::Refused, None));
    }
    let silent_ms = field(LAST_DATA_RECV).min(field(LAST_ACK_RECV));
    Some((GhostEnd::Ended, Some(Duration::from_millis(silent_ms.into()))))
}

// Kernel `include/uapi/linux/mptcp.h` and `include/linux/socket.h`.
const SOL_MPTCP: libc::c_int = 284;
const MPTCP_INFO: libc::c_int = 1;
/// `mptcpi_write_seq` of `struct mptcp_info`: begins at a random number when the connection is made.
const WRITE_SEQ: usize = 16;

/// Whether an MPTCP connection was made and is no more. Its state is told by whether it has a peer; `TCP_INFO` is not
/// asked for, since the kernel would make a subflow to answer (`mptcp_getsockopt_first_sf_only`).
fn is_mptcp_over(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut info = [0; WRITE_SEQ + 8];
    read_option(socket, SOL_MPTCP, MPTCP_INFO, &mut info)?;
    let was_connected = info[WRITE_SEQ..].iter().any(|byte| *byte != 0);
    Ok(was_connected && getpeername(socket).err() == Some(Errno::NOTCONN))
}

fn has_error_waiting(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents().contains(PollFlags::ERR))
}

/// Reads an option that neither rustix nor nix has a call for; returns how many bytes there were.
fn read_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let mut length = value.len() as libc::socklen_t;
    let (descriptor, start) = (socket.as_fd().as_raw_fd(), value.as_mut_ptr().cast());
    #[allow(unsafe_code, reason = "no safe wrapper knows TCP_INFO")]
    // SAFETY: the descriptor is open as long as `socket` is borrowed. The kernel writes at most `length` bytes at `start`,
    // which is as long, is borrowed for the call, and may hold any bytes; it writes how many to `length`.
    let result = unsafe { libc::getsockopt(descriptor, level, option, start, &raw mut length) };
    match nix::errno::Errno::result(result) {
        Ok(_) => Ok(length as usize),
        Err(errno) => Err(Errno::from_raw_os_error(errno as i32)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt::set_socket_linger;
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    fn over(socket: impl AsFd) -> Option<Over> {
        read_over(socket.as_fd(), Protocol::Tcp).expect("told")
    }

    /// A connection, its peer, and where it came to.
    fn pair() -> (TcpStream, TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (peer, _) = listener.accept().expect("accepted");
        (client, peer, listener)
    }

    fn reset(peer: TcpStream) {
        set_socket_linger(&peer, Some(Duration::ZERO)).expect("set");
        drop(peer);
    }

    fn wait_until_over(socket: &TcpStream) -> Over {
        for _ in 0..2_000 {
            if let Some(over) = over(socket) {
                return over;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the reset did not come");
    }

    #[test]
    fn a_reset_connection_is_over_and_says_whether_anybody_noticed() {
        let (mut client, peer, _listener) = pair();
        assert_eq!(over(&client), None);
        reset(peer);
        let untouched = wait_until_over(&client);
        let local = client.local_addr().expect("it keeps its address");
        assert_eq!((untouched.end, untouched.untouched), (GhostEnd::Ended, true));
        assert_eq!(untouched.local, Some(Endpoint::new(local.ip(), local.port())));
        assert!(untouched.silent_for.is_some_and(|silent| silent < Duration::from_secs(60)));
        let error = client.read(&mut [0]).expect_err("our looking has not taken the error away");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(over(&client).map(|over| over.untouched), Some(false));
    }

    #[test]
    fn a_socket_without_a_connection_is_not_over() {
        let fresh = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
        assert_eq!(over(&fresh), None);
        let bound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&bound, &"127.0.0.1:0".parse::<SocketAddr>().expect("an address")).expect("bound");
        assert_eq!(over(&bound), None);
        let (client, _peer, listener) = pair();
        assert_eq!((over(&client), over(&listener)), (None, None));
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).expect("it listens no more");
        assert_eq!(over(&listener), None, "a listener that was closed had no connection of its own");
    }

    #[test]
    fn only_close_after_a_segment_is_an_end() {
        let end = |state: u8, segs_in: u32, rcv_space: u32| {
            let mut info = [0; TCP_INFO_BYTES];
            info[0] = state;
            info[SEGS_IN..].copy_from_slice(&segs_in.to_ne_bytes());
            info[RCV_SPACE..][..4].copy_from_slice(&rcv_space.to_ne_bytes());
            info[LAST_ACK_RECV..][..4].copy_from_slice(&7_u32.to_ne_bytes());
            info[LAST_DATA_RECV..][..4].copy_from_slice(&9_u32.to_ne_bytes());
            parse_tcp_end(&info)
        };
        assert_eq!(end(STATE_CLOSE, 2, 65_495), Some((GhostEnd::Ended, Some(Duration::from_millis(7)))));
        assert_eq!(end(STATE_CLOSE, 1, 0), Some((GhostEnd::Refused, None)));
        assert_eq!(end(STATE_CLOSE, 0, 65_495), None, "disconnected, as good as new");
        for alive in (1..=11).filter(|state| *state != STATE_CLOSE) {
            assert_eq!(end(alive, 2, 65_495), None, "state {alive}");
        }
    }

    #[test]
    fn protocols_are_known_by_their_names() {
        let names: [&[u8]; 6] = [b"TCP\0", b"TCPv6\0", b"TCP", b"MPTCP\0", b"UNIX-STREAM\0", b"SMC\0"];
        let tcp = Some(Protocol::Tcp);
        assert_eq!(names.map(Protocol::of), [tcp, tcp, tcp, Some(Protocol::Mptcp), None, None]);
    }
}
