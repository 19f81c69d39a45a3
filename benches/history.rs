//! Times what a history adds to a look: opening it, reading the past, and remembering.
//!
//! `cargo bench --bench history` fills a store with three months by the hour and two days of a look every five minutes, of
//! 32 processes and 32 pools whose numbers jump about all the time, and then opens, reads and writes it again and again.
//! What it prints are medians.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use closewatch::history::{Access, History, Moment};
use closewatch::model::past::{MOST_STUCK, Memory};

#[path = "../tests/history/sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod sample;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: u64 = 51;
const DAY: u64 = 86_400;
/// Where the looks of the rounds begin.
const NOW: u64 = 92 * DAY;

fn main() -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("history.db");
    let mut numbers = sample::Numbers(1);
    let hourly = (0..90 * 24).map(|hour| hour * 3_600);
    let times: Vec<u64> = hourly.chain((0..2 * 288).map(|nth| 90 * DAY + nth * 300)).collect();
    for times in times.chunks(100) {
        let looks: Vec<Memory> = times.iter().map(|seconds| sample::busy(*seconds, &mut numbers)).collect();
        History::open(&path, Access::ReadWrite)?.remember_all(&looks)?;
    }
    let points = past(&mut History::open(&path, Access::ReadWrite)?, NOW)?;
    let kib = std::fs::metadata(&path)?.len() >> 10;
    writeln!(out, "{kib} KiB, {points} points")?;
    writeln!(out, "opening                      {:?}", median(|_| History::open(&path, Access::ReadWrite).map(drop))?)?;
    writeln!(out, "opening, reading the past    {:?}", median(|_| open_and_read(&path))?)?;
    let busy: Vec<Memory> = (0..ROUNDS).map(|nth| sample::busy(NOW + nth * 300, &mut numbers)).collect();
    writeln!(out, "opening, reading, remembering {:?}", median(|nth| check(&path, &busy[nth as usize]))?)?;

    let after = NOW + (ROUNDS + 1) * 300;
    let leaks: Vec<Memory> = (0..ROUNDS).map(|nth| leaking(after + nth * 300, nth)).collect();
    let time = median(|nth| History::open(&path, Access::ReadWrite)?.remember(&leaks[nth as usize]).map(drop))?;
    writeln!(out, "remembering {MOST_STUCK} stuck sockets, 100 of them new each time {time:?}")?;
    writeln!(out, "opening, reading the past    {:?}", median(|_| open_and_read(&path))?)?;
    Ok(())
}

/// A look at which all sockets that can be kept are stuck, of which some are new.
fn leaking(seconds: u64, round: u64) -> Memory {
    let cookies = (round * 100..).take(MOST_STUCK);
    let stuck: Vec<_> = cookies.map(|nth| sample::stuck(nth * 31, 60 + (1 << 20) - nth)).collect();
    Memory { n_stuck: stuck.len() as u64, stuck, ..sample::empty(seconds) }
}

fn past(history: &mut History, seconds: u64) -> Outcome<usize> {
    let past = history.past(&Moment {
        at: sample::at(seconds),
        boot_id: Some(sample::BOOT),
        uptime: Some(Duration::from_secs(DAY + seconds)),
    })?;
    Ok(past.series.iter().map(|series| series.points.len()).sum())
}

fn open_and_read(path: &Path) -> Outcome<()> {
    past(&mut History::open(path, Access::ReadWrite)?, NOW).map(drop)
}

fn check(path: &Path, look: &Memory) -> Outcome<()> {
    let mut history = History::open(path, Access::ReadWrite)?;
    let seconds = look.taken_at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() - sample::START;
    past(&mut history, seconds)?;
    history.remember(look)?;
    Ok(())
}

fn median<E>(mut run: impl FnMut(u64) -> Result<(), E>) -> Result<Duration, E> {
    let mut times = Vec::new();
    for nth in 0..ROUNDS {
        let start = Instant::now();
        run(nth)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}
