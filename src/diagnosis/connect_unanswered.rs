//! SYN-SENT that piles up: connections to one destination that nobody answers, each holding its port for about two minutes.
//!
//! A busy client has some under way at any moment. Where at least as many connections to the destination are established, that
//! is as good an explanation, and the finding is an Info.

use crate::census::{Direction, PeerCensus};
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::Scene;
use crate::model::state::TcpState;
use crate::model::tuple::Endpoint;
use crate::model::wording::counted;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.peers.iter().filter_map(|peer| judge_one(scene, peer)).collect()
}

fn judge_one(scene: &Scene<'_>, peer: &PeerCensus) -> Option<Finding> {
    if peer.direction != Direction::Outbound {
        return None;
    }
    let n = peer.states[TcpState::SynSent];
    let graded = scene.policy.syn_sent.grade_count(n)?;
    let established = peer.states[TcpState::Established];
    let busy = established >= n;
    let severity = if busy { Severity::Info } else { graded };
    let destination = Endpoint::new(peer.address, peer.port);
    let answered = match established {
        0 => "none is established".to_owned(),
        n => format!("{} established", counted(n, "is", "are")),
    };
    let holders = peer.holders.first().map_or_else(String::new, |(first, _)| {
        let others = remedy::and_more(peer.holders.len() - 1, "process", "processes");
        format!(", by {}{others}", scene.who_and_where(*first))
    });
    Some(Finding {
        rule: Rule::ConnectUnanswered,
        severity,
        confidence: if established == 0 { Confidence::Likely } else { Confidence::Hint },
        subject: Subject::Peer { netns: peer.netns, direction: peer.direction, endpoint: destination },
        summary: format!(
            "{} to {destination}{} wait for an answer in SYN-SENT{holders}; {answered}",
            counted(n, "connection", "connections"),
            scene.place(peer.netns)
        ),
        details: vec![
            "No SYN-ACK comes back: the peer is down, a filter drops the packets, or its queues are full. Each holds its port \
             until connect() gives up (tcp_syn_retries, about two minutes by default)."
                .to_owned(),
        ],
        evidence: vec![
            Evidence::count("syn_sent", n, scene.policy.syn_sent.of(severity), Unit::Sockets),
            Evidence::count("established", established, None, Unit::Sockets),
        ],
        remedies: vec![
            Remedy::new(When::Now, format!("look whether {destination} answers from here, and what filters lie between")),
            Remedy::new(When::Fix, "give connect() a timeout of seconds and wait longer between tries (backoff)"),
        ],
        will_not_help: vec!["tcp_tw_reuse and tcp_fin_timeout do not touch SYN-SENT".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, endpoint};

    fn script(syn_sent: u64, established: u64, direction: Direction) -> Script {
        let mut script = Script::new();
        let process = script.process("app", 3);
        let peer = script.peer(direction, endpoint("10.0.3.7:443"));
        peer.states[TcpState::SynSent] = syn_sent;
        peer.states[TcpState::Established] = established;
        peer.holders = vec![(process, syn_sent)];
        script
    }

    #[test]
    fn a_destination_that_does_not_answer_is_named() {
        let finding = script(25, 0, Direction::Outbound).only(Rule::ConnectUnanswered);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Likely));
        assert_eq!(
            finding.summary,
            "25 connections to 10.0.3.7:443 wait for an answer in SYN-SENT, by app[3]; none is established"
        );
    }

    #[test]
    fn a_few_under_way_are_no_finding_and_a_busy_client_is_no_warning() {
        script(19, 0, Direction::Outbound).none(Rule::ConnectUnanswered);
        assert_eq!(script(25, 400, Direction::Outbound).only(Rule::ConnectUnanswered).severity, Severity::Info);
    }
}
