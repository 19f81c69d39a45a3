//! Where a report goes: standard output, or a file that is there whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The mode of a file that was not there before: readable by collectors that run as another user.
const FRESH_MODE: u32 = 0o644;

/// An opened way out. A path that cannot be written to is refused when it is opened, before any work is done.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// A file that is written beside its name, and then given it.
    File {
        /// The name.
        target: PathBuf,
        /// The mode that it gets at the end.
        mode: u32,
    },
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The place does not allow it.
    #[error("opening {} for writing: {error}", path.display())]
    Open {
        /// The file that was asked for.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is something that a file must not replace: a directory, a device, a pipe.
    #[error("opening {} for writing: it is not a regular file", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// Writing began and failed; the file is as it was.
    #[error("writing {}: {error}", path.display())]
    Write {
        /// The file that was asked for.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

impl OutputError {
    /// What the reader can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { error, .. } if error.kind() == ErrorKind::NotFound => {
                "the directory must exist: it is not made for you"
            }
            Self::Open { .. } => "the directory must allow a temporary file beside the report",
            Self::NotAFile { .. } => "name a file, or leave --output out and redirect standard output",
            Self::Write { .. } => "the file was left as it was; is there room on the device?",
        }
    }
}

impl Sink {
    /// Opens the way out; `None` is standard output.
    ///
    /// # Errors
    /// When the file could not be written later either.
    pub fn open(file: Option<&Path>) -> Result<Self, OutputError> {
        let Some(path) = file else {
            return Ok(Self::Stdout);
        };
        let refuse = |error| OutputError::Open { path: path.to_owned(), error };
        // A symbolic link stays one: what it points to is replaced.
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(refuse(error)),
        };
        let mode = match target.metadata() {
            Ok(there) if !there.is_file() => return Err(OutputError::NotAFile { path: path.to_owned() }),
            Ok(there) => there.permissions().mode() & 0o777,
            Err(_) => FRESH_MODE,
        };
        // Whether the directory takes a file shows one that has no name: of a look that is killed nothing stays behind.
        tempfile::tempfile_in(directory_of(&target)).map_err(|error| refuse(without_path(error)))?;
        Ok(Self::File { target, mode })
    }

    /// Writes the report. A file appears under its name only when all of it is on the device.
    ///
    /// # Errors
    /// What the kernel said; a closed pipe is an error here.
    pub fn write(self, bytes: &[u8]) -> Result<(), OutputError> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
                written.map_err(|error| OutputError::Write { path: "standard output".into(), error })
            }
            Self::File { target, mode } => replace(&target, mode, bytes)
                .map_err(|error| OutputError::Write { path: target, error: without_path(error) }),
        }
    }
}

fn replace(target: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = tempfile::Builder::new().prefix(".closewatch-").tempfile_in(directory_of(target))?;
    temporary.write_all(bytes)?;
    temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|error| error.error)?;
    // The name is an entry of the directory, which has a cache of its own.
    File::open(directory_of(target))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The error without the random name of the temporary file, which `tempfile` adds and which means nothing to the reader.
/// The kind of the error tells which of the kernel's it was; of any other, all is left as it was.
fn without_path(error: io::Error) -> io::Error {
    let kernels =
        [Errno::NOENT, Errno::ACCESS, Errno::NOTDIR, Errno::ROFS, Errno::NOSPC, Errno::DQUOT].map(io::Error::from);
    kernels.into_iter().find(|known| known.kind() == error.kind()).unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("report");
        Sink::open(Some(&path)).expect("opens").write(b"one").expect("writes");
        assert_eq!(std::fs::read(&path).expect("there"), b"one");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o644);
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let sink = Sink::open(Some(&link)).expect("opens");
        assert_eq!(std::fs::read(&path).expect("there"), b"one", "opening changes nothing");
        sink.write(b"two").expect("writes");
        assert_eq!(std::fs::read(&path).expect("there"), b"two");
        assert!(link.is_symlink());
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_sink_that_is_not_used_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = Sink::open(Some(&dir.path().join("report"))).expect("opens");
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0, "whoever is killed now leaves nothing");
        drop(sink);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
    }

    #[test]
    fn devices_and_directories_are_not_replaced() {
        for path in ["/dev/null", "/tmp"] {
            assert!(matches!(Sink::open(Some(Path::new(path))), Err(OutputError::NotAFile { .. })), "{path}");
        }
        let missing = Sink::open(Some(Path::new("/nonexistent/report"))).expect_err("no such directory");
        assert_eq!(
            missing.to_string(),
            "opening /nonexistent/report for writing: No such file or directory (os error 2)"
        );
    }
}
