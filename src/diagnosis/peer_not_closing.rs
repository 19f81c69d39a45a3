//! FIN-WAIT-2 that piles up with one peer: this host has closed, the peer has not.
//!
//! An Info, because it is told elsewhere or harms nobody here:
//! - the other ends are on this host too, in CLOSE-WAIT: their holder is the one to blame;
//! - they came in, no process holds them, and they end by `tcp_fin_timeout`: they hold no ephemeral port.

use crate::census::{Direction, PeerCensus};
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::other_end::{self, Keepers};
use crate::diagnosis::scene::Scene;
use crate::model::socket::{SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;
use crate::model::wording::{count, counted};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.peers.iter().filter_map(|peer| judge_one(scene, peer)).collect()
}

/// How many of the peer's FIN-WAIT-2 no process holds.
fn orphans(scene: &Scene<'_>, peer: &PeerCensus) -> u64 {
    let theirs = |socket: &&SocketRecord| {
        let port = match peer.direction {
            Direction::Outbound => socket.tuple.remote.port,
            Direction::Inbound => socket.tuple.local.port,
        };
        socket.state == TcpState::FinWait2
            && socket.netns == peer.netns
            && socket.tuple.remote.address == peer.address
            && port == peer.port
    };
    let is_orphan = |socket: &&SocketRecord| socket.kind == SocketKind::TimeWait || socket.inode.is_none();
    scene.snapshot.sockets.iter().filter(theirs).filter(is_orphan).count() as u64
}

fn judge_one(scene: &Scene<'_>, peer: &PeerCensus) -> Option<Finding> {
    let n = peer.states[TcpState::FinWait2];
    let graded = scene.policy.fin_wait2.grade_count(n)?;
    let (n_orphans, keepers) = (orphans(scene, peer), other_end::keepers(scene, peer));
    let here = keepers.count * 2 >= n;
    let orphans = n_orphans * 2 >= n;
    let harmless = orphans && peer.direction == Direction::Inbound && graded == Severity::Warning;
    let severity = if here || harmless { Severity::Info } else { graded };
    let whom = match peer.direction {
        Direction::Outbound => format!("to {}", Endpoint::new(peer.address, peer.port)),
        Direction::Inbound => format!("from {} on port {}", peer.address, peer.port),
    };
    let why = match keepers.names(scene).filter(|_| here) {
        Some(names) => format!("their other ends are on this host, in CLOSE-WAIT, held by {names}"),
        None => "the peer does not close its side".to_owned(),
    };
    Some(Finding {
        rule: Rule::PeerNotClosing,
        severity,
        confidence: if here { Confidence::Certain } else { Confidence::Likely },
        subject: Subject::Peer {
            netns: peer.netns,
            direction: peer.direction,
            endpoint: Endpoint::new(peer.address, peer.port),
        },
        summary: format!(
            "{} {whom}{} in FIN-WAIT-2: {why}",
            counted(n, "connection", "connections"),
            scene.place(peer.netns)
        ),
        details: details(scene, peer, n_orphans, &keepers),
        evidence: vec![
            Evidence::count("fin_wait2", n, scene.policy.fin_wait2.of(severity), Unit::Sockets),
            Evidence::count("fin_wait2_orphans", n_orphans, None, Unit::Sockets),
            Evidence::count("fin_wait2_peer_here", keepers.count, None, Unit::Sockets),
        ],
        remedies: remedies(scene, peer, here.then_some(&keepers), orphans),
        will_not_help: vec!["tcp_tw_reuse concerns TIME-WAIT, not FIN-WAIT-2".to_owned()],
    })
}

fn details(scene: &Scene<'_>, peer: &PeerCensus, orphans: u64, keepers: &Keepers) -> Vec<String> {
    let timeout = scene.namespace(peer.netns).and_then(|namespace| namespace.ports.fin_timeout_s);
    let mut details = Vec::new();
    if orphans > 0 {
        let after = timeout.map_or_else(|| "tcp_fin_timeout".to_owned(), |s| format!("{s} s (tcp_fin_timeout)"));
        details.push(format!("{} no process holds: the kernel ends them after {after}.", count(orphans)));
    }
    let held = peer.states[TcpState::FinWait2].saturating_sub(orphans);
    if held > 0 {
        details.push(format!(
            "{} a process still holds: it called shutdown() and waits for the peer's end of file; nothing in the kernel ends \
             that.",
            count(held)
        ));
    }
    details.push("At the peer these connections stand in CLOSE-WAIT: the program there does not close.".to_owned());
    if let Some(names) = keepers.names(scene) {
        details.push(format!("{} of the other ends are on this host, held by {names}.", count(keepers.count)));
    }
    details
}

fn remedies(scene: &Scene<'_>, peer: &PeerCensus, here: Option<&Keepers>, orphans: bool) -> Vec<Remedy> {
    if let Some(keepers) = here {
        let who = keepers.names(scene).unwrap_or_else(|| "the program that holds the other ends".to_owned());
        return vec![Remedy::new(When::Fix, format!("mend {who}: it does not close what this end has closed"))];
    }
    let mut remedies = Vec::new();
    if orphans {
        let command = scene.typed_in(peer.netns, "sysctl -w net.ipv4.tcp_fin_timeout=15".to_owned());
        remedies.push(Remedy::new(When::Soon, "keep orphaned FIN-WAIT-2 for a shorter time").with(command));
    }
    remedies.push(Remedy::new(When::Fix, format!("look at {} for CLOSE-WAIT: the leak is there", peer.address)));
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::pairs::EndHolder;
    use crate::diagnosis::scripted::{Script, endpoint};

    fn script(n: u64, direction: Direction) -> Script {
        let mut script = Script::new();
        script.peer(direction, endpoint("10.0.3.7:443")).states[TcpState::FinWait2] = n;
        script
    }

    #[test]
    fn a_peer_that_keeps_its_side_open_is_named() {
        let finding = script(120, Direction::Outbound).only(Rule::PeerNotClosing);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.summary, "120 connections to 10.0.3.7:443 in FIN-WAIT-2: the peer does not close its side");
    }

    #[test]
    fn a_few_that_are_closing_are_no_finding() {
        script(99, Direction::Outbound).none(Rule::PeerNotClosing);
    }

    #[test]
    fn when_the_other_ends_are_here_their_holder_is_to_blame() {
        let mut script = script(120, Direction::Outbound);
        let keeper = script.process("backend", 9);
        script.pair(EndHolder::Held(keeper), EndHolder::Kernel(None), endpoint("10.0.3.7:443"), 120).closed.direction =
            Direction::Outbound;
        let finding = script.only(Rule::PeerNotClosing);
        assert_eq!((finding.severity, finding.confidence), (Severity::Info, Confidence::Certain));
        let words = "their other ends are on this host, in CLOSE-WAIT, held by backend[9]";
        assert!(finding.summary.ends_with(words), "{}", finding.summary);
        assert!(finding.remedies[0].text.starts_with("mend backend[9]: "), "{}", finding.remedies[0].text);
        // Those of another peer are not this one's.
        script.census.pairs.rows[0].server = endpoint("10.0.3.8:443");
        assert_eq!(script.only(Rule::PeerNotClosing).severity, Severity::Warning);
    }

    #[test]
    fn a_few_other_ends_on_this_host_are_told_and_excuse_nobody() {
        let mut script = script(120, Direction::Inbound);
        let keeper = script.process("client", 9);
        let row = script.pair(EndHolder::NotAccepted(Some(keeper)), EndHolder::Unseen, endpoint("10.0.0.5:443"), 20);
        row.client = endpoint("10.0.3.7:1").address;
        let finding = script.only(Rule::PeerNotClosing);
        assert_eq!(finding.severity, Severity::Warning);
        let words = "20 of the other ends are on this host, held by the accept queue of client[9].";
        assert_eq!(finding.details.last().map(String::as_str), Some(words));
    }

    #[test]
    fn orphans_of_incoming_connections_harm_nobody_here() {
        let mut script = script(120, Direction::Inbound);
        for nth in 0..120 {
            let (here, there) = (endpoint("10.0.0.5:443"), endpoint(&format!("10.0.3.7:{}", 40_000 + nth)));
            script.socket(TcpState::FinWait2, here, there).kind = SocketKind::TimeWait;
        }
        assert_eq!(script.only(Rule::PeerNotClosing).severity, Severity::Info);
    }
}
