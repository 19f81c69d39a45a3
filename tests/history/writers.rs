//! A hundred checks at once on one store, a reader beside them, and some that are killed in the middle.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use closewatch::history::{Access, History, HistoryError};
use closewatch::model::past::Memory;
use nix::sys::signal::Signal;

use super::sample::{Numbers, busy, stuck};
use super::{all_looks, open, past_at};

const WRITER: &str = "CLOSEWATCH_TEST_WRITER";
const WRITERS: u64 = 100;
const LOOKS_EACH: u64 = 4;

/// The copy of this test program that is one writer: `PATH NUMBER LOOKS`. It says every look that it has remembered.
#[test]
fn writer() {
    let Ok(task) = std::env::var(WRITER) else { return };
    let mut parts = task.rsplitn(3, ' ');
    let mut number = || parts.next().expect("a part").parse::<u64>().expect("a number");
    let (looks, id) = (number(), number());
    let path = Path::new(parts.next().expect("a path"));
    let mut numbers = Numbers(id);
    // The runner captures what the print macros write, and closes nothing.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().expect("a descriptor"));
    for nth in 0..looks {
        let name = format!("{id}-{nth}");
        let sockets = (0..200).map(|cookie| stuck(1 + cookie * 1_000 + id, 100)).collect();
        let look = Memory { verdict: name.clone(), stuck: sockets, n_stuck: 200, ..busy(nth * 300 + id, &mut numbers) };
        loop {
            match open(path).remember(&look) {
                Ok(_) => break,
                Err(HistoryError::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // In one piece: a writer that is killed between two says a name that nobody has.
        out.write_all(format!("remembered {name}\n").as_bytes()).expect("somebody listens");
    }
}

fn start(path: &Path, id: u64, looks: u64) -> Child {
    Command::new(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", "writers::writer", "--nocapture"])
        .env(WRITER, format!("{} {id} {looks}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Listens to one writer, and kills it when it has remembered so many looks, at some moment of the next one. What it said.
fn listen(mut writer: Child, kill_after: Option<u64>) -> Vec<String> {
    let mut said = Vec::new();
    let lines = BufReader::new(writer.stdout.take().expect("a pipe")).lines();
    for line in lines {
        if let Some(name) = line.expect("text").strip_prefix("remembered ") {
            said.push(name.to_owned());
        }
        if kill_after.is_some_and(|after| said.len() as u64 >= after) {
            writer.kill().expect("is killed");
        }
    }
    let status = writer.wait().expect("ends");
    let killed = kill_after.map(|_| Signal::SIGKILL as i32);
    assert_eq!((status.success(), status.signal()), (killed.is_none(), killed), "{status}");
    said
}

#[test]
fn whoever_is_killed_every_look_that_was_remembered_is_there_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let is_over = AtomicBool::new(false);
    let said: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|id| {
                // Every third is killed, of these some before they have remembered anything.
                let kill_after = (id % 3 == 0).then_some(id / 3 % LOOKS_EACH);
                let looks = if kill_after.is_some() { 1_000 } else { LOOKS_EACH };
                let writer = start(&path, id, looks);
                scope.spawn(move || listen(writer, kill_after))
            })
            .collect();
        let reader = scope.spawn(|| read_until(&path, &is_over));
        let said = writers.into_iter().flat_map(|writer| writer.join().expect("listens")).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("reads") > 0, "it has read something meanwhile");
        said
    });
    assert!(said.len() as u64 >= (WRITERS - WRITERS.div_ceil(3)) * LOOKS_EACH, "{}", said.len());

    let mut history = open(&path);
    let mut there: HashMap<String, u64> = HashMap::new();
    for look in all_looks(&mut history) {
        *there.entry(look.verdict).or_default() += 1;
    }
    let missing: Vec<_> = said.iter().filter(|name| !there.contains_key(*name)).collect();
    assert!(missing.is_empty(), "remembered, and not there: {missing:?}");
    let twice: Vec<_> = there.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "there more than once: {twice:?}");
    // A writer may be killed between the look that it has remembered and the word that it has.
    let unsaid = there.len() - said.len();
    assert!(unsaid as u64 <= WRITERS.div_ceil(3), "{unsaid} looks that nobody has remembered");
    assert_eq!(past_at(&mut history, 100_000).looks.len(), there.len());
    drop(history);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["history.db"], "nothing was set aside, and the last one tidies up");
}

/// Reads all the time, and finds no fewer looks than before. How often it found some.
fn read_until(path: &Path, is_over: &AtomicBool) -> u64 {
    let (mut last, mut reads) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        let mut history = match History::open(path, Access::ReadOnly) {
            Ok(history) => history,
            Err(HistoryError::Missing { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let looks = all_looks(&mut history);
        assert!(looks.len() >= last, "{} after {last}", looks.len());
        assert!(looks.iter().all(|look| look.processes.len() == 32 && look.pools.len() == 32));
        last = looks.len();
        reads += u64::from(last > 0);
    }
    reads
}
