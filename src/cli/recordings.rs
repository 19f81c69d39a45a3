//! A history that is built after the fact: of recordings of one host, in the order of their time.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::history::{Keeping, Shelf};
use super::request::HistoryRequest;
use super::usage::UsageError;
use crate::capture::from::{Origin, SavedLook};
use crate::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use crate::census::Query;
use crate::diagnosis::policy::Policy;
use crate::history::{Access, History, Moment};
use crate::model::selection::Selection;
use crate::model::wording::counted;
use crate::report;

/// A recording, and what its head says.
struct Recording {
    path: PathBuf,
    origin: Origin,
}

/// Remembers the recordings, as if each had been checked when it was made: in the file that was asked for, or for this once.
///
/// # Errors
/// When one of them cannot be read or is no recording, when they are of several hosts, and when they cannot be remembered.
pub(super) fn remember(from: &[PathBuf], asked: &HistoryRequest) -> Result<Shelf> {
    let mut notes = Vec::new();
    let recordings = gather(from, &mut notes)?;
    refuse_several_hosts(&recordings)?;
    let (path, keeping) = match asked {
        HistoryRequest::File(path) => (path.clone(), Keeping::File),
        HistoryRequest::Usual | HistoryRequest::None => {
            let dir = tempfile::tempdir().context("making a directory for the history")?;
            (dir.path().join("history.db"), Keeping::ForOnce(dir))
        }
    };
    let mut history = History::open(&path, Access::ReadWrite)?;
    let (added, known) = add(&mut history, &recordings)?;
    notes.insert(0, format!("{} added", counted(added, "recording", "recordings")));
    if known > 0 {
        let recordings = counted(known, "recording", "recordings");
        notes.push(format!("{recordings} left out: no later than what was remembered before"));
    }
    Ok(Shelf { history, keeping, notes })
}

/// Adds those that are later than all that is remembered: how many that were, and how many were not.
fn add(history: &mut History, recordings: &[Recording]) -> Result<(u64, u64)> {
    let last = history.last_look()?.map(|last| last.at);
    let is_later =
        |recording: &&Recording| last.is_none_or(|last| milliseconds_of(&recording.origin) > milliseconds(last));
    let policy = Policy::default();
    let query = Query {
        selection: Selection::default(),
        port_ranges: Vec::new(),
        stuck_after: policy.stuck_after,
        snat_limit: None,
    };
    let mut added = 0;
    for recording in recordings.iter().filter(is_later) {
        let snapshot = saved(&recording.path).take(&everything())?;
        let host = &snapshot.host;
        let moment = Moment { at: snapshot.taken_at, boot_id: host.boot_id.as_deref(), uptime: host.uptime };
        let past = history.past(&moment)?;
        let mut report = report::build(&snapshot, &query, &past, &policy);
        history.remember(&report.memory())?;
        added += 1;
    }
    Ok((added, recordings.len() as u64 - added))
}

fn saved(path: &Path) -> SavedLook {
    SavedLook { path: Some(path.to_owned()), ephemeral: None }
}

/// What was looked for was decided when it was recorded.
fn everything() -> Request {
    Request {
        netns: NetNsChoice::All,
        selection: Selection::default(),
        processes: ProcessChoice::Attribute,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    }
}

/// Every recording once, in the order of their time.
fn gather(from: &[PathBuf], notes: &mut Vec<String>) -> Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for path in from {
        if path.is_dir() {
            gather_folder(path, &mut recordings, notes)?;
        } else {
            let origin = saved(path).origin()?.ok_or_else(|| no_recording(path))?;
            recordings.push(Recording { path: path.clone(), origin });
        }
    }
    recordings.sort_by_key(|recording| milliseconds_of(&recording.origin));
    let all = recordings.len();
    let mut seen = HashSet::new();
    recordings.retain(|Recording { origin, .. }| seen.insert((origin.host.boot_id.clone(), milliseconds_of(origin))));
    let twice = (all - recordings.len()) as u64;
    if twice > 0 {
        notes.push(format!(
            "{} of the same moment as another; each counts once",
            counted(twice, "recording is", "recordings are")
        ));
    }
    Ok(recordings)
}

/// What else lies in a folder was not meant, and is told.
fn gather_folder(folder: &Path, recordings: &mut Vec<Recording>, notes: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let before = recordings.len();
    let mut others = 0;
    for path in paths {
        match saved(&path).origin()? {
            Some(origin) => recordings.push(Recording { path, origin }),
            None => others += 1,
        }
    }
    if recordings.len() == before {
        let message = format!("--from: there is no recording in {}", folder.display());
        return Err(UsageError::new(message, RECORD).into());
    }
    if others > 0 {
        let files = counted(others, "file is no recording", "files are no recordings");
        notes.push(format!("in {} {files}, and left out", folder.display()));
    }
    Ok(())
}

const RECORD: &str = "`closewatch record FILE` saves looks that a history can be built of; run it from cron";

fn no_recording(path: &Path) -> UsageError {
    let path = path.display();
    UsageError::new(format!("--from: {path} is no recording: it tells neither its moment nor its host"), RECORD)
}

/// Two recordings of one boot are of one host, whatever it was called; else its name must be the same.
fn refuse_several_hosts(recordings: &[Recording]) -> Result<(), UsageError> {
    let Some((first, others)) = recordings.split_first() else { return Ok(()) };
    let mut boots: HashSet<&str> = first.origin.host.boot_id.as_deref().into_iter().collect();
    for other in others {
        let host = &other.origin.host;
        let is_known_boot = host.boot_id.as_deref().is_some_and(|boot| boots.contains(boot));
        let names = first.origin.host.name.as_deref().zip(host.name.as_deref());
        if let Some((one, another)) = names.filter(|(one, another)| one != another && !is_known_boot) {
            let [first, other] = [first, other].map(|recording| recording.path.display().to_string());
            return Err(UsageError::new(
                format!("--from: {first} is of the host {one}, and {other} of the host {another}"),
                "a history is of one host: build one for each",
            ));
        }
        boots.extend(host.boot_id.as_deref());
    }
    Ok(())
}

/// As finely as the history remembers moments.
fn milliseconds_of(origin: &Origin) -> i128 {
    milliseconds(origin.taken_at)
}

fn milliseconds(time: SystemTime) -> i128 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i128,
        Err(before) => -(before.duration().as_millis() as i128),
    }
}
