//! Who holds sockets.

use std::collections::BTreeMap;

use super::name::{self, Kind};
use super::{MOST_ROWS, OTHER, descending};
use crate::attribution::Unresolved;
use crate::census::{CloseWaitCensus, ProcessCensus};
use crate::diagnosis::finding::{Finding, Severity, Subject};
use crate::model::process::{Process, ProcessIndex};
use crate::model::snapshot::{Gap, Hides};
use crate::model::state::{StateCounts, TcpState};
use crate::model::tuple::Endpoint;
use crate::model::wording::{age, counted};
use crate::render::words::{process_label, share};
use crate::report::Report;

/// The sockets of all processes of one name.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::render) struct OwnerRow {
    /// Its name.
    pub(in crate::render) name: String,
    /// What it is named after.
    pub(in crate::render) kind: Kind,
    /// How many processes; 0 where they may not be seen.
    pub(in crate::render) processes: u64,
    /// Their sockets. Of a user, only those in CLOSE-WAIT are known.
    pub(in crate::render) states: StateCounts,
    /// CLOSE-WAIT that is surely older than the threshold; what an older process holds too is left out.
    pub(in crate::render) stuck: u64,
    /// Descriptors of connections that are over; `None` when nobody could look.
    pub(in crate::render) ghosts: Option<u64>,
    /// For how long the oldest CLOSE-WAIT has surely been so, in seconds; `None` when there is none, or no age.
    pub(in crate::render) oldest_s: Option<f64>,
    /// The highest share of its descriptors that one of them has open; `None` when it could not be read or is unlimited.
    pub(in crate::render) fds_share: Option<f64>,
    /// Where most of the CLOSE-WAIT go to, and how many.
    pub(in crate::render) destination: Option<(Endpoint, u64)>,
    /// The used share of the fullest pool of which it holds the most.
    pub(in crate::render) ports_share: f64,
    /// Whether it is but a trace of a process that ended during the look: nobody holds its sockets, and nothing hides a holder.
    pub(in crate::render) is_trace: bool,
    /// How bad what was found of it is.
    pub(in crate::render) severity: Option<Severity>,
    /// Who, what, where to, since when, and what to do: one sentence or two, safe to print; empty while nothing is stuck.
    pub(in crate::render) story: String,
}

impl OwnerRow {
    fn new((name, kind): (String, Kind)) -> Self {
        Self {
            name,
            kind,
            processes: 0,
            states: StateCounts::default(),
            stuck: 0,
            ghosts: None,
            oldest_s: None,
            fds_share: None,
            destination: None,
            ports_share: 0.0,
            is_trace: false,
            severity: None,
            story: String::new(),
        }
    }

    /// How many sockets are in CLOSE-WAIT.
    pub(in crate::render) fn close_wait(&self) -> u64 {
        self.states[TcpState::CloseWait]
    }

    /// Whether it is worth to be followed for weeks: something of it leaks, or may run out.
    pub(in crate::render) fn is_notable(&self) -> bool {
        /// From here on a share is on its way.
        const HALF_WAY: f64 = 0.5;
        let fullest = self.fds_share.unwrap_or(0.0).max(self.ports_share);
        if self.is_trace {
            return false;
        }
        self.stuck > 0 || self.ghosts.is_some_and(|ghosts| ghosts > 0) || fullest >= HALF_WAY
    }

    fn add_close_wait(&mut self, held: &CloseWaitCensus) {
        self.stuck += held.stuck.saturating_sub(held.inherited);
        self.oldest_s = most(self.oldest_s, held.oldest.map(|oldest| oldest.at_least.as_secs_f64()));
        let leading = held.destinations.first().copied();
        if leading.map(|(_, count)| count) > self.destination.map(|(_, count)| count) {
            self.destination = leading;
        }
    }

    fn absorb(&mut self, row: &Self) {
        self.processes += row.processes;
        self.states += row.states;
        self.stuck += row.stuck;
        self.ghosts = match (self.ghosts, row.ghosts) {
            (None, None) => None,
            (mine, theirs) => Some(mine.unwrap_or(0) + theirs.unwrap_or(0)),
        };
        self.oldest_s = most(self.oldest_s, row.oldest_s);
        self.fds_share = most(self.fds_share, row.fds_share);
        self.ports_share = self.ports_share.max(row.ports_share);
        self.severity = self.severity.max(row.severity);
    }
}

/// The greater of what is known.
fn most(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// Who holds sockets, the most leaking first, and what the others hold together.
pub(in crate::render) fn owners(report: &Report<'_>) -> (Vec<OwnerRow>, OwnerRow) {
    let mut rows = by_name(report);
    rows.sort_by(|a, b| {
        let leaked = |row: &OwnerRow| row.stuck + row.ghosts.unwrap_or(0);
        (leaked(b), b.close_wait())
            .cmp(&(leaked(a), a.close_wait()))
            .then_with(|| descending(a.fds_share.unwrap_or(0.0), b.fds_share.unwrap_or(0.0)))
            .then_with(|| b.states.total().cmp(&a.states.total()))
            .then_with(|| a.name.cmp(&b.name))
    });
    let mut other = OwnerRow::new((OTHER.to_owned(), Kind::Other));
    for row in rows.iter().skip(MOST_ROWS) {
        other.absorb(row);
    }
    rows.truncate(MOST_ROWS);
    (rows, other)
}

fn by_name(report: &Report<'_>) -> Vec<OwnerRow> {
    let mut rows: BTreeMap<String, OwnerRow> = BTreeMap::new();
    // The processes come with the most CLOSE-WAIT first: the first of a name tells the story of the name.
    for census in &report.census.processes {
        let Some(process) = report.snapshot.processes.get(census.process.0 as usize) else { continue };
        let (name, kind) = name::of_process(process);
        let row = rows.entry(name.clone()).or_insert_with(|| OwnerRow::new((name, kind)));
        row.absorb(&row_of(report, census, process));
        row.add_close_wait(&census.close_wait);
        if row.story.is_empty() {
            row.story = story(report, census);
        }
    }
    let is_blind = report.snapshot.gaps.iter().any(hides_processes);
    for stranger in &report.census.strangers {
        let (name, kind) =
            name::of_user(stranger.uid, stranger.place.and_then(|place| report.snapshot.placement(place)));
        let row = rows.entry(name.clone()).or_insert_with(|| OwnerRow::new((name, kind)));
        row.states[TcpState::CloseWait] += stranger.close_wait.count;
        row.is_trace = stranger.reason == Unresolved::NoHolderSeen && !is_blind;
        row.add_close_wait(&stranger.close_wait);
        if row.story.is_empty() && row.stuck > 0 {
            row.story = sentence(&format!("a process of {}", row.name), &stranger.close_wait);
        }
    }
    rows.into_values().collect()
}

/// Whether there are processes that this user may not look into, or that `/proc` does not show.
fn hides_processes(gap: &Gap) -> bool {
    gap.hides == Hides::Owners && (gap.lacks_permission() || gap.why.contains("/proc"))
}

/// What one process adds, but for its CLOSE-WAIT.
fn row_of(report: &Report<'_>, census: &ProcessCensus, process: &Process) -> OwnerRow {
    let limit = process.fds_limit.filter(|limit| *limit != u64::MAX && *limit > 0);
    let fds = process.fds_open.zip(limit).map(|(open, limit)| open as f64 / limit as f64);
    let leads = |holders: &[(ProcessIndex, u64)]| holders.first().is_some_and(|(first, _)| *first == census.process);
    let pools = report.census.port_pools.iter().filter(|pool| leads(&pool.holders));
    OwnerRow {
        processes: 1,
        states: census.states,
        ghosts: census.ghosts.map(|ghosts| ghosts.count.saturating_sub(ghosts.inherited)),
        fds_share: fds,
        ports_share: pools.map(|pool| share(pool.used, pool.usable)).fold(0.0, f64::max),
        severity: found(report, census.process).map(|finding| finding.severity),
        ..OwnerRow::new((String::new(), Kind::Other))
    }
}

/// The leading finding of a process: they come with the most urgent first.
fn found<'a>(report: &'a Report<'_>, process: ProcessIndex) -> Option<&'a Finding> {
    report.findings.iter().find(|finding| finding.subject == Subject::Process(process))
}

fn story(report: &Report<'_>, census: &ProcessCensus) -> String {
    let held = &census.close_wait;
    if held.stuck.saturating_sub(held.inherited) == 0 {
        return String::new();
    }
    let story = sentence(&process_label(report, census.process), held);
    let remedy = found(report, census.process).and_then(|finding| finding.remedies.first());
    remedy.map_or(story.clone(), |remedy| format!("{story}; {}: {}", remedy.when.token(), remedy.text))
}

/// `telegraf[1234] holds 27,905 sockets to 10.0.3.7:8086 in CLOSE-WAIT, the oldest for at least 21 days`.
fn sentence(who: &str, held: &CloseWaitCensus) -> String {
    let place = match held.destinations.as_slice() {
        [] => String::new(),
        [(only, _)] => format!(" to {only}"),
        [(first, _), others @ ..] => {
            format!(" to {first} and {}", counted(others.len() as u64, "other destination", "other destinations"))
        }
    };
    let oldest = held.oldest.map_or_else(String::new, |oldest| {
        format!(", the oldest {}", age(oldest.at_least, oldest.at_most.filter(|_| oldest.exact), oldest.exact))
    });
    format!("{who} holds {}{place} in CLOSE-WAIT{oldest}", counted(held.count, "socket", "sockets"))
}
