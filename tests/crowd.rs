//! A hundred checks at once on one history and a reader beside them, with the real program, while some are killed.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use closewatch::history::{Access, History};
use closewatch::model::state::TcpState;
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use support::{closewatch, in_netns, text, wait_until};

const CROWD: u64 = 100;
/// No command of this test may take longer: then it hangs.
const HANGS: Duration = Duration::from_secs(120);

/// A command that writes its standard output to a file, and was started a while ago.
struct Running {
    child: Child,
    out: File,
    since: Instant,
}

/// What became of it.
struct Ended {
    status: ExitStatus,
    out: String,
    took: Duration,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let out = tempfile::tempfile().expect("a file");
        let stdout = out.try_clone().expect("a descriptor");
        let child = closewatch().args(args).stdout(stdout).spawn().expect("closewatch starts");
        Self { child, out, since: Instant::now() }
    }

    /// Looks every millisecond whether it has ended, for so long.
    fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().expect("is a child") {
                return Some(status);
            }
            if self.since.elapsed() >= limit {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(mut self) -> Ended {
        let Some(status) = self.ends_within(HANGS) else {
            self.child.kill().expect("is killed");
            panic!("a command hangs: {:?}", self.child)
        };
        let mut out = Vec::new();
        self.out.rewind().expect("a file");
        self.out.read_to_end(&mut out).expect("is read");
        Ended { status, out: text(&out), took: self.since.elapsed() }
    }

    /// Kills it when it has run for so long, if it still does. What became of it.
    fn end_or_kill(mut self, after: Duration) -> Ended {
        if self.ends_within(after).is_none() {
            self.child.kill().expect("is killed");
        }
        self.end()
    }
}

fn start_check(history: &str) -> Running {
    let what = ["check", "--history", history, "--no-processes", "--netns", "current", "-t", "100s", "--json"];
    Running::start(&what)
}

/// How many sockets listen by what a check that has ended well printed, if it has remembered that.
fn remembered(ended: &Ended) -> Option<u64> {
    assert!(ended.status.success(), "{}: {}", ended.status, ended.out);
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {}", ended.out));
    let notes = &report["history"]["notes"];
    let is_remembered = *notes == json!([]);
    // It may have waited for the others for as long as it can, but nothing else may be amiss.
    assert!(is_remembered || notes.to_string().contains("others have been using it"), "{notes}");
    is_remembered.then(|| report["namespaces"][0]["states"]["listen"].as_u64().expect("a number"))
}

/// What one of the crowd has seen.
struct Member {
    /// The numbers of sockets that it has remembered.
    remembered: Vec<u64>,
    was_killed: bool,
}

/// Checks a namespace of its own twice: as many sockets listen as no other check of the crowd finds. The second check is
/// killed at this share of the time that the first one took.
fn check_twice(id: u64, history: &str, (ready, kill_at): (&AtomicU64, Option<f64>)) -> Member {
    unshare(CloneFlags::CLONE_NEWNET).expect("the namespace is of a user namespace of this test, or root's");
    let mut listeners: Vec<TcpListener> = (0..2 * id).map(|_| listen_anywhere()).collect();
    ready.fetch_add(1, Ordering::Relaxed);
    wait_until("the crowd is there", || ready.load(Ordering::Relaxed) == CROWD);
    let first = start_check(history).end();
    listeners.push(listen_anywhere());
    let second = start_check(history);
    let second = match kill_at {
        Some(share) => second.end_or_kill(first.took.mul_f64(share)),
        None => second.end(),
    };
    let was_killed = second.status.code().is_none();
    let ended = std::iter::once(&first).chain((!was_killed).then_some(&second));
    let seen: Vec<u64> = ended.filter_map(remembered).collect();
    assert!(seen.iter().all(|listening| (2 * id..=2 * id + 1).contains(listening)), "{id}: {seen:?}");
    Member { remembered: seen, was_killed }
}

fn listen_anywhere() -> TcpListener {
    TcpListener::bind("0.0.0.0:0").expect("a port is free")
}

/// Reads with `closewatch history` all the time; how often. It never finds less than before.
fn read_until(history: &str, is_over: &AtomicBool) -> usize {
    let (mut most, mut reads) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let ended = Running::start(&["history", "--history", history, "--json"]).end();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.out);
        let told: Value = serde_json::from_str(&ended.out).expect("JSON");
        let series = told["series"].as_array().expect("a list");
        let files = series.iter().find(|series| series["kind"] == "file_max").expect("every look has it");
        let looks = files["points"].as_array().expect("a list").len();
        assert!(looks >= most, "{looks} looks after {most}");
        (most, reads) = (looks, reads + 1);
    }
    reads
}

/// How often the history has a look that found so many listening sockets.
fn looks_in(path: &Path) -> BTreeMap<u64, u64> {
    let mut history = History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"));
    let looks = history.looks(..).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(history.notes(), [""; 0], "nothing was set aside");
    let listen = TcpState::ALL.iter().position(|state| *state == TcpState::Listen).expect("a state");
    let mut found = BTreeMap::new();
    for look in looks {
        let [(_, states)] = look.namespaces.as_slice() else { panic!("one namespace: {look:?}") };
        *found.entry(states[listen].last).or_default() += 1;
    }
    found
}

#[test]
fn every_check_that_ended_is_there_once_whoever_is_killed() {
    in_netns("every_check_that_ended_is_there_once_whoever_is_killed", || {
        support::raise_descriptor_limit();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("history.db");
        let history = &path.display().to_string();
        assert_eq!(remembered(&start_check(history).end()), Some(0), "the reader finds something from the start");
        let (is_over, ready) = (AtomicBool::new(false), AtomicU64::new(0));
        let (members, reads) = thread::scope(|scope| {
            let reader = scope.spawn(|| read_until(history, &is_over));
            let ready = &ready;
            let member = |id: u64| {
                // A third is killed, at moments that are spread over their lives.
                let kill_at = id.is_multiple_of(3).then(|| (id as f64 * 0.618).fract());
                scope.spawn(move || check_twice(id, history, (ready, kill_at)))
            };
            let crowd: Vec<_> = (1..=CROWD).map(member).collect();
            let ended: Vec<thread::Result<Member>> = crowd.into_iter().map(|member| member.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            let members: Vec<Member> = ended.into_iter().map(|member| member.expect("checks")).collect();
            (members, reader.join().expect("reads"))
        });
        let killed = members.iter().filter(|member| member.was_killed).count() as u64;
        let remembered: Vec<u64> = members.into_iter().flat_map(|member| member.remembered).chain([0]).collect();
        let found = looks_in(&path);
        let missing: Vec<_> = remembered.iter().filter(|look| !found.contains_key(look)).collect();
        assert!(missing.is_empty(), "told as remembered, and not there: {missing:?}");
        assert!(found.values().all(|times| *times == 1), "there more than once: {found:?}");
        let unsaid = found.len() as u64 - remembered.len() as u64;
        assert!(unsaid <= killed, "{unsaid} looks that nobody has remembered, and {killed} killed");
        assert!(killed > CROWD / 10, "only {killed} were killed: nothing was tried");
        assert!(remembered.len() as u64 > CROWD, "most waited in vain: {}", remembered.len());
        let line = format!(
            "MEASURED {} checks remembered, {killed} killed, of these {unsaid} after they had remembered; {reads} reads\n",
            remembered.len()
        );
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("stderr can be written to");
    });
}
