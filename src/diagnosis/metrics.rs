//! The metrics that `closewatch check` grades: one number each, of all that the look saw, held against the policy.
//!
//! A metric and the rules beside it grade by the same levels of the same policy, so that they never disagree: what makes a
//! metric bad by being too much makes a finding at least as bad. Ranges that alert on too little, or only between two values,
//! are the metric's alone. What no rule blames is no part of a metric: idle pools, sockets that an older process is blamed
//! for, a few connections that wait for `accept()`.
//!
//! A metric that could not be measured leaves the verdict alone, unless the reader asked about it: then it is Unknown. So is
//! one of which only a part was seen, where what was not seen may be worse in kind (`fds` and `ghosts` of processes that may
//! not be read).

mod measure;

use std::time::Duration;

use crate::diagnosis::finding::{Severity, Unit, Verdict};
use crate::diagnosis::policy::{Levels, Policy};
use crate::diagnosis::scene::Scene;
use crate::model::wording::{count, percent, span};

/// A graded metric. The token never changes within a major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The highest used share of any port pool.
    Ports,
    /// The most stuck CLOSE-WAIT sockets of one holder.
    Stuck,
    /// The highest share of its descriptors that a process has open.
    Fds,
    /// The most ghosts of one process.
    Ghosts,
    /// The fullest accept queue.
    Accept,
    /// The time until the first wall.
    Eta,
    /// The fullest connection tracking table.
    Conntrack,
    /// The share of sockets whose holder was seen.
    Coverage,
}

/// Which values of a metric are the bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worse {
    /// The greater ones.
    More,
    /// The lesser ones.
    Less,
}

/// What is known of a metric by its name.
#[derive(Debug)]
pub struct MetricEntry {
    /// Which one.
    pub metric: Metric,
    /// Its name, for people and machines: an entry of the policy has the same.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// Which values are the bad ones.
    pub worse: Worse,
    /// What it measures, in one sentence without an end.
    pub meaning: &'static str,
    levels: fn(&Policy) -> &Levels,
    measure: fn(&Scene<'_>) -> Reading,
}

/// Every metric, in the order of [`Metric`].
#[rustfmt::skip]
pub const METRICS: &[MetricEntry] = &[
    entry(Metric::Ports, ("ports", Unit::Ratio, Worse::More), |policy| &policy.ports, measure::ports),
    entry(Metric::Stuck, ("stuck", Unit::Sockets, Worse::More), |policy| &policy.stuck, measure::stuck),
    entry(Metric::Fds, ("fds", Unit::Ratio, Worse::More), |policy| &policy.fds, measure::fds),
    entry(Metric::Ghosts, ("ghosts", Unit::Sockets, Worse::More), |policy| &policy.ghosts, measure::ghosts),
    entry(Metric::Accept, ("accept", Unit::Ratio, Worse::More), |policy| &policy.accept, measure::accept),
    entry(Metric::Eta, ("eta", Unit::Seconds, Worse::Less), |policy| &policy.eta, measure::eta),
    entry(Metric::Conntrack, ("conntrack", Unit::Ratio, Worse::More), |policy| &policy.conntrack, measure::conntrack),
    entry(Metric::Coverage, ("coverage", Unit::Ratio, Worse::Less), |policy| &policy.coverage, measure::coverage),
];

const fn entry(
    metric: Metric,
    (name, unit, worse): (&'static str, Unit, Worse),
    levels: fn(&Policy) -> &Levels,
    measure: fn(&Scene<'_>) -> Reading,
) -> MetricEntry {
    MetricEntry { metric, name, unit, worse, meaning: meaning(metric), levels, measure }
}

const fn meaning(metric: Metric) -> &'static str {
    match metric {
        Metric::Ports => {
            "the highest used share of the ports to any destination, a NAT's budget (--snat-limit) included"
        }
        Metric::Stuck => "CLOSE-WAIT sockets that are surely older than stuck_after, of the process with the most",
        Metric::Fds => "open descriptors against RLIMIT_NOFILE, of the socket-holding process that is nearest to it",
        Metric::Ghosts => "sockets that a reset closed and a process still holds, of the process with the most",
        Metric::Accept => {
            "the accept queue against its limit, of the fullest listener; fewer than 8 that fit count as none"
        }
        Metric::Eta => "the time until the first wall at the observed growth",
        Metric::Conntrack => "tracked connections against nf_conntrack_max, of the fullest namespace",
        Metric::Coverage => "the share of the sockets whose holder was seen; too little is unknown, never worse",
    }
}

impl Metric {
    /// What is known of it.
    #[must_use]
    pub fn entry(self) -> &'static MetricEntry {
        &METRICS[self as usize]
    }
}

/// A metric as it was measured.
#[derive(Debug, Clone, PartialEq, Default)]
struct Reading {
    /// The value; `None` when it is not known.
    value: Option<f64>,
    /// Whose it is, safe to print.
    whose: Option<String>,
    /// What was not seen and may be worse, safe to print.
    unseen: Option<String>,
}

/// A metric, measured and graded.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which one.
    pub metric: Metric,
    /// The value in the unit of the metric; `None` when it is not known.
    pub value: Option<f64>,
    /// Whose value it is, safe to print; `None` when it is nobody's in particular.
    pub whose: Option<String>,
    /// What was not seen, why, and may be worse than the value; safe to print.
    pub unseen: Option<String>,
    /// What it was held against.
    pub levels: Levels,
    /// The grade; `None` when the value is not known and nobody asked about it.
    pub grade: Option<Verdict>,
}

impl Measured {
    /// The value in words: `98 %`, `27,905`, `5 days`, `not known`.
    #[must_use]
    pub fn value_in_words(&self) -> String {
        match self.value {
            Some(value) => in_words(value, self.metric.entry().unit),
            None if self.metric == Metric::Eta && self.unseen.is_none() => "not in sight".to_owned(),
            None if self.metric == Metric::Eta => "not known yet".to_owned(),
            None => "not known".to_owned(),
        }
    }

    /// The metric in one sentence, without an end: `stuck is 27,905 (telegraf[1234]): critical from 1,000`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let entry = self.metric.entry();
        let whose = self.whose.as_ref().map_or_else(String::new, |whose| format!(" ({whose})"));
        let crossed = match self.grade {
            Some(Verdict::Critical) => self.levels.critical.map(|range| ("critical", range)),
            Some(Verdict::Warning) => self.levels.warning.map(|range| ("warning", range)),
            _ => None,
        };
        let why = match (crossed, &self.unseen, self.grade) {
            (Some((level, range)), _, _) => {
                format!(": {level} {}", range.in_words(|value| in_words(value, entry.unit)))
            }
            (None, Some(unseen), _) => format!(": {unseen}"),
            (None, None, Some(Verdict::Unknown)) => ": less than was asked for".to_owned(),
            (None, None, _) => String::new(),
        };
        format!("{} is {}{whose}{why}", entry.name, self.value_in_words())
    }
}

/// A value in words.
fn in_words(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => percent(value),
        Unit::Seconds => Duration::try_from_secs_f64(value).map_or_else(|_| "for ever".to_owned(), span),
        _ => count(value as u64),
    }
}

/// Measures and grades every metric, in the order of [`METRICS`].
#[must_use]
pub fn measure(scene: &Scene<'_>) -> Vec<Measured> {
    let graded = METRICS.iter().map(|entry| {
        let (reading, levels) = ((entry.measure)(scene), *(entry.levels)(scene.policy));
        let grade = grade(entry.metric, &reading, &levels);
        let Reading { value, whose, unseen } = reading;
        Measured { metric: entry.metric, value, whose, unseen, levels, grade }
    });
    graded.collect()
}

/// What is seen to be bad is not made less bad by what is not seen.
fn grade(metric: Metric, reading: &Reading, levels: &Levels) -> Option<Verdict> {
    match reading.value.and_then(|value| levels.judge(value)) {
        // Nothing is wrong with the host when its processes may not be seen.
        Some(_) if metric == Metric::Coverage => Some(Verdict::Unknown),
        Some(Severity::Critical) => Some(Verdict::Critical),
        Some(_) => Some(Verdict::Warning),
        None if levels.asked && reading.unseen.is_some() => Some(Verdict::Unknown),
        None => reading.value.map(|_| Verdict::Ok),
    }
}

/// The worst grade of all, in the order of [`Verdict`]; Ok when nothing was graded.
#[must_use]
pub fn verdict(metrics: &[Measured]) -> Verdict {
    metrics.iter().filter_map(|measured| measured.grade).max().unwrap_or(Verdict::Ok)
}

/// The sentence that a report opens with where a metric is worse than all findings, by a range that no rule knows; `None`
/// where the findings tell it.
#[must_use]
pub fn headline(metrics: &[Measured], found: Verdict) -> Option<String> {
    let worst = verdict(metrics);
    let leading = metrics.iter().find(|measured| measured.grade == Some(worst)).filter(|_| worst > found)?;
    Some(leading.sentence())
}

#[cfg(test)]
mod tests;
