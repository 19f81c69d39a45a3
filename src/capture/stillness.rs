//! Whether processes sleep: none of their threads runs, or has run between two looks.

use std::collections::BTreeSet;

use rustix::io::Errno;

use super::proc_dir::{ProcRoot, ProcessDir, is_gone, parse_decimal};

/// More threads than this are not looked at: each costs some ten microseconds.
const MOST_THREADS: usize = 64;

/// The threads of some processes, all of which slept.
#[derive(Debug)]
pub(super) struct Sleepers(Vec<Sleeper>);

#[derive(Debug, PartialEq, Eq)]
struct Sleeper {
    pid: u32,
    tid: u32,
    /// How often it has left a processor.
    switches: u64,
}

impl Sleepers {
    /// Those of these processes. `None` when a thread runs, waits for a processor or for a disk, when that cannot be read, and
    /// when there are too many threads.
    pub(super) fn of(root: &ProcRoot, pids: &BTreeSet<u32>) -> Option<Self> {
        let mut sleepers = Vec::new();
        for pid in pids {
            let process = root.process(*pid).ok()?;
            for tid in process.tids().ok()? {
                match sleeper(&process, *pid, tid) {
                    Ok(sleeper) => sleepers.push(sleeper?),
                    Err(error) if is_gone(error) => {}
                    Err(_) => return None,
                }
                if sleepers.len() > MOST_THREADS {
                    return None;
                }
            }
        }
        Some(Self(sleepers))
    }

    /// Whether none of them has run since, and no thread has joined them.
    pub(super) fn still_sleep(&self, root: &ProcRoot, pids: &BTreeSet<u32>) -> bool {
        Self::of(root, pids).is_some_and(|now| now.0 == self.0)
    }
}

/// `None` when it does not sleep. What is read needs no right (proc_pid_status(5)).
fn sleeper(process: &ProcessDir, pid: u32, tid: u32) -> Result<Option<Sleeper>, Errno> {
    let status = process.read(&format!("task/{tid}/status"))?;
    Ok(parse(&status).map(|switches| Sleeper { pid, tid, switches }))
}

/// How often the thread of this status has left a processor, when it sleeps, is stopped, or has ended.
fn parse(status: &[u8]) -> Option<u64> {
    let field = |name: &[u8]| {
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_ascii())
    };
    let sleeps = matches!(field(b"State:")?.first()?, b'S' | b'T' | b't' | b'Z' | b'X');
    let voluntary: u64 = parse_decimal(field(b"voluntary_ctxt_switches:")?)?;
    let preempted: u64 = parse_decimal(field(b"nonvoluntary_ctxt_switches:")?)?;
    sleeps.then(|| voluntary.wrapping_add(preempted))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    struct Reader(Child);

    impl Reader {
        /// A program that waits for its input.
        fn start() -> Self {
            let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
            Self(child.expect("cat is everywhere"))
        }

        fn pids(&self) -> BTreeSet<u32> {
            BTreeSet::from([self.0.id()])
        }
    }

    impl Drop for Reader {
        fn drop(&mut self) {
            self.0.kill().expect("it is ours");
            self.0.wait().expect("it ends");
        }
    }

    /// Waits until it holds, for ten seconds at most.
    fn wait_for<T>(mut of: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = of() {
                return found;
            }
            assert!(Instant::now() < deadline, "it does not come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn who_waits_sleeps_until_something_comes() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        let mut reader = Reader::start();
        let pids = reader.pids();
        // It sleeps a moment while it is started, too.
        let comm = format!("/proc/{}/comm", reader.0.id());
        wait_for(|| (std::fs::read_to_string(&comm).ok()? == "cat\n").then_some(()));
        let sleepers = wait_for(|| {
            let sleepers = Sleepers::of(&root, &pids)?;
            std::thread::sleep(Duration::from_millis(20));
            sleepers.still_sleep(&root, &pids).then_some(sleepers)
        });
        let input = reader.0.stdin.as_mut().expect("a pipe");
        std::io::Write::write_all(input, b"something").expect("it listens");
        wait_for(|| (!sleepers.still_sleep(&root, &pids)).then_some(()));
        wait_for(|| Sleepers::of(&root, &pids));
        assert!(!sleepers.still_sleep(&root, &pids), "it sleeps again, and has run in between");
    }

    #[test]
    fn who_runs_or_is_not_there_does_not_sleep() {
        let root = ProcRoot::open(Path::new("/proc")).expect("/proc is mounted");
        assert!(Sleepers::of(&root, &BTreeSet::from([std::process::id()])).is_none(), "we run");
        assert!(Sleepers::of(&root, &BTreeSet::from([u32::MAX])).is_none());
    }

    #[test]
    fn a_status_is_read_or_it_is_none() {
        let status = |state: &str| {
            format!("Name:\tvoluntary\nState:\t{state}\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n")
        };
        for state in ["S (sleeping)", "T (stopped)", "t (tracing stop)", "Z (zombie)"] {
            assert_eq!(parse(status(state).as_bytes()), Some(42), "{state}");
        }
        for state in ["R (running)", "D (disk sleep)", ""] {
            assert_eq!(parse(status(state).as_bytes()), None, "{state}");
        }
        assert_eq!(parse(b"State:\tS (sleeping)\nvoluntary_ctxt_switches:\t40\n"), None);
        assert_eq!(parse(b""), None);
    }
}
