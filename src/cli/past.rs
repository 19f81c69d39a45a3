//! What a command has to do with the history: what it reads of it before it judges, and what it adds after.

use std::io;

use super::request::HistoryRequest;
use crate::capture::{Deadline, NetNsChoice, Request};
use crate::history::{self, Access, History, HistoryError, Moment};
use crate::model::past::{HistoryNote, Memory, Past};
use crate::model::snapshot::Snapshot;

/// An open history, or why there is none.
#[derive(Debug)]
pub(super) struct Keeper {
    history: Option<History>,
    note: HistoryNote,
}

/// What a command wants of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To know the past. Where nobody named a file, there need not be one.
    Know,
    /// To know it and to add to it. What cannot be added is told, and the look is graded all the same.
    Remember,
}

impl Keeper {
    /// Opens the history that was asked for. Others are waited for as long as there is time for the look: what is left after
    /// that is for telling it.
    ///
    /// # Errors
    /// When a file that was named cannot be read, and the command has nothing else to do with it than to read.
    pub(super) fn open(asked: &HistoryRequest, purpose: Purpose, deadline: Deadline) -> Result<Self, HistoryError> {
        let (path, is_named) = match asked {
            HistoryRequest::None => return Ok(Self::without(None)),
            HistoryRequest::File(path) => (Some(path.clone()), true),
            HistoryRequest::Usual => (history::default_path(), false),
        };
        let Some(path) = path else {
            return Ok(Self::without((purpose == Purpose::Remember).then(no_home)));
        };
        let access = if purpose == Purpose::Remember { Access::ReadWrite } else { Access::ReadOnly };
        match History::open_by(&path, access, deadline.moment()) {
            Ok(history) => {
                Ok(Self { history: Some(history), note: HistoryNote { file: Some(path), ..HistoryNote::default() } })
            }
            Err(error) if purpose == Purpose::Remember => Ok(Self::without(Some(format!("not remembered: {error}")))),
            Err(error) if is_named => Err(error),
            Err(error) if is_absent(&error) => Ok(Self::without(None)),
            Err(error) => Ok(Self::without(Some(error.to_string()))),
        }
    }

    fn without(why: Option<String>) -> Self {
        Self { history: None, note: HistoryNote { notes: Vec::from_iter(why), ..HistoryNote::default() } }
    }

    /// What is known of the past of this host; empty when there is no history, or none that can be read, which is noted.
    pub(super) fn past(&mut self, snapshot: &Snapshot) -> Past {
        let Some(history) = &mut self.history else { return Past::default() };
        let host = &snapshot.host;
        let moment = Moment { at: snapshot.taken_at, boot_id: host.boot_id.as_deref(), uptime: host.uptime };
        history.past(&moment).unwrap_or_else(|error| {
            self.note.notes.push(error.to_string());
            Past::default()
        })
    }

    /// Adds the look, unless there is a reason not to, and says what became of it.
    pub(super) fn remember(&mut self, memory: &Memory, reason_not_to: Option<String>) {
        let Some(history) = &mut self.history else { return };
        match reason_not_to.map_or_else(|| history.remember(memory).map_err(|error| error.to_string()), Err) {
            Ok(remembered) => self.note.turnover = Some(remembered),
            Err(why) => self.note.notes.push(format!("not remembered: {why}")),
        }
    }

    /// What is to be said of the history.
    pub(super) fn into_note(self) -> HistoryNote {
        let Self { history, mut note } = self;
        let notes = history.map_or_else(Vec::new, |history| history.notes().to_vec());
        // A history that cannot be added to says so once.
        note.notes.retain(|said| !notes.iter().any(|note| said.ends_with(note.as_str())));
        note.notes.splice(0..0, notes);
        note
    }
}

/// Why this look must not be added to the history of the host: what it leaves out would look as if it were gone. To be asked
/// when the look is over: the time that passes after it has cut nothing short.
pub(super) fn unfit(request: &Request, asked: &HistoryRequest) -> Option<String> {
    if request.deadline.has_passed() {
        return Some("the look was cut short".to_owned());
    }
    if !request.selection.is_everything() {
        return Some("filters leave sockets out, which would look as if they were gone".to_owned());
    }
    if request.netns != NetNsChoice::All && !matches!(asked, HistoryRequest::File(_)) {
        return Some("only one network namespace was looked at; --history FILE keeps a history of it alone".to_owned());
    }
    None
}

fn no_home() -> String {
    "not remembered: the environment names no place for it (HOME, XDG_STATE_HOME); --history FILE does".to_owned()
}

/// Whether there is nothing there yet, or nothing that this user may know of.
fn is_absent(error: &HistoryError) -> bool {
    match error {
        HistoryError::Missing { .. } => true,
        HistoryError::Io { error, .. } => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}
