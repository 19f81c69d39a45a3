//! What a look leaves behind for later ones: its counts under names that stay, and the sockets that should be gone.

use std::cmp::Reverse;
use std::net::IpAddr;

use super::pools::PortPool;
use super::tally::first_holder;
use super::{Census, ProcessCensus, Query, age};
use crate::attribution::{Owner, Owners, SocketMap};
use crate::model::past::{
    LimitKind, LimitMemory, MOST_STUCK, Memory, NamespaceMemory, OtherMemory, Past, PoolMemory, PoolName,
    ProcessMemory, Service, StuckMemory,
};
use crate::model::process::{Process, ProcessIndex};
use crate::model::snapshot::{Namespace, ProcessScan, Snapshot, Usage};
use crate::model::socket::{NetNsIndex, SocketRecord};
use crate::model::tuple::Endpoint;

/// So many processes, and so many pools, are remembered one by one: more are never looked at at once, and each costs a
/// number for every look of two days.
pub const MOST_NAMED: usize = 32;

/// What is to be remembered of this look, but for its grade.
#[must_use]
pub fn of(seen: &Seen<'_>) -> Memory {
    let Seen { snapshot, census, .. } = *seen;
    let (named, others) = split(by_danger(&census.processes, |process| danger_of(snapshot, process)));
    let places: SocketMap<ProcessIndex, usize> =
        named.iter().enumerate().map(|(place, process)| (process.process, place)).collect();
    let (pools, other_pools) = split(by_danger(&census.port_pools, pool_share));
    let held = Held::find(seen, &places);
    let pool = |pool: &&PortPool| PoolMemory {
        name: pool_name(snapshot, pool),
        usable: pool.usable.into(),
        used: pool.used.into(),
        stuck: held.by_pool.get(&key_of(pool)).copied().unwrap_or(0),
        holder: pool.holders.first().and_then(|(holder, count)| Some((*places.get(holder)?, *count))),
    };
    let pools: Vec<PoolMemory> = pools.iter().map(pool).collect();
    let in_other_pools = other_pools.iter().map(|pool| held.by_pool.get(&key_of(pool)).copied().unwrap_or(0)).sum();
    Memory {
        taken_at: snapshot.taken_at,
        boot_id: snapshot.host.boot_id.clone(),
        uptime: snapshot.host.uptime,
        verdict: String::new(),
        attributed: snapshot.scan == ProcessScan::All,
        namespaces: namespaces(seen),
        processes: named.iter().filter_map(|process| process_memory(snapshot, process)).collect(),
        other_processes: OtherMemory {
            count: others.len() as u64,
            sockets: others.iter().map(|process| process.states.total()).sum(),
            stuck: others.iter().map(|process| own_stuck(process)).sum(),
        },
        pools,
        other_pools: OtherMemory {
            count: other_pools.len() as u64,
            sockets: other_pools.iter().map(|pool| u64::from(pool.used)).sum(),
            stuck: in_other_pools,
        },
        limits: limits(snapshot),
        stuck: held.stuck,
        n_stuck: held.n_stuck,
    }
}

/// A look that is to be remembered.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// Who owns which socket.
    pub owners: &'a Owners,
    /// What was asked.
    pub query: &'a Query,
    /// What it counts to.
    pub census: &'a Census,
    /// What was known before.
    pub past: &'a Past,
}

/// The name of a program that stays when it is started again.
#[must_use]
pub fn service(snapshot: &Snapshot, process: &Process, netns: NetNsIndex) -> Service {
    let exe = process.exe.as_ref().map(|exe| exe.to_string_lossy().into_owned());
    let placement = process.placement.as_ref();
    Service {
        name: process.name.clone(),
        exe: exe.map(|exe| exe.strip_suffix(" (deleted)").map_or(exe.clone(), str::to_owned)),
        unit: placement.and_then(|placement| placement.unit.clone()),
        container: placement.and_then(|placement| placement.container.clone()),
        netns: netns_name(snapshot, netns),
    }
}

/// The name of a pool that stays.
#[must_use]
pub fn pool_name(snapshot: &Snapshot, pool: &PortPool) -> PoolName {
    PoolName { netns: netns_name(snapshot, pool.netns), source: pool.source, destination: pool.destination }
}

fn netns_name(snapshot: &Snapshot, netns: NetNsIndex) -> String {
    snapshot.namespaces.get(netns.0 as usize).map_or_else(String::new, |namespace| namespace.id.name.clone())
}

/// The most dangerous first.
fn by_danger<T, K: PartialOrd>(all: &[T], danger: impl Fn(&T) -> K) -> Vec<&T> {
    let mut sorted: Vec<&T> = all.iter().collect();
    sorted.sort_by(|a, b| danger(b).partial_cmp(&danger(a)).unwrap_or(std::cmp::Ordering::Equal));
    sorted
}

/// Those that are named, and the others.
fn split<T>(mut sorted: Vec<T>) -> (Vec<T>, Vec<T>) {
    let others = sorted.split_off(sorted.len().min(MOST_NAMED));
    (sorted, others)
}

/// What it has leaked, how full its table of descriptors is, and how many sockets it holds.
fn danger_of(snapshot: &Snapshot, process: &ProcessCensus) -> (u64, f64, u64) {
    let fds = fds_of(snapshot, process.process).map_or(0.0, |usage| usage.used as f64 / usage.limit.max(1) as f64);
    (own_stuck(process) + ghosts_of(process).unwrap_or(0), fds, process.states.total())
}

fn pool_share(pool: &PortPool) -> f64 {
    f64::from(pool.used) / f64::from(pool.usable.max(1))
}

fn fds_of(snapshot: &Snapshot, process: ProcessIndex) -> Option<Usage> {
    let process = snapshot.processes.get(process.0 as usize)?;
    Some(Usage { used: process.fds_open?, limit: process.fds_limit.filter(|limit| *limit != u64::MAX)? })
}

fn own_stuck(process: &ProcessCensus) -> u64 {
    process.close_wait.stuck.saturating_sub(process.close_wait.inherited)
}

fn ghosts_of(process: &ProcessCensus) -> Option<u64> {
    process.ghosts.map(|ghosts| ghosts.count.saturating_sub(ghosts.inherited))
}

fn namespaces(seen: &Seen<'_>) -> Vec<NamespaceMemory> {
    let states = seen.snapshot.namespaces.iter().zip(&seen.census.namespaces);
    states.map(|(namespace, states)| NamespaceMemory { name: namespace.id.name.clone(), states: *states }).collect()
}

fn process_memory(snapshot: &Snapshot, census: &ProcessCensus) -> Option<ProcessMemory> {
    let process = snapshot.processes.get(census.process.0 as usize)?;
    Some(ProcessMemory {
        service: service(snapshot, process, census.netns),
        key: process.key,
        sockets: census.states.total(),
        close_wait: census.close_wait.count,
        stuck: own_stuck(census),
        ghosts: ghosts_of(census),
        fds_open: process.fds_open,
        fds_limit: process.fds_limit.filter(|limit| *limit != u64::MAX),
    })
}

fn limits(snapshot: &Snapshot) -> Vec<LimitMemory> {
    let host = [
        (LimitKind::FileMax, snapshot.limits.files),
        (LimitKind::Orphans, snapshot.limits.orphans),
        (LimitKind::TcpMem, snapshot.limits.tcp_mem_pages),
    ];
    let host = host.into_iter().map(|(kind, usage)| (kind, None, usage));
    let conntrack = snapshot
        .namespaces
        .iter()
        .map(|namespace| (LimitKind::Conntrack, Some(namespace.id.name.clone()), conntrack_limited(namespace)));
    let known = host.chain(conntrack).filter_map(|(kind, netns, usage)| Some((kind, netns, usage?)));
    known.map(|(kind, netns, Usage { used, limit })| LimitMemory { kind, netns, used, limit }).collect()
}

/// Zero is no limit (kernel `__nf_conntrack_alloc`), and so nothing that could be met.
fn conntrack_limited(namespace: &Namespace) -> Option<Usage> {
    namespace.conntrack.filter(|usage| usage.limit > 0)
}

type PoolKey = (NetNsIndex, IpAddr, Endpoint);

fn key_of(pool: &PortPool) -> PoolKey {
    (pool.netns, pool.source, pool.destination)
}

/// The stuck sockets, one by one and by pool.
struct Held {
    stuck: Vec<StuckMemory>,
    n_stuck: u64,
    by_pool: SocketMap<PoolKey, u64>,
}

impl Held {
    fn find(seen: &Seen<'_>, places: &SocketMap<ProcessIndex, usize>) -> Self {
        let mut held = Self { stuck: Vec::new(), n_stuck: 0, by_pool: SocketMap::default() };
        for (index, socket) in seen.snapshot.sockets.iter().enumerate().filter(|(_, socket)| socket.is_close_wait()) {
            let Some(age) = age::with_past(socket, seen.snapshot, seen.past) else { continue };
            if age.at_least < seen.query.stuck_after {
                continue;
            }
            held.n_stuck += 1;
            *held.by_pool.entry(route_of(socket)).or_default() += 1;
            if let Some(cookie) = socket.cookie {
                let holder = holder_of(seen, index);
                let process = holder.and_then(|holder| places.get(&holder).copied());
                held.stuck.push(StuckMemory { cookie, age_at_least: age.at_least, process });
            }
        }
        if held.stuck.len() > MOST_STUCK {
            held.stuck.select_nth_unstable_by_key(MOST_STUCK, |stuck| Reverse(stuck.age_at_least));
            held.stuck.truncate(MOST_STUCK);
        }
        held
    }
}

fn route_of(socket: &SocketRecord) -> PoolKey {
    (socket.netns, socket.tuple.local.address, socket.tuple.remote)
}

fn holder_of(seen: &Seen<'_>, index: usize) -> Option<ProcessIndex> {
    match seen.owners.of(index) {
        Owner::Held(holders) => first_holder(seen.snapshot, holders),
        Owner::NotAccepted(_) | Owner::Kernel | Owner::Unresolved(_) => None,
    }
}
