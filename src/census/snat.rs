//! How much of a NAT's ports the connections from here take: a budget for each destination (address and port), which all
//! sources and namespaces share that leave under the same address of the NAT.
//!
//! Counted is every connection from here to another host in a state in which a NAT keeps its mapping: all of them, TIME-WAIT
//! included. It is the least that is used: what the NAT keeps after a connection has ended here, and what other hosts use
//! behind the same address, is not seen from here. Nor can be told which destinations the NAT stands before.

use std::collections::HashSet;
use std::net::IpAddr;

use super::hoard::most_first;
use crate::attribution::{Owner, Owners, SocketMap};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{NetNsIndex, SocketKind, SocketRecord};
use crate::model::state::{StateCounts, TcpState};
use crate::model::tuple::Endpoint;

/// The connections that draw on a NAT's ports to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnatBudget {
    /// The remote address and port.
    pub destination: Endpoint,
    /// How many connections there are: at least so many ports of the NAT are taken.
    pub used: u64,
    /// How many there may be, as the reader says.
    pub limit: u32,
    /// The connections by state.
    pub states: StateCounts,
    /// Where they come from, most first.
    pub sources: Vec<((NetNsIndex, IpAddr), u64)>,
    /// Who holds them, most first.
    pub holders: Vec<(ProcessIndex, u64)>,
    /// How many of them a program holds that nobody could see, or looked for.
    pub holders_unseen: u64,
}

impl SnatBudget {
    /// How many more connections fit into the budget, at most.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        u64::from(self.limit).saturating_sub(self.used)
    }
}

/// The budgets of all destinations that are connected to, fullest first.
pub(super) fn budgets(snapshot: &Snapshot, owners: &Owners, limit: u32) -> Vec<SnatBudget> {
    let here: HashSet<IpAddr> = snapshot.sockets.iter().map(|socket| socket.tuple.local.address).collect();
    let mut tallies: SocketMap<Endpoint, Tally> = SocketMap::default();
    for (index, socket) in snapshot.sockets.iter().enumerate() {
        let inbound = || owners.listener_at(socket.netns, &socket.tuple.local).is_some();
        if is_mapped(socket) && leaves(socket, &here) && !inbound() {
            tallies.entry(socket.tuple.remote).or_default().add(socket, owners.of(index));
        }
    }
    let mut budgets: Vec<SnatBudget> =
        tallies.into_iter().map(|(destination, tally)| tally.finish(destination, limit)).collect();
    budgets.sort_by_key(|budget| (std::cmp::Reverse(budget.used), budget.destination));
    budgets
}

/// Whether a NAT on the way keeps a mapping for the socket.
fn is_mapped(socket: &SocketRecord) -> bool {
    let connected = !matches!(socket.state, TcpState::Listen | TcpState::Close | TcpState::BoundInactive);
    connected && socket.kind != SocketKind::Request
}

/// Whether the connection goes to another host, by an address that is routed there. An address that a socket of this host
/// has as its own is one of this host.
fn leaves(socket: &SocketRecord, here: &HashSet<IpAddr>) -> bool {
    let remote = socket.tuple.remote.address;
    let stays = match remote {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(stays || remote.is_loopback() || remote.is_unspecified() || here.contains(&remote))
}

/// The connections to one destination while they are counted.
#[derive(Default)]
struct Tally {
    states: StateCounts,
    sources: SocketMap<(NetNsIndex, IpAddr), u64>,
    holders: SocketMap<ProcessIndex, u64>,
    unseen: u64,
}

impl Tally {
    fn add(&mut self, socket: &SocketRecord, owner: Owner<'_>) {
        self.states.add(socket.state);
        *self.sources.entry((socket.netns, socket.tuple.local.address)).or_default() += 1;
        match owner {
            Owner::Held(holders) => holders.iter().for_each(|holder| *self.holders.entry(*holder).or_default() += 1),
            Owner::Unresolved(_) => self.unseen += 1,
            Owner::NotAccepted(_) | Owner::Kernel => {}
        }
    }

    fn finish(self, destination: Endpoint, limit: u32) -> SnatBudget {
        SnatBudget {
            destination,
            used: self.states.total(),
            limit,
            states: self.states,
            sources: most_first(self.sources),
            holders: most_first(self.holders),
            holders_unseen: self.unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution;
    use crate::census::pools::tests::{host, socket};
    use crate::model::state::TcpState::{
        BoundInactive, CloseWait, Established, FinWait2, Listen, SynRecv, SynSent, TimeWait,
    };

    const WEB: &str = "203.0.113.7:443";

    fn budgets_of(sockets: Vec<SocketRecord>) -> Vec<SnatBudget> {
        let mut snapshot = host(sockets);
        snapshot.namespaces = vec![snapshot.namespaces[0].clone(); 2];
        budgets(&snapshot, &attribution::join(&snapshot), 1_024)
    }

    /// How many connections each destination is charged with.
    fn used(sockets: Vec<SocketRecord>) -> Vec<(String, u64)> {
        budgets_of(sockets).iter().map(|budget| (budget.destination.to_string(), budget.used)).collect()
    }

    fn in_second(socket: SocketRecord) -> SocketRecord {
        SocketRecord { netns: NetNsIndex(1), ..socket }
    }

    #[test]
    fn all_sources_and_namespaces_share_the_budget_of_a_destination() {
        let budgets = budgets_of(vec![
            socket(Established, "10.0.0.5:40000", WEB),
            socket(CloseWait, "10.0.0.5:40001", WEB),
            socket(TimeWait, "10.0.0.6:40000", WEB),
            in_second(socket(SynSent, "10.0.0.5:40000", WEB)),
            in_second(socket(FinWait2, "10.0.0.5:40000", "203.0.113.7:80")),
        ]);
        assert_eq!(budgets.len(), 2, "{budgets:#?}");
        let web = &budgets[0];
        assert_eq!(
            (web.destination.to_string(), web.used, web.limit, web.remaining()),
            (WEB.to_owned(), 4, 1_024, 1_020)
        );
        let sources: Vec<_> =
            web.sources.iter().map(|((netns, address), n)| (netns.0, address.to_string(), *n)).collect();
        let expected = [(0, "10.0.0.5".to_owned(), 2), (0, "10.0.0.6".to_owned(), 1), (1, "10.0.0.5".to_owned(), 1)];
        assert_eq!(sources, expected);
        assert_eq!((web.states[TimeWait], web.states[SynSent]), (1, 1), "a NAT keeps a mapping for these too");
        assert_eq!((budgets[1].destination.port, budgets[1].used), (80, 1));
    }

    #[test]
    fn what_does_not_pass_a_nat_is_not_charged() {
        let quiet = [
            socket(Established, "127.0.0.1:40000", "127.0.0.1:443"),
            socket(Established, "[::1]:40000", "[::1]:443"),
            socket(Established, "[fe80::1]:40000", "[fe80::2]:443"),
            socket(Established, "169.254.0.1:40000", "169.254.169.254:80"),
            socket(BoundInactive, "10.0.0.5:40000", "0.0.0.0:0"),
            // A pod of this host, which answers.
            socket(Established, "10.0.0.5:40001", "10.0.0.9:8080"),
            in_second(socket(Established, "10.0.0.9:8080", "10.0.0.5:40001")),
            // Clients from elsewhere.
            socket(Listen, "0.0.0.0:80", "0.0.0.0:0"),
            socket(Established, "10.0.0.5:80", "203.0.113.9:40000"),
            SocketRecord { kind: SocketKind::Request, ..socket(SynRecv, "10.0.0.5:80", "203.0.113.9:40001") },
        ];
        // The answer of the pod counts as a connection to the first namespace's own address.
        assert_eq!(used(quiet.to_vec()), []);
    }

    #[test]
    fn more_than_the_budget_leaves_nothing() {
        let many = (0..1_030).map(|nth| socket(Established, &format!("10.0.0.5:{}", 40_000 + nth), WEB)).collect();
        let budget = budgets_of(many).remove(0);
        assert_eq!((budget.used, budget.remaining()), (1_030, 0));
    }
}
