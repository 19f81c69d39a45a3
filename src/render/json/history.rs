//! `history`: what is remembered, and what became of the stuck sockets since.

use crate::model::past::Turnover;
use crate::report::Report;

/// The object `history`.
#[derive(serde::Serialize)]
pub(super) struct HistoryRow<'a> {
    file: Option<String>,
    looks: usize,
    since: Option<String>,
    last_verdict: Option<&'a str>,
    stuck: Option<TurnoverRow>,
    notes: &'a [String],
}

#[derive(serde::Serialize)]
struct TurnoverRow {
    same: u64,
    new: u64,
    gone: u64,
    complete: bool,
}

impl<'a> HistoryRow<'a> {
    /// What the report knows of it.
    pub(super) fn of(report: &'a Report<'_>) -> Self {
        let row = |Turnover { same, new, gone, complete, .. }| TurnoverRow { same, new, gone, complete };
        Self {
            file: report.history.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
            looks: report.past.looks.len(),
            since: report.past.looks.first().and_then(|first| super::rfc3339(*first)),
            last_verdict: report.past.last_verdict.as_deref(),
            stuck: report.history.turnover.map(row),
            notes: &report.history.notes,
        }
    }
}
