//! The rows of the lists: one type for each list.

use std::net::IpAddr;

use super::{States, rfc3339, seconds};
use crate::attribution::Unresolved;
use crate::census::pools::{BindPool, Doubt, PortPool};
use crate::census::{
    CloseWaitCensus, ListenerCensus, PeerCensus, PortRangeCensus, ProcessCensus, StrangerCensus, UnreadCensus,
};
use crate::model::ports::PortSettings;
use crate::model::process::{ContainerRuntime, Process, ProcessIndex};
use crate::model::snapshot::Namespace;
use crate::model::socket::NetNsIndex;
use crate::model::tuple::Endpoint;
use crate::render::words::{doubt_token, share};
use crate::report::Report;

/// The inode of a namespace.
pub(super) fn netns_inode(report: &Report<'_>, index: NetNsIndex) -> Option<u64> {
    report.snapshot.namespaces.get(index.0 as usize).and_then(|namespace| namespace.id.inode)
}

fn process<'a>(report: &'a Report<'_>, index: ProcessIndex) -> Option<&'a Process> {
    report.snapshot.processes.get(index.0 as usize)
}

/// A process by number and name; null when it is not known.
#[derive(serde::Serialize)]
pub(super) struct Who<'a> {
    pid: Option<u32>,
    name: Option<&'a str>,
}

impl<'a> Who<'a> {
    /// Nobody that is known.
    pub(super) fn nobody() -> Self {
        Self { pid: None, name: None }
    }

    /// The process with this index.
    pub(super) fn of(report: &'a Report<'_>, index: ProcessIndex) -> Self {
        let process = process(report, index);
        Self { pid: process.map(|process| process.key.pid), name: process.map(|process| &*process.name) }
    }
}

/// The list, or null when it is empty only because nobody could be seen: unknown is not nobody.
fn known_or_null<T>(list: Vec<T>, unseen: u64) -> Option<Vec<T>> {
    (unseen == 0 || !list.is_empty()).then_some(list)
}

/// A process in a list of holders, and how many of the sockets it holds.
#[derive(serde::Serialize)]
pub(super) struct Holder<'a> {
    pid: Option<u32>,
    name: Option<&'a str>,
    count: u64,
}

impl<'a> Holder<'a> {
    /// The holders; null when there are some and none could be seen.
    pub(super) fn list(report: &'a Report<'_>, holders: &[(ProcessIndex, u64)], unseen: u64) -> Option<Vec<Self>> {
        let holder = |(index, count): &(ProcessIndex, u64)| {
            let Who { pid, name } = Who::of(report, *index);
            Self { pid, name, count: *count }
        };
        known_or_null(holders.iter().map(holder).collect(), unseen)
    }
}

/// One of `namespaces[]`.
#[derive(serde::Serialize)]
pub(super) struct NamespaceRow<'a> {
    netns: Option<u64>,
    name: &'a str,
    sockets: Option<u64>,
    states: Option<States>,
    ephemeral: Option<Ephemeral>,
    container: Option<&'a str>,
    container_runtime: Option<&'static str>,
    pod: Option<&'a str>,
    unit: Option<&'a str>,
    source: &'static str,
    took_s: f64,
}

#[derive(serde::Serialize)]
struct Ephemeral {
    first: u16,
    last: u16,
    reserved: Option<u32>,
    size: Option<u32>,
}

/// All of `namespaces[]`.
pub(super) fn namespaces<'a>(report: &'a Report<'_>) -> Vec<NamespaceRow<'a>> {
    let counts = &report.census.namespaces;
    let row = |(nth, namespace): (usize, &'a Namespace)| NamespaceRow {
        netns: namespace.id.inode,
        name: &namespace.id.name,
        sockets: counts.get(nth).map(|states| states.total()),
        states: counts.get(nth).copied().map(States),
        ephemeral: ephemeral(&namespace.ports),
        container: namespace.id.container.as_deref(),
        container_runtime: namespace.id.runtime.map(ContainerRuntime::token),
        pod: namespace.id.pod.as_deref(),
        unit: namespace.id.unit.as_deref(),
        source: namespace.source.token(),
        took_s: namespace.took.as_micros() as f64 / 1e6,
    };
    report.snapshot.namespaces.iter().enumerate().map(row).collect()
}

fn ephemeral(ports: &PortSettings) -> Option<Ephemeral> {
    let range = ports.range?;
    let reserved = ports.reserved.as_ref();
    let inside = reserved.map(|reserved| range.iter().filter(|port| reserved.contains(*port)).count() as u32);
    let size = inside.map(|inside| range.span() - inside);
    Some(Ephemeral { first: range.first, last: range.last, reserved: inside, size })
}

/// One of `processes[]`.
#[derive(serde::Serialize)]
pub(super) struct ProcessRow<'a> {
    pid: Option<u32>,
    started_at: Option<String>,
    name: Option<&'a str>,
    exe: Option<String>,
    uid: Option<u32>,
    user: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    netns: Option<u64>,
    sockets: u64,
    states: States,
    port_ranges: Vec<NamedStates<'a>>,
    close_wait: CloseWaitRow,
    unread: UnreadRow,
    fds: Fds,
    ghosts: Option<u64>,
    container_runtime: Option<&'static str>,
    pod: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct NamedStates<'a> {
    name: &'a str,
    states: States,
}

#[derive(serde::Serialize)]
struct CloseWaitRow {
    count: u64,
    stuck: u64,
    maybe_stuck: u64,
    age_unknown: u64,
    oldest_at_least_s: Option<f64>,
    oldest_at_most_s: Option<f64>,
    oldest_exact: Option<bool>,
    eof_unread: u64,
    eof_read: u64,
    with_unread_bytes: u64,
    unread_bytes: u64,
    unread_least: u64,
    unread_most: u64,
    maybe_half_close: u64,
    keepalive: u64,
    mptcp: u64,
    inherited: u64,
    destinations: Vec<Destination>,
}

#[derive(serde::Serialize)]
struct UnreadRow {
    stalled: u64,
    bytes: u64,
    oldest_s: Option<f64>,
    destinations: Vec<Destination>,
}

#[derive(serde::Serialize)]
struct Destination {
    address: String,
    count: u64,
}

#[derive(serde::Serialize)]
struct Fds {
    open: Option<u64>,
    limit: Option<u64>,
    unlimited: Option<bool>,
}

impl<'a> ProcessRow<'a> {
    /// The row of a process.
    pub(super) fn of(report: &'a Report<'_>, row: &'a ProcessCensus) -> Self {
        let process = process(report, row.process);
        let placement = process.and_then(|process| process.placement.as_ref());
        let ranges = report.census.port_ranges.iter().zip(&row.port_ranges);
        Self {
            pid: process.map(|process| process.key.pid),
            started_at: process.and_then(|process| process.started_at).and_then(rfc3339),
            name: process.map(|process| &*process.name),
            exe: process.and_then(|process| process.exe.as_ref()).map(|exe| exe.to_string_lossy().into_owned()),
            uid: process.and_then(|process| process.uid),
            user: process.and_then(|process| process.user.as_deref()),
            unit: placement.and_then(|placement| placement.unit.as_deref()),
            container: placement.and_then(|placement| placement.container.as_deref()),
            netns: netns_inode(report, row.netns),
            sockets: row.states.total(),
            states: States(row.states),
            port_ranges: ranges
                .map(|(range, states)| NamedStates { name: &range.name, states: States(*states) })
                .collect(),
            close_wait: close_wait(&row.close_wait),
            unread: unread(&row.unread),
            fds: fds(process),
            ghosts: row.ghosts.map(|ghosts| ghosts.count),
            container_runtime: placement.and_then(|placement| placement.runtime).map(ContainerRuntime::token),
            pod: placement.and_then(|placement| placement.pod.as_deref()),
        }
    }
}

fn close_wait(census: &CloseWaitCensus) -> CloseWaitRow {
    CloseWaitRow {
        count: census.count,
        stuck: census.stuck,
        maybe_stuck: census.maybe_stuck,
        age_unknown: census.age_unknown,
        oldest_at_least_s: census.oldest.map(|age| seconds(age.at_least)),
        oldest_at_most_s: census.oldest.and_then(|age| age.at_most).map(seconds),
        oldest_exact: census.oldest.map(|age| age.exact),
        eof_unread: census.eof_unread,
        eof_read: census.eof_read,
        with_unread_bytes: census.with_unread_bytes,
        unread_bytes: census.unread_bytes,
        unread_least: census.unread_least,
        unread_most: census.unread_most,
        maybe_half_close: census.maybe_half_close,
        keepalive: census.keepalive,
        mptcp: census.mptcp,
        inherited: census.inherited,
        destinations: destinations(&census.destinations),
    }
}

fn unread(census: &UnreadCensus) -> UnreadRow {
    UnreadRow {
        stalled: census.stalled,
        bytes: census.bytes,
        oldest_s: census.oldest.map(seconds),
        destinations: destinations(&census.destinations),
    }
}

fn destinations(list: &[(Endpoint, u64)]) -> Vec<Destination> {
    list.iter().map(|(endpoint, count)| Destination { address: endpoint.to_string(), count: *count }).collect()
}

/// An unlimited number of descriptors is no number: `limit` is null and `unlimited` true.
fn fds(process: Option<&Process>) -> Fds {
    let limit = process.and_then(|process| process.fds_limit);
    Fds {
        open: process.and_then(|process| process.fds_open),
        limit: limit.filter(|limit| *limit != u64::MAX),
        unlimited: limit.map(|limit| limit == u64::MAX),
    }
}

/// One of `strangers[]`: the sockets of one user and place whose processes are not known.
#[derive(serde::Serialize)]
pub(super) struct StrangerRow<'a> {
    netns: Option<u64>,
    uid: Option<u32>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    pod: Option<&'a str>,
    looked: bool,
    close_wait: CloseWaitRow,
    unread: UnreadRow,
}

impl<'a> StrangerRow<'a> {
    /// The row of a user and a place.
    pub(super) fn of(report: &'a Report<'_>, row: &StrangerCensus) -> Self {
        let place = row.place.and_then(|place| report.snapshot.placement(place));
        Self {
            netns: netns_inode(report, row.netns),
            uid: row.uid,
            unit: place.and_then(|place| place.unit.as_deref()),
            container: place.and_then(|place| place.container.as_deref()),
            pod: place.and_then(|place| place.pod.as_deref()),
            looked: row.reason == Unresolved::NoHolderSeen,
            close_wait: close_wait(&row.close_wait),
            unread: unread(&row.unread),
        }
    }
}

/// One of `port_ranges[]`.
#[derive(serde::Serialize)]
pub(super) struct PortRangeRow<'a> {
    name: &'a str,
    first: Option<u16>,
    last: Option<u16>,
    states: States,
}

impl<'a> PortRangeRow<'a> {
    /// The row of a range.
    pub(super) fn of(row: &'a PortRangeCensus) -> Self {
        let (first, last) = row.bounds.unzip();
        Self { name: &row.name, first, last, states: States(row.states) }
    }
}

#[derive(serde::Serialize)]
struct DoubtRow {
    reason: &'static str,
    ports: u32,
}

fn doubts(doubts: &[Doubt]) -> Vec<DoubtRow> {
    doubts.iter().map(|doubt| DoubtRow { reason: doubt_token(doubt.reason), ports: doubt.ports }).collect()
}

/// One of `port_pools[]`.
#[derive(serde::Serialize)]
pub(super) struct PoolRow<'a> {
    netns: Option<u64>,
    source: IpAddr,
    destination: String,
    interface: u32,
    usable: u32,
    used: u32,
    remaining: u32,
    remaining_at_least: u32,
    blocked: u32,
    ratio: f64,
    doubts: Vec<DoubtRow>,
    states: States,
    /// Null when there are holders and none could be seen.
    holders: Option<Vec<Holder<'a>>>,
    holders_unseen: u64,
}

impl<'a> PoolRow<'a> {
    /// The row of a pool.
    pub(super) fn of(report: &'a Report<'_>, pool: &PortPool) -> Self {
        Self {
            netns: netns_inode(report, pool.netns),
            source: pool.source,
            destination: pool.destination.to_string(),
            interface: pool.interface,
            usable: pool.usable,
            used: pool.used,
            remaining: pool.remaining,
            remaining_at_least: pool.remaining_at_least,
            blocked: pool.blocked,
            ratio: share(pool.used, pool.usable),
            doubts: doubts(&pool.doubts),
            states: States(pool.states),
            holders: Holder::list(report, &pool.holders, pool.holders_unseen),
            holders_unseen: pool.holders_unseen,
        }
    }
}

/// One of `bind_pools[]`.
#[derive(serde::Serialize)]
pub(super) struct BindPoolRow {
    netns: Option<u64>,
    address: IpAddr,
    usable: u32,
    used: u32,
    remaining: u32,
    remaining_at_least: u32,
    ratio: f64,
    doubts: Vec<DoubtRow>,
}

impl BindPoolRow {
    /// The row of a pool.
    pub(super) fn of(report: &Report<'_>, pool: &BindPool) -> Self {
        Self {
            netns: netns_inode(report, pool.netns),
            address: pool.address,
            usable: pool.usable,
            used: pool.used,
            remaining: pool.remaining,
            remaining_at_least: pool.remaining_at_least,
            ratio: share(pool.used, pool.usable),
            doubts: doubts(&pool.doubts),
        }
    }
}

/// One of `listeners[]`.
#[derive(serde::Serialize)]
pub(super) struct ListenerRow<'a> {
    netns: Option<u64>,
    local: String,
    waiting: u32,
    limit: Option<u32>,
    close_wait_not_accepted: u64,
    oldest_not_accepted_at_least_s: Option<f64>,
    in_ephemeral_range: bool,
    /// Null when some program listens and could not be seen.
    holders: Option<Vec<Who<'a>>>,
    holders_unseen: u64,
}

impl<'a> ListenerRow<'a> {
    /// The row of a listener.
    pub(super) fn of(report: &'a Report<'_>, row: &ListenerCensus) -> Self {
        Self {
            netns: netns_inode(report, row.netns),
            local: row.local.to_string(),
            waiting: row.waiting,
            limit: row.limit,
            close_wait_not_accepted: row.close_wait_not_accepted,
            oldest_not_accepted_at_least_s: row.oldest_not_accepted.map(|age| seconds(age.at_least)),
            in_ephemeral_range: row.in_ephemeral_range,
            holders: known_or_null(
                row.holders.iter().map(|index| Who::of(report, *index)).collect(),
                row.holders_unseen,
            ),
            holders_unseen: row.holders_unseen,
        }
    }
}

/// One of `peers[]`.
#[derive(serde::Serialize)]
pub(super) struct PeerRow<'a> {
    netns: Option<u64>,
    direction: &'static str,
    address: IpAddr,
    port: u16,
    sockets: u64,
    states: States,
    /// Null when there are holders and none could be seen.
    holders: Option<Vec<Holder<'a>>>,
    holders_unseen: u64,
}

impl<'a> PeerRow<'a> {
    /// The row of a peer.
    pub(super) fn of(report: &'a Report<'_>, row: &PeerCensus) -> Self {
        Self {
            netns: netns_inode(report, row.netns),
            direction: row.direction.token(),
            address: row.address,
            port: row.port,
            sockets: row.states.total(),
            states: States(row.states),
            holders: Holder::list(report, &row.holders, row.holders_unseen),
            holders_unseen: row.holders_unseen,
        }
    }
}
