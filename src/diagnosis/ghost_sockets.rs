//! A process that holds descriptors of connections that are over: the leak that no socket table shows.
//!
//! Blamed is who holds, by itself, as many as the policy's `ghosts`. What is inherited from an older process is blamed there.
//! The kernel itself said of each that its connection is over, twice, so that a finding is certain; how many more there may be
//! in a process that could not be looked at is a gap.

use crate::census::{GhostCensus, ProcessCensus};
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Rule, Severity, Subject, Unit};
use crate::diagnosis::fix::{self, Omission};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::Scene;
use crate::model::process::Runtime;
use crate::model::wording::{count, counted, span};

/// What is had back when the program ends; the ports are free already.
const RELIEF: &str = "frees the descriptors; the leak starts again";

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.processes.iter().filter_map(|seen| judge_one(scene, seen, seen.ghosts?)).collect()
}

fn judge_one(scene: &Scene<'_>, seen: &ProcessCensus, held: GhostCensus) -> Option<Finding> {
    let severity = scene.policy.ghosts.grade_count(held.count - held.inherited.min(held.count))?;
    let runtime = scene.process(seen.process).map_or(Runtime::Unknown, |process| process.runtime);
    Some(Finding {
        rule: Rule::GhostSockets,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::Process(seen.process),
        summary: format!(
            "{} holds {}{} of TCP connections that are over{}; ss shows none of them",
            scene.who_and_where(seen.process),
            if held.at_least { "at least " } else { "" },
            counted(held.count, "descriptor", "descriptors"),
            scene.place(seen.netns)
        ),
        details: details(scene, seen, &held),
        evidence: evidence(scene, seen, &held, severity),
        remedies: vec![remedy::restart(scene, seen.process, RELIEF), fix::of(runtime, omission(&held))],
        will_not_help: vec![
            "ss -K finds nothing to destroy: the sockets are dead, only their descriptors are left".to_owned(),
            "a wider port range, tcp_fin_timeout and tcp_tw_reuse: their ports are free already".to_owned(),
            "keepalive does not close them: it is what finds the peer gone and leaves the descriptor behind".to_owned(),
        ],
    })
}

fn details(scene: &Scene<'_>, seen: &ProcessCensus, held: &GhostCensus) -> Vec<String> {
    let mut details = vec![ends(held), traces(scene, seen, held)];
    if held.inherited > 0 {
        details
            .push(format!("{} are inherited from an older process, which is blamed for them.", count(held.inherited)));
    }
    if held.at_least {
        details.push("There may be more: not all of its descriptors could be looked at.".to_owned());
    }
    let limits = scene.process(seen.process).and_then(|process| process.fds_open.zip(process.fds_limit));
    if let Some((open, limit)) = limits.filter(|(_, limit)| *limit != u64::MAX) {
        details.push(format!(
            "It has {} of {} open; at the limit socket(), accept() and open() fail with EMFILE.",
            count(open),
            counted(limit, "descriptor", "descriptors")
        ));
    }
    details
}

/// How they came about.
fn ends(held: &GhostCensus) -> String {
    let silent = match held.silent_for {
        Some((least, most)) if span(least) == span(most) => {
            format!("; nothing had come from the peer for {}", span(most))
        }
        Some((least, most)) => format!("; nothing had come from the peers for {} to {}", span(least), span(most)),
        None => String::new(),
    };
    match held.refused {
        0 => format!("A reset ended them, or both sides had closed{silent}."),
        refused if refused == held.count => "The peer refused them: connect() failed, and they were kept.".to_owned(),
        refused => format!(
            "A reset ended {}, or both sides had closed{silent}; the peer refused {}.",
            count(held.count - refused),
            count(refused)
        ),
    }
}

/// What the errors that wait tell of the program (`sk_err`, kernel `tcp_reset` and `tcp_write_err`).
fn traces(scene: &Scene<'_>, seen: &ProcessCensus, held: &GhostCensus) -> String {
    let who = scene.who(seen.process);
    match held.untouched {
        0 => format!("{who} has read the error of each, and did not call close()."),
        all if all == held.count => format!("{who} has not touched them since: the error of each waits to be read."),
        some => format!(
            "{who} has not touched {} of them since; of the others it read the error, and did not call close().",
            count(some)
        ),
    }
}

fn omission(held: &GhostCensus) -> Omission {
    let forgotten = held.untouched * 2 > held.count;
    match (forgotten, held.inbound * 2 > held.count) {
        (true, true) => Omission::Read,
        (true, false) => Omission::Response,
        (false, _) => Omission::Release,
    }
}

fn evidence(scene: &Scene<'_>, seen: &ProcessCensus, held: &GhostCensus, severity: Severity) -> Vec<Evidence> {
    let seconds = |name, silent: Option<std::time::Duration>| Evidence {
        name,
        observed: silent.map(|silent| silent.as_secs_f64()),
        threshold: None,
        unit: Unit::Seconds,
    };
    let open = scene.process(seen.process).and_then(|process| process.fds_open);
    let mut evidence = vec![
        Evidence::count("ghosts", held.count, scene.policy.ghosts.of(severity), Unit::Sockets),
        Evidence::count("ghosts_untouched", held.untouched, None, Unit::Sockets),
        Evidence::count("ghosts_refused", held.refused, None, Unit::Sockets),
        Evidence::count("ghosts_inherited", held.inherited, None, Unit::Sockets),
        seconds("silent_at_least", held.silent_for.map(|(least, _)| least)),
        seconds("silent_at_most", held.silent_for.map(|(_, most)| most)),
    ];
    evidence.extend(open.map(|open| Evidence::count("fds_open", open, None, Unit::Descriptors)));
    evidence
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnosis::finding::{Verdict, When};
    use crate::diagnosis::scripted::Script;

    fn reset(count: u64) -> GhostCensus {
        let silent_for = Some((Duration::from_secs(90), Duration::from_secs(3 * 86_400)));
        GhostCensus { count, untouched: count, silent_for, ..GhostCensus::default() }
    }

    fn script(held: GhostCensus) -> Script {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        script.unit(process, "telegraf.service");
        script.runtime(process, Runtime::Go);
        script.fds(process, 1_250, Some(65_536));
        script.ghosts(process, held);
        script
    }

    #[test]
    fn a_leak_that_no_table_shows_is_named_with_its_remedy() {
        let script = script(reset(1_200));
        let finding = script.only(Rule::GhostSockets);
        assert_eq!((finding.severity, finding.confidence), (Severity::Critical, Confidence::Certain));
        assert_eq!(
            script.headline(),
            "telegraf[1234] (telegraf.service) holds 1,200 descriptors of TCP connections that are over; ss shows none of them"
        );
        assert_eq!(
            finding.details[0],
            "A reset ended them, or both sides had closed; nothing had come from the peers for 90 s to 3 days."
        );
        assert!(finding.details[1].contains("has not touched them since"), "{:?}", finding.details);
        assert!(finding.details[2].contains("1,250 of 65,536 descriptors"), "{:?}", finding.details);
        assert_eq!(finding.remedies[0].command.as_deref(), Some("systemctl restart telegraf.service"));
        let fix = finding.remedies.last().expect("a fix");
        assert!(fix.when == When::Fix && fix.text.contains("resp.Body.Close()"), "{}", fix.text);
    }

    #[test]
    fn few_inherited_or_unknown_ones_are_no_finding() {
        for held in [reset(9), GhostCensus { inherited: 495, ..reset(500) }] {
            script(held).none(Rule::GhostSockets);
        }
        let mut unknown = Script::new();
        unknown.process("telegraf", 1234);
        assert_eq!(unknown.verdict(), Verdict::Ok);
    }

    #[test]
    fn who_read_the_error_is_told_to_close() {
        let finding =
            script(GhostCensus { untouched: 0, refused: 40, silent_for: None, ..reset(40) }).only(Rule::GhostSockets);
        assert!(finding.details[0].contains("refused them"), "{:?}", finding.details);
        assert!(finding.details[1].contains("read the error of each"), "{:?}", finding.details);
        assert!(finding.remedies.last().is_some_and(|fix| fix.text.contains("on every error path")));
        let mixed = script(GhostCensus { untouched: 30, inbound: 40, at_least: true, ..reset(40) });
        let finding = mixed.only(Rule::GhostSockets);
        assert!(finding.summary.contains("at least 40 descriptors"), "{}", finding.summary);
        assert!(finding.remedies.last().is_some_and(|fix| fix.text.contains("goroutine")), "a server that is blocked");
    }
}
