//! Times what a history adds to a look: opening it, reading the past, and remembering.
//!
//! `cargo bench --bench history` fills a store with three months by the hour and two days of a look every five minutes, of
//! 32 processes and 32 pools whose numbers jump about all the time, and then opens, reads and writes it again and again.
//! A check is a process of its own, in which every page of memory is touched for the first time: that is timed, too.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use closewatch::history::{Access, History, HistoryError, Moment};
use closewatch::model::past::{MOST_STUCK, Memory};
use rustix::time::{ClockId, clock_gettime};

#[path = "../tests/history/sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod sample;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: u64 = 51;
const DAY: u64 = 86_400;
/// Where the looks of the rounds begin.
const NOW: u64 = 92 * DAY;

/// Asks this program to read the file that is named next once, at the moment named behind it.
const ONCE: &str = "--once";

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, option, path, seconds] = args.as_slice()
        && option == ONCE
    {
        let seconds = seconds.parse()?;
        let [wall, processor] = measured(|| read(Path::new(path), seconds))?.map(|time| time.as_nanos());
        return Ok(writeln!(std::io::stdout(), "{wall} {processor}")?);
    }
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
    writeln!(
        std::io::stdout(),
        "{kib} KiB, {points} points\n{:<48} {:>9} {:>9} {:>9}",
        "",
        "wall",
        "processor",
        "least"
    )?;
    time("opening", |_| measured(|| History::open(&path, Access::ReadWrite).map(drop)))?;
    time("opening and reading the past", |_| measured(|| read(&path, NOW)))?;
    time("the same, each time in a process of its own", |_| apart(&path, NOW))?;
    let busy: Vec<Memory> = (0..ROUNDS).map(|nth| sample::busy(NOW + nth * 300, &mut numbers)).collect();
    time("opening and remembering", |nth| measured(|| write(&path, &busy[nth as usize])))?;

    let after = NOW + (ROUNDS + 1) * 300;
    let end = after + ROUNDS * 300;
    let leaks: Vec<Memory> = (0..ROUNDS).map(|nth| leaking(after + nth * 300, nth)).collect();
    time("the same, 65,536 stuck sockets, 100 of them new", |nth| measured(|| write(&path, &leaks[nth as usize])))?;
    time("opening and reading the past with these", |_| measured(|| read(&path, end)))?;
    time("the same, each time in a process of its own", |_| apart(&path, end))
}

/// A look at which all sockets that can be kept are stuck, of which some are new.
fn leaking(seconds: u64, round: u64) -> Memory {
    let cookies = (round * 100..).take(MOST_STUCK);
    let stuck: Vec<_> = cookies.map(|nth| sample::stuck(nth * 31, 60 + (1 << 20) - nth)).collect();
    Memory { n_stuck: stuck.len() as u64, stuck, ..sample::empty(seconds) }
}

fn past(history: &mut History, seconds: u64) -> Result<usize, HistoryError> {
    let uptime = Some(Duration::from_secs(DAY + seconds));
    let past = history.past(&Moment { at: sample::at(seconds), boot_id: Some(sample::BOOT), uptime })?;
    Ok(past.series.iter().map(|series| series.points.len()).sum())
}

fn read(path: &Path, seconds: u64) -> Result<(), HistoryError> {
    past(&mut History::open(path, Access::ReadWrite)?, seconds).map(drop)
}

fn write(path: &Path, look: &Memory) -> Result<(), HistoryError> {
    History::open(path, Access::ReadWrite)?.remember(look).map(drop)
}

/// The time by the wall and by the processor.
type Times = [Duration; 2];

fn measured<E>(work: impl FnOnce() -> Result<(), E>) -> Outcome<Times>
where
    E: Error + 'static,
{
    let (start, used) = (Instant::now(), processor_time());
    work()?;
    Ok([start.elapsed(), processor_time() - used])
}

/// What a copy of this program measures that reads the past once.
fn apart(path: &Path, seconds: u64) -> Outcome<Times> {
    let output = Command::new(std::env::current_exe()?).arg(ONCE).arg(path).arg(seconds.to_string()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (wall, processor) = text.trim().split_once(' ').ok_or("the copy failed")?;
    Ok([Duration::from_nanos(wall.parse()?), Duration::from_nanos(processor.parse()?)])
}

/// Prints the median of the times by the wall and by the processor, and the least by the wall. Only the second stands still
/// when others use the machine; it does not count the waiting for the device.
fn time(what: &str, mut run: impl FnMut(u64) -> Outcome<Times>) -> Outcome<()> {
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for nth in 0..ROUNDS {
        let [by_wall, by_processor] = run(nth)?;
        wall.push(by_wall);
        processor.push(by_processor);
    }
    wall.sort();
    processor.sort();
    let middle = wall.len() / 2;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what:<48} {:>9.1?} {:>9.1?} {:>9.1?}", wall[middle], processor[middle], wall[0])?;
    Ok(())
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
