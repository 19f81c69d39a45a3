//! Dumps of the running kernel as the tests ask for them: one request, the datagrams as they came.

use closewatch::capture::bytecode::{Bytecode, Condition};
use closewatch::capture::inet_diag::{Decoder, DumpRequest, Extensions, Progress, Tables, WireError, encode_request};
use closewatch::model::socket::{NetNsIndex, SocketRecord};
use closewatch::model::state::StateMask;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The sequence number of all requests here, and so of the recordings.
pub(crate) const SEQUENCE: u32 = 7;

/// All datagrams that answer these bytes, one behind the other, and how the dump ended.
pub(crate) fn answers_to(request: &[u8]) -> (Vec<u8>, Decoder, Result<(), WireError>) {
    let socket = Socket::new(NETLINK_SOCK_DIAG).expect("a netlink socket");
    socket.connect(&SocketAddr::new(0, 0)).expect("connects to the kernel");
    socket.send(request, 0).expect("sends");
    let (mut bytes, mut decoder) = (Vec::new(), Decoder::new(NetNsIndex(0), SEQUENCE));
    loop {
        let mut buffer = vec![0; 65536];
        let length = socket.recv(&mut &mut buffer[..], 0).expect("receives");
        bytes.extend(&buffer[..length]);
        match decoder.take(&buffer[..length]) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return (bytes, decoder, Ok(())),
            Err(error) => return (bytes, decoder, Err(error)),
        }
    }
}

/// The bytes of a request for all states.
pub(crate) fn request(tables: Tables, extensions: Extensions, filter: Option<&Bytecode>) -> Vec<u8> {
    encode_request(&DumpRequest { tables, states: StateMask::ALL, extensions, filter }, SEQUENCE)
}

/// The rows that pass the condition, by the kernel.
pub(crate) fn rows_where(condition: Option<&Condition>) -> Vec<SocketRecord> {
    let filter = condition.map(|condition| Bytecode::compile(condition).expect("something for the kernel to do"));
    let (_, decoder, end) = answers_to(&request(Tables::Tcp, Extensions::None, filter.as_ref()));
    assert_eq!(end, Ok(()), "{condition:?}");
    decoder.rows
}
