//! Saved looks: a file in place of the running host. Its content decides what it is, not its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::recording::frame::FrameError;
use super::recording::{self, RecordingError};
use super::{CaptureError, Request, SnapshotSource};
use crate::model::snapshot::Snapshot;

/// The largest file that is read. A recording of a million sockets has some 30 MiB, saved text of as many some 200.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// A file that was saved earlier, or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLook {
    /// Its name; `None` for standard input.
    pub path: Option<PathBuf>,
}

/// Why a file cannot stand for a host.
#[derive(Debug, thiserror::Error)]
pub enum FromError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is larger than what is read.
    #[error("it is larger than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// It is a recording, and cannot be used.
    #[error("{0}")]
    Recording(#[from] RecordingError),
    /// It is none of the formats that are known.
    #[error("it is not a recording of closewatch")]
    Unknown,
}

impl FromError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "name a file that was saved by `closewatch record`, or `-` for standard input",
            Self::TooLarge => "is it the right file? no look at a host is so large",
            Self::Empty | Self::Unknown => "save one with `closewatch record FILE`",
            Self::Recording(RecordingError::Frame(FrameError::Version { .. })) => "read it with a newer closewatch",
            Self::Recording(_) => "copy it again from where it was recorded, or record anew",
        }
    }
}

impl SnapshotSource for SavedLook {
    /// Reads the file. What is asked for was decided when it was saved; of the request nothing is left to be done.
    fn take(&self, _request: &Request) -> Result<Snapshot, CaptureError> {
        let name = self.path.as_ref().map(|path| path.display().to_string());
        let looked = self.read_bytes().and_then(|bytes| read(&bytes));
        match looked {
            Ok(mut snapshot) => {
                snapshot.file.get_or_insert_default().name = name;
                Ok(snapshot)
            }
            Err(error) => {
                let name = name.unwrap_or_else(|| "standard input".to_owned());
                Err(CaptureError::From { name, error })
            }
        }
    }
}

impl SavedLook {
    fn read_bytes(&self) -> Result<Vec<u8>, FromError> {
        let mut bytes = Vec::new();
        match &self.path {
            Some(path) => File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?,
            None => io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?,
        };
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(FromError::TooLarge) } else { Ok(bytes) }
    }
}

/// Reads whatever was saved, by its content.
///
/// # Errors
/// When it is nothing that is known, or when nothing to look at is left of it.
pub fn read(bytes: &[u8]) -> Result<Snapshot, FromError> {
    if bytes.is_empty() {
        return Err(FromError::Empty);
    }
    if recording::is_recording(bytes) {
        return Ok(recording::decode(bytes)?);
    }
    Err(FromError::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides() {
        assert!(matches!(read(b""), Err(FromError::Empty)));
        assert!(matches!(read(b"\x7fELF"), Err(FromError::Unknown)));
        assert!(matches!(read(b"closewatch.recording/1\n"), Err(FromError::Recording(_))));
    }
}
