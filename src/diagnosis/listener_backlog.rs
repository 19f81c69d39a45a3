//! An accept queue that is nearly full: the kernel then drops finished handshakes, and clients see slow connects.

use crate::census::ListenerCensus;
use crate::diagnosis::accept_stalled;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::scene::{Scene, share};
use crate::model::wording::{count, percent};

/// So few waiting connections are a burst between two calls of `accept()`, however short the queue.
const FEW_WAITING: u32 = 8;

/// How the queue is made longer.
const LONGER_BACKLOG: &str =
    "let more connections wait: a larger backlog in listen(), and net.core.somaxconn, which caps it, at least as large";

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.listeners.iter().filter_map(|listener| judge_one(scene, listener)).collect()
}

/// How bad the queue's length is by itself.
pub(super) fn severity(scene: &Scene<'_>, listener: &ListenerCensus) -> Option<Severity> {
    scene.policy.accept.grade(fullness(listener)?)
}

/// The used share of the queue; `None` when it is not known, or when so few wait that the share says nothing. A queue is full
/// when more wait than its limit (kernel `sk_acceptq_is_full`).
pub(super) fn fullness(listener: &ListenerCensus) -> Option<f64> {
    let limit = listener.limit?;
    let says_something = listener.waiting >= FEW_WAITING || listener.waiting > limit;
    says_something.then(|| share(listener.waiting.into(), limit.into()))
}

/// `129 of 128 connections`.
pub(super) fn queue(listener: &ListenerCensus) -> String {
    match listener.limit {
        Some(limit) => format!("{} of {} connections wait", count(listener.waiting.into()), count(limit.into())),
        None => format!("{} connections wait (the limit is not known)", count(listener.waiting.into())),
    }
}

/// The numbers of the queue.
pub(super) fn evidence(scene: &Scene<'_>, listener: &ListenerCensus, severity: Severity) -> Vec<Evidence> {
    let mut evidence = vec![Evidence::count("waiting", listener.waiting.into(), None, Unit::Sockets)];
    if let Some(limit) = listener.limit {
        let used = share(listener.waiting.into(), limit.into());
        evidence.push(Evidence::count("limit", limit.into(), None, Unit::Sockets));
        evidence.push(Evidence::ratio("accept_queue_ratio", used, scene.policy.accept.of(severity)));
    }
    evidence
}

fn judge_one(scene: &Scene<'_>, listener: &ListenerCensus) -> Option<Finding> {
    let severity = severity(scene, listener)?;
    if accept_stalled::severity(scene, listener).is_some_and(|stalled| stalled >= severity) {
        return None;
    }
    let over = listener.limit.is_some_and(|limit| listener.waiting > limit);
    let used = listener
        .limit
        .map_or_else(String::new, |limit| format!(" ({})", percent(share(listener.waiting.into(), limit.into()))));
    let overflows = scene.namespace(listener.netns).and_then(|namespace| namespace.counters.listen_overflows);
    let mut details =
        vec!["When the queue is full the kernel drops finished handshakes: clients wait and try again.".to_owned()];
    if let Some(overflows) = overflows.filter(|overflows| *overflows > 0) {
        details.push(format!(
            "ListenOverflows has counted {} since the namespace was made, at all its listeners.",
            count(overflows)
        ));
    }
    Some(Finding {
        rule: Rule::ListenerBacklog,
        severity,
        confidence: if over { Confidence::Certain } else { Confidence::Likely },
        subject: Subject::Listener { netns: listener.netns, local: listener.local },
        summary: format!(
            "{} at listener {}{} of {}{used}",
            queue(listener),
            listener.local,
            scene.place(listener.netns),
            scene.who_all(&listener.holders)
        ),
        details,
        evidence: evidence(scene, listener, severity),
        remedies: vec![
            Remedy::new(When::Soon, LONGER_BACKLOG),
            Remedy::new(
                When::Fix,
                "accept faster: more workers or a loop that only accepts; look what the program waits for",
            ),
        ],
        will_not_help: vec!["tcp_max_syn_backlog concerns handshakes that are not finished, not this queue".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::Script;

    fn queue_of(waiting: u32, limit: Option<u32>) -> Script {
        let mut script = Script::new();
        let process = script.process("nginx", 88);
        let listener = script.listener(process, 8080);
        listener.waiting = waiting;
        listener.limit = limit;
        script
    }

    #[test]
    fn a_queue_is_graded_by_its_limit() {
        let full = queue_of(129, Some(128)).only(Rule::ListenerBacklog);
        assert_eq!((full.severity, full.confidence), (Severity::Critical, Confidence::Certain));
        assert_eq!(full.summary, "129 of 128 connections wait at listener 0.0.0.0:8080 of nginx[88] (100 %)");
        let filling = queue_of(90, Some(128)).only(Rule::ListenerBacklog);
        assert_eq!((filling.severity, filling.confidence), (Severity::Warning, Confidence::Likely));
    }

    #[test]
    fn a_short_burst_and_an_unknown_limit_are_no_finding() {
        queue_of(89, Some(128)).none(Rule::ListenerBacklog);
        queue_of(5, Some(5)).none(Rule::ListenerBacklog);
        queue_of(5000, None).none(Rule::ListenerBacklog);
        assert_eq!(queue_of(6, Some(5)).only(Rule::ListenerBacklog).severity, Severity::Critical);
    }
}
