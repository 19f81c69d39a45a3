//! What `closewatch check` said of the leak, held against what the leak is.

use serde_json::Value;

use crate::model::wording::count;
use crate::probe::outcome::{Step, Steps};

/// The leak, as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Who holds it.
    pub(super) pid: u32,
    /// The server's address.
    pub(super) destination: String,
    /// How many connections.
    pub(super) count: u32,
    /// What was left unread on each.
    pub(super) unread_bytes: usize,
}

/// Adds a step for each thing that the alarm must get right.
pub(super) fn weigh(steps: &mut Steps<'_>, suspect: &Suspect, report: &Value) {
    let blamed = find(report, "findings", |finding| {
        finding["rule"] == "close_wait_leak" && finding["subject"]["pid"] == suspect.pid
    });
    steps.add(Step {
        name: "process".into(),
        expected: format!("close_wait_leak blames process {}", suspect.pid),
        observed: match blamed["summary"].as_str() {
            Some(summary) => summary.to_owned(),
            None => "close_wait_leak does not blame it".to_owned(),
        },
        ok: !blamed.is_null(),
    });
    let held = &find(report, "processes", |process| process["pid"] == suspect.pid)["close_wait"];
    let destination = &held["destinations"][0];
    steps.compare("destination", suspect.destination.clone(), text(&destination["address"]));
    let n_in_close_wait = |number: u64| format!("{} in CLOSE-WAIT", count(number));
    steps.compare("count", n_in_close_wait(suspect.count.into()), n_in_close_wait(number(&destination["count"])));
    let kind = |unread, bytes| format!("{} with the body unread, {} bytes in all", count(unread), count(bytes));
    let n_bytes = u64::from(suspect.count) * suspect.unread_bytes as u64;
    steps.compare(
        "kind",
        kind(suspect.count.into(), n_bytes),
        kind(number(&held["eof_unread"]), number(&held["unread_bytes"])),
    );
    let seconds = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (oldest, stuck_after) = (seconds(&held["oldest_at_least_s"]), seconds(&report["query"]["stuck_after_s"]));
    steps.add(Step {
        name: "age".into(),
        expected: format!("the oldest at least {stuck_after} s old, which is stuck"),
        observed: format!("the oldest is at least {oldest} s old"),
        ok: oldest >= stuck_after,
    });
}

/// The entry of a list of the report for which this holds; null when there is none.
fn find<'a>(report: &'a Value, list: &str, holds: impl Fn(&Value) -> bool) -> &'a Value {
    let entries = report[list].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().find(|entry| holds(entry)).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("none").to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
