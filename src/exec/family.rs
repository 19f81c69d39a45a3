//! The processes that belong to a command: all that descend from closewatch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

/// This process, whose descendants are looked for.
pub(super) struct Family {
    pid: u32,
    /// The network namespace that it is in.
    netns: Option<u64>,
    /// The sockets that it was given itself: the command may have inherited them, and did not leak them.
    pub(super) inherited: HashSet<u64>,
}

/// Members of the family that are in one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Household {
    pub(super) pids: Vec<u32>,
    /// Whether the namespace is that of closewatch.
    pub(super) at_home: bool,
}

impl Family {
    pub(super) fn of_this_process() -> Self {
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        let inherited = links.filter_map(|link| number_in(&link, "socket:[")).collect();
        Self { pid: std::process::id(), netns: read_netns("self"), inherited }
    }

    /// Who descends from this process now, by network namespace. One whose namespace cannot be read is taken to be at home:
    /// it is a descendant, and most are.
    pub(super) fn members(&self) -> Vec<Household> {
        let mut households: BTreeMap<Option<u64>, Vec<u32>> = BTreeMap::new();
        for pid in descendants(self.pid, &read_parents()) {
            let netns = read_netns(&pid.to_string()).or(self.netns);
            households.entry(netns).or_default().push(pid);
        }
        let household = |(netns, pids)| Household { pids, at_home: netns == self.netns };
        households.into_iter().map(household).collect()
    }
}

/// The parent of every process that can be seen.
fn read_parents() -> HashMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// The fourth field of `/proc/PID/stat`. The second is a name in parentheses, which may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(ancestor: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let descends = |pid: u32| {
        let mut at = pid;
        // A table that was read while processes came and went may have a circle.
        for _ in 0..parents.len() {
            match parents.get(&at) {
                Some(parent) if *parent == ancestor => return true,
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    let mut pids: Vec<u32> = parents.keys().copied().filter(|pid| descends(*pid)).collect();
    pids.sort_unstable();
    pids
}

fn read_netns(process: &str) -> Option<u64> {
    number_in(&fs::read_link(format!("/proc/{process}/ns/net")).ok()?, "net:[")
}

fn number_in(link: &Path, before: &str) -> Option<u64> {
    link.to_str()?.strip_prefix(before)?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_generations_and_circles_end() {
        let parents = [(2, 1), (10, 2), (11, 10), (12, 11), (20, 1), (30, 31), (31, 30)].into_iter().collect();
        assert_eq!(descendants(2, &parents), [10, 11, 12]);
        assert_eq!(descendants(99, &parents), Vec::<u32>::new());
    }

    #[test]
    fn a_name_cannot_forge_a_parent() {
        assert_eq!(parent_in("77 (a) R 1 (b) S 42 77 77"), Some(42));
        assert_eq!(parent_in("77 (a"), None);
    }

    #[test]
    fn a_child_is_found_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pids: Vec<u32> =
            Family::of_this_process().members().into_iter().flat_map(|household| household.pids).collect();
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(pids.contains(&child.id()) && !pids.contains(&std::process::id()) && !pids.contains(&1), "{pids:?}");
    }
}
