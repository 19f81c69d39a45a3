//! How many more ports `connect()` and `bind()` to port 0 can get, by the kernel's own rules.

use std::net::IpAddr;

use crate::model::process::ProcessIndex;
use crate::model::socket::NetNsIndex;
use crate::model::state::StateCounts;
use crate::model::tuple::Endpoint;

/// The ports that `connect()` from one source to one destination draws from. Exhaustion is per pool: while one is empty,
/// another destination still connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPool {
    /// The namespace.
    pub netns: NetNsIndex,
    /// The local address.
    pub source: IpAddr,
    /// The remote address and port.
    pub destination: Endpoint,
    /// The interface that the sockets are bound to; 0 for none.
    pub interface: u32,
    /// Ports of the ephemeral range that are not reserved.
    pub usable: u32,
    /// Of these, how many the next `connect()` calls cannot get: `usable - remaining`.
    pub used: u32,
    /// How many more `connect()` calls succeed right now: the best single prediction, and the upper bound.
    pub remaining: u32,
    /// How many more surely succeed.
    pub remaining_at_least: u32,
    /// Ports that no destination can get, because a socket was bound to them by `bind()` or listens on them.
    pub blocked: u32,
    /// Why the two bounds differ; empty when they meet.
    pub doubts: Vec<Doubt>,
    /// The sockets between this source and this destination, whatever their local port, by state.
    pub states: StateCounts,
    /// Who holds them, most first.
    pub holders: Vec<(ProcessIndex, u64)>,
}

/// The ports that `bind()` of one address to port 0 draws from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindPool {
    /// The namespace.
    pub netns: NetNsIndex,
    /// The address that is bound: `0.0.0.0` and `::` (dual-stack) stand for themselves.
    pub address: IpAddr,
    /// Ports of the ephemeral range that are not reserved.
    pub usable: u32,
    /// `usable - remaining`.
    pub used: u32,
    /// How many more calls succeed right now: the best single prediction, and the upper bound.
    pub remaining: u32,
    /// How many more surely succeed.
    pub remaining_at_least: u32,
    /// Why the two bounds differ; empty when they meet.
    pub doubts: Vec<Doubt>,
}

/// Why a number of ports could not be told apart into usable and not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The reason.
    pub reason: DoubtReason,
    /// How many ports it concerns.
    pub ports: u32,
}

/// The things about a port that a dump of sock_diag does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DoubtReason {
    /// All owners got the port from the kernel; if one got it by `bind()` to port 0 rather than by `connect()`, or is an
    /// accepted connection whose listener is gone, the port is closed to every destination.
    SharedPort,
    /// A connection in TIME-WAIT is old enough to be taken over, if it used TCP timestamps.
    TimeWaitTimestamps,
    /// The range has an odd number of ports: one of them is out of reach, by a secret offset of the kernel.
    OddRange,
    /// Whether an IPv6 socket is IPv6-only is told for listening and bound sockets only.
    V6Only,
    /// The source does not list sockets that are bound and nothing else.
    BoundUnseen,
}

/// The pools of all sources and destinations in use.
#[must_use]
pub fn connect_pools(
    _snapshot: &crate::model::snapshot::Snapshot,
    _owners: &crate::attribution::Owners,
) -> Vec<PortPool> {
    Vec::new()
}

/// The pools of all addresses that `bind()` to port 0 may be called with.
#[must_use]
pub fn bind_pools(_snapshot: &crate::model::snapshot::Snapshot) -> Vec<BindPool> {
    Vec::new()
}
