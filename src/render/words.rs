//! What things are called that have no word of their own: tokens for machines, which never change within a major version,
//! and phrases for people.

use crate::census::pairs::EndHolder;
use crate::census::pools::{DoubtReason, PortPool};
use crate::model::process::ProcessIndex;
use crate::model::snapshot::{Hides, ProcessScan};
use crate::model::socket::NetNsIndex;
use crate::model::text::printable;
use crate::model::wording::count;
use crate::report::Report;

/// How far the search for holders went, for machines.
pub(super) fn scan_token(scan: ProcessScan) -> &'static str {
    match scan {
        ProcessScan::All => "all",
        ProcessScan::Selected => "selected",
        ProcessScan::Skipped => "skipped",
    }
}

/// Why a port is in doubt, for machines.
pub(super) fn doubt_token(reason: DoubtReason) -> &'static str {
    match reason {
        DoubtReason::SharedPort => "shared_port",
        DoubtReason::TimeWaitTimestamps => "time_wait_timestamps",
        DoubtReason::OddRange => "odd_range",
        DoubtReason::V6Only => "v6_only",
        DoubtReason::BoundUnseen => "bound_unseen",
    }
}

/// Why a port is in doubt, for people.
pub(super) fn doubt_phrase(reason: DoubtReason) -> &'static str {
    match reason {
        DoubtReason::SharedPort => "used to other destinations, and perhaps bound before connecting",
        DoubtReason::TimeWaitTimestamps => "in TIME-WAIT, and free for reuse if it used TCP timestamps",
        DoubtReason::OddRange => "the range is odd, and one port of it is out of reach",
        DoubtReason::V6Only => "held by an IPv6 socket that is perhaps IPv6-only",
        DoubtReason::BoundUnseen => "perhaps held by a socket that is bound and nothing else",
    }
}

/// Who has one end of a connection, for machines.
pub(super) fn end_token(holder: EndHolder) -> &'static str {
    match holder {
        EndHolder::Held(_) => "process",
        EndHolder::NotAccepted(_) => "not_accepted",
        EndHolder::Kernel(_) => "kernel",
        EndHolder::Unseen => "unseen",
    }
}

/// What a gap may hide, for people.
pub(super) fn hides_phrase(hides: Hides) -> &'static str {
    match hides {
        Hides::Sockets => "whole sockets",
        Hides::Ports => "how many ports are left",
        Hides::Ages => "how old a CLOSE-WAIT is",
        Hides::Owners => "who holds a socket",
        Hides::Limits => "a limit that is near",
        Hides::Ghosts => "descriptors of dead connections",
    }
}

/// The name of a process, as it calls itself, safe to print. `?` when the index is not of this snapshot.
pub(super) fn process_name(report: &Report<'_>, index: ProcessIndex) -> String {
    let process = report.snapshot.processes.get(index.0 as usize);
    process.map_or_else(|| "?".to_owned(), |process| printable(&process.name).into_owned())
}

/// A process with its number: `telegraf[1234]`.
pub(super) fn process_label(report: &Report<'_>, index: ProcessIndex) -> String {
    let pid = report.snapshot.processes.get(index.0 as usize).map(|process| process.key.pid);
    let name = process_name(report, index);
    pid.map_or_else(|| name.clone(), |pid| format!("{name}[{pid}]"))
}

/// The name of a namespace; empty when there is only one, and so nothing to tell apart.
pub(super) fn netns_label(report: &Report<'_>, index: NetNsIndex) -> String {
    match report.snapshot.namespaces.as_slice() {
        [] | [_] => String::new(),
        several => several.get(index.0 as usize).map(|ns| printable(&ns.id.name).into_owned()).unwrap_or_default(),
    }
}

/// Digits of a container's id that tell it from others; runtimes print as many themselves.
const CONTAINER_DIGITS: usize = 12;

/// The id of a container as people know it: its first digits, or the whole name where the runtime uses names.
pub(super) fn short_id(id: &str) -> String {
    let is_hash = id.len() > CONTAINER_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { id.chars().take(CONTAINER_DIGITS).collect() } else { id.to_owned() }
}

/// A number between two bounds: `320`, or `298–320` when they differ.
pub(super) fn between(at_least: u32, at_most: u32) -> String {
    match at_least == at_most {
        true => count(u64::from(at_most)),
        false => format!("{}–{}", count(u64::from(at_least)), count(u64::from(at_most))),
    }
}

/// A pool's way: `10.0.0.5 → 10.0.3.7:8086`.
pub(super) fn route(pool: &PortPool) -> String {
    match pool.interface {
        0 => format!("{} → {}", pool.source, pool.destination),
        index => format!("{} → {} (interface {index})", pool.source, pool.destination),
    }
}

/// The share of ports that is used; all of it when there is nothing to use.
pub(super) fn share(used: u32, usable: u32) -> f64 {
    share_of(used.into(), usable.into())
}

/// The share that is used; all of it when there is nothing to use.
pub(super) fn share_of(used: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { used as f64 / of as f64 }
}
