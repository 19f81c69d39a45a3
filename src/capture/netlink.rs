//! The TCP tables of one network namespace, read by sock_diag netlink.
//!
//! Several walks make one table. A walk over 60,000 sockets costs 8 ms before it sends the first row, and a row 0.6 us,
//! 0.9 us with tcp_info; so all connections are asked for with tcp_info at once, which costs no more than a second walk for
//! those that surely need it, and shows each connection at one moment. Which local ports were named in `bind()` is told only
//! by which rows a filter lets through. Dumps of sock_diag run side by side (since Linux 6.9; before, the kernel makes one
//! wait for the other), so the connections are read in two halves where there are two processors.

use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;
use std::thread;

use rustix::io::Errno;

use crate::capture::Deadline;
use crate::capture::bytecode::{Bytecode, Condition, Side, endpoints_of};
use crate::capture::dump::{Found, SharedRows, Walk, Walker};
use crate::capture::inet_diag::{DumpRequest, Extensions, Tables, Unreadable};
use crate::capture::workers::spread;
use crate::model::ports::EphemeralRange;
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, SockCookie, SocketKind, SocketRecord};
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
    /// The ports that the namespace hands out. `None` when that could not be read: then no row is left out.
    pub ephemeral: Option<EphemeralRange>,
    /// About how many sockets there are, connections and TIME-WAIT; 0 when that is not known.
    pub expected: u64,
    /// When to give up.
    pub deadline: Deadline,
}

impl Asked<'_> {
    /// A netlink socket of the calling thread's namespace.
    pub(super) fn walker(&self) -> io::Result<Walker> {
        Walker::open(self.netns, self.deadline)
    }
}

/// The sockets of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Each socket once.
    pub sockets: Vec<SocketRecord>,
    /// What was not seen of them.
    pub gaps: Vec<Gap>,
}

/// Room is made for no more rows than this beforehand: half a gigabyte that is only touched when they come.
const MOST_ROOM: usize = 4_000_000;

/// One walk of those that make a table.
enum Errand {
    /// Listeners and sockets that are only bound: they stand in tables of their own.
    NotConnected,
    /// The connections, or a part of them.
    Connections(Option<Condition>),
    /// Which ports were named in `bind()`.
    Explicit,
    /// The states of MPTCP connections.
    Mptcp,
}

/// What the walks of one thread have found so far beside rows. A walk that failed is an error; one that was never begun is
/// none.
#[derive(Default)]
struct Gathered {
    unreadable: Vec<io::Result<Unreadable>>,
    explicit: Option<io::Result<Vec<SockCookie>>>,
    mptcp: Option<io::Result<HashMap<Inode, TcpState>>>,
}

/// Reads the tables of the network namespace that the calling thread is in.
///
/// Which ports were bound explicitly and MPTCP are extras: where they cannot be read the values stay unknown, and a gap
/// tells.
///
/// # Errors
/// When the sockets as such cannot be read completely: no netlink socket (a seccomp filter), no sock_diag in the kernel,
/// a refusal, an answer that breaks off, or the deadline. There is then no table at all, and the caller may read the
/// text in `/proc/net` instead.
pub fn read_tables(asked: &Asked<'_>) -> io::Result<Table> {
    let kept = kept(asked);
    let errands = errands(asked);
    let rows = SharedRows::new(Vec::with_capacity(usize::try_from(asked.expected).unwrap_or(0).min(MOST_ROOM)));
    // A thread is in the network namespace of the one that starts it.
    let done = spread(&errands, asked.deadline, Gathered::default, |gathered, errand| {
        gathered.run(errand, asked, (kept.as_ref(), &rows));
    });
    if done.n_done < errands.len() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut all = Gathered::default();
    for gathered in done.gathered {
        all.unreadable.extend(gathered.unreadable);
        all.explicit = all.explicit.or(gathered.explicit);
        all.mptcp = all.mptcp.or(gathered.mptcp);
    }
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut found = Found { rows, ..Found::default() };
    for unreadable in all.unreadable {
        found.unreadable += unreadable?;
    }
    let not_begun = || io::Error::from(io::ErrorKind::TimedOut);
    let extras = Extras {
        explicit: all.explicit.unwrap_or_else(|| Err(not_begun())),
        mptcp: all.mptcp.unwrap_or_else(|| Err(not_begun())),
    };
    Ok(finish(found, &extras, asked))
}

/// The walks, in an order that keeps two processors busy to the end. What lists a connection writes to it, which holds up
/// every walk that passes there at the same time or soon after: it takes two or three times as long. So the two walks that
/// mostly look come first, and then the halves.
///
/// A socket that was only bound and connects meanwhile is seen twice, which its cookie tells. Whoever binds and connects after
/// the walk for explicit ports is taken for one that the kernel chose the port of, and would not have been seen at all a
/// moment earlier.
fn errands(asked: &Asked<'_>) -> Vec<Errand> {
    let mut errands = vec![Errand::NotConnected, Errand::Explicit];
    match thread::available_parallelism().map_or(1, usize::from) {
        1 => errands.push(Errand::Connections(None)),
        _ => {
            let half = half_of(asked.ephemeral);
            errands.extend([half.clone(), half.negated()].map(|half| Errand::Connections(Some(half))));
        }
    }
    errands.push(Errand::Mptcp);
    errands
}

impl Gathered {
    fn run(&mut self, errand: &Errand, asked: &Asked<'_>, (kept, rows): (Option<&Condition>, &SharedRows)) {
        let mut walk = |states, extensions, part: Option<&Condition>| {
            let filter = filter_of([part.cloned(), kept.cloned()]);
            let walk = Walk { states, extensions };
            let done = asked.walker().and_then(|mut walker| walker.dump_tcp_into(rows, &walk, filter.as_ref()));
            self.unreadable.push(done);
        };
        match errand {
            Errand::NotConnected => walk(NOT_CONNECTED, Extensions::None, None),
            Errand::Connections(part) => {
                walk(StateMask::ALL.without(NOT_CONNECTED), Extensions::Info, part.as_ref());
            }
            Errand::Explicit => self.explicit = Some(read_explicit(asked)),
            Errand::Mptcp => self.mptcp = Some(read_mptcp(asked)),
        }
    }
}

/// Makes one table of what the walks have found.
pub(super) fn finish(mut found: Found, extras: &Extras, asked: &Asked<'_>) -> Table {
    let cookies = extras.mark(asked, &mut found.rows);
    keep_latest(&mut found.rows, cookies);
    let mut gaps = gaps_of(found.unreadable);
    extras.report(&found.rows, &mut gaps);
    Table { sockets: found.rows, gaps }
}

/// The states in which a socket keeps whether its program named the local port in `bind()` or left it to the kernel: those of
/// connections and of listeners. Listeners have a table of their own, which costs next to nothing to read.
pub(super) const NAMED_OR_NOT: StateMask = StateMask::of(TcpState::Established)
    .with(StateMask::of(TcpState::SynSent))
    .with(StateMask::of(TcpState::SynRecv))
    .with(StateMask::of(TcpState::FinWait1))
    .with(StateMask::of(TcpState::FinWait2))
    .with(StateMask::of(TcpState::CloseWait))
    .with(StateMask::of(TcpState::LastAck))
    .with(StateMask::of(TcpState::Closing))
    .with(StateMask::of(TcpState::Listen));

/// The states that stand in tables of their own, which are small.
pub(super) const NOT_CONNECTED: StateMask =
    StateMask::of(TcpState::Listen).with(StateMask::of(TcpState::BoundInactive));

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

/// What other walks tell of the same sockets.
pub(super) struct Extras {
    /// The cookies of connections and listeners whose local port the program named in `bind()`, ascending.
    pub(super) explicit: io::Result<Vec<SockCookie>>,
    /// The states of MPTCP connections, by the inode that they share with their first subflow.
    pub(super) mptcp: io::Result<HashMap<Inode, TcpState>>,
}

impl Extras {
    /// Writes what they tell beside the rows that they tell it of. Returns the cookies of all rows, while they are at hand:
    /// each pass over tens of thousands of rows costs a millisecond.
    fn mark(&self, asked: &Asked<'_>, rows: &mut [SocketRecord]) -> Vec<SockCookie> {
        let mut cookies = Vec::with_capacity(rows.len());
        for row in rows {
            cookies.extend(row.cookie);
            let port = row.tuple.local.port;
            let in_range = asked.ephemeral.is_none_or(|range| range.contains(port));
            row.binding = match (row.kind, &self.explicit) {
                // What the kernel answers for every TIME-WAIT: it keeps no lock of the socket that it was.
                (SocketKind::TimeWait, _) => PortBinding::Auto,
                (SocketKind::Full, Ok(explicit)) if in_range && NAMED_OR_NOT.has(row.state) => {
                    let named = row.cookie.is_some_and(|cookie| explicit.binary_search(&cookie).is_ok());
                    if named { PortBinding::Explicit } else { PortBinding::Auto }
                }
                (SocketKind::Full | SocketKind::Request, _) => PortBinding::Unknown,
            };
            if let (Ok(states), Some(inode)) = (&self.mptcp, row.inode)
                && !states.is_empty()
            {
                row.mptcp = states.get(&inode).copied();
            }
        }
        cookies
    }

    /// Tells of those that could not be read.
    fn report(&self, rows: &[SocketRecord], gaps: &mut Vec<Gap>) {
        if let Err(error) = &self.explicit {
            gaps.push(Gap {
                what: "which local ports were chosen by the kernel and which by bind()".to_owned(),
                why: error.to_string(),
                hides: Hides::Ports,
                count: rows.iter().filter(|row| NAMED_OR_NOT.has(row.state)).count() as u64,
            });
        }
        if let Err(error) = &self.mptcp {
            gaps.push(Gap {
                what: "MPTCP connections".to_owned(),
                why: error.to_string(),
                hides: Hides::Sockets,
                count: 1,
            });
        }
    }
}

/// Asks for connections and listeners with a local port of the ephemeral range that was not the kernel's choice.
pub(super) fn read_explicit(asked: &Asked<'_>) -> io::Result<Vec<SockCookie>> {
    let range = asked.ephemeral.map(|range| Condition::Port(Side::Local, range.first..=range.last));
    let filter = filter_of([Some(Condition::AutoBound.negated()), range]);
    let walk = Walk { states: NAMED_OR_NOT, extensions: Extensions::None };
    let found = asked.walker()?.dump_tcp(&walk, filter.as_ref())?;
    let mut cookies: Vec<_> = found.rows.iter().filter_map(|row| row.cookie).collect();
    cookies.sort_unstable();
    Ok(cookies)
}

/// Asks for the states of MPTCP connections. A kernel that knows no MPTCP has none.
pub(super) fn read_mptcp(asked: &Asked<'_>) -> io::Result<HashMap<Inode, TcpState>> {
    let mut walker = asked.walker()?;
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
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(states)
}

/// Whether the error says that this kernel knows no MPTCP.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT];
    Errno::from_io_error(error).is_some_and(|errno| absent.contains(&errno))
}

/// Leaves each socket once. The walks are not one moment, and within one walk a socket may move to where the walk has
/// not been; its cookie stays.
fn keep_latest(rows: &mut Vec<SocketRecord>, mut cookies: Vec<SockCookie>) {
    // Stable, since it makes use of runs: the kernel numbers sockets in the order in which they were first listed.
    cookies.sort();
    let doubled: Vec<_> = cookies.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    if doubled.is_empty() {
        return;
    }
    let is_doubled = |row: &SocketRecord| row.cookie.filter(|cookie| doubled.binary_search(cookie).is_ok());
    let mut latest: HashMap<SockCookie, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        if let Some(cookie) = is_doubled(row) {
            let best = latest.entry(cookie).or_insert(index);
            // Of two rows in one state the one with clocks is from the later walk.
            let rank = |row: &SocketRecord| (progress(row.state), row.clocks.is_some());
            if rank(row) >= rank(&rows[*best]) {
                *best = index;
            }
        }
    }
    let mut index = 0;
    rows.retain(|row| {
        let keep = is_doubled(row).is_none_or(|cookie| latest.get(&cookie) == Some(&index));
        index += 1;
        keep
    });
}

/// How far in the life of a connection the state is: of two rows for one socket the later is true.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::socket::{Clocks, Queues, Timer};
    use crate::model::tuple::{Endpoint, FourTuple};

    fn row(cookie: u64, state: TcpState) -> SocketRecord {
        let nowhere = Endpoint::new([0, 0, 0, 0].into(), 0);
        SocketRecord {
            netns: NetNsIndex(0),
            state,
            kind: SocketKind::Full,
            family: Family::V4,
            tuple: FourTuple { local: nowhere, remote: nowhere },
            interface: 0,
            cookie: Some(SockCookie(cookie)),
            inode: None,
            uid: None,
            cgroup: None,
            queues: Queues::Data { recv: 0, send: 0 },
            timer: Timer::Off,
            binding: PortBinding::Unknown,
            v6only: None,
            clocks: None,
            mptcp: None,
        }
    }

    #[test]
    fn of_rows_for_one_socket_the_latest_is_kept() {
        use TcpState::{CloseWait, Established, LastAck, Listen, TimeWait};
        let mut with_clocks = row(4, Established);
        with_clocks.clocks = Some(Clocks { last_data_sent_ms: 1, last_data_recv_ms: 2, last_ack_recv_ms: 3 });
        let mut rows = vec![
            row(1, Established),
            row(2, LastAck),
            row(3, Listen),
            with_clocks.clone(),
            row(1, CloseWait),
            row(4, Established),
            row(2, CloseWait),
            row(5, Established),
            row(1, TimeWait),
        ];
        let cookies = |rows: &[SocketRecord]| rows.iter().filter_map(|row| row.cookie).collect::<Vec<_>>();
        let all = cookies(&rows);
        keep_latest(&mut rows, all);
        assert_eq!(rows, [row(2, LastAck), row(3, Listen), with_clocks, row(5, Established), row(1, TimeWait)]);
        let once = rows.clone();
        let all = cookies(&rows);
        keep_latest(&mut rows, all);
        assert_eq!(rows, once);
    }

    #[test]
    fn every_port_is_in_one_half() {
        // Whatever the range, no port is in both parts or in none.
        for (first, last) in [(0, 0), (0, 65_535), (65_535, 65_535), (1, 2)] {
            let Condition::Any(sides) = half_of(Some(EphemeralRange { first, last })) else { panic!("an alternative") };
            let [Condition::All(below), Condition::All(above)] = &sides[..] else { panic!("{sides:?}") };
            let (Condition::Port(_, below), Condition::Port(_, above)) = (&below[0], &above[0]) else {
                panic!("ports")
            };
            assert_eq!((*below.start(), *above.end()), (0, u16::MAX));
            assert_eq!(u32::from(*below.end()) + 1, u32::from(*above.start()));
        }
    }
}
