//! The ports of a NAT to one destination, by the budget that the reader gives with `--snat-limit`.
//!
//! It is graded by the thresholds of `ports`, of which it is the other half: a NAT has as few ports for each destination as
//! this host has. What it keeps longer than this host, and what others use behind it, is not seen: it is never certain, and
//! never less than is said.

use crate::census::snat::SnatBudget;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, mostly, share};
use crate::model::state::TcpState;
use crate::model::wording::{count, counted};

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.snat.iter().filter_map(|budget| judge_one(scene, budget)).collect()
}

fn judge_one(scene: &Scene<'_>, budget: &SnatBudget) -> Option<Finding> {
    let used = share(budget.used, budget.limit.into());
    let severity = scene.policy.ports.grade(used)?;
    let state = mostly(&budget.states);
    let holder = match (budget.holders.first(), state) {
        (Some((holder, n)), Some(state)) => {
            format!("; {} holds {}, mostly in {state}", scene.who_and_where(*holder), count(*n))
        }
        (None, Some(state)) => format!("; mostly in {state}, holder not known"),
        (_, None) => String::new(),
    };
    Some(Finding {
        rule: Rule::SnatBudget,
        severity,
        confidence: Confidence::Likely,
        subject: Subject::Snat { destination: budget.destination },
        summary: format!("NAT ports to {}: {}{holder}", budget.destination, used_of(budget)),
        details: details(budget),
        evidence: evidence(scene, budget, used, severity),
        remedies: remedies(scene, budget, state),
        will_not_help: vec![
            "a wider local port range does not widen the NAT's; it lets this host use the budget up faster".to_owned(),
            "more namespaces or source addresses behind the same NAT share the same budget".to_owned(),
        ],
    })
}

/// `900 of 1,024 used, 124 left`.
fn used_of(budget: &SnatBudget) -> String {
    let (used, limit) = (count(budget.used), count(budget.limit.into()));
    match budget.remaining() {
        0 => format!("{used} of {limit} used, none left"),
        left => format!("{used} of {limit} used, at most {} left", count(left)),
    }
}

fn details(budget: &SnatBudget) -> Vec<String> {
    let mut details = Vec::new();
    if budget.sources.len() > 1 {
        details.push(format!(
            "{} share the budget, if they leave under the same address.",
            counted(budget.sources.len() as u64, "source address", "source addresses")
        ));
    }
    details.push(
        "Fewer are left than this says: a NAT keeps its mapping for a time after the connection has ended here, and other \
         hosts may share its address."
            .to_owned(),
    );
    details.push(
        "When a NAT has no port left it drops the SYN: connect() hangs in SYN-SENT and times out, and no error names the cause."
            .to_owned(),
    );
    details
}

fn evidence(scene: &Scene<'_>, budget: &SnatBudget, used: f64, severity: Severity) -> Vec<Evidence> {
    vec![
        Evidence::ratio("snat_used_ratio", used, scene.policy.ports.of(severity)),
        Evidence::count("snat_used", budget.used, None, Unit::Ports),
        Evidence::count("snat_limit", budget.limit.into(), None, Unit::Ports),
        Evidence::count("snat_remaining", budget.remaining(), None, Unit::Ports),
    ]
}

fn remedies(scene: &Scene<'_>, budget: &SnatBudget, state: Option<TcpState>) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if state == Some(TcpState::CloseWait) {
        remedies.extend(
            budget.holders.first().map(|(holder, _)| remedy::restart(scene, *holder, "gives the NAT its ports back")),
        );
        remedies.push(Remedy::new(When::Fix, "mend the leak: close what the peer has closed"));
    } else {
        remedies.push(Remedy::new(
            When::Soon,
            "more addresses for the NAT, or a way to the destination without it (a private endpoint, a public address of \
             this host's own)",
        ));
        remedies.push(Remedy::new(
            When::Fix,
            "keep connections and use them again (keep-alive, a bounded pool) instead of opening one for each request",
        ));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, endpoint};

    fn script(used: u64, state: TcpState) -> Script {
        let mut script = Script::new();
        let process = script.process("crawler", 9);
        let states = &mut script.snat(endpoint("203.0.113.7:443"), used, process).states;
        (states[TcpState::Established], states[state]) = (0, used);
        script
    }

    #[test]
    fn a_budget_is_graded_as_ports_are() {
        script(511, TcpState::Established).none(Rule::SnatBudget);
        let warning = script(512, TcpState::Established).only(Rule::SnatBudget);
        assert_eq!((warning.severity, warning.confidence), (Severity::Warning, Confidence::Likely));
        let critical = script(900, TcpState::Established).only(Rule::SnatBudget);
        assert_eq!(critical.severity, Severity::Critical);
        assert_eq!(
            critical.summary,
            "NAT ports to 203.0.113.7:443: 900 of 1,024 used, at most 124 left; crawler[9] holds 900, mostly in ESTAB"
        );
        let over = script(1_100, TcpState::Established).only(Rule::SnatBudget);
        assert!(over.summary.contains("1,100 of 1,024 used, none left"), "{}", over.summary);
    }

    #[test]
    fn the_cure_fits_the_state() {
        let first = |state| script(900, state).only(Rule::SnatBudget).remedies[0].text.clone();
        assert!(first(TcpState::CloseWait).contains("gives the NAT its ports back"));
        assert!(first(TcpState::TimeWait).starts_with("more addresses for the NAT"));
    }
}
