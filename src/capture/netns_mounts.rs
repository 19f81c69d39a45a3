//! Network namespaces that are mounted on files: as `ip netns`, container runtimes and CNI keep them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::place::Way;
use super::proc_dir::{ProcRoot, ProcessDir, is_refusal, parse_decimal};

/// Where `ip netns` keeps the namespaces that it names (`NETNS_RUN_DIR`, iproute2 `include/namespace.h`), and where the
/// same directory is found on hosts without the link.
const IP_NETNS_DIRS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// A namespace that something lies on.
#[derive(Debug)]
pub(super) struct Mounted {
    /// Its inode.
    pub(super) inode: u64,
    /// The way into it.
    pub(super) way: Way,
    /// Its name, when it lies where `ip netns` keeps them.
    pub(super) ip_name: Option<String>,
}

/// What tells apart what different processes see mounted: their mount namespace and their root directory in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    /// The inodes of both, and the device of the root directory.
    Told {
        /// Of the mount namespace.
        mounts: u64,
        /// Of the root directory.
        root: (u64, u64),
    },
    /// The number of the first mount that is shown to it: every mount has one of its own, in all namespaces.
    FirstMount(u64),
}

/// Processes by what they see mounted, one of each.
pub(super) type Views = BTreeMap<View, u32>;

/// What the process sees mounted. `None` when it is gone, or when nothing of it may be read.
pub(super) fn view_of(dir: &ProcessDir) -> Option<View> {
    match dir.link("ns/mnt") {
        Ok(link) => {
            let mounts = parse_decimal(link.strip_prefix(b"mnt:[")?.strip_suffix(b"]")?)?;
            let root = dir.status_of("root").ok()?;
            Some(View::Told { mounts, root: (root.st_dev, root.st_ino) })
        }
        // What is mounted may be read of any process, though not where.
        Err(error) if is_refusal(error) => {
            let begin = dir.begin("mountinfo").ok()?;
            parse_decimal(begin.split(|byte| *byte == b' ').next()?).map(View::FirstMount)
        }
        Err(_) => None,
    }
}

/// Reads what one process sees mounted.
///
/// # Errors
/// When that is refused. A process that is gone shows nothing.
pub(super) fn read_mounted(root: &ProcRoot, pid: u32) -> Result<Vec<Mounted>, Errno> {
    let Ok(dir) = root.process(pid) else { return Ok(Vec::new()) };
    let text = match dir.read("mountinfo") {
        Err(error) if is_refusal(error) => return Err(error),
        text => text.unwrap_or_default(),
    };
    let mounts = parse_nsfs_mounts(&text);
    if mounts.is_empty() {
        return Ok(Vec::new());
    }
    let seen_from = match dir.root() {
        Ok(seen_from) => Arc::new(seen_from),
        // A way that may not be taken: whoever tries it says why.
        Err(_) => return Ok(mounts.into_iter().map(|mount| through_closed_root(pid, mount)).collect()),
    };
    let mounted = |(inode, path): (u64, PathBuf)| Mounted {
        inode,
        ip_name: ip_name_of(&path),
        way: Way::Mounted { root: Arc::clone(&seen_from), path },
    };
    Ok(mounts.into_iter().map(mounted).collect())
}

fn through_closed_root(pid: u32, (inode, path): (u64, PathBuf)) -> Mounted {
    Mounted { inode, ip_name: ip_name_of(&path), way: Way::Closed { pid, path } }
}

/// Reads the directory of `ip netns` as this program sees it, for what is no mount there: links to `/proc/PID/ns/net` are
/// made by hand for containers.
pub(super) fn read_ip_netns(nsfs_device: u64) -> Vec<Mounted> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open("/", flags, Mode::empty()).map(Arc::new) else { return Vec::new() };
    let mut found = Vec::new();
    for dir in IP_NETNS_DIRS {
        // That it is missing or closed is how it is on most hosts; what it names is found in other ways too.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let namespace = std::fs::metadata(&path).ok().filter(|file| file.dev() == nsfs_device);
            found.extend(namespace.map(|file| Mounted {
                inode: file.ino(),
                ip_name: ip_name_of(&path),
                way: Way::Mounted { root: Arc::clone(&root), path },
            }));
        }
    }
    found
}

fn ip_name_of(path: &Path) -> Option<String> {
    let dir = path.parent()?.to_str()?;
    IP_NETNS_DIRS.contains(&dir).then(|| path.file_name().map(|name| name.to_string_lossy().into_owned())).flatten()
}

/// The network namespaces among the mounts, and where they lie (`show_mountinfo`, kernel `fs/proc_namespace.c`).
fn parse_nsfs_mounts(mountinfo: &[u8]) -> Vec<(u64, PathBuf)> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse_nsfs_mount).collect()
}

/// `301 24 0:4 net:[4026532281] /run/netns/blue rw shared:5 - nsfs nsfs rw`
fn parse_nsfs_mount(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (root, path) = (fields.nth(3)?, fields.next()?);
    let inode = parse_decimal(root.strip_prefix(b"net:[")?.strip_suffix(b"]")?)?;
    fields.find(|field| *field == b"-")?;
    let is_nsfs = fields.next()? == b"nsfs";
    is_nsfs.then(|| (inode, PathBuf::from(std::ffi::OsString::from_vec(unescape(path)))))
}

/// Undoes `mangle()` (kernel `fs/proc_namespace.c`): blanks, tabs, newlines and backslashes are written in octal.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| digits.iter().all(|digit| matches!(digit, b'0'..=b'7')));
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form of Linux 6.18.
    const MOUNTINFO: &str = "\
        22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        301 24 0:4 net:[4026532281] /run/netns/blue rw shared:5 - nsfs nsfs rw\n\
        302 24 0:4 net:[4026532282] /var/run/netns/cni-1a rw master:3 propagate_from:2 - nsfs nsfs rw\n\
        303 24 0:4 net:[4026532283] /run/docker/netns/1\\0402 rw - nsfs nsfs rw\n\
        304 24 0:4 mnt:[4026532284] /run/snapd/ns/lxd.mnt rw - nsfs nsfs rw\n\
        305 24 0:50 net:[4026532285] /mnt rw - ext4 nsfs rw\n\
        306 24 0:4 net:[402 /mnt rw - nsfs nsfs rw\n\
        307 24 0:4\n";

    #[test]
    fn network_namespaces_are_found_among_the_mounts() {
        let mounts = parse_nsfs_mounts(MOUNTINFO.as_bytes());
        let expected = [
            (4_026_532_281, "/run/netns/blue", Some("blue")),
            (4_026_532_282, "/var/run/netns/cni-1a", Some("cni-1a")),
            (4_026_532_283, "/run/docker/netns/1 2", None),
        ];
        let seen: Vec<_> = mounts.iter().map(|(inode, path)| (*inode, path.to_str(), ip_name_of(path))).collect();
        assert_eq!(seen, expected.map(|(inode, path, name)| (inode, Some(path), name.map(str::to_owned))));
    }

    #[test]
    fn only_whole_escapes_are_undone() {
        assert_eq!(unescape(b"a\\040b\\134\\12"), b"a b\\\\12");
        assert_eq!(unescape(b"\\999\\777"), b"\\999\\777");
    }

    #[test]
    fn a_process_sees_the_mounts_that_it_sees() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let own = root.own().expect("opened");
        assert!(matches!(view_of(&own), Some(View::Told { .. })));
        let first = own.begin("mountinfo").expect("read");
        assert!(own.read("mountinfo").expect("read").starts_with(&first), "{}", String::from_utf8_lossy(&first));
        assert!(read_mounted(&root, std::process::id()).is_ok());
    }
}
