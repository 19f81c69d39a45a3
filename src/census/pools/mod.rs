//! How many more ports `connect()` and `bind()` to port 0 can get, by the kernel's own rules.
//!
//! Each port of a namespace's ephemeral range is classified once (`ledger`); a pool then only subtracts what
//! stands in its own way. Of a namespace whose range or reserved ports could not be read nothing is predicted; a gap of
//! the snapshot says why. The rules and the functions of the kernel that they come from stand in `connect` and `bind`.
//!
//! Predictions are for the moment of the snapshot and for sockets of the plain kind: without `IP_LOCAL_PORT_RANGE`,
//! outside of a VRF, with no BPF program at `connect()`, and bound by nothing but the pool's own address and interface.

mod bind;
mod connect;
mod doubtful;
mod ledger;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;

use crate::attribution::Owners;
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Snapshot;
use crate::model::socket::NetNsIndex;
use crate::model::state::StateCounts;
use crate::model::tuple::{Endpoint, FourTuple};

use ledger::Ledger;

pub use bind::{bind_pool_for, bind_pools};
pub use connect::{connect_pools, pool_for};
pub use doubtful::doubtful_ports;

/// The ports of every namespace, each classified once for all pools.
pub(super) struct Ledgers(Vec<Option<Ledger>>);

impl Ledgers {
    /// One pass over the sockets.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self(Ledger::open_all(snapshot))
    }

    /// As [`connect_pools`].
    pub(super) fn connect_pools(&self, snapshot: &Snapshot, owners: &Owners) -> Vec<PortPool> {
        connect::pools_of(snapshot, owners, &self.0)
    }

    /// As [`bind_pools`].
    pub(super) fn bind_pools(&self, snapshot: &Snapshot) -> Vec<BindPool> {
        bind::pools_of(snapshot, &self.0)
    }
}

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
    /// Ports that no destination can get, because a socket was bound to them by `bind()` or listens on them, or because
    /// the kernel said so when it was asked.
    pub blocked: u32,
    /// Why the two bounds differ; empty when they meet.
    pub doubts: Vec<Doubt>,
    /// The sockets between this source and this destination, whatever their local port, by state.
    pub states: StateCounts,
    /// Who holds them, most first.
    pub holders: Vec<(ProcessIndex, u64)>,
    /// How many of the sockets a program holds that nobody could see, or looked for.
    pub holders_unseen: u64,
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

/// Something about a port that the sockets do not tell, as a question to the kernel (`--exact`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DoubtfulPort {
    /// The namespace in which it must be asked.
    pub netns: NetNsIndex,
    /// What to ask.
    pub question: PortQuestion,
}

/// A question that one system call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortQuestion {
    /// May `connect()` share this port with its present owners? Whether it may is a property of the port, the same for
    /// every destination (`struct inet_bind_bucket`), so it is asked once, with a destination that no socket uses.
    Shared {
        /// The local port.
        port: u16,
        /// Where no socket of the namespace is connected to.
        unused: Endpoint,
    },
    /// Does `connect()` take over this connection in TIME-WAIT? When the answer is yes, asking has taken it over.
    TimeWait {
        /// The connection.
        tuple: FourTuple,
        /// The interface that it is bound to; 0 for none.
        interface: u32,
    },
    /// Does `bind()` of this address get this port?
    Bind(Endpoint),
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
    /// A connection in TIME-WAIT may be old enough to be taken over, if it used TCP timestamps.
    TimeWaitTimestamps,
    /// The range has an odd number of ports: either its first or its last is out of reach of a call, by an offset that
    /// the kernel draws anew for every call that succeeds (`__inet_hash_connect`). Asking cannot settle it.
    OddRange,
    /// Whether an IPv6 socket is IPv6-only is told for listening and bound sockets only.
    V6Only,
    /// The source does not list sockets that are bound and nothing else.
    BoundUnseen,
}

/// Ports counted by how sure it is that they can be had.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// They can.
    sure: u32,
    /// They can unless a bound socket sits there that the source does not list.
    unlisted: u32,
    shared: u32,
    time_wait: u32,
    v6only: u32,
    /// An end of an odd range is among `sure` or `unlisted`.
    odd: bool,
}

impl Tally {
    /// The upper bound, the lower bound, and the doubts, whose ports add up to the difference of the two. At most
    /// `hidden` bound sockets are not listed.
    fn bounds(self, hidden: u32) -> (u32, u32, Vec<Doubt>) {
        let remaining = self.sure + self.unlisted + self.shared + self.time_wait + self.v6only;
        let unseen = self.unlisted.min(hidden);
        let even = self.sure + self.unlisted - unseen;
        let odd = u32::from(self.odd).min(even);
        let doubts = [
            (DoubtReason::SharedPort, self.shared),
            (DoubtReason::TimeWaitTimestamps, self.time_wait),
            (DoubtReason::OddRange, odd),
            (DoubtReason::V6Only, self.v6only),
            (DoubtReason::BoundUnseen, unseen),
        ];
        let doubts = doubts.into_iter().filter(|(_, ports)| *ports > 0);
        (remaining, even - odd, doubts.map(|(reason, ports)| Doubt { reason, ports }).collect())
    }
}
