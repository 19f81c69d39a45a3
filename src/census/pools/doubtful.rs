//! What to ask the kernel where a dump leaves doubt (`--exact`).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::connect::{Takeover, takeover};
use super::ledger::{Class, Ledger, holds_port};
use super::{DoubtfulPort, PortQuestion, bind};
use crate::model::ports::PortSet;
use crate::model::snapshot::Snapshot;
use crate::model::socket::{NetNsIndex, SocketRecord};
use crate::model::tuple::{Endpoint, FourTuple};

/// The questions whose answers make the bounds of the pools meet, each once: shared ports, then connections in
/// TIME-WAIT, since asking for one ends it, then addresses. What is answered already is not asked again.
///
/// Not asked, because one call cannot tell: which end of an odd range is out of reach, and a TIME-WAIT beside which
/// another socket has the same four-tuple on another interface.
#[must_use]
pub fn doubtful_ports(snapshot: &Snapshot) -> Vec<DoubtfulPort> {
    let ledgers = Ledger::open_all(snapshot);
    let mut doubtful = Vec::new();
    let mut ask = |netns, question| doubtful.push(DoubtfulPort { netns, question });
    for (nth, ledger) in ledgers.iter().enumerate() {
        let netns = NetNsIndex(nth as u32);
        let (Some(ledger), Some(unused)) = (ledger, unused_destination(snapshot, netns)) else { continue };
        for (port, class) in ledger.ports() {
            if matches!(class, Class::Shared | Class::Unseen) {
                ask(netns, PortQuestion::Shared { port, unused });
            }
        }
    }
    let waits = lone_time_waits(snapshot, &ledgers);
    for socket in &waits {
        ask(socket.netns, PortQuestion::TimeWait { tuple: socket.tuple, interface: socket.interface });
    }
    // What is in doubt now, and what will be when those connections are gone.
    let ending: HashSet<_> = waits.iter().map(|wait| (wait.netns, wait.tuple)).collect();
    let mut binds = bind::doubtful(snapshot, &ledgers);
    if !ending.is_empty() {
        let stays = |socket: &SocketRecord| !ending.contains(&(socket.netns, socket.tuple));
        binds.extend(bind::doubtful_when(snapshot, &ledgers, stays));
    }
    binds.sort_unstable();
    binds.dedup();
    for (netns, endpoint) in binds {
        ask(netns, PortQuestion::Bind(endpoint));
    }
    doubtful
}

/// A port of 127.0.0.1 that nobody in the namespace is connected to: that address has a route whatever else is down.
fn unused_destination(snapshot: &Snapshot, netns: NetNsIndex) -> Option<Endpoint> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let remotes = snapshot.sockets.iter().filter(|socket| socket.netns == netns).map(|socket| socket.tuple.remote);
    let used: PortSet = remotes.filter(|remote| remote.address == address).map(|remote| remote.port).collect();
    (1..=u16::MAX).find(|port| !used.contains(*port)).map(|port| Endpoint::new(address, port))
}

/// The connections in TIME-WAIT that may be taken over, on ports that are not closed, and that have their four-tuple to
/// themselves.
fn lone_time_waits<'a>(snapshot: &'a Snapshot, ledgers: &[Option<Ledger>]) -> Vec<&'a SocketRecord> {
    let mut waits: Vec<&SocketRecord> = Vec::new();
    for socket in &snapshot.sockets {
        let at = socket.netns.0 as usize;
        let class = ledgers[at].as_ref().and_then(|ledger| ledger.class(socket.tuple.local.port));
        if matches!(class, Some(Class::Open | Class::Shared))
            && takeover(socket, &snapshot.namespaces[at]) == Takeover::Perhaps
        {
            waits.push(socket);
        }
    }
    let mut holders: HashMap<(NetNsIndex, FourTuple), u32> =
        waits.iter().map(|wait| ((wait.netns, wait.tuple), 0)).collect();
    for socket in &snapshot.sockets {
        if !holds_port(socket, &snapshot.namespaces[socket.netns.0 as usize]) {
            continue;
        }
        if let Some(count) = holders.get_mut(&(socket.netns, socket.tuple)) {
            *count += 1;
        }
    }
    waits.retain(|wait| holders[&(wait.netns, wait.tuple)] == 1);
    waits
}
