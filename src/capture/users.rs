//! User ids to names, from `/etc/passwd` read directly.
//!
//! `getpwuid()` is not used: NSS may ask a directory server over TCP, which hangs on the very host that has no ports
//! left. A user that only the directory knows is shown by number.

use std::collections::HashMap;
use std::io::ErrorKind;

/// The names of the users of this host.
#[derive(Debug, Default)]
pub(super) struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// Reads `/etc/passwd`. A root file system without one has no names: that is an answer.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn read() -> std::io::Result<Self> {
        match std::fs::read("/etc/passwd") {
            Ok(text) => Ok(parse_passwd(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The name of the user; `None` when the file has none.
    pub(super) fn name(&self, uid: u32) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }
}

/// `name:password:uid:...` (passwd(5)). Of several names for one id the first counts, as it does for `getpwuid()`.
fn parse_passwd(text: &str) -> Users {
    let mut names = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        if let (Some(name), Some(uid)) = (name.filter(|name| !name.is_empty()), uid) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    Users { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_counts_and_odd_lines_are_passed_over() {
        let users = parse_passwd(
            "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:\n#old:x:7:7::/:\n\
             +::::::\n:x:5:5::/:\nshort:x\nzabbix:x:118:\n",
        );
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(118), Some("zabbix"));
        assert_eq!((users.name(7), users.name(5), users.names.len()), (None, None, 2));
    }
}
