//! The TCP tables of one network namespace, read by sock_diag netlink.
//!
//! Dumps of sock_diag run side by side (since Linux 6.9; before, the kernel makes one wait for the other), and a walk is bound
//! by the memory: over 60,000 sockets it takes 3 ms when it sends no row, two or three times as long when the sockets are in no
//! cache of the processor, and a row 0.5 us, 0.7 us with tcp_info. So there are two walks, each of which lists its share of
//! all sockets with tcp_info: no more passes over the sockets than processors, and each connection is seen at one moment.

use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;

use rustix::io::Errno;

use crate::attribution::NumberSet;
use crate::capture::Deadline;
use crate::capture::bytecode::{Bytecode, Condition, Side, endpoints_of};
use crate::capture::dump::{Found, SharedRows, Walk, Walker};
use crate::capture::inet_diag::{DumpRequest, Extensions, Tables, Unreadable};
use crate::capture::latest::keep_latest;
use crate::capture::room::{Room, room_for};
use crate::capture::shares::{Share, Shares};
use crate::capture::workers::{processors, spread_over};
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
    /// Whether the descriptors of processes are read meanwhile.
    pub beside_descriptors: bool,
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

/// One part of the work that makes a table.
#[derive(Debug, Clone, Copy)]
enum Errand {
    /// The walk for a share of the sockets.
    Walk(Share),
    /// The room for the rows is touched.
    Room(Room),
    /// The states of MPTCP connections.
    Mptcp,
}

/// What the walks of one thread have found so far beside rows. A walk that failed is an error; one that was never begun is
/// none.
#[derive(Default)]
struct Gathered {
    /// Those of the rows of each walk.
    cookies: Vec<Vec<u64>>,
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
    let run = |gathered: &mut Gathered, errand: &Errand| gathered.run(*errand, asked, (kept.as_ref(), &rows));
    // A thread is in the network namespace of the one that starts it.
    let done = spread_over(n_walkers(asked.beside_descriptors), &errands, asked.deadline, (Gathered::default, run));
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
    Ok(finish(found, &all.cookies, &extras, asked))
}

/// What a walk lists it writes to, which holds up another that passes there at the same time: two walks side by side cost half
/// as much again as one after the other. Where the descriptors keep the other processors busy, that would be lost time.
pub(super) fn n_walkers(beside_descriptors: bool) -> usize {
    let share = if beside_descriptors { processors() / 2 } else { processors() };
    // There are no more walks.
    share.clamp(1, 2)
}

/// The work, in an order that keeps two processors busy to the end.
fn errands(asked: &Asked<'_>, room: Room) -> Vec<Errand> {
    let mut errands = vec![Errand::Walk(Share::First), Errand::Walk(Share::Second), Errand::Mptcp];
    // What the kernel leaves out on request needs no room, and a single processor gains nothing.
    if kept(asked).is_none() && n_walkers(asked.beside_descriptors) > 1 {
        errands.insert(1, Errand::Room(room));
    }
    errands
}

impl Gathered {
    fn add(&mut self, other: Self) {
        self.cookies.extend(other.cookies);
        self.unreadable.extend(other.unreadable);
        self.explicit = self.explicit.take().or(other.explicit);
        self.mptcp = self.mptcp.take().or(other.mptcp);
    }

    fn run(&mut self, errand: Errand, asked: &Asked<'_>, (kept, rows): (Option<&Condition>, &SharedRows)) {
        match errand {
            Errand::Walk(share) => self.walk(share, asked, (kept, rows)),
            Errand::Room(room) => room.touch(),
            Errand::Mptcp => self.mptcp = Some(read_mptcp(asked)),
        }
    }

    fn walk(&mut self, share: Share, asked: &Asked<'_>, (kept, rows): (Option<&Condition>, &SharedRows)) {
        let shares = Shares::of(asked.ephemeral);
        let filter = filter_of([Some(shares.condition(share)), kept.cloned()]);
        let walk = Walk { states: Shares::states(share), extensions: Extensions::Info };
        let mut may_be_named = false;
        let mut cookies = Vec::new();
        let see = |row: &mut SocketRecord| {
            // Now that the row is at hand: each pass over tens of thousands of them costs a millisecond.
            cookies.extend(row.cookie.map(|cookie| cookie.get()));
            may_be_named |= row.state == TcpState::Listen && is_handed_out(row, asked);
            row.binding = shares.binding(row, share);
        };
        let done = asked.walker().and_then(|mut walker| walker.dump_tcp_into((rows, see), &walk, filter.as_ref()));
        self.unreadable.push(done);
        self.cookies.push(cookies);
        if may_be_named {
            self.explicit = Some(read_explicit(asked, StateMask::of(TcpState::Listen)));
        }
    }
}

/// Whether the port is one that the namespace hands out.
pub(super) fn is_handed_out(row: &SocketRecord, asked: &Asked<'_>) -> bool {
    asked.ephemeral.is_none_or(|range| range.contains(row.tuple.local.port))
}

/// Makes one table of what the walks have found: rows with these cookies.
pub(super) fn finish(mut found: Found, cookies: &[Vec<u64>], extras: &Extras, asked: &Asked<'_>) -> Table {
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

/// The bytecode for all conditions at once. A long filter is given up before the share that it applies to.
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
                let named = row.cookie.is_some_and(|cookie| explicit.contains(cookie.get()));
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
    let range = asked.ephemeral.map(|range| Condition::Port(Side::Local, range.first..=range.last));
    let filter = filter_of([Some(Condition::AutoBound.negated()), range]);
    let walk = Walk { states, extensions: Extensions::None };
    let found = asked.walker()?.dump_tcp(&walk, filter.as_ref())?;
    Ok(found.rows.iter().filter_map(|row| row.cookie).map(|cookie| cookie.get()).collect())
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
