//! A look as it was remembered: its numbers under the names of what they were counted of.

use std::time::SystemTime;

use super::numbers::{LimitNumbers, OtherNumbers, PoolNumbers, ProcessNumbers, Spread};
use super::past::{LimitKind, PoolName, Service};
use super::process::ProcessKey;

/// One look, or the looks of one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// When it began; of an hour, when its first look did.
    pub began: SystemTime,
    /// When the last look of the hour began.
    pub ended: SystemTime,
    /// How many looks it is: 1, or as many as the hour had.
    pub looks: u64,
    /// Of which boot the last look was.
    pub boot_id: Option<String>,
    /// The verdict of the last look.
    pub verdict: String,
    /// Whether holders were looked for, each time.
    pub attributed: bool,
    /// The namespaces; the states in the order of [`super::state::TcpState::ALL`].
    pub namespaces: Vec<(String, [Spread; 12])>,
    /// The processes that were listed.
    pub processes: Vec<(Program, ProcessNumbers)>,
    /// What the others held together.
    pub other_processes: OtherNumbers,
    /// The pools that were listed.
    pub pools: Vec<(PoolName, PoolNumbers)>,
    /// What the others held together.
    pub other_pools: OtherNumbers,
    /// The limits that are nobody's own, each with its namespace.
    pub limits: Vec<((LimitKind, Option<String>), LimitNumbers)>,
    /// How many sockets were stuck in all.
    pub n_stuck: Spread,
}

/// A program and the process that it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Which program.
    pub service: Service,
    /// Which process, within its boot.
    pub key: ProcessKey,
    /// The number of the run, as in [`super::past::Point::run`]. Zero is no run's.
    pub run: u64,
}
