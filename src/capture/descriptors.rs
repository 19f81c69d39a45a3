//! The sockets behind the descriptors of one process: one readlink per descriptor and nothing else, without an
//! allocation. This is where an attributed look spends its time.
//!
//! `/proc/PID/fd/N` of a socket reads `socket:[INODE]` (proc_pid_fd(5)). To list the directory costs the kernel about a
//! third of what reading its links costs. Since the kernel always hands out the lowest free number, a process with `n`
//! open descriptors has nearly all of them below `n`: these are tried by number, and only those above are listed.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, FileType, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::proc_dir::{BUFFER_BYTES, is_gone, parse_decimal};

/// So many descriptors are one piece of work: a few milliseconds, so that all cores share the table of one process.
const WINDOW: u32 = 1024;
/// `socket:[18446744073709551615]` is 29 bytes long. A longer link is no socket, and it does no harm to cut it off.
const LINK_BYTES: usize = 32;
/// What the link of a ring says (kernel `io_uring_get_file`).
const RING: &[u8] = b"anon_inode:[io_uring]";

/// What is known of a table of descriptors before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableSize {
    /// So many descriptors are open: the size of `/proc/PID/fd`, since Linux 6.2 (kernel `proc_fd_getattr`).
    Open(u64),
    /// The table has so many places: `FDSize` in `/proc/PID/status`.
    Places(u64),
    /// Neither could be read.
    Unknown,
}

/// One piece of a table: these numbers are tried, and those are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    probe: Range<u32>,
    list: Range<u32>,
}

/// A descriptor that refers to a socket of whatever family, or to a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// The N of `socket:[N]` or `net:[N]`.
    pub(super) inode: u64,
    /// The descriptor.
    pub(super) fd: u32,
}

/// What a piece of a table held.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The sockets.
    pub(super) links: Vec<Link>,
    /// The rings of io_uring.
    pub(super) rings: Vec<u32>,
    /// The network namespaces.
    pub(super) namespaces: Vec<Link>,
    /// Descriptors of any kind.
    pub(super) n_open: u64,
    /// What ended the reading early.
    pub(super) error: Option<Errno>,
}

impl TableSize {
    /// The pieces that together hold every descriptor, also those opened since the size was read.
    pub(super) fn windows(self) -> Vec<Window> {
        let (n, probes) = match self {
            Self::Open(n) => (n, true),
            Self::Places(n) => (n, false),
            Self::Unknown => (0, false),
        };
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let piece = |from: u32, to: u32| {
            if probes { Window { probe: from..to, list: to..to } } else { Window { probe: 0..0, list: from..to } }
        };
        let mut windows: Vec<Window> =
            (0..n).step_by(WINDOW as usize).map(|from| piece(from, n.min(from.saturating_add(WINDOW)))).collect();
        match windows.last_mut() {
            Some(last) => last.list.end = u32::MAX,
            None => windows.push(Window { probe: 0..0, list: 0..u32::MAX }),
        }
        windows
    }
}

impl Window {
    /// About how many descriptors it holds: the open end counts as empty.
    pub(super) fn weight(&self) -> u32 {
        let listed = if self.list.end == u32::MAX { 0 } else { self.list.len() };
        self.probe.len() as u32 + listed as u32
    }
}

/// Reads one piece of the table behind `/proc/PID/fd`, which nobody else may be reading through this descriptor.
///
/// A descriptor that is closed meanwhile, and the end of the process, are no errors.
pub(super) fn read_window(dir: BorrowedFd<'_>, window: &Window) -> Found {
    let mut found = Found { links: Vec::with_capacity(window.probe.len()), ..Found::default() };
    let read = probe(dir, window.probe.clone(), &mut found).and_then(|()| list(dir, &window.list, &mut found));
    found.error = read.err().filter(|error| !is_gone(*error));
    found
}

fn probe(dir: BorrowedFd<'_>, numbers: Range<u32>, found: &mut Found) -> Result<(), Errno> {
    for fd in numbers {
        found.read_link(dir, fd, DecInt::new(fd).as_c_str())?;
    }
    Ok(())
}

fn list(dir: BorrowedFd<'_>, numbers: &Range<u32>, found: &mut Found) -> Result<(), Errno> {
    if numbers.is_empty() {
        return Ok(());
    }
    // The position in the directory is the descriptor plus the two entries `.` and `..` (kernel `proc_readfd_common`).
    fs::seek(dir, SeekFrom::Start(u64::from(numbers.start) + 2))?;
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_type() != FileType::Symlink {
            continue;
        }
        let Some(fd) = parse_decimal(entry.file_name().to_bytes()) else { continue };
        if fd >= numbers.end {
            break;
        }
        found.read_link(dir, fd, entry.file_name())?;
    }
    Ok(())
}

impl Found {
    /// Inlined, since a return right after a system call is mispredicted where the kernel clears the return stack: it
    /// made the whole scan slower by a fifth.
    #[inline(always)]
    fn read_link(&mut self, dir: BorrowedFd<'_>, fd: u32, name: &std::ffi::CStr) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::uninit(); LINK_BYTES];
        match fs::readlinkat_raw(dir, name, &mut buffer) {
            Ok((text, _)) => {
                self.n_open += 1;
                if let Some(inode) = parse_link(text, b"socket:[") {
                    self.links.push(Link { inode, fd });
                } else if let Some(inode) = parse_link(text, b"net:[") {
                    self.namespaces.push(Link { inode, fd });
                } else if text == RING {
                    self.rings.push(fd);
                } else if text == b"/" {
                    self.namespaces.extend(detached_namespace(dir, name).map(|inode| Link { inode, fd }));
                }
                Ok(())
            }
            Err(error) if is_gone(error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The inode of a namespace that was opened where it was mounted and is mounted there no more: it reads `/`, as the root
/// directory does (`prepend_path`, kernel `fs/d_path.c`). Of which kind the namespace is shows when it is entered.
#[cold]
fn detached_namespace(dir: BorrowedFd<'_>, name: &std::ffi::CStr) -> Option<u64> {
    let file = fs::statat(dir, name, AtFlags::empty()).ok()?;
    let namespaces = fs::stat("/proc/thread-self/ns/net").ok()?.st_dev;
    (file.st_dev == namespaces).then_some(file.st_ino)
}

/// The N of `socket:[N]` or `net:[N]`.
fn parse_link(text: &[u8], kind: &[u8]) -> Option<u64> {
    parse_decimal(text.strip_prefix(kind)?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, AsRawFd};
    use std::path::Path;

    use super::*;
    use crate::capture::proc_dir::ProcRoot;

    #[test]
    fn only_links_of_one_kind_have_an_inode() {
        assert_eq!(parse_link(b"socket:[18446744073709551615]", b"socket:["), Some(u64::MAX));
        assert_eq!(parse_link(b"net:[4026532281]", b"net:["), Some(4_026_532_281));
        for other in [&b"pipe:[1]"[..], b"net:[1]", b"socket:[]", b"socket:[1", b"socket:[-1]", b"/tmp/socket:[1]", b""]
        {
            assert_eq!(parse_link(other, b"socket:["), None);
        }
    }

    #[test]
    fn a_descriptor_of_a_namespace_is_found() {
        let file = std::fs::File::open("/proc/self/ns/net").expect("our own");
        let dir = ProcRoot::open(Path::new("/proc"))
            .and_then(|root| root.process(std::process::id())?.descriptors())
            .expect("own descriptors");
        let found = read_window(dir.as_fd(), &Window { probe: 0..0, list: 0..u32::MAX });
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("open"));
        assert!(found.namespaces.contains(&Link { inode, fd: file.as_raw_fd() as u32 }), "{found:?}");
    }

    #[test]
    fn the_pieces_cover_every_number_once() {
        let sizes = [
            TableSize::Open(0),
            TableSize::Open(1),
            TableSize::Open(u64::from(WINDOW)),
            TableSize::Open(u64::from(WINDOW) + 1),
            TableSize::Open(28_000),
            TableSize::Open(u64::MAX >> 33),
            TableSize::Places(64),
            TableSize::Places(16_384),
            TableSize::Unknown,
        ];
        for size in sizes {
            let mut next = 0;
            for window in size.windows() {
                for range in [&window.probe, &window.list] {
                    assert!(range.is_empty() || range.start == next, "{size:?}: {window:?}");
                    next = next.max(range.end);
                }
            }
            assert_eq!(next, u32::MAX, "{size:?}");
        }
        assert_eq!(TableSize::Open(28_000).windows().len(), 28);
    }

    #[test]
    fn tried_or_listed_the_same_sockets_are_found() {
        let sockets: Vec<_> = (0..40).map(|_| UdpSocket::bind("127.0.0.1:0").expect("bound")).collect();
        let dir = ProcRoot::open(Path::new("/proc"))
            .and_then(|root| root.process(std::process::id())?.descriptors())
            .expect("own descriptors");
        let mine = |found: Found| {
            assert_eq!(found.error, None);
            let is_mine = |link: &Link| sockets.iter().any(|socket| socket.as_raw_fd() == link.fd as i32);
            let mut links: Vec<Link> = found.links.into_iter().filter(is_mine).collect();
            links.sort_by_key(|link| link.fd);
            links
        };
        let tried = mine(read_window(dir.as_fd(), &Window { probe: 0..4096, list: 4096..u32::MAX }));
        let listed = mine(read_window(dir.as_fd(), &Window { probe: 0..0, list: 0..u32::MAX }));
        assert_eq!((tried.len(), &tried), (40, &listed));
        let middle = listed[10].fd..listed[30].fd;
        let piece = mine(read_window(dir.as_fd(), &Window { probe: 0..0, list: middle.clone() }));
        assert_eq!(piece, listed.into_iter().filter(|link| middle.contains(&link.fd)).collect::<Vec<_>>());
    }
}
