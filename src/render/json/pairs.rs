//! `pairs[]`: the connections of which both ends were seen.

use std::net::IpAddr;

use super::rows::{Who, netns_inode};
use crate::census::pairs::{PairCensus, PairEnd};
use crate::render::words::end_token;
use crate::report::Report;

/// One of `pairs[]`.
#[derive(serde::Serialize)]
pub(super) struct PairRow<'a> {
    client: IpAddr,
    server: String,
    count: u64,
    kept: EndRow<'a>,
    closed: EndRow<'a>,
    fin_wait1: u64,
    fin_wait2_held: u64,
    fin_wait2_orphaned: u64,
}

#[derive(serde::Serialize)]
struct EndRow<'a> {
    netns: Option<u64>,
    direction: &'static str,
    holder: &'static str,
    #[serde(flatten)]
    process: Who<'a>,
}

impl<'a> PairRow<'a> {
    /// The row of the connections between two programs.
    pub(super) fn of(report: &'a Report<'_>, row: &PairCensus) -> Self {
        Self {
            client: row.client,
            server: row.server.to_string(),
            count: row.count,
            kept: EndRow::of(report, &row.kept),
            closed: EndRow::of(report, &row.closed),
            fin_wait1: row.waiting.fin_wait1,
            fin_wait2_held: row.waiting.held,
            fin_wait2_orphaned: row.waiting.orphaned,
        }
    }
}

impl<'a> EndRow<'a> {
    fn of(report: &'a Report<'_>, end: &PairEnd) -> Self {
        Self {
            netns: netns_inode(report, end.netns),
            direction: end.direction.token(),
            holder: end_token(end.holder),
            process: end.holder.process().map_or_else(Who::nobody, |process| Who::of(report, process)),
        }
    }
}
