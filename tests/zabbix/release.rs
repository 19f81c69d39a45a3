//! Which Zabbix: the 6.0 that Debian 12 installs, or the 7.0 that `tests/zabbix/seven` unpacks beside it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{has_program, is_root};

/// A release whose servers and agents are on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Installed.
    Six,
    /// Unpacked.
    Seven,
}

impl Release {
    /// Below this its files are.
    fn root(self) -> PathBuf {
        match self {
            Self::Six => PathBuf::from("/"),
            Self::Seven => std::env::var_os("CLOSEWATCH_ZABBIX_7")
                .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("zabbix-7.0"), PathBuf::from),
        }
    }

    /// The pages and the API.
    pub(crate) fn frontend(self) -> PathBuf {
        self.root().join("usr/share/zabbix")
    }

    /// What the database is filled with.
    pub(crate) fn schema(self) -> PathBuf {
        self.root().join("usr/share/zabbix-server-pgsql")
    }

    /// A program that every user can start: what is unpacked may be where other users cannot look, and is copied.
    pub(crate) fn program(self, name: &str, dir: &Path) -> PathBuf {
        let installed = self.root().join("usr/sbin").join(name);
        if self == Self::Six {
            return installed;
        }
        let copy = dir.join(name);
        if !copy.exists() {
            fs::copy(&installed, &copy).unwrap_or_else(|error| panic!("{}: {error}", installed.display()));
        }
        copy
    }

    /// Why tests cannot have this release, the named programs of it in particular.
    pub(crate) fn missing(self, programs: &[&str]) -> Option<String> {
        if !is_root() {
            return Some("needs root, to become the users of the servers".to_owned());
        }
        let others = ["setpriv", "zabbix_get"].into_iter().find(|name| !has_program(name));
        let absent = programs.iter().find(|name| !self.root().join("usr/sbin").join(name).exists());
        let hint = if self == Self::Seven { ", which tests/zabbix/seven unpacks" } else { "" };
        let of_it = absent.map(|name| format!("needs the program `{name}` of Zabbix {}{hint}", self.version()));
        others.map(|name| format!("needs the program `{name}`")).or(of_it)
    }

    /// Its version, as formats of templates name it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Six => "6.0",
            Self::Seven => "7.0",
        }
    }
}
