//! How many ports are left.

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use super::states::{in_words, mostly};
use crate::census::pools::{BindPool, Doubt, PortPool};
use crate::model::process::ProcessIndex;
use crate::model::wording::{count, percent};
use crate::render::Detail;
use crate::render::words::{between, doubt_phrase, netns_label, process_label, route, share};
use crate::report::Report;

/// Writes the pools of `connect()`.
pub(super) fn write_destinations(report: &Report<'_>, sheet: &mut Sheet) {
    let pools = &report.census.port_pools;
    if pools.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("DESTINATIONS", Align::Left, 0),
        Column::new("used of usable", Align::Right, 0),
        Column::new("share", Align::Right, 3),
        Column::new("left", Align::Right, 0),
        Column::new("namespace", Align::Left, 1),
        Column::new("mostly", Align::Left, 1),
        Column::new("bound", Align::Right, 4),
        Column::new("by state", Align::Left, 5),
        Column::new("holders", Align::Left, 6),
    ]);
    let shown = rows_shown(sheet.page(), pools.len());
    for pool in &pools[..shown] {
        grid.push(vec![
            format!("  {}", route(pool)),
            used_of(pool.used, pool.usable),
            percent(share(pool.used, pool.usable)),
            between(pool.remaining_at_least, pool.remaining),
            netns_label(report, pool.netns),
            mostly(report, &pool.states, &pool.holders),
            count(u64::from(pool.blocked)),
            in_words(&pool.states).join(", "),
            holders(report, &pool.holders),
        ]);
    }
    sheet.grid(&grid, pools.len() - shown, &rest_of(&pools[shown..]));
    for pool in pools.iter().take(shown) {
        write_doubts(&route(pool), &pool.doubts, sheet);
    }
}

/// Writes the pools of `bind()` to port 0: those that run short, or all in full detail.
pub(super) fn write_bind_pools(report: &Report<'_>, sheet: &mut Sheet) {
    let short = |pool: &&BindPool| report.policy.bind_ports.grade(share(pool.used, pool.usable)).is_some();
    let full = sheet.page().detail == Detail::Full;
    let pools: Vec<&BindPool> = report.census.bind_pools.iter().filter(|pool| full || short(pool)).collect();
    if pools.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("BIND TO PORT 0", Align::Left, 0),
        Column::new("used of usable", Align::Right, 0),
        Column::new("share", Align::Right, 2),
        Column::new("left", Align::Right, 0),
        Column::new("namespace", Align::Left, 1),
    ]);
    let shown = rows_shown(sheet.page(), pools.len());
    for pool in &pools[..shown] {
        grid.push(vec![
            format!("  {}", pool.address),
            used_of(pool.used, pool.usable),
            percent(share(pool.used, pool.usable)),
            between(pool.remaining_at_least, pool.remaining),
            netns_label(report, pool.netns),
        ]);
    }
    sheet.grid(&grid, pools.len() - shown, "");
    for pool in pools.iter().take(shown) {
        write_doubts(&pool.address.to_string(), &pool.doubts, sheet);
    }
}

fn write_doubts(what: &str, doubts: &[Doubt], sheet: &mut Sheet) {
    if sheet.page().detail == Detail::Full {
        for doubt in doubts {
            let ports = match doubt.ports {
                1 => "1 port is".to_owned(),
                ports => format!("{} ports are", count(u64::from(ports))),
            };
            sheet.sentence(4, &format!("{what}: {ports} in doubt: {}", doubt_phrase(doubt.reason)));
        }
    }
}

fn used_of(used: u32, usable: u32) -> String {
    format!("{} of {}", count(u64::from(used)), count(u64::from(usable)))
}

/// The first few holders with their counts.
pub(super) fn holders(report: &Report<'_>, holders: &[(ProcessIndex, u64)]) -> String {
    /// Holders that a cell names.
    const NAMED: usize = 3;
    let mut names: Vec<String> = holders
        .iter()
        .take(NAMED)
        .map(|(process, sockets)| format!("{} {}", process_label(report, *process), count(*sockets)))
        .collect();
    if holders.len() > NAMED {
        names.push(format!("{} more", holders.len() - NAMED));
    }
    names.join(", ")
}

fn rest_of(pools: &[PortPool]) -> String {
    match pools.iter().map(|pool| share(pool.used, pool.usable)).max_by(f64::total_cmp) {
        Some(fullest) => format!("the fullest {} used", percent(fullest)),
        None => String::new(),
    }
}
