//! The accept queues.

use std::collections::BTreeMap;

use super::descending;
use super::name::{netns_name, plain};
use crate::census::ListenerCensus;
use crate::model::socket::PortBinding;
use crate::render::words::share_of;
use crate::report::Report;

/// All listeners at one address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::render) struct ListenerRow {
    /// `0.0.0.0:443`, with the namespace where it is not the first.
    pub(in crate::render) name: String,
    /// Connections that wait for `accept()`.
    pub(in crate::render) waiting: u64,
    /// How many may wait; `None` when that is not known.
    pub(in crate::render) limit: Option<u64>,
    /// Connections that wait and whose peer has closed.
    pub(in crate::render) close_wait: u64,
}

impl ListenerRow {
    /// The used share of the queue; `None` when it is not known.
    pub(in crate::render) fn share(&self) -> Option<f64> {
        self.limit.map(|limit| share_of(self.waiting, limit))
    }
}

/// The listeners whose port a program chose, the fullest first: a port that the kernel gave is another one the next time.
pub(in crate::render) fn listeners(report: &Report<'_>) -> Vec<ListenerRow> {
    let mut rows: BTreeMap<String, ListenerRow> = BTreeMap::new();
    let sockets = &report.snapshot.sockets;
    let is_chosen =
        |row: &&ListenerCensus| sockets.get(row.socket).is_none_or(|record| record.binding != PortBinding::Auto);
    for listener in report.census.listeners.iter().filter(is_chosen) {
        let Some(netns) = netns_name(report.snapshot, listener.netns) else { continue };
        let place = if listener.netns.0 == 0 { String::new() } else { format!(" in {netns}") };
        let name = format!("{}{place}", plain(&listener.local.to_string()));
        let empty = ListenerRow { name: name.clone(), waiting: 0, limit: Some(0), close_wait: 0 };
        let row = rows.entry(name).or_insert(empty);
        row.waiting += u64::from(listener.waiting);
        row.limit = row.limit.zip(listener.limit).map(|(sum, limit)| sum + u64::from(limit));
        row.close_wait += listener.close_wait_not_accepted;
    }
    let mut rows: Vec<ListenerRow> = rows.into_values().collect();
    let fullness = |row: &ListenerRow| row.share().unwrap_or(0.0);
    rows.sort_by(|a, b| descending(fullness(a), fullness(b)).then_with(|| a.name.cmp(&b.name)));
    rows
}
