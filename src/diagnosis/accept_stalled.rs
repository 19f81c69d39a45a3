//! A listener whose program does not call `accept()`: connections wait in its queue until their peers give up, and stand in
//! CLOSE-WAIT with no inode and no holder. They are the listener's, not a leak of a program that forgot to close.
//!
//! The queue is first in, first out: one connection that has waited for longer than `stuck_after` proves that nothing was
//! accepted for so long. It is graded by how many were given up (`stuck`) and by how full the
//! queue is (`accept`); below both it is an Info, since a program that serves one client at a time does this by design.

use crate::census::ListenerCensus;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit};
use crate::diagnosis::fix::{self, Omission};
use crate::diagnosis::listener_backlog;
use crate::diagnosis::remedy;
use crate::diagnosis::scene::Scene;
use crate::model::process::Runtime;
use crate::model::wording::{age, counted};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.listeners.iter().filter_map(|listener| judge_one(scene, listener)).collect()
}

/// How bad the stall is; `None` when there is none. The rule on accept queues leaves listeners to this one that are judged
/// here.
pub(super) fn severity(scene: &Scene<'_>, listener: &ListenerCensus) -> Option<Severity> {
    let policy = scene.policy;
    if listener.close_wait_not_accepted == 0 {
        return None;
    }
    let many = policy.stuck.grade_count(listener.close_wait_not_accepted);
    let Some(oldest) = listener.oldest_not_accepted else {
        return many.map(|_| Severity::Unknown);
    };
    if oldest.at_least < policy.stuck_after {
        return None;
    }
    let full = listener_backlog::severity(scene, listener);
    Some(full.max(many).unwrap_or(Severity::Info))
}

fn judge_one(scene: &Scene<'_>, listener: &ListenerCensus) -> Option<Finding> {
    let severity = severity(scene, listener)?;
    let who = scene.who_all(&listener.holders);
    let gave_up = counted(listener.close_wait_not_accepted, "connection", "connections");
    let since = match listener.oldest_not_accepted {
        Some(oldest) => format!("the oldest {}", age(oldest.at_least, oldest.at_most, oldest.exact)),
        None => "how long they wait is not known".to_owned(),
    };
    let first = listener.holders.first();
    let runtime = first.and_then(|first| scene.process(*first)).map_or(Runtime::Unknown, |process| process.runtime);
    let mut remedies: Vec<Remedy> = Vec::new();
    if let Some(first) = first {
        remedies.push(remedy::restart(scene, *first, "drops the queue and accepts again"));
    }
    remedies.push(fix::of(runtime, Omission::Read));
    Some(Finding {
        rule: Rule::AcceptStalled,
        severity,
        confidence: if listener.oldest_not_accepted.is_some() { Confidence::Certain } else { Confidence::Hint },
        subject: Subject::Listener { netns: listener.netns, local: listener.local },
        summary: format!(
            "{who} does not accept on {}{}: {gave_up} in CLOSE-WAIT that no program holds yet, {since}",
            listener.local,
            scene.place(listener.netns)
        ),
        details: vec![
            format!(
                "The peers connected, waited and closed. These sockets have no descriptor and no process: {} in the accept \
                 queue.",
                listener_backlog::queue(listener)
            ),
            "The program is blocked, stopped, or has no descriptor left for accept() (EMFILE).".to_owned(),
        ],
        evidence: evidence(scene, listener, severity),
        remedies,
        will_not_help: vec![
            "a longer backlog (somaxconn) only lets more connections wait".to_owned(),
            "tcp_fin_timeout and tcp_tw_reuse do not touch CLOSE-WAIT".to_owned(),
        ],
    })
}

fn evidence(scene: &Scene<'_>, listener: &ListenerCensus, severity: Severity) -> Vec<Evidence> {
    let stuck = scene.policy.stuck.of(Severity::Warning);
    let mut evidence = vec![
        Evidence::count("close_wait_not_accepted", listener.close_wait_not_accepted, stuck, Unit::Sockets),
        Evidence {
            name: "oldest_at_least",
            observed: listener.oldest_not_accepted.map(|oldest| oldest.at_least.as_secs_f64()),
            threshold: Some(scene.policy.stuck_after.as_secs_f64()),
            unit: Unit::Seconds,
        },
    ];
    evidence.extend(listener_backlog::evidence(scene, listener, severity));
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, exactly};

    fn stalled(waiting: u32, limit: u32, gave_up: u64, seconds: u64) -> Script {
        let mut script = Script::new();
        let process = script.process("gunicorn", 50);
        let listener = script.listener(process, 8000);
        listener.waiting = waiting;
        listener.limit = Some(limit);
        listener.close_wait_not_accepted = gave_up;
        listener.oldest_not_accepted = Some(exactly(seconds));
        script.census.unowned.close_wait = gave_up;
        script.census.unowned.close_wait_not_accepted = gave_up;
        script
    }

    #[test]
    fn a_program_that_does_not_accept_is_named_by_its_listener() {
        let finding = stalled(40, 128, 30, 300).only(Rule::AcceptStalled);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Certain));
        assert_eq!(
            finding.summary,
            "gunicorn[50] does not accept on 0.0.0.0:8000: 30 connections in CLOSE-WAIT that no program holds yet, the oldest \
             for 5 min"
        );
    }

    #[test]
    fn it_is_no_leak_of_a_program_that_forgot_to_close() {
        stalled(40, 128, 30, 300).none(Rule::CloseWaitLeak);
    }

    #[test]
    fn a_full_queue_is_critical_and_told_once() {
        let script = stalled(129, 128, 129, 300);
        assert_eq!(script.only(Rule::AcceptStalled).severity, Severity::Critical);
        script.none(Rule::ListenerBacklog);
    }

    #[test]
    fn peers_that_gave_up_a_moment_ago_are_no_finding() {
        stalled(40, 128, 30, 59).none(Rule::AcceptStalled);
    }

    #[test]
    fn a_single_one_is_worth_knowing_and_unknown_ages_are_unknown() {
        assert_eq!(stalled(1, 128, 1, 300).only(Rule::AcceptStalled).severity, Severity::Info);
        let mut script = stalled(40, 128, 30, 300);
        script.census.listeners[0].oldest_not_accepted = None;
        assert_eq!(script.only(Rule::AcceptStalled).severity, Severity::Unknown);
    }
}
