//! Where a network namespace is, and every way into it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::netns::move_this_thread;
use super::proc_dir::{is_gone, is_refusal};
use super::sysctl::reason;

/// A process, or one of its threads, that is in the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Task {
    /// The process.
    pub(super) pid: u32,
    /// The thread; `None` for the first.
    pub(super) thread: Option<u32>,
}

impl Task {
    /// Its directory in `/proc`.
    pub(super) fn dir(&self) -> PathBuf {
        match self.thread {
            None => PathBuf::from(format!("/proc/{}", self.pid)),
            Some(tid) => PathBuf::from(format!("/proc/{}/task/{tid}", self.pid)),
        }
    }
}

/// A way into a namespace that no task may be left for.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// It is mounted on this path below that root directory, which may be that of a container.
    Mounted {
        /// The root directory of a process that sees the mount; it stays reachable when the process ends.
        root: Arc<OwnedFd>,
        /// The mount point, from there.
        path: PathBuf,
    },
    /// It is mounted on this path, as this process sees it, whose root directory may not be opened.
    Closed {
        /// The process.
        pid: u32,
        /// The mount point.
        path: PathBuf,
    },
    /// A task has this descriptor of it.
    Descriptor(Task, u32),
}

impl Way {
    fn open(&self) -> io::Result<File> {
        // Something else may lie where the namespace was: it must neither block nor become a terminal.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self {
            Self::Mounted { root, path } => {
                fs::openat(root, path.strip_prefix("/").unwrap_or(path), flags, Mode::empty())
            }
            Self::Closed { pid, .. } => fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()),
            Self::Descriptor(task, fd) => fs::open(task.dir().join("fd").join(fd.to_string()), flags, Mode::empty()),
        };
        Ok(opened.map(File::from)?)
    }
}

/// A network namespace as it was found: who is in it, and the ways into it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Its inode in nsfs. `None` when nobody would tell; there are tasks then.
    pub(super) inode: Option<u64>,
    /// The inode of its `/proc/net/sockstat`, which anybody may read and which no two namespaces share, of a namespace
    /// that has no other number.
    pub(super) text_id: Option<u64>,
    /// The tasks in it, ascending.
    pub(super) tasks: Vec<Task>,
    /// Ways into it beside those through its tasks.
    pub(super) ways: Vec<Way>,
    /// The name that `ip netns` knows it by.
    pub(super) ip_name: Option<String>,
    /// Whether it is that of this program.
    pub(super) is_own: bool,
}

/// Why a namespace was not entered.
#[derive(Debug)]
pub(super) enum Closed {
    /// The kernel said so, of the best way there was.
    Error(io::Error),
    /// All that led to it is gone.
    Gone,
}

/// Of many tasks, so many are tried: the others would say the same.
pub(super) const TASKS_TRIED: usize = 4;

impl Place {
    /// The namespace of this process.
    pub(super) fn own(inode: Option<u64>) -> Self {
        Self { inode, is_own: true, ..Self::default() }
    }

    /// Moves the calling thread into the namespace, by the first way that leads there.
    ///
    /// Only for a thread that ends with its errand: it does not come back.
    pub(super) fn enter(&self) -> Result<(), Closed> {
        let mut closed = Closed::Gone;
        for task in self.tasks.iter().take(TASKS_TRIED) {
            let opened = File::open(task.dir().join("ns/net"));
            match opened.and_then(|file| move_this_thread(&file, self.inode)) {
                Ok(()) => return Ok(()),
                // The task went elsewhere.
                Err(error) if is(&error, |errno| errno == Errno::STALE) => {}
                Err(error) => closed = closed.or_rather(error),
            }
        }
        for way in &self.ways {
            match way.open().and_then(|file| move_this_thread(&file, self.inode)) {
                Ok(()) => return Ok(()),
                // A namespace of another kind.
                Err(error) if is(&error, |errno| errno == Errno::INVAL) => {}
                Err(error) => closed = closed.or_rather(error),
            }
        }
        Err(closed)
    }

    /// Does the errand in the namespace: where the calling thread is when that is its own, else on a thread that goes there.
    /// Sockets that the errand opens stay in that namespace.
    ///
    /// # Panics
    /// When the errand does.
    pub(super) fn visit<T: Send>(&self, errand: impl FnOnce() -> T + Send) -> Result<T, Closed> {
        if self.is_own {
            return Ok(errand());
        }
        thread::scope(|scope| {
            let visit = move || self.enter().map(|()| errand());
            match thread::Builder::new().name("visitor".to_owned()).spawn_scoped(scope, visit) {
                Ok(visitor) => visitor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(error) => Err(Closed::Error(error)),
            }
        })
    }

    /// Where the text tables of the namespace can be read from outside, in the order to try.
    pub(super) fn net_dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.tasks.iter().take(TASKS_TRIED).map(|task| task.dir().join("net"))
    }
}

impl Closed {
    /// Why, with the capability that is missing: `operation not permitted; needs CAP_SYS_ADMIN`.
    pub(super) fn why(&self) -> String {
        let needs = |errno| match errno {
            // setns(2).
            Some(Errno::PERM) => "; needs CAP_SYS_ADMIN",
            // The way there leads through a process of another user: ptrace(2), PTRACE_MODE_READ.
            Some(Errno::ACCESS) => "; needs CAP_SYS_PTRACE and CAP_SYS_ADMIN",
            _ => "",
        };
        match self {
            Self::Error(error) => format!("{}{}", reason(error), needs(Errno::from_io_error(error))),
            Self::Gone => "all that led to it is gone".to_owned(),
        }
    }

    /// A refusal says more than any other error, and any error more than that something is gone.
    fn or_rather(self, error: io::Error) -> Self {
        match self {
            _ if is(&error, is_gone) => self,
            Self::Error(earlier) if is(&earlier, is_refusal) || !is(&error, is_refusal) => Self::Error(earlier),
            _ => Self::Error(error),
        }
    }
}

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Error(error) => error,
            Closed::Gone => io::ErrorKind::NotFound.into(),
        }
    }
}

fn is(error: &io::Error, kind: impl FnOnce(Errno) -> bool) -> bool {
    Errno::from_io_error(error).is_some_and(kind)
}

/// The number by which the text tables of one namespace are told from those of another: each namespace has files of its
/// own in `/proc/net` (`proc_net_ns_init`, kernel `fs/proc/proc_net.c`). `None` when it cannot be read.
pub(super) fn read_text_id(net_dir: &Path) -> Option<u64> {
    fs::stat(net_dir.join("sockstat")).ok().map(|status| status.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_what_is_told() {
        let error = |errno: Errno| io::Error::from(errno);
        let told =
            |errors: &[Errno]| match errors.iter().fold(Closed::Gone, |told, errno| told.or_rather(error(*errno))) {
                Closed::Gone => None,
                Closed::Error(error) => Errno::from_io_error(&error),
            };
        assert_eq!(told(&[Errno::NOENT, Errno::SRCH]), None);
        assert_eq!(told(&[Errno::NOENT, Errno::PERM, Errno::INVAL]), Some(Errno::PERM));
        assert_eq!(told(&[Errno::INVAL, Errno::ACCESS, Errno::NOENT]), Some(Errno::ACCESS));
        assert_eq!(told(&[Errno::INVAL, Errno::NOENT]), Some(Errno::INVAL));
    }
}
