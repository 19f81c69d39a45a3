//! One socket, as one look at the kernel's tables shows it.

use std::num::NonZeroU64;

use super::state::TcpState;
use super::tuple::{Family, FourTuple};

/// The identity of a socket across snapshots (`sock_gen_cookie`, kernel `net/core/sock_diag.c`): no two sockets of one
/// boot share it, and a TIME-WAIT keeps that of the socket it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SockCookie(NonZeroU64);

/// The inode of a socket in sockfs: the N of `socket:[N]` in `/proc/PID/fd`. Zero, which the kernel reports for sockets
/// that no file stands for, is made `None` where bytes are parsed and never becomes an `Inode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode(NonZeroU64);

/// The cgroup that the socket was created in: the inode of its cgroup2 directory (`INET_DIAG_CGROUP_ID`).
/// Accepted sockets carry their listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(NonZeroU64);

/// Gives the names of kernel objects their numbers. That 0 is none of them makes a row a fifth smaller, and there are as many
/// rows as sockets.
macro_rules! numbered {
    ($($name:ident),*) => {$(
        impl $name {
            /// The one with this number; `None` for 0, which the kernel gives to none.
            #[must_use]
            pub fn new(number: u64) -> Option<Self> {
                NonZeroU64::new(number).map(Self)
            }

            /// Its number.
            #[must_use]
            pub fn get(self) -> u64 {
                self.0.get()
            }
        }
    )*};
}

numbered!(SockCookie, Inode, CgroupId);

/// Index of a namespace in [`super::snapshot::Snapshot::namespaces`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsIndex(pub u32);

/// What kind of object of the kernel the row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// A `struct tcp_sock`.
    Full,
    /// A `struct inet_timewait_sock`: TIME-WAIT, or FIN-WAIT-2 without a process. It has no inode, uid or queues, and
    /// holds its port.
    TimeWait,
    /// A `struct request_sock`: half of a handshake at a listener. It holds no port of its own.
    Request,
}

/// The two queue lengths of a row, named for what they are: the kernel uses one pair of fields for both meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queues {
    /// Of a connection: bytes not read by the program (a FIN that was not read counts one) and bytes not acknowledged by
    /// the peer (kernel `tcp_diag_get_info`).
    Data {
        /// Bytes received and not read, plus one for a FIN not read.
        recv: u32,
        /// Bytes written and not acknowledged.
        send: u32,
    },
    /// Of a listener: connections waiting for `accept()`, and how many may wait.
    Listen {
        /// `sk_ack_backlog`.
        waiting: u32,
        /// `sk_max_ack_backlog`: the smaller of `listen()`'s argument and `net.core.somaxconn`. `None` when the source does
        /// not tell (`/proc/net/tcp`).
        limit: Option<u32>,
    },
}

/// The timer that runs on a socket, and the milliseconds until it fires (`idiag_timer`, `idiag_expires`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timer {
    /// None runs.
    Off,
    /// Retransmission, or loss probes.
    Retransmit(u32),
    /// Keepalive; also the timer that ends an orphaned FIN-WAIT-2.
    KeepAlive(u32),
    /// The end of TIME-WAIT.
    TimeWait(u32),
    /// Zero-window probes.
    Probe(u32),
    /// The source does not tell (`/proc/net/tcp` of some layouts, saved text).
    Unknown,
}

/// How the local port came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortBinding {
    /// The kernel chose it: `connect()`, `bind()` to port 0, or the port of the listener that accepted the connection.
    /// `INET_DIAG_BC_AUTO` is true: `!(sk_userlocks & SOCK_BINDPORT_LOCK)`.
    Auto,
    /// The program named it in `bind()`.
    Explicit,
    /// The source cannot tell.
    Unknown,
}

impl PortBinding {
    /// Of two answers about one socket the one that is surer is true: a port that was named stays named.
    #[must_use]
    pub(crate) fn certainty(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Auto => 1,
            Self::Explicit => 2,
        }
    }
}

/// The clocks of `struct tcp_info`: how many milliseconds ago something happened last. Each wraps at 2^32 ms, 49.7 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// `tcpi_last_data_sent`: the program's last payload went out.
    pub last_data_sent_ms: u32,
    /// `tcpi_last_data_recv`: payload came in, or the connection was made.
    pub last_data_recv_ms: u32,
    /// `tcpi_last_ack_recv`: a segment with a useful ACK came in; a FIN is always one.
    pub last_ack_recv_ms: u32,
}

/// One row of the kernel's socket tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRecord {
    /// The namespace it was seen in.
    pub netns: NetNsIndex,
    /// The state of the TCP socket. Of an MPTCP connection this is the state of the subflow: see `mptcp`.
    pub state: TcpState,
    /// What kind of object it is.
    pub kind: SocketKind,
    /// The family it was opened with.
    pub family: Family,
    /// Both ends, IPv4-mapped addresses made plain.
    pub tuple: FourTuple,
    /// Index of the interface it is bound to (`SO_BINDTODEVICE`, or the scope of a link-local address); 0 for none.
    pub interface: u32,
    /// Its identity; `None` when the source has none (text).
    pub cookie: Option<SockCookie>,
    /// `None` when no file stands for it: not accepted yet, closed by its program, TIME-WAIT, request.
    pub inode: Option<Inode>,
    /// Who created it (of an accepted socket: who accepted it). `None` for objects that have no owner.
    pub uid: Option<u32>,
    /// The cgroup it was created in.
    pub cgroup: Option<CgroupId>,
    /// Queue lengths.
    pub queues: Queues,
    /// The timer.
    pub timer: Timer,
    /// How the local port was chosen.
    pub binding: PortBinding,
    /// `IPV6_V6ONLY`; the kernel tells it for listening and bound sockets only.
    pub v6only: Option<bool>,
    /// The clocks of tcp_info, where they were asked for.
    pub clocks: Option<Clocks>,
    /// The state of the MPTCP connection that this socket is a subflow of.
    pub mptcp: Option<TcpState>,
}

impl SocketRecord {
    /// Whether the peer has closed and the program here has not: CLOSE-WAIT, of TCP or of the MPTCP connection above it.
    #[must_use]
    pub fn is_close_wait(&self) -> bool {
        self.state == TcpState::CloseWait || self.mptcp == Some(TcpState::CloseWait)
    }

    /// Bytes (and FIN) that the program has not read; 0 for a listener.
    #[must_use]
    pub fn unread(&self) -> u32 {
        match self.queues {
            Queues::Data { recv, .. } => recv,
            Queues::Listen { .. } => 0,
        }
    }
}
