//! The wire of sock_diag: requests to bytes, received bytes to records. Pure.
//!
//! Framing, response headers and attributes are read with `netlink-packet-core` and `netlink-packet-sock-diag`, through
//! those of their parsers that do not allocate: at 60,000 rows the full deserializer would cost a third of what the
//! kernel takes. What they cannot express stands here, each with its reason.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroI32;
use std::ops::AddAssign;

use netlink_packet_core::{
    DefaultNla, DoneBuffer, Emitable, ErrorBuffer, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NlasIterator, Parseable,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer as WireTimer,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, INET_DIAG_INFO, INET_DIAG_SHUTDOWN, INET_DIAG_SKV6ONLY, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY,
    SockDiagMessage,
};

use crate::capture::bytecode::Bytecode;
use crate::model::socket::{
    CgroupId, Clocks, Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer,
};
use crate::model::state::{StateMask, TcpState};
use crate::model::tuple::{Endpoint, Family, FourTuple};

// What the crates have no names for: kernel `include/uapi/linux/inet_diag.h`.
const TCPDIAG_GETSOCK: u16 = 18;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_CGROUP_ID: u16 = 21;
/// Kernel `include/uapi/linux/in.h`: does not fit the eight bits of `sdiag_protocol`.
const IPPROTO_MPTCP: u32 = 262;
/// What `sdiag_protocol` is set to when the protocol comes as an attribute (`IPPROTO_RAW`, as `ss` sends it).
const PROTOCOL_BY_ATTRIBUTE: u8 = 255;
/// `struct inet_diag_msg`, behind which the attributes follow.
const INET_DIAG_MSG_LEN: usize = 72;

/// Which tables one request walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// TCP over IPv4 and IPv6 in one walk.
    Tcp,
    /// TCP over one family.
    TcpOf(Family),
    /// MPTCP over one family.
    MptcpOf(Family),
}

/// Whether tcp_info is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extensions {
    /// Only what the kernel sends unasked.
    None,
    /// `struct tcp_info`.
    Info,
}

/// One request for a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpRequest<'a> {
    /// Which tables.
    pub tables: Tables,
    /// Sockets in which states.
    pub states: StateMask,
    /// With or without tcp_info.
    pub extensions: Extensions,
    /// Which of them; all without a filter.
    pub filter: Option<&'a Bytecode>,
}

/// The bytes of a request. The answer carries its sequence number.
#[must_use]
pub fn encode_request(request: &DumpRequest<'_>, sequence: u32) -> Vec<u8> {
    let mut bytes = match request.tables {
        Tables::Tcp => encode_both_families(request, sequence),
        Tables::TcpOf(family) => encode_one_family(request, sequence, family, IPPROTO_TCP),
        Tables::MptcpOf(family) => {
            let mut bytes = encode_one_family(request, sequence, family, PROTOCOL_BY_ATTRIBUTE);
            append_attribute(&mut bytes, INET_DIAG_REQ_PROTOCOL, IPPROTO_MPTCP.to_ne_bytes().to_vec());
            bytes
        }
    };
    if let Some(filter) = request.filter {
        append_attribute(&mut bytes, INET_DIAG_REQ_BYTECODE, filter.as_bytes().to_vec());
    }
    let length = bytes.len();
    // A request is never near the 4 GiB that the field could not tell.
    NetlinkBuffer::new(&mut bytes).set_length(u32::try_from(length).unwrap_or(u32::MAX));
    bytes
}

/// The request of type 18 with the old `struct inet_diag_req`, which the crate calls an unknown message type. It is the
/// only one that walks the tables once for both families (kernel `inet_diag_dump_compat`), and half the price where the
/// tables are large.
fn encode_both_families(request: &DumpRequest<'_>, sequence: u32) -> Vec<u8> {
    let header = dump_header(TCPDIAG_GETSOCK, sequence);
    let mut bytes = vec![0; header.buffer_len()];
    header.emit(&mut bytes);
    // idiag_family, idiag_src_len, idiag_dst_len: not looked at.
    bytes.extend([0, 0, 0, flags_of(request.extensions).bits()]);
    // struct inet_diag_sockid: a dump looks at its ports only, and 0 stands for all.
    bytes.extend([0; 48]);
    bytes.extend(request.states.bits().to_ne_bytes());
    // idiag_dbs: not looked at.
    bytes.extend([0; 4]);
    bytes
}

fn encode_one_family(request: &DumpRequest<'_>, sequence: u32, family: Family, protocol: u8) -> Vec<u8> {
    let (family, socket_id) = match family {
        Family::V4 => (AF_INET, SocketId::new_v4()),
        Family::V6 => (AF_INET6, SocketId::new_v6()),
    };
    let inner = InetRequest {
        family,
        protocol,
        extensions: flags_of(request.extensions),
        // Bits 12 and 13 have no names in the crate and are sent all the same.
        states: StateFlags::from_bits_retain(request.states.bits()),
        socket_id,
    };
    let header = dump_header(SOCK_DIAG_BY_FAMILY, sequence);
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(inner).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn dump_header(message_type: u16, sequence: u32) -> NetlinkHeader {
    let mut header = NetlinkHeader::default();
    header.message_type = message_type;
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    header
}

fn flags_of(extensions: Extensions) -> ExtensionFlags {
    match extensions {
        Extensions::None => ExtensionFlags::empty(),
        Extensions::Info => ExtensionFlags::INFO,
    }
}

/// `InetRequest` has no attributes: they go behind it, and the length of the message is set after.
fn append_attribute(bytes: &mut Vec<u8>, kind: u16, value: Vec<u8>) {
    let attribute = DefaultNla::new(kind, value);
    let start = bytes.len();
    bytes.resize(start + attribute.buffer_len(), 0);
    attribute.emit(&mut bytes[start..]);
}

/// Why a dump cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// The kernel refused or gave up, with this error number.
    Kernel(i32),
    /// The bytes are no netlink messages.
    Framing,
    /// The message answers another request.
    Sequence,
    /// The kernel says that messages were lost.
    Overrun,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(number) => std::io::Error::from_raw_os_error(*number).fmt(f),
            Self::Framing => f.write_str("the answer is not made of netlink messages"),
            Self::Sequence => f.write_str("the answer belongs to another request"),
            Self::Overrun => f.write_str("the kernel lost part of the answer"),
        }
    }
}

impl std::error::Error for WireError {}

/// Whether a dump goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More datagrams follow.
    More,
    /// That was the last.
    Done,
}

/// The rows that could not be made records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unreadable {
    /// Their state is none that [`TcpState::from_kernel`] knows.
    pub unknown_state: u64,
    /// They are shorter than they should be, of another family, or their attributes are broken.
    pub malformed: u64,
}

impl AddAssign for Unreadable {
    fn add_assign(&mut self, other: Self) {
        self.unknown_state += other.unknown_state;
        self.malformed += other.malformed;
    }
}

/// Collects the rows of one dump, datagram by datagram.
#[derive(Debug)]
pub struct Decoder {
    /// The rows so far, in the order of the kernel.
    pub rows: Vec<SocketRecord>,
    /// What did not become a row.
    pub unreadable: Unreadable,
    netns: NetNsIndex,
    sequence: u32,
}

impl Decoder {
    /// A decoder for the answer to the request with this sequence number, asked in this namespace.
    #[must_use]
    pub fn new(netns: NetNsIndex, sequence: u32) -> Self {
        Self { rows: Vec::new(), unreadable: Unreadable::default(), netns, sequence }
    }

    /// Takes one datagram.
    ///
    /// A row that cannot be read is counted, and the next one is read.
    ///
    /// # Errors
    /// When the dump as a whole cannot be trusted: the kernel reports an error (as an error message, or as the code of
    /// the closing one), or the bytes are not what was asked for. The rows before it stay.
    pub fn take(&mut self, datagram: &[u8]) -> Result<Progress, WireError> {
        let sequence = self.sequence;
        read_rows(datagram, sequence, |row| match row {
            Some(payload) => self.take_row(payload),
            None => self.unreadable.malformed += 1,
        })
    }

    fn take_row(&mut self, payload: &[u8]) {
        match decode_row(payload, self.netns) {
            Ok(row) => self.rows.push(row),
            Err(RowError::UnknownState) => self.unreadable.unknown_state += 1,
            Err(RowError::Malformed) => self.unreadable.malformed += 1,
        }
    }
}

/// Hands out the rows of one datagram of a dump, `None` for a message that is no row.
pub(super) fn read_rows(
    datagram: &[u8],
    sequence: u32,
    mut take: impl FnMut(Option<&[u8]>),
) -> Result<Progress, WireError> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(|_| WireError::Framing)?;
        if message.sequence_number() != sequence {
            return Err(WireError::Sequence);
        }
        match message.message_type() {
            TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => take(Some(message.payload())),
            NLMSG_DONE => {
                let done = DoneBuffer::new_checked(message.payload()).map_err(|_| WireError::Framing)?;
                return match NonZeroI32::new(done.code()) {
                    None => Ok(Progress::Done),
                    Some(code) => Err(kernel_error(code)),
                };
            }
            NLMSG_ERROR => {
                let error = ErrorBuffer::new_checked(message.payload()).map_err(|_| WireError::Framing)?;
                // Code 0 acknowledges, which was not asked for and means nothing here.
                if let Some(code) = error.code() {
                    return Err(kernel_error(code));
                }
            }
            NLMSG_OVERRUN => return Err(WireError::Overrun),
            NLMSG_NOOP => {}
            _ => take(None),
        }
        let step = (message.length() as usize).next_multiple_of(usize::from(NLMSG_ALIGNTO));
        rest = rest.get(step..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The kernel counts its errors downwards.
fn kernel_error(code: NonZeroI32) -> WireError {
    WireError::Kernel(code.get().saturating_abs())
}

enum RowError {
    UnknownState,
    Malformed,
}

fn decode_row(payload: &[u8], netns: NetNsIndex) -> Result<SocketRecord, RowError> {
    let header = InetResponseHeader::parse(payload).map_err(|_| RowError::Malformed)?;
    let attributes = Attributes::read(payload.get(INET_DIAG_MSG_LEN..).unwrap_or_default())?;
    let state = match TcpState::from_kernel(header.state).ok_or(RowError::UnknownState)? {
        // No table holds a closed socket but that of bound ports, which is asked by bit 13 and answers 7.
        TcpState::Close => TcpState::BoundInactive,
        state => state,
    };
    let timer = timer_of(&header, payload);
    let kind = match timer {
        Timer::TimeWait(_) => SocketKind::TimeWait,
        _ if state == TcpState::SynRecv && !attributes.is_full_socket => SocketKind::Request,
        _ => SocketKind::Full,
    };
    let id = &header.socket_id;
    Ok(SocketRecord {
        netns,
        state,
        kind,
        family: if id.source_address.is_ipv4() { Family::V4 } else { Family::V6 },
        tuple: FourTuple {
            local: endpoint(id.source_address, id.source_port),
            remote: endpoint(id.destination_address, id.destination_port),
        },
        interface: id.interface_id,
        cookie: SockCookie::new(u64::from_ne_bytes(id.cookie)),
        inode: Inode::new(u64::from(header.inode)),
        uid: (kind == SocketKind::Full).then_some(header.uid),
        cgroup: attributes.cgroup,
        queues: match state {
            TcpState::Listen => Queues::Listen { waiting: header.recv_queue, limit: Some(header.send_queue) },
            _ => Queues::Data { recv: header.recv_queue, send: header.send_queue },
        },
        timer,
        binding: match kind {
            // What the kernel answers for every TIME-WAIT: it keeps no lock of the socket that it was.
            SocketKind::TimeWait => PortBinding::Auto,
            SocketKind::Full | SocketKind::Request => PortBinding::Unknown,
        },
        v6only: attributes.v6only,
        // A listener has no clocks: the kernel leaves zeros there (`tcp_get_info`).
        clocks: attributes.clocks.filter(|_| state != TcpState::Listen),
        mptcp: None,
    })
}

fn endpoint(address: IpAddr, port: u16) -> Endpoint {
    Endpoint::new(address, port)
}

/// The timer with its milliseconds, which the crate's `Timer::TimeWait` leaves out although the kernel tells them
/// (`inet_twsk_diag_fill`). They are what remains of the port's wait, so `idiag_expires` is read here for all timers.
fn timer_of(header: &InetResponseHeader, payload: &[u8]) -> Timer {
    const IDIAG_TIMER: usize = 2;
    const IDIAG_EXPIRES: usize = 52;
    let Some(expires) = u32_at(payload, IDIAG_EXPIRES) else { return Timer::Unknown };
    match header.timer {
        Some(WireTimer::Retransmit(..)) => Timer::Retransmit(expires),
        Some(WireTimer::KeepAlive(_)) => Timer::KeepAlive(expires),
        Some(WireTimer::TimeWait) => Timer::TimeWait(expires),
        Some(WireTimer::Probe(_)) => Timer::Probe(expires),
        // The crate says so of timers that it does not know, too.
        None if payload.get(IDIAG_TIMER) == Some(&0) => Timer::Off,
        None => Timer::Unknown,
    }
}

/// What a row's attributes tell. The crate's `Nla` would copy each into a vector, and copies two of those that come
/// unasked, 21 and 22, behind a formatted message that nobody reads.
#[derive(Default)]
struct Attributes {
    /// `INET_DIAG_SHUTDOWN` is there: the kernel sends it for every `struct sock` and for nothing smaller
    /// (`inet_diag_msg_attrs_fill`).
    is_full_socket: bool,
    cgroup: Option<CgroupId>,
    v6only: Option<bool>,
    clocks: Option<Clocks>,
}

impl Attributes {
    fn read(bytes: &[u8]) -> Result<Self, RowError> {
        let mut read = Self::default();
        for attribute in NlasIterator::new(bytes) {
            let attribute = attribute.map_err(|_| RowError::Malformed)?;
            let value = attribute.value();
            match attribute.kind() {
                INET_DIAG_SHUTDOWN => read.is_full_socket = true,
                INET_DIAG_INFO => read.clocks = clocks_of(value),
                INET_DIAG_SKV6ONLY => read.v6only = value.first().map(|flag| *flag != 0),
                INET_DIAG_CGROUP_ID => {
                    read.cgroup = value.first_chunk().and_then(|id| CgroupId::new(u64::from_ne_bytes(*id)));
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// Three fields of `struct tcp_info` (kernel `include/uapi/linux/tcp.h`), which grows at its end from version to
/// version: the crate fails on a shorter one than its own, which is that of 5.4, and with it on every row.
fn clocks_of(tcp_info: &[u8]) -> Option<Clocks> {
    Some(Clocks {
        last_data_sent_ms: u32_at(tcp_info, 44)?,
        last_data_recv_ms: u32_at(tcp_info, 52)?,
        last_ack_recv_ms: u32_at(tcp_info, 56)?,
    })
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}
