//! Who waits to be accepted, and who is at the other end.

use super::grid::{Align, Column, Grid};
use super::processes::lower_bound;
use super::sheet::{Sheet, rows_shown};
use super::states::in_words;
use crate::census::{Direction, ListenerCensus, PeerCensus};
use crate::model::tuple::Endpoint;
use crate::model::wording::count;
use crate::render::Detail;
use crate::render::words::{netns_label, process_label};
use crate::report::Report;

/// Writes the listeners at which somebody waits, or all in full detail.
pub(super) fn write_listeners(report: &Report<'_>, sheet: &mut Sheet) {
    let full = sheet.page().detail == Detail::Full;
    let waits = |row: &&ListenerCensus| full || row.waiting > 0 || row.close_wait_not_accepted > 0;
    let rows: Vec<&ListenerCensus> = report.census.listeners.iter().filter(waits).collect();
    if rows.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("LISTENERS", Align::Left, 0),
        Column::new("waiting of limit", Align::Right, 0),
        Column::new("closed unaccepted", Align::Right, 0),
        Column::new("oldest", Align::Right, 2),
        Column::new("namespace", Align::Left, 1),
        Column::new("listener", Align::Left, 1),
        Column::new("note", Align::Left, 4),
    ]);
    let shown = rows_shown(sheet.page(), rows.len());
    for row in &rows[..shown] {
        let holders: Vec<String> = row.holders.iter().map(|process| process_label(report, *process)).collect();
        grid.push(vec![
            format!("  {}", row.local),
            waiting(row),
            count(row.close_wait_not_accepted),
            row.oldest_not_accepted.as_ref().map(lower_bound).unwrap_or_default(),
            netns_label(report, row.netns),
            several(&holders),
            if row.in_ephemeral_range { "in the ephemeral range".to_owned() } else { String::new() },
        ]);
    }
    let hidden: u64 = rows[shown..].iter().map(|row| u64::from(row.waiting)).sum();
    sheet.grid(&grid, rows.len() - shown, &format!("{} waiting", count(hidden)));
}

/// Writes the peers, in full detail only: the destinations tell of them already.
pub(super) fn write_peers(report: &Report<'_>, sheet: &mut Sheet) {
    let peers = &report.census.peers;
    if peers.is_empty() || sheet.page().detail == Detail::Brief {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("PEERS", Align::Left, 0),
        Column::new("opened", Align::Left, 3),
        Column::new("sockets", Align::Right, 0),
        Column::new("by state", Align::Left, 1),
        Column::new("holders", Align::Left, 4),
        Column::new("namespace", Align::Left, 2),
    ]);
    for peer in peers {
        let holders: Vec<String> = peer.holders.iter().map(|(process, _)| process_label(report, *process)).collect();
        grid.push(vec![
            format!("  {}", peer_label(peer)),
            peer.direction.token().to_owned(),
            count(peer.states.total()),
            in_words(&peer.states).join(", "),
            several(&holders),
            netns_label(report, peer.netns),
        ]);
    }
    sheet.grid(&grid, 0, "");
}

fn waiting(row: &ListenerCensus) -> String {
    let limit = row.limit.map_or_else(|| "?".to_owned(), |limit| count(u64::from(limit)));
    format!("{} of {limit}", count(u64::from(row.waiting)))
}

fn peer_label(peer: &PeerCensus) -> String {
    match peer.direction {
        Direction::Outbound => Endpoint::new(peer.address, peer.port).to_string(),
        Direction::Inbound => format!("{} to port {}", peer.address, peer.port),
    }
}

fn several(names: &[String]) -> String {
    /// Names that a cell holds.
    const NAMED: usize = 2;
    match names {
        names if names.len() <= NAMED + 1 => names.join(", "),
        names => format!("{}, {} more", names[..NAMED].join(", "), names.len() - NAMED),
    }
}
