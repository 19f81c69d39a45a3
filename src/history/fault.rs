//! What can go wrong with a history, inside and for the reader.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::patience::words;

/// What went wrong within the file; [`super::History`] adds which file and what was being done.
#[derive(Debug)]
pub(super) enum Fault {
    /// It does not hold what was written.
    Damage(&'static str),
    /// A later closewatch wrote it.
    Newer(i64),
    /// Another program wrote it.
    Foreign,
    /// SQLite could not do it.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    /// What is damaged, when it is that. A column of another type and a missing table are damage too: the statements are
    /// always the same.
    pub(super) fn damage(&self) -> Option<String> {
        match self {
            Self::Damage(what) => Some((*what).to_owned()),
            Self::Newer(_) | Self::Foreign => None,
            Self::Sqlite(error) => match error {
                rusqlite::Error::SqliteFailure(failure, text) => {
                    let is_damage = matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                        || failure.extended_code == rusqlite::ffi::SQLITE_ERROR;
                    is_damage.then(|| text.clone().unwrap_or_else(|| failure.to_string()))
                }
                rusqlite::Error::SqlInputError { msg, .. } => Some(msg.clone()),
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::QueryReturnedNoRows => Some(error.to_string()),
                _ => None,
            },
        }
    }

    /// Whether somebody else holds a lock.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}

/// Why a history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The kernel refuses.
    #[error("{operation} {}: {error}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is none yet.
    #[error("opening the history {}: there is none yet", path.display())]
    Missing {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// The place cannot be trusted, and what is there was not touched.
    #[error("opening the history {}: {why}", path.display())]
    Place {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: PlaceFault,
    },
    /// A later version of this program wrote it. It was left as it is.
    #[error(
        "opening the history {}: it has version {found}, and this closewatch knows version {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// It is something else, and was left as it is.
    #[error("opening the history {}: it is not a history of closewatch", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged, and was left as it is: it was opened for reading only, or others are using it.
    #[error("reading the history {}: it is damaged ({what})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is damaged.
        what: String,
    },
    /// Others held it for longer than this look can wait.
    #[error("{operation} the history {}: {}", path.display(), words(*waited))]
    Busy {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// For how long they were waited for.
        waited: Duration,
    },
    /// It can be read only; the reason was noted when it was opened.
    #[error("writing the history {}: {why}", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// SQLite could not do it: the disk is full, or refuses.
    #[error("{operation} the history {}: {error}", path.display())]
    Sqlite {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}

/// Why a place cannot be trusted: what is read there decides what is said of the host, and root may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceFault {
    /// Somebody may have laid it there to have another file written.
    #[error("it is a symbolic link")]
    Link,
    /// A directory, a device, a pipe.
    #[error("it is not a regular file")]
    NotAFile,
    /// The user id of its owner.
    #[error("it belongs to the user with id {0}, neither to you nor to root")]
    Owner(u32),
    /// Everybody may put files into the directory, and take them away.
    #[error("everybody may replace files in its directory")]
    OpenDirectory,
}

impl HistoryError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "name a file in a directory that may be written to with --history, or leave it with --no-history"
            }
            Self::Missing { .. } => "`closewatch check` makes it; run it from cron every few minutes",
            Self::Place { .. } => "name a file of your own, in a directory of your own, with --history",
            Self::Newer { .. } => "use the closewatch that wrote it, or name another file with --history",
            Self::Foreign { .. } => "name another file with --history: this one was not touched",
            Self::Damaged { .. } => "the next `closewatch check` that may write there sets it aside and begins anew",
            Self::Busy { .. } => "is a closewatch stopped, or are hundreds running? end them, or wait",
            Self::NotWritable { .. } => "what was remembered is still read; nothing is added to it",
            Self::Sqlite { .. } => "is there room on the device, and may it be written to?",
        }
    }
}
