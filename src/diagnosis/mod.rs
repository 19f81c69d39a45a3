//! From counts to findings: what is wrong, how sure that is, and what to do.

pub mod policy;

use std::net::IpAddr;

use crate::census::{Census, Direction};
use crate::diagnosis::policy::Policy;
use crate::model::process::ProcessIndex;
use crate::model::snapshot::Snapshot;
use crate::model::socket::NetNsIndex;
use crate::model::tuple::Endpoint;

/// What can be found. The token never changes within a major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A process does not close sockets whose peer has closed.
    CloseWaitLeak,
    /// A process does not read connections that are still open: the same leak, while a large body keeps the FIN away.
    ReceiveStalled,
    /// A program does not call `accept()`.
    AcceptStalled,
    /// Few ports are left to one destination.
    PortPool,
    /// Few ports are left for `bind()` to port 0.
    BindPool,
    /// A process comes near its RLIMIT_NOFILE.
    FdLimit,
    /// TIME-WAIT holds most of a pool.
    TimeWaitChurn,
    /// The accept queue of a listener is nearly full.
    ListenerBacklog,
    /// FIN-WAIT-2 piles up: the peer does not close.
    PeerNotClosing,
    /// SYN-SENT piles up: the peer does not answer.
    ConnectUnanswered,
    /// The connection tracking table is nearly full.
    Conntrack,
    /// Listeners or reservations lie inside the ephemeral range.
    RangeConflict,
    /// Something was not seen.
    Coverage,
}

/// How bad a finding is. The order is that of the reader's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the verdict stays as it is.
    Info,
    /// Something that could be seen may be hidden: see the finding's gaps.
    Unknown,
    /// To be looked at today.
    Warning,
    /// To be looked at now.
    Critical,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// One explanation among several.
    Hint,
    /// The usual explanation of what was seen.
    Likely,
    /// What was seen has no other explanation.
    Certain,
}

/// The overall grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It could not be told whether there is something to do.
    Unknown,
    /// To be looked at today.
    Warning,
    /// To be looked at now.
    Critical,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A process.
    Process(ProcessIndex),
    /// Connections from a source to a destination.
    PortPool {
        /// The namespace.
        netns: NetNsIndex,
        /// The local address.
        source: IpAddr,
        /// The remote end.
        destination: Endpoint,
    },
    /// `bind()` of an address to port 0.
    BindPool {
        /// The namespace.
        netns: NetNsIndex,
        /// The address.
        address: IpAddr,
    },
    /// A listener.
    Listener {
        /// The namespace.
        netns: NetNsIndex,
        /// Where it listens.
        local: Endpoint,
    },
    /// A peer.
    Peer {
        /// The namespace.
        netns: NetNsIndex,
        /// Who opened the connections.
        direction: Direction,
        /// The peer's address; with direction `Inbound` the port is the one here.
        endpoint: Endpoint,
    },
    /// A namespace.
    Namespace(NetNsIndex),
    /// The host.
    Host,
}

/// The unit of a piece of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A plain count of sockets.
    Sockets,
    /// A plain count of ports.
    Ports,
    /// A plain count of descriptors.
    Descriptors,
    /// A plain count of anything else.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A share of one: 0.5 is 50 %.
    Ratio,
}

/// A number that a finding rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What was measured, as a token: `close_wait_stuck`.
    pub name: &'static str,
    /// What was seen; `None` when it is not known.
    pub observed: Option<f64>,
    /// The value it was compared with, if any.
    pub threshold: Option<f64>,
    /// The unit of both.
    pub unit: Unit,
}

/// When a remedy takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum When {
    /// It relieves at once.
    Now,
    /// It buys time.
    Soon,
    /// It ends the cause.
    Fix,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// What it is good for.
    pub when: When,
    /// One sentence.
    pub text: String,
    /// A command to paste, where there is one.
    pub command: Option<String>,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// By which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What it is about.
    pub subject: Subject,
    /// One sentence with its numbers, safe to print.
    pub summary: String,
    /// More sentences, each safe to print: what the numbers mean.
    pub details: Vec<String>,
    /// The numbers.
    pub evidence: Vec<Evidence>,
    /// What to do, `now` before `soon` before `fix`.
    pub remedies: Vec<Remedy>,
    /// What people try and what does not help.
    pub will_not_help: Vec<String>,
}

/// Applies every rule; the most urgent finding first.
#[must_use]
pub fn judge(snapshot: &Snapshot, census: &Census, policy: &Policy) -> Vec<Finding> {
    let _ = (snapshot, census, policy);
    Vec::new()
}

/// Folds findings into one grade: the worst severity there is.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Info) => Verdict::Ok,
        Some(Severity::Unknown) => Verdict::Unknown,
        Some(Severity::Warning) => Verdict::Warning,
        Some(Severity::Critical) => Verdict::Critical,
    }
}

/// The sentence that the report opens with.
#[must_use]
pub fn headline(snapshot: &Snapshot, census: &Census, findings: &[Finding], verdict: Verdict) -> String {
    let _ = (snapshot, census, findings, verdict);
    String::new()
}
