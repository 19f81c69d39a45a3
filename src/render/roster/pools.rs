//! The ports to each destination.

use std::collections::BTreeMap;

use super::descending;
use super::name::{netns_name, plain};
use crate::census::pools::PortPool;
use crate::model::state::TcpState;
use crate::render::words::{process_label, share};
use crate::report::Report;

/// From this used share on a pool has a row of its own. Below it nothing is near, and a host talks to many that come and go.
const WORTH_A_ROW: f64 = 0.02;

/// The ports from a source to a destination. Pools that only the interface tells apart are one: the fullest of them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::render) struct PoolRow {
    /// `10.0.0.5 to 10.0.3.7:8086`, with the namespace where it is not the first.
    pub(in crate::render) name: String,
    /// The namespace.
    pub(in crate::render) netns: String,
    /// The local address.
    pub(in crate::render) source: String,
    /// The remote end.
    pub(in crate::render) destination: String,
    /// Ports that there are.
    pub(in crate::render) usable: u32,
    /// Ports that are gone.
    pub(in crate::render) used: u32,
    /// Ports that are surely left.
    pub(in crate::render) remaining_at_least: u32,
    /// The used share.
    pub(in crate::render) share: f64,
    /// How much of what is used CLOSE-WAIT holds, as a share.
    pub(in crate::render) close_wait_share: f64,
    /// Who holds most of it, safe to print; empty when nobody could be seen.
    pub(in crate::render) holder: String,
}

/// The pools that are worth a row, the fullest first.
pub(in crate::render) fn pools(report: &Report<'_>) -> Vec<PoolRow> {
    let mut rows: BTreeMap<String, PoolRow> = BTreeMap::new();
    let worth = report.census.port_pools.iter().filter(|pool| share(pool.used, pool.usable) >= WORTH_A_ROW);
    for row in worth.filter_map(|pool| row_of(report, pool)) {
        match rows.get(&row.name) {
            Some(known) if known.share >= row.share => {}
            _ => drop(rows.insert(row.name.clone(), row)),
        }
    }
    let mut rows: Vec<PoolRow> = rows.into_values().collect();
    rows.sort_by(|a, b| descending(a.share, b.share).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// `None` for a pool of a namespace without a name that stays.
fn row_of(report: &Report<'_>, pool: &PortPool) -> Option<PoolRow> {
    let netns = netns_name(report.snapshot, pool.netns)?;
    let (source, destination) = (plain(&pool.source.to_string()), plain(&pool.destination.to_string()));
    let place = if pool.netns.0 == 0 { String::new() } else { format!(" in {netns}") };
    Some(PoolRow {
        name: format!("{source} to {destination}{place}"),
        netns,
        source,
        destination,
        usable: pool.usable,
        used: pool.used,
        remaining_at_least: pool.remaining_at_least,
        share: share(pool.used, pool.usable),
        close_wait_share: (pool.states[TcpState::CloseWait] as f64 / f64::from(pool.used.max(1))).min(1.0),
        holder: pool.holders.first().map_or_else(String::new, |(process, _)| process_label(report, *process)),
    })
}
