//! `snat[]`: what the connections from here take of a NAT's ports.

use std::net::IpAddr;

use super::States;
use super::rows::{Holder, netns_inode};
use crate::census::snat::SnatBudget;
use crate::render::words::share_of;
use crate::report::Report;

/// One of `snat[]`.
#[derive(serde::Serialize)]
pub(super) struct SnatRow<'a> {
    destination: String,
    used: u64,
    limit: u32,
    remaining: u64,
    ratio: f64,
    states: States,
    sources: Vec<SourceRow>,
    /// Null when there are holders and none could be seen.
    holders: Option<Vec<Holder<'a>>>,
    holders_unseen: u64,
}

#[derive(serde::Serialize)]
struct SourceRow {
    netns: Option<u64>,
    address: IpAddr,
    count: u64,
}

impl<'a> SnatRow<'a> {
    /// The row of a destination.
    pub(super) fn of(report: &'a Report<'_>, budget: &SnatBudget) -> Self {
        let source = |((netns, address), count): &((_, IpAddr), u64)| SourceRow {
            netns: netns_inode(report, *netns),
            address: *address,
            count: *count,
        };
        Self {
            destination: budget.destination.to_string(),
            used: budget.used,
            limit: budget.limit,
            remaining: budget.remaining(),
            ratio: share_of(budget.used, budget.limit.into()),
            states: States(budget.states),
            sources: budget.sources.iter().map(source).collect(),
            holders: Holder::list(report, &budget.holders, budget.holders_unseen),
            holders_unseen: budget.holders_unseen,
        }
    }
}
