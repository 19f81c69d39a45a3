//! The network namespaces, when there are several.

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use super::states::in_words;
use crate::census::pools::PortPool;
use crate::model::socket::NetNsIndex;
use crate::model::state::{StateCounts, TcpState};
use crate::model::wording::{count, percent};
use crate::render::words::{netns_label, route, share};
use crate::report::Report;

/// Writes the namespaces that have sockets: most CLOSE-WAIT first, then most sockets.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let namespaces = &report.snapshot.namespaces;
    if namespaces.len() < 2 {
        return;
    }
    let counts = report.census.namespaces.iter().zip(0..).map(|(states, nth)| (NetNsIndex(nth), states));
    let mut rows: Vec<(NetNsIndex, &StateCounts)> = counts.filter(|(_, states)| states.total() > 0).collect();
    rows.sort_by_key(|(netns, states)| (std::cmp::Reverse((states[TcpState::CloseWait], states.total())), *netns));
    let empty = namespaces.len() - rows.len();
    let mut grid = Grid::new(vec![
        Column::new("NAMESPACES", Align::Left, 0),
        Column::new("sockets", Align::Right, 0),
        Column::new("close-wait", Align::Right, 0),
        Column::new("estab", Align::Right, 3),
        Column::new("ephemeral", Align::Left, 1),
        Column::new("fullest pool", Align::Right, 1),
        Column::new("which", Align::Left, 2),
    ]);
    let fullest = fullest_pools(report);
    let shown = rows_shown(sheet.page(), rows.len());
    for (netns, states) in &rows[..shown] {
        let pool = fullest[netns.0 as usize];
        grid.push(vec![
            format!("  {}", netns_label(report, *netns)),
            count(states.total()),
            count(states[TcpState::CloseWait]),
            count(states[TcpState::Established]),
            range(report, *netns),
            pool.map(|pool| percent(share(pool.used, pool.usable))).unwrap_or_default(),
            pool.map(route).unwrap_or_default(),
        ]);
    }
    let mut rest = StateCounts::default();
    for (_, states) in &rows[shown..] {
        rest += **states;
    }
    if !rows.is_empty() {
        sheet.grid(&grid, rows.len() - shown, &in_words(&rest).join(", "));
    }
    if empty > 0 {
        let label = if rows.is_empty() { "NAMESPACES" } else { "" };
        let without = if empty == 1 { "1 without a socket".to_owned() } else { format!("{empty} without a socket") };
        sheet.statements(label, &[without]);
    }
}

/// The pool of each namespace of which the largest share is used.
fn fullest_pools<'a>(report: &'a Report<'_>) -> Vec<Option<&'a PortPool>> {
    let mut fullest: Vec<Option<&PortPool>> = vec![None; report.snapshot.namespaces.len()];
    for pool in &report.census.port_pools {
        let known = &mut fullest[pool.netns.0 as usize];
        if known.is_none_or(|known| share(known.used, known.usable) < share(pool.used, pool.usable)) {
            *known = Some(pool);
        }
    }
    fullest
}

/// The range that the namespace hands out.
fn range(report: &Report<'_>, netns: NetNsIndex) -> String {
    let range = report.snapshot.namespaces.get(netns.0 as usize).and_then(|namespace| namespace.ports.range);
    range.map_or_else(|| "not known".to_owned(), |range| format!("{}–{}", range.first, range.last))
}
