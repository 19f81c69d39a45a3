//! Every network namespace of the host that something leads to, each once.
//!
//! What keeps a namespace is a process, a single thread of one (Go programs and CNI plugins move threads), a mount in any
//! mount namespace, or a descriptor; there is no list of all before Linux 6.19 (`listns(2)`). One that only sockets keep,
//! after all of these are gone, cannot be found by any of them.
//!
//! Whoever may not read `/proc/PID/ns/net` tells namespaces apart by the inode of `/proc/PID/net/sockstat`.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::io::Errno;

use super::Deadline;
use super::netns::LinkId;
use super::netns_mounts::{Mounted, Views, read_ip_netns, read_mounted, view_of};
use super::place::{Place, Task, Way, read_text_id};
use super::proc_dir::{ProcRoot, ProcessDir, is_gone, is_refusal, parse_decimal};
use super::process_gaps::{Privilege, Reason, Thing, Unread, gaps_of};
use super::workers::spread;
use crate::model::snapshot::{Gap, Hides};

/// A descriptor that refers to a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetNsFd {
    /// The namespace.
    pub(super) inode: u64,
    /// Who has the descriptor.
    pub(super) task: Task,
    /// The descriptor.
    pub(super) fd: u32,
}

/// The namespaces that were found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Those whose inode is known, by inode; the own one is among them.
    pub(super) places: Vec<Place>,
    /// Those of processes that may not be asked which namespace they are in: some may be among `places`, which shows when
    /// these have been entered.
    pub(super) unnumbered: Vec<Place>,
    /// What could not be looked at.
    pub(super) gaps: Vec<Gap>,
}

/// Finds them by processes, threads and mounts. `own` is the namespace of this program.
pub(super) fn find_namespaces(own: LinkId, deadline: Deadline) -> Survey {
    let root = match ProcRoot::open(Path::new("/proc")) {
        Ok(root) => root,
        Err(error) => return nothing_found(own, error),
    };
    let pids = match root.pids() {
        Ok(mut pids) => {
            pids.sort_unstable();
            pids
        }
        Err(error) => return nothing_found(own, error),
    };
    let mut sightings = sight(&root, &pids, deadline);
    let mut mounted = read_ip_netns(own.device);
    mounted.extend(mounted_everywhere(&root, std::mem::take(&mut sightings.views), deadline, &mut sightings.unread));
    let gaps = gaps_of(std::mem::take(&mut sightings.unread), Privilege::read());
    let (places, unnumbered) = places_of(own.inode, sightings, mounted);
    Survey { places, unnumbered, gaps }
}

impl Survey {
    /// The namespaces that only a descriptor leads to.
    pub(super) fn kept_by_descriptors(&self, fds: &[NetNsFd]) -> Vec<Place> {
        let mut kept: BTreeMap<u64, Place> = BTreeMap::new();
        for fd in fds.iter().filter(|fd| !self.places.iter().any(|place| place.inode == Some(fd.inode))) {
            let place = kept.entry(fd.inode).or_insert_with(|| Place { inode: Some(fd.inode), ..Place::default() });
            place.ways.push(Way::Descriptor(fd.task, fd.fd));
        }
        kept.into_values().collect()
    }
}

/// Without `/proc` there is the own namespace, and no way to any other.
fn nothing_found(own: LinkId, error: Errno) -> Survey {
    let gap = Gap {
        what: "other network namespaces".to_owned(),
        why: format!("/proc: {}", std::io::Error::from(error)),
        hides: Hides::Sockets,
        count: 1,
    };
    Survey { places: vec![Place::own(Some(own.inode))], gaps: vec![gap], ..Survey::default() }
}

/// By which number a task tells its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Inode(u64),
    Text(u64),
}

/// What a pass over the processes saw.
#[derive(Debug, Default)]
struct Sightings {
    tasks: Vec<(Number, Task)>,
    views: Views,
    unread: Vec<Unread>,
}

/// Asks every process and every thread. A thread costs about 10 µs, which is what its directory in `/proc` costs to be
/// made: on all cores that is little beside the descriptors that as many threads have.
fn sight(root: &ProcRoot, pids: &[u32], deadline: Deadline) -> Sightings {
    let done = spread(pids, deadline, Sightings::default, |seen, &pid| seen.ask(root, pid));
    let mut all = Sightings::default();
    for seen in done.gathered {
        all.tasks.extend(seen.tasks);
        all.unread.extend(seen.unread);
        for (view, pid) in seen.views {
            all.views.entry(view).and_modify(|first| *first = pid.min(*first)).or_insert(pid);
        }
    }
    all.unread.extend(pids[done.n_done..].iter().map(|pid| Unread::new(Thing::Place, Reason::TooLate, *pid)));
    all.tasks.sort_unstable();
    all
}

impl Sightings {
    fn ask(&mut self, root: &ProcRoot, pid: u32) {
        let Ok(dir) = root.process(pid) else { return };
        let first = number_of(&dir, "");
        match first {
            Ok(number) => self.tasks.push((number, Task { pid, thread: None })),
            Err(error) if is_gone(error) || error == Errno::INVAL => {}
            Err(error) => self.unread.push(Unread::new(Thing::Place, error.into(), pid)),
        }
        // The link count of the directory is 2 and one for each thread (kernel `proc_task_getattr`).
        if dir.status_of("task").is_ok_and(|status| status.st_nlink > 3) {
            for tid in dir.tids().unwrap_or_default() {
                match number_of(&dir, &format!("task/{tid}/")) {
                    Ok(number) if first != Ok(number) => self.tasks.push((number, Task { pid, thread: Some(tid) })),
                    // A thread that is gone, or that says no more than the first did.
                    _ => {}
                }
            }
        }
        if let Some(view) = view_of(&dir) {
            self.views.entry(view).or_insert(pid);
        }
    }
}

/// The number of the namespace that the task in this directory is in. A process whose first thread has ended has none,
/// which reads as ENOENT by the link, and as EINVAL by the text.
fn number_of(dir: &ProcessDir, task: &str) -> Result<Number, Errno> {
    match dir.link(&format!("{task}ns/net")) {
        Ok(link) => {
            let inode = link.strip_prefix(b"net:[").and_then(|rest| rest.strip_suffix(b"]"));
            inode.and_then(parse_decimal).map(Number::Inode).ok_or(Errno::ILSEQ)
        }
        Err(error) if is_refusal(error) => {
            dir.status_of(&format!("{task}net/sockstat")).map(|status| Number::Text(status.st_ino))
        }
        Err(error) => Err(error),
    }
}

fn mounted_everywhere(root: &ProcRoot, views: Views, deadline: Deadline, unread: &mut Vec<Unread>) -> Vec<Mounted> {
    let pids: Vec<u32> = views.into_values().collect();
    let begin = || (Vec::new(), Vec::new());
    let done = spread(&pids, deadline, begin, |(mounted, unread), &pid| match read_mounted(root, pid) {
        Ok(found) => mounted.extend(found),
        Err(error) => unread.push(Unread::new(Thing::Mounts, error.into(), pid)),
    });
    let mut mounted = Vec::new();
    for (found, refused) in done.gathered {
        mounted.extend(found);
        unread.extend(refused);
    }
    unread.extend(pids[done.n_done..].iter().map(|pid| Unread::new(Thing::Mounts, Reason::TooLate, *pid)));
    mounted
}

/// Puts together what leads to the same namespace. What tasks told by text only, and is that of a task that told its
/// number, is put there.
fn places_of(own: u64, sightings: Sightings, mounted: Vec<Mounted>) -> (Vec<Place>, Vec<Place>) {
    let mut places = BTreeMap::from([(own, Place::own(Some(own)))]);
    let mut unnumbered: BTreeMap<u64, Place> = BTreeMap::new();
    for (number, task) in sightings.tasks {
        let place = match number {
            Number::Inode(inode) => places.entry(inode).or_default(),
            Number::Text(id) => unnumbered.entry(id).or_insert_with(|| Place { text_id: Some(id), ..Place::default() }),
        };
        place.tasks.push(task);
    }
    for Mounted { inode, way, ip_name } in mounted {
        let place = places.entry(inode).or_default();
        place.ways.push(way);
        place.ip_name = place.ip_name.take().or(ip_name);
    }
    for (inode, place) in &mut places {
        place.inode = Some(*inode);
    }
    if !unnumbered.is_empty() {
        for place in places.values() {
            if let Some(id) = place.net_dirs().find_map(|dir| read_text_id(&dir)) {
                unnumbered.remove(&id);
            }
        }
    }
    (places.into_values().collect(), unnumbered.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::super::netns::read_own_id;
    use super::*;

    fn task(pid: u32) -> Task {
        Task { pid, thread: None }
    }

    #[test]
    fn what_leads_to_one_namespace_is_one_place() {
        let tasks = vec![(Number::Inode(5), task(1)), (Number::Inode(7), task(2)), (Number::Inode(7), task(3))];
        let way = |fd| Way::Descriptor(task(9), fd);
        let mounted = |inode, name: Option<&str>, fd| Mounted { inode, way: way(fd), ip_name: name.map(str::to_owned) };
        let mounts = vec![mounted(7, None, 1), mounted(7, Some("blue"), 2), mounted(8, Some("red"), 3)];
        let (places, unnumbered) = places_of(5, Sightings { tasks, ..Sightings::default() }, mounts);
        let seen: Vec<_> = places
            .iter()
            .map(|place| (place.inode, place.is_own, place.tasks.len(), place.ways.len(), place.ip_name.as_deref()))
            .collect();
        let expected =
            [(Some(5), true, 1, 0, None), (Some(7), false, 2, 2, Some("blue")), (Some(8), false, 0, 1, Some("red"))];
        assert_eq!(seen, expected);
        assert!(unnumbered.is_empty());

        let survey = Survey { places, ..Survey::default() };
        let fd = |inode, fd| NetNsFd { inode, task: task(4), fd };
        let kept = survey.kept_by_descriptors(&[fd(7, 1), fd(9, 2), fd(9, 3)]);
        assert_eq!(kept.iter().map(|place| (place.inode, place.ways.len())).collect::<Vec<_>>(), [(Some(9), 2)]);
    }

    #[test]
    fn a_task_that_tells_no_number_may_be_in_a_namespace_that_is_known() {
        let own = read_own_id().expect("our own").inode;
        let me = task(std::process::id());
        let text_id = read_text_id(&me.dir().join("net")).expect("our own");
        let tasks = vec![(Number::Inode(own), me), (Number::Text(text_id), task(1)), (Number::Text(1), task(2))];
        let (places, unnumbered) = places_of(own, Sightings { tasks, ..Sightings::default() }, Vec::new());
        assert_eq!(places.len(), 1);
        assert_eq!(unnumbered.iter().map(|place| place.text_id).collect::<Vec<_>>(), [Some(1)]);
    }

    #[test]
    fn the_namespace_of_this_process_is_found() {
        let own = read_own_id().expect("our own");
        let survey = find_namespaces(own, Deadline::never());
        let mine: Vec<_> = survey.places.iter().filter(|place| place.is_own).collect();
        let [mine] = mine.as_slice() else { panic!("{mine:?}") };
        assert_eq!(mine.inode, Some(own.inode));
        assert!(mine.tasks.contains(&task(std::process::id())), "{mine:?}");
    }
}
