//! What the kernel counts beside its socket tables: of one namespace, and of the whole host.
//!
//! `/proc/net` shows the namespace of the main thread whoever reads it, therefore `/proc/thread-self/net` is read here:
//! that of the calling thread (see [`super::netns`]); or `/proc/PID/net` of a process in a namespace that may not be
//! entered.

use std::fs;
use std::io;
use std::path::Path;

use procfs::Current;

use super::sysctl::{Presence, ROOT, Settings, gap, parse_number, reason};
use crate::model::snapshot::{Gap, Hides, Host, HostLimits, SockStat, TcpCounters, Usage};

/// The directory of the calling thread's namespace.
pub(super) const OWN_NET: &str = "/proc/thread-self/net";

/// Reads the socket counts of the calling thread's namespace from `sockstat` and, where IPv6 is enabled, `sockstat6`.
///
/// `None` with a gap when either cannot be read or understood: half of them would be a wrong count.
#[must_use]
pub fn read_sockstat(gaps: &mut Vec<Gap>) -> Option<SockStat> {
    read_sockstat_in(Path::new(OWN_NET), gaps)
}

/// Reads the socket counts of the namespace that this directory is of.
pub(super) fn read_sockstat_in(net: &Path, gaps: &mut Vec<Gap>) -> Option<SockStat> {
    let read = || -> Result<SockStat, String> {
        let v4 = fs::read_to_string(net.join("sockstat")).map_err(|error| reason(&error))?;
        let v6 = match fs::read_to_string(net.join("sockstat6")) {
            Ok(text) => Some(text),
            // A kernel without IPv6 has no such file and no such sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(reason(&error)),
        };
        parse_sockstat(&v4, v6.as_deref()).ok_or_else(|| NOT_UNDERSTOOD.to_owned())
    };
    read().map_err(|why| gaps.push(gap("the socket counts of /proc/net/sockstat", why, Hides::Limits))).ok()
}

/// The lines `TCP:` of `sockstat` and `TCP6:` of `sockstat6` (`sockstat_seq_show`, kernel `net/ipv4/proc.c`, and
/// `sockstat6_seq_show`, kernel `net/ipv6/proc.c`).
#[must_use]
pub fn parse_sockstat(v4: &str, v6: Option<&str>) -> Option<SockStat> {
    let value = |text: &str, line: &str, name: &str| -> Option<u64> {
        let mut words = text.lines().find_map(|text| text.strip_prefix(line))?.split_ascii_whitespace();
        words.find(|word| *word == name)?;
        words.next()?.parse().ok()
    };
    let inuse_v6 = match v6 {
        Some(text) => value(text, "TCP6:", "inuse")?,
        None => 0,
    };
    Some(SockStat {
        inuse: value(v4, "TCP:", "inuse")?.checked_add(inuse_v6)?,
        tw: value(v4, "TCP:", "tw")?,
        orphans: value(v4, "TCP:", "orphan")?,
        alloc: value(v4, "TCP:", "alloc")?,
        mem_pages: value(v4, "TCP:", "mem")?,
    })
}

/// Reads the TCP counters of the calling thread's namespace from `netstat`.
///
/// A counter that this kernel does not have is `None` and named in a gap.
#[must_use]
pub fn read_tcp_counters(gaps: &mut Vec<Gap>) -> TcpCounters {
    read_tcp_counters_in(Path::new(OWN_NET), gaps)
}

/// Reads the TCP counters of the namespace that this directory is of.
pub(super) fn read_tcp_counters_in(net: &Path, gaps: &mut Vec<Gap>) -> TcpCounters {
    let read = fs::read_to_string(net.join("netstat")).map_err(|error| reason(&error));
    let parsed = read.and_then(|text| parse_tcp_ext(&text).ok_or_else(|| NOT_UNDERSTOOD.to_owned()));
    match parsed {
        Ok((counters, absent)) => {
            if !absent.is_empty() {
                let what = format!("the counters {} of /proc/net/netstat", absent.join(", "));
                gaps.push(Gap { count: absent.len() as u64, ..gap(what, "this kernel has none", Hides::Limits) });
            }
            counters
        }
        Err(why) => {
            gaps.push(gap("the counters of /proc/net/netstat", why, Hides::Limits));
            TcpCounters::default()
        }
    }
}

/// The counters of the two lines `TcpExt:`, of which the first has the names and the second the values, and the names
/// of those that are not among them (`netstat_seq_show`, kernel `net/ipv4/proc.c`).
///
/// `None` when there are no such two lines, or when they do not fit each other.
#[must_use]
pub fn parse_tcp_ext(text: &str) -> Option<(TcpCounters, Vec<&'static str>)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?.split_ascii_whitespace(), lines.next()?.split_ascii_whitespace());
    let mut counters = TcpCounters::default();
    let mut absent: Vec<_> = TCP_EXT.iter().map(|(name, _)| *name).collect();
    let mut values = values.fuse();
    for name in names {
        let value = values.next()?;
        if let Some((name, field)) = TCP_EXT.iter().find(|(known, _)| *known == name) {
            *field(&mut counters) = Some(value.parse().ok()?);
            absent.retain(|other| other != name);
        }
    }
    values.next().is_none().then_some((counters, absent))
}

type Counter = (&'static str, fn(&mut TcpCounters) -> &mut Option<u64>);

/// The names of `snmp4_net_list` (kernel `net/ipv4/proc.c`) and where their values go.
const TCP_EXT: [Counter; 8] = [
    ("ListenOverflows", |counters| &mut counters.listen_overflows),
    ("ListenDrops", |counters| &mut counters.listen_drops),
    ("TCPTimeWaitOverflow", |counters| &mut counters.time_wait_overflow),
    ("TCPAbortOnMemory", |counters| &mut counters.abort_on_memory),
    ("TCPMemoryPressures", |counters| &mut counters.memory_pressures),
    ("TCPTimeouts", |counters| &mut counters.timeouts),
    ("TCPSynRetrans", |counters| &mut counters.syn_retransmits),
    ("TWRecycled", |counters| &mut counters.time_wait_recycled),
];

/// Reads how many connections conntrack follows in the calling thread's namespace, against the limit of the host.
///
/// `None` without a gap when conntrack is not loaded. A limit of 0, which means none, is `u64::MAX`.
#[must_use]
pub fn read_conntrack(gaps: &mut Vec<Gap>) -> Option<Usage> {
    read_conntrack_under(Path::new(ROOT), gaps)
}

/// Reads the limits of the whole host; what is used of them comes from `sockstat`, whose numbers of orphans and of
/// memory are the host's in every namespace.
///
/// Only the first network namespace has the limits of orphans and memory: seen from any other they are `None` and
/// named in one gap.
#[must_use]
pub fn read_host_limits(sockstat: Option<SockStat>, gaps: &mut Vec<Gap>) -> HostLimits {
    read_host_limits_under(Path::new(ROOT), sockstat, gaps)
}

/// Reads which host this is.
#[must_use]
pub fn read_host(gaps: &mut Vec<Gap>) -> Host {
    let names = rustix::system::uname();
    let boot_id = procfs::sys::kernel::random::boot_id();
    let uptime = procfs::Uptime::current();
    Host {
        name: Some(names.nodename().to_string_lossy().into_owned()),
        kernel: Some(names.release().to_string_lossy().into_owned()),
        boot_id: boot_id.map_err(|error| gaps.push(gap("the id of this boot", error.to_string(), Hides::Limits))).ok(),
        uptime: uptime
            .map(|uptime| uptime.uptime_duration())
            .map_err(|error| gaps.push(gap("the time since boot", error.to_string(), Hides::Ages)))
            .ok(),
    }
}

const NOT_UNDERSTOOD: &str = "its text is not understood";

/// Whether there are MPTCP sockets in the calling thread's namespace: connections or listeners, of either family. `None`
/// when that cannot be told.
pub(super) fn read_has_mptcp() -> Option<bool> {
    let text = fs::read_to_string(Path::new(OWN_NET).join("protocols")).ok()?;
    Some(count_mptcp(&text)? > 0)
}

/// The column `sockets` of the lines `MPTCP` and `MPTCPv6` (`proto_seq_printf`, kernel `net/core/sock.c`), which counts
/// in one namespace. A kernel without MPTCP has no such lines.
fn count_mptcp(protocols: &str) -> Option<u64> {
    let mut lines = protocols.lines();
    let heads: Vec<&str> = lines.next()?.split_ascii_whitespace().take(3).collect();
    if heads != ["protocol", "size", "sockets"] {
        return None;
    }
    let of_mptcp = lines.filter(|line| line.starts_with("MPTCP"));
    of_mptcp.map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

fn read_conntrack_under(root: &Path, gaps: &mut Vec<Gap>) -> Option<Usage> {
    let mut settings = Settings::new(root, Hides::Limits, gaps);
    let used = settings.optional("net.netfilter.nf_conntrack_count", parse_number).value();
    let limit = settings.optional("net.netfilter.nf_conntrack_max", parse_number).value();
    // `__nf_conntrack_alloc` (kernel net/netfilter/nf_conntrack_core.c) compares with a limit that is not 0 only.
    Some(Usage { used: used?, limit: limit.map(|limit| if limit == 0 { u64::MAX } else { limit })? })
}

fn read_host_limits_under(root: &Path, sockstat: Option<SockStat>, gaps: &mut Vec<Gap>) -> HostLimits {
    let mut settings = Settings::new(root, Hides::Limits, gaps);
    let files = settings.needed("fs.file-nr", parse_file_nr);
    let mut absent = Vec::new();
    let mut limit = |name: &'static str, parse: fn(&str) -> Option<u64>| match settings.optional(name, parse) {
        Presence::There(value) => value,
        Presence::Absent => {
            absent.push(name);
            None
        }
    };
    let orphans = limit("net.ipv4.tcp_max_orphans", parse_number);
    let mem_pages = limit("net.ipv4.tcp_mem", |text| parse_number(text.split_ascii_whitespace().nth(2)?));
    let max_tw_buckets = limit("net.ipv4.tcp_max_tw_buckets", parse_number);
    if !absent.is_empty() {
        let why = "not shown in this network namespace, only in the initial one";
        gaps.push(Gap { count: absent.len() as u64, ..gap(absent.join(", "), why, Hides::Limits) });
    }
    let against = |limit: Option<u64>, used: fn(SockStat) -> u64| {
        limit.zip(sockstat).map(|(limit, stat)| Usage { used: used(stat), limit })
    };
    HostLimits {
        files,
        orphans: against(orphans, |stat| stat.orphans),
        tcp_mem_pages: against(mem_pages, |stat| stat.mem_pages),
        max_tw_buckets,
    }
}

/// `fs.file-nr`: allocated, free (always 0 since Linux 2.6), limit (`man 5 proc_sys_fs`). The procfs crate reads it with
/// [`fs::read_to_string`], which the numbers may outgrow: see [`super::sysctl`].
fn parse_file_nr(text: &str) -> Option<Usage> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    let (used, _free, limit) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(Usage { used, limit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::super::sysctl::tests::root_with;
    use super::*;

    /// Recorded on Linux 6.18 in a namespace with sockets of both families, one of whose listeners had overflowed.
    const NETSTAT: &str = include_str!("../../fixtures/proc/netstat");
    const SOCKSTAT: &str = include_str!("../../fixtures/proc/sockstat");
    const SOCKSTAT6: &str = include_str!("../../fixtures/proc/sockstat6");

    #[test]
    fn both_families_are_in_use_together() {
        let stat = parse_sockstat(SOCKSTAT, Some(SOCKSTAT6)).expect("recorded");
        assert_eq!(stat, SockStat { inuse: 20 + 7, tw: 6, orphans: 2, alloc: 60028, mem_pages: 1800 });
        assert_eq!(parse_sockstat(SOCKSTAT, None).map(|stat| stat.inuse), Some(20));
        assert_eq!(parse_sockstat(SOCKSTAT, Some("UDP6: inuse 0")), None);
        assert_eq!(parse_sockstat("TCP: inuse 1 orphan 0 tw 0 alloc 1", None), None);
    }

    #[test]
    fn counters_are_found_by_name_and_missing_ones_are_named() {
        let (counters, absent) = parse_tcp_ext(NETSTAT).expect("recorded");
        assert_eq!(absent, [""; 0]);
        assert_eq!((counters.listen_overflows, counters.listen_drops), (Some(1), Some(1)));
        let text = "TcpExt: New TWRecycled ListenDrops\nTcpExt: -1 7 18446744073709551615\nIpExt: A\nIpExt: 1\n";
        let (counters, absent) = parse_tcp_ext(text).expect("two lines that fit");
        assert_eq!((counters.time_wait_recycled, counters.listen_drops), (Some(7), Some(u64::MAX)));
        assert_eq!((counters.timeouts, absent.len()), (None, 6));
        for wrong in ["", "TcpExt: A\n", "TcpExt: A B\nTcpExt: 1\n", "TcpExt: A\nTcpExt: 1 2\n"] {
            assert_eq!(parse_tcp_ext(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn mptcp_sockets_are_counted() {
        let head = "protocol  size sockets  memory press maxhdr  slab module     cl co\n";
        let line = |name: &str, n: u32| format!("{name}  2064  {n}  183   no       0   yes  kernel      y  y\n");
        let text = |v6, v4| format!("{head}{}{}{}", line("MPTCPv6", v6), line("MPTCP", v4), line("TCP", 9));
        assert_eq!(count_mptcp(&text(0, 0)), Some(0));
        assert_eq!(count_mptcp(&text(1, 3)), Some(4));
        assert_eq!(count_mptcp(head), Some(0));
        assert_eq!(count_mptcp(&format!("{head}MPTCP 1936 many\n")), None);
        assert_eq!(count_mptcp("other columns\n"), None);
    }

    #[test]
    fn conntrack_is_none_when_it_is_not_loaded_and_a_gap_when_it_is_unreadable() {
        let read = |settings: &[(&str, &str)]| {
            let mut gaps = Vec::new();
            (read_conntrack_under(root_with(settings).path(), &mut gaps), gaps.len())
        };
        let (count, max) = ("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max");
        assert_eq!(read(&[]), (None, 0));
        assert_eq!(read(&[(count, "5\n"), (max, "8\n")]), (Some(Usage { used: 5, limit: 8 }), 0));
        assert_eq!(read(&[(count, "5\n"), (max, "0\n")]), (Some(Usage { used: 5, limit: u64::MAX }), 0));
        assert_eq!(read(&[(count, "?\n"), (max, "8\n")]), (None, 1));
    }

    #[test]
    fn a_child_namespace_lacks_limits_and_one_gap_names_them() {
        let sockstat = parse_sockstat(SOCKSTAT, Some(SOCKSTAT6));
        let mut gaps = Vec::new();
        let child = root_with(&[("fs.file-nr", "521\t0\t2466170\n"), ("net.ipv4.tcp_max_tw_buckets", "131072\n")]);
        let limits = read_host_limits_under(child.path(), sockstat, &mut gaps);
        assert_eq!(limits.files, Some(Usage { used: 521, limit: 2_466_170 }));
        assert_eq!((limits.orphans, limits.tcp_mem_pages, limits.max_tw_buckets), (None, None, Some(131_072)));
        let [gap] = gaps.as_slice() else { panic!("{gaps:#?}") };
        assert_eq!((gap.what.as_str(), gap.count), ("net.ipv4.tcp_max_orphans, net.ipv4.tcp_mem", 2));

        let initial = root_with(&[
            ("fs.file-nr", "521\t0\t9223372036854775807\n"),
            ("net.ipv4.tcp_max_tw_buckets", "131072\n"),
            ("net.ipv4.tcp_max_orphans", "65536\n"),
            ("net.ipv4.tcp_mem", "287898\t383867\t575796\n"),
        ]);
        let mut gaps = Vec::new();
        let limits = read_host_limits_under(initial.path(), sockstat, &mut gaps);
        assert_eq!(limits.orphans, Some(Usage { used: 2, limit: 65_536 }));
        assert_eq!(limits.tcp_mem_pages, Some(Usage { used: 1800, limit: 575_796 }));
        assert_eq!(gaps, []);
    }

    #[test]
    fn this_host_can_be_read() {
        let mut gaps = Vec::new();
        let host = read_host(&mut gaps);
        assert_eq!(gaps, []);
        assert_eq!(host.boot_id.map(|id| id.len()), Some(36));
        assert!(
            host.uptime.is_some_and(|uptime| !uptime.is_zero()) && host.kernel.is_some_and(|name| name.contains('.'))
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "(TcpExt:|TCP:|TCP6:| inuse| tw| [0-9]{1,22}|\n|.){0,20}") {
            let _ = (parse_tcp_ext(&text), parse_sockstat(&text, Some(&text)), parse_file_nr(&text));
        }
    }
}
