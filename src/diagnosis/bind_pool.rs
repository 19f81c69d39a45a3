//! Few ports left for `bind()` to port 0, and for `listen()` without `bind()`: every owner of a port counts here, whatever it
//! is connected to. One finding for each namespace: the addresses share their ports.

use std::collections::BTreeMap;

use crate::census::pools::BindPool;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, ports_share};
use crate::model::socket::NetNsIndex;
use crate::model::wording::count;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let mut short: BTreeMap<NetNsIndex, Vec<(Severity, &BindPool)>> = BTreeMap::new();
    for pool in &scene.census.bind_pools {
        if let Some(severity) = severity(scene, pool) {
            short.entry(pool.netns).or_default().push((severity, pool));
        }
    }
    short.into_values().filter_map(|pools| judge_namespace(scene, &pools)).collect()
}

fn severity(scene: &Scene<'_>, pool: &BindPool) -> Option<Severity> {
    scene.policy.bind_ports.grade(ports_share(pool.used, pool.usable))
}

fn judge_namespace(scene: &Scene<'_>, pools: &[(Severity, &BindPool)]) -> Option<Finding> {
    let (severity, pool) = pools.iter().min_by_key(|(_, pool)| pool.remaining).copied()?;
    let used = ports_share(pool.used, pool.usable);
    let state = if pool.remaining == 0 {
        format!(
            "all {} used, none left; it fails now with EADDRINUSE (address already in use)",
            count(pool.usable.into())
        )
    } else {
        let (used, usable, left) = (pool.used.into(), pool.usable.into(), pool.remaining.into());
        format!("{} of {} used, {} left", count(used), count(usable), count(left))
    };
    let mut remedies: Vec<Remedy> = remedy::wider_range(scene, pool.netns).into_iter().collect();
    remedies.push(Remedy::new(
        When::Fix,
        "where bind() only chooses the source address, set IP_BIND_ADDRESS_NO_PORT (ip(7)): connect() then chooses the port, \
         and may share it between destinations",
    ));
    Some(Finding {
        rule: Rule::BindPool,
        severity,
        confidence: Confidence::Certain,
        subject: Subject::BindPool { netns: pool.netns, address: pool.address },
        summary: format!(
            "ports for bind() of {} to port 0{}{}: {state}",
            pool.address,
            remedy::and_more(pools.len() - 1, "address", "addresses"),
            scene.place(pool.netns)
        ),
        details: vec![
            "Every socket on the port counts, connected ones and TIME-WAIT too. A connect() without bind() is not concerned: \
             it shares ports between destinations."
                .to_owned(),
        ],
        evidence: vec![
            Evidence::ratio("bind_ports_used_ratio", used, scene.policy.bind_ports.of(severity)),
            Evidence::count("ports_used", pool.used.into(), None, Unit::Ports),
            Evidence::count("ports_usable", pool.usable.into(), None, Unit::Ports),
            Evidence::count("ports_remaining", pool.remaining.into(), None, Unit::Ports),
            Evidence::count("ports_remaining_at_least", pool.remaining_at_least.into(), None, Unit::Ports),
        ],
        remedies,
        will_not_help: vec!["SO_REUSEADDR and SO_REUSEPORT do not help bind() to port 0 as long as ip_autobind_reuse is 0".to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::Script;

    #[test]
    fn a_namespace_is_told_of_once_by_its_shortest_address() {
        let mut script = Script::new();
        script.bind_pool("10.0.0.5", 23_000);
        script.bind_pool("0.0.0.0", 28_232);
        script.bind_pool("127.0.0.1", 5);
        let finding = script.only(Rule::BindPool);
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(
            finding.summary,
            "ports for bind() of 0.0.0.0 to port 0 and 1 more address: all 28,232 used, none left; it fails now with \
             EADDRINUSE (address already in use)"
        );
    }

    #[test]
    fn three_quarters_are_no_finding() {
        let mut script = Script::new();
        script.bind_pool("0.0.0.0", 21_174);
        script.none(Rule::BindPool);
    }
}
