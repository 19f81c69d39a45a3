//! The report for machines: `closewatch.report/1`. `report.schema.json` says what each field means.

mod findings;
mod history;
mod metrics;
mod pairs;
mod rows;
mod snat;
mod walls;

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use self::findings::FindingRow;
use self::history::HistoryRow;
use self::metrics::MetricRow;
use self::pairs::PairRow;
use self::rows::{BindPoolRow, ListenerRow, NamespaceRow, PeerRow, PoolRow, PortRangeRow, ProcessRow, StrangerRow};
use self::snat::SnatRow;
use self::walls::Wall;
use super::words::scan_token;
use crate::model::snapshot::{Names, Snapshot};
use crate::model::state::StateCounts;
use crate::report::Report;

/// The name of the format. A field may be added to it; a renamed or removed one makes it `/2`.
const SCHEMA: &str = "closewatch.report/1";

/// Writes the report as one JSON document.
///
/// # Errors
/// Those of `out`, and a clock that shows a year beyond 9999.
pub(super) fn render(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&Document::of(report)?)?;
    out.write_all(without_invisible(text).as_bytes())?;
    out.write_all(b"\n")
}

/// Writes what a terminal could act on, or what would not be seen, as escapes of JSON. The names stay what they are to a parser.
/// Everything that is not plain ASCII stands inside a string, so that the text is all there is to look at.
pub(super) fn without_invisible(text: String) -> String {
    let visible = |c: char| c.is_ascii() && c != '\u{7f}' || c.escape_debug().len() == 1;
    if text.chars().all(visible) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if visible(c) {
            out.push(c);
        } else {
            out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

#[derive(serde::Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    taken_at: String,
    host: HostRow<'a>,
    source: SourceRow<'a>,
    query: QueryRow,
    verdict: &'static str,
    headline: &'a str,
    findings: Vec<FindingRow<'a>>,
    metrics: Vec<MetricRow<'a>>,
    totals: Totals,
    namespaces: Vec<NamespaceRow<'a>>,
    processes: Vec<ProcessRow<'a>>,
    port_ranges: Vec<PortRangeRow<'a>>,
    port_pools: Vec<PoolRow<'a>>,
    bind_pools: Vec<BindPoolRow>,
    listeners: Vec<ListenerRow<'a>>,
    peers: Vec<PeerRow<'a>>,
    unowned: UnownedRow,
    strangers: Vec<StrangerRow<'a>>,
    walls: Vec<Wall<'a>>,
    history: HistoryRow<'a>,
    coverage: CoverageRow<'a>,
    pairs: Vec<PairRow<'a>>,
    pairs_ambiguous: u64,
    snat: Vec<SnatRow<'a>>,
}

#[derive(serde::Serialize)]
struct HostRow<'a> {
    name: Option<&'a str>,
    kernel: Option<&'a str>,
    boot_id: Option<&'a str>,
    uptime_s: Option<f64>,
}

#[derive(serde::Serialize)]
struct SourceRow<'a> {
    kind: &'static str,
    processes: &'static str,
    took_s: f64,
    file: Option<&'a str>,
    recorded_from: Option<&'static str>,
    recorded_by: Option<&'a str>,
    anonymized: bool,
}

#[derive(serde::Serialize)]
struct QueryRow {
    filtered: bool,
    stuck_after_s: f64,
    snat_limit: Option<u32>,
}

#[derive(serde::Serialize)]
struct Totals {
    sockets: u64,
    states: States,
}

#[derive(serde::Serialize)]
struct UnownedRow {
    close_wait: u64,
    close_wait_not_accepted: u64,
    time_wait: u64,
    other: u64,
}

#[derive(serde::Serialize)]
struct CoverageRow<'a> {
    complete: bool,
    sockets: u64,
    attributed: u64,
    attributable: u64,
    elsewhere: Option<u64>,
    gaps: Vec<GapRow<'a>>,
}

#[derive(serde::Serialize)]
struct GapRow<'a> {
    what: &'a str,
    why: &'a str,
    hides: &'static str,
    count: u64,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report<'_>) -> io::Result<Self> {
        let (snapshot, census) = (report.snapshot, &report.census);
        let taken_at = rfc3339(snapshot.taken_at);
        Ok(Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            taken_at: taken_at.ok_or_else(|| io::Error::other("the clock shows a year that no calendar has"))?,
            host: HostRow {
                name: snapshot.host.name.as_deref(),
                kernel: snapshot.host.kernel.as_deref(),
                boot_id: snapshot.host.boot_id.as_deref(),
                uptime_s: snapshot.host.uptime.map(seconds),
            },
            source: source(snapshot),
            query: QueryRow {
                filtered: !report.query.selection.is_everything(),
                stuck_after_s: seconds(report.query.stuck_after),
                snat_limit: report.query.snat_limit,
            },
            verdict: report.verdict.token(),
            headline: &report.headline,
            findings: report.findings.iter().map(|finding| FindingRow::of(report, finding)).collect(),
            metrics: report.metrics.iter().map(MetricRow::of).collect(),
            totals: Totals { sockets: census.totals.total(), states: States(census.totals) },
            namespaces: rows::namespaces(report),
            processes: census.processes.iter().map(|row| ProcessRow::of(report, row)).collect(),
            port_ranges: census.port_ranges.iter().map(PortRangeRow::of).collect(),
            port_pools: census.port_pools.iter().map(|pool| PoolRow::of(report, pool)).collect(),
            bind_pools: census.bind_pools.iter().map(|pool| BindPoolRow::of(report, pool)).collect(),
            listeners: census.listeners.iter().map(|row| ListenerRow::of(report, row)).collect(),
            peers: census.peers.iter().map(|row| PeerRow::of(report, row)).collect(),
            unowned: unowned(report),
            strangers: census.strangers.iter().map(|row| StrangerRow::of(report, row)).collect(),
            walls: walls::of(report),
            history: HistoryRow::of(report),
            coverage: coverage(report),
            pairs: census.pairs.rows.iter().map(|row| PairRow::of(report, row)).collect(),
            pairs_ambiguous: census.pairs.ambiguous,
            snat: census.snat.iter().map(|budget| SnatRow::of(report, budget)).collect(),
        })
    }
}

/// Where the rows came from last; a recording says where they came from first.
fn source(snapshot: &Snapshot) -> SourceRow<'_> {
    let recording = snapshot.file.as_ref().and_then(|file| file.recording.as_ref());
    let kind = snapshot.source.token();
    SourceRow {
        kind: if recording.is_some() { "recording" } else { kind },
        processes: scan_token(snapshot.scan),
        took_s: seconds(snapshot.namespaces.iter().map(|namespace| namespace.took).sum()),
        file: snapshot.file.as_ref().and_then(|file| file.name.as_deref()),
        recorded_from: recording.map(|_| kind),
        recorded_by: recording.map(|note| &*note.program),
        anonymized: snapshot.names() == Names::Invented,
    }
}

fn unowned(report: &Report<'_>) -> UnownedRow {
    let unowned = report.census.unowned;
    UnownedRow {
        close_wait: unowned.close_wait,
        close_wait_not_accepted: unowned.close_wait_not_accepted,
        time_wait: unowned.time_wait,
        other: unowned.other,
    }
}

fn coverage<'a>(report: &'a Report<'_>) -> CoverageRow<'a> {
    let coverage = report.census.coverage;
    CoverageRow {
        complete: report.snapshot.gaps.is_empty(),
        sockets: coverage.sockets,
        attributed: coverage.attributed,
        attributable: coverage.attributable,
        elsewhere: coverage.elsewhere,
        gaps: report
            .snapshot
            .gaps
            .iter()
            .map(|gap| GapRow { what: &gap.what, why: &gap.why, hides: gap.hides.token(), count: gap.count })
            .collect(),
    }
}

/// Every state with its count, under its token.
#[derive(Clone, Copy)]
pub(super) struct States(pub(super) StateCounts);

impl Serialize for States {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (state, sockets) in self.0.iter() {
            map.serialize_entry(state.token(), &sockets)?;
        }
        map.end()
    }
}

/// A moment in UTC, to the millisecond; `None` when no calendar has it.
pub(super) fn rfc3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|stamp| format!("{stamp:.3}"))
}

/// Seconds, to the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped_and_mean_the_same() {
        let name = "a\u{9b}31m\u{202e}\u{e0001}\u{7f}\u{1b}\\ß日 '\"";
        let text = without_invisible(serde_json::to_string(name).expect("a string"));
        assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{e0001}'), "{text}");
        assert!(text.contains("ß日"));
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), name);
    }
}
