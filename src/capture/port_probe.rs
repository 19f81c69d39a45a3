//! The kernel asked whether a port can be had, where a dump cannot tell (`--exact`).
//!
//! `TCP_REPAIR` makes `connect()` choose its port by the rules of every other one and then call the connection made,
//! without a packet; `IP_LOCAL_PORT_RANGE` leaves it a single port to choose (`tcp(7)`; `ip(7)`, Linux 6.3). Closing such a
//! socket is silent too.
//!
//! What it leaves behind: `TcpExt: EstabResets` rises by one for each port that can be had; a four-tuple is held for
//! microseconds; a connection in TIME-WAIT that can be taken over is taken over and so ends; programs of the cgroup and of
//! the security module that watch `connect()` see it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use rustix::net::sockopt::set_ipv6_v6only;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with};

use crate::capture::Deadline;
use crate::census::pools::{DoubtfulPort, PortQuestion};
use crate::model::snapshot::{Gap, Hides, PortAnswer, PortAnswers};
use crate::model::tuple::Endpoint;

/// `IP_LOCAL_PORT_RANGE` (kernel `include/uapi/linux/in.h`): lowest port in the low half, highest in the high one.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
/// How many questions are asked between two looks at the clock.
const QUESTIONS_PER_LOOK: usize = 64;

/// Asks the questions in their order, in the network namespace of the calling thread; which namespace they name is not
/// looked at. What was not answered is missing from the answers and told by the gaps.
///
/// Needs CAP_NET_ADMIN in the user namespace that owns the network namespace, and Linux 6.3.
#[must_use]
pub fn ask(doubtful: &[DoubtfulPort], deadline: Deadline) -> (PortAnswers, Vec<Gap>) {
    let mut inquiry = Inquiry::default();
    for (nth, doubt) in doubtful.iter().enumerate() {
        if nth % QUESTIONS_PER_LOOK == 0 && deadline.has_passed() {
            *inquiry.failures.entry(Failure::TimeUp).or_default() += (doubtful.len() - nth) as u64;
            break;
        }
        if let Err(failure) = inquiry.put(&doubt.question) {
            *inquiry.failures.entry(failure).or_default() += 1;
        }
    }
    let gaps = inquiry.failures.into_iter().map(|(failure, count)| failure.gap(count)).collect();
    (inquiry.answers, gaps)
}

#[derive(Default)]
struct Inquiry {
    answers: PortAnswers,
    failures: BTreeMap<Failure, u64>,
    /// Why no `connect()` can be asked at all, once that is known.
    hopeless: Option<Failure>,
    /// Whether `bind()` may be asked, once that was tried.
    bind_allowed: Option<Result<(), Failure>>,
}

impl Inquiry {
    fn put(&mut self, question: &PortQuestion) -> Result<(), Failure> {
        match *question {
            PortQuestion::Shared { port, unused } => {
                let answer = self.put_connect(&Attempt { source: None, port, destination: unused, interface: 0 })?;
                self.answers.shared.insert(port, answer);
            }
            PortQuestion::TimeWait { tuple, interface } => {
                let port = tuple.local.port;
                // A port that is closed to all is closed to this connection, which is best left as it is.
                if self.answers.shared.get(&port) == Some(&PortAnswer::Refused) {
                    return Ok(());
                }
                let source = Some(tuple.local.address);
                let answer = self.put_connect(&Attempt { source, port, destination: tuple.remote, interface })?;
                self.answers.time_wait.insert(tuple, answer);
            }
            PortQuestion::Bind(endpoint) => {
                self.bind_allowed.get_or_insert_with(try_bind_on_shared_port).clone()?;
                self.answers.bind.insert(endpoint, ask_bind(endpoint)?);
            }
        }
        Ok(())
    }

    fn put_connect(&mut self, attempt: &Attempt) -> Result<PortAnswer, Failure> {
        if let Some(failure) = &self.hopeless {
            return Err(failure.clone());
        }
        let answer = attempt.make().map(|(answer, _)| answer);
        if let Err(failure @ Failure::Call { call: REPAIR | PORT_RANGE, .. }) = &answer {
            self.hopeless = Some(failure.clone());
        }
        answer
    }
}

const REPAIR: &str = "TCP_REPAIR";
const PORT_RANGE: &str = "IP_LOCAL_PORT_RANGE";

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// This call failed with this error, which says nothing about the port.
    Call {
        call: &'static str,
        errno: i32,
    },
    /// The kernel gave another port than the one it was left with: the range was changed in between.
    OtherPort,
    /// On this kernel `bind()` leaves a mark on a shared port.
    BindMarks,
    TimeUp,
}

impl Failure {
    fn gap(&self, count: u64) -> Gap {
        let why = match self {
            Self::Call { call: REPAIR, errno: libc::EPERM } => {
                "TCP_REPAIR: operation not permitted; needs CAP_NET_ADMIN".to_owned()
            }
            Self::Call { call: PORT_RANGE, errno: libc::ENOPROTOOPT } => {
                "IP_LOCAL_PORT_RANGE: not known to this kernel; needs Linux 6.3".to_owned()
            }
            Self::Call { call, errno } => {
                format!("{call}: {}", Errno::from_raw(*errno).desc().to_lowercase())
            }
            Self::OtherPort => "the port range was changed while it was asked about".to_owned(),
            Self::BindMarks => {
                "before Linux 6.18 a bind() closes a shared port until its last owner is gone".to_owned()
            }
            Self::TimeUp => "the time allowed for the look was up".to_owned(),
        };
        Gap { what: format!("whether {count} ports in doubt can be had"), why, hides: Hides::Ports, count }
    }
}

/// A `connect()` that can get one port only.
struct Attempt {
    /// The local address; `None` leaves it to the routes.
    source: Option<IpAddr>,
    port: u16,
    destination: Endpoint,
    interface: u32,
}

impl Attempt {
    /// The answer, and the connected socket, which holds the port until it is dropped.
    fn make(&self) -> Result<(PortAnswer, OwnedFd), Failure> {
        let socket = tcp_socket(self.destination.address)?;
        set(&socket, REPAIR, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
        let port = u32::from(self.port);
        set(&socket, PORT_RANGE, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, port | port << 16)?;
        if self.interface != 0 {
            set(&socket, "SO_BINDTOIFINDEX", libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, self.interface)?;
        }
        if let Some(source) = self.source {
            set(&socket, "IP_BIND_ADDRESS_NO_PORT", libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
            let source = Endpoint::new(source, 0);
            bind(&socket, &self.address(source)).map_err(|error| Failure::call("bind()", error))?;
        }
        match connect(&socket, &self.address(self.destination)) {
            Err(rustix::io::Errno::ADDRNOTAVAIL) => return Ok((PortAnswer::Refused, socket)),
            other => other.map_err(|error| Failure::call("connect()", error))?,
        }
        if port_of(&socket)? == self.port { Ok((PortAnswer::Usable, socket)) } else { Err(Failure::OtherPort) }
    }

    /// A link-local address needs its interface.
    fn address(&self, endpoint: Endpoint) -> SocketAddr {
        match endpoint.address {
            IpAddr::V4(address) => SocketAddrV4::new(address, endpoint.port).into(),
            IpAddr::V6(address) => SocketAddrV6::new(address, endpoint.port, 0, self.interface).into(),
        }
    }
}

/// Whether a plain `bind()` gets the port.
fn ask_bind(endpoint: Endpoint) -> Result<PortAnswer, Failure> {
    let socket = tcp_socket(endpoint.address)?;
    match bind(&socket, &SocketAddr::new(endpoint.address, endpoint.port)) {
        Ok(()) => Ok(PortAnswer::Usable),
        Err(rustix::io::Errno::ADDRINUSE) => Ok(PortAnswer::Refused),
        Err(error) => Err(Failure::call("bind()", error)),
    }
}

/// Whether `bind()` on a port that a connection has, at another address, leaves the port as it was: tried on a free port.
///
/// The bucket of a port forgets that there was a `bind()` on it since Linux 6.18 ("tcp: Update bind bucket state on port
/// release"); before, the port stays closed to every `connect()` until its last owner is gone.
fn try_bind_on_shared_port() -> Result<(), Failure> {
    let free = free_port()?;
    let loopback = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let attempt =
        |port: u16| Attempt { source: None, port: free, destination: Endpoint::new(loopback(1), port), interface: 0 };
    let (_, holder) = attempt(1).make()?;
    ask_bind(Endpoint::new(loopback(2), free))?;
    let (afterwards, _) = attempt(2).make()?;
    drop(holder);
    if afterwards == PortAnswer::Usable { Ok(()) } else { Err(Failure::BindMarks) }
}

/// A port that nobody is on: one that all addresses of both families can get.
fn free_port() -> Result<u16, Failure> {
    let (socket, any) = match tcp_socket(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        Ok(socket) => {
            set_ipv6_v6only(&socket, false).map_err(|error| Failure::call("IPV6_V6ONLY", error))?;
            (socket, IpAddr::V6(Ipv6Addr::UNSPECIFIED))
        }
        Err(_no_ipv6) => {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            (tcp_socket(any)?, any)
        }
    };
    bind(&socket, &SocketAddr::new(any, 0)).map_err(|error| Failure::call("bind() to a free port", error))?;
    port_of(&socket)
}

fn port_of(socket: &OwnedFd) -> Result<u16, Failure> {
    let local = getsockname(socket).and_then(SocketAddr::try_from);
    local.map(|local| local.port()).map_err(|error| Failure::call("getsockname()", error))
}

impl Failure {
    fn call(call: &'static str, error: rustix::io::Errno) -> Self {
        Self::Call { call, errno: error.raw_os_error() }
    }
}

fn tcp_socket(address: IpAddr) -> Result<OwnedFd, Failure> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None).map_err(|error| Failure::call("socket()", error))
}

/// Sets an option that neither rustix nor nix has a call for.
fn set(socket: &OwnedFd, name: &'static str, level: i32, option: i32, value: u32) -> Result<(), Failure> {
    let size = size_of::<u32>() as libc::socklen_t;
    #[allow(unsafe_code, reason = "no safe wrapper knows IP_LOCAL_PORT_RANGE")]
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the kernel reads `size` bytes at the address of
    // `value`, a u32 of that size that outlives the call, and keeps nothing of it.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), size) };
    Errno::result(result).map(drop).map_err(|errno| Failure::Call { call: name, errno: errno as i32 })
}
