//! What a rule may look at, and how it names what it sees: every name of a stranger comes out safe to print.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::census::memory::pool_name;
use crate::census::pools::PortPool;
use crate::census::{Census, Direction};
use crate::diagnosis::policy::Policy;
use crate::model::past::PoolName;
use crate::model::ports::EphemeralRange;
use crate::model::process::{Placement, Process, ProcessIndex, ProcessKey};
use crate::model::snapshot::{Namespace, Snapshot};
use crate::model::socket::{NetNsIndex, PortBinding};
use crate::model::state::{StateCounts, TcpState};
use crate::model::text::printable;
use crate::model::tuple::Endpoint;
use crate::model::wording::counted;
use crate::trend::forecast::Forecast;

/// All that a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What was seen.
    pub(super) snapshot: &'a Snapshot,
    /// What it counts to.
    pub(super) census: &'a Census,
    /// What every number is to be expected to do, as earlier looks show it; empty without any.
    pub(super) forecasts: &'a [Forecast],
    /// By which thresholds it is judged.
    pub(super) policy: &'a Policy,
}

impl<'a> Scene<'a> {
    /// What rules and metrics may look at.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, census: &'a Census, forecasts: &'a [Forecast], policy: &'a Policy) -> Self {
        Self { snapshot, census, forecasts, policy }
    }

    /// The process with this key; `None` when it is not among those seen.
    pub(super) fn process_with(&self, key: ProcessKey) -> Option<ProcessIndex> {
        let place = self.snapshot.processes.iter().position(|process| process.key == key)?;
        Some(ProcessIndex(place as u32))
    }

    /// The pool that is remembered by this name.
    pub(super) fn pool_named(&self, name: &PoolName) -> Option<&'a PortPool> {
        let is_it = |pool: &&PortPool| (pool.source, pool.destination) == (name.source, name.destination);
        self.census.port_pools.iter().filter(is_it).find(|pool| pool_name(self.snapshot, pool).netns == name.netns)
    }

    /// The namespace that is remembered by this name.
    pub(super) fn netns_named(&self, name: &str) -> Option<NetNsIndex> {
        let place = self.snapshot.namespaces.iter().position(|namespace| namespace.id.name == name)?;
        Some(NetNsIndex(place as u32))
    }

    /// The process; `None` for an index that the snapshot does not have.
    pub(super) fn process(&self, index: ProcessIndex) -> Option<&'a Process> {
        self.snapshot.processes.get(index.0 as usize)
    }

    /// The process by name and number: `telegraf[1234]`.
    pub(super) fn who(&self, index: ProcessIndex) -> String {
        match self.process(index) {
            Some(process) => format!("{}[{}]", printable(&process.name), process.key.pid),
            None => "an unknown process".to_owned(),
        }
    }

    /// The process with what it belongs to: `telegraf[1234] (telegraf.service)`.
    pub(super) fn who_and_where(&self, index: ProcessIndex) -> String {
        let placement = self.process(index).and_then(|process| process.placement.as_ref());
        match placement.and_then(home_of) {
            Some(home) => format!("{} ({home})", self.who(index)),
            None => self.who(index),
        }
    }

    /// The processes by name and number, the first few.
    pub(super) fn who_all(&self, processes: &[ProcessIndex]) -> String {
        match processes {
            [] => "a process that could not be seen".to_owned(),
            [one] => self.who(*one),
            [first, others @ ..] => {
                format!("{} and {}", self.who(*first), counted(others.len() as u64, "other process", "other processes"))
            }
        }
    }

    /// The namespace; `None` for an index that the snapshot does not have.
    pub(super) fn namespace(&self, netns: NetNsIndex) -> Option<&'a Namespace> {
        self.snapshot.namespaces.get(netns.0 as usize)
    }

    /// The range that the namespace hands ports out from, when it is known.
    pub(super) fn range(&self, netns: NetNsIndex) -> Option<EphemeralRange> {
        self.namespace(netns)?.ports.range
    }

    /// ` in namespace NAME`, when there is more than one to tell apart.
    pub(super) fn place(&self, netns: NetNsIndex) -> String {
        match self.namespace(netns) {
            Some(namespace) if self.snapshot.namespaces.len() > 1 => {
                format!(" in namespace {}", printable(&namespace.id.name))
            }
            _ => String::new(),
        }
    }

    /// The command as it must be typed to act in the namespace: as it is where the reader is, else through a process of that
    /// namespace; `None` when no such process is known, since the command would act on another namespace.
    pub(super) fn typed_in(&self, netns: NetNsIndex, command: String) -> Option<String> {
        let namespace = self.namespace(netns)?;
        if matches!(namespace.id.name.as_str(), "init" | "current") {
            return Some(command);
        }
        let inode = namespace.id.inode?;
        let inside = self.snapshot.processes.iter().find(|process| process.netns == Some(inode))?;
        Some(format!("nsenter -t {} -n {command}", inside.key.pid))
    }

    /// The remote ends that this host connects to; a socket whose peer is not among them came in. Made once for many
    /// questions.
    pub(super) fn destinations(&self) -> HashSet<(NetNsIndex, Endpoint)> {
        let outbound = self.census.peers.iter().filter(|peer| peer.direction == Direction::Outbound);
        outbound.map(|peer| (peer.netns, Endpoint::new(peer.address, peer.port))).collect()
    }

    /// The ports above 1023, outside the range, that programs listen on by choice: a wider range would hand them out.
    pub(super) fn ports_in_the_way(&self, netns: NetNsIndex) -> Vec<u16> {
        let Some(range) = self.range(netns) else { return Vec::new() };
        let listeners = self.census.listeners.iter().filter(|listener| listener.netns == netns);
        let chosen = listeners.filter(|listener| self.chose_its_port(listener.socket));
        let mut ports: Vec<u16> = chosen.map(|listener| listener.local.port).collect();
        ports.retain(|port| *port > 1023 && !range.contains(*port));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Whether the program named the socket's port in `bind()`, or may have: a port that the kernel chose can be another one
    /// the next time.
    pub(super) fn chose_its_port(&self, socket: usize) -> bool {
        self.snapshot.sockets.get(socket).is_none_or(|record| record.binding != PortBinding::Auto)
    }
}

/// What people call the place: `container 4c01db0b339c`, or the unit.
pub(super) fn home_of(placement: &Placement) -> Option<String> {
    match (&placement.container, &placement.unit) {
        (Some(container), _) => Some(format!("container {}", printable(&short_id(container)))),
        (None, Some(unit)) => Some(printable(unit).into_owned()),
        (None, None) => None,
    }
}

/// The twelve characters of a container's id that its tools show.
pub(super) fn short_id(container: &str) -> String {
    container.chars().take(12).collect()
}

/// A source and a destination: `from 10.0.0.5 to 10.0.3.7:8086`.
pub(super) fn route(source: IpAddr, destination: &Endpoint) -> String {
    format!("from {source} to {destination}")
}

/// The state that most of the sockets are in; `None` when there are none.
pub(super) fn mostly(states: &StateCounts) -> Option<TcpState> {
    states.iter().filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count).map(|(state, _)| state)
}

/// A part of a whole that may be empty: of nothing, everything is used.
pub(super) fn share(used: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { used as f64 / of as f64 }
}

/// The used share of a pool of ports.
pub(super) fn ports_share(used: u32, usable: u32) -> f64 {
    share(used.into(), usable.into())
}
