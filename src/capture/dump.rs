//! One dump of sock_diag: a netlink socket, a request, and every datagram of the answer.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::capture::Deadline;
use crate::capture::bytecode::Bytecode;
use crate::capture::inet_diag::{
    Decoder, DumpRequest, Extensions, Progress, Tables, Unreadable, WireError, encode_request,
};
use crate::capture::unix_diag::{self, UnixSocket};
use crate::model::socket::{NetNsIndex, SocketRecord};
use crate::model::state::StateMask;
use crate::model::tuple::Family;

/// One walk over the tables: which states, with what.
pub(super) struct Walk {
    /// Sockets in these.
    pub(super) states: StateMask,
    /// With tcp_info or without.
    pub(super) extensions: Extensions,
}

/// Rows that several dumps fill at once, datagram by datagram.
pub(super) type SharedRows = Mutex<Vec<SocketRecord>>;

/// Rows of one or more dumps.
#[derive(Default)]
pub(super) struct Found {
    /// Those that became records.
    pub(super) rows: Vec<SocketRecord>,
    /// Those that did not.
    pub(super) unreadable: Unreadable,
}

/// The kernel puts up to 32 KiB into one datagram (`netlink_recvmsg`); twice that is never filled.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long one datagram may take. The kernel makes them while it is asked for them, so that this never passes in
/// health.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netlink socket of the namespace that it was opened in, and what it needs to read dumps.
pub(super) struct Walker {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    netns: NetNsIndex,
    deadline: Deadline,
}

impl Walker {
    /// Opens one in the network namespace of the calling thread, which the rows will name `netns`.
    pub(super) fn open(netns: NetNsIndex, deadline: Deadline) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        // A connected netlink socket hears its peer only: port 0, the kernel.
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES], sequence: 0, netns, deadline })
    }

    /// One walk over both families; where the kernel refuses that, one each.
    pub(super) fn dump_tcp(&mut self, walk: &Walk, filter: Option<&Bytecode>) -> io::Result<Found> {
        let rows = SharedRows::default();
        let unreadable = self.dump_tcp_into((&rows, |_: &mut SocketRecord| ()), walk, filter)?;
        Ok(Found { rows: rows.into_inner().unwrap_or_else(PoisonError::into_inner), unreadable })
    }

    /// The same; the rows go to those of other walks when they were shown to `see`. Returns what did not become a row.
    pub(super) fn dump_tcp_into(
        &mut self,
        (rows, mut see): (&SharedRows, impl FnMut(&mut SocketRecord)),
        walk: &Walk,
        filter: Option<&Bytecode>,
    ) -> io::Result<Unreadable> {
        let Walk { states, extensions } = *walk;
        let mut dump = |tables| self.dump_into((rows, &mut see), &DumpRequest { tables, states, extensions, filter });
        match dump(Tables::Tcp) {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => {}
            answer => return answer,
        }
        let mut unreadable = dump(Tables::TcpOf(Family::V4))?;
        unreadable += dump(Tables::TcpOf(Family::V6))?;
        Ok(unreadable)
    }

    /// One dump, to its end.
    ///
    /// # Errors
    /// When it does not come to its end, for whatever reason: what came before is thrown away.
    pub(super) fn dump(&mut self, request: &DumpRequest<'_>) -> io::Result<Found> {
        let rows = SharedRows::default();
        let unreadable = self.dump_into((&rows, &mut |_: &mut SocketRecord| ()), request)?;
        Ok(Found { rows: rows.into_inner().unwrap_or_else(PoisonError::into_inner), unreadable })
    }

    fn dump_into(
        &mut self,
        (rows, see): (&SharedRows, &mut impl FnMut(&mut SocketRecord)),
        request: &DumpRequest<'_>,
    ) -> io::Result<Unreadable> {
        self.sequence += 1;
        self.limit_waiting()?;
        let bytes = encode_request(request, self.sequence);
        retry(|| self.socket.send(&bytes, 0))?;
        let mut decoder = Decoder::new(self.netns, self.sequence);
        loop {
            let datagram = self.receive()?;
            // The rows of one datagram stay in the nearest cache, and go from there to the others in one piece.
            let progress = decoder.take(datagram);
            decoder.rows.iter_mut().for_each(&mut *see);
            rows.lock().unwrap_or_else(PoisonError::into_inner).append(&mut decoder.rows);
            let progress = progress.map_err(io_error)?;
            if progress == Progress::Done {
                return Ok(decoder.unreadable);
            }
            if self.deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// All UNIX sockets.
    ///
    /// # Errors
    /// As [`Walker::dump`].
    pub(super) fn dump_unix(&mut self) -> io::Result<Vec<UnixSocket>> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.limit_waiting()?;
        let bytes = unix_diag::encode_request(sequence);
        retry(|| self.socket.send(&bytes, 0))?;
        let mut sockets = Vec::new();
        while unix_diag::take_sockets(self.receive()?, sequence, &mut sockets).map_err(io_error)? == Progress::More {
            if self.deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(sockets)
    }

    fn receive(&mut self) -> io::Result<&[u8]> {
        // With this flag the kernel returns the true length of what it had to cut.
        let flags = RecvFlags::TRUNC.bits().cast_signed();
        let length =
            retry(|| self.socket.recv(&mut &mut self.buffer[..], flags)).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => error,
            })?;
        self.buffer.get(..length).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a datagram was cut short"))
    }

    /// Bounds the wait for each datagram by the deadline.
    fn limit_waiting(&self) -> io::Result<()> {
        let left = self.deadline.left().unwrap_or(PATIENCE).min(PATIENCE);
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // Below its unit the option would read zero, which means for ever.
        let left = left.max(Duration::from_millis(1));
        Ok(set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?)
    }
}

/// Does it again while a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn io_error(error: WireError) -> io::Error {
    match error {
        WireError::Kernel(number) => io::Error::from_raw_os_error(number),
        WireError::Framing | WireError::Sequence | WireError::Overrun => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
    }
}
