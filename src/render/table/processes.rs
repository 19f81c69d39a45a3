//! Who holds the sockets.

use std::time::SystemTime;

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use super::states::in_words;
use crate::census::age::Age;
use crate::census::{CloseWaitCensus, GhostCensus, ProcessCensus, StrangerCensus};
use crate::model::process::{Placement, Process};
use crate::model::state::{StateCounts, TcpState};
use crate::model::text::printable;
use crate::model::wording::{count, span};
use crate::render::words::{netns_label, process_name, short_id};
use crate::report::Report;

/// Writes the processes, and what no process holds.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let rows: Vec<&ProcessCensus> = report.census.processes.iter().collect();
    write_rows(report, &rows, sheet);
    write_strangers(report, sheet);
    write_unowned(report, sheet);
}

/// Writes who holds a CLOSE-WAIT or a ghost, and the CLOSE-WAIT that no process holds.
pub(super) fn write_holders_of_close_wait(report: &Report<'_>, sheet: &mut Sheet) {
    let has_ghosts = |process: &ProcessCensus| process.ghosts.is_some_and(|ghosts| ghosts.count > 0);
    let holds = |process: &&ProcessCensus| process.close_wait.count > 0 || has_ghosts(process);
    let rows: Vec<_> = report.census.processes.iter().filter(holds).collect();
    write_rows(report, &rows, sheet);
    write_strangers(report, sheet);
    if report.census.unowned.close_wait > 0 {
        write_unowned(report, sheet);
    }
}

fn write_rows(report: &Report<'_>, rows: &[&ProcessCensus], sheet: &mut Sheet) {
    if rows.is_empty() {
        return;
    }
    let mut grid = Grid::new(columns());
    let shown = rows_shown(sheet.page(), rows.len());
    for row in &rows[..shown] {
        grid.push(cells(report, row));
    }
    let mut rest = StateCounts::default();
    for row in &rows[shown..] {
        rest += row.states;
    }
    sheet.grid(&grid, rows.len() - shown, &in_words(&rest).join(", "));
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("PROCESSES", Align::Left, 0),
        Column::new("pid", Align::Right, 0),
        Column::new("namespace", Align::Left, 1),
        Column::new("unit", Align::Left, 4),
        Column::new("close-wait", Align::Right, 0),
        Column::new("stuck", Align::Right, 6),
        Column::new("oldest", Align::Right, 1),
        Column::new("ghosts", Align::Right, 0),
        Column::new("estab", Align::Right, 2),
        Column::new("listen", Align::Right, 12),
        Column::new("sockets", Align::Right, 11),
        Column::new("descriptors", Align::Right, 3),
        Column::new("user", Align::Left, 7),
        Column::new("container", Align::Left, 8),
        Column::new("running", Align::Right, 10),
        Column::new("started", Align::Left, 13),
        Column::new("executable", Align::Left, 9),
    ]
}

fn cells(report: &Report<'_>, row: &ProcessCensus) -> Vec<String> {
    let process = report.snapshot.processes.get(row.process.0 as usize);
    let placement = process.and_then(|process| process.placement.as_ref());
    let container = placement.and_then(|placement| placement.container.as_deref());
    let name = |text: &str| printable(text).into_owned();
    vec![
        format!("  {}", process_name(report, row.process)),
        process.map_or_else(String::new, |process| process.key.pid.to_string()),
        netns_label(report, row.netns),
        placement.and_then(|placement| placement.unit.as_deref()).map(name).unwrap_or_default(),
        count(row.close_wait.count),
        count(row.close_wait.stuck),
        oldest(&row.close_wait),
        ghosts(report, row),
        count(row.states[TcpState::Established]),
        count(row.states[TcpState::Listen]),
        count(row.states.total()),
        process.map_or_else(String::new, descriptors),
        process.map_or_else(String::new, user),
        container.map(short_id).as_deref().map(name).unwrap_or_default(),
        process.and_then(|process| process.started_at).map(|at| running(at, report)).unwrap_or_default(),
        process.and_then(|process| process.started_at).and_then(minute).unwrap_or_default(),
        process.and_then(|process| process.exe.as_ref()).map(|exe| name(&exe.to_string_lossy())).unwrap_or_default(),
    ]
}

fn oldest(close_wait: &CloseWaitCensus) -> String {
    match close_wait.oldest {
        Some(age) => lower_bound(&age),
        None if close_wait.count > 0 => "?".to_owned(),
        None => String::new(),
    }
}

/// Nothing where there are none, so that a host without ghosts has no column for them.
fn ghosts(report: &Report<'_>, row: &ProcessCensus) -> String {
    match row.ghosts {
        Some(GhostCensus { count: 0, .. }) => String::new(),
        Some(ghosts) => format!("{}{}", if ghosts.at_least { "≥ " } else { "" }, count(ghosts.count)),
        None if report.snapshot.ghosts.is_some() => "?".to_owned(),
        None => String::new(),
    }
}

/// The age that is sure: `21 days` when it is the age itself, `≥ 21 days` when it may be older.
pub(super) fn lower_bound(age: &Age) -> String {
    let sure = span(age.at_least);
    if age.exact { sure } else { format!("≥ {sure}") }
}

fn descriptors(process: &Process) -> String {
    let open = process.fds_open.map_or_else(|| "?".to_owned(), count);
    match process.fds_limit {
        Some(u64::MAX) => format!("{open} of any"),
        Some(limit) => format!("{open} of {}", count(limit)),
        None => format!("{open} of ?"),
    }
}

fn user(process: &Process) -> String {
    let uid = || process.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    process.user.as_deref().map_or_else(uid, |user| printable(user).into_owned())
}

fn running(started: SystemTime, report: &Report<'_>) -> String {
    report.snapshot.taken_at.duration_since(started).map(span).unwrap_or_default()
}

/// The moment to the minute, in UTC: the reader's time zone is not that of the host.
fn minute(time: SystemTime) -> Option<String> {
    let stamp = jiff::Timestamp::try_from(time).ok()?;
    Some(stamp.strftime("%Y-%m-%d %H:%MZ").to_string())
}

/// Writes whose sockets are in CLOSE-WAIT at processes that could not be seen, by user and by where they were made.
fn write_strangers(report: &Report<'_>, sheet: &mut Sheet) {
    let rows: Vec<&StrangerCensus> = report.census.strangers.iter().filter(|row| row.close_wait.count > 0).collect();
    if rows.is_empty() {
        return;
    }
    let mut grid = Grid::new(vec![
        Column::new("HOLDER UNSEEN", Align::Left, 0),
        Column::new("unit", Align::Left, 1),
        Column::new("close-wait", Align::Right, 0),
        Column::new("stuck", Align::Right, 2),
        Column::new("oldest", Align::Right, 0),
        Column::new("unread bytes", Align::Right, 3),
        Column::new("namespace", Align::Left, 1),
        Column::new("mostly to", Align::Left, 1),
    ]);
    let shown = rows_shown(sheet.page(), rows.len());
    for row in &rows[..shown] {
        let uid = row.uid.map_or_else(|| "user not known".to_owned(), |uid| format!("uid {uid}"));
        let peer = row.close_wait.destinations.first();
        let place = row.place.and_then(|place| report.snapshot.placement(place));
        grid.push(vec![
            format!("  {uid}"),
            place.map(home).unwrap_or_default(),
            count(row.close_wait.count),
            count(row.close_wait.stuck),
            oldest(&row.close_wait),
            count(row.close_wait.unread_bytes),
            netns_label(report, row.netns),
            peer.map(|(peer, _)| peer.to_string()).unwrap_or_default(),
        ]);
    }
    let rest: u64 = rows[shown..].iter().map(|row| row.close_wait.count).sum();
    sheet.grid(&grid, rows.len() - shown, &format!("CLOSE-WAIT {}", count(rest)));
}

/// The container, whose own unit is named after its whole id, or the unit.
fn home(place: &Placement) -> String {
    let home = match (&place.container, &place.unit) {
        (Some(container), _) => format!("container {}", short_id(container)),
        (None, unit) => unit.clone().unwrap_or_default(),
    };
    printable(&home).into_owned()
}

fn write_unowned(report: &Report<'_>, sheet: &mut Sheet) {
    let unowned = &report.census.unowned;
    let mut items = Vec::new();
    if unowned.close_wait > 0 {
        let waiting = match unowned.close_wait_not_accepted {
            0 => String::new(),
            waiting => format!(" ({} not accepted)", count(waiting)),
        };
        items.push(format!("CLOSE-WAIT {}{waiting}", count(unowned.close_wait)));
    }
    if unowned.time_wait > 0 {
        items.push(format!("TIME-WAIT {}", count(unowned.time_wait)));
    }
    if unowned.other > 0 {
        items.push(format!("others {}", count(unowned.other)));
    }
    sheet.items("NOT ATTRIBUTED", &items);
}
