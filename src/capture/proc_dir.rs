//! `/proc`, and the directory of one process held open.
//!
//! Everything about a process is read below one descriptor of its directory: that stays the directory of this very
//! process, so what is read can never be of a later process with the same number. After its end every read fails with
//! ESRCH or ENOENT.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, RawDir};
use rustix::io::Errno;
use rustix::path::DecInt;

/// The size of the buffers that directory entries and small files are read into.
pub(super) const BUFFER_BYTES: usize = 8 * 1024;

/// A mounted `/proc`.
#[derive(Debug)]
pub(super) struct ProcRoot(OwnedFd);

/// The directory of a process or of one of its threads.
#[derive(Debug)]
pub(super) struct ProcessDir(OwnedFd);

impl ProcRoot {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it cannot be opened; ENODEV when it is not a proc file system.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let dir = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let kind = fs::fstatfs(&dir)?.f_type;
        if kind == PROC_SUPER_MAGIC { Ok(Self(dir)) } else { Err(Errno::NODEV) }
    }

    /// The processes that this `/proc` shows.
    pub(super) fn pids(&self) -> Result<Vec<u32>, Errno> {
        numbers_in(&self.0)
    }

    /// Opens the directory of this process, whatever number it has here.
    pub(super) fn own(&self) -> Result<ProcessDir, Errno> {
        open_path(&self.0, "self").map(ProcessDir)
    }

    /// Opens the directory of a process.
    pub(super) fn process(&self, pid: u32) -> Result<ProcessDir, Errno> {
        open_path(&self.0, DecInt::new(pid)).map(ProcessDir)
    }
}

impl ProcessDir {
    /// Opens the directory of one of its threads.
    pub(super) fn thread(&self, tid: u32) -> Result<Self, Errno> {
        open_path(&self.0, format!("task/{tid}").as_str()).map(Self)
    }

    /// Its threads.
    pub(super) fn tids(&self) -> Result<Vec<u32>, Errno> {
        numbers_in(fs::openat(&self.0, "task", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Opens the directory of its descriptors.
    pub(super) fn descriptors(&self) -> Result<OwnedFd, Errno> {
        fs::openat(&self.0, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens its executable, also one that was deleted or lies in a container.
    pub(super) fn executable(&self) -> Result<OwnedFd, Errno> {
        fs::openat(&self.0, "exe", OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
    }

    /// The whole of a small file.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let file = fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(BUFFER_BYTES / 4);
        loop {
            text.reserve(BUFFER_BYTES / 8);
            if rustix::io::read(&file, spare_capacity(&mut text))? == 0 {
                return Ok(text);
            }
        }
    }

    /// The first bytes of a file: at least one line of most.
    pub(super) fn begin(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let file = fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::with_capacity(256);
        rustix::io::read(&file, spare_capacity(&mut text))?;
        Ok(text)
    }

    /// Opens its root directory, which may be that of a container.
    pub(super) fn root(&self) -> Result<OwnedFd, Errno> {
        open_path(&self.0, "root")
    }

    /// What a link says.
    pub(super) fn link(&self, name: &str) -> Result<Vec<u8>, Errno> {
        Ok(fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// The status of a file below it, through a link.
    pub(super) fn status_of(&self, name: &str) -> Result<fs::Stat, Errno> {
        fs::statat(&self.0, name, AtFlags::empty())
    }

    /// Whether there is a file of this path below it.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        fs::statat(&self.0, path, AtFlags::empty()).is_ok()
    }

    /// The status of the directory itself. Its owner is the effective user of the process, also of one that forbids
    /// to be read (kernel `task_dump_owner`).
    pub(super) fn status(&self) -> Result<fs::Stat, Errno> {
        fs::fstat(&self.0)
    }
}

fn open_path(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    fs::openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn numbers_in(dir: impl AsFd) -> Result<Vec<u32>, Errno> {
    let mut numbers = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_type() == FileType::Directory {
            numbers.extend(parse_decimal::<u32>(entry.file_name().to_bytes()));
        }
    }
    Ok(numbers)
}

/// A number written with decimal digits only.
pub(super) fn parse_decimal<N: TryFrom<u64>>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    });
    N::try_from(number?).ok()
}

/// Whether the error says that the process (or the descriptor) is no more.
pub(super) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::SRCH)
}

/// Whether the error is a refusal.
pub(super) fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::PERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_make_a_number() {
        assert_eq!(parse_decimal::<u64>(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_decimal::<u64>(b"18446744073709551616"), None);
        assert_eq!(parse_decimal::<u32>(b"4294967296"), None);
        assert_eq!(
            (parse_decimal::<u32>(b""), parse_decimal::<u32>(b"+1"), parse_decimal::<u32>(b"1x")),
            (None, None, None)
        );
    }

    #[test]
    fn a_directory_that_is_not_proc_is_refused() {
        let empty = tempfile::tempdir().expect("a directory");
        assert_eq!(ProcRoot::open(empty.path()).map(|_| ()), Err(Errno::NODEV));
        assert_eq!(ProcRoot::open(&empty.path().join("none")).map(|_| ()), Err(Errno::NOENT));
    }

    #[test]
    fn this_process_is_found_and_reads_its_own_files() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let pid = std::process::id();
        assert!(root.pids().expect("listed").contains(&pid));
        let process = root.process(pid).expect("opened");
        assert!(process.read("stat").expect("read").starts_with(format!("{pid} (").as_bytes()));
        assert_eq!(process.read("nothing").map_err(is_gone), Err(true));
        assert!(process.tids().expect("listed").contains(&pid));
    }
}
