//! TCP states as the kernel reports them, and how many sockets are in each.

use std::fmt;
use std::ops::{AddAssign, Index, IndexMut};

/// The state of a TCP socket, as the kernel reports it (RFC 9293 §3.3.2; kernel `include/net/tcp_states.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    /// The connection is open; data flows.
    Established = 1,
    /// `connect()` has sent its SYN and waits for the answer.
    SynSent = 2,
    /// A SYN was answered, the last ACK of the handshake is missing. Request sockets (NEW_SYN_RECV) are reported so too.
    SynRecv = 3,
    /// Closed here first; the FIN is not acknowledged yet.
    FinWait1 = 4,
    /// Closed here first; the peer has acknowledged but not closed.
    FinWait2 = 5,
    /// Closed on both sides; kept for 60 s so that late segments find it.
    TimeWait = 6,
    /// No connection. In a table of the kernel only sockets that are bound are found so: see [`TcpState::BoundInactive`].
    Close = 7,
    /// The peer has closed; the program here has not called `close()`.
    CloseWait = 8,
    /// Both have closed; the last ACK is missing.
    LastAck = 9,
    /// Waits for connections.
    Listen = 10,
    /// Both have closed at the same time.
    Closing = 11,
    /// Bound to a port, neither listening nor connected. Asked for by bit 13, answered by the kernel as CLOSE.
    BoundInactive = 13,
}

impl TcpState {
    /// Every state, in the order in which the JSON report lists them.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::BoundInactive,
    ];

    /// The state that the number of `idiag_state` or of the `st` column of `/proc/net/tcp` means.
    ///
    /// `None` for a number that no kernel known to this program uses: the caller makes a gap of it.
    /// 12 (NEW_SYN_RECV) is what a request socket is called inside the kernel and counts as SYN-RECV.
    #[must_use]
    pub fn from_kernel(number: u8) -> Option<Self> {
        match number {
            12 => Some(Self::SynRecv),
            _ => Self::ALL.into_iter().find(|state| *state as u8 == number),
        }
    }

    /// The spelling of `ss`, for people: `CLOSE-WAIT`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynRecv => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::BoundInactive => "BOUND",
        }
    }

    /// The spelling for machines: `close_wait`. It never changes within a major version.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::FinWait1 => "fin_wait1",
            Self::FinWait2 => "fin_wait2",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::BoundInactive => "bound_inactive",
        }
    }

    /// Reads a state as people type it: the token, the `ss` spelling, with `-` or `_`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.to_ascii_lowercase().replace('-', "_");
        match plain.as_str() {
            "estab" => return Some(Self::Established),
            "fin_wait_1" => return Some(Self::FinWait1),
            "fin_wait_2" => return Some(Self::FinWait2),
            "bound" => return Some(Self::BoundInactive),
            "unconn" | "closed" => return Some(Self::Close),
            "listening" => return Some(Self::Listen),
            _ => {}
        }
        Self::ALL.into_iter().find(|state| state.token() == plain)
    }

    fn index(self) -> usize {
        match self {
            Self::BoundInactive => 11,
            other => other as usize - 1,
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A set of states that is *asked for*, as the bits of `idiag_states`.
///
/// It is not a set of [`TcpState`]: bit 13 asks for bound sockets, which are then reported as CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateMask(u32);

impl StateMask {
    /// All that can be asked for: states 1 to 11, request sockets (12) and bound sockets (13, Linux 6.8; older kernels
    /// ignore the bit).
    pub const ALL: Self = Self(0x3FFE);

    /// The set of one state. SYN-RECV asks for request sockets too.
    #[must_use]
    pub const fn of(state: TcpState) -> Self {
        match state {
            TcpState::SynRecv => Self(1 << 3 | 1 << 12),
            other => Self(1 << other as u32),
        }
    }

    /// This set and that one.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set less that one.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the state is asked for.
    #[must_use]
    pub const fn has(self, state: TcpState) -> bool {
        self.0 & Self::of(state).0 != 0
    }

    /// The bits for `idiag_states`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// How many sockets are in each state. Every state has a count, also when it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts([u64; 12]);

impl StateCounts {
    /// Counts one more socket in this state.
    pub fn add(&mut self, state: TcpState) {
        self.0[state.index()] += 1;
    }

    /// All sockets of all states.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The states and their counts in the order of [`TcpState::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (TcpState, u64)> + '_ {
        TcpState::ALL.into_iter().map(|state| (state, self[state]))
    }
}

impl Index<TcpState> for StateCounts {
    type Output = u64;

    fn index(&self, state: TcpState) -> &u64 {
        &self.0[state.index()]
    }
}

impl IndexMut<TcpState> for StateCounts {
    fn index_mut(&mut self, state: TcpState) -> &mut u64 {
        &mut self.0[state.index()]
    }
}

impl AddAssign for StateCounts {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_counter_and_reads_back_from_token_and_label() {
        let mut counts = StateCounts::default();
        for (nth, state) in TcpState::ALL.into_iter().enumerate() {
            for _ in 0..=nth {
                counts.add(state);
            }
            assert_eq!(TcpState::parse(state.token()), Some(state));
            assert_eq!(TcpState::parse(state.label()), Some(state));
            assert_eq!(TcpState::from_kernel(state as u8), Some(state));
        }
        let seen: Vec<u64> = counts.iter().map(|(_, count)| count).collect();
        assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
        assert_eq!(TcpState::from_kernel(0), None);
        assert_eq!(TcpState::from_kernel(14), None);
    }

    #[test]
    fn asking_for_syn_recv_asks_for_request_sockets() {
        assert_eq!(StateMask::of(TcpState::SynRecv).bits(), 0x1008);
        assert!(!StateMask::ALL.without(StateMask::of(TcpState::CloseWait)).has(TcpState::CloseWait));
    }
}
