//! The reading of descriptors, by threads that come when they are free.
//!
//! One thread begins, finds the processes and cuts their tables into pieces; whoever has nothing else to do helps. More threads
//! than processors would make whoever reads the socket tables meanwhile wait for its turn, and be the last.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use super::Deadline;
use super::descriptors::{Found, TableSize, Window, read_window};
use super::netns_list::NetNsFd;
use super::place::Task;
use super::proc_dir::{ProcRoot, is_gone};
use super::process_details::read_identity;
use super::process_gaps::{Reason, Thing, Unread};
use super::procfs::{Holder, Links, PROC, nothing_seen};
use super::targets::{Target, choose_targets};
use super::workers::Pile;
use crate::model::gate::Gate;
use crate::model::process::ProcessKey;
use crate::model::selection::Selection;
use crate::model::snapshot::ProcessScan;

/// A reading of descriptors that several threads take part in.
#[derive(Debug)]
pub(super) struct Collection<'a> {
    selection: &'a Selection,
    deadline: Deadline,
    prepared: OnceLock<Result<Prepared, Errno>>,
    is_prepared: Gate,
    pile: Pile,
    gathered: Mutex<Vec<Collected>>,
}

/// What there is to read.
#[derive(Debug)]
struct Prepared {
    root: ProcRoot,
    /// The largest pieces first.
    work: Vec<(Target, Window)>,
    unread: Vec<Unread>,
}

impl<'a> Collection<'a> {
    /// One that has not begun.
    pub(super) fn new(selection: &'a Selection, deadline: Deadline) -> Self {
        Self {
            selection,
            deadline,
            prepared: OnceLock::new(),
            is_prepared: Gate::default(),
            pile: Pile::default(),
            gathered: Mutex::new(Vec::new()),
        }
    }

    /// Finds out what there is to read, and reads it on so many threads.
    pub(super) fn begin(&self, n_threads: usize) {
        let opener = self.is_prepared.opener();
        self.prepared.get_or_init(|| self.prepare());
        drop(opener);
        self.work(n_threads);
    }

    /// Helps on so many threads; returns when all pieces are read, or in somebody's hands. Another thread has begun, or will.
    pub(super) fn help(&self, n_threads: usize) {
        self.is_prepared.wait();
        self.work(n_threads);
    }

    /// Everything that was read, once all threads have returned.
    pub(super) fn finish(self) -> Links {
        let extent = if self.selection.by_process() { ProcessScan::Selected } else { ProcessScan::All };
        let mut links =
            Links { holders: Vec::new(), unread: Vec::new(), obstacle: None, extent, namespaces: Vec::new() };
        let Prepared { work, unread, .. } = match self.prepared.into_inner() {
            Some(Ok(prepared)) => prepared,
            Some(Err(error)) => {
                links.obstacle = Some(nothing_seen(error));
                return links;
            }
            // Nobody began.
            None => return links,
        };
        links.unread = unread;
        let mut pieces = Vec::new();
        for collected in self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner) {
            pieces.extend(collected.pieces);
            links.namespaces.extend(collected.namespaces);
            links.unread.extend(collected.unread);
        }
        let late = |(target, _): &(Target, Window)| Unread::new(Thing::Descriptors, Reason::TooLate, target.pid);
        links.unread.extend(work[self.pile.n_done()..].iter().map(late));
        links.holders = join_pieces(pieces);
        links
    }

    fn prepare(&self) -> Result<Prepared, Errno> {
        let (root, pids) = open_and_list(self.selection)?;
        let mut unread = Vec::new();
        let targets = choose_targets(&root, &pids, self.selection, self.deadline, &mut unread);
        let windows = |target: &Target| {
            let target = *target;
            target.size.windows().into_iter().map(move |window| (target, window))
        };
        let mut work: Vec<(Target, Window)> = targets.iter().flat_map(windows).collect();
        work.sort_by_key(|(_, window)| Reverse(window.weight()));
        Ok(Prepared { root, work, unread })
    }

    fn work(&self, n_threads: usize) {
        let Some(Ok(Prepared { root, work, .. })) = self.prepared.get() else { return };
        let read = |collected: &mut Collected, (target, window): &(Target, Window)| {
            let piece = read_piece(root, target, window, collected);
            collected.pieces.extend(piece);
        };
        let collected = self.pile.work_off(n_threads, work, self.deadline, (Collected::default, read));
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).extend(collected);
    }
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
