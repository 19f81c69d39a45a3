//! The sockets that one owner should have let go of, counted while they come by: CLOSE-WAIT, and data that nobody reads.

use std::hash::Hash;
use std::time::Duration;

use super::age::{self, Age};
use super::{CloseWaitCensus, UnreadCensus};
use crate::attribution::SocketMap;
use crate::model::socket::{SocketRecord, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;

/// The counts of one owner while they grow.
#[derive(Default)]
pub(super) struct Hoard {
    close_wait: CloseWaitCensus,
    close_wait_peers: SocketMap<Endpoint, u64>,
    unread: UnreadCensus,
    unread_peers: SocketMap<Endpoint, u64>,
}

impl Hoard {
    /// Counts the socket, if it is one that should be let go of. `age` is that of a CLOSE-WAIT.
    pub(super) fn add(&mut self, socket: &SocketRecord, age: Option<Age>, stuck_after: Duration) {
        if socket.is_close_wait() {
            self.close_wait.add(socket, age, stuck_after);
            *self.close_wait_peers.entry(socket.tuple.remote).or_default() += 1;
        } else if let Some(waited) = stalled_for(socket, stuck_after) {
            self.unread.stalled += 1;
            self.unread.bytes += u64::from(socket.unread());
            self.unread.oldest = self.unread.oldest.max(Some(waited));
            *self.unread_peers.entry(socket.tuple.remote).or_default() += 1;
        }
    }

    /// Notes that a CLOSE-WAIT just counted is held by a process that started earlier, too.
    pub(super) fn inherit(&mut self) {
        self.close_wait.inherited += 1;
    }

    /// The finished counts.
    pub(super) fn finish(mut self) -> (CloseWaitCensus, UnreadCensus) {
        self.close_wait.destinations = most_first(self.close_wait_peers);
        self.unread.destinations = most_first(self.unread_peers);
        (self.close_wait, self.unread)
    }
}

impl CloseWaitCensus {
    fn add(&mut self, socket: &SocketRecord, age: Option<Age>, stuck_after: Duration) {
        self.count += 1;
        self.mptcp += u64::from(socket.state != TcpState::CloseWait);
        self.keepalive += u64::from(matches!(socket.timer, Timer::KeepAlive(_)));
        // The FIN counts one in the receive queue until the end of file is read (kernel tcp_diag_get_info).
        match socket.unread() {
            0 => self.eof_read += 1,
            unread => self.add_unread(u64::from(unread - 1)),
        }
        let Some(age) = age else {
            self.age_unknown += 1;
            return;
        };
        if age.at_least >= stuck_after {
            self.stuck += 1;
        } else if age::may_be_as_old(socket, age, stuck_after) {
            self.maybe_stuck += 1;
        }
        self.maybe_half_close += u64::from(age::may_be_half_close(socket, age));
        keep_oldest(&mut self.oldest, Some(age));
    }

    fn add_unread(&mut self, bytes: u64) {
        self.eof_unread += 1;
        if bytes == 0 {
            return;
        }
        self.unread_least = if self.with_unread_bytes == 0 { bytes } else { self.unread_least.min(bytes) };
        self.unread_most = self.unread_most.max(bytes);
        self.with_unread_bytes += 1;
        self.unread_bytes += bytes;
    }
}

/// Keeps the age of the socket that is surely the older one.
pub(super) fn keep_oldest(oldest: &mut Option<Age>, age: Option<Age>) {
    let rank = |age: &Age| (age.at_least, age.at_most);
    if let Some(age) = age
        && oldest.as_ref().is_none_or(|oldest| rank(oldest) < rank(&age))
    {
        *oldest = Some(age);
    }
}

/// For how long an open connection has had data that nobody reads; `None` when it has none, for less than the threshold, or
/// when its clocks are not known.
fn stalled_for(socket: &SocketRecord, stuck_after: Duration) -> Option<Duration> {
    if socket.state != TcpState::Established || socket.unread() == 0 {
        return None;
    }
    let waited = Duration::from_millis(socket.clocks?.last_data_recv_ms.into());
    (waited >= stuck_after).then_some(waited)
}

/// The entries of a map of counts, largest first.
pub(super) fn most_first<K: Ord + Hash>(counts: SocketMap<K, u64>) -> Vec<(K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    counts
}
