//! The decoder against recorded datagrams: nothing panics, nothing is lost, and what is read is what the full
//! deserializer of `netlink-packet-sock-diag` reads and what `ss` printed at that moment.
#![cfg(all(target_endian = "little", target_pointer_width = "64"))]

use std::collections::BTreeMap;
use std::path::PathBuf;

use closewatch::capture::inet_diag::{Decoder, Progress, Unreadable, WireError};
use closewatch::model::socket::{
    CgroupId, Clocks, Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer,
};
use closewatch::model::state::TcpState;
use closewatch::model::tuple::{Endpoint, Family, FourTuple};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload, Nla as _};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{InetResponse, Timer as CrateTimer};
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::sample::Index;

const SEQUENCE: u32 = 7;
const HEADER: usize = 16;
/// Dumps that came to their end.
const COMPLETE: [&str; 5] = ["both", "both-info", "v4-info", "v6", "v6-info"];
const REFUSED: [(&str, i32); 2] = [("unknown-protocol", 2), ("bad-filter", 22)];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire").join(name)
}

fn recording(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.bin"))).expect("a recording")
}

fn decode(bytes: &[u8]) -> (Decoder, Result<Progress, WireError>) {
    let mut decoder = Decoder::new(NetNsIndex(0), SEQUENCE);
    let end = decoder.take(bytes);
    (decoder, end)
}

fn rows_of(name: &str) -> Vec<SocketRecord> {
    let (decoder, end) = decode(&recording(name));
    assert_eq!((end, decoder.unreadable), (Ok(Progress::Done), Unreadable::default()), "{name}");
    decoder.rows
}

/// The messages of a recording.
fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut messages = Vec::new();
    while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
        messages.push(&rest[..length]);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

#[test]
fn the_list_of_recordings_is_complete() {
    let mut listed: Vec<_> = COMPLETE.iter().copied().chain(REFUSED.map(|(name, _)| name)).collect();
    listed.sort_unstable();
    let mut there: Vec<_> =
        std::fs::read_dir(path("")).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    there.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    let mut there: Vec<_> = there.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    there.sort_unstable();
    assert_eq!(there, listed);
}

#[test]
fn rows_are_those_that_ss_printed() {
    for name in COMPLETE {
        let text = std::fs::read_to_string(path(&format!("{name}.ss.txt"))).expect("the text of ss");
        let mut printed: Vec<(String, String, String, u64)> = text
            .lines()
            .skip(1)
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let cookie = words.iter().find_map(|word| word.strip_prefix("sk:")).expect("a cookie");
                (
                    words[0].to_owned(),
                    words[1].to_owned(),
                    words[2].to_owned(),
                    u64::from_str_radix(cookie, 16).expect("hex"),
                )
            })
            .collect();
        let mut read: Vec<_> = rows_of(name)
            .iter()
            // ss asks for no bound sockets.
            .filter(|row| row.state != TcpState::BoundInactive)
            .map(|row| {
                let (recv, send) = match row.queues {
                    Queues::Data { recv, send } => (recv, send),
                    Queues::Listen { waiting, limit } => (waiting, limit.expect("netlink tells the limit")),
                };
                (row.state.label().to_owned(), recv.to_string(), send.to_string(), row.cookie.expect("a cookie").get())
            })
            .collect();
        printed.sort_unstable();
        read.sort_unstable();
        assert_eq!(read, printed, "{name}");
        assert!(read.len() >= 8, "{name}");
    }
}

#[test]
fn a_refusal_is_an_error_of_the_kernel() {
    for (name, number) in REFUSED {
        let (decoder, end) = decode(&recording(name));
        assert_eq!((end, decoder.rows.len()), (Err(WireError::Kernel(number)), 0), "{name}");
    }
}

#[test]
fn rows_are_those_of_the_full_deserializer() {
    for name in COMPLETE {
        let bytes = recording(name);
        let mut expected = Vec::new();
        for message in messages(&bytes) {
            let mut message = message.to_vec();
            // The crate does not know the type of the answers to the one request for both families, which are the same
            // in everything else.
            if message[4] == 18 {
                message[4] = 20;
            }
            let parsed = NetlinkMessage::<SockDiagMessage>::deserialize(&message).expect("the crate reads it");
            if let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) = parsed.payload {
                expected.push(record(&response, &message));
            }
        }
        assert_eq!(rows_of(name), expected, "{name}");
    }
}

/// The record that the crate's response stands for. The one thing that the crate drops is taken from the bytes.
fn record(response: &InetResponse, message: &[u8]) -> SocketRecord {
    let header = &response.header;
    let id = &header.socket_id;
    let attribute = |kind: u16| response.nlas.iter().find(|nla| nla.kind() == kind);
    let bytes = |kind: u16| {
        attribute(kind).map(|nla| {
            let mut bytes = vec![0; nla.value_len()];
            nla.emit_value(&mut bytes);
            bytes
        })
    };
    let state = TcpState::ALL.into_iter().find(|state| *state as u8 == header.state).expect("a state");
    let state = if state == TcpState::Close { TcpState::BoundInactive } else { state };
    let kind = match &header.timer {
        Some(CrateTimer::TimeWait) => SocketKind::TimeWait,
        _ if header.state == 3 => SocketKind::Request,
        _ => SocketKind::Full,
    };
    let millis = |duration: &std::time::Duration| u32::try_from(duration.as_millis()).expect("32 bits on the wire");
    SocketRecord {
        netns: NetNsIndex(0),
        state,
        kind,
        family: if header.family == 2 { Family::V4 } else { Family::V6 },
        tuple: FourTuple {
            local: Endpoint::new(id.source_address, id.source_port),
            remote: Endpoint::new(id.destination_address, id.destination_port),
        },
        interface: id.interface_id,
        cookie: SockCookie::new(u64::from_ne_bytes(id.cookie)),
        inode: Inode::new(header.inode.into()),
        uid: (kind == SocketKind::Full).then_some(header.uid),
        cgroup: bytes(21).and_then(|id| CgroupId::new(u64::from_ne_bytes(id.try_into().expect("eight bytes")))),
        queues: match state {
            TcpState::Listen => Queues::Listen { waiting: header.recv_queue, limit: Some(header.send_queue) },
            _ => Queues::Data { recv: header.recv_queue, send: header.send_queue },
        },
        timer: match &header.timer {
            None => Timer::Off,
            Some(CrateTimer::Retransmit(left, _)) => Timer::Retransmit(millis(left)),
            Some(CrateTimer::KeepAlive(left)) => Timer::KeepAlive(millis(left)),
            Some(CrateTimer::Probe(left)) => Timer::Probe(millis(left)),
            Some(CrateTimer::TimeWait) => {
                let expires = message[HEADER + 52..HEADER + 56].try_into().expect("four bytes");
                Timer::TimeWait(u32::from_ne_bytes(expires))
            }
        },
        binding: if kind == SocketKind::TimeWait { PortBinding::Auto } else { PortBinding::Unknown },
        v6only: attribute(11).map(|nla| matches!(nla, Nla::SkV6Only(true))),
        clocks: bytes(2).filter(|_| state != TcpState::Listen).map(|info| {
            let field = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().expect("four bytes"));
            Clocks { last_data_sent_ms: field(44), last_data_recv_ms: field(52), last_ack_recv_ms: field(56) }
        }),
        mptcp: None,
    }
}

#[test]
fn every_beginning_of_a_recording_is_read_or_refused() {
    for name in COMPLETE.iter().copied().chain(REFUSED.map(|(name, _)| name)) {
        let bytes = recording(name);
        let (whole, _) = decode(&bytes);
        for length in 0..bytes.len() {
            let (decoder, end) = decode(&bytes[..length]);
            assert!(end != Ok(Progress::Done), "{name}: {length} of {} bytes are no whole dump", bytes.len());
            assert_eq!(decoder.rows[..], whole.rows[..decoder.rows.len()], "{name}: the rows before stay");
        }
    }
}

#[test]
fn one_bad_row_is_counted_and_the_others_are_read() {
    let bytes = recording("v4-info");
    let (whole, _) = decode(&bytes);
    let last_row = messages(&bytes).len() - 2;
    for (nth, at, value, unreadable) in [
        (0, HEADER + 1, 14, Unreadable { unknown_state: 1, malformed: 0 }),
        (3, HEADER + 1, 0, Unreadable { unknown_state: 1, malformed: 0 }),
        (1, HEADER, 99, Unreadable { unknown_state: 0, malformed: 1 }),
        // The length of the first attribute.
        (last_row, HEADER + 72, 255, Unreadable { unknown_state: 0, malformed: 1 }),
        (2, 4, 77, Unreadable { unknown_state: 0, malformed: 1 }),
    ] {
        let mut broken = bytes.clone();
        let start: usize = messages(&bytes)[..nth].iter().map(|message| message.len().next_multiple_of(4)).sum();
        broken[start + at] = value;
        let (decoder, end) = decode(&broken);
        assert_eq!((end, decoder.unreadable), (Ok(Progress::Done), unreadable), "row {nth}");
        let mut others = whole.rows.clone();
        others.remove(nth);
        assert_eq!(decoder.rows, others, "row {nth}");
    }
}

#[test]
fn answers_to_another_request_and_lost_messages_are_errors() {
    let bytes = recording("v6");
    assert_eq!(Decoder::new(NetNsIndex(0), 8).take(&bytes), Err(WireError::Sequence));
    let mut overrun = bytes.clone();
    // NLMSG_OVERRUN
    overrun[4] = 4;
    assert_eq!(decode(&overrun).1, Err(WireError::Overrun));
    let mut endless = bytes;
    endless[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(decode(&endless).1, Err(WireError::Framing));
}

#[test]
fn tcp_info_of_any_length_is_read_as_far_as_it_goes() {
    let bytes = recording("both-info");
    let closing = |rows: &[SocketRecord]| rows.iter().find(|row| row.state == TcpState::CloseWait).cloned();
    let whole = closing(&rows_of("both-info")).expect("one is in CLOSE-WAIT");
    let message = messages(&bytes).into_iter().find(|message| message[HEADER + 1] == 8).expect("one is in CLOSE-WAIT");
    for length in [0, 40, 56, 59, 60, 104, 232, 280, 400] {
        let mut shorter = message[..HEADER + 72].to_vec();
        let mut attributes: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for nla in netlink_packet_core::NlasIterator::new(&message[HEADER + 72..]) {
            let nla = nla.expect("sound");
            attributes.insert(nla.kind(), nla.value().to_vec());
        }
        attributes.get_mut(&2).expect("tcp_info").resize(length, 0);
        for (kind, value) in attributes {
            shorter.extend(u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
            shorter.extend(kind.to_ne_bytes());
            shorter.extend(&value);
            shorter.resize(shorter.len().next_multiple_of(4), 0);
        }
        let total = u32::try_from(shorter.len()).expect("short");
        shorter[..4].copy_from_slice(&total.to_ne_bytes());
        let (decoder, end) = decode(&shorter);
        assert_eq!(end, Ok(Progress::More));
        let row = closing(&decoder.rows).expect("the row is there");
        let expected = if length >= 60 { whole.clone() } else { SocketRecord { clocks: None, ..whole.clone() } };
        assert_eq!(row, expected, "{length} bytes of tcp_info");
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(which in 0..COMPLETE.len(), changes in vec((any::<Index>(), any::<u8>()), 1..12), cut in any::<Index>()) {
        let mut bytes = recording(COMPLETE[which]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
        let (decoder, _) = decode(&bytes);
        let unreadable = decoder.unreadable.unknown_state + decoder.unreadable.malformed;
        assert!(decoder.rows.len() as u64 + unreadable <= bytes.len() as u64 / 16);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let (decoder, _) = decode(&bytes);
        assert!(decoder.rows.len() <= bytes.len() / 88);
    }
}
