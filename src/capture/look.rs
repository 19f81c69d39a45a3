//! One look at one network namespace: from inside, or through a process when it may not be entered.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::netlink::{self, Asked};
use super::netns_names::identify;
use super::place::{Closed, Place, read_text_id};
use super::sysctl::{self, gap, reason};
use super::{CaptureError, NetNsChoice, ProcessChoice, Request, counters, few, proc_net};
use crate::model::ports::PortSettings;
use crate::model::snapshot::{Gap, Hides, HostLimits, Namespace, NetNs, PortAnswers, SockStat, SourceKind};
use crate::model::socket::{NetNsIndex, SocketRecord};

/// What one namespace showed.
#[derive(Debug)]
pub(super) struct Look {
    /// Its name, its rules, its counters.
    pub(super) namespace: Namespace,
    /// Its sockets, which name it by index 0.
    pub(super) sockets: Vec<SocketRecord>,
    /// Their inodes, when descriptors are read: collected here, since whoever does that takes longer.
    pub(super) inodes: Vec<u64>,
    /// The limits of the whole host, when it was asked for them.
    pub(super) limits: Option<LimitsSeen>,
    /// What was not seen of it.
    pub(super) gaps: Vec<Gap>,
    /// The number that tells its text tables from those of others.
    pub(super) text_id: Option<u64>,
}

/// The limits of the whole host, as far as one namespace shows them, and what it does not show.
#[derive(Debug, Default)]
pub(super) struct LimitsSeen {
    /// The limits.
    pub(super) limits: HostLimits,
    /// What is missing of them.
    pub(super) gaps: Vec<Gap>,
}

/// What a look from inside needs not ask itself.
const HERE: NetNsIndex = NetNsIndex(0);

/// Looks at the namespace that the calling thread is in, which is that place: its rules first, since they tell which rows
/// matter, then its tables.
///
/// # Errors
/// [`CaptureError::NoTable`] when there are no sockets to be had by any way.
pub(super) fn look_here(place: &Place, request: &Request) -> Result<Look, CaptureError> {
    let begin = Instant::now();
    let mut gaps = Vec::new();
    let id = identify(place);
    if id.inode.is_none() {
        gaps.push(gap("the number of the network namespace", "/proc/thread-self/ns/net cannot be read", Hides::Owners));
    }
    let ports = sysctl::read_port_settings(&mut gaps);
    let sockstat = counters::read_sockstat(&mut gaps);
    let tcp_counters = counters::read_tcp_counters(&mut gaps);
    let conntrack = counters::read_conntrack(&mut gaps);
    let limits = shows_host_limits(place, &id, request).then(|| read_limits(sockstat));
    let asked = Asked {
        netns: HERE,
        selection: &request.selection,
        ephemeral: ports.range,
        expected: sockstat.map_or(0, |stat| stat.inuse.saturating_add(stat.tw)),
        beside_descriptors: request.processes == ProcessChoice::Attribute,
        deadline: request.deadline,
    };
    let (sockets, source) = read_tables(&asked, sockstat, &mut gaps)?;
    let text_id = read_text_id(Path::new(counters::OWN_NET));
    let answers = PortAnswers::default();
    let took = begin.elapsed();
    let namespace = Namespace { id, ports, sockstat, counters: tcp_counters, conntrack, answers, took, source };
    let inodes = if asked.beside_descriptors { inodes_of(&sockets) } else { Vec::new() };
    Ok(Look { namespace, sockets, inodes, limits, gaps, text_id })
}

fn inodes_of(sockets: &[SocketRecord]) -> Vec<u64> {
    let mut inodes = Vec::with_capacity(sockets.len());
    inodes.extend(sockets.iter().filter_map(|socket| socket.inode).map(|inode| inode.get()));
    inodes
}

/// Reads the text tables of a namespace through the first of its tasks that lets it. Only states, queues, users and
/// counters are seen so.
///
/// # Errors
/// When no task lets it: that of the last. ENOENT when they are gone.
pub(super) fn look_through_tasks(place: &Place, closed: &Closed) -> io::Result<Look> {
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for net in place.net_dirs() {
        outcome = look_through(&net, place, closed);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Of several namespaces, the limits of the host are read in the one that has them all, and in our own.
fn shows_host_limits(place: &Place, id: &NetNs, request: &Request) -> bool {
    request.netns != NetNsChoice::All || place.is_own || id.name == "init"
}

fn read_limits(sockstat: Option<SockStat>) -> LimitsSeen {
    let mut seen = LimitsSeen::default();
    seen.limits = counters::read_host_limits(sockstat, &mut seen.gaps);
    seen
}

/// The sockets by netlink, or, when it yields nothing usable, by the text of `/proc/net`: never both, never half of one.
fn read_tables(
    asked: &Asked<'_>,
    sockstat: Option<SockStat>,
    gaps: &mut Vec<Gap>,
) -> Result<(Vec<SocketRecord>, SourceKind), CaptureError> {
    let read = match sockstat.filter(few::are_few) {
        Some(sockstat) => few::read_few(asked, &sockstat, counters::read_has_mptcp()),
        None => netlink::read_tables(asked),
    };
    let netlink = match read {
        Ok(table) => {
            gaps.extend(table.gaps);
            return Ok((table.sockets, SourceKind::Netlink));
        }
        Err(error) => error,
    };
    if asked.deadline.has_passed() {
        let text = io::Error::new(io::ErrorKind::TimedOut, "no time left to read it");
        return Err(CaptureError::NoTable { netlink, text });
    }
    match proc_net::read_proc_net(asked.netns) {
        Ok(table) => {
            let what = "the tables of sock_diag; the text of /proc/net/tcp was read instead";
            gaps.push(gap(what, reason(&netlink), Hides::Ports));
            gaps.extend(table.gaps);
            Ok((table.sockets, SourceKind::ProcText))
        }
        Err(text) => Err(CaptureError::NoTable { netlink, text }),
    }
}

fn look_through(net: &Path, place: &Place, closed: &Closed) -> io::Result<Look> {
    let begin = Instant::now();
    let mut gaps = Vec::new();
    // That it is there is what says that the task is.
    let text_id = read_text_id(net).ok_or(io::ErrorKind::NotFound)?;
    let sockstat = counters::read_sockstat_in(net, &mut gaps);
    let tcp_counters = counters::read_tcp_counters_in(net, &mut gaps);
    let is_empty = sockstat.is_some_and(|stat| stat.inuse == 0 && stat.tw == 0);
    let table = if is_empty {
        // Nothing to read, but sockets that are only bound are not counted either.
        proc_net::TextTable { gaps: proc_net::text_losses(&[]), ..proc_net::TextTable::default() }
    } else {
        proc_net::read_proc_net_in(net, HERE)?
    };
    gaps.extend(table.gaps.into_iter().map(|gap| with_cause(gap, closed)));
    gaps.extend(losses_outside(closed));
    let namespace = Namespace {
        id: identify(place),
        ports: PortSettings::default(),
        sockstat,
        counters: tcp_counters,
        conntrack: None,
        answers: PortAnswers::default(),
        took: begin.elapsed(),
        source: SourceKind::ProcText,
    };
    let inodes = inodes_of(&table.sockets);
    Ok(Look { namespace, sockets: table.sockets, inodes, limits: None, gaps, text_id: Some(text_id) })
}

/// What the text does not tell, with why the text had to do.
fn with_cause(gap: Gap, closed: &Closed) -> Gap {
    let is_loss = gap.why == proc_net::TEXT_DOES_NOT_TELL;
    if is_loss { Gap { why: format!("{}, where it may be entered: {}", gap.why, closed.why()), ..gap } } else { gap }
}

/// What is lost of a namespace that is read from outside, beside what its text does not tell.
fn losses_outside(closed: &Closed) -> [Gap; 2] {
    let why = format!("read through a process, since it could not be entered: {}", closed.why());
    [
        gap("the ephemeral port range and the other settings for ports", why.clone(), Hides::Ports),
        gap("tracked connections", why, Hides::Limits),
    ]
}
