//! Connections that this host closed first fill a pool in TIME-WAIT, and `connect()` may not take them over.
//!
//! What can be taken over (`tcp_tw_reuse`, old enough, with timestamps) is counted as left, not here.

use crate::census::pools::PortPool;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Subject, Unit, When};
use crate::diagnosis::port_pool::{KEEP_CONNECTIONS, no_cure_for_time_wait, reuse_time_wait};
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, ports_share, route};
use crate::model::state::TcpState;
use crate::model::wording::{count, percent};

/// How long TIME-WAIT lasts (TCP_TIMEWAIT_LEN, kernel include/net/tcp.h).
const TIME_WAIT_SECONDS: u64 = 60;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    scene.census.port_pools.iter().filter_map(|pool| judge_one(scene, pool)).collect()
}

fn judge_one(scene: &Scene<'_>, pool: &PortPool) -> Option<Finding> {
    let held = held_by_time_wait(pool);
    if held == 0 {
        return None;
    }
    let held_share = ports_share(held, pool.usable);
    let severity = scene.policy.time_wait.grade(held_share)?;
    let mut remedies: Vec<Remedy> = reuse_time_wait(scene, pool.netns).into_iter().collect();
    remedies.extend(remedy::wider_range(scene, pool.netns));
    remedies.push(Remedy::new(When::Fix, KEEP_CONNECTIONS));
    Some(Finding {
        rule: Rule::TimeWaitChurn,
        severity,
        confidence: Confidence::Likely,
        subject: Subject::PortPool { netns: pool.netns, source: pool.source, destination: pool.destination },
        summary: format!(
            "TIME-WAIT holds {} of {} ports ({}) {}{}: about {} connections a second are closed here",
            count(held.into()),
            count(pool.usable.into()),
            percent(held_share),
            route(pool.source, &pool.destination),
            scene.place(pool.netns),
            count(pool.states[TcpState::TimeWait].div_ceil(TIME_WAIT_SECONDS)),
        ),
        details: vec![
            "TIME-WAIT is no leak: it ends by itself after 60 s and keeps late segments out of the next connection."
                .to_owned(),
        ],
        evidence: vec![
            Evidence::ratio("time_wait_ratio", held_share, scene.policy.time_wait.of(severity)),
            Evidence::count("time_wait_held", held.into(), None, Unit::Ports),
            Evidence::count("time_wait", pool.states[TcpState::TimeWait], None, Unit::Sockets),
        ],
        remedies,
        will_not_help: no_cure_for_time_wait(),
    })
}

/// The ports of the pool that only a TIME-WAIT holds and that cannot be taken over: the used ones, less those that are
/// bound, less one for each connection in another state. A connection from outside the range makes it too few, never too
/// many.
fn held_by_time_wait(pool: &PortPool) -> u32 {
    let in_time_wait = pool.states[TcpState::TimeWait];
    let others = pool.states.total() - in_time_wait;
    let left_over = u64::from(pool.used.saturating_sub(pool.blocked)).saturating_sub(others);
    u32::try_from(left_over.min(in_time_wait)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::finding::Severity;
    use crate::diagnosis::scripted::{Script, endpoint};
    use crate::model::ports::TimeWaitReuse;

    fn churn(used: u32, time_wait: u64, open: u64) -> Script {
        let mut script = Script::new();
        let pool = script.pool(endpoint("10.0.3.7:443"), used);
        pool.states[TcpState::TimeWait] = time_wait;
        pool.states[TcpState::Established] = open;
        script
    }

    #[test]
    fn time_wait_that_fills_a_pool_is_named_with_its_cure() {
        let mut script = churn(15_000, 14_990, 10);
        script.namespace().ports.tw_reuse = Some(TimeWaitReuse::Loopback);
        let finding = script.only(Rule::TimeWaitChurn);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.summary,
            "TIME-WAIT holds 14,990 of 28,232 ports (53 %) from 10.0.0.5 to 10.0.3.7:443: about 250 connections a second are \
             closed here"
        );
        assert_eq!(finding.remedies[0].command.as_deref(), Some("sysctl -w net.ipv4.tcp_tw_reuse=1"));
        assert!(finding.will_not_help[0].starts_with("tcp_fin_timeout does not shorten TIME-WAIT"));
        script.none(Rule::CloseWaitLeak);
    }

    #[test]
    fn time_wait_that_connect_may_take_over_is_no_finding() {
        churn(10, 27_000, 10).none(Rule::TimeWaitChurn);
        churn(14_500, 10_000, 14_400).none(Rule::TimeWaitChurn);
    }

    #[test]
    fn what_is_set_already_is_not_advised() {
        let mut script = churn(15_000, 14_990, 10);
        script.namespace().ports.tw_reuse = Some(TimeWaitReuse::Global);
        let finding = script.only(Rule::TimeWaitChurn);
        assert!(finding.remedies.iter().all(|remedy| !remedy.text.contains("take over")));
    }
}
