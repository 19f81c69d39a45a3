//! The wire of sock_diag for UNIX sockets, as far as it is needed to tell them from others and to find those in which something
//! waits: their inodes and receive queues. Pure.
//!
//! 0.3 µs for each, where asking for the protocol behind one descriptor takes 3 to 5.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NlasIterator};
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags, UnixRequest};
use netlink_packet_sock_diag::{SockDiagMessage, UNIX_DIAG_RQLEN};

use super::inet_diag::{Progress, WireError, read_rows};

/// `udiag_ino` of `struct unix_diag_msg` (kernel `include/uapi/linux/unix_diag.h`).
const INODE: usize = 4;

/// `struct unix_diag_msg`, behind which the attributes follow.
const MESSAGE_BYTES: usize = 16;

/// A UNIX socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnixSocket {
    /// Its inode.
    pub(super) inode: u64,
    /// Whether something waits in its receive queue.
    pub(super) is_waited_for: bool,
}

/// The bytes of a request for all UNIX sockets of a namespace. The answer carries its sequence number.
pub(super) fn encode_request(sequence: u32) -> Vec<u8> {
    let request = UnixRequest {
        // Those without a connection are in a state that the crate has no name for.
        state_flags: StateFlags::from_bits_retain(u32::MAX),
        inode: 0,
        show_flags: ShowFlags::RQLEN,
        cookie: [0xFF; 8],
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::UnixRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Takes the sockets out of one datagram of the answer. A row that is too short is passed over.
pub(super) fn take_sockets(
    datagram: &[u8],
    sequence: u32,
    sockets: &mut Vec<UnixSocket>,
) -> Result<Progress, WireError> {
    read_rows(datagram, sequence, |row| sockets.extend(row.and_then(parse_row)))
}

fn parse_row(row: &[u8]) -> Option<UnixSocket> {
    let inode = row.get(INODE..)?.first_chunk().map(|inode| u32::from_ne_bytes(*inode))?;
    let attributes = NlasIterator::new(row.get(MESSAGE_BYTES..)?);
    // `struct unix_diag_rqlen` begins with the receive queue.
    let queue = attributes.flatten().find(|attribute| attribute.kind() == UNIX_DIAG_RQLEN);
    let is_waited_for = queue.is_some_and(|queue| queue.value().iter().take(4).any(|byte| *byte != 0));
    Some(UnixSocket { inode: inode.into(), is_waited_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_dump_of_every_state() {
        let bytes = encode_request(7);
        assert_eq!(bytes.len(), 16 + 24);
        assert_eq!(bytes[16], 1, "AF_UNIX");
        assert_eq!(bytes[20..24], [0xFF; 4]);
    }

    #[test]
    fn sockets_are_taken_and_broken_bytes_are_errors() {
        let mut datagram = vec![44, 0, 0, 0, 20, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend([1, 1, 1, 0, 57, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        datagram.extend([12, 0, 4, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        datagram.extend([32, 0, 0, 0, 20, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        datagram.extend([1, 1, 7, 0, 58, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        datagram.extend([20, 0, 0, 0, 3, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut sockets = Vec::new();
        assert_eq!(take_sockets(&datagram, 7, &mut sockets), Ok(Progress::Done));
        let seen = sockets.iter().map(|socket| (socket.inode, socket.is_waited_for)).collect::<Vec<_>>();
        assert_eq!(seen, [(12_345, true), (12_346, false)]);
        assert_eq!(take_sockets(&datagram, 8, &mut sockets), Err(WireError::Sequence));
        for length in 1..datagram.len() {
            let _ = take_sockets(&datagram[..length], 7, &mut Vec::new());
        }
    }
}
