//! The metrics that the reader asked about.

use super::sheet::Sheet;
use crate::report::Report;

/// Writes the metrics for which the reader gave levels: the others are told by their findings.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let asked = report.metrics.iter().filter(|measured| measured.levels.asked);
    let sentences: Vec<String> = asked
        .map(|measured| {
            let grade = measured.grade.map_or("not graded", |grade| grade.label());
            format!("{grade}: {}", measured.sentence())
        })
        .collect();
    sheet.statements("METRICS", &sentences);
}
