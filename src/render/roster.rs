//! What is named to monitoring systems: lists of bounded length, under names that stay when a program starts again.
//!
//! Whoever draws a number keeps it under its name for weeks. A name is therefore never a pid: it is the systemd unit, else the
//! file name of the executable, else what the process calls itself; of sockets whose holder may not be seen, the user and the unit
//! that they were made in. What has one name is one row. Beyond the first rows of a list, the rest is one row, `other`, so that the sum is whole.

mod listeners;
mod name;
mod namespaces;
mod owners;
mod pools;

use std::cmp::Ordering;

use crate::report::Report;

pub(super) use self::listeners::ListenerRow;
use self::listeners::listeners;
pub(super) use self::namespaces::NamespaceRow;
use self::namespaces::namespaces;
pub(super) use self::owners::OwnerRow;
use self::owners::owners;
pub(super) use self::pools::PoolRow;
use self::pools::pools;

/// So many rows of a list have a name of their own. A page of a dashboard shows fewer, and each costs a monitoring system some
/// numbers a minute for as long as it keeps them.
pub(super) const MOST_ROWS: usize = 32;

/// The row that stands for all that have none of their own. No name of a row is this word: what is called so gets
/// digits behind it.
pub(super) const OTHER: &str = "other";

/// The lists of a report.
#[derive(Debug)]
pub(super) struct Roster {
    /// Who holds sockets, the most leaking first.
    pub(super) owners: Vec<OwnerRow>,
    /// What the owners that are not listed hold together.
    pub(super) other_owners: OwnerRow,
    /// The port pools, the fullest first.
    pub(super) pools: Vec<PoolRow>,
    /// How many pools are not listed.
    pub(super) n_other_pools: usize,
    /// The listeners, the fullest first.
    pub(super) listeners: Vec<ListenerRow>,
    /// How many listeners are not listed.
    pub(super) n_other_listeners: usize,
    /// The network namespaces, the most sockets first.
    pub(super) namespaces: Vec<NamespaceRow>,
    /// The namespaces that are not listed, and those without a name that stays.
    pub(super) other_namespaces: NamespaceRow,
}

impl Roster {
    /// Of a report.
    pub(super) fn of(report: &Report<'_>) -> Self {
        let (owners, other_owners) = owners(report);
        let (pools, n_other_pools) = first_rows(pools(report));
        let (listeners, n_other_listeners) = first_rows(listeners(report));
        let (namespaces, other_namespaces) = namespaces(report);
        Self { owners, other_owners, pools, n_other_pools, listeners, n_other_listeners, namespaces, other_namespaces }
    }
}

/// The first rows, and how many there are beside them.
fn first_rows<T>(mut rows: Vec<T>) -> (Vec<T>, usize) {
    let more = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    (rows, more)
}

/// The greater number first.
fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}
