//! Names that stay, and that every monitoring system takes as they are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::model::process::{Placement, Process};
use crate::model::snapshot::Snapshot;
use crate::model::socket::NetNsIndex;
use crate::render::roster::OTHER;
use crate::render::words::short_id;

/// How long a name may be, in characters: a unit of systemd may have 255, and a name in Zabbix as many, with words around it.
const LONGEST: usize = 96;

/// What is called so has no name.
const UNNAMED: &str = "unnamed";

static CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// `_` and eight digits.
const SUFFIX: usize = 9;

/// What a row is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::render) enum Kind {
    /// A systemd unit.
    Unit,
    /// The file name of an executable.
    Executable,
    /// The name that a process gave itself: its executable may not be read.
    Process,
    /// A user: the processes may not be seen.
    User,
    /// A user, and the systemd unit that the sockets were made in: the processes may not be seen.
    UserInUnit,
    /// All that have no row of their own.
    Other,
}

impl Kind {
    /// For machines.
    pub(in crate::render) fn token(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Executable => "executable",
            Self::Process => "process",
            Self::User => "user",
            Self::UserInUnit => "user_in_unit",
            Self::Other => OTHER,
        }
    }
}

/// The name of a process that stays.
pub(super) fn of_process(process: &Process) -> (String, Kind) {
    let unit = process.placement.as_ref().and_then(|placement| placement.unit.as_deref());
    if let Some(unit) = unit.filter(|unit| stays(unit)) {
        return (plain(unit), Kind::Unit);
    }
    match process.exe.as_ref().and_then(|exe| exe.file_name()).map(OsStr::as_bytes) {
        Some(exe) => (plain_bytes(exe.strip_suffix(b" (deleted)").unwrap_or(exe)), Kind::Executable),
        None => (plain(&process.name), Kind::Process),
    }
}

/// The name of the sockets of a user whose processes are not known, and that were made there.
pub(super) fn of_user(uid: Option<u32>, place: Option<&Placement>) -> (String, Kind) {
    let user = uid.map_or_else(|| "user unknown".to_owned(), |uid| format!("user {uid}"));
    match place.and_then(|place| place.unit.as_deref()).filter(|unit| stays(unit)) {
        Some(unit) => (format!("{user} in {}", plain(unit)), Kind::UserInUnit),
        None => (user, Kind::User),
    }
}

/// Whether the unit has this name again when its program is started again. A scope is named after a session or a container's
/// id, a service that `systemd-run` made after a number.
fn stays(unit: &str) -> bool {
    let is_counted = unit.strip_prefix("run-").is_some_and(|rest| rest.contains(|c: char| c.is_ascii_digit()));
    unit.ends_with(".service") && !is_counted && !unit.starts_with("user@")
}

/// The name of a namespace that stays: `None` for one that has no name but a number of a process in it.
pub(in crate::render) fn netns_name(snapshot: &Snapshot, netns: NetNsIndex) -> Option<String> {
    let id = &snapshot.namespaces.get(netns.0 as usize)?.id;
    if id.name.starts_with("pid ") {
        return id.unit.as_deref().filter(|unit| stays(unit)).map(plain);
    }
    Some(plain(&short_id(&id.name)))
}

/// The text with nothing in it that a key, a path, a shell or a label could mistake for its own: letters, digits and `.-_@:+/ []`.
///
/// Two texts stay two names: one in which something was replaced or cut off, and one that reads as a row of this program's
/// own, ends in the digits of its CRC-32. They depend on the text alone, today and next year.
pub(super) fn plain(text: &str) -> String {
    plain_bytes(text.as_bytes())
}

fn plain_bytes(bytes: &[u8]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_@:+/ []".contains(c);
    let text = String::from_utf8_lossy(bytes);
    let name: String = text.chars().map(|c| if is_plain(c) { c } else { '_' }).take(LONGEST).collect();
    let name = if name.trim().is_empty() { UNNAMED } else { name.trim() };
    let is_ours = matches!(name, OTHER | UNNAMED) || name.starts_with("user ");
    if bytes.is_empty() || (!is_ours && name.as_bytes() == bytes) {
        return name.to_owned();
    }
    // What is plain is one byte each.
    let kept = name[..name.len().min(LONGEST - SUFFIX)].trim_end();
    format!("{kept}_{:08x}", CHECKSUM.checksum(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_left_of_a_name_needs_no_quoting_anywhere() {
        assert_eq!(plain("telegraf@eu-1.service"), "telegraf@eu-1.service");
        assert_eq!(plain("a\"b\\c\n\u{1b}[2J'{#X}${Y}`<ü>"), "a_b_c__[2J___X___Y______b61f7b7e");
        assert_eq!(plain(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
        for hostile in ["x".repeat(4096), format!("{} {0}", "x".repeat(86)), "\u{1b}".repeat(400), " \t".to_owned()] {
            let name = plain(&hostile);
            let is_left = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(name.len() <= LONGEST && name.chars().all(is_left), "{name:?}");
        }
    }

    #[test]
    fn two_texts_stay_two_names() {
        let cut = |end: &str| format!("{}{end}", "x".repeat(200));
        let texts = ["", "  ", " a", "a", "a\n", "a\t", "größer", "grüßer", "gr__er", "unnamed", "other", "user 0"];
        let bytes = [b"\xff\x80".to_vec(), b"\xff\x81".to_vec(), cut("1").into(), cut("2").into()];
        let all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).chain(bytes).collect();
        let names: BTreeSet<String> = all.iter().map(|bytes| plain_bytes(bytes)).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        assert!(!names.contains(OTHER) && !names.contains("user 0"), "what reads as ours is not: {names:?}");
        // The digits are those that gzip and zip have.
        assert_eq!((plain("größer"), plain("")), ("gr__er_f83617b0".to_owned(), UNNAMED.to_owned()));
    }

    #[test]
    fn units_that_are_named_anew_each_time_are_no_names() {
        for unit in ["telegraf.service", "getty@tty1.service", "runner.service", "run-parts.service"] {
            assert!(stays(unit), "{unit}");
        }
        for unit in
            ["session-3.scope", "docker-8f2ab6c0d1e2.scope", "run-r5f2.service", "user@1000.service", "x.socket"]
        {
            assert!(!stays(unit), "{unit}");
        }
    }
}
