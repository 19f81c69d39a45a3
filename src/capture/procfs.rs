//! Who holds the sockets: the search through `/proc/PID/fd`, in two steps.
//!
//! [`scan_descriptors`] needs no knowledge of the socket tables and runs while they are read; [`describe`] keeps what
//! the tables know, and reads everything else about the few processes that hold it.
//!
//! The crate `procfs` reads `stat` and `limits`. Its `Process::fd()` is not used: it passes over errors in silence, and
//! it spends three more system calls on each descriptor.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::path::Path;
use std::time::SystemTime;

use rustix::io::Errno;

use super::Deadline;
use super::collection::Collection;
use super::descriptors::{Link, TableSize};
use super::netns_list::NetNsFd;
use super::proc_dir::ProcRoot;
use super::process_details::{Describer, Identity, bare_process};
use super::process_gaps::{Privilege, Reason, Thing, Unread, gaps_of};
use super::strays;
use super::targets::Target;
use super::users::Users;
use super::visibility::read_hiding;
use super::workers::{processors, spread};
use crate::attribution::NumberSet;
use crate::model::process::{Holding, Process, ProcessIndex, ProcessKey};
use crate::model::selection::Selection;
use crate::model::snapshot::{Gap, Hides, ProcessScan};
use crate::model::socket::Inode;

pub(super) const PROC: &str = "/proc";

/// Every descriptor of a socket, of whatever family, that could be read.
#[derive(Debug)]
pub struct Links {
    pub(super) holders: Vec<Holder>,
    pub(super) unread: Vec<Unread>,
    /// Why no process could be looked at.
    pub(super) obstacle: Option<Gap>,
    pub(super) extent: ProcessScan,
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
    let collection = Collection::new(selection, deadline);
    collection.begin(processors());
    collection.finish()
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
    let wanted = wanted.iter().map(|inode| inode.get()).collect();
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
        let holding = |link: &Link| Some(Holding { inode: Inode::new(link.inode)?, process: index, fd: link.fd });
        holdings.extend(links.filter_map(holding));
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

fn unnamed_users(error: &std::io::Error) -> Gap {
    Gap { what: "names of users".to_owned(), why: format!("/etc/passwd: {error}"), hides: Hides::Owners, count: 1 }
}

pub(super) fn nothing_seen(error: Errno) -> Gap {
    let why = match error {
        Errno::NODEV => "no proc file system is mounted on /proc".to_owned(),
        _ => format!("/proc: {}", std::io::Error::from(error)),
    };
    Gap { what: "every process".to_owned(), why, hides: Hides::Owners, count: 1 }
}
