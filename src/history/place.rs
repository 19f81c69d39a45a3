//! Where a history lies, who may have put it there, and how a damaged one is set aside.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FileType, FlockOperation, Mode, flock, mknodat};
use rustix::io::Errno;

use super::fault::{HistoryError, PlaceFault};
use super::patience::Patience;

const FILE_NAME: &str = "history.db";

/// The files that SQLite keeps beside its own: what is written ahead, its index, and the journal of other modes.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// So many damaged histories are kept; the oldest goes for the next.
const MOST_SET_ASIDE: usize = 3;

/// Where the history lies when nobody says otherwise: where systemd keeps the state of the unit (`StateDirectory=`), else
/// `/var/lib/closewatch` for root and `~/.local/state/closewatch` for others (XDG Base Directory Specification). `None`
/// when the environment names no home.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    default_path_of(rustix::process::geteuid().is_root(), variable)
}

fn default_path_of(is_root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // Relative paths in these variables are to be ignored; of several directories of a unit the first is meant.
    let absolute = |name: &str| {
        let first = std::env::split_paths(&variable(name)?).next()?;
        first.is_absolute().then_some(first)
    };
    let directory = if let Some(directory) = absolute("STATE_DIRECTORY") {
        directory
    } else if is_root {
        PathBuf::from("/var/lib/closewatch")
    } else {
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?.join("closewatch")
    };
    Some(directory.join(FILE_NAME))
}

/// A file that may be trusted, in a directory that is held: nobody sets the file aside while this lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    directory: File,
    patience: Patience,
}

/// What a look at the file tells one history from the next by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Place {
    /// Makes the directory and an empty file where there are none, for nobody but the owner and its group to read.
    pub(super) fn make(path: &Path, patience: Patience) -> Result<Self, HistoryError> {
        let parent = parent_of(path);
        let made = DirBuilder::new().recursive(true).mode(0o750).create(parent);
        made.map_err(|error| HistoryError::Io { operation: "making the directory", path: parent.to_owned(), error })?;
        let place = Self::hold(path, patience)?;
        place.make_file()?;
        Ok(place)
    }

    /// The place of a file that must be there.
    pub(super) fn find(path: &Path, patience: Patience) -> Result<Self, HistoryError> {
        match Self::hold(path, patience) {
            Err(HistoryError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {
                Err(HistoryError::Missing { path: path.to_owned() })
            }
            // An empty file is one that nobody has come to write yet.
            Ok(place) if place.metadata()?.is_none_or(|there| there.len() == 0 && !place.has_pages_ahead()) => {
                Err(HistoryError::Missing { path: place.path })
            }
            held => held,
        }
    }

    fn hold(path: &Path, patience: Patience) -> Result<Self, HistoryError> {
        let refuse = |error| HistoryError::Io { operation: "opening the history", path: path.to_owned(), error };
        let name = path.file_name().ok_or_else(|| refuse(ErrorKind::InvalidInput.into()))?;
        // SQLite is told to follow no link at all; those on the way to the directory are the operator's.
        let parent = parent_of(path).canonicalize().map_err(refuse)?;
        let directory = File::open(&parent).map_err(refuse)?;
        check_directory(&parent, &directory.metadata().map_err(refuse)?)?;
        let place = Self { path: parent.join(name), directory, patience };
        place.lock(FlockOperation::NonBlockingLockShared)?;
        if let Some(there) = place.metadata()? {
            check_file(&place.path, &there)?;
        }
        for companion in place.companions() {
            if let Ok(there) = fs::symlink_metadata(&companion) {
                check_file(&companion, &there)?;
            }
        }
        Ok(place)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How long others are waited for by who uses the file.
    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Waits for a lock on the directory: shared by all who use a history in it, alone for one who sets it aside.
    fn lock(&self, operation: FlockOperation) -> Result<(), HistoryError> {
        let (start, patience) = (Instant::now(), self.patience.left());
        loop {
            match flock(&self.directory, operation) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let (path, waited) = (self.path.clone(), start.elapsed());
                    return Err(HistoryError::Busy { operation: "opening", path, waited });
                }
                Err(error) => return Err(self.refused("locking the directory of", error.into())),
            }
        }
    }

    fn refused(&self, operation: &'static str, error: io::Error) -> HistoryError {
        HistoryError::Io { operation, path: self.path.clone(), error }
    }

    /// `None` when there is no file.
    fn metadata(&self) -> Result<Option<Metadata>, HistoryError> {
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok(Some(there)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.refused("opening the history", error)),
        }
    }

    /// Which file lies there now.
    pub(super) fn identity(&self) -> Result<Option<Identity>, HistoryError> {
        let there = self.metadata()?;
        Ok(there.map(|there| Identity { device: there.dev(), inode: there.ino() }))
    }

    /// Makes an empty file, unless there is one. It is not opened for that: closing it would drop the locks that SQLite holds
    /// on it in this process (POSIX advisory locks, fcntl(2)).
    fn make_file(&self) -> Result<(), HistoryError> {
        if self.metadata()?.is_some() {
            return Ok(());
        }
        let mode = Mode::from_raw_mode(0o640);
        match mknodat(rustix::fs::CWD, &self.path, FileType::RegularFile, mode, 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(self.refused("making the history", error.into())),
        }
    }

    fn companions(&self) -> impl Iterator<Item = PathBuf> + '_ {
        COMPANIONS.iter().map(|suffix| with_suffix(&self.path, suffix))
    }

    /// How many bytes the file and its companions have; what cannot be asked about has none.
    pub(super) fn bytes(&self) -> u64 {
        let files = std::iter::once(self.path.clone()).chain(self.companions());
        files.filter_map(|file| fs::symlink_metadata(file).ok()).map(|there| there.len()).sum()
    }

    /// Whether something that was written ahead has not found its place in the file yet.
    pub(super) fn has_pages_ahead(&self) -> bool {
        fs::symlink_metadata(with_suffix(&self.path, "-wal")).is_ok_and(|there| there.len() > 0)
    }

    /// Whether a damaged file may be set aside: one whose name says that it is a database, or that still has our mark. A file
    /// that was named by mistake is not moved.
    pub(super) fn may_be_moved(&self) -> bool {
        /// Where a SQLite file has its `application_id` (SQLite, "Database File Format", 1.3).
        const MARK: std::ops::Range<usize> = 68..72;
        let has_mark = || {
            let bytes = fs::read(&self.path).unwrap_or_default();
            bytes.get(MARK).is_some_and(|mark| mark == b"clwa")
        };
        self.path.extension().is_some_and(|extension| extension == "db") || has_mark()
    }

    /// Renames the damaged file and what belongs to it, and makes an empty one; the new name of the old one. `None` when it
    /// was no longer there: another process has just done the same.
    ///
    /// Everyone who uses a history holds the directory: alone in it, nobody has the file open, and nobody finds half of it.
    pub(super) fn set_aside(&self, damaged: Identity, now: Timestamp) -> Result<Option<PathBuf>, HistoryError> {
        self.lock(FlockOperation::Unlock)?;
        self.lock(FlockOperation::NonBlockingLockExclusive)?;
        let moved = self.move_away(damaged, now);
        let made = self.make_file();
        self.lock(FlockOperation::NonBlockingLockShared)?;
        made.and(moved)
    }

    fn move_away(&self, damaged: Identity, now: Timestamp) -> Result<Option<PathBuf>, HistoryError> {
        if self.identity()? != Some(damaged) {
            return Ok(None);
        }
        let refused = |error| self.refused("setting aside the history", error);
        let target = self.fresh_name(&now.strftime(".damaged-%Y%m%d-%H%M%S").to_string());
        for companion in COMPANIONS {
            match fs::rename(with_suffix(&self.path, companion), with_suffix(&target, companion)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(refused(error)),
                _ => {}
            }
        }
        fs::rename(&self.path, &target).map_err(refused)?;
        self.forget_oldest();
        Ok(Some(target))
    }

    /// A name for a file that is set aside in this second. One that was set aside later sorts behind one that was before.
    fn fresh_name(&self, stamp: &str) -> PathBuf {
        let first = with_suffix(&self.path, stamp);
        let same_second = |name: &OsString| {
            let name = name.as_encoded_bytes();
            first.file_name().is_some_and(|first| name.starts_with(first.as_encoded_bytes()))
        };
        match self.set_aside_before().iter().filter(|name| same_second(name)).count() {
            0 => first,
            _ => {
                let taken = |nth: &u32| fs::symlink_metadata(with_suffix(&first, &format!("-{nth}"))).is_ok();
                let last = (2..100).rev().find(taken).unwrap_or(1);
                with_suffix(&first, &format!("-{}", last + 1))
            }
        }
    }

    /// The names of the files that were set aside, the oldest first.
    fn set_aside_before(&self) -> Vec<OsString> {
        let Some(name) = self.path.file_name() else { return Vec::new() };
        let mut prefix = name.to_owned();
        prefix.push(".damaged-");
        let entries = fs::read_dir(parent_of(&self.path)).into_iter().flatten().flatten();
        let is_set_aside = |name: &OsString| {
            name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
                && !COMPANIONS.iter().any(|suffix| name.as_encoded_bytes().ends_with(suffix.as_bytes()))
        };
        let mut aside: Vec<OsString> = entries.map(|entry| entry.file_name()).filter(is_set_aside).collect();
        aside.sort();
        aside
    }

    /// A device that damages files must not be filled with them. What cannot be removed stays.
    fn forget_oldest(&self) {
        for name in self.set_aside_before().iter().rev().skip(MOST_SET_ASIDE) {
            let path = self.path.with_file_name(name);
            for suffix in COMPANIONS.iter().chain(&[""]) {
                let _ = fs::remove_file(with_suffix(&path, suffix));
            }
        }
    }
}

fn check_directory(path: &Path, there: &Metadata) -> Result<(), HistoryError> {
    let refuse = |why| Err(HistoryError::Place { path: path.to_owned(), why });
    if !is_ours(there) {
        return refuse(PlaceFault::Owner(there.uid()));
    }
    // In a sticky directory, as /tmp is, nobody may take away what is another's.
    if there.mode() & 0o1002 == 0o002 { refuse(PlaceFault::OpenDirectory) } else { Ok(()) }
}

fn check_file(path: &Path, there: &Metadata) -> Result<(), HistoryError> {
    let kind = there.file_type();
    let refuse = |why| Err(HistoryError::Place { path: path.to_owned(), why });
    if kind.is_symlink() {
        return refuse(PlaceFault::Link);
    }
    if !kind.is_file() || kind.is_fifo() {
        return refuse(PlaceFault::NotAFile);
    }
    if is_ours(there) { Ok(()) } else { refuse(PlaceFault::Owner(there.uid())) }
}

fn is_ours(there: &Metadata) -> bool {
    there.uid() == 0 || there.uid() == rustix::process::geteuid().as_raw()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_the_conventions() {
        let environment = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let home = environment(&[("HOME", "/home/ada")]);
        let path = |is_root, variable: &dyn Fn(&str) -> Option<OsString>| {
            default_path_of(is_root, variable).map(|path| path.display().to_string())
        };
        assert_eq!(path(true, &home).as_deref(), Some("/var/lib/closewatch/history.db"));
        assert_eq!(path(false, &home).as_deref(), Some("/home/ada/.local/state/closewatch/history.db"));
        let xdg = environment(&[("HOME", "/home/ada"), ("XDG_STATE_HOME", "/state")]);
        assert_eq!(path(false, &xdg).as_deref(), Some("/state/closewatch/history.db"));
        let relative = environment(&[("HOME", "/home/ada"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(path(false, &relative).as_deref(), Some("/home/ada/.local/state/closewatch/history.db"));
        let unit = environment(&[("STATE_DIRECTORY", "/var/lib/closewatch:/var/lib/other")]);
        assert_eq!(path(true, &unit).as_deref(), Some("/var/lib/closewatch/history.db"));
        assert_eq!(path(false, &|_: &str| None), None);
    }
}
