//! The TCP tables of one network namespace, read by sock_diag netlink.
//!
//! Several walks make one table. A walk over 60,000 sockets takes 3 ms when it sends no row, two or three times as long when
//! the sockets are in no cache of the processor, and a row 0.5 us, 0.7 us with tcp_info; so all connections are asked for with
//! tcp_info at once, which costs no more than a second walk for those that surely need it, and shows each connection at one
//! moment. Which local ports were named in `bind()` is told only by which rows a filter lets through: the walks share the rows
//! out by it. Dumps of sock_diag run side by side (since Linux 6.9; before, the kernel makes one wait for the other), so the
//! connections are read in two halves where there are two processors.

use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;
use std::thread;

use rustix::io::Errno;

use crate::attribution::NumberSet;
use crate::capture::Deadline;
use crate::capture::bytecode::{Bytecode, Condition, Side, endpoints_of};
use crate::capture::dump::{Found, SharedRows, Walk, Walker};
use crate::capture::inet_diag::{DumpRequest, Extensions, Tables, Unreadable};
use crate::capture::latest::keep_latest;
use crate::capture::room::{Room, room_for};
use crate::capture::workers::spread;
use crate::model::gate::Gate;
use crate::model::ports::EphemeralRange;
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, SocketKind, SocketRecord};
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

/// One part of the work that makes a table: a walk, or what can be done beside one.
enum Errand {
    /// Listeners and sockets that are only bound, and the connections whose local port was named in `bind()`.
    Named,
    /// The room for the rows is touched.
    Room(Room),
    /// The other connections, or a part of them.
    Connections(Option<Condition>),
    /// The states of MPTCP connections.
    Mptcp,
}

/// What the walks of one thread have found so far beside rows. A walk that failed is an error; one that was never begun is
/// none.
#[derive(Default)]
struct Gathered {
    cookies: Vec<u64>,
    unreadable: Vec<io::Result<Unreadable>>,
    explicit: Option<Explicit>,
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
    let (rows, room) = room_for(usize::try_from(asked.expected).unwrap_or(0).min(MOST_ROOM));
    let rows = SharedRows::new(rows);
    let errands = errands(asked, room);
    let gate = Gate::default();
    // A thread is in the network namespace of the one that starts it.
    let done = spread(&errands, asked.deadline, Gathered::default, |gathered, errand| {
        gathered.run(errand, asked, (kept.as_ref(), &rows, &gate));
    });
    if done.n_done < errands.len() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut all = Gathered::default();
    done.gathered.into_iter().for_each(|gathered| all.add(gathered));
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut found = Found { rows, ..Found::default() };
    for unreadable in all.unreadable {
        found.unreadable += unreadable?;
    }
    let not_begun = || io::Error::from(io::ErrorKind::TimedOut);
    let extras = Extras { explicit: all.explicit, mptcp: all.mptcp.unwrap_or_else(|| Err(not_begun())) };
    Ok(finish(found, all.cookies, &extras, asked))
}

/// The work, in an order that keeps two processors busy to the end. What lists a connection writes to it, which holds up every
/// walk that passes there at the same time or soon after: it takes two or three times as long. So the walk that mostly looks
/// comes first, and those that list wait for it.
///
/// A socket that was only bound and connects meanwhile is seen twice, which its cookie tells.
fn errands(asked: &Asked<'_>, room: Room) -> Vec<Errand> {
    if thread::available_parallelism().map_or(1, usize::from) == 1 {
        return vec![Errand::Named, Errand::Connections(None), Errand::Mptcp];
    }
    let mut errands = vec![Errand::Named];
    // What the kernel leaves out on request needs no room.
    if kept(asked).is_none() {
        errands.push(Errand::Room(room));
    }
    errands.push(Errand::Mptcp);
    let half = half_of(asked.ephemeral);
    errands.extend([half.clone(), half.negated()].map(|half| Errand::Connections(Some(half))));
    errands
}

impl Gathered {
    fn add(&mut self, other: Self) {
        self.cookies.extend(other.cookies);
        self.unreadable.extend(other.unreadable);
        self.explicit = self.explicit.take().or(other.explicit);
        self.mptcp = self.mptcp.take().or(other.mptcp);
    }

    fn run(
        &mut self,
        errand: &Errand,
        asked: &Asked<'_>,
        (kept, rows, gate): (Option<&Condition>, &SharedRows, &Gate),
    ) {
        match errand {
            Errand::Named => {
                let _opener = gate.opener();
                self.read_named(asked, (kept, rows));
            }
            Errand::Connections(part) => {
                gate.wait();
                let others = [Some(first_listed(asked).negated()), part.clone(), kept.cloned()];
                let bind = |row: &mut SocketRecord| {
                    if row.kind == SocketKind::Full && is_handed_out(row, asked) {
                        row.binding = PortBinding::Auto;
                    }
                };
                self.walk(asked, (CONNECTED, others), (rows, bind));
            }
            Errand::Room(room) => room.touch(),
            Errand::Mptcp => self.mptcp = Some(read_mptcp(asked)),
        }
    }

    fn read_named(&mut self, asked: &Asked<'_>, (kept, rows): (Option<&Condition>, &SharedRows)) {
        let mut may_be_named = false;
        let see = |row: &mut SocketRecord| match row.state {
            TcpState::Listen => may_be_named |= is_handed_out(row, asked),
            state if CONNECTED.has(state) && row.tuple.remote.port != 0 => row.binding = PortBinding::Explicit,
            _ => {}
        };
        self.walk(asked, (StateMask::ALL, [Some(first_listed(asked)), kept.cloned(), None]), (rows, see));
        let listen = StateMask::of(TcpState::Listen);
        self.explicit = may_be_named.then(|| read_explicit(asked, listen));
    }

    fn walk(
        &mut self,
        asked: &Asked<'_>,
        (states, conditions): (StateMask, [Option<Condition>; 3]),
        (rows, mut bind): (&SharedRows, impl FnMut(&mut SocketRecord)),
    ) {
        let filter = filter_of(conditions);
        let walk = Walk { states, extensions: Extensions::Info };
        let cookies = &mut self.cookies;
        let see = |row: &mut SocketRecord| {
            // Now that the row is at hand: each pass over tens of thousands of them costs a millisecond.
            cookies.extend(row.cookie.map(|cookie| cookie.0));
            bind(row);
        };
        let done = asked.walker().and_then(|mut walker| walker.dump_tcp_into((rows, see), &walk, filter.as_ref()));
        self.unreadable.push(done);
    }
}

/// What the first walk lists: whatever has no peer, and the connections from ports that were named.
fn first_listed(asked: &Asked<'_>) -> Condition {
    Condition::Any(vec![Condition::Port(Side::Peer, 0..=0), named(asked)])
}

/// Whether the local port is one of the ephemeral range that was not the kernel's choice. How sockets came to other ports is
/// of no consequence.
fn named(asked: &Asked<'_>) -> Condition {
    let range = asked.ephemeral.map_or(0..=u16::MAX, |range| range.first..=range.last);
    Condition::All(vec![Condition::Port(Side::Local, range), Condition::AutoBound.negated()])
}

/// Whether the port is one that the namespace hands out.
fn is_handed_out(row: &SocketRecord, asked: &Asked<'_>) -> bool {
    asked.ephemeral.is_none_or(|range| range.contains(row.tuple.local.port))
}

/// Makes one table of what the walks have found: rows with these cookies.
pub(super) fn finish(mut found: Found, cookies: Vec<u64>, extras: &Extras, asked: &Asked<'_>) -> Table {
    extras.mark(asked, &mut found.rows);
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

/// All others.
const CONNECTED: StateMask = StateMask::ALL.without(NOT_CONNECTED);

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
    /// Which local ports were named in `bind()`, where that was asked apart.
    pub(super) explicit: Option<Explicit>,
    /// The states of MPTCP connections, by the inode that they share with their first subflow.
    pub(super) mptcp: io::Result<HashMap<Inode, TcpState>>,
}

/// The answer to which sockets in these states have a local port that the program named in `bind()`.
pub(super) struct Explicit {
    /// Which were asked about.
    pub(super) states: StateMask,
    /// Their cookies.
    cookies: io::Result<NumberSet>,
}

impl Extras {
    /// Writes what they tell beside the rows that they tell it of.
    fn mark(&self, asked: &Asked<'_>, rows: &mut [SocketRecord]) {
        if let Some(Explicit { states, cookies: Ok(explicit) }) = &self.explicit {
            let asked_about = |row: &&mut SocketRecord| row.kind == SocketKind::Full && states.has(row.state);
            for row in rows.iter_mut().filter(asked_about).filter(|row| is_handed_out(row, asked)) {
                let named = row.cookie.is_some_and(|cookie| explicit.contains(cookie.0));
                row.binding = if named { PortBinding::Explicit } else { PortBinding::Auto };
            }
        }
        if let Ok(states) = &self.mptcp
            && !states.is_empty()
        {
            for row in rows {
                row.mptcp = row.inode.and_then(|inode| states.get(&inode)).copied();
            }
        }
    }

    /// Tells of those that could not be read.
    fn report(&self, rows: &[SocketRecord], gaps: &mut Vec<Gap>) {
        if let Some(Explicit { states, cookies: Err(error) }) = &self.explicit {
            gaps.push(Gap {
                what: "which local ports were chosen by the kernel and which by bind()".to_owned(),
                why: error.to_string(),
                hides: Hides::Ports,
                count: rows.iter().filter(|row| states.has(row.state)).count() as u64,
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

/// Asks for sockets in these states with a local port of the ephemeral range that was not the kernel's choice.
pub(super) fn read_explicit(asked: &Asked<'_>, states: StateMask) -> Explicit {
    Explicit { states, cookies: read_explicit_cookies(asked, states) }
}

fn read_explicit_cookies(asked: &Asked<'_>, states: StateMask) -> io::Result<NumberSet> {
    let filter = filter_of([Some(named(asked))]);
    let walk = Walk { states, extensions: Extensions::None };
    let found = asked.walker()?.dump_tcp(&walk, filter.as_ref())?;
    Ok(found.rows.iter().filter_map(|row| row.cookie).map(|cookie| cookie.0).collect())
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
