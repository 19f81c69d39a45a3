//! The file stays small, whatever is written to it.

use std::path::Path;

use closewatch::model::past::{Memory, ProcessMemory};
use closewatch::model::process::ProcessKey;

use super::sample::{Numbers, at, busy, empty, pool, process};
use super::{all_looks, open, past_at};

const MOST_BYTES: u64 = 16 << 20;
const DAY: u64 = 86_400;

/// What the file and those beside it have, while a connection is open.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").metadata().expect("a file").len()).sum()
}

/// Remembers the looks, a batch at a time, and holds the size against the bound after each.
fn fill(path: &Path, looks: impl Iterator<Item = Memory>, batch: usize) -> u64 {
    let dir = path.parent().expect("a directory");
    let mut looks = looks.peekable();
    let mut most = 0;
    while looks.peek().is_some() {
        let memories: Vec<Memory> = looks.by_ref().take(batch).collect();
        let mut history = open(path);
        history.remember_all(&memories).expect("remembers");
        most = most.max(bytes_in(dir));
        drop(history);
        assert!(most <= MOST_BYTES, "{most} bytes at {:?}", memories[0].taken_at);
    }
    most
}

#[test]
fn a_year_of_looks_every_five_minutes_at_a_busy_host_fits() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut numbers = Numbers(11);
    let looks = (0..365 * 288).map(|nth| busy(nth * 300, &mut numbers));
    let most = fill(&path, looks, 48);
    let mut history = open(&path);
    let looks = all_looks(&mut history);
    let age = at(365 * DAY).duration_since(looks[0].began).expect("earlier").as_secs() / DAY;
    assert!((90..92).contains(&age), "the first is {age} days old: nothing had to make room early ({most} bytes)");
    assert!(looks.len() > 88 * 24 + 2 * 288);
    let in_order = looks.windows(2).all(|pair| pair[1].began > pair[0].ended);
    assert!(in_order, "and no hour is told twice");
    let told: u64 = looks.iter().map(|look| look.looks).sum();
    let since = at(365 * DAY).duration_since(looks[0].began).expect("earlier").as_secs();
    assert_eq!(told, since / 300, "every look since then is in it");
    let past = past_at(&mut history, 365 * DAY);
    assert_eq!(past.series.len(), 32 + 32 + 4);
    assert!(past.series.iter().all(|series| series.points.len() == looks.len()), "every number at every look");
    let line = format!("MEASURED a year of looks every five minutes: at most {} KiB\n", most >> 10);
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("stderr can be written to");
}

#[test]
fn a_look_every_second_for_hours_fits() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut numbers = Numbers(12);
    let hours = 3;
    fill(&path, (0..hours * 3_600).map(|seconds| busy(seconds, &mut numbers)), 300);
    let looks = all_looks(&mut open(&path));
    let raw = looks.iter().filter(|look| look.looks == 1).count();
    assert!((3_584..=4_096).contains(&raw), "{raw} are there one by one");
    assert_eq!(looks.iter().map(|look| look.looks).sum::<u64>(), hours * 3_600, "none is lost");
    assert_eq!(looks[0].began, at(0));
}

/// A program that is new at every look, as a container is that runs for a minute.
fn fleeting(nth: u64, name: u64) -> ProcessMemory {
    let mut process = process(&format!("job-{name}"), 1, nth % 7);
    process.key = ProcessKey { pid: (nth % 4_000_000) as u32 + 2, start_ticks: nth };
    process.service.container = Some(format!("{name:064x}"));
    process
}

#[test]
fn names_that_change_all_the_time_fit_and_those_that_stay_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut nth = 0;
    let days = 12;
    let looks = (0..days * 288).map(|look| {
        let mut processes: Vec<ProcessMemory> = (0..31)
            .map(|_| {
                nth += 1;
                fleeting(nth, nth)
            })
            .collect();
        processes.push(process("stays", 1, look));
        Memory { processes, pools: vec![pool(1, look)], ..empty(look * 300) }
    });
    fill(&path, looks, 96);
    let mut history = open(&path);
    let looks = all_looks(&mut history);
    let stays =
        |look: &&closewatch::history::Look| look.processes.iter().any(|(program, _)| program.service.name == "stays");
    assert_eq!(looks.iter().filter(stays).count(), looks.len(), "the one that stays is in every hour");
    let widest = looks.iter().filter(|look| look.looks > 1).map(|look| look.processes.len()).max();
    assert_eq!(widest, Some(9), "an hour keeps it and eight of those that did not outlive it");
    let raw = looks.iter().filter(|look| look.looks == 1).count();
    assert!(raw >= 288, "{raw} looks are there one by one");
}

#[test]
fn five_thousand_services_in_turn_fit() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let (mut numbers, mut nth) = (Numbers(13), 0);
    let looks = (0..20 * 288).map(|look| {
        let processes = (0..32).map(|_| {
            nth += 1;
            fleeting(nth, numbers.below(5_000))
        });
        Memory { processes: processes.collect(), ..empty(look * 300) }
    });
    fill(&path, looks.collect::<Vec<_>>().into_iter(), 96);
    let past = past_at(&mut open(&path), 20 * DAY);
    assert!(past.looks.len() > 2 * 288, "{}", past.looks.len());
}
