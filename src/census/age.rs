//! How long a socket has been in CLOSE-WAIT, from one snapshot.
//!
//! The kernel keeps no clock of a state. It keeps two that enclose it: every FIN counts as an ACK received
//! (`tcp_ack`, kernel `net/ipv4/tcp_input.c`), so the state is at least as old as the last ACK; and no payload comes after
//! a FIN, so it is at most as old as the last payload, or as the connection when none ever came.

use std::time::Duration;

use crate::model::past::Past;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{Clocks, Queues, SocketRecord, Timer};

/// How long ago the peer closed: bounds, because the kernel keeps no clock of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Surely so long.
    pub at_least: Duration,
    /// Not longer; `None` when the clock may have wrapped (49.7 days).
    pub at_most: Option<Duration>,
    /// Whether `at_least` is the age itself, to a tick of the kernel's clock.
    pub exact: bool,
}

/// The clocks are counted in 32 bits of milliseconds.
const WRAP: Duration = Duration::from_millis(1 << 32);
/// The coarsest clock tick of a kernel (HZ = 100): readings that are so close are the same moment.
const TICK: Duration = Duration::from_millis(10);
/// An ACK that comes so soon after payload was sent may be the answer to it: a slow round trip and a delayed ACK.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// The age of a CLOSE-WAIT. `None` when the socket came without clocks: another source than netlink.
/// Of an MPTCP connection they are those of its subflow: DATA_FIN comes in a segment of it (RFC 8684 section 3.3.3), and no
/// payload after it.
///
/// `uptime` bounds every age: within 49.7 days of boot no clock has wrapped. Without it, or later, the upper bound is unknown,
/// and the lower one still holds.
#[must_use]
pub fn of_close_wait(socket: &SocketRecord, uptime: Option<Duration>) -> Option<Age> {
    let clocks = socket.clocks?;
    let at_least = millis(clocks.last_ack_recv_ms);
    let last_payload = millis(clocks.last_data_recv_ms);
    let unwrapped = uptime.is_some_and(|uptime| uptime < WRAP) && last_payload + TICK >= at_least;
    let at_most = unwrapped.then_some(last_payload.max(at_least));
    let exact = at_most.is_some_and(|at_most| at_most - at_least <= TICK || fin_came_last(socket, clocks));
    Some(Age { at_least, at_most, exact })
}

/// The age of a CLOSE-WAIT of this snapshot, narrowed by what is known of the past: a socket that was in CLOSE-WAIT at an
/// earlier look has been so ever since, however often keepalive answers have refreshed its clocks.
#[must_use]
pub fn with_past(socket: &SocketRecord, snapshot: &Snapshot, past: &Past) -> Option<Age> {
    let seen = of_close_wait(socket, snapshot.host.uptime);
    let since = socket.cookie.and_then(|cookie| past.stuck_since.get(cookie));
    let remembered = since.and_then(|since| snapshot.taken_at.duration_since(since).ok());
    match (seen, remembered) {
        (Some(age), Some(span)) if span > age.at_least => remember(age, span),
        (Some(age), _) => Some(age),
        (None, span) => Some(Age { at_least: span?, at_most: None, exact: false }),
    }
}

/// The kernel's upper bound is never exceeded: where the two disagree, somebody has set the wall clock meanwhile. Without an
/// upper bound the kernel's clocks may have wrapped, and what is remembered is all that holds.
fn remember(age: Age, span: Duration) -> Option<Age> {
    let narrowed = match age.at_most {
        Some(_) if age.exact => age,
        Some(at_most) if span > at_most + TICK => age,
        Some(at_most) => Age { at_least: span.min(at_most), exact: at_most.saturating_sub(span) <= TICK, ..age },
        None => Age { at_least: span, at_most: None, exact: false },
    };
    Some(narrowed)
}

/// Whether the socket may be as old as `span` although its lower bound is younger: something later than the FIN may have
/// refreshed the last ACK, and the last payload came so long ago.
///
/// It goes by what the clocks read. One that has wrapped reads as young for a minute in 49.7 days; to doubt every young
/// socket of a host that is up for longer would blame each that drains.
#[must_use]
pub fn may_be_as_old(socket: &SocketRecord, age: Age, span: Duration) -> bool {
    let Some(clocks) = socket.clocks else { return false };
    let last_payload = millis(clocks.last_data_recv_ms);
    let refreshed = last_payload.abs_diff(age.at_least) > TICK && !fin_came_last(socket, clocks);
    let payload_wrapped = last_payload + TICK < age.at_least;
    refreshed && (last_payload >= span || payload_wrapped)
}

/// Whether the program may have written to the socket after the peer's FIN: a half-close in use, and no leak.
///
/// Data sent later than the last payload came, and acknowledged at the moment of the last ACK, or not yet, may be such a
/// write. Within an interval of a second it makes no difference to the age, and a request that is answered by a FIN looks
/// the same: it is not counted.
#[must_use]
pub fn may_be_half_close(socket: &SocketRecord, age: Age) -> bool {
    let Some(clocks) = socket.clocks else { return false };
    if matches!(socket.queues, Queues::Data { send, .. } if send > 0) {
        return true;
    }
    let wide = millis(clocks.last_data_recv_ms).abs_diff(age.at_least) > ROUND_TRIP;
    wide && sent_after_payload(clocks) && sent_near_last_ack(clocks)
}

/// Whether nothing can have been acknowledged after the FIN, so that the last ACK is the FIN.
///
/// A keepalive probe would have been answered: none was sent when no keepalive timer runs, or when the running one was
/// started by something older than the last payload. A running retransmission timer hides the keepalive timer.
fn fin_came_last(socket: &SocketRecord, clocks: Clocks) -> bool {
    let no_probe = match socket.timer {
        Timer::Off => true,
        Timer::KeepAlive(expires) => {
            u64::from(clocks.last_ack_recv_ms) + u64::from(expires) > u64::from(clocks.last_data_recv_ms)
        }
        Timer::Retransmit(_) | Timer::Probe(_) | Timer::TimeWait(_) | Timer::Unknown => false,
    };
    no_probe && !(sent_after_payload(clocks) && sent_near_last_ack(clocks))
}

fn sent_after_payload(clocks: Clocks) -> bool {
    clocks.last_data_sent_ms < clocks.last_data_recv_ms
}

fn sent_near_last_ack(clocks: Clocks) -> bool {
    let (sent, acked) = (millis(clocks.last_data_sent_ms), millis(clocks.last_ack_recv_ms));
    sent + TICK >= acked && sent <= acked + ROUND_TRIP
}

fn millis(clock: u32) -> Duration {
    Duration::from_millis(clock.into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_remembered_narrows_and_never_contradicts_the_kernel() {
        let seconds = Duration::from_secs;
        let age = |at_least, at_most: Option<u64>, exact| Age {
            at_least: seconds(at_least),
            at_most: at_most.map(seconds),
            exact,
        };
        let remembered = |age, span| remember(age, seconds(span)).expect("known");
        let refreshed = age(15, Some(90_000), false);
        assert_eq!(remembered(refreshed, 80_000), age(80_000, Some(90_000), false));
        assert_eq!(remembered(refreshed, 90_000), age(90_000, Some(90_000), true));
        assert_eq!(remembered(refreshed, 95_000), refreshed, "the wall clock was set forward");
        assert_eq!(remembered(age(700, Some(700), true), 701), age(700, Some(700), true));
        assert_eq!(remembered(age(3, None, true), 5_000_000), age(5_000_000, None, false), "a clock that has wrapped");
    }

    use super::*;
    use crate::model::socket::{NetNsIndex, PortBinding, SocketKind};
    use crate::model::state::TcpState;
    use crate::model::tuple::{Endpoint, Family, FourTuple};
    use std::net::{IpAddr, Ipv4Addr};

    const UPTIME: Option<Duration> = Some(Duration::from_secs(86_400));

    fn close_wait(sent: u32, received: u32, acked: u32, timer: Timer) -> SocketRecord {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        SocketRecord {
            netns: NetNsIndex(0),
            state: TcpState::CloseWait,
            kind: SocketKind::Full,
            family: Family::V4,
            tuple: FourTuple { local: Endpoint::new(loopback, 40_000), remote: Endpoint::new(loopback, 80) },
            interface: 0,
            cookie: None,
            inode: None,
            uid: None,
            cgroup: None,
            queues: Queues::Data { recv: 1, send: 0 },
            timer,
            binding: PortBinding::Auto,
            v6only: None,
            clocks: Some(Clocks { last_data_sent_ms: sent, last_data_recv_ms: received, last_ack_recv_ms: acked }),
            mptcp: None,
        }
    }

    fn age(socket: &SocketRecord) -> (u128, Option<u128>, bool) {
        let age = of_close_wait(socket, UPTIME).expect("clocks");
        (age.at_least.as_millis(), age.at_most.map(|at_most| at_most.as_millis()), age.exact)
    }

    #[test]
    fn a_fin_on_an_idle_connection_gives_the_age_itself() {
        // No data ever; data 3 s before the FIN; data in the FIN's segment: 12 s old each.
        assert_eq!(age(&close_wait(17_012, 17_012, 12_012, Timer::Off)), (12_012, Some(17_012), true));
        assert_eq!(age(&close_wait(17_000, 15_012, 12_012, Timer::Off)), (12_012, Some(15_012), true));
        assert_eq!(age(&close_wait(17_000, 12_012, 12_012, Timer::Retransmit(200))), (12_012, Some(12_012), true));
    }

    #[test]
    fn answers_to_keepalive_probes_leave_an_interval() {
        let probed = close_wait(17_012, 17_012, 2_928, Timer::KeepAlive(72));
        assert_eq!(age(&probed), (2_928, Some(17_012), false));
        assert!(!may_be_half_close(&probed, of_close_wait(&probed, UPTIME).expect("clocks")));
        // A keepalive time of 20 s: no probe can have been sent since the payload of 17 s ago.
        assert_eq!(age(&close_wait(17_012, 17_012, 12_012, Timer::KeepAlive(7_988))), (12_012, Some(17_012), true));
    }

    #[test]
    fn a_write_after_the_fin_is_no_age_and_may_be_a_half_close() {
        let written = close_wait(7_012, 17_012, 7_012, Timer::Off);
        assert_eq!(age(&written), (7_012, Some(17_012), false));
        assert!(may_be_half_close(&written, of_close_wait(&written, UPTIME).expect("clocks")));
    }

    #[test]
    fn only_what_hides_its_age_may_be_older_than_it_seems_however_long_the_host_is_up() {
        let minute = Duration::from_secs(60);
        let may_be = |socket: &SocketRecord| {
            [UPTIME, Some(Duration::from_secs(400 * 86_400))]
                .map(|uptime| may_be_as_old(socket, of_close_wait(socket, uptime).expect("clocks"), minute))
        };
        // A connection that was idle for two minutes, and whose peer closed two seconds ago.
        assert_eq!(may_be(&close_wait(120_000, 120_000, 2_000, Timer::Off)), [false, false]);
        assert_eq!(may_be(&close_wait(120_000, 120_000, 2_000, Timer::KeepAlive(7_000_000))), [false, false]);
        assert_eq!(may_be(&close_wait(120_000, 120_000, 2_000, Timer::KeepAlive(1_000))), [true, true]);
        assert_eq!(may_be(&close_wait(2_000, 120_000, 2_000, Timer::Off)), [true, true]);
    }

    #[test]
    fn clocks_that_may_have_wrapped_bound_from_below_only() {
        let socket = close_wait(9_000, 9_000, 5_000, Timer::Off);
        let long_up = Some(Duration::from_secs(50 * 86_400));
        for uptime in [long_up, None] {
            let age = of_close_wait(&socket, uptime).expect("clocks");
            assert_eq!((age.at_least.as_millis(), age.at_most, age.exact), (5_000, None, false));
        }
    }
}
