//! The report for Zabbix: `closewatch.zabbix/1`, one JSON document from which the server takes every number by JSONPath.
//!
//! What the agent and the server need of it: one line on standard output and nothing else; every key at every look; whole numbers
//! below 2^53, so that they stay whole; no more than 512 KiB, which is why lists are those of [`super::roster`] and sentences are
//! cut. Unknown is `null`, which the template leaves out. A look that its time limit cut short counts what it saw and has no
//! lists: what is missing from a list must not look as if it were gone.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::roster::{ListenerRow, NamespaceRow, OwnerRow, PoolRow, Roster};
use crate::diagnosis::finding::{Severity, Verdict};
use crate::model::snapshot::{Hides, Usage};
use crate::model::state::{StateCounts, TcpState};
use crate::render::words::share_of;
use crate::report::Report;

/// The name of the format. A key may be added to it; a renamed or removed one makes it `/2`.
const SCHEMA: &str = "closewatch.zabbix/1";

/// The most characters of a sentence: what an event of Zabbix shows of it.
const LONGEST: usize = 500;

/// Of a report.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::of(report))?;
    out.write_all(b"\n")
}

/// Where there is no report. `why` is one line, safe to print.
pub(super) fn failure(why: &str) -> String {
    let error = Failure { schema: SCHEMA, error: cut(why) };
    // Two strings are always JSON.
    serde_json::to_string(&error).map_or_else(|_| String::new(), |text| format!("{text}\n"))
}

#[derive(serde::Serialize)]
struct Failure {
    schema: &'static str,
    error: String,
}

#[derive(serde::Serialize)]
struct Document {
    schema: &'static str,
    version: &'static str,
    error: &'static str,
    taken_at: u64,
    took_s: f64,
    partial: bool,
    verdict: u8,
    headline: String,
    to_do: String,
    sockets: u64,
    states: States,
    metrics: Metrics,
    owners_complete: bool,
    unseen_things: u64,
    processes: Option<Vec<Owner>>,
    other_processes: Option<Owner>,
    pools: Option<Vec<Pool>>,
    other_pools: usize,
    listeners: Option<Vec<Listener>>,
    other_listeners: usize,
    namespaces: Option<Vec<Netns>>,
    other_namespaces: Option<Netns>,
}

impl Document {
    fn of(report: &Report<'_>) -> Self {
        let snapshot = report.snapshot;
        let gaps = &snapshot.gaps;
        let partial = gaps.iter().any(|gap| gap.ran_out_of_time());
        let roster = Roster::of(report);
        let took: Duration = snapshot.namespaces.iter().map(|namespace| namespace.took).sum();
        let taken_at = snapshot.taken_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let remedy = report.findings.first().and_then(|finding| finding.remedies.first());
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            error: "",
            taken_at: taken_at.as_secs(),
            took_s: took.as_millis() as f64 / 1000.0,
            partial,
            verdict: status(report.verdict),
            headline: cut(&report.headline),
            to_do: remedy.map_or_else(String::new, |remedy| cut(&remedy.text)),
            sockets: report.census.totals.total(),
            states: States(report.census.totals),
            metrics: Metrics(report.metrics.iter().map(|seen| (seen.metric.entry().name, seen.value)).collect()),
            owners_complete: !gaps.iter().any(|gap| gap.hides == Hides::Owners),
            unseen_things: gaps.iter().map(|gap| gap.count).sum(),
            processes: (!partial).then(|| roster.owners.iter().map(Owner::of).collect()),
            other_processes: (!partial).then(|| Owner::of(&roster.other_owners)),
            pools: (!partial).then(|| roster.pools.iter().map(Pool::of).collect()),
            other_pools: roster.n_other_pools,
            listeners: (!partial).then(|| roster.listeners.iter().map(Listener::of).collect()),
            other_listeners: roster.n_other_listeners,
            namespaces: (!partial).then(|| roster.namespaces.iter().map(Netns::of).collect()),
            other_namespaces: (!partial).then(|| Netns::of(&roster.other_namespaces)),
        }
    }
}

/// The number of a verdict, as plugins exit.
fn status(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
        Verdict::Unknown => 3,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Every state with its count, under its token.
struct States(StateCounts);

impl Serialize for States {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(state, count)| (state.token(), count)))
    }
}

/// Every metric with its value, under its name.
struct Metrics(Vec<(&'static str, Option<f64>)>);

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, &value.map(Number))?;
        }
        map.end()
    }
}

/// A number that is written without a point where it is whole: a count stays one.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let is_whole = self.0 >= 0.0 && self.0 < EXACT && self.0.fract() == 0.0;
        if is_whole { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

#[derive(serde::Serialize)]
struct Owner {
    name: String,
    by: &'static str,
    notable: u8,
    processes: u64,
    sockets: u64,
    established: u64,
    time_wait: u64,
    close_wait: u64,
    stuck: u64,
    ghosts: Option<u64>,
    oldest_s: Option<u64>,
    fds_ratio: Option<f64>,
    ports_ratio: f64,
    destination: String,
    severity: u8,
    story: String,
}

impl Owner {
    fn of(row: &OwnerRow) -> Self {
        Self {
            name: row.name.clone(),
            by: row.kind.token(),
            notable: row.is_notable().into(),
            processes: row.processes,
            sockets: row.states.total(),
            established: row.states[TcpState::Established],
            time_wait: row.states[TcpState::TimeWait],
            close_wait: row.close_wait(),
            stuck: row.stuck,
            ghosts: row.ghosts,
            // Of none, the oldest is 0 seconds old; of some whose age is not known, it is not known.
            oldest_s: row.oldest_s.map(|seconds| seconds as u64).or((row.close_wait() == 0).then_some(0)),
            fds_ratio: row.fds_share,
            ports_ratio: row.ports_share,
            destination: row.destination.map_or_else(String::new, |(endpoint, _)| endpoint.to_string()),
            severity: match row.severity {
                None | Some(Severity::Info) => 0,
                Some(Severity::Warning) => 1,
                Some(Severity::Critical) => 2,
                Some(Severity::Unknown) => 3,
            },
            story: cut(&row.story),
        }
    }
}

#[derive(serde::Serialize)]
struct Pool {
    name: String,
    netns: String,
    source: String,
    destination: String,
    usable: u32,
    used: u32,
    remaining_at_least: u32,
    ratio: f64,
    close_wait_ratio: f64,
    holder: String,
}

impl Pool {
    fn of(row: &PoolRow) -> Self {
        Self {
            name: row.name.clone(),
            netns: row.netns.clone(),
            source: row.source.clone(),
            destination: row.destination.clone(),
            usable: row.usable,
            used: row.used,
            remaining_at_least: row.remaining_at_least,
            ratio: row.share,
            close_wait_ratio: row.close_wait_share,
            holder: cut(&row.holder),
        }
    }
}

#[derive(serde::Serialize)]
struct Listener {
    name: String,
    notable: u8,
    waiting: u64,
    limit: Option<u64>,
    ratio: Option<f64>,
    close_wait: u64,
}

impl Listener {
    fn of(row: &ListenerRow) -> Self {
        /// So many wait for a moment at any busy listener.
        const FEW: u64 = 4;
        let (name, ratio) = (row.name.clone(), row.share());
        let notable = row.waiting > FEW || row.close_wait > 0;
        Self {
            name,
            notable: notable.into(),
            waiting: row.waiting,
            limit: row.limit,
            ratio,
            close_wait: row.close_wait,
        }
    }
}

#[derive(serde::Serialize)]
struct Netns {
    name: String,
    sockets: u64,
    close_wait: u64,
    time_wait: u64,
    ports_used: Option<u64>,
    ports_limit: Option<u64>,
    ports_ratio: Option<f64>,
    conntrack_ratio: Option<f64>,
}

impl Netns {
    fn of(row: &NamespaceRow) -> Self {
        let ratio = |usage: Usage| share_of(usage.used, usage.limit);
        Self {
            name: row.name.clone(),
            sockets: row.states.total(),
            close_wait: row.states[TcpState::CloseWait],
            time_wait: row.states[TcpState::TimeWait],
            ports_used: row.ports.map(|usage| usage.used),
            ports_limit: row.ports.map(|usage| usage.limit),
            ports_ratio: row.ports.map(ratio),
            conntrack_ratio: row.conntrack.map(ratio),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_of_json() {
        let text = failure("reading \"x\": no\\nsuch \u{1b} file");
        assert_eq!(text.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, serde_json::json!({"schema": SCHEMA, "error": "reading \"x\": no\\nsuch \u{1b} file"}));
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let text = |value| serde_json::to_string(&Number(value)).expect("JSON");
        assert_eq!([text(0.0), text(27_905.0), text(0.5), text(1e16)], ["0", "27905", "0.5", "1e+16"]);
    }
}
