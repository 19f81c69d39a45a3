//! Connections of which both ends are on this host: who has closed, and who has not.

use super::grid::{Align, Column, Grid};
use super::sheet::{Sheet, rows_shown};
use crate::census::pairs::{EndHolder, PairCensus};
use crate::model::wording::{count, counted};
use crate::render::words::{netns_label, process_label};
use crate::report::Report;

/// Writes the pairs, most connections first.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let pairs = &report.census.pairs;
    if !pairs.rows.is_empty() {
        let mut grid = Grid::new(vec![
            Column::new("BOTH ENDS", Align::Left, 0),
            Column::new("close-wait", Align::Right, 0),
            Column::new("kept by ← closed by", Align::Left, 1),
            Column::new("namespaces", Align::Left, 1),
            Column::new("fin-wait", Align::Left, 2),
        ]);
        let shown = rows_shown(sheet.page(), pairs.rows.len());
        for row in &pairs.rows[..shown] {
            grid.push(vec![
                format!("  {} → {}", row.client, row.server),
                count(row.count),
                format!("{} ← {}", holder(report, row.kept.holder), holder(report, row.closed.holder)),
                places(report, row),
                waiting(row),
            ]);
        }
        let rest: u64 = pairs.rows[shown..].iter().map(|row| row.count).sum();
        sheet.grid(&grid, pairs.rows.len() - shown, &format!("{} CLOSE-WAIT", count(rest)));
    }
    if pairs.ambiguous > 0 {
        let sockets = counted(pairs.ambiguous, "CLOSE-WAIT has", "CLOSE-WAIT have");
        let ambiguous = format!("{sockets} an other end here too, but several namespaces use the same addresses");
        sheet.statements(if pairs.rows.is_empty() { "BOTH ENDS" } else { "" }, &[ambiguous]);
    }
}

/// The program that has the end, or had it as far as can be told.
fn holder(report: &Report<'_>, holder: EndHolder) -> String {
    match holder {
        EndHolder::Held(process) | EndHolder::Kernel(Some(process)) => process_label(report, process),
        EndHolder::NotAccepted(Some(process)) => format!("{} (not accepted)", process_label(report, process)),
        EndHolder::NotAccepted(None) => "not accepted".to_owned(),
        EndHolder::Kernel(None) => "no longer known".to_owned(),
        EndHolder::Unseen => "unseen".to_owned(),
    }
}

/// `web ← db`; `web` when both ends are there; nothing where there is only one.
fn places(report: &Report<'_>, row: &PairCensus) -> String {
    let (kept, closed) = (netns_label(report, row.kept.netns), netns_label(report, row.closed.netns));
    if row.kept.netns == row.closed.netns { kept } else { format!("{kept} ← {closed}") }
}

fn waiting(row: &PairCensus) -> String {
    let waiting = row.waiting;
    let kinds = [(waiting.fin_wait1, "unacknowledged"), (waiting.held, "held"), (waiting.orphaned, "orphaned")];
    let kinds = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{} {kind}", count(*n)));
    kinds.collect::<Vec<_>>().join(", ")
}
