//! How two walks share out the sockets of one namespace, so that nearly each is listed once, and the walks that list it tell how
//! its port was chosen. Pure.
//!
//! A filter of the kernel can tell whether a program named a socket's port in `bind()`, and a row does not; what a row tells
//! are its ports. The first walk lists the half of the connections that their ports tell, and all whose port was named; the
//! second walk lists the other half, without those that were named, and of the first half those that were. So what is in both
//! was named, and what is in one walk was named when it is of the other's half. Connections whose port was named are few:
//! accepted ones are none (`sk_clone`, kernel `net/core/sock.c`).
//!
//! Sockets that are only bound are in the first walk: they have no peer, or, after a reset, have kept a port that was named
//! (`tcp_set_state`, kernel `net/ipv4/tcp.c`).

use crate::capture::bytecode::{Condition, Side};
use crate::model::ports::EphemeralRange;
use crate::model::socket::{PortBinding, SocketKind, SocketRecord};
use crate::model::state::{StateMask, TcpState};

/// The states that stand in tables of their own, which are small.
pub(super) const NOT_CONNECTED: StateMask =
    StateMask::of(TcpState::Listen).with(StateMask::of(TcpState::BoundInactive));

/// The parts of the sockets that are walked for apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Whatever is not connected, connections whose port was named, and a half of the others.
    First,
    /// The other half of the others, and again what of the first half was named.
    Second,
}

/// What decides which share a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// The highest port of the lower ones.
    middle: u16,
}

impl Shares {
    /// Any port divides the sockets; only the balance depends on it. The first walk has the table of bound sockets to go
    /// through, too, which takes a fifth of what all rows take: the middle is a bit lower.
    pub(super) fn of(ephemeral: Option<EphemeralRange>) -> Self {
        let middle = ephemeral.map_or(u16::MAX / 2, |range| range.first + (range.last - range.first) / 32 * 15);
        Self { middle: middle.clamp(1, u16::MAX - 1) }
    }

    /// The states in which the walk looks for sockets.
    pub(super) fn states(share: Share) -> StateMask {
        match share {
            Share::First => StateMask::ALL,
            Share::Second => StateMask::ALL.without(NOT_CONNECTED),
        }
    }

    /// What the walk lists.
    pub(super) fn condition(self, share: Share) -> Condition {
        let named = Condition::AutoBound.negated();
        match share {
            Share::First => Condition::Any(vec![named, self.first_half(), Condition::Port(Side::Peer, 0..=0)]),
            Share::Second => Condition::Any(vec![
                Condition::All(vec![Condition::AutoBound, self.first_half().negated()]),
                Condition::All(vec![named, self.first_half()]),
            ]),
        }
    }

    /// How a row came to its port, as far as the walk tells that lists it: of what both list, what says more is true. Of
    /// listeners and sockets that are only bound they tell nothing.
    pub(super) fn binding(self, row: &SocketRecord, share: Share) -> PortBinding {
        if row.kind != SocketKind::Full || NOT_CONNECTED.has(row.state) || row.tuple.remote.port == 0 {
            return row.binding;
        }
        let is_first_half = (row.tuple.local.port <= self.middle) == (row.tuple.remote.port <= self.middle);
        if is_first_half == (share == Share::First) { PortBinding::Auto } else { PortBinding::Explicit }
    }

    /// About half of all connections, told by their ports, which do not change: those whose two ports lie on the same side
    /// of the middle. Of a client's connections that is half by the local port, of a server's half by the peer's.
    fn first_half(self) -> Condition {
        let below = |side| Condition::Port(side, 0..=self.middle);
        let above = |side| Condition::Port(side, self.middle + 1..=u16::MAX);
        Condition::Any(vec![
            Condition::All(vec![below(Side::Local), below(Side::Peer)]),
            Condition::All(vec![above(Side::Local), above(Side::Peer)]),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::pools::tests::socket;

    /// What the kernel's answer is (`inet_diag_bc_run`).
    fn holds(condition: &Condition, row: &SocketRecord, is_auto: bool) -> bool {
        match condition {
            Condition::Port(Side::Local, ports) => ports.contains(&row.tuple.local.port),
            Condition::Port(Side::Peer, ports) => ports.contains(&row.tuple.remote.port),
            Condition::AutoBound => is_auto,
            Condition::Not(inner) => !holds(inner, row, is_auto),
            Condition::All(parts) => parts.iter().all(|part| holds(part, row, is_auto)),
            Condition::Any(parts) => parts.iter().any(|part| holds(part, row, is_auto)),
            Condition::Address(..) => panic!("shares know no addresses"),
        }
    }

    fn connection(local: u16, remote: u16) -> SocketRecord {
        let (local, remote) = (format!("127.0.0.1:{local}"), format!("127.0.0.1:{remote}"));
        SocketRecord { binding: PortBinding::Unknown, ..socket(TcpState::Established, &local, &remote) }
    }

    #[test]
    fn each_connection_is_listed_and_the_walks_tell_how_its_port_was_chosen() {
        const PORTS: [u16; 9] = [0, 1, 2, 80, 32_767, 32_768, 45_113, 65_534, 65_535];
        for (first, last) in [(0, 0), (0, 65_535), (65_535, 65_535), (1, 2), (32_768, 60_999)] {
            let shares = Shares::of(Some(EphemeralRange { first, last }));
            for (local, remote) in PORTS.iter().flat_map(|local| PORTS.map(|remote| (*local, remote))) {
                let row = connection(local, remote);
                for (is_auto, binding) in [(true, PortBinding::Auto), (false, PortBinding::Explicit)] {
                    let lists = |share: &Share| holds(&shares.condition(*share), &row, is_auto);
                    let found: Vec<_> = [Share::First, Share::Second].into_iter().filter(lists).collect();
                    let told =
                        found.iter().map(|share| shares.binding(&row, *share)).max_by_key(|told| told.certainty());
                    let expected = if remote == 0 { PortBinding::Unknown } else { binding };
                    assert_eq!(told, Some(expected), "{first}-{last} {local} {remote} {found:?}");
                    assert!(!is_auto || remote == 0 || found.len() == 1, "what the kernel chose is listed once");
                    let may_be_bound_only = remote == 0 || !is_auto;
                    assert!(!may_be_bound_only || found.contains(&Share::First), "{local} {remote}");
                }
            }
        }
    }

    #[test]
    fn of_what_has_no_connection_nothing_is_told() {
        let shares = Shares::of(None);
        for (state, kind) in [
            (TcpState::Listen, SocketKind::Full),
            (TcpState::BoundInactive, SocketKind::Full),
            (TcpState::SynRecv, SocketKind::Request),
        ] {
            let row = SocketRecord { state, kind, ..connection(40_000, 80) };
            assert_eq!(shares.binding(&row, Share::First), PortBinding::Unknown);
        }
    }
}
