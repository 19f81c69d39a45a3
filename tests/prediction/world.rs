//! A namespace of one's own for each case, and sockets in every condition that matters to ports.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::thread;

use closewatch::model::socket::SocketKind;
use closewatch::model::state::TcpState;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_linger, set_socket_reuseaddr, set_socket_reuseport, socket_error,
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen, socket_with,
};

use crate::forecast::take_snapshot;
use crate::support::{run, wait_until};

/// The interface `lo`.
pub const LOOPBACK: u32 = 1;

/// A namespace and what was put into it; the sockets live as long as it does.
#[derive(Default)]
pub struct World {
    servers: BTreeMap<SocketAddr, OwnedFd>,
    held: Vec<OwnedFd>,
    next_far_port: u16,
    stuck_in_fin_wait1: usize,
}

/// How a connection comes to its local end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `connect()` alone.
    Routed,
    /// `bind()` to port 0, then `connect()`.
    Zero(IpAddr),
    /// `IP_BIND_ADDRESS_NO_PORT`, `bind()` to port 0, then `connect()`.
    Late(IpAddr),
    /// `bind()` to the port, then `connect()`.
    Port(IpAddr, u16),
}

/// How a socket is made before anything is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind {
    /// An IPv6 socket, also for IPv4 addresses.
    pub mapped: bool,
    pub v6only: bool,
    pub reuse_address: bool,
    pub reuse_port: bool,
    /// `SO_BINDTODEVICE` to `lo`.
    pub on_loopback: bool,
}

/// A connection to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub to: SocketAddr,
    pub local: Local,
    pub kind: Kind,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Established,
    CloseWait,
    TimeWait,
    /// Closed here, not there: a time-wait object in FIN-WAIT-2.
    FinWait2,
    /// Closed here with data that the peer does not take.
    FinWait1,
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A plain `connect()`.
pub fn to(text: &str) -> Call {
    Call { to: address(text), local: Local::Routed, kind: Kind::default() }
}

impl Call {
    pub fn from(self, local: Local) -> Self {
        Self { local, ..self }
    }

    pub fn as_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

/// Runs the body in a fresh namespace with its loopback up, on a thread of its own.
pub fn in_world<T: Send>(body: impl FnOnce(&mut World) -> T + Send) -> T {
    let case = move || {
        // A table of its own makes a look quick while others fill that of the host; older kernels have no such thing.
        let _shared = std::fs::write("/proc/sys/net/ipv4/tcp_child_ehash_entries", "4096");
        unshare(CloneFlags::CLONE_NEWNET).expect("root of a user namespace may");
        run("ip", &["link", "set", "lo", "up"]);
        body(&mut World { next_far_port: 20_000, ..World::default() })
    };
    match thread::scope(|scope| scope.spawn(case).join()) {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl World {
    pub fn hold(&mut self, socket: OwnedFd) {
        self.held.push(socket);
    }

    /// Closes all that `hold` was given since there were so many.
    pub fn release(&mut self, count: usize) {
        self.held.truncate(count);
    }

    /// Closes those held since there were so many whose connection was refused or reset and that hold no port any more;
    /// tells of how many. A new connection beside one of the same four-tuple on another interface meets with that.
    pub fn bury(&mut self, count: usize) -> usize {
        let new = self.held.split_off(count);
        let all = new.len();
        self.held.extend(new.into_iter().filter(|socket| socket_error(socket).is_ok_and(|error| error.is_ok())));
        count + all - self.held.len()
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Listens where a connection is to go, once; `adopt` may have put a listener of another namespace there.
    pub fn server(&mut self, at: SocketAddr) -> &OwnedFd {
        self.servers.entry(at).or_insert_with(|| {
            let socket = open(at.ip(), Kind { v6only: true, ..Kind::default() }).expect("a socket");
            set_socket_reuseaddr(&socket, true).expect("an option");
            bind(&socket, &at).unwrap_or_else(|error| panic!("{at}: {error}"));
            listen(&socket, 4096).expect("listens");
            socket
        })
    }

    pub fn adopt(&mut self, at: SocketAddr, listener: OwnedFd) {
        self.servers.insert(at, listener);
    }

    /// Both ends of a connection.
    pub fn connect(&mut self, call: &Call) -> io::Result<(OwnedFd, OwnedFd)> {
        self.server(call.to);
        let client = dial(call, SocketFlags::empty())?;
        Ok((client, accept_with(self.server(call.to), SocketFlags::CLOEXEC)?))
    }

    /// Makes so many connections that end in this condition; tells of how many that came true.
    pub fn leave(&mut self, count: usize, call: Call, end: End) -> usize {
        (0..count).filter(|_| self.leave_one(&call, end).is_ok()).count()
    }

    /// As [`World::leave`], on ports of which none may fail.
    pub fn leave_all(&mut self, count: usize, call: Call, end: End) {
        assert_eq!(self.leave(count, call, end), count, "{call:?} {end:?}");
    }

    fn leave_one(&mut self, call: &Call, end: End) -> io::Result<()> {
        let (client, peer) = self.connect(call)?;
        match end {
            End::Established => self.held.extend([client, peer]),
            End::CloseWait => {
                drop(peer);
                self.held.push(client);
            }
            End::TimeWait => {
                drop(client);
                drop(peer);
            }
            End::FinWait2 => {
                drop(client);
                self.held.push(peer);
            }
            End::FinWait1 => {
                rustix::io::ioctl_fionbio(&client, true)?;
                while rustix::io::write(&client, &[0; 65536]).is_ok() {}
                drop(client);
                self.held.push(peer);
                self.stuck_in_fin_wait1 += 1;
            }
        }
        Ok(())
    }

    /// Binds and holds; listens too when a backlog is given. Returns the port.
    pub fn bind(&mut self, at: SocketAddr, kind: Kind, backlog: Option<i32>) -> io::Result<u16> {
        let socket = open(at.ip(), kind)?;
        bind(&socket, &at)?;
        if let Some(backlog) = backlog {
            listen(&socket, backlog)?;
        }
        let port = port_of(&socket);
        self.held.push(socket);
        Ok(port)
    }

    /// A connection that came in on this port and outlives its listener. The client's port is out of every range.
    pub fn orphan_accepted(&mut self, at: SocketAddr) -> io::Result<()> {
        let listener = open(at.ip(), Kind::default())?;
        bind(&listener, &at)?;
        listen(&listener, 16)?;
        self.next_far_port += 1;
        let call = Call { to: at, local: Local::Port(at.ip(), self.next_far_port), kind: Kind::default() };
        let client = dial(&call, SocketFlags::empty())?;
        let child = accept_with(&listener, SocketFlags::CLOEXEC)?;
        self.held.extend([client, child]);
        Ok(())
    }

    /// A listener whose queue is full: who connects to it stays in SYN-SENT.
    pub fn full_server(&mut self, at: SocketAddr) {
        let socket = open(at.ip(), Kind::default()).expect("a socket");
        bind(&socket, &at).expect("binds");
        listen(&socket, 0).expect("listens");
        self.servers.insert(at, socket);
        self.next_far_port += 1;
        let call = Call { to: at, local: Local::Port(at.ip(), self.next_far_port), kind: Kind::default() };
        let client = dial(&call, SocketFlags::empty()).expect("the queue takes one");
        self.held.push(client);
    }

    /// Waits until nothing closes any more, and until the youngest TIME-WAIT is so many milliseconds old by the kernel's
    /// own clock.
    pub fn settle(&self, time_wait_age_ms: u32) {
        wait_until("the sockets to settle", || {
            let snapshot = take_snapshot();
            let fin_wait1 = snapshot.sockets.iter().filter(|socket| socket.state == TcpState::FinWait1).count();
            fin_wait1 <= self.stuck_in_fin_wait1
                && snapshot.sockets.iter().all(|socket| match (socket.state, socket.kind) {
                    (TcpState::LastAck | TcpState::Closing, _) => false,
                    (TcpState::FinWait2, kind) => kind == SocketKind::TimeWait,
                    (TcpState::TimeWait, _) => crate::forecast::age_ms(socket) >= time_wait_age_ms,
                    _ => true,
                })
        });
    }

    /// Takes what waits at the servers, so that their queues do not fill, and closes it.
    pub fn drain(&mut self) {
        for server in self.servers.values() {
            rustix::io::ioctl_fionbio(server, true).expect("an option");
            while accept_with(server, SocketFlags::CLOEXEC).is_ok() {}
            rustix::io::ioctl_fionbio(server, false).expect("an option");
        }
    }
}

/// A socket that leaves no TIME-WAIT behind when it is dropped.
pub fn vanishing(socket: &OwnedFd) {
    set_socket_linger(socket, Some(std::time::Duration::ZERO)).expect("an option");
}

/// Opens a socket for this address.
pub fn open(for_address: IpAddr, kind: Kind) -> io::Result<OwnedFd> {
    let v6 = for_address.is_ipv6() || kind.mapped;
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if v6 {
        set_ipv6_v6only(&socket, kind.v6only)?;
    }
    set_socket_reuseaddr(&socket, kind.reuse_address)?;
    set_socket_reuseport(&socket, kind.reuse_port)?;
    if kind.on_loopback {
        setsockopt(&socket, sockopt::BindToDevice, &"lo".into())?;
    }
    Ok(socket)
}

/// The client's end of a connection.
pub fn dial(call: &Call, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = |address: IpAddr| match address {
        IpAddr::V4(v4) if call.kind.mapped => IpAddr::V6(v4.to_ipv6_mapped()),
        address => address,
    };
    let socket = open(call.to.ip(), call.kind)?;
    match call.local {
        Local::Routed => {}
        Local::Zero(address) => bind(&socket, &SocketAddr::new(family(address), 0))?,
        Local::Late(address) => {
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            bind(&socket, &SocketAddr::new(family(address), 0))?;
        }
        Local::Port(address, port) => bind(&socket, &SocketAddr::new(family(address), port))?,
    }
    if flags.contains(SocketFlags::NONBLOCK) {
        rustix::io::ioctl_fionbio(&socket, true)?;
    }
    match connect(&socket, &SocketAddr::new(family(call.to.ip()), call.to.port())) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

pub fn port_of(socket: &OwnedFd) -> u16 {
    SocketAddr::try_from(getsockname(socket).expect("a name")).expect("an internet address").port()
}

/// Any address of the family, to bind to: port 0 of it.
pub fn any(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

pub const V6_LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
