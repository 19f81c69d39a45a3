//! What is said of the history beside the numbers that come of it.

use crate::model::past::Turnover;
use crate::model::text::printable;
use crate::model::wording::{count, counted, span};
use crate::report::Report;

/// How far back it goes and what became of the stuck sockets since the last look; then what went wrong with it.
pub(super) fn told(report: &Report<'_>) -> Vec<String> {
    let mut told = Vec::from_iter(known(report));
    told.extend(report.history.notes.iter().map(|note| printable(note).into_owned()));
    told
}

fn known(report: &Report<'_>) -> Option<String> {
    let looks = &report.past.looks;
    let began = report.snapshot.taken_at.duration_since(*looks.first()?).unwrap_or_default();
    let since = match report.history.turnover {
        Some(Turnover { same, new, gone, complete, .. }) if same + new + gone > 0 => {
            let all = if complete { "" } else { ", of those that could be remembered" };
            let (same, new, gone) = (count(same), count(new), count(gone));
            format!("; of the stuck sockets {same} are the same as at the last look, {new} new, {gone} gone{all}")
        }
        _ => String::new(),
    };
    let looks = counted(looks.len() as u64, "earlier look", "earlier looks");
    Some(format!("history: {looks} over {}{since}", span(began)))
}
