//! The TCP tables of one network namespace, read by sock_diag netlink.
//!
//! Several walks make one table. tcp_info makes a row twice as dear and is asked for where it is needed only, and which
//! local ports were named in `bind()` is told only by which rows a filter lets through. Connections are read in two
//! halves at once where there are processors for it, each by the same walks in the same order.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::capture::bytecode::{Bytecode, Condition, Side, endpoints_of};
use crate::capture::inet_diag::{
    Decoder, DumpRequest, Extensions, Progress, Tables, Unreadable, WireError, encode_request,
};
use crate::capture::{Deadline, TcpInfoChoice};
use crate::model::ports::EphemeralRange;
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides};
use crate::model::socket::{NetNsIndex, PortBinding, SockCookie, SocketKind, SocketRecord};
use crate::model::state::{StateMask, TcpState};
use crate::model::tuple::Family;

/// What to read.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// What the rows name the calling thread's namespace.
    pub netns: NetNsIndex,
    /// What the reader asked to see. The kernel leaves rows out by its addresses and ports, but never such as hold a
    /// port of `ephemeral` or listen: how many ports are left, and who opened a connection, depends on them.
    pub selection: &'a Selection,
    /// For which sockets tcp_info is asked.
    pub tcp_info: TcpInfoChoice,
    /// The ports that the namespace hands out. `None` when that could not be read: then no row is left out.
    pub ephemeral: Option<EphemeralRange>,
    /// When to give up.
    pub deadline: Deadline,
}

/// The sockets of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Each socket once.
    pub sockets: Vec<SocketRecord>,
    /// What was not seen of them.
    pub gaps: Vec<Gap>,
}

/// Reads the tables of the network namespace that the calling thread is in.
///
/// Which ports were bound explicitly, the clocks of ESTABLISHED sockets with unread data, and MPTCP are extras: where
/// they cannot be read the values stay unknown, and a gap tells.
///
/// # Errors
/// When the sockets as such cannot be read completely: no netlink socket (a seccomp filter), no sock_diag in the kernel,
/// a refusal, an answer that breaks off, or the deadline. There is then no table at all, and the caller may read the
/// text in `/proc/net` instead.
pub fn read_tables(asked: &Asked<'_>) -> io::Result<Table> {
    let mut walker = Walker::open(asked)?;
    let found = read_sockets(asked, &mut walker)?;
    let mut table = Table { gaps: gaps_of(found.unreadable), sockets: found.rows };
    read_unread_clocks(asked, &mut walker, &mut table);
    keep_latest(&mut table.sockets);
    read_bindings(asked, &mut walker, &mut table);
    read_mptcp(&mut walker, &mut table);
    Ok(table)
}

/// How many rows of ESTABLISHED sockets with unread data make their clocks worth a walk.
const UNREAD_WORTH_A_WALK: usize = 10;

/// The states of connections, whose local port came by `bind()` or by `connect()`.
const CONNECTED: StateMask = StateMask::of(TcpState::Established)
    .with(StateMask::of(TcpState::SynSent))
    .with(StateMask::of(TcpState::SynRecv))
    .with(StateMask::of(TcpState::FinWait1))
    .with(StateMask::of(TcpState::FinWait2))
    .with(StateMask::of(TcpState::CloseWait))
    .with(StateMask::of(TcpState::LastAck))
    .with(StateMask::of(TcpState::Closing));

/// Rows of one or more dumps.
#[derive(Default)]
struct Found {
    rows: Vec<SocketRecord>,
    unreadable: Unreadable,
}

impl Found {
    fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
        self.unreadable.unknown_state += other.unreadable.unknown_state;
        self.unreadable.malformed += other.unreadable.malformed;
    }
}

/// One walk over the tables: which states, with what.
struct Walk {
    states: StateMask,
    extensions: Extensions,
}

/// The walks that together show every socket, in the order in which they must be made: a connection goes from
/// ESTABLISHED to CLOSE-WAIT, so that one that does between two walks is in both rather than in none.
fn socket_walks(asked: &Asked<'_>) -> Vec<Walk> {
    let close_wait = StateMask::of(TcpState::CloseWait);
    match asked.tcp_info {
        TcpInfoChoice::All => vec![Walk { states: StateMask::ALL, extensions: Extensions::Info }],
        TcpInfoChoice::WhereNeeded if wants(asked.selection, TcpState::CloseWait) => vec![
            Walk { states: StateMask::ALL.without(close_wait), extensions: Extensions::None },
            Walk { states: close_wait, extensions: Extensions::Info },
        ],
        TcpInfoChoice::WhereNeeded => vec![Walk { states: StateMask::ALL, extensions: Extensions::None }],
    }
}

fn wants(selection: &Selection, state: TcpState) -> bool {
    selection.states.is_none_or(|states| states.has(state))
}

/// What the kernel may leave out without harm, as the condition for what it must send.
fn kept(asked: &Asked<'_>) -> Option<Condition> {
    let range = asked.ephemeral?;
    Some(Condition::Any(vec![
        endpoints_of(asked.selection)?,
        Condition::Port(Side::Local, range.first..=range.last),
        // Listeners and bound sockets.
        Condition::Port(Side::Peer, 0..=0),
    ]))
}

fn read_sockets(asked: &Asked<'_>, walker: &mut Walker) -> io::Result<Found> {
    let walks = socket_walks(asked);
    let kept = kept(asked);
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return walker.dump_all(&walks, filter_of([kept]).as_ref());
    }
    let half = half_of(asked.ephemeral);
    let first = filter_of([Some(half.clone()), kept.clone()]);
    let second = filter_of([Some(half.negated()), kept]);
    let mut beside = Walker::open(asked)?;
    let (mine, theirs) = thread::scope(|scope| {
        let walks = &walks;
        let theirs = thread::Builder::new().spawn_scoped(scope, move || beside.dump_all(walks, second.as_ref()));
        let mine = walker.dump_all(walks, first.as_ref());
        (mine, theirs.map(|theirs| theirs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
    });
    let mut found = mine?;
    found.append(theirs??);
    Ok(found)
}

/// The bytecode for all conditions at once. A long filter is given up before the half that it applies to.
fn filter_of<const N: usize>(conditions: [Option<Condition>; N]) -> Option<Bytecode> {
    let mut conditions: Vec<_> = conditions.into_iter().flatten().collect();
    while !conditions.is_empty() {
        let all = Condition::All(conditions);
        if let Some(bytecode) = Bytecode::compile(&all) {
            return Some(bytecode);
        }
        let Condition::All(parts) = all else { return None };
        conditions = parts;
        conditions.pop();
    }
    None
}

/// About half of all connections, told by their ports, which do not change: those whose two ports lie on the same side
/// of the middle. Of a client's connections that is half by the local port, of a server's half by the peer's.
fn half_of(ephemeral: Option<EphemeralRange>) -> Condition {
    // Any port divides the sockets into two parts without a rest; only the balance depends on it.
    let middle = ephemeral.map_or(u16::MAX / 2, |range| range.first.midpoint(range.last)).clamp(1, u16::MAX - 1);
    let below = |side| Condition::Port(side, 0..=middle);
    let above = |side| Condition::Port(side, middle + 1..=u16::MAX);
    Condition::Any(vec![
        Condition::All(vec![below(Side::Local), below(Side::Peer)]),
        Condition::All(vec![above(Side::Local), above(Side::Peer)]),
    ])
}

/// Asks for the clocks of ESTABLISHED sockets when enough of them hold data that nobody reads. The rows are added; that
/// they stand for sockets which are there already is seen by their cookies.
fn read_unread_clocks(asked: &Asked<'_>, walker: &mut Walker, table: &mut Table) {
    let unread = |row: &&SocketRecord| row.state == TcpState::Established && row.unread() > 0;
    let count = table.sockets.iter().filter(unread).count();
    let have_them = asked.tcp_info == TcpInfoChoice::All;
    if have_them || count < UNREAD_WORTH_A_WALK || !wants(asked.selection, TcpState::Established) {
        return;
    }
    let walk = Walk { states: StateMask::of(TcpState::Established), extensions: Extensions::Info };
    match walker.dump_tcp(&walk, filter_of([kept(asked)]).as_ref()) {
        Ok(mut found) => table.sockets.append(&mut found.rows),
        Err(error) => table.gaps.push(Gap {
            what: "clocks of ESTABLISHED sockets with unread data".to_owned(),
            why: error.to_string(),
            hides: Hides::Ages,
            count: count as u64,
        }),
    }
}

/// Finds out which connections have a local port that the program named in `bind()`.
///
/// It is asked of connections whose port lies in the ephemeral range only; and after those were read, so that a
/// connection made meanwhile is not taken for one that the kernel chose the port of.
fn read_bindings(asked: &Asked<'_>, walker: &mut Walker, table: &mut Table) {
    let in_range = |port| asked.ephemeral.is_none_or(|range| range.contains(port));
    let concerned =
        |row: &SocketRecord| row.kind == SocketKind::Full && CONNECTED.has(row.state) && in_range(row.tuple.local.port);
    for row in table.sockets.iter_mut().filter(|row| row.kind == SocketKind::TimeWait) {
        // What the kernel answers for every TIME-WAIT, which keeps no lock of the socket that it was.
        row.binding = PortBinding::Auto;
    }
    let count = table.sockets.iter().filter(|row| concerned(row)).count();
    if count == 0 {
        return;
    }
    let range = asked.ephemeral.map(|range| Condition::Port(Side::Local, range.first..=range.last));
    let filter = filter_of([Some(Condition::AutoBound.negated()), range]);
    match walker.dump_tcp(&Walk { states: CONNECTED, extensions: Extensions::None }, filter.as_ref()) {
        Ok(found) => {
            let mut explicit: Vec<SockCookie> = found.rows.iter().filter_map(|row| row.cookie).collect();
            explicit.sort_unstable();
            for row in table.sockets.iter_mut().filter(|row| concerned(row)) {
                let named = row.cookie.is_some_and(|cookie| explicit.binary_search(&cookie).is_ok());
                row.binding = if named { PortBinding::Explicit } else { PortBinding::Auto };
            }
        }
        Err(error) => table.gaps.push(Gap {
            what: "whether local ports were chosen by the kernel or by bind()".to_owned(),
            why: error.to_string(),
            hides: Hides::Ports,
            count: count as u64,
        }),
    }
}

/// Puts the state of the MPTCP connection beside that of its subflow. They share the inode.
fn read_mptcp(walker: &mut Walker, table: &mut Table) {
    let mut states = HashMap::new();
    for family in [Family::V4, Family::V6] {
        let request = DumpRequest {
            tables: Tables::MptcpOf(family),
            states: StateMask::ALL,
            extensions: Extensions::None,
            filter: None,
        };
        match walker.dump(&request) {
            Ok(found) => states.extend(found.rows.iter().filter_map(|row| Some((row.inode?, row.state)))),
            Err(error) if is_absent(&error) => return,
            Err(error) => {
                table.gaps.push(Gap {
                    what: "MPTCP connections".to_owned(),
                    why: error.to_string(),
                    hides: Hides::Sockets,
                    count: 1,
                });
                return;
            }
        }
    }
    if !states.is_empty() {
        for row in &mut table.sockets {
            row.mptcp = row.inode.and_then(|inode| states.get(&inode).copied());
        }
    }
}

/// Whether the error says that this kernel knows no MPTCP.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT];
    Errno::from_io_error(error).is_some_and(|errno| absent.contains(&errno))
}

/// Leaves each socket once. The walks are not one moment, and within one walk a socket may move to where the walk has
/// not been; its cookie stays.
fn keep_latest(rows: &mut Vec<SocketRecord>) {
    let mut order: Vec<(SockCookie, usize)> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((row.cookie?, index))).collect();
    order.sort_unstable();
    let mut doubles = Vec::new();
    let mut doubled = order.iter().copied();
    let Some(mut kept) = doubled.next() else { return };
    for next in doubled {
        if next.0 != kept.0 {
            kept = next;
        } else if progress(rows[next.1].state) < progress(rows[kept.1].state) {
            doubles.push(next.1);
        } else {
            doubles.push(kept.1);
            kept = next;
        }
    }
    doubles.sort_unstable();
    let mut doubles = doubles.into_iter().peekable();
    let mut index = 0;
    rows.retain(|_| {
        let double = doubles.next_if_eq(&index).is_some();
        index += 1;
        !double
    });
}

/// How far in the life of a connection the state is: of two rows for one socket the later is true. Rows of the same
/// rank are taken in the order of the walks.
fn progress(state: TcpState) -> u8 {
    match state {
        TcpState::Listen | TcpState::BoundInactive | TcpState::Close | TcpState::SynSent | TcpState::SynRecv => 0,
        TcpState::Established => 1,
        TcpState::CloseWait | TcpState::FinWait1 => 2,
        TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => 3,
        TcpState::TimeWait => 4,
    }
}

fn gaps_of(unreadable: Unreadable) -> Vec<Gap> {
    let kinds = [
        ("in a state that this program does not know", unreadable.unknown_state),
        ("in a form that this program does not know", unreadable.malformed),
    ];
    let seen = kinds.into_iter().filter(|(_, count)| *count > 0);
    seen.map(|(form, count)| Gap {
        what: format!("{count} sockets"),
        why: format!("the kernel reports them {form}"),
        hides: Hides::Sockets,
        count,
    })
    .collect()
}

/// The kernel puts up to 32 KiB into one datagram (`netlink_recvmsg`); twice that is never filled.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long one datagram may take. The kernel makes them while it is asked for them, so that this never passes in
/// health.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netlink socket of the namespace that it was opened in, and what it needs to read dumps.
struct Walker {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    netns: NetNsIndex,
    deadline: Deadline,
}

impl Walker {
    fn open(asked: &Asked<'_>) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        // A connected netlink socket hears its peer only: port 0, the kernel.
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES], sequence: 0, netns: asked.netns, deadline: asked.deadline })
    }

    fn dump_all(&mut self, walks: &[Walk], filter: Option<&Bytecode>) -> io::Result<Found> {
        let mut all = Found::default();
        for walk in walks {
            all.append(self.dump_tcp(walk, filter)?);
        }
        Ok(all)
    }

    /// One walk over both families; where the kernel refuses that, one each.
    fn dump_tcp(&mut self, walk: &Walk, filter: Option<&Bytecode>) -> io::Result<Found> {
        let Walk { states, extensions } = *walk;
        let mut dump = |tables| self.dump(&DumpRequest { tables, states, extensions, filter });
        match dump(Tables::Tcp) {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => {}
            answer => return answer,
        }
        let mut found = dump(Tables::TcpOf(Family::V4))?;
        found.append(dump(Tables::TcpOf(Family::V6))?);
        Ok(found)
    }

    fn dump(&mut self, request: &DumpRequest<'_>) -> io::Result<Found> {
        self.sequence += 1;
        self.limit_waiting()?;
        let bytes = encode_request(request, self.sequence);
        retry(|| self.socket.send(&bytes, 0))?;
        let mut decoder = Decoder::new(self.netns, self.sequence);
        while decoder.take(self.receive()?).map_err(io_error)? == Progress::More {
            if self.deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(Found { rows: decoder.rows, unreadable: decoder.unreadable })
    }

    fn receive(&mut self) -> io::Result<&[u8]> {
        // With this flag the kernel returns the true length of what it had to cut.
        let flags = RecvFlags::TRUNC.bits().cast_signed();
        let length =
            retry(|| self.socket.recv(&mut &mut self.buffer[..], flags)).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?;
        self.buffer.get(..length).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a datagram was cut short"))
    }

    /// Bounds the wait for each datagram by the deadline.
    fn limit_waiting(&self) -> io::Result<()> {
        let left = self.deadline.left().unwrap_or(PATIENCE).min(PATIENCE);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Below its unit the option would read zero, which means for ever.
        let left = left.max(Duration::from_millis(1));
        Ok(set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?)
    }
}

/// Does it again while a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn io_error(error: WireError) -> io::Error {
    match error {
        WireError::Kernel(number) => io::Error::from_raw_os_error(number),
        WireError::Framing | WireError::Sequence | WireError::Overrun => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
    }
}
