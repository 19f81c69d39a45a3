//! The settings of one network namespace that decide which ports it hands out.
//!
//! `/proc/sys/net` shows the namespace of the thread that reads it, so the functions that read here are called on a
//! thread that is in the namespace in question (see [`super::netns`]). The meaning of each setting is that of the
//! kernel's `Documentation/networking/ip-sysctl.rst`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use nix::errno::Errno;

use crate::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use crate::model::snapshot::{Gap, Hides};

/// Reads the rules by which the namespace of the calling thread hands out ports.
///
/// A value that cannot be read or understood is `None` and adds a gap that hides ports. `tcp_tw_reuse_delay` (since
/// Linux 6.14) and `ip_autobind_reuse` (since Linux 5.7) are `None` without a gap where the kernel has no such setting.
#[must_use]
pub fn read_port_settings(gaps: &mut Vec<Gap>) -> PortSettings {
    read_port_settings_under(Path::new(ROOT), gaps)
}

/// The two ends of `ip_local_port_range`: `32768\t60999`.
///
/// `None` for anything that the kernel would refuse to be set (`ipv4_local_port_range`, kernel `net/ipv4/sysctl_net_ipv4.c`).
#[must_use]
pub fn parse_port_range(text: &str) -> Option<EphemeralRange> {
    let mut numbers = text.split_ascii_whitespace();
    let (first, last) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    (first > 0 && first <= last && numbers.next().is_none()).then_some(EphemeralRange { first, last })
}

/// A list of ports and port ranges: `8080,9000-9010`; empty for none (`proc_do_large_bitmap`, kernel `kernel/sysctl.c`).
#[must_use]
pub fn parse_port_list(text: &str) -> Option<PortSet> {
    let mut ports = PortSet::default();
    let text = text.trim_ascii();
    if text.is_empty() {
        return Some(ports);
    }
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        for port in first..=last {
            ports.insert(port);
        }
    }
    Some(ports)
}

/// The value of `tcp_tw_reuse`.
#[must_use]
pub fn parse_time_wait_reuse(text: &str) -> Option<TimeWaitReuse> {
    match parse_number::<u32>(text)? {
        0 => Some(TimeWaitReuse::Off),
        1 => Some(TimeWaitReuse::Global),
        2 => Some(TimeWaitReuse::Loopback),
        _ => None,
    }
}

/// A setting of one number.
#[must_use]
pub fn parse_number<T: FromStr>(text: &str) -> Option<T> {
    text.trim_ascii().parse().ok()
}

/// Where settings are found.
pub(super) const ROOT: &str = "/proc/sys";

/// Settings under one root, read one by one; what fails becomes a gap.
pub(super) struct Settings<'a> {
    root: &'a Path,
    hides: Hides,
    gaps: &'a mut Vec<Gap>,
}

impl<'a> Settings<'a> {
    /// Settings under this root, of which an unreadable one hides this.
    pub(super) fn new(root: &'a Path, hides: Hides, gaps: &'a mut Vec<Gap>) -> Self {
        Self { root, hides, gaps }
    }

    /// A setting that every kernel has: its absence is a gap too.
    pub(super) fn needed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        match self.read(name) {
            Ok(text) => self.understood(name, &text, parse),
            Err(error) => self.missing(name, &error),
        }
    }

    /// A setting that some kernels and namespaces do not have.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Presence<T> {
        match self.read(name) {
            Ok(text) => Presence::There(self.understood(name, &text, parse)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Presence::Absent,
            Err(error) => Presence::There(self.missing(name, &error)),
        }
    }

    fn read(&self, name: &str) -> io::Result<String> {
        read_setting(&self.root.join(name.replace('.', "/")))
    }

    fn understood<T>(&mut self, name: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = parse(text);
        if value.is_none() {
            let begin: String = text.trim_ascii().chars().take(60).collect();
            self.gaps.push(gap(name, format!("its text is not understood: {begin:?}"), self.hides));
        }
        value
    }

    fn missing<T>(&mut self, name: &str, error: &io::Error) -> Option<T> {
        self.gaps.push(gap(name, reason(error), self.hides));
        None
    }
}

/// Whether a setting is there at all, and its value; `There(None)` has left a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence<T> {
    /// It is, and this is its value if that could be read.
    There(Option<T>),
    /// This kernel or this namespace does not have it.
    Absent,
}

impl<T> Presence<T> {
    /// The value, if there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::There(value) => value,
            Self::Absent => None,
        }
    }
}

/// A gap of one thing.
pub(super) fn gap(what: impl Into<String>, why: impl Into<String>, hides: Hides) -> Gap {
    Gap { what: what.into(), why: why.into(), hides, count: 1 }
}

/// What the kernel said, in words: `permission denied`.
pub(super) fn reason(error: &io::Error) -> String {
    let words = match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    };
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "unknown error".to_owned(),
    }
}

/// Reads a setting by one `read()` that is large enough. Lists of numbers are given out in the first `read()` of a file
/// only and are cut to its size (`proc_dointvec` and `proc_do_large_bitmap`, kernel `kernel/sysctl.c`, return nothing at
/// an offset above 0), and [`std::fs::read_to_string`] begins with 32 bytes: it would make port 40 of a list that goes on
/// with 40015.
fn read_setting(path: &Path) -> io::Result<String> {
    let mut size_bytes = 4096;
    loop {
        let mut bytes = vec![0; size_bytes];
        let length = File::open(path)?.read(&mut bytes)?;
        if length < size_bytes {
            bytes.truncate(length);
            return String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if size_bytes > LONGEST_SETTING_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any list of ports"));
        }
        size_bytes *= 16;
    }
}

/// Every third port left out makes the longest list: 222 KB.
const LONGEST_SETTING_BYTES: usize = 512 * 1024;

fn read_port_settings_under(root: &Path, gaps: &mut Vec<Gap>) -> PortSettings {
    let mut settings = Settings::new(root, Hides::Ports, gaps);
    let is_on = |text: &str| parse_number::<u32>(text).map(|number| number != 0);
    PortSettings {
        range: settings.needed("net.ipv4.ip_local_port_range", parse_port_range),
        reserved: settings.needed("net.ipv4.ip_local_reserved_ports", parse_port_list),
        tw_reuse: settings.needed("net.ipv4.tcp_tw_reuse", parse_time_wait_reuse),
        tw_reuse_delay_ms: settings.optional("net.ipv4.tcp_tw_reuse_delay", parse_number).value(),
        timestamps: settings.needed("net.ipv4.tcp_timestamps", is_on),
        autobind_reuse: settings.optional("net.ipv4.ip_autobind_reuse", is_on).value(),
        fin_timeout_s: settings.needed("net.ipv4.tcp_fin_timeout", parse_number),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    /// A made-up `/proc/sys` with these settings.
    pub(in crate::capture) fn root_with(settings: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in settings {
            let path = root.path().join(name.replace('.', "/"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn ranges_and_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some(EphemeralRange { first: 32768, last: 60999 }));
        assert_eq!(parse_port_range("1\t65535\n"), Some(EphemeralRange { first: 1, last: 65535 }));
        for wrong in ["", "32768\n", "60999\t32768\n", "1 2 3", "0 5", "1 65536", "-1 5", "a b"] {
            assert_eq!(parse_port_range(wrong), None, "{wrong:?}");
        }
        let ports = |text| parse_port_list(text).map(|set| set.iter().collect::<Vec<_>>());
        assert_eq!(ports("\n"), Some(vec![]));
        assert_eq!(ports("8080,9000-9002,65535\n"), Some(vec![8080, 9000, 9001, 9002, 65535]));
        assert_eq!(parse_port_list("0-65535").map(|set| set.len()), Some(65536));
        for wrong in ["8080,", ",", "9002-9000", "1-2-3", "65536", "http", "1;2"] {
            assert_eq!(ports(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_longest_list_is_read_whole_and_a_longer_text_is_refused() {
        let longest: Vec<String> = (1..u16::MAX).step_by(3).map(|port| format!("{port}-{}", port + 1)).collect();
        let root = root_with(&[("long", &longest.join(",")), ("endless", &"1,".repeat(4 << 20))]);
        let read = read_setting(&root.path().join("long")).expect("it is read");
        assert_eq!(parse_port_list(&read).map(|set| set.len()), Some(21845 * 2));
        assert_eq!(
            read_setting(&root.path().join("endless")).map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidData)
        );
    }

    #[test]
    fn what_is_not_there_or_not_understood_is_a_gap_and_never_a_default() {
        let root = root_with(&[
            ("net.ipv4.ip_local_port_range", "garbage\u{1b}[31m\n"),
            ("net.ipv4.ip_local_reserved_ports", "\n"),
            ("net.ipv4.tcp_tw_reuse", "3\n"),
            ("net.ipv4.tcp_timestamps", "2\n"),
        ]);
        let mut gaps = Vec::new();
        let settings = read_port_settings_under(root.path(), &mut gaps);
        let expected = PortSettings {
            range: None,
            reserved: Some(PortSet::default()),
            tw_reuse: None,
            tw_reuse_delay_ms: None,
            timestamps: Some(true),
            autobind_reuse: None,
            fin_timeout_s: None,
        };
        assert_eq!(settings, expected);
        let told: Vec<_> = gaps.iter().map(|gap| (gap.what.as_str(), gap.why.as_str())).collect();
        assert_eq!(
            told,
            [
                ("net.ipv4.ip_local_port_range", r#"its text is not understood: "garbage\u{1b}[31m""#),
                ("net.ipv4.tcp_tw_reuse", r#"its text is not understood: "3""#),
                ("net.ipv4.tcp_fin_timeout", "no such file or directory"),
            ]
        );
        assert!(gaps.iter().all(|gap| gap.hides == Hides::Ports && gap.count == 1));
    }

    #[test]
    fn an_optional_setting_that_is_there_but_unreadable_is_a_gap() {
        let root = root_with(&[("net.ipv4.tcp_tw_reuse_delay", "soon\n"), ("net.ipv4.ip_autobind_reuse/x", "")]);
        let mut gaps = Vec::new();
        read_port_settings_under(root.path(), &mut gaps);
        for (what, why) in [
            ("net.ipv4.tcp_tw_reuse_delay", r#"its text is not understood: "soon""#),
            ("net.ipv4.ip_autobind_reuse", "is a directory"),
        ] {
            assert!(gaps.iter().any(|gap| gap.what == what && gap.why == why), "{gaps:#?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[0-9,\\- \t\n]{0,40}|.{0,40}") {
            let _ = (parse_port_range(&text), parse_port_list(&text), parse_time_wait_reuse(&text));
        }

        #[test]
        fn a_list_reads_back_as_the_ports_it_was_written_from(ports: Vec<u16>) {
            let set: PortSet = ports.iter().copied().collect();
            let text: Vec<String> = set.iter().map(|port| port.to_string()).collect();
            prop_assert_eq!(parse_port_list(&text.join(",")), Some(set));
        }

        #[test]
        fn a_range_reads_back(a in any::<u16>(), b in any::<u16>()) {
            let (first, last) = (a.min(b), a.max(b));
            let read = parse_port_range(&format!("{first}\t{last}\n"));
            prop_assert_eq!(read, (first > 0).then_some(EphemeralRange { first, last }));
        }
    }
}
