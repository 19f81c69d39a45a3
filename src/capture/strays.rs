//! Sockets that a process holds without a descriptor: registered with io_uring, or in flight to another process.
//!
//! They are looked for only when a table lists a socket that no link refers to, and in few places: what a ring holds is listed
//! by its `fdinfo` (kernel `io_uring_show_fdinfo`), and a UNIX socket tells there how many descriptors wait in its receive
//! queue (`scm_fds`, kernel `unix_show_fdinfo`), though not which.

use std::collections::HashSet;

use super::descriptors::Link;
use super::dump::Walker;
use super::proc_dir::{ProcRoot, parse_decimal};
use super::procfs::Holder;
use super::{Deadline, netns};
use crate::attribution::NumberSet;
use crate::model::snapshot::{Gap, Hides};
use crate::model::socket::NetNsIndex;
use crate::model::text::printable;
use crate::model::wording::{count, counted};

/// So many UNIX sockets in which something waits are asked for descriptors: about 10 ms.
const MOST_ASKED: usize = 1_024;

/// Finds those of the wanted sockets that no link refers to. What is registered with io_uring becomes a link of its holder,
/// whose descriptor is that of the ring; the gap tells of what may be in flight.
pub(super) fn find(root: &ProcRoot, holders: &mut [Holder], wanted: &NumberSet, deadline: Deadline) -> Option<Gap> {
    let mut ownerless = without_links(holders, wanted);
    if ownerless.is_empty() || deadline.has_passed() {
        return None;
    }
    for holder in holders.iter_mut() {
        let registered = registered(root, holder);
        let registered: Vec<Link> = registered.into_iter().filter(|link| ownerless.contains(&link.inode)).collect();
        holder.links.extend(registered);
    }
    for link in holders.iter().flat_map(|holder| &holder.links) {
        ownerless.remove(&link.inode);
    }
    if ownerless.is_empty() { None } else { gap(ownerless.len() as u64, &in_flight(root, holders, deadline)) }
}

/// The sockets that nobody was seen to hold.
fn without_links(holders: &[Holder], wanted: &NumberSet) -> HashSet<u64> {
    let mut linked = wanted.for_members();
    for link in holders.iter().flat_map(|holder| &holder.links).filter(|link| wanted.contains(link.inode)) {
        linked.insert(link.inode);
    }
    if linked.len() == wanted.len() {
        return HashSet::new();
    }
    wanted.members().into_iter().filter(|inode| !linked.contains(*inode)).collect()
}

/// The sockets that are registered with the rings of the process.
fn registered(root: &ProcRoot, holder: &Holder) -> Vec<Link> {
    let mut links = Vec::new();
    for ring in &holder.rings {
        let info = fdinfo(root, holder, *ring).unwrap_or_default();
        links.extend(parse_registered(&info).map(|inode| Link { inode, fd: *ring }));
    }
    links
}

/// How many descriptors wait in the receive queues of which processes.
fn in_flight<'a>(root: &ProcRoot, holders: &'a [Holder], deadline: Deadline) -> Vec<(&'a Holder, u64)> {
    let waited_for = waited_for(root, holders, deadline);
    let is_asked = |link: &&Link| waited_for.contains(&link.inode);
    let asked =
        holders.iter().flat_map(|holder| holder.links.iter().filter(is_asked).map(move |link| (holder, link.fd)));
    let mut found: Vec<(&Holder, u64)> = Vec::new();
    for (holder, fd) in asked.take(MOST_ASKED) {
        let waiting = fdinfo(root, holder, fd).and_then(|info| parse_in_flight(&info)).unwrap_or(0);
        match found.last_mut().filter(|(last, _)| last.identity.key == holder.identity.key) {
            Some((_, sum)) => *sum += waiting,
            None if waiting > 0 => found.push((holder, waiting)),
            None => {}
        }
    }
    found
}

/// The UNIX sockets in whose receive queues something waits, of every namespace that may be entered and has a holder.
fn waited_for(root: &ProcRoot, holders: &[Holder], deadline: Deadline) -> HashSet<u64> {
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut inodes = HashSet::new();
    for holder in holders {
        let pid = holder.target.pid;
        let Ok(netns) = root.process(pid).and_then(|dir| dir.link("ns/net")) else { continue };
        if deadline.has_passed() || !seen.insert(netns) {
            continue;
        }
        let dump = || Walker::open(NetNsIndex(0), deadline).and_then(|mut walker| walker.dump_unix());
        let sockets = netns::enter_netns_of(pid, dump).into_iter().flatten().flatten();
        inodes.extend(sockets.filter(|socket| socket.is_waited_for).map(|socket| socket.inode));
    }
    inodes
}

/// `None` when it is gone or cannot be read: then it explains nothing.
fn fdinfo(root: &ProcRoot, holder: &Holder, fd: u32) -> Option<String> {
    let dir = root.process(holder.target.pid).ok()?;
    let name = match holder.target.thread {
        Some(tid) => format!("task/{tid}/fdinfo/{fd}"),
        None => format!("fdinfo/{fd}"),
    };
    dir.read(&name).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The sockets among the registered files: lines such as `    0: socket:[123]`.
fn parse_registered(fdinfo: &str) -> impl Iterator<Item = u64> + '_ {
    fdinfo.lines().filter_map(|line| {
        let (place, file) = line.trim_start().split_once(": ")?;
        parse_decimal::<u64>(place.as_bytes())?;
        parse_decimal(file.strip_prefix("socket:[")?.strip_suffix(']')?.as_bytes())
    })
}

fn parse_in_flight(fdinfo: &str) -> Option<u64> {
    parse_decimal(fdinfo.lines().find_map(|line| line.strip_prefix("scm_fds:"))?.trim().as_bytes())
}

fn gap(n_ownerless: u64, in_flight: &[(&Holder, u64)]) -> Option<Gap> {
    let ((first, _), others) = in_flight.split_first()?;
    let waiting: u64 = in_flight.iter().map(|(_, waiting)| waiting).sum();
    let name = format!("{}[{}]", printable(&first.identity.name), first.target.pid);
    let more = match others.len() as u64 {
        0 => String::new(),
        n => format!(" and {}", counted(n, "other process", "other processes")),
    };
    Some(Gap {
        what: format!("who holds {}", counted(n_ownerless, "socket", "sockets")),
        why: format!(
            "{} in flight (SCM_RIGHTS) to {name}{more}, which {} not received yet",
            match waiting {
                1 => "a descriptor is".to_owned(),
                n => format!("{} descriptors are", count(n)),
            },
            if others.is_empty() { "has" } else { "have" }
        ),
        hides: Hides::Owners,
        count: n_ownerless.min(waiting),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_sockets_are_read_from_the_lines_of_a_ring() {
        // Recorded on Linux 6.18.
        let ring = "pos:\t0\nflags:\t02000002\nSqMask:\t0x7\nUserFiles:\t3\n    0: socket:[14943805]\n    1: <none>\n    \
                    2: /dev/null\n    3: socket:[14943909]\nUserBufs:\t0\nPollList:\n";
        assert_eq!(parse_registered(ring).collect::<Vec<_>>(), [14_943_805, 14_943_909]);
        assert_eq!(parse_registered("ino:\t7\nx: socket:[1]\n 0: socket:[1\n").count(), 0);
    }

    #[test]
    fn descriptors_in_flight_are_counted() {
        assert_eq!(parse_in_flight("pos:\t0\nino:\t14944608\nscm_fds: 2\n"), Some(2));
        assert_eq!(parse_in_flight("pos:\t0\n"), None);
    }
}
