//! The foot of the page: limits of the host, and how much was seen.

use std::collections::HashSet;

use super::sheet::Sheet;
use crate::model::snapshot::{Gap, Names, ProcessScan, RecordingNote, SavedFile, SourceKind, Usage};
use crate::model::socket::NetNsIndex;
use crate::model::text::printable;
use crate::model::wording::{count, counted};
use crate::render::Detail;
use crate::render::history;
use crate::render::words::{hides_phrase, netns_label};
use crate::report::Report;

/// A limit of the host is shown unasked from this used share on.
const NOTABLE: f64 = 0.5;

/// Writes the limits of the host that are half used, or all in full detail.
pub(super) fn write_limits(report: &Report<'_>, sheet: &mut Sheet) {
    let limits = &report.snapshot.limits;
    let rows = [
        ("file handles", limits.files),
        ("orphaned sockets", limits.orphans),
        ("pages of TCP memory", limits.tcp_mem_pages),
    ];
    let mut rows: Vec<(String, Option<Usage>)> =
        rows.into_iter().map(|(name, usage)| (name.to_owned(), usage)).collect();
    rows.extend(tracked_connections(report));
    let full = sheet.page().detail == Detail::Full;
    let items: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, usage)| usage.map(|usage| (name, usage)))
        .filter(|(_, usage)| full || usage.used as f64 >= usage.limit as f64 * NOTABLE)
        .map(|(name, Usage { used, limit })| format!("{name} {} of {}", count(used), count(limit)))
        .collect();
    sheet.items("LIMITS", &items);
}

/// The tracked connections of each namespace that has any, and of the first, which is the reader's.
fn tracked_connections(report: &Report<'_>) -> Vec<(String, Option<Usage>)> {
    let namespaces = report.snapshot.namespaces.iter().enumerate();
    let some = namespaces.filter(|(nth, ns)| *nth == 0 || ns.conntrack.is_some_and(|usage| usage.used > 0));
    let name = |nth: usize| match netns_label(report, NetNsIndex(nth as u32)) {
        label if label.is_empty() => "tracked connections".to_owned(),
        label => format!("tracked connections in {label}"),
    };
    some.map(|(nth, namespace)| (name(nth), namespace.conntrack)).collect()
}

/// Writes what was seen and what was not.
pub(super) fn write(report: &Report<'_>, sheet: &mut Sheet) {
    let mut sentences = vec![format!("{}; {}", seen(report), attributed(report))];
    sentences.extend(report.census.coverage.elsewhere.map(|elsewhere| {
        format!("about {} more TCP sockets of this host are in no namespace seen (sockstat)", count(elsewhere))
    }));
    sentences.extend(report.snapshot.gaps.iter().map(not_seen));
    sentences.extend(history::told(report));
    sentences.push(when_and_where(report));
    sentences.extend(read_back(report));
    sheet.statements("COVERAGE", &sentences);
}

fn seen(report: &Report<'_>) -> String {
    let source = match report.snapshot.source {
        SourceKind::Netlink => "",
        SourceKind::ProcText => " (from /proc/net/tcp, not netlink)",
        SourceKind::Scripted => " (made by hand)",
        SourceKind::SsText => " (from saved text of ss)",
        SourceKind::NetstatText => " (from saved text of netstat)",
        SourceKind::SavedProcText => " (from saved text of /proc/net/tcp)",
    };
    let sockets = counted(report.census.coverage.sockets, "socket", "sockets");
    format!("{sockets} in {}{source}", namespaces(report))
}

/// `3 namespaces`, and how many of them hold nothing or were read from outside.
fn namespaces(report: &Report<'_>) -> String {
    let namespaces = &report.snapshot.namespaces;
    if namespaces.len() < 2 {
        return "1 namespace".to_owned();
    }
    let used: HashSet<u32> = report.snapshot.sockets.iter().map(|socket| socket.netns.0).collect();
    let from_outside = namespaces.iter().filter(|namespace| namespace.source != report.snapshot.source).count();
    let notes = [(namespaces.len() - used.len(), "without any"), (from_outside, "read as text")];
    let notes: Vec<String> =
        notes.iter().filter(|(n, _)| *n > 0).map(|(n, note)| format!("{} {note}", count(*n as u64))).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
    format!("{} namespaces{notes}", count(namespaces.len() as u64))
}

fn attributed(report: &Report<'_>) -> String {
    let coverage = &report.census.coverage;
    let (attributed, attributable) = (count(coverage.attributed), count(coverage.attributable));
    match report.snapshot.scan {
        ProcessScan::All => format!("{attributed} of {attributable} attributed"),
        ProcessScan::Selected => format!("{attributed} of {attributable} attributed, to the processes asked for"),
        ProcessScan::Skipped if report.snapshot.source.is_saved_text() => "the text names no processes".to_owned(),
        ProcessScan::Skipped if report.snapshot.namespaces.len() > 1 => {
            "processes not looked at, as asked, nor namespaces that only a descriptor keeps".to_owned()
        }
        ProcessScan::Skipped => "processes not looked at, as asked".to_owned(),
    }
}

fn not_seen(gap: &Gap) -> String {
    let (what, why) = (printable(&gap.what), printable(&gap.why));
    format!("not seen: {what} ({why}); this may hide {}", hides_phrase(gap.hides))
}

/// What is to be known of numbers that were read from a file.
fn read_back(report: &Report<'_>) -> Option<String> {
    let SavedFile { name, recording } = report.snapshot.file.as_ref()?;
    let name = name.as_deref().map_or("from standard input".to_owned(), |name| format!("from {}", printable(name)));
    Some(match recording {
        None => format!("read {name}"),
        Some(RecordingNote { program, names }) => {
            let invented = match names {
                Names::Real => "",
                Names::Invented => "; its names and addresses are invented ones",
            };
            format!("recorded by {}, read {name}{invented}", printable(program))
        }
    })
}

fn when_and_where(report: &Report<'_>) -> String {
    let host = &report.snapshot.host;
    if report.snapshot.source.is_saved_text() {
        let time = jiff::Timestamp::try_from(report.snapshot.taken_at);
        let time = time.map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default();
        return format!("the text tells neither host nor time; it was saved, or read, at {time}");
    }
    let unknown = "unknown host".to_owned();
    let name = host.name.as_deref().map_or(unknown, |name| printable(name).into_owned());
    let kernel = host.kernel.as_deref().map(|kernel| format!(", Linux {}", printable(kernel))).unwrap_or_default();
    let time = jiff::Timestamp::try_from(report.snapshot.taken_at)
        .map(|time| format!(", {}", time.strftime("%Y-%m-%d %H:%M:%SZ")))
        .unwrap_or_default();
    format!("{name}{kernel}{time}")
}
