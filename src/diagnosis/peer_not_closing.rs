//! FIN-WAIT-2 that piles up with one peer: this host has closed, the peer has not.
//!
//! An Info, because it is told elsewhere or harms nobody here:
//! - the other ends are on this host too, in CLOSE-WAIT: their holder is the one to blame;
//! - they came in, no process holds them, and they end by `tcp_fin_timeout`: they hold no ephemeral port.

use std::collections::HashSet;

use crate::census::{Direction, PeerCensus};
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::scene::Scene;
use crate::model::socket::{SocketKind, SocketRecord};
use crate::model::state::TcpState;
use crate::model::tuple::{Endpoint, FourTuple};
use crate::model::wording::{count, counted};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let many = |peer: &&PeerCensus| scene.policy.fin_wait2.grade(peer.states[TcpState::FinWait2]).is_some();
    let peers: Vec<&PeerCensus> = scene.census.peers.iter().filter(many).collect();
    if peers.is_empty() {
        return Vec::new();
    }
    let close_wait = scene.snapshot.sockets.iter().filter(|socket| socket.is_close_wait());
    let other_ends: HashSet<FourTuple> = close_wait.map(|socket| reversed(&socket.tuple)).collect();
    peers.into_iter().filter_map(|peer| judge_one(scene, peer, &other_ends)).collect()
}

fn reversed(tuple: &FourTuple) -> FourTuple {
    FourTuple { local: tuple.remote, remote: tuple.local }
}

/// Of the peer's FIN-WAIT-2: how many no process holds, and how many of the other ends stand in CLOSE-WAIT here.
struct Kinds {
    orphans: u64,
    paired: u64,
}

fn kinds(scene: &Scene<'_>, peer: &PeerCensus, other_ends: &HashSet<FourTuple>) -> Kinds {
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
    let mut kinds = Kinds { orphans: 0, paired: 0 };
    for socket in scene.snapshot.sockets.iter().filter(theirs) {
        kinds.orphans += u64::from(socket.kind == SocketKind::TimeWait || socket.inode.is_none());
        kinds.paired += u64::from(other_ends.contains(&socket.tuple));
    }
    kinds
}

fn judge_one(scene: &Scene<'_>, peer: &PeerCensus, other_ends: &HashSet<FourTuple>) -> Option<Finding> {
    let n = peer.states[TcpState::FinWait2];
    let graded = scene.policy.fin_wait2.grade(n)?;
    let kinds = kinds(scene, peer, other_ends);
    let here = kinds.paired * 2 >= n;
    let orphans = kinds.orphans * 2 >= n;
    let harmless = orphans && peer.direction == Direction::Inbound && graded == Severity::Warning;
    let severity = if here || harmless { Severity::Info } else { graded };
    let (whom, subject_endpoint) = match peer.direction {
        Direction::Outbound => (format!("to {}", Endpoint::new(peer.address, peer.port)), peer.port),
        Direction::Inbound => (format!("from {} on port {}", peer.address, peer.port), peer.port),
    };
    let why =
        if here { "their other ends are on this host, in CLOSE-WAIT" } else { "the peer does not close its side" };
    Some(Finding {
        rule: Rule::PeerNotClosing,
        severity,
        confidence: if here { Confidence::Certain } else { Confidence::Likely },
        subject: Subject::Peer {
            netns: peer.netns,
            direction: peer.direction,
            endpoint: Endpoint::new(peer.address, subject_endpoint),
        },
        summary: format!(
            "{} {whom}{} in FIN-WAIT-2: {why}",
            counted(n, "connection", "connections"),
            scene.place(peer.netns)
        ),
        details: details(scene, peer, &kinds),
        evidence: vec![
            Evidence::count("fin_wait2", n, Some(scene.policy.fin_wait2.of(severity)), Unit::Sockets),
            Evidence::count("fin_wait2_orphans", kinds.orphans, None, Unit::Sockets),
            Evidence::count("fin_wait2_peer_here", kinds.paired, None, Unit::Sockets),
        ],
        remedies: remedies(scene, peer, here, orphans),
        will_not_help: vec!["tcp_tw_reuse concerns TIME-WAIT, not FIN-WAIT-2".to_owned()],
    })
}

fn details(scene: &Scene<'_>, peer: &PeerCensus, kinds: &Kinds) -> Vec<String> {
    let timeout = scene.namespace(peer.netns).and_then(|namespace| namespace.ports.fin_timeout_s);
    let mut details = Vec::new();
    if kinds.orphans > 0 {
        let after = timeout.map_or_else(|| "tcp_fin_timeout".to_owned(), |s| format!("{s} s (tcp_fin_timeout)"));
        details.push(format!("{} no process holds: the kernel ends them after {after}.", count(kinds.orphans)));
    }
    let held = peer.states[TcpState::FinWait2].saturating_sub(kinds.orphans);
    if held > 0 {
        details.push(format!(
            "{} a process still holds: it called shutdown() and waits for the peer's end of file; nothing in the kernel ends \
             that.",
            count(held)
        ));
    }
    details.push("At the peer these connections stand in CLOSE-WAIT: the program there does not close.".to_owned());
    details
}

fn remedies(scene: &Scene<'_>, peer: &PeerCensus, here: bool, orphans: bool) -> Vec<Remedy> {
    if here {
        return vec![Remedy::new(When::Fix, "mend the program that holds the other ends in CLOSE-WAIT")];
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
        for nth in 0..120 {
            let (here, there) = (endpoint(&format!("10.0.0.5:{}", 40_000 + nth)), endpoint("10.0.3.7:443"));
            script.socket(TcpState::FinWait2, here, there);
            script.socket(TcpState::CloseWait, there, here);
        }
        let finding = script.only(Rule::PeerNotClosing);
        assert_eq!((finding.severity, finding.confidence), (Severity::Info, Confidence::Certain));
        assert!(finding.summary.ends_with("their other ends are on this host, in CLOSE-WAIT"), "{}", finding.summary);
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
