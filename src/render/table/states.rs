//! Sockets by state: of all, by range of the local port, by process and range.

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use crate::census::PortRangeCensus;
use crate::model::process::ProcessIndex;
use crate::model::selection::{EndpointFilter, Selection};
use crate::model::state::{StateCounts, TcpState};
use crate::model::text::printable;
use crate::model::wording::count;
use crate::render::words::{process_label, process_name};
use crate::report::Report;

/// The states that have a column of their own; the others are summed up in one.
const COLUMNS: [(TcpState, &str); 5] = [
    (TcpState::CloseWait, "close-wait"),
    (TcpState::Established, "estab"),
    (TcpState::TimeWait, "time-wait"),
    (TcpState::Listen, "listen"),
    (TcpState::SynSent, "syn-sent"),
];
/// The states that are named also when there are none.
const ALWAYS: [TcpState; 4] = [TcpState::Established, TcpState::CloseWait, TcpState::TimeWait, TcpState::Listen];

/// The states that there are, with their counts: `CLOSE-WAIT 12`.
pub(super) fn in_words(states: &StateCounts) -> Vec<String> {
    states.iter().filter(|(_, sockets)| *sockets > 0).map(|(state, sockets)| item(state, sockets)).collect()
}

/// The state that most of the sockets are in, and whose they are: `CLOSE-WAIT of telegraf`.
pub(super) fn mostly(report: &Report<'_>, states: &StateCounts, holders: &[(ProcessIndex, u64)]) -> String {
    let Some((state, sockets)) = states.iter().max_by_key(|(_, sockets)| *sockets).filter(|(_, most)| *most > 0) else {
        return String::new();
    };
    match holders.first() {
        Some((process, held)) if held * 2 > sockets => format!("{state} of {}", process_name(report, *process)),
        _ => state.to_string(),
    }
}

/// Writes what was asked for, when that is not everything.
pub(super) fn write_filter(report: &Report<'_>, sheet: &mut Sheet) {
    let selection = &report.query.selection;
    if !selection.is_everything() {
        let only = format!("only {}; ports used and left count all sockets", selected(selection));
        sheet.statements("FILTER", &[only]);
    }
}

/// Writes how many sockets are in each state.
pub(super) fn write_states(report: &Report<'_>, sheet: &mut Sheet) {
    let totals = &report.census.totals;
    let mut items: Vec<String> = ALWAYS.iter().map(|state| item(*state, totals[*state])).collect();
    let others = totals.iter().filter(|(state, sockets)| *sockets > 0 && !ALWAYS.contains(state));
    items.extend(others.map(|(state, sockets)| item(state, sockets)));
    sheet.items("STATES", &items);
}

/// Writes the sockets by range of the local port.
pub(super) fn write_ranges(report: &Report<'_>, sheet: &mut Sheet) {
    let ranges = &report.census.port_ranges;
    if ranges.is_empty() {
        return;
    }
    let mut columns = vec![Column::new("PORT RANGES", Align::Left, 0), Column::new("ports", Align::Left, 0)];
    columns.extend(state_columns());
    let mut grid = Grid::new(columns);
    for row in ranges {
        let mut cells = vec![format!("  {}", printable(&row.name)), bounds(report, row)];
        cells.extend(state_cells(&row.states));
        grid.push(cells);
    }
    sheet.grid(&grid, 0, "");
}

/// Writes the sockets by process and range, where there are any.
pub(super) fn write_process_ranges(report: &Report<'_>, sheet: &mut Sheet) {
    let ranges = &report.census.port_ranges;
    let processes = &report.census.processes;
    let mut columns = vec![Column::new("PROCESS × RANGE", Align::Left, 0), Column::new("range", Align::Left, 0)];
    columns.extend(state_columns());
    let pairs = processes.iter().flat_map(|process| {
        let with_content = ranges.iter().zip(&process.port_ranges).filter(|(_, states)| states.total() > 0);
        with_content.map(move |(range, states)| (process, range, states))
    });
    let pairs: Vec<_> = pairs.collect();
    let shown = rows_shown(sheet.page(), pairs.len());
    let mut grid = Grid::new(columns);
    for (process, range, states) in &pairs[..shown] {
        let name = format!("  {}", process_label(report, process.process));
        let mut cells = vec![name, printable(&range.name).into_owned()];
        cells.extend(state_cells(states));
        grid.push(cells);
    }
    let mut rest = StateCounts::default();
    for (_, _, states) in &pairs[shown..] {
        rest += **states;
    }
    if !pairs.is_empty() {
        sheet.grid(&grid, pairs.len() - shown, &in_words(&rest).join(", "));
    }
}

/// The ports of the range; of `ephemeral`, when the namespaces have other ones each, a word for that.
fn bounds(report: &Report<'_>, row: &PortRangeCensus) -> String {
    let mut ephemeral = report.snapshot.namespaces.iter().map(|namespace| namespace.ports.range);
    let first = ephemeral.next();
    if row.name == "ephemeral" && !ephemeral.all(|range| Some(range) == first) {
        return "of each namespace".to_owned();
    }
    row.bounds.map_or_else(|| "not known".to_owned(), |(first, last)| format!("{first}–{last}"))
}

fn state_columns() -> impl Iterator<Item = Column> {
    let states = COLUMNS.iter().enumerate().map(|(nth, (_, title))| Column::new(title, Align::Right, nth as u8));
    states.chain([Column::new("others", Align::Right, 0)])
}

/// The counts under [`state_columns`]; zero is left blank, so that a state that nobody is in takes no room.
fn state_cells(states: &StateCounts) -> impl Iterator<Item = String> {
    let own: u64 = COLUMNS.iter().map(|(state, _)| states[*state]).sum();
    let counts = COLUMNS.map(|(state, _)| states[state]);
    let cell = |sockets: u64| if sockets == 0 { String::new() } else { count(sockets) };
    counts.into_iter().chain([states.total() - own]).map(cell)
}

fn item(state: TcpState, sockets: u64) -> String {
    format!("{state} {}", count(sockets))
}

fn selected(selection: &Selection) -> String {
    let mut parts = Vec::new();
    if let Some(states) = selection.states {
        let asked: Vec<_> = TcpState::ALL.into_iter().filter(|state| states.has(*state)).map(TcpState::label).collect();
        parts.push(format!("state {}", asked.join(" or ")));
    }
    let ends = [("local", &selection.local), ("peer", &selection.peer)];
    parts.extend(ends.iter().filter(|(_, filter)| !filter.is_everything()).map(|(end, filter)| endpoints(end, filter)));
    let pids: Vec<String> = selection.pids.iter().map(u32::to_string).collect();
    let names = [
        ("pid", &pids),
        ("process", &selection.processes),
        ("unit", &selection.units),
        ("container", &selection.containers),
    ];
    for (what, values) in names.iter().filter(|(_, values)| !values.is_empty()) {
        parts.push(format!("{what} {}", printable(&values.join(" or "))));
    }
    parts.join(", ")
}

fn endpoints(end: &str, filter: &EndpointFilter) -> String {
    let networks: Vec<String> = filter.networks.iter().map(ToString::to_string).collect();
    let ports = filter.ports.iter().map(|ports| match ports.start() == ports.end() {
        true => ports.start().to_string(),
        false => format!("{}–{}", ports.start(), ports.end()),
    });
    let ports: Vec<String> = ports.collect();
    let mut text = end.to_owned();
    if !networks.is_empty() {
        text.push_str(&format!(" {}", networks.join(" or ")));
    }
    if !ports.is_empty() {
        text.push_str(&format!(" port {}", ports.join(" or ")));
    }
    text
}
