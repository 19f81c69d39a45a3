//! Saved looks: a file in place of the running host. Its content decides what it is, not its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use super::recording::frame::FrameError;
use super::recording::{self, RecordingError};
use super::saved_text::{self, SavedTextError};
use super::{CaptureError, Request, SnapshotSource};
use crate::model::ports::EphemeralRange;
use crate::model::snapshot::{Host, Snapshot};

/// The largest file that is read. A recording of a million sockets has some 30 MiB, saved text of as many some 200.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// A file that was saved earlier, or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedLook {
    /// Its name; `None` for standard input.
    pub path: Option<PathBuf>,
    /// The ephemeral port range of the host that a saved text is of, where the operator gave it: no such text tells it.
    pub ephemeral: Option<EphemeralRange>,
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
    /// It is a recording, and cannot be used.
    #[error("{0}")]
    Recording(#[from] RecordingError),
    /// A recording tells its port range itself.
    #[error("it is a recording, which has its own ephemeral port range")]
    RangeOfRecording,
    /// It is no recording, and no text that can be used.
    #[error("{0}")]
    Text(#[from] SavedTextError),
}

impl FromError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "name a file that can be read, or `-` for standard input",
            Self::TooLarge => "is it the right file? no look at a host is so large",
            Self::RangeOfRecording => "leave --ephemeral-range away",
            Self::Text(error) => error.hint(),
            Self::Recording(RecordingError::Frame(FrameError::Version { .. })) => "read it with a newer closewatch",
            Self::Recording(_) => "copy it again from where it was recorded, or record anew",
        }
    }
}

impl SnapshotSource for SavedLook {
    /// Reads the file. What is asked for was decided when it was saved; of the request nothing is left to be done.
    fn take(&self, _request: &Request) -> Result<Snapshot, CaptureError> {
        let name = self.path.as_ref().map(|path| path.display().to_string());
        let looked = self.read_bytes().and_then(|(bytes, saved_at)| read(&bytes, saved_at, self.ephemeral));
        match looked {
            Ok(mut snapshot) => {
                snapshot.file.get_or_insert_default().name = name;
                Ok(snapshot)
            }
            Err(error) => Err(CaptureError::From { name: self.name(), error }),
        }
    }
}

/// Of which moment and which host a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// When the look began.
    pub taken_at: SystemTime,
    /// Which host.
    pub host: Host,
}

impl SavedLook {
    /// Where the look comes from, without reading all of it; `None` of what is no recording, and tells neither.
    ///
    /// # Errors
    /// When the file cannot be read, or is a recording whose head cannot.
    pub fn origin(&self) -> Result<Option<Origin>, CaptureError> {
        let read = self.read_bytes().and_then(|(bytes, _)| {
            let head = recording::is_recording(&bytes).then(|| recording::decode_head(&bytes)).transpose()?;
            Ok(head.map(|(taken_at, host)| Origin { taken_at, host }))
        });
        read.map_err(|error| CaptureError::From { name: self.name(), error })
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
    }

    /// The content, and when it was saved, as far as can be told.
    fn read_bytes(&self) -> Result<(Vec<u8>, SystemTime), FromError> {
        let mut bytes = Vec::new();
        let saved_at = match &self.path {
            Some(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
                // A pipe tells when it was made, which means nothing.
                if metadata.is_file() { metadata.modified()? } else { SystemTime::now() }
            }
            None => {
                io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
                SystemTime::now()
            }
        };
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(FromError::TooLarge) } else { Ok((bytes, saved_at)) }
    }
}

/// Reads whatever was saved, by its content. `saved_at` and `ephemeral` are for texts, which tell neither.
///
/// # Errors
/// When it is nothing that is known, or when nothing to look at is left of it.
pub fn read(bytes: &[u8], saved_at: SystemTime, ephemeral: Option<EphemeralRange>) -> Result<Snapshot, FromError> {
    if !recording::is_recording(bytes) {
        return Ok(saved_text::read(bytes, saved_at, ephemeral)?);
    }
    match ephemeral {
        Some(_) => Err(FromError::RangeOfRecording),
        None => Ok(recording::decode(bytes)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides() {
        let read = |bytes: &[u8]| read(bytes, SystemTime::UNIX_EPOCH, None);
        assert!(matches!(read(b""), Err(FromError::Text(SavedTextError::Empty))));
        assert!(matches!(read(b"\x7fELF"), Err(FromError::Text(_))));
        assert!(matches!(read(b"closewatch.recording/1\n"), Err(FromError::Recording(_))));
        assert!(read(b"ESTAB 0 0 10.0.0.1:40000 10.0.0.2:80\n").is_ok());
    }
}
