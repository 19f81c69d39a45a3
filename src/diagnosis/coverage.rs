//! What could not be seen, and whether a leak could hide there.
//!
//! Unknown, because a warning may be hidden: whole sockets, or the ports of a namespace whose range was not read.
//! Info, because the counts stand without it: holders (every socket is still counted, aged and graded by its user), ages (a
//! leak whose age is missing makes an Unknown of its own), ports in part (the numbers are bounds and say so), limits. So is,
//! where the policy says so, what only a missing permission hides.

use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::policy::MissingPermission;
use crate::diagnosis::scene::Scene;
use crate::model::snapshot::{Gap, Hides, Snapshot};
use crate::model::text::printable;
use crate::model::wording::counted;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let ranges_known = are_ranges_known(scene.snapshot);
    let is_blinding = |gap: &&Gap| match gap.hides {
        Hides::Sockets => true,
        Hides::Ports => !ranges_known,
        Hides::Ages | Hides::Owners | Hides::Limits | Hides::Ghosts => false,
    };
    let (blinding, others): (Vec<&Gap>, Vec<&Gap>) = scene.snapshot.gaps.iter().partition(is_blinding);
    let severity = if is_excused(scene, &blinding) { Severity::Info } else { Severity::Unknown };
    let blinding = finding(scene, severity, &blinding).or_else(|| unread_range(scene, ranges_known));
    blinding.into_iter().chain(finding(scene, Severity::Info, &others)).chain(elsewhere(scene)).collect()
}

/// Whether all that is hidden is hidden by a missing permission, and the policy leaves the verdict as it is then. Of ports the
/// range is what counts.
fn is_excused(scene: &Scene<'_>, blinding: &[&Gap]) -> bool {
    let of_ports: Vec<&&Gap> = blinding.iter().filter(|gap| gap.hides == Hides::Ports).collect();
    scene.policy.missing_permission == MissingPermission::Told
        && blinding.iter().all(|gap| gap.hides == Hides::Ports || gap.lacks_permission())
        && (of_ports.is_empty() || of_ports.iter().any(|gap| gap.lacks_permission()))
}

/// Sockets that the host has and that no namespace seen accounts for.
fn elsewhere(scene: &Scene<'_>) -> Option<Finding> {
    let elsewhere = scene.census.coverage.elsewhere?;
    Some(Finding {
        rule: Rule::Coverage,
        severity: Severity::Info,
        confidence: Confidence::Likely,
        subject: Subject::Host,
        summary: format!(
            "this host has about {} in none of the namespaces seen",
            counted(elsewhere, "more TCP socket", "more TCP sockets")
        ),
        details: vec![
            "sockstat counts allocated sockets for the whole host and those in use for each namespace: what is left over is \
             in other namespaces, was never connected, or is a ghost of a process that could not be looked at."
                .to_owned(),
        ],
        evidence: vec![Evidence::count("sockets_elsewhere", elsewhere, None, Unit::Sockets)],
        remedies: Vec::new(),
        will_not_help: Vec::new(),
    })
}

/// Whether the range is known of every namespace in which somebody uses ports. A service that is cut off from the network
/// has a namespace of its own that holds nothing, and a host has many such.
pub(super) fn are_ranges_known(snapshot: &Snapshot) -> bool {
    let unknown: Vec<bool> = snapshot.namespaces.iter().map(|namespace| namespace.ports.range.is_none()).collect();
    if let [only] = unknown.as_slice() {
        return !only;
    }
    !unknown.contains(&true) || !snapshot.sockets.iter().any(|socket| unknown[socket.netns.0 as usize])
}

/// A range that is missing while no gap says why.
fn unread_range(scene: &Scene<'_>, ranges_known: bool) -> Option<Finding> {
    let gap = Gap {
        what: "the ephemeral port range".to_owned(),
        why: "the source does not tell it".to_owned(),
        hides: Hides::Ports,
        count: 1,
    };
    if ranges_known { None } else { finding(scene, Severity::Unknown, &[&gap]) }
}

fn finding(scene: &Scene<'_>, severity: Severity, gaps: &[&Gap]) -> Option<Finding> {
    let (first, others) = gaps.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        n => format!("; and {}", counted(n as u64, "more gap", "more gaps")),
    };
    let coverage = scene.census.coverage;
    let hidden = |hides: Hides| gaps.iter().filter(|gap| gap.hides == hides).map(|gap| gap.count).sum();
    Some(Finding {
        rule: Rule::Coverage,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::Host,
        summary: format!("not seen: {}{more}", sentence(first)),
        details: gaps.iter().map(|gap| format!("{}; it may hide {}.", sentence(gap), what_hides(gap.hides))).collect(),
        evidence: vec![
            Evidence::count("gaps", gaps.len() as u64, None, Unit::Count),
            Evidence::count("sockets_gaps", hidden(Hides::Sockets), None, Unit::Count),
            Evidence::count("owners_gaps", hidden(Hides::Owners), None, Unit::Count),
            Evidence::count("attributed", coverage.attributed, None, Unit::Sockets),
            Evidence::count("attributable", coverage.attributable, None, Unit::Sockets),
        ],
        remedies: remedies(gaps),
        will_not_help: Vec::new(),
    })
}

/// `descriptors of 12 processes (permission denied; needs CAP_SYS_PTRACE)`.
fn sentence(gap: &Gap) -> String {
    format!("{} ({})", printable(&gap.what), printable(&gap.why))
}

/// More privilege shows more only where a gap says that it lacks some.
fn remedies(gaps: &[&Gap]) -> Vec<Remedy> {
    let lacking = gaps.iter().any(|gap| gap.lacks_permission());
    let advice = Remedy::new(When::Now, "look again as root, or with the capability that the gap names");
    if lacking { vec![advice] } else { Vec::new() }
}

fn what_hides(hides: Hides) -> &'static str {
    match hides {
        Hides::Sockets => "whole sockets, and a leak among them",
        Hides::Ports => "how many ports are left",
        Hides::Ages => "how old a CLOSE-WAIT is",
        Hides::Owners => "who holds a socket, and how near its holder is to its limit of descriptors",
        Hides::Limits => "a limit or a counter beside the socket tables",
        Hides::Ghosts => "descriptors of connections that are over, until none are left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::finding::Verdict;
    use crate::diagnosis::scripted::{Script, endpoint};
    use crate::model::socket::NetNsIndex;
    use crate::model::state::TcpState;

    fn script(hides: Hides, n: u64) -> Script {
        let mut script = Script::new();
        let what = format!("descriptors of {n} processes");
        let why = "permission denied; needs CAP_SYS_PTRACE".to_owned();
        script.snapshot.gaps.push(Gap { what, why, hides, count: n });
        script
    }

    #[test]
    fn unseen_sockets_leave_the_verdict_open() {
        let script = script(Hides::Sockets, 1);
        let finding = script.only(Rule::Coverage);
        assert_eq!(finding.severity, Severity::Unknown);
        assert_eq!(script.verdict(), Verdict::Unknown);
        assert!(
            finding.details[0].ends_with("it may hide whole sockets, and a leak among them."),
            "{:?}",
            finding.details
        );
    }

    #[test]
    fn unseen_holders_are_told_and_the_counts_stand() {
        let script = script(Hides::Owners, 12);
        let finding = script.only(Rule::Coverage);
        assert_eq!(finding.severity, Severity::Info);
        assert_eq!(finding.summary, "not seen: descriptors of 12 processes (permission denied; needs CAP_SYS_PTRACE)");
        assert_eq!(script.verdict(), Verdict::Ok);
        assert_eq!(finding.remedies.len(), 1);
    }

    #[test]
    fn what_only_a_missing_permission_hides_is_told_where_the_policy_says_so() {
        let mut script = script(Hides::Sockets, 1);
        script.policy.missing_permission = MissingPermission::Told;
        assert_eq!(script.only(Rule::Coverage).severity, Severity::Info);
        script.namespace().ports.range = None;
        script.snapshot.gaps.push(Gap { hides: Hides::Ports, ..script.snapshot.gaps[0].clone() });
        assert_eq!(script.verdict(), Verdict::Ok);
        script.snapshot.gaps[1].why = "the text does not tell".to_owned();
        assert_eq!(script.verdict(), Verdict::Unknown, "no permission would tell the range");
        script.snapshot.gaps[1] = Gap { why: "the deadline passed".to_owned(), ..script.snapshot.gaps[0].clone() };
        script.namespace().ports.range = Some(crate::model::ports::EphemeralRange { first: 32_768, last: 60_999 });
        assert_eq!(script.verdict(), Verdict::Unknown, "more time would have shown more");
    }

    #[test]
    fn what_no_privilege_shows_gets_no_advice() {
        let mut script = script(Hides::Limits, 1);
        script.snapshot.gaps[0].why = "not shown in this network namespace, only in the initial one".to_owned();
        assert_eq!(script.only(Rule::Coverage).remedies, []);
    }

    #[test]
    fn ports_are_unknown_only_without_a_range() {
        let mut script = script(Hides::Ports, 1);
        assert_eq!(script.verdict(), Verdict::Ok);
        script.namespace().ports.range = None;
        assert_eq!(script.verdict(), Verdict::Unknown);
        script.snapshot.gaps.clear();
        assert_eq!(script.only(Rule::Coverage).severity, Severity::Unknown);
    }

    #[test]
    fn the_range_of_a_namespace_without_sockets_is_not_missed() {
        let mut script = Script::new();
        let mut other = script.namespace().clone();
        other.ports.range = None;
        script.snapshot.namespaces.push(other);
        script.none(Rule::Coverage);
        script.socket(TcpState::Established, endpoint("10.0.0.5:40000"), endpoint("10.0.3.7:80")).netns = NetNsIndex(1);
        assert_eq!(script.only(Rule::Coverage).severity, Severity::Unknown);
    }

    #[test]
    fn a_look_that_missed_nothing_is_no_finding() {
        Script::new().none(Rule::Coverage);
    }

    #[test]
    fn the_words_of_a_gap_cannot_act_on_a_terminal() {
        let mut script = script(Hides::Sockets, 1);
        script.snapshot.gaps[0].what = "namespace \u{1b}[31m\n".to_owned();
        let finding = script.only(Rule::Coverage);
        assert!(finding.summary.contains("namespace \\u{1b}[31m\\n"), "{}", finding.summary);
    }
}
