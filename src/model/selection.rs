//! Which sockets a reader asked to see.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::process::Process;
use super::socket::SocketRecord;
use super::state::StateMask;
use super::tuple::{Endpoint, Network};

/// The filters of one request. What is empty or `None` lets everything through; what is given must hold all at once,
/// and of several values for one filter one must.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// `--state`.
    pub states: Option<StateMask>,
    /// `--local`.
    pub local: EndpointFilter,
    /// `--peer`.
    pub peer: EndpointFilter,
    /// `--pid`.
    pub pids: Vec<u32>,
    /// `--process`: the name of the process, or the last part of its executable.
    pub processes: Vec<String>,
    /// `--unit`: the systemd unit, with or without its suffix.
    pub units: Vec<String>,
    /// `--container`: the container's id or the beginning of it (12 characters are usual).
    pub containers: Vec<String>,
}

impl Selection {
    /// Whether everything is let through.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only certain processes are asked for.
    #[must_use]
    pub fn by_process(&self) -> bool {
        !(self.pids.is_empty() && self.processes.is_empty() && self.units.is_empty() && self.containers.is_empty())
    }

    /// Whether the socket passes the filters that concern sockets.
    #[must_use]
    pub fn takes_socket(&self, socket: &SocketRecord) -> bool {
        self.states.is_none_or(|states| states.has(socket.state))
            && self.local.takes(&socket.tuple.local)
            && self.peer.takes(&socket.tuple.remote)
    }

    /// Whether the process passes the filters that concern processes.
    #[must_use]
    pub fn takes_process(&self, process: &Process) -> bool {
        let placement = process.placement.as_ref();
        let unit = placement.and_then(|placement| placement.unit.as_deref());
        let container = placement.and_then(|placement| placement.container.as_deref());
        let exe_name = process.exe.as_ref().and_then(|exe| exe.file_name()).and_then(|name| name.to_str());
        let any = |wanted: &[String], matches: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| matches(wanted))
        };
        (self.pids.is_empty() || self.pids.contains(&process.key.pid))
            && any(&self.processes, &|wanted| wanted == process.name || Some(wanted) == exe_name)
            && any(&self.units, &|wanted| {
                unit.is_some_and(|unit| unit == wanted || unit.rsplit_once('.').is_some_and(|(stem, _)| stem == wanted))
            })
            && any(&self.containers, &|wanted| container.is_some_and(|id| id.starts_with(wanted)))
    }
}

/// Which addresses and ports of one end are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointFilter {
    /// Networks, of which one must hold the address.
    pub networks: Vec<Network>,
    /// Port ranges, of which one must hold the port.
    pub ports: Vec<RangeInclusive<u16>>,
}

impl EndpointFilter {
    /// Whether every endpoint passes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.networks.is_empty() && self.ports.is_empty()
    }

    /// Whether the endpoint passes.
    #[must_use]
    pub fn takes(&self, endpoint: &Endpoint) -> bool {
        self.takes_address(endpoint.address)
            && (self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(&endpoint.port)))
    }

    /// Whether the address passes, whatever the port.
    #[must_use]
    pub fn takes_address(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(address))
    }
}
