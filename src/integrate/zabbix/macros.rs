//! The thresholds of the template: those of `closewatch check`, taken from its policy.

use super::yaml::Node;
use crate::diagnosis::finding::{Severity, Unit};
use crate::diagnosis::policy::{Place, Policy};

/// The names of macros that triggers use and that are no threshold of the policy.
pub(super) const INTERVAL: &str = "{$CLOSEWATCH.INTERVAL}";
pub(super) const NODATA: &str = "{$CLOSEWATCH.NODATA}";
pub(super) const TIME_LEFT: &str = "{$CLOSEWATCH.TIMELEFT.MIN}";
pub(super) const GROWTH: &str = "{$CLOSEWATCH.GROWTH.MAX}";
pub(super) const COVERAGE: &str = "{$CLOSEWATCH.COVERAGE.MIN}";

/// The metrics of the policy that have a trigger.
const GRADED: [&str; 7] = ["stuck", "ports", "fds", "ghosts", "accept", "conntrack", "eta"];

/// The macro that holds the threshold of a metric: `{$CLOSEWATCH.PORTS.MAX.WARN}`. What is bad by being little has a `MIN`.
pub(super) fn threshold(metric: &str, severity: Severity) -> String {
    let bound = if metric == "eta" { "MIN" } else { "MAX" };
    let level = if severity == Severity::Critical { "CRIT" } else { "WARN" };
    format!("{{$CLOSEWATCH.{}.{bound}.{level}}}", metric.to_uppercase())
}

/// The same for one of many: its own value can be set under its name.
pub(super) fn threshold_of(metric: &str, severity: Severity, name: &str) -> String {
    threshold(metric, severity).replace('}', &format!(":\"{name}\"}}"))
}

/// The macro of a filter of a discovery: `{$CLOSEWATCH.PROCESS.MATCHES}`.
pub(super) fn filter(thing: &str, matches: &str) -> String {
    format!("{{$CLOSEWATCH.{}.{matches}}}", thing.to_uppercase())
}

/// All macros, in the order of their names.
pub(super) fn macros() -> Node {
    let mut macros: Vec<(String, String, String)> = vec![
        (INTERVAL.into(), "1m".into(), "How often the host is looked at.".into()),
        (NODATA.into(), "10m".into(), "For how long there may be no report.".into()),
        (
            TIME_LEFT.into(),
            "1h".into(),
            "So little time left for the ports to a destination is a problem from the warning share on.".into(),
        ),
        (
            GROWTH.into(),
            "100".into(),
            "By so many the floor of CLOSE-WAIT may rise within an hour where no process is found to leak.".into(),
        ),
        (
            COVERAGE.into(),
            "0".into(),
            "Less than so many percent of the sockets with a known holder is told. 0 tells nothing: who may see how much is \
             the choice of the operator."
                .into(),
        ),
    ];
    for metric in GRADED {
        for severity in [Severity::Warning, Severity::Critical] {
            let (value, reason) = default_of(metric, severity);
            macros.push((threshold(metric, severity), value, reason));
        }
    }
    for thing in ["process", "pool", "listener", "netns"] {
        let all = "Names that are discovered, as a regular expression.";
        let none = "Names that are not discovered, as a regular expression.";
        macros.push((filter(thing, "MATCHES"), ".*".into(), all.into()));
        macros.push((filter(thing, "NOT_MATCHES"), "CHANGE_IF_NEEDED".into(), none.into()));
    }
    macros.sort();
    let row = |(name, value, why): (String, String, String)| {
        Node::map([("macro", name.into()), ("value", value.into()), ("description", why.into())])
    };
    macros.into_iter().map(row).collect::<Vec<_>>().into()
}

/// What the policy says of a metric by default, in the unit of the template, and why.
fn default_of(metric: &str, severity: Severity) -> (String, String) {
    let Some(entry) = Policy::entry(metric) else { return (String::new(), String::new()) };
    let mut policy = Policy::default();
    let levels = match entry.place {
        Place::Levels(levels) => *levels(&mut policy),
        Place::Age(_) => return (String::new(), entry.reason.to_owned()),
    };
    let range = if severity == Severity::Critical { levels.critical } else { levels.warning };
    let edge = |range: crate::diagnosis::range::Range| match entry.unit {
        Unit::Ratio => range.upper_edge().map(|share| (share * 100.0).to_string()),
        // `7d:` alerts below.
        Unit::Seconds => Some(format!("{}s", range.in_grammar(1.0).trim_end_matches(':'))),
        _ => range.upper_edge().map(|count| count.to_string()),
    };
    (range.and_then(edge).unwrap_or_default(), entry.reason.to_owned())
}
