//! The network namespaces.

use std::collections::BTreeMap;

use super::OTHER;
use super::name::netns_name;
use crate::census::pools::PortPool;
use crate::model::snapshot::Usage;
use crate::model::socket::NetNsIndex;
use crate::model::state::StateCounts;
use crate::render::words::{share, share_of};
use crate::report::Report;

/// One namespace, or several of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::render) struct NamespaceRow {
    /// Its name.
    pub(in crate::render) name: String,
    /// Its sockets.
    pub(in crate::render) states: StateCounts,
    /// Used ports of its fullest pool against those that there are; `None` when its range is not known.
    pub(in crate::render) ports: Option<Usage>,
    /// Tracked connections against the limit; `None` when there is no table, or it could not be read.
    pub(in crate::render) conntrack: Option<Usage>,
}

/// Those with a name that stays, the most sockets first, and all others as one.
pub(in crate::render) fn namespaces(report: &Report<'_>) -> (Vec<NamespaceRow>, NamespaceRow) {
    let empty = |name: &str| NamespaceRow {
        name: name.to_owned(),
        states: StateCounts::default(),
        ports: None,
        conntrack: None,
    };
    let mut rows: BTreeMap<String, NamespaceRow> = BTreeMap::new();
    let mut other = empty(OTHER);
    for nth in 0..report.snapshot.namespaces.len() {
        let netns = NetNsIndex(nth as u32);
        let row = match netns_name(report.snapshot, netns) {
            Some(name) => rows.entry(name.clone()).or_insert_with(|| empty(&name)),
            None => &mut other,
        };
        absorb(row, &row_of(report, netns));
    }
    let mut rows: Vec<NamespaceRow> = rows.into_values().collect();
    rows.sort_by(|a, b| (b.states.total(), &a.name).cmp(&(a.states.total(), &b.name)));
    for row in rows.iter().skip(super::MOST_ROWS) {
        absorb(&mut other, row);
    }
    rows.truncate(super::MOST_ROWS);
    (rows, other)
}

fn row_of(report: &Report<'_>, netns: NetNsIndex) -> NamespaceRow {
    let nth = netns.0 as usize;
    let namespace = &report.snapshot.namespaces[nth];
    let pools = report.census.port_pools.iter().filter(|pool| pool.netns == netns);
    let fullest = pools.max_by(|a, b| share(a.used, a.usable).total_cmp(&share(b.used, b.usable)));
    NamespaceRow {
        name: String::new(),
        states: report.census.namespaces.get(nth).copied().unwrap_or_default(),
        ports: fullest.map(usage).or_else(|| unused(report, nth)),
        conntrack: namespace.conntrack.filter(|usage| usage.limit > 0),
    }
}

fn usage(pool: &PortPool) -> Usage {
    Usage { used: pool.used.into(), limit: pool.usable.into() }
}

/// The ports of a namespace in which nobody connects.
fn unused(report: &Report<'_>, nth: usize) -> Option<Usage> {
    let ports = &report.snapshot.namespaces[nth].ports;
    let (range, reserved) = (ports.range?, ports.reserved.as_ref()?);
    let limit = range.iter().filter(|port| !reserved.contains(*port)).count() as u64;
    Some(Usage { used: 0, limit })
}

/// Of two that have one name the counts add up; of their limits the nearer one is told.
fn absorb(row: &mut NamespaceRow, more: &NamespaceRow) {
    row.states += more.states;
    row.ports = nearer(row.ports, more.ports);
    row.conntrack = nearer(row.conntrack, more.conntrack);
}

fn nearer(a: Option<Usage>, b: Option<Usage>) -> Option<Usage> {
    let fullness = |usage: &Usage| share_of(usage.used, usage.limit);
    a.into_iter().chain(b).max_by(|a, b| fullness(a).total_cmp(&fullness(b)))
}
