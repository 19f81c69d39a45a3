//! From the number of a cgroup to its path: which unit, container or pod a socket was made in whose process is hidden.
//!
//! The number that sock_diag gives of a socket is the inode of a directory in the cgroup2 file system (kernel `cgroup_id`,
//! `include/linux/cgroup.h`), and anybody may list these. So the tree is walked from above, where the units are, until every
//! number is found.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::Deadline;
use super::cgroup::parse_placement;
use super::netns_mounts::unescape;
use super::proc_dir::{BUFFER_BYTES, ProcRoot, is_gone};
use super::sysctl::gap;
use crate::model::snapshot::{Cgroup, Gap, Hides};
use crate::model::socket::{CgroupId, SocketRecord};

/// The root of the whole hierarchy (kernel `kernfs_create_root`): in it are the processes that belong to no unit, and all
/// sockets of a host that does not use cgroup2.
const ROOT: u64 = 1;

/// A node of Kubernetes with as many pods as it takes has some thousand; a host that has more is one where something leaks
/// cgroups.
const MOST_DIRECTORIES: usize = 16_384;

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Whether the cgroup of the socket may be that of a unit.
pub(super) fn may_name_a_unit(socket: &SocketRecord) -> bool {
    socket.cgroup.is_some_and(|cgroup| cgroup.get() != ROOT)
}

/// Finds the cgroups with these numbers, of which so many sockets are; what could not be found is a gap.
pub(super) fn find(wanted: BTreeMap<CgroupId, u64>, deadline: Deadline, gaps: &mut Vec<Gap>) -> Vec<Cgroup> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut search = Search { wanted, found: Vec::new(), why: None };
    match open_tree() {
        Ok(tree) => search.walk(&tree, deadline),
        Err(why) => search.why = Some(why),
    }
    gaps.extend(search.gap());
    search.found.sort_unstable_by_key(|cgroup| cgroup.id);
    search.found
}

/// A cgroup2 file system, or the part of it that is mounted here.
struct Tree {
    root: OwnedFd,
    /// The path of its uppermost directory in the hierarchy; `/` but for a part of it.
    above: PathBuf,
    mounted_on: PathBuf,
}

/// What is looked for, and what was found.
struct Search {
    /// Not found yet, with how many sockets each has.
    wanted: BTreeMap<CgroupId, u64>,
    found: Vec<Cgroup>,
    /// Why not all of the tree was seen.
    why: Option<String>,
}

impl Search {
    /// Walks breadth-first: units lie near the root, and what a unit keeps below itself is its own.
    fn walk(&mut self, tree: &Tree, deadline: Deadline) {
        let top = rustix::fs::fstat(&tree.root).map_or(0, |status| status.st_ino);
        self.meet(top, &tree.above);
        let mut ahead = VecDeque::from([PathBuf::new()]);
        let mut n_met = 0;
        while let Some(path) = ahead.pop_front()
            && !self.wanted.is_empty()
        {
            if deadline.has_passed() {
                self.why = Some("the deadline passed before all cgroups were looked at".to_owned());
                return;
            }
            match children(&tree.root, &path) {
                Ok(below) => {
                    n_met += below.len();
                    for child in below {
                        self.meet(child.inode, &tree.above.join(&child.path));
                        ahead.extend(child.has_children.then_some(child.path));
                    }
                }
                Err(error) if is_gone(error) => {}
                Err(error) => {
                    let at = tree.mounted_on.join(&path).display().to_string();
                    self.why.get_or_insert_with(|| format!("{at}: {}", std::io::Error::from(error)));
                }
            }
            if n_met > MOST_DIRECTORIES {
                self.why = Some(format!("there are more than {MOST_DIRECTORIES} cgroups"));
                return;
            }
        }
        if !self.wanted.is_empty() {
            let place = tree.mounted_on.display();
            self.why.get_or_insert_with(|| {
                format!("it is not in {place}: it was removed, or it belongs to no cgroup that is seen from here")
            });
        }
    }

    fn meet(&mut self, inode: u64, path: &Path) {
        if let Some(id) = CgroupId::new(inode)
            && self.wanted.remove(&id).is_some()
        {
            let placement = parse_placement(&format!("0::{}", path.to_string_lossy()));
            self.found.push(Cgroup { id, placement });
        }
    }

    fn gap(&self) -> Option<Gap> {
        let n_sockets: u64 = self.wanted.values().sum();
        let why = self.why.as_deref().filter(|_| n_sockets > 0)?;
        let what = match n_sockets {
            1 => "the cgroup of 1 socket without a known holder".to_owned(),
            n => format!("the cgroups of {n} sockets without a known holder"),
        };
        Some(Gap { count: n_sockets, ..gap(what, why, Hides::Owners) })
    }
}

/// A directory below another one.
struct Child {
    inode: u64,
    /// Below the root of the tree.
    path: PathBuf,
    has_children: bool,
}

fn children(root: &OwnedFd, path: &Path) -> Result<Vec<Child>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let dir = rustix::fs::openat(root, here, flags, Mode::empty())?;
    let mut found = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(status) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        found.push(Child {
            inode: status.st_ino,
            path: path.join(OsString::from_vec(name.to_bytes().to_vec())),
            // A directory has 2 links and one for each below it (kernel `kernfs_refresh_inode`): to list the leaves would
            // cost ten times as much, for the files in them.
            has_children: status.st_nlink != 2,
        });
    }
    Ok(found)
}

/// Opens the hierarchy where it is mounted, or why that cannot be done.
fn open_tree() -> Result<Tree, String> {
    let mountinfo = ProcRoot::open(Path::new("/proc")).and_then(|root| root.own()?.read("mountinfo"));
    let mountinfo = mountinfo.map_err(|error| format!("/proc/self/mountinfo: {}", std::io::Error::from(error)))?;
    let mut why = "no cgroup2 file system is mounted".to_owned();
    for (above, mounted_on) in parse_cgroup2_mounts(&mountinfo) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&mounted_on, flags, Mode::empty());
        let is_covered = |root: &OwnedFd| {
            rustix::fs::fstatfs(root).is_ok_and(|kind| u64::try_from(kind.f_type).ok() != Some(CGROUP2_MAGIC))
        };
        match opened {
            Ok(root) if is_covered(&root) => why = format!("something is mounted over {}", mounted_on.display()),
            Ok(root) => return Ok(Tree { root, above, mounted_on }),
            Err(error) => why = format!("{}: {}", mounted_on.display(), std::io::Error::from(error)),
        }
    }
    Err(why)
}

/// Where cgroup2 is mounted and which directory of it, whole hierarchies first (`show_mountinfo`, kernel
/// `fs/proc_namespace.c`).
fn parse_cgroup2_mounts(mountinfo: &[u8]) -> Vec<(PathBuf, PathBuf)> {
    let mut mounts: Vec<_> = mountinfo.split(|byte| *byte == b'\n').filter_map(parse_cgroup2_mount).collect();
    mounts.sort_by_key(|(above, _)| above.as_os_str().as_bytes() != b"/");
    mounts
}

/// `30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate`
fn parse_cgroup2_mount(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (above, mounted_on) = (fields.nth(3)?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let path = |text| PathBuf::from(OsString::from_vec(unescape(text)));
    (fields.next()? == b"cgroup2").then(|| (path(above), path(mounted_on)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_goes_before_a_part_of_it() {
        let mountinfo = "\
            22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            31 23 0:26 /system.slice/a\\040b.service /mnt/part rw - cgroup2 cgroup rw\n\
            30 23 0:26 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
            32 23 0:27 / /sys/fs/cgroup/pids rw,relatime shared:5 - cgroup cgroup rw,pids\n\
            33 23\n";
        let mounts = parse_cgroup2_mounts(mountinfo.as_bytes());
        let expected = [("/", "/sys/fs/cgroup/unified"), ("/system.slice/a b.service", "/mnt/part")];
        assert_eq!(mounts, expected.map(|(above, on)| (above.into(), on.into())));
    }

    #[test]
    fn without_ownerless_sockets_nothing_is_looked_for() {
        let mut gaps = Vec::new();
        assert_eq!(find(BTreeMap::new(), Deadline::never(), &mut gaps), []);
        assert_eq!(gaps, []);
    }

    #[test]
    fn what_is_not_there_is_a_gap_of_as_many_sockets() {
        let mut gaps = Vec::new();
        let wanted = BTreeMap::from([
            (CgroupId::new(u64::MAX).expect("not 0"), 2),
            (CgroupId::new(u64::MAX - 1).expect("not 0"), 40),
        ]);
        assert_eq!(find(wanted, Deadline::never(), &mut gaps), []);
        let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
        assert_eq!((gap.what.as_str(), gap.count), ("the cgroups of 42 sockets without a known holder", 42));
        assert!(gap.hides == Hides::Owners && !gap.why.is_empty(), "{gap:?}");
    }

    #[test]
    fn a_deadline_that_has_passed_is_told() {
        let mut gaps = Vec::new();
        let wanted = BTreeMap::from([(CgroupId::new(u64::MAX).expect("not 0"), 1)]);
        let deadline = Deadline::after(std::time::Duration::ZERO);
        assert_eq!(find(wanted, deadline, &mut gaps), []);
        assert_eq!(gaps[0].what, "the cgroup of 1 socket without a known holder");
    }
}
