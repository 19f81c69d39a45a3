//! Who holds the sockets: the search through `/proc/PID/fd`, in two steps.
//!
//! [`scan_descriptors`] needs no knowledge of the socket tables and runs while they are read; [`describe`] keeps what
//! the tables know, and reads everything else about the few processes that hold it.
//!
//! The crate `procfs` reads `stat` and `limits`. Its `Process::fd()` is not used: it passes over errors in silence, and
//! it spends three more system calls on each descriptor.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use rustix::io::Errno;

use super::Deadline;
use super::descriptors::{Found, Link, TableSize, Window, read_window};
use super::netns_list::NetNsFd;
use super::place::Task;
use super::proc_dir::{ProcRoot, is_gone};
use super::process_details::{Describer, Identity, bare_process, read_identity};
use super::process_gaps::{Privilege, Reason, Thing, Unread, gaps_of};
use super::strays;
use super::targets::{Target, choose_targets};
use super::users::Users;
use super::visibility::read_hiding;
use super::workers::spread;
use crate::attribution::NumberSet;
use crate::model::process::{Holding, Process, ProcessIndex, ProcessKey};
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides, ProcessScan};
use crate::model::socket::Inode;

const PROC: &str = "/proc";

/// Every descriptor of a socket, of whatever family, that could be read.
#[derive(Debug)]
pub struct Links {
    pub(super) holders: Vec<Holder>,
    unread: Vec<Unread>,
    /// Why no process could be looked at.
    obstacle: Option<Gap>,
    extent: ProcessScan,
    /// Descriptors of network namespaces.
    pub(super) namespaces: Vec<NetNsFd>,
}

/// The processes that hold the sockets of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Those that hold at least one of the sockets, and those that were asked for by number; by number, ascending.
    pub processes: Vec<Process>,
    /// Which process holds which socket by which descriptor: by process and descriptor, ascending.
    pub holdings: Vec<Holding>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// How far the search went.
    pub extent: ProcessScan,
}

/// A process and the sockets that it holds.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) identity: Identity,
    pub(super) target: Target,
    /// Descriptors of any kind that were seen; `None` when not all could be.
    pub(super) n_seen: Option<u64>,
    pub(super) links: Vec<Link>,
    /// Descriptors of rings of io_uring.
    pub(super) rings: Vec<u32>,
}

/// What makes a process worth describing.
struct Wanted<'a> {
    /// To hold one of these sockets.
    inodes: &'a NumberSet,
    /// To be one of these.
    processes: &'a HashSet<ProcessKey>,
}

/// A holder that is kept, and what is known of it.
type Kept<'a> = (Process, &'a Holder);

/// Collects the sockets behind the descriptors of all processes, or of those that the selection asks for, on all cores.
///
/// What cannot be read becomes a gap of the [`Scan`]; a process that ends meanwhile is as if it had ended before.
#[must_use]
pub fn scan_descriptors(selection: &Selection, deadline: Deadline) -> Links {
    let extent = if selection.by_process() { ProcessScan::Selected } else { ProcessScan::All };
    let (holders, unread, namespaces) = (Vec::new(), Vec::new(), Vec::new());
    let mut links = Links { holders, unread, obstacle: None, extent, namespaces };
    match open_and_list(selection) {
        Ok((root, pids)) => {
            let targets = choose_targets(&root, &pids, selection, deadline, &mut links.unread);
            let collected = read_targets(&root, &targets, deadline, &mut links.unread);
            (links.holders, links.namespaces) = (join_pieces(collected.pieces), collected.namespaces);
        }
        Err(error) => links.obstacle = Some(nothing_seen(error)),
    }
    links
}

/// Keeps the holders of the wanted sockets and reads everything else about them. `booted_at` places their starts in
/// time.
///
/// Past the deadline a holder keeps its number and its name, and a gap says of how many there is no more.
#[must_use]
pub fn describe<S: BuildHasher>(
    links: Links,
    wanted: &HashSet<Inode, S>,
    booted_at: Option<SystemTime>,
    deadline: Deadline,
) -> Scan {
    let wanted = wanted.iter().map(|inode| inode.0).collect();
    describe_with(links, &wanted, &HashSet::new(), booted_at, deadline)
}

/// The same, and describes these processes too, whether they hold a wanted socket or not.
pub(super) fn describe_with(
    links: Links,
    wanted: &NumberSet,
    also: &HashSet<ProcessKey>,
    booted_at: Option<SystemTime>,
    deadline: Deadline,
) -> Scan {
    let wanted = Wanted { inodes: wanted, processes: also };
    let Links { mut holders, mut unread, obstacle, extent, namespaces: _ } = links;
    let mut gaps = Vec::from_iter(obstacle);
    let mut kept = Vec::new();
    if gaps.is_empty() {
        match ProcRoot::open(Path::new(PROC)) {
            Ok(root) => {
                let users = Users::read().unwrap_or_else(|error| {
                    gaps.push(unnamed_users(&error));
                    Users::default()
                });
                if extent == ProcessScan::All {
                    gaps.extend(strays::find(&root, &mut holders, wanted.inodes, deadline));
                }
                let describer = Describer::new(&root, &users, booted_at);
                kept = describe_holders(&holders, &wanted, &describer, deadline, &mut unread);
                if let Some(hiding) = read_hiding(&root, Privilege::read()) {
                    let n_ownerless = (extent == ProcessScan::All).then(|| n_ownerless(&kept, wanted.inodes));
                    gaps.extend(hiding.gap(n_ownerless));
                }
            }
            Err(error) => gaps.push(nothing_seen(error)),
        }
    }
    gaps.extend(gaps_of(unread, Privilege::read()));
    let (processes, holdings) = number(kept, wanted.inodes);
    Scan { processes, holdings, gaps, extent }
}

fn open_and_list(selection: &Selection) -> Result<(ProcRoot, Vec<u32>), Errno> {
    let root = ProcRoot::open(Path::new(PROC))?;
    let mut pids = if selection.pids.is_empty() { root.pids()? } else { selection.pids.clone() };
    pids.sort_unstable();
    pids.dedup();
    Ok((root, pids))
}

/// What reading the tables of all targets gave.
#[derive(Debug, Default)]
struct Collected {
    pieces: Vec<Holder>,
    namespaces: Vec<NetNsFd>,
    unread: Vec<Unread>,
}

/// Reads the descriptors of all targets, the largest pieces first.
fn read_targets(root: &ProcRoot, targets: &[Target], deadline: Deadline, unread: &mut Vec<Unread>) -> Collected {
    let windows = |target: &Target| {
        let target = *target;
        target.size.windows().into_iter().map(move |window| (target, window))
    };
    let mut work: Vec<(Target, Window)> = targets.iter().flat_map(windows).collect();
    work.sort_by_key(|(_, window)| Reverse(window.weight()));
    let done = spread(&work, deadline, Collected::default, |collected, (target, window)| {
        let piece = read_piece(root, target, window, collected);
        collected.pieces.extend(piece);
    });
    let mut all = Collected::default();
    for collected in done.gathered {
        all.pieces.extend(collected.pieces);
        all.namespaces.extend(collected.namespaces);
        unread.extend(collected.unread);
    }
    let late = |(target, _): &(Target, Window)| Unread::new(Thing::Descriptors, Reason::TooLate, target.pid);
    unread.extend(work[done.n_done..].iter().map(late));
    all
}

/// Reads one piece of the table of a process. `None` when the process is gone, or has nothing here that matters.
fn read_piece(root: &ProcRoot, target: &Target, window: &Window, collected: &mut Collected) -> Option<Holder> {
    let dir = root.process(target.pid).ok()?;
    let of_thread = target.thread.map(|tid| dir.thread(tid)).transpose().ok()?;
    let found = match of_thread.as_ref().unwrap_or(&dir).descriptors() {
        Ok(table) => read_window(table.as_fd(), window),
        Err(error) if is_gone(error) => return None,
        Err(error) => Found { error: Some(error), ..Found::default() },
    };
    let task = Task { pid: target.pid, thread: target.thread };
    let fds = found.namespaces.iter().map(|link| NetNsFd { inode: link.inode, task, fd: link.fd });
    collected.namespaces.extend(fds);
    let unread = &mut collected.unread;
    let counts = !matches!(target.size, TableSize::Open(_)) && found.n_open > 0;
    if found.links.is_empty() && found.rings.is_empty() && found.error.is_none() && !target.named && !counts {
        return None;
    }
    let identity = match read_identity(&dir, target.pid) {
        Ok(identity) => identity?,
        Err(reason) => {
            unread.push(Unread::new(Thing::Descriptors, reason, target.pid));
            return None;
        }
    };
    let has_nothing = identity.is_kernel_thread || (identity.is_ending && target.thread.is_none());
    if let Some(error) = found.error.filter(|_| !has_nothing) {
        unread.push(Unread::new(Thing::Descriptors, error.into(), target.pid));
    }
    let n_seen = found.error.is_none().then_some(found.n_open);
    Some(Holder { identity, target: *target, n_seen, links: found.links, rings: found.rings })
}

/// Puts the pieces of each process together. Pieces that were read of different processes with one number stay apart.
fn join_pieces(mut pieces: Vec<Holder>) -> Vec<Holder> {
    pieces.sort_by_key(|piece| (piece.identity.key, piece.links.first().map(|link| link.fd)));
    let mut n_links: HashMap<ProcessKey, usize> = HashMap::new();
    for piece in &pieces {
        *n_links.entry(piece.identity.key).or_default() += piece.links.len();
    }
    let mut holders: Vec<Holder> = Vec::with_capacity(n_links.len());
    for mut piece in pieces {
        match holders.last_mut().filter(|holder| holder.identity.key == piece.identity.key) {
            Some(holder) => {
                holder.links.append(&mut piece.links);
                holder.rings.append(&mut piece.rings);
                holder.n_seen = holder.n_seen.zip(piece.n_seen).map(|(before, here)| before + here);
            }
            None => {
                let all = n_links.get(&piece.identity.key).copied().unwrap_or_default();
                piece.links.reserve_exact(all - piece.links.len());
                holders.push(piece);
            }
        }
    }
    holders.retain(|holder| holder.target.named || !(holder.links.is_empty() && holder.rings.is_empty()));
    holders
}

fn describe_holders<'a>(
    holders: &'a [Holder],
    wanted: &Wanted<'_>,
    describer: &Describer<'_>,
    deadline: Deadline,
    unread: &mut Vec<Unread>,
) -> Vec<Kept<'a>> {
    let begin = || (describer.clone(), Vec::new());
    let done = spread(holders, deadline, begin, |(describer, kept), holder| {
        if holder.is_wanted(wanted)
            && let Some(process) = describer.describe(holder.identity.key, holder.target.thread)
        {
            kept.push((Process { fds_open: holder.fds_open(), ..process }, holder));
        }
    });
    let mut kept = Vec::new();
    for (describer, described) in done.gathered {
        unread.extend(describer.unread);
        kept.extend(described);
    }
    for holder in &holders[done.n_done..] {
        if holder.is_wanted(wanted) {
            unread.push(Unread::new(Thing::Details, Reason::TooLate, holder.target.pid));
            kept.push((Process { fds_open: holder.fds_open(), ..bare_process(holder.identity.clone()) }, holder));
        }
    }
    kept
}

impl Holder {
    /// Whether it holds a wanted socket, or is wanted for itself.
    fn is_wanted(&self, wanted: &Wanted<'_>) -> bool {
        let for_itself = self.target.named || wanted.processes.contains(&self.identity.key);
        for_itself || self.links.iter().any(|link| wanted.inodes.contains(link.inode))
    }

    fn fds_open(&self) -> Option<u64> {
        match self.target.size {
            TableSize::Open(n) => Some(n),
            TableSize::Places(_) | TableSize::Unknown => self.n_seen,
        }
    }
}

/// Gives the processes their indices, and the holdings of wanted sockets those of their processes.
fn number(mut kept: Vec<Kept<'_>>, wanted: &NumberSet) -> (Vec<Process>, Vec<Holding>) {
    kept.sort_by_key(|(process, _)| process.key);
    let mut processes = Vec::with_capacity(kept.len());
    let mut holdings = Vec::with_capacity(kept.iter().map(|(_, holder)| holder.links.len()).sum());
    for (process, holder) in kept {
        let index = ProcessIndex(processes.len() as u32);
        let links = holder.links.iter().filter(|link| wanted.contains(link.inode));
        holdings.extend(links.map(|link| Holding { inode: Inode(link.inode), process: index, fd: link.fd }));
        processes.push(process);
    }
    (processes, holdings)
}

/// How many of the wanted sockets nobody was seen to hold.
fn n_ownerless(kept: &[Kept<'_>], wanted: &NumberSet) -> u64 {
    let mut held = wanted.for_members();
    for link in kept.iter().flat_map(|(_, holder)| &holder.links).filter(|link| wanted.contains(link.inode)) {
        held.insert(link.inode);
    }
    (wanted.len() - held.len()) as u64
}

fn nothing_seen(error: Errno) -> Gap {
    let why = match error {
        Errno::NODEV => "no proc file system is mounted on /proc".to_owned(),
        _ => format!("/proc: {}", std::io::Error::from(error)),
    };
    Gap { what: "every process".to_owned(), why, hides: Hides::Owners, count: 1 }
}

fn unnamed_users(error: &std::io::Error) -> Gap {
    Gap { what: "names of users".to_owned(), why: format!("/etc/passwd: {error}"), hides: Hides::Owners, count: 1 }
}
