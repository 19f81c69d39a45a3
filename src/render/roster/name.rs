//! Names that stay, and that every monitoring system takes as they are.

use crate::model::process::{Placement, Process};
use crate::model::snapshot::Snapshot;
use crate::model::socket::NetNsIndex;
use crate::render::roster::OTHER;
use crate::render::words::short_id;

/// How long a name may be, in characters: a unit of systemd may have 255, and a name in Zabbix as many, with words around it.
const LONGEST: usize = 96;

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
    let exe = process.exe.as_ref().and_then(|exe| exe.file_name()).map(|name| name.to_string_lossy());
    match exe {
        Some(exe) => (plain(exe.strip_suffix(" (deleted)").unwrap_or(&exe)), Kind::Executable),
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
/// Names that become one by this are one.
pub(super) fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_@:+/ []".contains(c);
    let text: String = text.chars().take(LONGEST).map(|c| if is_plain(c) { c } else { '_' }).collect();
    match text.trim() {
        "" => "unnamed".to_owned(),
        OTHER => format!("{OTHER}_"),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_name_needs_no_quoting_anywhere() {
        assert_eq!(plain("telegraf@eu-1.service"), "telegraf@eu-1.service");
        assert_eq!(plain("a\"b\\c\n\u{1b}[2J'{#X}${Y}`<ü>"), "a_b_c__[2J___X___Y_____");
        assert_eq!(plain(" \t"), "_");
        assert_eq!(plain("  "), "unnamed");
        assert_eq!(plain("other"), "other_");
        assert_eq!(plain(&"x".repeat(4096)).len(), LONGEST);
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
