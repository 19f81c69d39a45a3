//! The history: what was remembered is there, once, and as it was, whatever happens to the machine meanwhile.

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod damage;
mod hours;
mod looks;
mod places;
mod sample;
mod size;
mod sockets;
mod writers;

use std::path::Path;
use std::time::Duration;

use closewatch::history::{Access, History, Look, Moment};
use closewatch::model::past::{Past, Series, Track};

/// Opens a history to which nothing may have happened.
pub fn open(path: &Path) -> History {
    let history = History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(history.notes(), [""; 0], "nothing happened to it");
    history
}

/// The past so many seconds after the start, in the boot of the samples.
pub fn past_at(history: &mut History, seconds: u64) -> Past {
    let uptime = Some(Duration::from_secs(86_400 + seconds));
    let now = Moment { at: sample::at(seconds), boot_id: Some(sample::BOOT), uptime };
    let past = history.past(&now).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(history.notes(), [""; 0], "nothing happened to it");
    past
}

/// All that is remembered.
pub fn all_looks(history: &mut History) -> Vec<Look> {
    let looks = history.looks(..).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(history.notes(), [""; 0], "nothing happened to it");
    looks
}

/// The series of this track.
pub fn series<'a>(past: &'a Past, track: &Track) -> &'a Series {
    let mut found = past.series.iter().filter(|series| series.track == *track);
    let series = found.next().unwrap_or_else(|| panic!("no series of {track:?}: {:?}", past.series));
    assert!(found.next().is_none(), "two series of {track:?}");
    series
}

/// `at` in seconds after the start, `used` and `leaked` of every point.
pub fn points(series: &Series) -> Vec<(i64, u64, u64)> {
    let point = |point: closewatch::model::past::Point| {
        ((point.at as i64) - sample::START as i64, point.used as u64, point.leaked as u64)
    };
    series.points.iter().map(point).collect()
}
