//! What somebody saved instead of the running host (`--from`). Content decides what it is, not its name.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{CaptureError, Request, SnapshotSource, saved_text};
use crate::model::ports::EphemeralRange;
use crate::model::snapshot::Snapshot;

/// More is no table of sockets: a row of `ss` with every option is below 2 KiB, and no host has half a million.
const LONGEST: u64 = 1 << 30;

/// A file to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFile {
    /// Where it is; `None` is standard input.
    pub path: Option<PathBuf>,
    /// The ephemeral port range of the namespace that it is of, where the operator gave it.
    pub ephemeral: Option<EphemeralRange>,
}

impl SnapshotSource for SavedFile {
    /// Reads the file. What it shows was decided when it was saved: nothing of the request is left to be done.
    fn take(&self, _request: &Request) -> Result<Snapshot, CaptureError> {
        let name = self.path.clone().unwrap_or_else(|| "standard input".into());
        let read = match &self.path {
            Some(path) => read_file(path),
            None => read_all(io::stdin().lock()).map(|bytes| (bytes, SystemTime::now())),
        };
        let (bytes, saved_at) = read.map_err(|error| CaptureError::ReadFile { path: name.clone(), error })?;
        saved_text::read(&bytes, saved_at, self.ephemeral)
            .map_err(|error| CaptureError::SavedText { path: name, error })
    }
}

/// The content, and when it was written.
fn read_file(path: &Path) -> io::Result<(Vec<u8>, SystemTime)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // A pipe tells when it was made, which means nothing.
    let saved_at = if metadata.is_file() { metadata.modified()? } else { SystemTime::now() };
    Ok((read_all(file)?, saved_at))
}

fn read_all(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 GiB"));
    }
    Ok(bytes)
}
