//! The report for Telegraf and InfluxDB: line protocol.
//!
//! Three measurements: `closewatch` once, `closewatch_process` for each owner of [`super::roster`] and `closewatch_pool` for each
//! port pool. The states are named as Telegraf's netstat input names them. A field has one type for ever: counts are integers
//! (`i`), shares and seconds are floats. There is no host tag and no timestamp: Telegraf adds both. What is not known
//! has no field, since the protocol has no word for it.

use std::io::{self, Write};
use std::time::Duration;

use super::roster::{OwnerRow, PoolRow, Roster};
use crate::diagnosis::finding::{Unit, Verdict};
use crate::model::state::StateCounts;
use crate::report::Report;

/// Writes the report as lines.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    let roster = Roster::of(report);
    let mut lines = vec![host(report)];
    lines.extend(roster.owners.iter().chain([&roster.other_owners]).map(owner));
    lines.extend(roster.pools.iter().map(pool));
    out.write_all(format!("{}\n", lines.join("\n")).as_bytes())
}

fn host(report: &Report<'_>) -> String {
    let took: Duration = report.snapshot.namespaces.iter().map(|namespace| namespace.took).sum();
    let partial = report.snapshot.gaps.iter().any(|gap| gap.ran_out_of_time());
    let verdict = match report.verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
        Verdict::Unknown => 3,
    };
    let mut line = Line::of("closewatch", &[]);
    line.states(&report.census.totals);
    line.count("tcp_sockets", report.census.totals.total());
    line.count("verdict", verdict);
    line.count("partial", partial.into());
    line.count("unseen_things", report.snapshot.gaps.iter().map(|gap| gap.count).sum());
    line.float("scan_duration_seconds", took.as_micros() as f64 / 1e6);
    for measured in &report.metrics {
        let entry = measured.metric.entry();
        let Some(value) = measured.value else { continue };
        match entry.unit {
            Unit::Ratio => line.float(&format!("{}_ratio", entry.name), value),
            Unit::Seconds => line.float(&format!("{}_seconds", entry.name), value),
            _ => line.count(entry.name, value as u64),
        }
    }
    line.finish()
}

fn owner(row: &OwnerRow) -> String {
    let mut line = Line::of("closewatch_process", &[("owner", &row.name), ("by", row.kind.token())]);
    line.states(&row.states);
    line.count("processes", row.processes);
    line.count("stuck", row.stuck);
    if let Some(ghosts) = row.ghosts {
        line.count("ghosts", ghosts);
    }
    if let Some(oldest) = row.oldest_s {
        line.float("close_wait_oldest_seconds", oldest);
    }
    if let Some(share) = row.fds_share {
        line.float("fds_ratio", share);
    }
    line.finish()
}

fn pool(row: &PoolRow) -> String {
    let tags = [("netns", &*row.netns), ("source", &row.source), ("destination", &row.destination)];
    let mut line = Line::of("closewatch_pool", &tags);
    line.count("usable", row.usable.into());
    line.count("used", row.used.into());
    line.count("remaining", (row.usable - row.used.min(row.usable)).into());
    line.count("remaining_at_least", row.remaining_at_least.into());
    line.float("used_ratio", row.share);
    line.float("close_wait_ratio", row.close_wait_share);
    line.finish()
}

/// A line that is being written.
struct Line {
    head: String,
    fields: Vec<String>,
}

impl Line {
    fn of(measurement: &str, tags: &[(&str, &str)]) -> Self {
        let mut head = measurement.to_owned();
        for (name, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
            head.push_str(&format!(",{name}={}", escaped(value)));
        }
        Self { head, fields: Vec::new() }
    }

    fn states(&mut self, states: &StateCounts) {
        for (state, count) in states.iter() {
            self.count(&format!("tcp_{}", state.token()), count);
        }
    }

    fn count(&mut self, name: &str, value: u64) {
        self.fields.push(format!("{name}={value}i"));
    }

    /// A whole number is a float, too, without an `i`.
    fn float(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.fields.push(format!("{name}={value}"));
        }
    }

    fn finish(self) -> String {
        format!("{} {}", self.head, self.fields.join(","))
    }
}

/// The value of a tag. A line end cannot be written in one, nor a backslash at its end.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ',' | '=' | ' ' => out.extend(['\\', c]),
            '\\' => out.push('/'),
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_cannot_end_early() {
        assert_eq!(escaped("a b,c=d\\\ne"), "a\\ b\\,c\\=d/_e");
        let mut line = Line::of("m", &[("owner", "x y"), ("none", "")]);
        line.count("a", 1);
        line.float("b", 2.0);
        line.float("c", f64::NAN);
        assert_eq!(line.finish(), "m,owner=x\\ y a=1i,b=2");
    }
}
