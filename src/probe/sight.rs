//! What the kernel shows of the connections between a server of a probe and its clients.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::scenario::End;
use super::{ProbeError, Stage};
use crate::census::pools::{PortPool, pool_for};
use crate::model::snapshot::Snapshot;
use crate::model::socket::{NetNsIndex, SocketRecord};
use crate::model::state::{StateCounts, TcpState};
use crate::model::tuple::Endpoint;

/// So long is waited for a state that must come: an ACK may be delayed by 40 ms, a retransmission by a second.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const GLANCE_EVERY: Duration = Duration::from_millis(30);

/// The namespace that a look at the current one lists.
const HERE: NetNsIndex = NetNsIndex(0);

/// The sockets of one end of the connections to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sight {
    /// Its sockets by state; those that wait for `accept()` are among them.
    pub(super) states: StateCounts,
    /// The shortest and the longest receive queue of those in CLOSE-WAIT; `None` when there is none.
    pub(super) unread: Option<(u32, u32)>,
}

impl Sight {
    /// What a snapshot shows of that end.
    pub(super) fn of(snapshot: &Snapshot, server: Endpoint, end: End) -> Self {
        let mut sight = Self::default();
        for socket in snapshot.sockets.iter().filter(|socket| is_at(socket, server, end)) {
            sight.states.add(socket.state);
            if socket.state == TcpState::CloseWait {
                let unread = socket.unread();
                let (least, most) = sight.unread.unwrap_or((unread, unread));
                sight.unread = Some((least.min(unread), most.max(unread)));
            }
        }
        sight
    }

    /// How many are in CLOSE-WAIT.
    pub(super) fn close_wait(&self) -> u64 {
        self.states[TcpState::CloseWait]
    }
}

fn is_at(socket: &SocketRecord, server: Endpoint, end: End) -> bool {
    match end {
        End::Client => socket.tuple.remote == server,
        End::Server => socket.tuple.local == server && socket.tuple.remote.port != 0,
    }
}

impl Stage<'_> {
    /// Looks.
    pub(super) fn snapshot(&self) -> Result<Snapshot, ProbeError> {
        (self.look)().map_err(ProbeError::Look)
    }

    /// Looks until `holds` says yes, or until that takes too long, and gives the last sight.
    pub(super) fn watch(
        &self,
        server: Endpoint,
        end: End,
        holds: impl Fn(&Sight) -> bool,
    ) -> Result<Sight, ProbeError> {
        let began_at = Instant::now();
        loop {
            let sight = Sight::of(&self.snapshot()?, server, end);
            if holds(&sight) || began_at.elapsed() >= SETTLES_WITHIN {
                return Ok(sight);
            }
            thread::sleep(GLANCE_EVERY);
        }
    }
}

/// The pool that connections to the server draw their ports from. `None` when the settings of the namespace are not known,
/// or when there is no way to the server.
pub(super) fn pool_to(snapshot: &Snapshot, server: SocketAddr) -> Option<PortPool> {
    let source = source_towards(server)?;
    pool_for(snapshot, HERE, source, Endpoint::new(server.ip(), server.port()), 0)
}

/// The local address that the routes give to a connection there. A datagram socket is asked, which sends nothing.
fn source_towards(server: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(server).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
