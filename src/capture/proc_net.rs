//! The socket tables as the text of `/proc/net/tcp` and `/proc/net/tcp6`, for when netlink gives nothing.
//!
//! The columns are those of `tcp4_seq_show` and `tcp6_seq_show` (kernel `net/ipv4/tcp_ipv4.c`, `net/ipv6/tcp_ipv6.c`).
//! The parser is our own: `TcpNetEntry` of the procfs crate has neither the timer, which tells TIME-WAIT objects from
//! sockets and how long they stay, nor a way on from a row that it does not understand, which fails its whole table.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::counters::OWN_NET;
use super::sysctl::gap;
use crate::model::snapshot::{Gap, Hides};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, Queues, SocketKind, SocketRecord, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::{Endpoint, Family, FourTuple};

/// In which order a host keeps the bytes of a number. The kernel prints addresses as numbers of its host, so that
/// `127.0.0.1` reads `0100007F` on a little-endian one and `7F000001` on a big-endian one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Lowest byte first: x86, and most ARM.
    Little,
    /// Highest byte first: s390x, and some POWER and MIPS.
    Big,
}

impl ByteOrder {
    /// That of this machine.
    pub const HOST: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    fn bytes_of(self, word: u32) -> [u8; 4] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }
}

/// What a text table shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextTable {
    /// Its sockets, each once.
    pub sockets: Vec<SocketRecord>,
    /// The rows that were not understood.
    pub gaps: Vec<Gap>,
}

/// Reads both tables of the calling thread's namespace. The gaps tell of rows that were not understood and of what this
/// source loses ([`text_losses`]). A kernel without IPv6 has no `/proc/net/tcp6`, and loses nothing by that.
///
/// # Errors
/// When either table cannot be read: half of the sockets would pass for all of them.
pub fn read_proc_net(netns: NetNsIndex) -> io::Result<TextTable> {
    // Not /proc/net: that is the namespace of the main thread, whoever reads it.
    read_proc_net_in(Path::new(OWN_NET), netns)
}

/// Reads both tables of the namespace that this directory is of: `/proc/PID/net` for that of another process.
pub(super) fn read_proc_net_in(net: &Path, netns: NetNsIndex) -> io::Result<TextTable> {
    let mut table = parse_proc_net_tcp(open(&net.join("tcp"))?, Family::V4, netns)?;
    match open(&net.join("tcp6")) {
        Ok(file) => {
            let v6 = parse_proc_net_tcp(file, Family::V6, netns)?;
            table.sockets.extend(v6.sockets);
            table.gaps.extend(v6.gaps);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    table.gaps.extend(text_losses(&table.sockets));
    Ok(table)
}

/// Reads the rows of `/proc/net/tcp` (`Family::V4`) or `/proc/net/tcp6` (`Family::V6`), with or without the header. Rows
/// that are not understood are counted in one gap, and the others are read.
///
/// The text comes from a host of this byte order: the kernel prints addresses as numbers of its own.
///
/// # Errors
/// When the reader fails.
pub fn parse_proc_net_tcp(mut reader: impl BufRead, family: Family, netns: NetNsIndex) -> io::Result<TextTable> {
    let mut table = TextTable::default();
    let mut bad = BadRows::default();
    // The kernel goes on after each page of text by counting rows: when rows vanish or come meanwhile, one may come twice.
    let mut seen = HashSet::new();
    let mut line = Vec::new();
    let mut number = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        let text = String::from_utf8_lossy(&line);
        if !is_header_or_blank(&text) {
            match parse_row(&text, family, netns, ByteOrder::HOST) {
                Ok(row) if row.inode.is_none_or(|inode| seen.insert((inode, row.tuple))) => table.sockets.push(row),
                Ok(_double) => {}
                Err(why) => bad.note(number, why),
            }
        }
        line.clear();
    }
    let file = match family {
        Family::V4 => "rows of /proc/net/tcp",
        Family::V6 => "rows of /proc/net/tcp6",
    };
    table.gaps.extend(bad.into_gap(file));
    Ok(table)
}

/// Why what it does not tell was not seen.
pub(super) const TEXT_DOES_NOT_TELL: &str = "the text of /proc/net/tcp does not tell; sock_diag netlink does";

/// What the text of `/proc/net/tcp` does not tell of these sockets, as gaps. What concerns none of them is left out.
#[must_use]
pub fn text_losses(sockets: &[SocketRecord]) -> Vec<Gap> {
    let count = |takes: &dyn Fn(&SocketRecord) -> bool| sockets.iter().filter(|socket| takes(socket)).count() as u64;
    let is_listener = |socket: &SocketRecord| socket.state == TcpState::Listen;
    let is_established = |socket: &SocketRecord| socket.state == TcpState::Established;
    let has_age = |socket: &SocketRecord| socket.is_close_wait() || is_established(socket) && socket.unread() > 0;
    let losses = [
        ("for how long sockets wait in CLOSE-WAIT or with unread data", Hides::Ages, count(&has_age)),
        ("sockets that are bound to a port and neither connected nor listening", Hides::Ports, 1),
        (
            "whether the program or the kernel chose the local ports, and interfaces that sockets are bound to",
            Hides::Ports,
            count(&|socket| socket.kind == SocketKind::Full && !is_listener(socket)),
        ),
        (
            "whether IPv6 listeners take the ports of IPv4 too",
            Hides::Ports,
            count(&|socket| is_listener(socket) && socket.family == Family::V6),
        ),
        ("the cgroups of sockets", Hides::Owners, count(&|socket| socket.kind == SocketKind::Full)),
        ("the limits of accept queues", Hides::Limits, count(&is_listener)),
        ("MPTCP connections in CLOSE-WAIT, which are shown as ESTAB", Hides::Sockets, count(&is_established).min(1)),
    ];
    losses
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .map(|(what, hides, count)| Gap { count, ..gap(what, TEXT_DOES_NOT_TELL, hides) })
        .collect()
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(64 * 1024, File::open(path)?))
}

pub(super) fn is_header_or_blank(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_none_or(|word| word == "sl")
}

/// Rows that were not understood: how many, where the first of them are, and what is wrong with the first.
#[derive(Debug, Default)]
pub(super) struct BadRows {
    count: u64,
    first_lines: Vec<String>,
    why: String,
}

impl BadRows {
    pub(super) fn note(&mut self, line: u64, why: String) {
        if self.count == 0 {
            self.why = format!("line {line}: {why}");
        }
        if self.first_lines.len() < 5 {
            self.first_lines.push(line.to_string());
        }
        self.count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What is wrong with the first.
    pub(super) fn first_why(&self) -> Option<&str> {
        (self.count > 0).then_some(&*self.why)
    }

    /// The gap that tells of them; `None` when there are none. `rows` says what they are rows of.
    pub(super) fn into_gap(self, rows: &str) -> Option<Gap> {
        if self.count == 0 {
            return None;
        }
        let more = if self.count > self.first_lines.len() as u64 { " and more" } else { "" };
        let what = format!("{rows} (line {}{more})", self.first_lines.join(", "));
        Some(Gap { count: self.count, ..gap(what, self.why, Hides::Sockets) })
    }
}

/// Reads one row of a host with this byte order; an error says which column is wrong.
pub(super) fn parse_row(
    line: &str,
    family: Family,
    netns: NetNsIndex,
    order: ByteOrder,
) -> Result<SocketRecord, String> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let mut column = |name: &'static str| columns.next().ok_or_else(|| format!("the column {name} is missing"));
    let local = parse_endpoint(column("local_address")?, family, order)?;
    let remote = parse_endpoint(column("rem_address")?, family, order)?;
    let state = parse_state(column("st")?)?;
    let (send, recv) = parse_hex_pair(column("tx_queue:rx_queue")?)?;
    let (timer, expires) = parse_hex_pair(column("tr:tm->when")?)?;
    column("retrnsmt")?;
    let uid = parse_decimal(column("uid")?)?;
    column("timeout")?;
    let inode = parse_decimal(column("inode")?)?;
    // A row that was cut short may end within the inode: what follows it must be there.
    column("ref")?;

    let kind = if state == TcpState::TimeWait || timer == TIMER_TIME_WAIT {
        SocketKind::TimeWait
    } else if state == TcpState::SynRecv && inode == 0 {
        SocketKind::Request
    } else {
        SocketKind::Full
    };
    let queues = match state {
        TcpState::Listen => Queues::Listen { waiting: narrow(recv)?, limit: None },
        _ => Queues::Data { recv: narrow(recv)?, send: narrow(send)? },
    };
    Ok(SocketRecord {
        netns,
        state,
        kind,
        family,
        tuple: FourTuple { local, remote },
        interface: 0,
        cookie: None,
        inode: Inode::new(inode),
        uid: (kind == SocketKind::Full).then_some(narrow(uid)?),
        cgroup: None,
        queues,
        timer: timer_of(timer, expires),
        binding: PortBinding::Unknown,
        v6only: None,
        clocks: None,
        mptcp: None,
    })
}

const TIMER_TIME_WAIT: u64 = 3;

/// The timer by its number in the column `tr`, which is the one of `idiag_timer`, and its time left.
fn timer_of(number: u64, expires_ticks: u64) -> Timer {
    // `jiffies_delta_to_clock_t` counts in USER_HZ, 100 a second on every architecture that Rust knows
    // (kernel include/asm-generic/param.h), whatever the kernel's own HZ is.
    let left_ms = u32::try_from(expires_ticks.saturating_mul(10)).unwrap_or(u32::MAX);
    match number {
        0 => Timer::Off,
        1 => Timer::Retransmit(left_ms),
        2 => Timer::KeepAlive(left_ms),
        TIMER_TIME_WAIT => Timer::TimeWait(left_ms),
        4 => Timer::Probe(left_ms),
        _ => Timer::Unknown,
    }
}

fn parse_state(text: &str) -> Result<TcpState, String> {
    let number = parse_hex(text).and_then(|number| u8::try_from(number).ok());
    number.and_then(TcpState::from_kernel).ok_or_else(|| format!("the state {} is unknown", quoted(text)))
}

/// `0100007F:1F90`: each 32-bit word of the address as a number of the host, then the port.
pub(super) fn parse_endpoint(text: &str, family: Family, order: ByteOrder) -> Result<Endpoint, String> {
    let wrong = || format!("no address of this family: {}", quoted(text));
    let (address, port) = text.split_once(':').ok_or_else(wrong)?;
    let mut words = [0_u32; 4];
    let wanted = match family {
        Family::V4 => 1,
        Family::V6 => 4,
    };
    if address.len() != wanted * 8 || port.len() != 4 {
        return Err(wrong());
    }
    for (nth, word) in words.iter_mut().take(wanted).enumerate() {
        let digits = address.get(nth * 8..nth * 8 + 8).and_then(parse_hex).ok_or_else(wrong)?;
        *word = narrow(digits)?;
    }
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(order.bytes_of(words[0]))),
        Family::V6 => {
            let mut bytes = [0_u8; 16];
            for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&order.bytes_of(word));
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
    };
    let port = parse_hex(port).and_then(|port| u16::try_from(port).ok()).ok_or_else(wrong)?;
    Ok(Endpoint::new(address, port))
}

fn parse_hex_pair(text: &str) -> Result<(u64, u64), String> {
    let pair = text.split_once(':').and_then(|(first, second)| Some((parse_hex(first)?, parse_hex(second)?)));
    pair.ok_or_else(|| format!("no pair of numbers: {}", quoted(text)))
}

/// Hexadecimal digits and nothing else, at most 16 of them.
fn parse_hex(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) { u64::from_str_radix(text, 16).ok() } else { None }
}

fn parse_decimal(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no number: {}", quoted(text)))
}

fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| format!("too large: {number}"))
}

/// The beginning of a text that may be anything, safe to print.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    /// Both recorded on a little-endian Linux 6.18 at one moment, in a namespace with every kind of row.
    const TCP: &str = include_str!("../../fixtures/proc/tcp");
    const TCP6: &str = include_str!("../../fixtures/proc/tcp6");

    fn parse(text: &[u8], family: Family) -> TextTable {
        parse_proc_net_tcp(text, family, NetNsIndex(0)).expect("a slice can be read")
    }

    fn by_local_port(text: &str, family: Family, local: u16, remote: u16) -> SocketRecord {
        let is_it = |row: &&SocketRecord| (row.tuple.local.port, row.tuple.remote.port) == (local, remote);
        let rows = parse(text.as_bytes(), family).sockets;
        rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {local} {remote}")).clone()
    }

    fn count_kinds(rows: &[SocketRecord]) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for row in rows {
            *kinds.entry(format!("{} {:?}", row.state.label(), row.kind)).or_default() += 1;
        }
        kinds
    }

    #[test]
    #[cfg_attr(target_endian = "big", ignore = "recorded on a little-endian host")]
    fn every_recorded_row_is_of_its_state_and_kind() {
        let (v4, v6) = (parse(TCP.as_bytes(), Family::V4), parse(TCP6.as_bytes(), Family::V6));
        assert_eq!((v4.gaps, v6.gaps), (vec![], vec![]));
        let expected = [
            ("CLOSE-WAIT Full", 2),
            ("ESTAB Full", 11),
            ("FIN-WAIT-1 Full", 1),
            ("FIN-WAIT-2 Full", 1),
            ("FIN-WAIT-2 TimeWait", 3),
            ("LAST-ACK Full", 1),
            ("LISTEN Full", 3),
            ("SYN-RECV Request", 1),
            ("SYN-SENT Full", 1),
            ("TIME-WAIT TimeWait", 1),
        ];
        assert_eq!(count_kinds(&v4.sockets), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
        let expected = [
            ("CLOSE-WAIT Full", 2),
            ("ESTAB Full", 3),
            ("FIN-WAIT-2 TimeWait", 1),
            ("LISTEN Full", 2),
            ("TIME-WAIT TimeWait", 1),
        ];
        assert_eq!(count_kinds(&v6.sockets), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    }

    #[test]
    #[cfg_attr(target_endian = "big", ignore = "recorded on a little-endian host")]
    fn the_columns_mean_what_they_mean() {
        let row = by_local_port(TCP, Family::V4, 0xD724, 0x1F90);
        assert_eq!((row.state, row.inode, row.uid), (TcpState::CloseWait, Inode::new(619_435), Some(0)));
        assert_eq!(row.tuple.local.to_string(), "127.0.0.1:55076");
        assert_eq!((row.queues, row.timer), (Queues::Data { recv: 1076, send: 0 }, Timer::Off));
        assert_eq!((row.binding, row.v6only, row.cookie), (PortBinding::Unknown, None, None));

        let last_ack = by_local_port(TCP, Family::V4, 0xD734, 0x1F90);
        assert_eq!((last_ack.inode, last_ack.timer), (None, Timer::Probe(320)));
        assert_eq!(last_ack.queues, Queues::Data { recv: 1, send: 0x0039_B601 });
        assert_eq!(by_local_port(TCP, Family::V4, 0xD744, 0x1F90).timer, Timer::KeepAlive(7_199_490));
        assert_eq!(by_local_port(TCP, Family::V4, 0x9E38, 0x1F93).timer, Timer::Retransmit(490));

        let full_listener = by_local_port(TCP, Family::V4, 0x1F93, 0);
        assert_eq!(full_listener.queues, Queues::Listen { waiting: 1, limit: None });
        let time_wait = by_local_port(TCP6, Family::V6, 0xA6CA, 0x1F91);
        assert_eq!((time_wait.timer, time_wait.uid, time_wait.inode), (Timer::TimeWait(59_480), None, None));
        let mapped = by_local_port(TCP6, Family::V6, 0x1F92, 0xE1BE);
        assert_eq!((mapped.family, mapped.tuple.remote.to_string().as_str()), (Family::V6, "127.0.0.1:57790"));
        assert_eq!(by_local_port(TCP6, Family::V6, 0x1F92, 0).tuple.local.to_string(), "[::]:8082");
    }

    #[test]
    fn a_bad_row_is_counted_and_the_rest_is_read() {
        let good: Vec<&str> = TCP.lines().collect();
        let unknown_state = good[3].replacen(" 0A ", " 1F ", 1);
        let text =
            [good[0], good[1], "  1: \u{1b}[31m", &unknown_state, good[2], "", &good[4][..80], good[5]].join("\n");
        let table = parse(text.as_bytes(), Family::V4);
        assert_eq!(table.sockets.len(), 3);
        let [gap] = table.gaps.as_slice() else { panic!("{:#?}", table.gaps) };
        assert_eq!(gap.what, "rows of /proc/net/tcp (line 3, 4, 7)");
        assert_eq!(gap.why, r#"line 3: no address of this family: "\u{1b}[31m""#);
        assert_eq!((gap.hides, gap.count), (Hides::Sockets, 3));
        let states = parse(unknown_state.as_bytes(), Family::V4);
        assert_eq!(states.gaps[0].why, r#"line 1: the state "1F" is unknown"#);
    }

    #[test]
    fn a_row_that_ends_within_its_inode_has_no_inode() {
        let row = TCP.lines().nth(4).expect("a row with an inode");
        let end = row.find("619432").expect("its inode") + 4;
        let table = parse(&row.as_bytes()[..end], Family::V4);
        assert_eq!(table.sockets, []);
        assert_eq!(table.gaps[0].why, "line 1: the column ref is missing");
    }

    #[test]
    fn a_row_that_the_kernel_shows_twice_counts_once() {
        let row = TCP.lines().nth(4).expect("a row with an inode");
        let other_inode = row.replace(" 619432 ", " 619433 ");
        assert_eq!(parse([row, row, &other_inode].join("\n").as_bytes(), Family::V4).sockets.len(), 2);
    }

    #[test]
    fn the_text_says_what_it_loses() {
        let table = parse(TCP.as_bytes(), Family::V4);
        let losses = text_losses(&table.sockets);
        let told: Vec<_> = losses.iter().map(|gap| (gap.hides, gap.count)).collect();
        let expected = [
            // Two in CLOSE-WAIT, one ESTABLISHED with data that nobody reads.
            (Hides::Ages, 3),
            (Hides::Ports, 1),
            (Hides::Ports, 17),
            (Hides::Owners, 20),
            (Hides::Limits, 3),
            (Hides::Sockets, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(text_losses(&[]).len(), 1, "bound sockets may always be there unseen");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in vec(any::<u8>(), 0..300)) {
            for family in [Family::V4, Family::V6] {
                let table = parse(&text, family);
                prop_assert!(table.sockets.len() + table.gaps.len() <= text.len());
            }
        }

        #[test]
        fn a_row_cut_anywhere_or_with_a_byte_changed_is_read_or_counted(
            row in 1_usize..25,
            cut in 0_usize..150,
            change in prop_oneof![Just(None), (0_usize..150, any::<u8>()).prop_map(Some)],
        ) {
            let mut bytes = TCP.lines().nth(row).expect("a row").as_bytes().to_vec();
            if let Some((at, byte)) = change {
                bytes[at.min(148)] = byte;
            }
            bytes.truncate(cut);
            let rows = bytes.split(|byte| *byte == b'\n').filter(|row| !is_header_or_blank(&String::from_utf8_lossy(row)));
            let rows = rows.count() as u64;
            let table = parse(&bytes, Family::V4);
            prop_assert_eq!(table.sockets.len() as u64 + table.gaps.iter().map(|gap| gap.count).sum::<u64>(), rows);
        }

        #[test]
        fn addresses_of_this_host_read_back(address: [u8; 16], port: u16, state in prop::sample::select(&TcpState::ALL)) {
            let words = address.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")));
            let v6: String = words.map(|word| format!("{word:08X}")).collect();
            let zero = "0".repeat(32);
            let line = format!(
                "0: {v6}:{port:04X} {zero}:0000 {:02X} 00000000:00000001 00:00000000 00000000 7 0 9 1 0", state as u8
            );
            let table = parse(line.as_bytes(), Family::V6);
            prop_assert_eq!(table.sockets[0].tuple.local, Endpoint::new(Ipv6Addr::from(address).into(), port));
            prop_assert_eq!(table.sockets[0].state, state);
        }
    }
}
