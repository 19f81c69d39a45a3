//! Open connections whose data nobody reads: the leak of a response whose body is too large for the receive buffer. The peer
//! cannot send its FIN before the rest, so the connection stays ESTABLISHED at both ends.
//!
//! Counted is what has had data in the receive queue and received nothing for longer than `stuck_after`; as many as `stuck`
//! of one process are a finding. A consumer that pauses on purpose looks the same, so it is never certain.

use std::collections::HashSet;

use crate::census::UnreadCensus;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Rule, Severity, Unit};
use crate::diagnosis::fix::{self, Omission};
use crate::diagnosis::owner::Owner;
use crate::diagnosis::remedy;
use crate::diagnosis::scene::Scene;
use crate::model::socket::NetNsIndex;
use crate::model::tuple::Endpoint;
use crate::model::wording::{counted, span};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let census = scene.census;
    let known = census.processes.iter().map(|seen| (Owner::Process(seen.process), seen.netns, &seen.unread));
    let strangers = census.strangers.iter().map(|seen| (Owner::of(seen), seen.netns, &seen.unread));
    let graded = known.chain(strangers).filter_map(|(owner, netns, unread)| {
        Some(Stalled { owner, netns, unread, severity: scene.policy.stuck.grade_count(unread.stalled)? })
    });
    let stalled: Vec<Stalled<'_>> = graded.collect();
    let destinations = if stalled.is_empty() { HashSet::new() } else { scene.destinations() };
    stalled.iter().map(|stalled| judge_one(scene, stalled, &destinations)).collect()
}

struct Stalled<'a> {
    owner: Owner,
    netns: NetNsIndex,
    unread: &'a UnreadCensus,
    severity: Severity,
}

fn judge_one(scene: &Scene<'_>, stalled: &Stalled<'_>, destinations: &HashSet<(NetNsIndex, Endpoint)>) -> Finding {
    let Stalled { owner, netns, unread, severity } = *stalled;
    let goes_out = |peer: &&(Endpoint, u64)| destinations.contains(&(netns, peer.0));
    let n_outbound: u64 = unread.destinations.iter().filter(goes_out).map(|(_, n)| n).sum();
    let omission = if n_outbound * 2 >= unread.stalled { Omission::Response } else { Omission::Read };
    let peers = match unread.destinations.as_slice() {
        [] => String::new(),
        [(first, _), others @ ..] => format!(" with {first}{}", remedy::and_more(others.len(), "peer", "peers")),
    };
    let since = unread.oldest.map_or_else(String::new, |oldest| format!(", the longest for {}", span(oldest)));
    let mean = unread.bytes / unread.stalled.max(1);
    Finding {
        rule: Rule::ReceiveStalled,
        severity,
        confidence: Confidence::Likely,
        subject: owner.subject(netns),
        summary: format!(
            "{} {} open whose data nobody reads{peers}{}{since}",
            owner.holds(scene),
            counted(unread.stalled, "connection", "connections"),
            scene.place(netns)
        ),
        details: [
            format!(
                "{} unread on each on average. While the receive buffer is full the peer cannot end the connection: it \
                 becomes CLOSE-WAIT only when somebody reads, or never.",
                counted(mean, "byte", "bytes")
            ),
            "A consumer that pauses on purpose looks the same; then the number does not grow.".to_owned(),
        ]
        .into_iter()
        .chain(owner.why_unknown().map(str::to_owned))
        .collect(),
        evidence: vec![
            Evidence::count("receive_stalled", unread.stalled, scene.policy.stuck.of(severity), Unit::Sockets),
            Evidence::count("unread_bytes", unread.bytes, None, Unit::Bytes),
            Evidence {
                name: "oldest",
                observed: unread.oldest.map(|oldest| oldest.as_secs_f64()),
                threshold: Some(scene.policy.stuck_after.as_secs_f64()),
                unit: Unit::Seconds,
            },
        ],
        remedies: vec![owner.restart(scene), fix::of(owner.runtime(scene), omission)],
        will_not_help: vec![
            "keepalive does not end them: the peer is alive and answers".to_owned(),
            "larger receive buffers (tcp_rmem) only keep more unread data".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::finding::Subject;
    use crate::diagnosis::scripted::{Script, endpoint};

    #[test]
    fn a_process_that_leaves_large_bodies_unread_is_named() {
        let mut script = Script::new();
        let process = script.process("crawler", 9);
        script.destination(endpoint("10.0.3.7:443"));
        script.unread(process, 12, 12 * 65_536, endpoint("10.0.3.7:443"));
        let finding = script.only(Rule::ReceiveStalled);
        assert_eq!((finding.severity, &finding.subject), (Severity::Warning, &Subject::Process(process)));
        assert_eq!(
            finding.summary,
            "crawler[9] holds 12 connections open whose data nobody reads with 10.0.3.7:443, the longest for 10 min"
        );
        assert!(finding.details[0].starts_with("65,536 bytes unread on each"), "{}", finding.details[0]);
    }

    #[test]
    fn a_few_slow_readers_are_no_finding() {
        let mut script = Script::new();
        let process = script.process("crawler", 9);
        script.unread(process, 9, 9 * 65_536, endpoint("10.0.3.7:443"));
        script.none(Rule::ReceiveStalled);
    }
}
