//! How two walks share out the sockets of one namespace, so that each is listed once and by the walk that lists it tells how
//! its port was chosen. Pure.
//!
//! A filter of the kernel can tell whether a program named a socket's port in `bind()`, and a row does not; what a row tells
//! are its ports. So one walk lists the sockets of the first half by their ports whose port the kernel chose, and those of
//! the other half whose port was named; the other walk lists the rest.

use crate::capture::bytecode::{Condition, Side};
use crate::model::ports::EphemeralRange;
use crate::model::socket::{PortBinding, SocketKind, SocketRecord};
use crate::model::state::TcpState;

/// The parts of the sockets that are walked for apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Listeners and whatever else has no peer, and half of the connections.
    First,
    /// The other half.
    Second,
}

/// What decides which share a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// The highest port of the lower ones.
    middle: u16,
}

impl Shares {
    /// Any port divides the sockets without a rest; only the balance depends on it.
    pub(super) fn of(ephemeral: Option<EphemeralRange>) -> Self {
        let middle = ephemeral.map_or(u16::MAX / 2, |range| range.first.midpoint(range.last));
        Self { middle: middle.clamp(1, u16::MAX - 1) }
    }

    /// What the walk for a share lists.
    pub(super) fn condition(self, share: Share) -> Condition {
        let without_peer = Condition::Port(Side::Peer, 0..=0);
        let chosen = Condition::All(vec![Condition::AutoBound, self.first_half()]);
        let named = Condition::All(vec![Condition::AutoBound.negated(), self.first_half().negated()]);
        let first = Condition::Any(vec![chosen, named, without_peer]);
        match share {
            Share::First => first,
            Share::Second => first.negated(),
        }
    }

    /// How a row came to its port, as the walk tells that lists it. Of listeners and sockets that are only bound it tells
    /// nothing.
    pub(super) fn binding(self, row: &SocketRecord, share: Share) -> PortBinding {
        let is_connected = !matches!(row.state, TcpState::Listen | TcpState::BoundInactive);
        if row.kind != SocketKind::Full || !is_connected || row.tuple.remote.port == 0 {
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
    use crate::model::socket::{NetNsIndex, Queues, Timer};
    use crate::model::tuple::{Endpoint, Family, FourTuple};

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
        let at = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        SocketRecord {
            netns: NetNsIndex(0),
            state: TcpState::Established,
            kind: SocketKind::Full,
            family: Family::V4,
            tuple: FourTuple { local: at(local), remote: at(remote) },
            interface: 0,
            cookie: None,
            inode: None,
            uid: None,
            cgroup: None,
            queues: Queues::Data { recv: 0, send: 0 },
            timer: Timer::Off,
            binding: PortBinding::Unknown,
            v6only: None,
            clocks: None,
            mptcp: None,
        }
    }

    #[test]
    fn each_connection_is_in_one_share_which_tells_how_its_port_was_chosen() {
        const PORTS: [u16; 9] = [0, 1, 2, 80, 32_767, 32_768, 46_883, 65_534, 65_535];
        for (first, last) in [(0, 0), (0, 65_535), (65_535, 65_535), (1, 2), (32_768, 60_999)] {
            let shares = Shares::of(Some(EphemeralRange { first, last }));
            for (local, remote) in PORTS.iter().flat_map(|local| PORTS.map(|remote| (*local, remote))) {
                let row = connection(local, remote);
                for (is_auto, binding) in [(true, PortBinding::Auto), (false, PortBinding::Explicit)] {
                    let lists = |share: &Share| holds(&shares.condition(*share), &row, is_auto);
                    let found: Vec<_> = [Share::First, Share::Second].into_iter().filter(lists).collect();
                    let [share] = found[..] else { panic!("{first}-{last} {local} {remote}: {found:?}") };
                    let told = shares.binding(&row, share);
                    let expected = if remote == 0 { PortBinding::Unknown } else { binding };
                    assert_eq!(told, expected, "{first}-{last} {local} {remote} {share:?}");
                    assert!(remote != 0 || share == Share::First, "what has no peer is in the first");
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
