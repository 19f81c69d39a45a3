//! The ghosts of each process: descriptors of connections that are over.

use std::collections::{HashMap, HashSet};

use super::{CloseWaitCensus, GhostCensus, ProcessCensus, Query, UnreadCensus};
use crate::attribution::Owners;
use crate::model::ghost::{Ghost, GhostEnd, GhostScan};
use crate::model::process::ProcessIndex;
use crate::model::selection::Selection;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{Inode, NetNsIndex};
use crate::model::state::{StateCounts, TcpState};

/// Adds the ghosts to the counts of the processes, and the processes that hold nothing else. A ghost has no state and no
/// peer: where these were asked for, it adds no process.
pub(super) fn add(
    snapshot: &Snapshot,
    owners: &Owners,
    query: &Query,
    n_ranges: usize,
    processes: &mut Vec<ProcessCensus>,
) {
    let Some(scan) = &snapshot.ghosts else { return };
    let mut counts = count(snapshot, owners, scan);
    for process in processes.iter_mut() {
        let counted = counts.remove(&process.process);
        let is_undecided = scan.undecided.binary_search(&process.process).is_ok();
        process.ghosts = if is_undecided { counted } else { Some(counted.unwrap_or_default()) };
    }
    if !takes_what_has_no_state(&query.selection) {
        return;
    }
    let taken = |index: ProcessIndex| query.selection.takes_process(&snapshot.processes[index.0 as usize]);
    let others = counts.into_iter().filter(|(index, _)| taken(*index));
    processes.extend(others.map(|(process, ghosts)| ProcessCensus {
        process,
        netns: netns_of(snapshot, process),
        states: StateCounts::default(),
        port_ranges: vec![StateCounts::default(); n_ranges],
        close_wait: CloseWaitCensus::default(),
        unread: UnreadCensus::default(),
        ghosts: Some(ghosts),
    }));
}

fn takes_what_has_no_state(selection: &Selection) -> bool {
    selection.states.is_none() && selection.local.is_everything() && selection.peer.is_everything()
}

fn count(snapshot: &Snapshot, owners: &Owners, scan: &GhostScan) -> HashMap<ProcessIndex, GhostCensus> {
    let started = |index: ProcessIndex| {
        let key = snapshot.processes[index.0 as usize].key;
        (key.start_ticks, key.pid)
    };
    let mut first_holders: HashMap<Inode, ProcessIndex> = HashMap::new();
    for Ghost { holding, .. } in &scan.ghosts {
        let first = first_holders.entry(holding.inode).or_insert(holding.process);
        if started(holding.process) < started(*first) {
            *first = holding.process;
        }
    }
    // Two descriptors of one process may be of one socket.
    let mut seen: HashSet<(ProcessIndex, Inode)> = HashSet::new();
    let mut counts: HashMap<ProcessIndex, GhostCensus> = HashMap::new();
    for ghost in &scan.ghosts {
        let (process, inode) = (ghost.holding.process, ghost.holding.inode);
        if !seen.insert((process, inode)) {
            continue;
        }
        let came_in =
            ghost.local.is_some_and(|local| owners.listener_at(netns_of(snapshot, process), &local).is_some());
        let counted = counts.entry(process).or_default();
        counted.add(ghost);
        counted.inbound += u64::from(came_in);
        counted.inherited += u64::from(first_holders.get(&inode) != Some(&process));
    }
    for process in &scan.undecided {
        counts.entry(*process).and_modify(|counted| counted.at_least = true);
    }
    counts
}

/// The namespace that the process is in; the first when that is not known.
fn netns_of(snapshot: &Snapshot, process: ProcessIndex) -> NetNsIndex {
    let inode = snapshot.processes[process.0 as usize].netns;
    let place = snapshot.namespaces.iter().position(|netns| inode.is_some() && netns.id.inode == inode);
    NetNsIndex(place.unwrap_or(0) as u32)
}

impl GhostCensus {
    fn add(&mut self, ghost: &Ghost) {
        self.count += 1;
        self.untouched += u64::from(ghost.untouched);
        self.refused += u64::from(ghost.end == GhostEnd::Refused);
        if let Some(silent) = ghost.silent_for {
            let (least, most) = self.silent_for.unwrap_or((silent, silent));
            self.silent_for = Some((least.min(silent), most.max(silent)));
        }
    }
}

/// The kernel keeps the number of allocated sockets in parts, one for each processor, which may be off by 32 each
/// (`percpu_counter_batch`): the fewest that say something on a host with 30 processors.
const WORTH_TELLING: u64 = 1_000;
/// One part of so many says little.
const WORTH_TELLING_PART: u64 = 10;

/// About how many TCP sockets of the host are neither in a namespace that was read, nor known otherwise: `alloc` of sockstat
/// counts those of the whole host, `inuse` those of one namespace. `None` when they are few, or when it cannot be told.
pub(super) fn elsewhere(snapshot: &Snapshot) -> Option<u64> {
    let stats: Option<Vec<_>> = snapshot.namespaces.iter().map(|namespace| namespace.sockstat).collect();
    let stats = stats?;
    let alloc = stats.iter().map(|stat| stat.alloc).max()?;
    let in_use: u64 = stats.iter().map(|stat| stat.inuse).fold(0, u64::saturating_add);
    let is_worth_telling = |count: &u64| *count >= WORTH_TELLING && *count >= alloc / WORTH_TELLING_PART;
    // What is known otherwise only lessens it, and is not counted for nothing.
    let others = Some(alloc.saturating_sub(in_use)).filter(is_worth_telling)?;
    // What is bound and no more is allocated, and not in use.
    let bound = snapshot.sockets.iter().filter(|socket| socket.state == TcpState::BoundInactive);
    let ghosts: HashSet<Inode> =
        snapshot.ghosts.iter().flat_map(|scan| &scan.ghosts).map(|ghost| ghost.holding.inode).collect();
    Some(others.saturating_sub((bound.count() + ghosts.len()) as u64)).filter(is_worth_telling)
}
