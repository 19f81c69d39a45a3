//! Everything about one process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use procfs::process::{LimitValue, Limits, Stat, StatFlags};
use procfs::{FromBufRead, FromRead};
use rustix::io::Errno;

use super::cgroup::parse_placement;
use super::proc_dir::{ProcRoot, ProcessDir, is_gone, parse_decimal};
use super::process_gaps::{Reason, Thing, Unread};
use super::runtime::read_runtime;
use super::users::Users;
use crate::model::process::{Placement, Process, ProcessKey, Runtime};
use crate::model::selection::Selection;

/// Who a process is, and what it calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Number and start.
    pub(super) key: ProcessKey,
    /// `comm`, as the process set it.
    pub(super) name: String,
    /// Whether it is a thread of the kernel, which has no descriptors.
    pub(super) is_kernel_thread: bool,
    /// Whether its first thread is ending or has ended: its files pass to root before they are closed.
    pub(super) is_ending: bool,
}

/// Reads `stat`. `None` when the process is gone.
pub(super) fn read_identity(dir: &ProcessDir, pid: u32) -> Result<Option<Identity>, Reason> {
    let text = match dir.read("stat") {
        Ok(text) => text,
        Err(error) if is_gone(error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = Stat::from_read(text.as_slice()).map_err(|_| Reason::Malformed)?;
    let has = |flag: StatFlags| stat.flags & flag.bits() != 0;
    Ok(Some(Identity {
        key: ProcessKey { pid, start_ticks: stat.starttime },
        is_kernel_thread: has(StatFlags::PF_KTHREAD),
        is_ending: has(StatFlags::PF_EXITING) || matches!(stat.state, 'Z' | 'X'),
        name: stat.comm,
    }))
}

/// A process of which no more than its identity is known.
pub(super) fn bare_process(identity: Identity) -> Process {
    Process {
        key: identity.key,
        name: identity.name,
        started_at: None,
        exe: None,
        uid: None,
        user: None,
        placement: None,
        netns: None,
        fds_open: None,
        fds_limit: None,
        runtime: Runtime::Unknown,
    }
}

/// Describes processes, and remembers what many of them share: the runtime of an executable, what a cgroup means.
#[derive(Debug, Clone)]
pub(super) struct Describer<'a> {
    root: &'a ProcRoot,
    users: &'a Users,
    booted_at: Option<SystemTime>,
    runtimes: HashMap<(u64, u64), Runtime>,
    placements: HashMap<Vec<u8>, Placement>,
    /// What could not be read.
    pub(super) unread: Vec<Unread>,
}

impl<'a> Describer<'a> {
    /// One that knows these users. `booted_at` places the starts of processes in time.
    pub(super) fn new(root: &'a ProcRoot, users: &'a Users, booted_at: Option<SystemTime>) -> Self {
        let (runtimes, placements) = (HashMap::new(), HashMap::new());
        Self { root, users, booted_at, runtimes, placements, unread: Vec::new() }
    }

    /// All there is to say of a process. `thread` is one of its threads that still runs, when the first has ended:
    /// then the process keeps its name and start, and the rest is that thread's.
    ///
    /// `None` when this very process is gone, also when another one has its number by now.
    pub(super) fn describe(&mut self, key: ProcessKey, thread: Option<u32>) -> Option<Process> {
        let leader = self.read_or(Thing::Details, key.pid, self.root.process(key.pid))?;
        let identity = self.identity(&leader, key)?;
        let of_thread = match thread {
            Some(tid) => Some(self.read_or(Thing::Details, key.pid, leader.thread(tid))?),
            None => None,
        };
        let dir = of_thread.as_ref().unwrap_or(&leader);
        let n_unread = self.unread.len();
        let mut process = self.fields(dir, identity);
        let Process { exe, uid, placement, netns, fds_limit, .. } = &process;
        let is_whole = exe.is_some() && uid.is_some() && placement.is_some() && netns.is_some() && fds_limit.is_some();
        // A process that ended meanwhile leaves blanks that nothing explains.
        if !is_whole && self.identity(&leader, key).is_none() {
            self.unread.truncate(n_unread);
            return None;
        }
        process.started_at = self.started_at(key.start_ticks);
        Some(process)
    }

    /// What the selection chooses processes by: the name, and the executable, the unit and the container where they are
    /// asked for. The other fields are left out. `None` for a thread of the kernel.
    pub(super) fn describe_membership(&mut self, pid: u32, selection: &Selection) -> Option<Process> {
        let dir = self.root.process(pid).ok()?;
        let identity = match read_identity(&dir, pid) {
            Ok(identity) => identity.filter(|identity| !identity.is_kernel_thread)?,
            Err(reason) => {
                self.unread.push(Unread::new(Thing::Membership, reason, pid));
                return None;
            }
        };
        let mut process = bare_process(identity);
        if !selection.processes.is_empty() {
            process.exe = self.read_or(Thing::Membership, pid, dir.link("exe")).map(path_of);
        }
        if !(selection.units.is_empty() && selection.containers.is_empty()) {
            process.placement = self.placement(&dir, Thing::Membership, pid);
        }
        Some(process)
    }

    fn identity(&mut self, dir: &ProcessDir, key: ProcessKey) -> Option<Identity> {
        match read_identity(dir, key.pid) {
            Ok(identity) => identity.filter(|identity| identity.key == key),
            Err(reason) => {
                self.unread.push(Unread::new(Thing::Details, reason, key.pid));
                None
            }
        }
    }

    fn fields(&mut self, dir: &ProcessDir, identity: Identity) -> Process {
        let pid = identity.key.pid;
        let exe = self.read_or(Thing::Executable, pid, dir.link("exe")).map(path_of);
        // The directory of a process that is gone belongs to root, and only what is read after it fails.
        let uid = self.read_or(Thing::Details, pid, dir.status()).map(|status| status.st_uid);
        let netns = self.read_or(Thing::NetNs, pid, dir.link("ns/net"));
        Process {
            runtime: exe.as_ref().map_or(Runtime::Unknown, |exe| self.runtime(dir, exe)),
            exe,
            uid,
            user: uid.and_then(|uid| self.users.name(uid)).map(str::to_owned),
            placement: self.placement(dir, Thing::Cgroup, pid),
            netns: netns.and_then(|link| parse_netns(&link)),
            fds_limit: self.fds_limit(dir, pid),
            ..bare_process(identity)
        }
    }

    fn started_at(&self, start_ticks: u64) -> Option<SystemTime> {
        let ticks_per_second = procfs::ticks_per_second();
        let nanos = (start_ticks % ticks_per_second) * 1_000_000_000 / ticks_per_second;
        let after_boot = Duration::new(start_ticks / ticks_per_second, u32::try_from(nanos).ok()?);
        self.booted_at?.checked_add(after_boot)
    }

    fn fds_limit(&mut self, dir: &ProcessDir, pid: u32) -> Option<u64> {
        let text = self.read_or(Thing::Limits, pid, dir.read("limits"))?;
        let Ok(limits) = Limits::from_buf_read(text.as_slice()) else {
            self.unread.push(Unread::new(Thing::Limits, Reason::Malformed, pid));
            return None;
        };
        Some(match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit,
            LimitValue::Unlimited => u64::MAX,
        })
    }

    fn placement(&mut self, dir: &ProcessDir, thing: Thing, pid: u32) -> Option<Placement> {
        let text = self.read_or(thing, pid, dir.read("cgroup"))?;
        if let Some(known) = self.placements.get(&text) {
            return Some(known.clone());
        }
        let placement = parse_placement(&String::from_utf8_lossy(&text));
        self.placements.insert(text, placement.clone());
        Some(placement)
    }

    /// By the executable's device and inode, so that a thousand workers of one program cost one look.
    fn runtime(&mut self, dir: &ProcessDir, exe: &Path) -> Runtime {
        let Ok(status) = dir.status_of("exe") else { return Runtime::Unknown };
        let file = (status.st_dev, status.st_ino);
        if let Some(known) = self.runtimes.get(&file) {
            return *known;
        }
        let runtime = match dir.executable() {
            Ok(executable) => read_runtime(&file_name_of(exe), File::from(executable)),
            Err(_) => Runtime::Unknown,
        };
        let runtime = if runtime == Runtime::Native && is_dotnet_host(dir, exe) { Runtime::DotNet } else { runtime };
        self.runtimes.insert(file, runtime);
        runtime
    }

    /// What was read; notes what was refused. What is not there is no refusal: a process without an executable is a
    /// thread of the kernel or at its end.
    fn read_or<T>(&mut self, thing: Thing, pid: u32, read: Result<T, Errno>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                if !is_gone(error) {
                    self.unread.push(Unread::new(thing, error.into(), pid));
                }
                None
            }
        }
    }
}

fn path_of(link: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(link))
}

/// The N of `net:[N]`.
pub(super) fn parse_netns(link: &[u8]) -> Option<u64> {
    parse_decimal(link.strip_prefix(b"net:[")?.strip_suffix(b"]")?)
}

/// The last part of the path, without the mark that the kernel sets when the file was deleted.
fn file_name_of(exe: &Path) -> String {
    let name = exe.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name)
}

/// A .NET program that was published with a launcher of its own has `NAME.runtimeconfig.json` beside the launcher
/// `NAME`. One that was published as a single file looks like any other native program.
fn is_dotnet_host(dir: &ProcessDir, exe: &Path) -> bool {
    let mut config = OsString::from("root");
    config.push(exe);
    config.push(".runtimeconfig.json");
    dir.has_file(Path::new(&config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_apart() {
        assert_eq!(parse_netns(b"net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(parse_netns(b"mnt:[4026531840]"), None);
        assert_eq!(file_name_of(Path::new("/opt/x/java (deleted)")), "java");
        assert_eq!(file_name_of(Path::new("/")), "");
    }

    #[test]
    fn this_process_is_described() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let pid = std::process::id();
        let identity = read_identity(&root.process(pid).expect("opened"), pid).expect("read").expect("alive");
        let users = Users::read().expect("read");
        let booted_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut describer = Describer::new(&root, &users, Some(booted_at));
        let process = describer.describe(identity.key, None).expect("alive");
        assert_eq!(describer.unread, []);
        assert_eq!(process.key, identity.key);
        assert_eq!(process.exe, std::env::current_exe().ok());
        assert_eq!(process.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(
            process.fds_limit,
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.or(Some(u64::MAX))
        );
        assert_eq!(process.runtime, Runtime::Native);
        assert!(process.placement.is_some() && process.netns.is_some_and(|netns| netns > 0));
        let ticks = identity.key.start_ticks * 1_000 / procfs::ticks_per_second();
        assert_eq!(process.started_at, Some(booted_at + Duration::from_millis(ticks)));
    }

    #[test]
    fn a_later_process_with_the_same_number_is_not_taken_for_it() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let users = Users::default();
        let mut describer = Describer::new(&root, &users, None);
        let earlier = ProcessKey { pid: std::process::id(), start_ticks: 1 };
        assert_eq!(describer.describe(earlier, None), None);
        assert_eq!(describer.unread, []);
    }
}
