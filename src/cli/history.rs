//! What `history` reads of the store, and of which moment it tells.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use tempfile::TempDir;

use super::request::HistoryRequest;
use super::usage::UsageError;
use super::values::Since;
use crate::chronicle::{self, Chronicle, HistoryFile, Remembered};
use crate::history::{self, Access, History, LastLook, Moment};
use crate::model::wording::span;

/// A history that is to be shown.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) history: History,
    pub(super) keeping: Keeping,
    /// What the reader should know of how it came about.
    pub(super) notes: Vec<String>,
}

/// What becomes of it afterwards.
#[derive(Debug)]
pub(super) enum Keeping {
    /// It stays where it is.
    File,
    /// It goes with this directory.
    ForOnce(#[expect(dead_code, reason = "it is removed when this is dropped")] TempDir),
}

/// Opens what was remembered.
///
/// # Errors
/// When there is none, or none that can be read.
pub(super) fn open(asked: &HistoryRequest) -> Result<Shelf> {
    let path = match asked {
        HistoryRequest::File(path) => Some(path.clone()),
        HistoryRequest::Usual | HistoryRequest::None => history::default_path(),
    };
    let path = path.ok_or_else(|| {
        UsageError::new(
            "the environment names no place for the history (HOME, XDG_STATE_HOME)",
            "name the file with --history",
        )
    })?;
    Ok(Shelf { history: History::open(&path, Access::ReadOnly)?, keeping: Keeping::File, notes: Vec::new() })
}

/// Reads all of it, and judges it.
///
/// # Errors
/// When it cannot be read.
pub(super) fn tell(shelf: &mut Shelf, since: Option<Since>) -> Result<Chronicle> {
    let Shelf { history, keeping, notes } = shelf;
    let last = history.last_look()?;
    let (at, caveat) = match (&last, &keeping) {
        (Some(last), Keeping::File) => moment(last.at, SystemTime::now()),
        (Some(last), Keeping::ForOnce(_)) => (last.at, None),
        (None, _) => (SystemTime::now(), None),
    };
    let past = history.past(&moment_of(at, last.as_ref()))?;
    let looks = history.looks(..)?;
    let file = matches!(keeping, Keeping::File)
        .then(|| HistoryFile { path: history.path().to_owned(), bytes: history.bytes() });
    let notes = history.notes().iter().cloned().chain(notes.drain(..)).collect();
    let since = match since {
        // Nothing is remembered of before the clock's beginning.
        Some(Since::Ago(ago)) => at.checked_sub(ago),
        Some(Since::At(moment)) => Some(moment),
        None => None,
    };
    Ok(chronicle::build(Remembered { past, looks, file, caveat, notes }, at, since))
}

/// The moment that is told of, and what is to be said about it. Of a history that nobody has added to for a day, what was
/// expected at its last look is told: it may be of another host, or of another year.
fn moment(last: SystemTime, clock: SystemTime) -> (SystemTime, Option<String>) {
    const FRESH: Duration = Duration::from_secs(86_400);
    match clock.duration_since(last) {
        Ok(age) if age <= FRESH => (clock, None),
        Ok(age) => (last, Some(format!("the last look was {} ago: all this is told as of that moment", span(age)))),
        Err(ahead) => {
            let ahead = span(ahead.duration());
            (last, Some(format!("the last look is {ahead} ahead of this clock: all this is told as of that moment")))
        }
    }
}

/// The moment in the boot of the last look, by both of its clocks.
fn moment_of(at: SystemTime, last: Option<&LastLook>) -> Moment<'_> {
    let since = last.and_then(|last| at.duration_since(last.at).ok()).unwrap_or_default();
    Moment {
        at,
        boot_id: last.and_then(|last| last.boot_id.as_deref()),
        uptime: last.and_then(|last| last.uptime).map(|uptime| uptime + since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_as_of_now_or_as_of_the_last_look_when_that_is_far() {
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |seconds| last + Duration::from_secs(seconds);
        assert_eq!(moment(last, after(300)), (after(300), None));
        let (at, note) = moment(last, after(12 * 86_400));
        assert_eq!(
            (at, note.as_deref()),
            (last, Some("the last look was 12 days ago: all this is told as of that moment"))
        );
        let (at, note) = moment(after(7_200), last);
        assert_eq!(at, after(7_200));
        assert!(note.is_some_and(|note| note.starts_with("the last look is 2 h ahead of this clock")));
        let look = LastLook { at: last, boot_id: Some("b".into()), uptime: Some(Duration::from_secs(50)) };
        assert_eq!(moment_of(after(10), Some(&look)).uptime, Some(Duration::from_secs(60)));
    }
}
