//! The network namespaces: what is in each, the ports it hands out, what lives there, what reading it cost.

use std::cmp::Reverse;
use std::time::Duration;

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use super::states::in_words;
use crate::model::ports::PortSettings;
use crate::model::snapshot::{Namespace, NetNs, SourceKind};
use crate::model::state::{StateCounts, TcpState};
use crate::model::text::printable;
use crate::model::wording::count;
use crate::render::Detail;
use crate::render::words::short_id;
use crate::report::Report;

/// Writes the namespaces that hold sockets, when there are several namespaces; all of them in full detail.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let full = sheet.page().detail == Detail::Full;
    let namespaces = &report.snapshot.namespaces;
    let mut rows: Vec<(&Namespace, StateCounts)> =
        namespaces.iter().zip(report.census.namespaces.iter().copied()).collect();
    if !full {
        rows.retain(|(_, states)| states.total() > 0);
    }
    if rows.is_empty() || (namespaces.len() < 2 && !full) {
        return;
    }
    // Those that are alike stay in the order of the report.
    rows.sort_by_key(|(_, states)| Reverse((states[TcpState::CloseWait], states.total())));
    let mut grid = Grid::new(columns());
    let shown = rows_shown(sheet.page(), rows.len());
    for (namespace, states) in &rows[..shown] {
        grid.push(cells(namespace, states, full));
    }
    let mut rest = StateCounts::default();
    for (_, states) in &rows[shown..] {
        rest += *states;
    }
    sheet.grid(&grid, rows.len() - shown, &in_words(&rest).join(", "));
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("NAMESPACES", Align::Left, 0),
        Column::new("sockets", Align::Right, 0),
        Column::new("close-wait", Align::Right, 0),
        Column::new("estab", Align::Right, 2),
        Column::new("time-wait", Align::Right, 6),
        Column::new("listen", Align::Right, 7),
        Column::new("connect() ports", Align::Left, 1),
        Column::new("container", Align::Left, 3),
        Column::new("runtime", Align::Left, 5),
        Column::new("pod", Align::Left, 9),
        Column::new("unit", Align::Left, 4),
        Column::new("inode", Align::Right, 8),
        Column::new("took", Align::Right, 2),
        Column::new("read", Align::Left, 1),
    ]
}

fn cells(namespace: &Namespace, states: &StateCounts, full: bool) -> Vec<String> {
    let id = &namespace.id;
    vec![
        format!("  {}", printable(&id.name)),
        count(states.total()),
        count(states[TcpState::CloseWait]),
        count(states[TcpState::Established]),
        count(states[TcpState::TimeWait]),
        count(states[TcpState::Listen]),
        range(&namespace.ports, states),
        id.container.as_deref().map(|id| printable(&short_id(id)).into_owned()).unwrap_or_default(),
        id.runtime.map(|runtime| runtime.token().to_owned()).unwrap_or_default(),
        id.pod.as_deref().map(|uid| printable(uid).into_owned()).unwrap_or_default(),
        unit(id),
        if full { id.inode.map_or_else(|| "?".to_owned(), |inode| inode.to_string()) } else { String::new() },
        if full { milliseconds(namespace.took) } else { String::new() },
        match namespace.source {
            SourceKind::ProcText => "as text".to_owned(),
            _ => String::new(),
        },
    ]
}

/// The unit, unless it is the scope that the runtime made of the container's id, which says no more.
fn unit(id: &NetNs) -> String {
    let names_container =
        |unit: &&str| id.container.as_ref().is_some_and(|container| unit.contains(container.as_str()));
    let unit = id.unit.as_deref().filter(|unit| !names_container(unit));
    unit.map(|unit| printable(unit).into_owned()).unwrap_or_default()
}

/// The range of ports. One that is not known matters only where somebody uses ports.
fn range(ports: &PortSettings, states: &StateCounts) -> String {
    match ports.range {
        Some(range) => format!("{}–{}", range.first, range.last),
        None if states.total() > 0 => "not known".to_owned(),
        None => String::new(),
    }
}

/// A cost, to a tenth of a millisecond.
fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
