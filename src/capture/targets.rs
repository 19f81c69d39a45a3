//! Which processes the search for holders looks at, and how much there is to look at.

use rustix::io::Errno;

use super::Deadline;
use super::descriptors::TableSize;
use super::proc_dir::{ProcRoot, ProcessDir, is_gone, parse_decimal};
use super::process_details::Describer;
use super::process_gaps::{Reason, Thing, Unread};
use super::users::Users;
use super::workers::spread;
use crate::model::selection::Selection;

/// A process whose descriptors are to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Its number.
    pub(super) pid: u32,
    /// The thread whose descriptors to read, when the first thread has ended and left them to the others.
    pub(super) thread: Option<u32>,
    /// Whether it was asked for by number, and is reported also when it holds nothing.
    pub(super) named: bool,
    /// How many descriptors it has.
    pub(super) size: TableSize,
}

/// Chooses among these processes: those that the selection asks for, without those that have no descriptors at all.
pub(super) fn choose_targets(
    root: &ProcRoot,
    pids: &[u32],
    selection: &Selection,
    deadline: Deadline,
    unread: &mut Vec<Unread>,
) -> Vec<Target> {
    let chooser = Chooser { root, selection, has_sizes: has_sizes(root) };
    let users = Users::default();
    let begin = || (Describer::new(root, &users, None), Vec::new());
    let done = spread(pids, deadline, begin, |(describer, targets), &pid| {
        if chooser.wants(describer, pid) {
            targets.extend(chooser.target(pid, &mut describer.unread));
        }
    });
    let mut targets = Vec::new();
    for (describer, chosen) in done.gathered {
        unread.extend(describer.unread);
        targets.extend(chosen);
    }
    let late = |pid: &u32| Unread::new(Thing::Descriptors, Reason::TooLate, *pid);
    unread.extend(pids[done.n_done..].iter().map(late));
    targets
}

struct Chooser<'a> {
    root: &'a ProcRoot,
    selection: &'a Selection,
    has_sizes: bool,
}

impl Chooser<'_> {
    /// Whether the process is asked for by name, unit and container, as far as these are asked for.
    fn wants(&self, describer: &mut Describer<'_>, pid: u32) -> bool {
        let Selection { processes, units, containers, .. } = self.selection;
        if processes.is_empty() && units.is_empty() && containers.is_empty() {
            return true;
        }
        let n_unread = describer.unread.len();
        let process = describer.describe_membership(pid, self.selection);
        let wanted = process.is_some_and(|process| self.selection.takes_process(&process));
        if wanted {
            // What was not read did not matter.
            describer.unread.truncate(n_unread);
        }
        wanted
    }

    /// `None` for a process that is gone or has no descriptors, unless it was asked for by number.
    fn target(&self, pid: u32, unread: &mut Vec<Unread>) -> Option<Target> {
        let named = !self.selection.pids.is_empty();
        let measured = self.root.process(pid).and_then(|dir| measure(&dir, self.has_sizes));
        let (thread, size) = match measured {
            Ok((_, TableSize::Open(0) | TableSize::Places(0))) if !named => return None,
            Ok(measured) => measured,
            Err(error) if is_gone(error) => {
                if named {
                    unread.push(Unread::new(Thing::Process, Reason::Absent, pid));
                }
                return None;
            }
            Err(_) => (None, TableSize::Unknown),
        };
        Some(Target { pid, thread, named, size })
    }
}

/// Whether the size of `/proc/PID/fd` is the number of descriptors; before Linux 6.2 it is always 0. This process has
/// at least the descriptor that it looks through.
fn has_sizes(root: &ProcRoot) -> bool {
    root.own().and_then(|own| own.status_of("fd")).is_ok_and(|status| status.st_size > 0)
}

/// How many descriptors a process has, and through which thread they are seen. A process whose first thread has ended
/// lives on in the others; its own `fd` is empty then.
fn measure(dir: &ProcessDir, has_sizes: bool) -> Result<(Option<u32>, TableSize), Errno> {
    let size = table_size(dir, has_sizes)?;
    let is_empty = matches!(size, TableSize::Open(0) | TableSize::Places(0));
    // The link count of the directory is 2 and one for each thread (kernel `proc_task_getattr`).
    if is_empty && dir.status_of("task")?.st_nlink > 3 {
        for tid in dir.tids()? {
            let size = dir.thread(tid).and_then(|thread| table_size(&thread, has_sizes));
            if let Ok(size @ (TableSize::Open(1..) | TableSize::Places(1..))) = size {
                return Ok((Some(tid), size));
            }
        }
    }
    Ok((None, size))
}

fn table_size(dir: &ProcessDir, has_sizes: bool) -> Result<TableSize, Errno> {
    if has_sizes {
        return Ok(TableSize::Open(u64::try_from(dir.status_of("fd")?.st_size).unwrap_or(0)));
    }
    let status = dir.read("status")?;
    let places = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"FDSize:\t"));
    Ok(places.and_then(parse_decimal).map_or(TableSize::Unknown, TableSize::Places))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_ways_of_measuring_cover_the_open_descriptors() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let own = root.own().expect("opened");
        let Ok((None, TableSize::Places(places))) = measure(&own, false) else { panic!("FDSize is always there") };
        let n_open = std::fs::read_dir("/proc/self/fd").expect("listed").count() as u64;
        assert!(places >= n_open, "{places} places, {n_open} open");
        if has_sizes(&root) {
            let Ok((None, TableSize::Open(open))) = measure(&own, true) else { panic!("a size") };
            assert!(open > 2 && open <= places, "{open} open, {places} places");
        }
    }
}
