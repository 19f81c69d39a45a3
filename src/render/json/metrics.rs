//! `metrics[]`: each metric with what it was held against.

use crate::diagnosis::metrics::Measured;
use crate::diagnosis::range::Range;

/// One of `metrics[]`.
#[derive(serde::Serialize)]
pub(super) struct MetricRow<'a> {
    name: &'static str,
    value: Option<f64>,
    unit: &'static str,
    warning: Option<String>,
    critical: Option<String>,
    grade: Option<&'static str>,
    asked: bool,
    whose: Option<&'a str>,
    unseen: Option<&'a str>,
}

impl<'a> MetricRow<'a> {
    /// The row of a metric. Its ranges are in the unit of its value.
    pub(super) fn of(measured: &'a Measured) -> Self {
        let (entry, levels) = (measured.metric.entry(), &measured.levels);
        let range = |range: Option<Range>| range.map(|range| range.in_grammar(1.0));
        Self {
            name: entry.name,
            value: measured.value,
            unit: entry.unit.token(),
            warning: range(levels.warning),
            critical: range(levels.critical),
            grade: measured.grade.map(|grade| grade.token()),
            asked: levels.asked,
            whose: measured.whose.as_deref(),
            unseen: measured.unseen.as_deref(),
        }
    }
}
