//! The foot of the page: limits of the host, and how much was seen.

use super::sheet::Sheet;
use crate::model::snapshot::{Gap, ProcessScan, SourceKind, Usage};
use crate::model::socket::NetNsIndex;
use crate::model::text::printable;
use crate::model::wording::count;
use crate::render::Detail;
use crate::render::words::{hides_phrase, netns_label};
use crate::report::Report;

/// A limit of the host is shown unasked from this used share on.
const NOTABLE: f64 = 0.5;

/// Writes the limits of the host that are half used, or all in full detail.
pub(super) fn write_limits(report: &Report<'_>, sheet: &mut Sheet) {
    let limits = &report.snapshot.limits;
    let mut rows = vec![
        ("file handles".to_owned(), limits.files),
        ("orphaned sockets".to_owned(), limits.orphans),
        ("pages of TCP memory".to_owned(), limits.tcp_mem_pages),
    ];
    for (namespace, nth) in report.snapshot.namespaces.iter().zip(0..) {
        let place = match netns_label(report, NetNsIndex(nth)) {
            name if name.is_empty() => name,
            name => format!(" in {name}"),
        };
        rows.push((format!("tracked connections{place}"), namespace.conntrack));
    }
    let full = sheet.page().detail == Detail::Full;
    let items: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, usage)| usage.map(|usage| (name, usage)))
        .filter(|(_, usage)| full || usage.used as f64 >= usage.limit as f64 * NOTABLE)
        .map(|(name, Usage { used, limit })| format!("{name} {} of {}", count(used), count(limit)))
        .collect();
    sheet.items("LIMITS", &items);
}

/// Writes what was seen and what was not.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let mut sentences = vec![format!("{}; {}", seen(report), attributed(report))];
    sentences.extend(report.snapshot.gaps.iter().map(not_seen));
    sentences.push(when_and_where(report));
    sheet.statements("COVERAGE", &sentences);
}

fn seen(report: &Report<'_>) -> String {
    let namespaces = match report.snapshot.namespaces.len() {
        1 => "1 namespace".to_owned(),
        several => format!("{several} namespaces"),
    };
    let source = match report.snapshot.source {
        SourceKind::Netlink => "",
        SourceKind::ProcText => " (from /proc/net/tcp, not netlink)",
        SourceKind::Scripted => " (made by hand)",
    };
    format!("{} sockets in {namespaces}{source}", count(report.census.coverage.sockets))
}

fn attributed(report: &Report<'_>) -> String {
    let coverage = &report.census.coverage;
    let (attributed, attributable) = (count(coverage.attributed), count(coverage.attributable));
    match report.snapshot.scan {
        ProcessScan::All => format!("{attributed} of {attributable} attributed"),
        ProcessScan::Selected => format!("{attributed} of {attributable} attributed, to the processes asked for"),
        ProcessScan::Skipped => "processes not looked at, as asked".to_owned(),
    }
}

fn not_seen(gap: &Gap) -> String {
    let (what, why) = (printable(&gap.what), printable(&gap.why));
    format!("not seen: {what} ({why}); this may hide {}", hides_phrase(gap.hides))
}

fn when_and_where(report: &Report<'_>) -> String {
    let host = &report.snapshot.host;
    let unknown = "unknown host".to_owned();
    let name = host.name.as_deref().map_or(unknown, |name| printable(name).into_owned());
    let kernel = host.kernel.as_deref().map(|kernel| format!(", Linux {}", printable(kernel))).unwrap_or_default();
    let time = jiff::Timestamp::try_from(report.snapshot.taken_at)
        .map(|time| format!(", {}", time.strftime("%Y-%m-%d %H:%M:%SZ")))
        .unwrap_or_default();
    format!("{name}{kernel}{time}")
}
