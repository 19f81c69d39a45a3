//! The report for Prometheus: a text that is an exposition of version 0.0.4 and of OpenMetrics 1.0 alike.
//!
//! Both read gauges in whole families, `HELP` before `TYPE`, with `\`, `"` and line ends of labels escaped, and an end that is
//! `# EOF`, to the older one a comment. There are no timestamps: the textfile collector of the node exporter passes over a file
//! that has one. What is not known is `NaN`, which no alert compares as true. No label holds a pid or a peer's address, and no
//! label has more values than [`super::roster`] lists.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::roster::{NamespaceRow, OwnerRow, Roster};
use crate::diagnosis::RULES;
use crate::diagnosis::finding::{Severity, Verdict};
use crate::diagnosis::metrics::{Measured, Metric};
use crate::model::snapshot::{Hides, Usage};
use crate::model::state::TcpState;
use crate::report::Report;

/// Every family begins so.
const PREFIX: &str = "closewatch_";

/// Of a report.
///
/// # Errors
/// Those of `out`.
pub(super) fn render(report: &Report<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut page = Page::default();
    page.family("up", "Whether the last look was taken.").plain(1.0);
    run(report, &mut page);
    sockets(report, &mut page);
    metrics(report, &mut page);
    let roster = Roster::of(report);
    owners(&roster, &mut page);
    namespaces(&roster, &mut page);
    listeners(&roster, &mut page);
    out.write_all(page.finish().as_bytes())
}

/// Where there is no report.
pub(super) fn failure() -> String {
    let mut page = Page::default();
    page.family("up", "Whether the last look was taken.").plain(0.0);
    page.finish()
}

/// What there is to say of the look itself.
fn run(report: &Report<'_>, page: &mut Page) {
    let snapshot = report.snapshot;
    let taken_at = snapshot.taken_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let took: Duration = snapshot.namespaces.iter().map(|namespace| namespace.took).sum();
    page.family("last_success_timestamp_seconds", "When the look began, in seconds since 1970.")
        .plain(millis(taken_at));
    page.family("scan_duration_seconds", "How long reading the socket tables took, of all namespaces together.")
        .plain(millis(took));
    let partial = snapshot.gaps.iter().any(|gap| gap.ran_out_of_time());
    page.family("collect_partial", "Whether the time limit cut the look short.").plain(f64::from(u8::from(partial)));
    let mut family = page.family("verdict", "1 for the verdict of the look, 0 for every other.");
    for verdict in [Verdict::Ok, Verdict::Warning, Verdict::Critical, Verdict::Unknown] {
        family.labelled(&[("verdict", verdict.token())], f64::from(u8::from(report.verdict == verdict)));
    }
    let mut family = page.family("findings", "Findings that are a warning or critical, by rule.");
    for rule in RULES {
        let is_bad = |severity: Severity| severity >= Severity::Warning;
        let bad = report.findings.iter().filter(|finding| finding.rule == rule.rule && is_bad(finding.severity));
        family.labelled(&[("rule", rule.token)], bad.count() as f64);
    }
    let mut family = page.family("unseen_things", "Things that were not seen, by what they may hide.");
    for hides in [Hides::Sockets, Hides::Ports, Hides::Ages, Hides::Owners, Hides::Limits, Hides::Ghosts] {
        let hidden: u64 = snapshot.gaps.iter().filter(|gap| gap.hides == hides).map(|gap| gap.count).sum();
        family.labelled(&[("hides", hides.token())], hidden as f64);
    }
}

fn sockets(report: &Report<'_>, page: &mut Page) {
    let mut family = page.family("tcp_sockets", "TCP sockets of all network namespaces that were read, by state.");
    for (state, count) in report.census.totals.iter() {
        family.labelled(&[("state", state.token())], count as f64);
    }
    let mut family = page.family("port_range_sockets", "TCP sockets by the range of their local port, and state.");
    for range in &report.census.port_ranges {
        for (state, count) in range.states.iter() {
            family.labelled(&[("range", &range.name), ("state", state.token())], count as f64);
        }
    }
}

/// The graded metrics, under the unit of each.
fn metrics(report: &Report<'_>, page: &mut Page) {
    for measured in &report.metrics {
        let (name, help) = match measured.metric {
            Metric::Ports => {
                ("ports_used_ratio", "Used share of the ports to the destination that has the fewest left.")
            }
            Metric::Stuck => {
                ("stuck_sockets", "CLOSE-WAIT sockets surely older than the threshold, of the process with the most.")
            }
            Metric::Fds => {
                ("fds_used_ratio", "Open descriptors against the limit, of the process that is nearest to it.")
            }
            Metric::Ghosts => {
                ("ghost_sockets", "Sockets that a reset closed and a process still holds, of the one with the most.")
            }
            Metric::Accept => {
                ("accept_queue_used_ratio", "The fullest accept queue against its limit; less than 8 that fit is none.")
            }
            Metric::Eta => {
                ("wall_eta_seconds", "Time until the first limit at the observed growth; +Inf when none is in sight.")
            }
            Metric::Conntrack => {
                ("conntrack_used_ratio", "Tracked connections against nf_conntrack_max, of the fullest namespace.")
            }
            Metric::Coverage => ("coverage_ratio", "Share of the sockets whose holder was seen."),
        };
        page.family(name, help).plain(value(measured));
    }
}

/// A time that is not in sight is known to be far.
fn value(measured: &Measured) -> f64 {
    let far = measured.metric == Metric::Eta && measured.unseen.is_none();
    measured.value.unwrap_or(if far { f64::INFINITY } else { f64::NAN })
}

fn owners(roster: &Roster, page: &mut Page) {
    let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
    type Column = (&'static str, &'static str, fn(&OwnerRow) -> Option<f64>);
    let columns: [Column; 5] = [
        ("close_wait_sockets", "Sockets in CLOSE-WAIT, by the unit or executable that holds them.", |row| {
            Some(row.close_wait() as f64)
        }),
        ("close_wait_stuck_sockets", "Of these, surely older than the threshold.", |row| Some(row.stuck as f64)),
        (
            "close_wait_oldest_seconds",
            "How long the oldest has surely been in CLOSE-WAIT; 0 when there is none.",
            |row| row.oldest_s.or((row.close_wait() == 0).then_some(0.0)),
        ),
        ("owner_established_sockets", "Open connections, by the unit or executable that holds them.", |row| {
            Some(row.states[TcpState::Established] as f64)
        }),
        ("owner_fds_used_ratio", "Open descriptors against the limit, of its process that is nearest to it.", |row| {
            row.fds_share
        }),
    ];
    for (name, help, column) in columns {
        let mut family = page.family(name, help);
        for row in roster.owners.iter().chain([&roster.other_owners]) {
            family.labelled(&[("owner", &row.name), ("by", row.kind.token())], known(column(row)));
        }
    }
}

fn namespaces(roster: &Roster, page: &mut Page) {
    type Column = (&'static str, &'static str, fn(&NamespaceRow) -> Option<f64>);
    let columns: [Column; 5] = [
        ("netns_sockets", "TCP sockets of a network namespace.", |row| Some(row.states.total() as f64)),
        ("ephemeral_ports_used", "Used ports to the destination with the fewest left, by network namespace.", |row| {
            row.ports.map(used)
        }),
        ("ephemeral_ports_limit", "Ports that there are to that destination.", |row| row.ports.map(limit)),
        ("conntrack_entries", "Tracked connections of a network namespace.", |row| row.conntrack.map(used)),
        ("conntrack_entries_limit", "How many connections may be tracked.", |row| row.conntrack.map(limit)),
    ];
    for (name, help, column) in columns {
        let mut family = page.family(name, help);
        for row in roster.namespaces.iter().chain([&roster.other_namespaces]) {
            // Most namespaces have no such table: no sample, rather than one that is never known.
            if let Some(value) = column(row) {
                family.labelled(&[("netns", &row.name)], value);
            }
        }
    }
}

fn used(usage: Usage) -> f64 {
    usage.used as f64
}

fn limit(usage: Usage) -> f64 {
    usage.limit as f64
}

fn listeners(roster: &Roster, page: &mut Page) {
    let mut family = page.family("accept_queue_connections", "Connections that wait for accept(), by listener.");
    for row in &roster.listeners {
        family.labelled(&[("listener", &row.name)], row.waiting as f64);
    }
    let mut family = page.family("accept_queue_limit", "How many connections may wait, by listener.");
    for row in &roster.listeners {
        family.labelled(&[("listener", &row.name)], row.limit.map_or(f64::NAN, |limit| limit as f64));
    }
    page.family("unlisted_listeners", "Listeners that have no sample of their own.")
        .plain(roster.n_other_listeners as f64);
}

/// Seconds, to the millisecond.
fn millis(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

/// A text that is being written.
#[derive(Debug, Default)]
struct Page(String);

/// A family whose samples are being written: no other can be begun meanwhile.
struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Page {
    /// Begins a family of gauges. The help is a sentence in which nothing needs to be escaped.
    fn family(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.0.push_str(&format!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n"));
        Family { page: self, name }
    }

    fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

impl Family<'_> {
    /// The only sample of a family.
    fn plain(&mut self, value: f64) {
        self.labelled(&[], value);
    }

    /// A sample of a family that has one for each value of its labels.
    fn labelled(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.page.0.push_str(&format!("{PREFIX}{}{labels} {}\n", self.name, number(value)));
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_where_they_end() {
        let mut page = Page::default();
        page.family("x", "Help.").labelled(&[("a", "q\"\\\n}"), ("b", "")], 1.5);
        let expected = "# HELP closewatch_x Help.\n# TYPE closewatch_x gauge\nclosewatch_x{a=\"q\\\"\\\\\\n}\",b=\"\"} 1.5\n# EOF\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn numbers_are_written_as_go_and_python_read_them() {
        for (value, text) in
            [(0.0, "0"), (60_000.0, "60000"), (0.25, "0.25"), (f64::NAN, "NaN"), (1e15, "1000000000000000")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::INFINITY), "+Inf");
    }
}
