//! `findings[]`, and what a finding or a wall is about.

use std::net::IpAddr;

use super::rows::netns_inode;
use crate::diagnosis::finding::{Evidence, Finding, Remedy, Subject};
use crate::report::Report;

/// One of `findings[]`.
#[derive(serde::Serialize)]
pub(super) struct FindingRow<'a> {
    rule: &'static str,
    severity: &'static str,
    confidence: &'static str,
    subject: SubjectRow<'a>,
    summary: &'a str,
    details: &'a [String],
    evidence: Vec<EvidenceRow>,
    remedies: Vec<RemedyRow<'a>>,
    will_not_help: &'a [String],
}

#[derive(serde::Serialize)]
struct EvidenceRow {
    name: &'static str,
    observed: Option<f64>,
    threshold: Option<f64>,
    unit: &'static str,
}

#[derive(serde::Serialize)]
struct RemedyRow<'a> {
    when: &'static str,
    text: &'a str,
    command: Option<&'a str>,
}

impl<'a> FindingRow<'a> {
    /// The row of a finding.
    pub(super) fn of(report: &'a Report<'_>, finding: &'a Finding) -> Self {
        Self {
            rule: finding.rule.token(),
            severity: finding.severity.token(),
            confidence: finding.confidence.token(),
            subject: SubjectRow::of(report, &finding.subject),
            summary: &finding.summary,
            details: &finding.details,
            evidence: finding.evidence.iter().map(evidence).collect(),
            remedies: finding.remedies.iter().map(remedy).collect(),
            will_not_help: &finding.will_not_help,
        }
    }
}

fn evidence(evidence: &Evidence) -> EvidenceRow {
    EvidenceRow {
        name: evidence.name,
        observed: evidence.observed,
        threshold: evidence.threshold,
        unit: evidence.unit.token(),
    }
}

fn remedy(remedy: &Remedy) -> RemedyRow<'_> {
    RemedyRow { when: remedy.when.token(), text: &remedy.text, command: remedy.command.as_deref() }
}

/// What something is about; `kind` tells which fields there are.
#[derive(serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum SubjectRow<'a> {
    /// A process.
    Process {
        /// `None` when the index is not of this snapshot.
        pid: Option<u32>,
        /// Its name, as it calls itself.
        name: Option<&'a str>,
        /// Its unit.
        unit: Option<&'a str>,
        /// Its container.
        container: Option<&'a str>,
    },
    /// Connections from a source to a destination.
    PortPool {
        /// The namespace.
        netns: Option<u64>,
        /// The local address.
        source: IpAddr,
        /// The remote end.
        destination: String,
    },
    /// Connections to a destination behind a NAT.
    Snat {
        /// The remote end.
        destination: String,
    },
    /// `bind()` of an address to port 0.
    BindPool {
        /// The namespace.
        netns: Option<u64>,
        /// The address.
        address: IpAddr,
    },
    /// A listener.
    Listener {
        /// The namespace.
        netns: Option<u64>,
        /// Where it listens.
        local: String,
    },
    /// A peer.
    Peer {
        /// The namespace.
        netns: Option<u64>,
        /// Who opened the connections.
        direction: &'static str,
        /// The peer's address.
        address: IpAddr,
        /// Outbound: the peer's port. Inbound: the port here.
        port: u16,
    },
    /// A namespace.
    Namespace {
        /// The namespace.
        netns: Option<u64>,
    },
    /// The host.
    Host,
}

impl<'a> SubjectRow<'a> {
    /// The subject in JSON.
    pub(super) fn of(report: &'a Report<'_>, subject: &Subject) -> Self {
        let inode = |index| netns_inode(report, index);
        match *subject {
            Subject::Process(index) => {
                let process = report.snapshot.processes.get(index.0 as usize);
                let placement = process.and_then(|process| process.placement.as_ref());
                Self::Process {
                    pid: process.map(|process| process.key.pid),
                    name: process.map(|process| &*process.name),
                    unit: placement.and_then(|placement| placement.unit.as_deref()),
                    container: placement.and_then(|placement| placement.container.as_deref()),
                }
            }
            Subject::PortPool { netns, source, destination } => {
                Self::PortPool { netns: inode(netns), source, destination: destination.to_string() }
            }
            Subject::Snat { destination } => Self::Snat { destination: destination.to_string() },
            Subject::BindPool { netns, address } => Self::BindPool { netns: inode(netns), address },
            Subject::Listener { netns, local } => Self::Listener { netns: inode(netns), local: local.to_string() },
            Subject::Peer { netns, direction, endpoint } => Self::Peer {
                netns: inode(netns),
                direction: direction.token(),
                address: endpoint.address,
                port: endpoint.port,
            },
            Subject::Namespace(netns) => Self::Namespace { netns: inode(netns) },
            Subject::Host => Self::Host,
        }
    }
}
