//! Whole texts.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::attribution::{self, Owner, Unresolved};
use crate::census::pools;
use crate::model::socket::{Clocks, Queues, SocketKind, SocketRecord, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::Family;

const RANGE: EphemeralRange = EphemeralRange { first: 32_768, last: 60_999 };

const REAL: [&[u8]; 8] = [
    include_bytes!("../../../fixtures/cases/ss-3.8-tanpieom/input.txt"),
    include_bytes!("../../../fixtures/cases/ss-4.9-tanpieom/input.txt"),
    include_bytes!("../../../fixtures/cases/ss-4.14-anp/input.txt"),
    include_bytes!("../../../fixtures/cases/ss-5.15-oneline/input.txt"),
    include_bytes!("../../../fixtures/cases/ss-6.1-pasted/input.txt"),
    include_bytes!("../../../fixtures/cases/ss-6.12-mptcp/input.txt"),
    include_bytes!("../../../fixtures/cases/netstat-tanpeo/input.txt"),
    include_bytes!("../../../fixtures/cases/proc-little/input.txt"),
];

fn looked(text: &str) -> Snapshot {
    read(text.as_bytes(), SystemTime::UNIX_EPOCH, None).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> SavedTextError {
    read(text.as_bytes(), SystemTime::UNIX_EPOCH, None).expect_err(text)
}

fn socket(text: &str) -> SocketRecord {
    let sockets = looked(text).sockets;
    let [socket] = sockets.as_slice() else { panic!("{text}: {sockets:#?}") };
    socket.clone()
}

fn gap_of<'a>(snapshot: &'a Snapshot, what: &str) -> Option<&'a Gap> {
    snapshot.gaps.iter().find(|gap| gap.what.contains(what))
}

#[test]
fn a_row_with_everything_becomes_a_socket_with_everything() {
    let row = socket(
        "CLOSE-WAIT 1076 0 10.0.0.5:55906 10.0.0.7:8086 users:((\"telegraf\",pid=7587,fd=9)) \
         timer:(keepalive,118min,0) uid:998 ino:17022352 sk:2dca36 cgroup:/ -->\n\t cubic mss:1448 cwnd:10 lastsnd:79000 \
         lastrcv:78996 lastack:78992\n",
    );
    assert_eq!((row.state, row.kind, row.family), (TcpState::CloseWait, SocketKind::Full, Family::V4));
    assert_eq!(row.tuple.remote.to_string(), "10.0.0.7:8086");
    assert_eq!(
        (row.inode.map(|inode| inode.get()), row.cookie.map(|cookie| cookie.get())),
        (Some(17_022_352), Some(0x2d_ca36))
    );
    assert_eq!((row.uid, row.queues), (Some(998), Queues::Data { recv: 1076, send: 0 }));
    assert_eq!(row.timer, Timer::KeepAlive(7_080_000));
    let clocks = Clocks { last_data_sent_ms: 79_000, last_data_recv_ms: 78_996, last_ack_recv_ms: 78_992 };
    assert_eq!(row.clocks, Some(clocks));
}

#[test]
fn what_a_text_leaves_out_is_told_from_what_is_zero() {
    // ss leaves out the user 0 and timers that do not run; without -e and -o it leaves out all of them.
    let with = looked(
        "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2 timer:(on,1sec,0) ino:5 sk:1 <->\nESTAB 0 0 10.0.0.5:3 10.0.0.7:2 ino:6 sk:2 <->\n",
    );
    assert_eq!((with.sockets[1].uid, with.sockets[1].timer), (Some(0), Timer::Off));
    let without = socket("ESTAB 0 0 10.0.0.5:1 10.0.0.7:2\n");
    assert_eq!((without.uid, without.timer, without.clocks), (None, Timer::Unknown, None));
    let asked = socket("$ ss -tano\nESTAB 0 0 10.0.0.5:1 10.0.0.7:2\n");
    assert_eq!(asked.timer, Timer::Off);
}

#[test]
fn a_version_that_prints_no_clocks_does_not_print_zeros() {
    let rows = |clock: &str| {
        format!(
            "CLOSE-WAIT 1 0 10.0.0.5:1 10.0.0.7:2\n\t cubic mss:1448 cwnd:10\n\
             CLOSE-WAIT 1 0 10.0.0.5:3 10.0.0.7:2\n\t cubic mss:1448 cwnd:10{clock}\n"
        )
    };
    let clocks = |clock: &str| looked(&rows(clock)).sockets[0].clocks.map(|clocks| clocks.last_ack_recv_ms);
    assert_eq!((clocks(""), clocks(" lastack:5")), (None, Some(0)));
    assert_eq!(gap_of(&looked(&rows("")), "for how long").map(|gap| gap.count), Some(2));
}

#[test]
fn holders_are_joined_with_and_without_inodes() {
    let rows = |details: &str| {
        format!(
            "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2 users:((\"a\",pid=7,fd=3),(\"b\",pid=8,fd=3)){details}\n\
             ESTAB 0 0 10.0.0.5:3 10.0.0.7:2 users:((\"a\",pid=7,fd=4)){details}\nESTAB 0 0 10.0.0.5:4 10.0.0.7:2\n"
        )
    };
    let snapshot = looked(&rows(""));
    let owners = attribution::join(&snapshot);
    let holders = |socket: usize| match owners.of(socket) {
        Owner::Held(holders) => holders.iter().map(|holder| snapshot.processes[holder.0 as usize].key.pid).collect(),
        _ => Vec::new(),
    };
    assert_eq!((holders(0), holders(1)), (vec![7, 8], vec![7]));
    assert_eq!(owners.of(2), Owner::Unresolved(Unresolved::NotTold));
    assert!(snapshot.sockets.iter().all(|socket| socket.inode.is_some_and(|inode| inode.get() > u64::from(u32::MAX))));
    assert_eq!(gap_of(&snapshot, "the processes that hold sockets").map(|gap| gap.count), Some(1));
    let process = &snapshot.processes[0];
    assert_eq!((process.key.start_ticks, process.started_at, process.fds_open), (0, None, None));
}

#[test]
fn without_an_inode_a_connection_waits_at_its_listener() {
    let snapshot = looked(
        "LISTEN 1 5 0.0.0.0:80 0.0.0.0:* users:((\"a\",pid=7,fd=3)) ino:4 sk:1 <->\n\
         CLOSE-WAIT 1 0 10.0.0.5:80 10.0.0.7:2 ino:0 sk:2 -->\n",
    );
    assert_eq!(attribution::join(&snapshot).of(1), Owner::NotAccepted(0));
    assert_eq!(snapshot.sockets[0].queues, Queues::Listen { waiting: 1, limit: Some(5) });
}

#[test]
fn kinds_are_told_by_what_only_whole_sockets_have() {
    let kind = |row: &str| socket(&format!("{row}\n")).kind;
    assert_eq!(kind("FIN-WAIT-2 0 0 10.0.0.5:1 10.0.0.7:2 ino:0 sk:1 <--"), SocketKind::Full);
    assert_eq!(kind("FIN-WAIT-2 0 0 10.0.0.5:1 10.0.0.7:2 ino:0 sk:1"), SocketKind::TimeWait);
    assert_eq!(kind("FIN-WAIT-2 0 0 10.0.0.5:1 10.0.0.7:2 timer:(timewait,59sec,0)"), SocketKind::TimeWait);
    // iproute2 3.x tells no open directions: the timer of an orphan, which is that of keepalive, does.
    assert_eq!(kind("FIN-WAIT-2 0 0 10.0.0.5:1 10.0.0.7:2 timer:(keepalive,59sec,0) ino:0 sk:1"), SocketKind::Full);
    assert_eq!(kind("SYN-RECV 0 0 10.0.0.5:1 10.0.0.7:2"), SocketKind::Request);
    assert_eq!(kind("TIME-WAIT 0 0 10.0.0.5:1 10.0.0.7:2"), SocketKind::TimeWait);
    let let_go = socket("LAST-ACK 0 1 10.0.0.5:1 10.0.0.7:2\n");
    assert_eq!((let_go.kind, let_go.inode), (SocketKind::Full, None));
}

#[test]
fn wildcards_are_of_the_family_that_the_layout_tells() {
    let listener = |text: &str| {
        let snapshot = looked(text);
        let socket = snapshot.sockets[0].clone();
        (socket.family, socket.v6only, gap_of(&snapshot, "whether `*`").is_some())
    };
    let (any, old) = ("LISTEN 0 1 *:80 *:*\n", "LISTEN 0 1 :::81 :::*\n");
    assert_eq!(listener(any), (Family::V6, None, true));
    assert_eq!(listener(&[any, old].concat()), (Family::V4, None, false));
    assert_eq!(listener(&[any, "LISTEN 0 1 0.0.0.0:81 0.0.0.0:*\n"].concat()), (Family::V6, Some(false), false));
    assert_eq!(listener("LISTEN 0 1 [::]:80 [::]:*\n"), (Family::V6, Some(true), false));
    assert_eq!(listener("LISTEN 0 1 [2001:db8::1]:80 *:*\n"), (Family::V6, Some(false), false));
    assert_eq!(listener("LISTEN 0 1 :::80 :::* ino:1 sk:1 v6only:1 <->\n"), (Family::V6, Some(true), false));
    let mapped = socket("ESTAB 0 0 [::ffff:10.0.0.5]:80 [::ffff:10.0.0.7]:2\n");
    assert_eq!((mapped.family, mapped.tuple.local.to_string().as_str()), (Family::V6, "10.0.0.5:80"));
}

#[test]
fn interfaces_get_numbers_that_no_kernel_gives() {
    let snapshot = looked(
        "LISTEN 0 1 127.0.0.1%lo:80 0.0.0.0:*\nESTAB 0 0 [fe80::5]%eth0:1 [fe80::7]:22\n\
         ESTAB 0 0 [fe80::5]%eth1:1 [fe80::7]:22\nESTAB 0 0 [fe80::5]%if9:1 [fe80::7]:22\n",
    );
    let interfaces: Vec<u32> = snapshot.sockets.iter().map(|socket| socket.interface).collect();
    assert_eq!(interfaces, [1, 1 << 31, (1 << 31) + 1, 9]);
    let gap = gap_of(&snapshot, "the numbers of interfaces").expect("a gap");
    assert_eq!((gap.what.contains("2147483648 stands for eth0"), gap.count), (true, 2));
}

#[test]
fn of_several_looks_the_last_counts_and_nothing_counts_twice() {
    let look = "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n";
    let (listener, gone) = ("LISTEN 0 1 0.0.0.0:80 0.0.0.0:*\n", "ESTAB 0 0 10.0.0.5:3 10.0.0.7:2\n");
    let first = [look, listener, listener, gone, "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2\n"].concat();
    let second = [look, listener, listener, "CLOSE-WAIT 9 0 10.0.0.5:1 10.0.0.7:2\n"].concat();
    let snapshot = looked(&[first, second].concat());
    let states: Vec<TcpState> = snapshot.sockets.iter().map(|socket| socket.state).collect();
    // Two listeners that share a port stay two.
    assert_eq!(states, [TcpState::Listen, TcpState::Listen, TcpState::Established, TcpState::CloseWait]);
    let gap = gap_of(&snapshot, "which sockets there were at one moment").expect("a gap");
    assert_eq!((gap.count, gap.hides), (3, Hides::Sockets));
}

#[test]
fn what_may_be_udp_is_not_counted_as_tcp() {
    let udp = "UNCONN 0 0 0.0.0.0:68 0.0.0.0:*\nESTAB 0 0 10.0.0.5:4 10.0.0.7:53\n";
    let snapshot = looked(&format!("$ ss -tan\nLISTEN 0 1 0.0.0.0:80 0.0.0.0:*\n$ date\n{udp}"));
    assert_eq!(snapshot.sockets.len(), 1);
    assert_eq!(gap_of(&snapshot, "rows that may be of UDP").map(|gap| gap.count), Some(2));
    let snapshot = looked(&format!("$ ss -uan\n{udp}$ ss -tan\nLISTEN 0 1 0.0.0.0:80 0.0.0.0:*\n"));
    assert_eq!((snapshot.sockets.len(), gap_of(&snapshot, "UDP")), (1, None));
    let bound = socket("$ ss -tan\nUNCONN 0 0 10.0.0.5:7777 0.0.0.0:*\n");
    assert_eq!(bound.state, TcpState::BoundInactive);
}

#[test]
fn mptcp_connections_are_joined_by_inode_or_counted() {
    let rows = |inode: &str| {
        format!("tcp ESTAB 0 0 10.0.0.5:1 10.0.0.7:2{inode}\nmptcp CLOSE-WAIT 0 0 10.0.0.5:1 10.0.0.7:2{inode}\n")
    };
    let joined = looked(&rows(" ino:7 sk:1 <->"));
    assert_eq!((joined.sockets.len(), joined.sockets[0].mptcp), (1, Some(TcpState::CloseWait)));
    assert_eq!(gap_of(&joined, "MPTCP"), None);
    let lone = looked(&rows(""));
    assert_eq!(lone.sockets[0].mptcp, None);
    assert_eq!(gap_of(&lone, "the subflows of MPTCP").map(|gap| gap.count), Some(1));
}

#[test]
fn a_unit_is_that_of_all_cgroups_or_none() {
    let rows = |second: &str| {
        format!(
            "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2 users:((\"a\",pid=7,fd=3)) ino:1 sk:1 cgroup:/system.slice/a.service <->\n\
             ESTAB 0 0 10.0.0.5:2 10.0.0.7:2 users:((\"a\",pid=7,fd=4)) ino:2 sk:2 cgroup:{second} <->\n"
        )
    };
    let unit = |second: &str| looked(&rows(second)).processes[0].placement.as_ref().and_then(|at| at.unit.clone());
    assert_eq!(unit("/").as_deref(), Some("a.service"));
    assert_eq!(unit("/system.slice/a.service").as_deref(), Some("a.service"));
    assert_eq!(unit("/system.slice/b.service"), None);
    assert_eq!(unit("unreachable:1f").as_deref(), Some("a.service"));
}

#[test]
fn ports_left_need_the_range_that_only_the_operator_knows() {
    let text = b"ESTAB 0 0 10.0.0.5:40000 10.0.0.7:2\nLISTEN 0 1 0.0.0.0:80 0.0.0.0:*\n";
    let with = read(text, SystemTime::UNIX_EPOCH, Some(RANGE)).expect("a table");
    let pools = pools::connect_pools(&with, &attribution::join(&with));
    assert_eq!((pools.len(), pools[0].usable, pools[0].remaining), (1, 28_232, 28_231));
    assert_eq!(pools[0].remaining_at_least, 0, "a bound socket that is not listed may sit on any port");
    let without = read(text, SystemTime::UNIX_EPOCH, None).expect("a table");
    assert_eq!(pools::connect_pools(&without, &attribution::join(&without)), []);
    assert_eq!(gap_of(&without, "the ephemeral port range").map(|gap| gap.hides), Some(Hides::Ports));
    assert_eq!(gap_of(&with, "the reserved ports").map(|gap| gap.hides), Some(Hides::Ports));
}

#[test]
fn a_part_of_the_sockets_is_told_to_be_one() {
    let snapshot = looked("$ ss -tn dst 10.0.0.7\nESTAB 0 0 10.0.0.5:1 10.0.0.7:2\n");
    let why = &gap_of(&snapshot, "sockets that were not asked for").expect("a gap").why;
    assert_eq!(why, "the command asked for a part of them: ss -tn dst 10.0.0.7");
    assert!(gap_of(&snapshot, "listening sockets").is_some());
    let open = looked("ESTAB 0 0 10.0.0.5:1 10.0.0.7:2");
    assert!(gap_of(&open, "what followed line 1").is_some_and(|gap| gap.hides == Hides::Sockets));
}

#[test]
fn the_byte_order_is_assumed_only_where_nothing_tells_it() {
    let row = |address: &str| {
        format!("0: {address}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7 1 0\n")
    };
    let sure = looked(&row("0500000A"));
    assert_eq!(
        (sure.sockets[0].tuple.local.to_string().as_str(), gap_of(&sure, "byte order")),
        ("10.0.0.5:8080", None)
    );
    assert_eq!(looked(&row("0A000005")).sockets[0].tuple.local.to_string(), "10.0.0.5:8080");
    assert!(gap_of(&looked(&row("04040808")), "byte order").is_some());
    assert_eq!(sure.source, SourceKind::SavedProcText);
}

#[test]
fn what_is_no_table_says_what_it_is() {
    assert_eq!(refused(" \n\n"), SavedTextError::Empty);
    assert_eq!(refused("Total: 181\n"), SavedTextError::SummaryOnly);
    assert_eq!(refused("1 0 10.0.0.5:1 10.0.0.7:2\n"), SavedTextError::NoStates);
    assert_eq!(refused("hello\n"), SavedTextError::NoSockets { first: Some("hello".to_owned()) });
    assert_eq!(refused("udp UNCONN 0 0 0.0.0.0:68 0.0.0.0:*\n"), SavedTextError::NoSockets { first: None });
    let mixed = "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2\n0: 0500000A:1F90 0:0 0A\n";
    assert_eq!(refused(mixed), SavedTextError::Mixed { programs: vec!["ss", "/proc/net/tcp"] });
}

/// Every line is taken for something, and every row becomes a socket or is counted.
fn account(text: &[u8]) {
    let scan = scan::scan(text);
    let lines = scan.lines;
    let all = lines.sockets + lines.others + lines.continued + lines.around + scan.bad.count();
    let n_lines =
        text.split(|byte| *byte == b'\n').count() as u64 - u64::from(text.is_empty() || text.ends_with(b"\n"));
    assert_eq!(all, n_lines, "{lines:?} and {} bad", scan.bad.count());
    let mptcp: usize = scan.tables.iter().map(|table| table.mptcp.len()).sum();
    let made = assemble(&scan.tables);
    let of_tables = made.sockets.len() as u64 + made.doubles + made.perhaps_udp + mptcp as u64;
    assert_eq!(of_tables + scan.proc_rows.len() as u64, lines.sockets);
    let (rows, gaps) = read_proc_rows(&scan);
    let bad: u64 = gaps.iter().filter(|gap| gap.what.starts_with("rows of")).map(|gap| gap.count).sum();
    assert_eq!(rows.sockets.len() as u64 + rows.doubles + bad, scan.proc_rows.len() as u64);
}

#[derive(Debug, Clone)]
enum Harm {
    Change(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), prop_oneof![any::<u8>(), prop::sample::select(b"\n\t :,\"()*[]%0".to_vec())])
            .prop_map(|(at, byte)| Harm::Change(at, byte)),
        index().prop_map(Harm::Cut),
        index().prop_map(Harm::Drop),
        index().prop_map(Harm::Double),
        (index(), index()).prop_map(|(a, b)| Harm::Swap(a, b)),
    ]
}

fn harmed(text: &[u8], harms: &[Harm]) -> Vec<u8> {
    let mut text = text.to_vec();
    for harm in harms {
        let mut lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.is_empty() {
            return text;
        }
        match harm {
            Harm::Change(at, byte) => {
                let at = at.index(text.len());
                text[at] = *byte;
                continue;
            }
            Harm::Cut(at) => {
                text.truncate(at.index(text.len()));
                continue;
            }
            Harm::Drop(at) => {
                lines.remove(at.index(lines.len()));
            }
            Harm::Double(at) => lines.push(lines[at.index(lines.len())].clone()),
            Harm::Swap(a, b) => {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
            }
        }
        text = lines.concat();
    }
    text
}

#[test]
fn every_line_of_the_real_texts_is_accounted_for() {
    for text in REAL {
        account(text);
        for end in 0..text.len().min(600) {
            account(&text[..end]);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..400)) {
        account(&text);
        let _ = read(&text, SystemTime::UNIX_EPOCH, None);
    }

    #[test]
    fn words_of_tables_in_any_order_are_accounted_for(
        words in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "ESTAB", "LISTEN", "CLOSE-WAIT", "UNCONN", "tcp", "tcp6", "udp", "mptcp", "0", "1", "10.0.0.5:1", "*:80",
                    "[::]:80", "users:((\"a\",pid=1,fd=2))", "users:((\"a", "\",pid=1,fd=2))", "ino:5", "sk:1", "<->",
                    "timer:(on,1sec,0)", "\n", "\n\t", "\n", "$ ss -tan", "State", "Recv-Q", "Local", "Peer", "Netid", "0:",
                    "0100007F:1F90", "00000000:0000", "0A", "sl", "local_address", "CLOSE_WAIT", "7/a", "cubic", "mss:1",
                ]).prop_map(str::to_owned),
                any::<String>(),
            ],
            0..60,
        ),
    ) {
        account(words.join(" ").as_bytes());
    }

    #[test]
    fn a_harmed_text_is_read_or_counted_and_never_in_silence(
        nth in 0..REAL.len(),
        harms in prop::collection::vec(harm(), 1..4),
        ephemeral in prop_oneof![Just(None), Just(Some(RANGE))],
    ) {
        let text = harmed(REAL[nth], &harms);
        account(&text);
        if let Ok(snapshot) = read(&text, SystemTime::UNIX_EPOCH, ephemeral) {
            let owners = attribution::join(&snapshot);
            let pools = pools::connect_pools(&snapshot, &owners);
            prop_assert_eq!(pools.is_empty() || ephemeral.is_some(), true);
        }
    }
}
