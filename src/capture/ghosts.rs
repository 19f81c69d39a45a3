//! The search for ghosts: descriptors of TCP sockets that no table lists, asked one by one what they are.
//!
//! Most sockets that no table of TCP lists are no TCP sockets. Where there are many, the tables of UNIX sockets and, when
//! not all of it was read before, of TCP leave few; `system.sockprotoname` of the descriptor's link tells the rest apart.
//! What is left is a ghost, was never connected, or belongs to a namespace that was not read; only the socket itself
//! knows. It is asked through a descriptor that pidfd_getfd(2) makes and that is closed again at once: see
//! [`super::peek`]. What cannot be asked is never counted but told as a gap.
//!
//! A program may be about to close what was just reset. Therefore ghosts are looked at twice, and only those are kept that
//! were there both times. Few of them, of programs that sleep and go on sleeping, are looked at again at once: whoever waits
//! for a socket is woken by its reset.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{fstat, getxattr};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::descriptors::Link;
use super::dump::{Walk, Walker};
use super::inet_diag::Extensions;
use super::peek::{Over, Protocol, read_over};
use super::proc_dir::{ProcRoot, ProcessDir, is_gone};
use super::process_details::{parse_netns, read_identity};
use super::process_gaps::{Privilege, Reason, Thing, Unread, gaps_of};
use super::procfs::{Holder, Links};
use super::stillness::Sleepers;
use super::workers::spread;
use super::{Deadline, netns};
use crate::attribution::{NumberSet, SocketSet};
use crate::model::ghost::{Ghost, GhostScan};
use crate::model::process::{Holding, Process, ProcessIndex, ProcessKey};
use crate::model::snapshot::Gap;
use crate::model::socket::{Inode, NetNsIndex, SocketRecord};
use crate::model::state::{StateMask, TcpState};

/// So much time lies between the two looks: a program that waits for its sockets closes one within moments of a reset.
const PAUSE: Duration = Duration::from_millis(100);
/// And so much when the programs sleep meanwhile.
const MOMENT: Duration = Duration::from_millis(4);
/// Fewer than this are few: no policy finds fault with them unless it is asked to. A program may sleep while it works, too,
/// with many connections that are reset behind its back.
const FEW: usize = 10;
/// From so many descriptors of one namespace on, its tables are read rather than each descriptor asked.
const WORTH_A_DUMP: usize = 256;
/// So many descriptors are one piece of work: some milliseconds.
const PIECE: usize = 512;

/// Where ghosts are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// The sockets that were read.
    pub(super) sockets: &'a [SocketRecord],
    /// Their inodes.
    pub(super) inodes: &'a NumberSet,
    /// Whether filters kept sockets out.
    pub(super) filtered: bool,
    /// Only processes of this network namespace are looked at, when it was the only one asked for.
    pub(super) only_netns: Option<u64>,
    /// When to stop.
    pub(super) deadline: Deadline,
}

/// What the first look saw.
#[derive(Debug)]
pub(super) struct FirstLook {
    sightings: Vec<Sighting>,
    undecided: Vec<(ProcessKey, Option<Reason>)>,
    ended_at: Instant,
    deadline: Deadline,
}

/// A ghost that was seen.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    who: Who,
    link: Link,
    over: Over,
}

/// A process, and the thread through which its descriptors are seen when its first thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Who {
    key: ProcessKey,
    thread: Option<u32>,
}

/// Descriptors of one process, to be asked.
#[derive(Debug, Clone)]
struct Piece {
    who: Who,
    links: Vec<Link>,
}

/// Looks at the descriptors of all sockets that are in none of the tables. `None` when there is no `/proc` to look in.
pub(super) fn look(links: &Links, field: &Field<'_>) -> Option<FirstLook> {
    let root = ProcRoot::open(Path::new("/proc")).ok()?;
    let mut suspects = suspects(&links.holders, field);
    narrow(&root, &mut suspects, field);
    let mut look = ask(&root, &suspects, field.deadline);
    let partly_read = links.holders.iter().filter(|holder| holder.n_seen.is_none());
    look.undecided.extend(partly_read.map(|holder| (holder.identity.key, None)));
    Some(look)
}

impl FirstLook {
    /// Who held a ghost.
    pub(super) fn holders(&self) -> HashSet<ProcessKey> {
        self.sightings.iter().map(|sighting| sighting.who.key).collect()
    }

    /// Looks again, a little later, at what was seen to be a ghost, and keeps what still is one.
    pub(super) fn look_again(self, processes: &[Process]) -> (GhostScan, Vec<Gap>) {
        let Self { sightings, mut undecided, ended_at, deadline } = self;
        let mut pieces: HashMap<Who, Vec<Link>> = HashMap::new();
        for Sighting { who, link, .. } in sightings {
            pieces.entry(who).or_default().push(link);
        }
        let pieces = pieces.into_iter().map(|(who, links)| Piece { who, links }).collect::<Vec<_>>();
        let mut seen = Vec::new();
        if let (false, Ok(root)) = (pieces.is_empty(), ProcRoot::open(Path::new("/proc"))) {
            let again = second_look(&root, &pieces, ended_at, deadline);
            seen = again.sightings;
            undecided.extend(again.undecided);
        }
        let unread = undecided.iter().filter_map(|(key, reason)| Some(Unread::new(Thing::Ghosts, (*reason)?, key.pid)));
        let gaps = gaps_of(unread.collect(), Privilege::read());
        (number(&seen, &undecided, processes), gaps)
    }
}

/// Asks again when so much time has passed since the first look that a program would have closed what it is about to close.
fn second_look(root: &ProcRoot, pieces: &[Piece], first_ended_at: Instant, deadline: Deadline) -> FirstLook {
    let wait = |pause: Duration| {
        let pause = pause.saturating_sub(first_ended_at.elapsed());
        if deadline.left().is_none_or(|left| left > pause * 2) {
            thread::sleep(pause);
        }
    };
    let n_ghosts: usize = pieces.iter().map(|piece| piece.links.len()).sum();
    if n_ghosts < FEW {
        let pids: BTreeSet<u32> = pieces.iter().map(|piece| piece.who.key.pid).collect();
        if let Some(sleepers) = Sleepers::of(root, &pids) {
            wait(MOMENT);
            let again = ask(root, pieces, deadline);
            if sleepers.still_sleep(root, &pids) {
                return again;
            }
        }
    }
    wait(PAUSE);
    ask(root, pieces, deadline)
}

/// The descriptors whose sockets no table lists. One that is bound to a port that it was connected from is in the table of
/// bound sockets, with its peer's port still in it (Linux 6.8; before, it is in none).
fn suspects(holders: &[Holder], field: &Field<'_>) -> Vec<Piece> {
    let bound = field.sockets.iter().filter(|socket| was_connected(socket));
    let bound: SocketSet<u64> = bound.filter_map(|socket| socket.inode).map(|inode| inode.get()).collect();
    let is_suspect = |link: &&Link| !field.inodes.contains(link.inode) || bound.contains(&link.inode);
    let piece = |holder: &Holder| Piece {
        who: Who { key: holder.identity.key, thread: holder.target.thread },
        links: holder.links.iter().filter(is_suspect).copied().collect(),
    };
    let own = std::process::id();
    let others = holders.iter().filter(|holder| holder.target.pid != own);
    others.map(piece).filter(|piece| !piece.links.is_empty()).collect()
}

fn was_connected(socket: &SocketRecord) -> bool {
    socket.state == TcpState::BoundInactive && socket.tuple.remote.port != 0
}

/// Takes out what does not concern the field, and what other tables explain.
fn narrow(root: &ProcRoot, suspects: &mut Vec<Piece>, field: &Field<'_>) {
    let n_links: usize = suspects.iter().map(|piece| piece.links.len()).sum();
    if field.only_netns.is_none() && n_links < WORTH_A_DUMP {
        return;
    }
    let netns_of = |piece: &Piece| {
        let dir = root.process(piece.who.key.pid).ok()?;
        parse_netns(&dir.link("ns/net").ok()?)
    };
    let mut homes: HashMap<u64, (u32, usize)> = HashMap::new();
    suspects.retain(|piece| {
        let netns = netns_of(piece);
        if let Some(netns) = netns {
            homes.entry(netns).or_insert((piece.who.key.pid, 0)).1 += piece.links.len();
        }
        field.only_netns.is_none() || netns.is_none() || netns == field.only_netns
    });
    let crowded = homes
        .into_iter()
        .filter(|(netns, (_, n_links))| *n_links >= WORTH_A_DUMP && field.only_netns.is_none_or(|only| only == *netns));
    let mut explained: SocketSet<u64> = SocketSet::default();
    for (_, (pid, _)) in crowded {
        // What a namespace does not tell is asked of each descriptor instead.
        let inodes = netns::enter_netns_of(pid, || read_inodes(field.filtered, field.deadline));
        explained.extend(inodes.into_iter().flatten());
    }
    for piece in suspects.iter_mut() {
        piece.links.retain(|link| !explained.contains(&link.inode));
    }
    suspects.retain(|piece| !piece.links.is_empty());
}

/// The inodes of sockets of the calling thread's namespace that are no ghosts.
fn read_inodes(with_tcp: bool, deadline: Deadline) -> Vec<u64> {
    let mut inodes = Vec::new();
    let Ok(mut walker) = Walker::open(NetNsIndex(0), deadline) else { return inodes };
    inodes.extend(walker.dump_unix().into_iter().flatten().map(|socket| socket.inode));
    if with_tcp {
        let walk = Walk { states: StateMask::ALL, extensions: Extensions::None };
        let rows = walker.dump_tcp(&walk, None).map(|found| found.rows).unwrap_or_default();
        let open = rows.iter().filter(|row| !was_connected(row));
        inodes.extend(open.filter_map(|row| row.inode).map(|inode| inode.get()));
    }
    inodes
}

/// Asks every descriptor, on all cores.
fn ask(root: &ProcRoot, pieces: &[Piece], deadline: Deadline) -> FirstLook {
    let cut = |piece: &Piece| {
        let who = piece.who;
        piece.links.chunks(PIECE).map(|links| Piece { who, links: links.to_vec() }).collect::<Vec<_>>()
    };
    let mut work: Vec<Piece> = pieces.iter().flat_map(cut).collect();
    work.sort_by_key(|piece| std::cmp::Reverse(piece.links.len()));
    let own_marks = root.own().map(|own| marks(&own)).unwrap_or_default();
    let begin = || (Vec::new(), Vec::new());
    let done = spread(&work, deadline, begin, |(seen, undecided), piece| {
        let mut asker = Asker { root, own_marks: &own_marks, who: piece.who, reach: None };
        for link in &piece.links {
            match asker.ask(*link) {
                Ok(Some(over)) => seen.push(Sighting { who: piece.who, link: *link, over }),
                Ok(None) => {}
                Err(reason) => undecided.push((piece.who.key, Some(reason))),
            }
        }
    });
    let (mut sightings, mut undecided) = (Vec::new(), Vec::new());
    for (seen, failed) in done.gathered {
        sightings.extend(seen);
        undecided.extend(failed);
    }
    undecided.extend(work[done.n_done..].iter().map(|piece| (piece.who.key, Some(Reason::TooLate))));
    undecided.sort_unstable();
    undecided.dedup();
    FirstLook { sightings, undecided, ended_at: Instant::now(), deadline }
}

/// Asks the descriptors of one process.
struct Asker<'a> {
    root: &'a ProcRoot,
    own_marks: &'a BTreeSet<Vec<u8>>,
    who: Who,
    reach: Option<Reach>,
}

/// The way to the descriptors of a process.
struct Reach {
    dir: ProcessDir,
    table: OwnedFd,
    pidfd: Option<Result<OwnedFd, Reason>>,
}

impl Asker<'_> {
    /// Whether the socket behind the descriptor is a ghost. What is gone, or has become another one, is none.
    fn ask(&mut self, link: Link) -> Result<Option<Over>, Reason> {
        let (who, own_marks) = (self.who, self.own_marks);
        let reach = match &mut self.reach {
            Some(reach) => reach,
            empty => match open(self.root, who) {
                Ok(reach) => empty.insert(reach),
                Err(error) => return if is_gone(error) { Ok(None) } else { Err(error.into()) },
            },
        };
        let Some(protocol) = read_protocol(&reach.table, link.fd)? else { return Ok(None) };
        let pidfd = match reach.pidfd.get_or_insert_with(|| open_pidfd(&reach.dir, who, own_marks)) {
            Ok(pidfd) => pidfd,
            Err(reason) => return if reach_is_gone(&reach.dir, who) { Ok(None) } else { Err(*reason) },
        };
        let number = i32::try_from(link.fd).map_err(|_| Reason::Malformed)?;
        let socket = match pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            Err(Errno::BADF | Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if fstat(&socket)?.st_ino != link.inode {
            return Ok(None);
        }
        Ok(read_over(socket.as_fd(), protocol)?)
    }
}

fn open(root: &ProcRoot, who: Who) -> Result<Reach, Errno> {
    let dir = root.process(who.key.pid)?;
    let table = match who.thread {
        Some(tid) => dir.thread(tid)?.descriptors()?,
        None => dir.descriptors()?,
    };
    Ok(Reach { dir, table, pidfd: None })
}

/// Whether the very process has ended.
fn reach_is_gone(dir: &ProcessDir, who: Who) -> bool {
    !matches!(read_identity(dir, who.key.pid), Ok(Some(identity)) if identity.key == who.key)
}

/// The TCP protocol of a descriptor; `None` for another protocol, and for what is gone or is no socket any more.
///
/// `system.sockprotoname` needs the right to read the link and no more (kernel `sockfs_xattr_get`). The path goes through
/// the table that is held open, and so can lead to no other process.
fn read_protocol(table: &OwnedFd, fd: u32) -> Result<Option<Protocol>, Errno> {
    let path = format!("/proc/self/fd/{}/{fd}", table.as_raw_fd());
    let mut name = [0; 32];
    match getxattr(path.as_str(), "system.sockprotoname", &mut name) {
        Ok(length) => Ok(Protocol::of(&name[..length])),
        // A longer name than any of TCP's; not a socket; gone.
        Err(Errno::RANGE | Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A descriptor of this very process. `/proc` may show the processes of another pid namespace than the numbers of system
/// calls are of: what the pidfd refers to is read back from `/proc`.
fn open_pidfd(dir: &ProcessDir, who: Who, own_marks: &BTreeSet<Vec<u8>>) -> Result<OwnedFd, Reason> {
    if marks(dir) != *own_marks {
        return Err(Reason::WouldMark);
    }
    // PIDFD_THREAD, since Linux 6.9 (kernel `include/uapi/linux/pidfd.h`): the first thread that has ended has no
    // descriptors any more.
    let flags = if who.thread.is_some() { PidfdFlags::from_bits_retain(0o200) } else { PidfdFlags::empty() };
    let number = who.thread.unwrap_or(who.key.pid);
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or(Reason::Malformed)?;
    let pidfd = pidfd_open(pid, flags)?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .map_err(|error| Reason::Os(error.raw_os_error().unwrap_or(0)))?;
    let shown = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok());
    if shown != Some(number) || reach_is_gone(dir, who) {
        return Err(Errno::SRCH.into());
    }
    Ok(pidfd)
}

/// The lines of `/proc/PID/cgroup` about the controllers that mark packets by the process that a socket belongs to. To
/// receive a descriptor of a socket makes it one's own in their eyes (kernel `__receive_sock`); within one cgroup that
/// changes nothing. Only cgroup v1 has them.
fn marks(dir: &ProcessDir) -> BTreeSet<Vec<u8>> {
    let text = dir.read("cgroup").unwrap_or_default();
    let names_one = |line: &&[u8]| {
        let controllers = line.split(|byte| *byte == b':').nth(1).unwrap_or_default();
        controllers.split(|byte| *byte == b',').any(|name| name == b"net_cls" || name == b"net_prio")
    };
    text.split(|byte| *byte == b'\n').filter(names_one).map(<[u8]>::to_vec).collect()
}

/// Gives the ghosts the indices of their processes.
fn number(seen: &[Sighting], undecided: &[(ProcessKey, Option<Reason>)], processes: &[Process]) -> GhostScan {
    let known = processes.iter().zip(0..).map(|(process, index)| (process.key, ProcessIndex(index)));
    let known: HashMap<ProcessKey, ProcessIndex> = known.collect();
    let ghost = |Sighting { who, link, over }: &Sighting| {
        let holding = Holding { inode: Inode::new(link.inode)?, process: *known.get(&who.key)?, fd: link.fd };
        let Over { end, local, untouched, silent_for } = *over;
        Some(Ghost { holding, end, local, untouched, silent_for })
    };
    let mut ghosts: Vec<Ghost> = seen.iter().filter_map(ghost).collect();
    ghosts.sort_by_key(|ghost| (ghost.holding.process, ghost.holding.fd));
    let undecided: BTreeSet<ProcessIndex> = undecided.iter().filter_map(|(key, _)| known.get(key).copied()).collect();
    GhostScan { ghosts, undecided: undecided.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::policy::Policy;

    #[test]
    fn few_ghosts_are_fewer_than_the_policy_finds_fault_with() {
        let levels = Policy::default().ghosts;
        assert_eq!(levels.grade_count(FEW as u64 - 1), None);
        assert!(levels.grade_count(FEW as u64).is_some());
    }
}
