//! What can be found: the words of a finding, each with its token for machines.

use std::net::IpAddr;

use crate::census::Direction;
use crate::diagnosis::{RULES, RuleEntry};
use crate::model::process::ProcessIndex;
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
    /// Few ports of a NAT are left to one destination, by the budget that the reader gave.
    SnatBudget,
    /// Few ports are left for `bind()` to port 0.
    BindPool,
    /// A process holds descriptors of connections that are over.
    GhostSockets,
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
    /// Something grows towards its limit, as earlier looks show it.
    Growth,
    /// Something was not seen.
    Coverage,
}

impl Rule {
    /// For machines: `close_wait_leak`. It never changes within a major version.
    #[must_use]
    pub fn token(self) -> &'static str {
        self.entry().token
    }

    /// For people: what the rule finds, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// Reads a rule as people type it: the token, with `-` or `_`, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.to_ascii_lowercase().replace('-', "_");
        RULES.iter().find(|entry| entry.token == plain).map(|entry| entry.rule)
    }

    /// The table has the order of the enum; a test holds that.
    fn entry(self) -> &'static RuleEntry {
        &RULES[self as usize]
    }
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

impl Severity {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
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

impl Confidence {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
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

impl Verdict {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
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
    /// Connections from this host, of all its namespaces, to a destination behind a NAT.
    Snat {
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

impl Subject {
    /// For machines: what kind of thing it is.
    #[must_use]
    pub fn token(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::PortPool { .. } => "port_pool",
            Self::Snat { .. } => "snat",
            Self::BindPool { .. } => "bind_pool",
            Self::Listener { .. } => "listener",
            Self::Peer { .. } => "peer",
            Self::Namespace(_) => "namespace",
            Self::Host => "host",
        }
    }
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

impl Unit {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Ports => "ports",
            Self::Descriptors => "descriptors",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
        }
    }
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

impl Evidence {
    /// A whole number, and the one it was compared with.
    pub(super) fn count(name: &'static str, observed: u64, threshold: Option<f64>, unit: Unit) -> Self {
        Self { name, observed: Some(observed as f64), threshold, unit }
    }

    /// A share, and the one it was compared with.
    pub(super) fn ratio(name: &'static str, observed: f64, threshold: Option<f64>) -> Self {
        Self { name, observed: Some(observed), threshold, unit: Unit::Ratio }
    }
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

impl When {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Soon => "soon",
            Self::Fix => "fix",
        }
    }
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

impl Remedy {
    /// Something to do, without a command.
    pub(super) fn new(when: When, text: impl Into<String>) -> Self {
        Self { when, text: text.into(), command: None }
    }

    /// The same with a command to paste, if there is one.
    pub(super) fn with(self, command: Option<String>) -> Self {
        Self { command, ..self }
    }
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
