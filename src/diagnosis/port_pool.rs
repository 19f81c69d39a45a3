//! Few ports left for `connect()` from one source to one destination.
//!
//! The share is of the pool: exhaustion is per destination. Graded is the best single prediction, which is the upper bound of
//! what is left: where the dump leaves doubt, fewer may be left, never more. Where sockets that were bound with `bind()` fill
//! the pools of every destination by themselves, one finding speaks for all of them.

use std::collections::HashMap;

use crate::census::pools::PortPool;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Remedy, Rule, Severity, Subject, Unit, When};
use crate::diagnosis::growth;
use crate::diagnosis::remedy;
use crate::diagnosis::scene::{Scene, mostly, ports_share, route};
use crate::model::ports::TimeWaitReuse;
use crate::model::process::ProcessIndex;
use crate::model::socket::NetNsIndex;
use crate::model::state::TcpState;
use crate::model::wording::{count, counted};

/// What `connect()` does when no port is left.
const FAILS: &str = "connect() fails now with EADDRNOTAVAIL (cannot assign requested address)";

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut blocked: HashMap<NetNsIndex, usize> = HashMap::new();
    for pool in &scene.census.port_pools {
        let Some(severity) = severity(scene, pool) else { continue };
        if !is_blocked(scene, pool) {
            findings.push(judge_one(scene, pool, severity));
        } else if let Some(&first) = blocked.get(&pool.netns) {
            let known: &mut Finding = &mut findings[first];
            known.severity = known.severity.max(severity);
        } else {
            blocked.insert(pool.netns, findings.len());
            findings.push(judge_blocked(scene, pool, severity));
        }
    }
    findings
}

/// How full the pool is; `None` below the warning. A pool without a port is full.
pub(super) fn severity(scene: &Scene<'_>, pool: &PortPool) -> Option<Severity> {
    scene.policy.ports.grade(ports_share(pool.used, pool.usable))
}

/// `ports from 10.0.0.5 to 10.0.3.7:8086: 27,912 of 28,232 used, 320 left`; where they are seen to grow, with the time that is
/// left.
pub(super) fn state_of(scene: &Scene<'_>, pool: &PortPool) -> String {
    let route = route(pool.source, &pool.destination);
    let place = scene.place(pool.netns);
    if pool.usable == 0 {
        return format!("ports {route}{place}: the range has none that is not reserved; {FAILS}");
    }
    if pool.remaining == 0 {
        return format!("ports {route}{place}: all {} used, none left; {FAILS}", count(pool.usable.into()));
    }
    let left = match pool.remaining_at_least {
        least if least < pool.remaining => format!("{} to {}", count(least.into()), count(pool.remaining.into())),
        _ => count(pool.remaining.into()),
    };
    let gone = growth::gone_in(scene, pool);
    format!(
        "ports {route}{place}{gone}: {} of {} used, {left} left",
        count(pool.used.into()),
        count(pool.usable.into())
    )
}

/// The largest holder of the pool's sockets, and how many it holds.
pub(super) fn largest_holder(pool: &PortPool) -> Option<(ProcessIndex, u64)> {
    pool.holders.first().copied()
}

fn judge_one(scene: &Scene<'_>, pool: &PortPool, severity: Severity) -> Finding {
    let state = mostly(&pool.states);
    let holder = largest_holder(pool);
    let held_by = match (holder, state) {
        (Some((holder, n)), Some(state)) => {
            format!("; {} holds {}, mostly in {state}", scene.who_and_where(holder), count(n))
        }
        (None, Some(state)) => format!("; {} in {state}, holder not known", count(pool.states[state])),
        (_, None) => String::new(),
    };
    Finding {
        rule: Rule::PortPool,
        severity,
        confidence: Confidence::Certain,
        subject: subject(pool),
        summary: format!("{}{held_by}", state_of(scene, pool)),
        details: details(scene, pool),
        evidence: evidence(scene, pool, severity),
        remedies: remedies(scene, pool, state),
        will_not_help: will_not_help(scene, pool, state),
    }
}

/// Whether the ports that `bind()` took from every destination make the pool short by themselves.
fn is_blocked(scene: &Scene<'_>, pool: &PortPool) -> bool {
    pool.usable == 0 || scene.policy.ports.grade(ports_share(pool.blocked, pool.usable)).is_some()
}

fn judge_blocked(scene: &Scene<'_>, pool: &PortPool, severity: Severity) -> Finding {
    let pools = scene.census.port_pools.iter().filter(|other| other.netns == pool.netns).count() as u64;
    let mut remedies: Vec<Remedy> = remedy::wider_range(scene, pool.netns).into_iter().collect();
    remedies.push(Remedy::new(
        When::Fix,
        "set IP_BIND_ADDRESS_NO_PORT before a bind() to port 0 that a connect() follows (ip(7)); without it the port is taken \
         from every destination",
    ));
    let whose = "sockets that were bound with bind() or listen";
    Finding {
        rule: Rule::PortPool,
        severity,
        confidence: Confidence::Certain,
        subject: subject(pool),
        summary: format!(
            "{}; {} taken by {whose}, from every destination",
            state_of(scene, pool),
            counted(pool.blocked.into(), "port is", "ports are")
        ),
        details: vec![
            format!(
                "A port with such a socket is passed over whatever the destination: {} of this namespace {} short of ports \
                 alike.",
                counted(pools, "pool", "pools"),
                if pools == 1 { "is" } else { "are" }
            ),
            "List them with: ss -tnB (bound and nothing else; iproute2 6.8) and ss -tln (listening).".to_owned(),
        ],
        evidence: evidence(scene, pool, severity),
        remedies,
        will_not_help: vec!["tcp_tw_reuse and tcp_fin_timeout do not concern bound sockets".to_owned()],
    }
}

fn subject(pool: &PortPool) -> Subject {
    Subject::PortPool { netns: pool.netns, source: pool.source, destination: pool.destination }
}

fn details(scene: &Scene<'_>, pool: &PortPool) -> Vec<String> {
    let mut details = Vec::new();
    if pool.remaining > 0 && ports_share(pool.used, pool.usable) >= 0.5 {
        details.push(
            "From 50 % on every connect() first searches the used-up half of the port numbers: it takes ten times as long."
                .to_owned(),
        );
    }
    details.push("Only this destination is short of ports: connect() to another one still succeeds.".to_owned());
    if pool.blocked > 0 {
        details.push(format!(
            "{} taken from every destination by sockets that were bound with bind() or listen.",
            counted(pool.blocked.into(), "port is", "ports are")
        ));
    }
    if pool.remaining_at_least < pool.remaining {
        details.push(format!(
            "Surely left are {}: of the others the kernel's tables do not tell; --exact asks.",
            count(pool.remaining_at_least.into())
        ));
    }
    if scene.snapshot.namespaces.len() > 1 {
        details.push("Every network namespace has port numbers of its own.".to_owned());
    }
    details
}

fn evidence(scene: &Scene<'_>, pool: &PortPool, severity: Severity) -> Vec<Evidence> {
    let used = ports_share(pool.used, pool.usable);
    vec![
        Evidence::ratio("ports_used_ratio", used, scene.policy.ports.of(severity)),
        Evidence::count("ports_used", pool.used.into(), None, Unit::Ports),
        Evidence::count("ports_usable", pool.usable.into(), None, Unit::Ports),
        Evidence::count("ports_remaining", pool.remaining.into(), None, Unit::Ports),
        Evidence::count("ports_remaining_at_least", pool.remaining_at_least.into(), None, Unit::Ports),
        Evidence::count("ports_blocked", pool.blocked.into(), None, Unit::Ports),
    ]
}

fn remedies(scene: &Scene<'_>, pool: &PortPool, state: Option<TcpState>) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    match state {
        Some(TcpState::CloseWait) => {
            remedies.extend(
                largest_holder(pool).map(|(holder, _)| remedy::restart(scene, holder, "frees the ports that it holds")),
            );
            remedies.push(remedy::destroy_close_wait(scene, pool.netns, &pool.destination));
            remedies.push(Remedy::new(When::Fix, "mend the leak: close what the peer has closed"));
        }
        Some(TcpState::TimeWait) => {
            remedies.extend(reuse_time_wait(scene, pool.netns));
            remedies.extend(remedy::wider_range(scene, pool.netns));
            remedies.push(Remedy::new(When::Fix, KEEP_CONNECTIONS));
        }
        _ => {
            remedies.extend(remedy::wider_range(scene, pool.netns));
            remedies.push(Remedy::new(
                When::Fix,
                "open fewer connections (a bounded pool, several requests on one), or spread them over more source addresses \
                 or more addresses and ports of the destination: each pair has ports of its own",
            ));
        }
    }
    remedies
}

/// How TIME-WAIT comes to be fewer.
pub(super) const KEEP_CONNECTIONS: &str = "keep connections and use them again (keep-alive, a pool with enough idle \
     connections) instead of opening one for each request; the side that closes first keeps the TIME-WAIT";

/// Let `connect()` take over what is old enough.
pub(super) fn reuse_time_wait(scene: &Scene<'_>, netns: NetNsIndex) -> Option<Remedy> {
    let settings = &scene.namespace(netns)?.ports;
    if settings.tw_reuse? == TimeWaitReuse::Global || settings.timestamps == Some(false) {
        return None;
    }
    let text = "let connect() take over a TIME-WAIT that is a second old (both ends need TCP timestamps)";
    let command = scene.typed_in(netns, "sysctl -w net.ipv4.tcp_tw_reuse=1".to_owned());
    Some(Remedy::new(When::Soon, text).with(command))
}

fn will_not_help(scene: &Scene<'_>, pool: &PortPool, state: Option<TcpState>) -> Vec<String> {
    match state {
        Some(TcpState::CloseWait) => {
            let mut sentences = remedy::no_cure_for_close_wait();
            sentences.push(remedy::wider_range_only_delays(scene, pool.netns));
            sentences
        }
        Some(TcpState::TimeWait) => no_cure_for_time_wait(),
        _ => vec!["tcp_tw_reuse and tcp_fin_timeout do not concern connections that are open".to_owned()],
    }
}

/// What people try against TIME-WAIT.
pub(super) fn no_cure_for_time_wait() -> Vec<String> {
    vec![
        "tcp_fin_timeout does not shorten TIME-WAIT, which lasts 60 s in Linux whatever is set; it concerns FIN-WAIT-2"
            .to_owned(),
        "a restart of the program does not free them: the kernel holds them, not the program".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::scripted::{Script, USABLE, endpoint};

    fn script(used: u32, state: TcpState) -> Script {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        let pool = script.pool(endpoint("10.0.3.7:8086"), used);
        pool.states[state] = u64::from(used);
        pool.holders = vec![(process, u64::from(used))];
        script
    }

    #[test]
    fn a_pool_is_graded_by_its_used_share_and_names_who_holds_it() {
        let finding = script(27_912, TcpState::CloseWait).only(Rule::PortPool);
        assert_eq!(finding.severity, Severity::Critical);
        assert_eq!(
            finding.summary,
            "ports from 10.0.0.5 to 10.0.3.7:8086: 27,912 of 28,232 used, 320 left; telegraf[1234] holds 27,912, mostly in \
             CLOSE-WAIT"
        );
        assert_eq!(script(14_116, TcpState::Established).only(Rule::PortPool).severity, Severity::Warning);
    }

    #[test]
    fn an_empty_pool_says_what_connect_says() {
        let finding = script(USABLE, TcpState::Established).only(Rule::PortPool);
        assert_eq!(finding.severity, Severity::Critical);
        assert!(finding.summary.contains("connect() fails now with EADDRNOTAVAIL (cannot assign requested address)"));
    }

    #[test]
    fn a_pool_below_half_is_no_finding_however_large() {
        script(14_115, TcpState::CloseWait).none(Rule::PortPool);
    }

    #[test]
    fn a_range_that_is_reserved_to_the_last_port_is_told() {
        let mut script = script(0, TcpState::Established);
        let pool = &mut script.census.port_pools[0];
        (pool.usable, pool.remaining, pool.remaining_at_least) = (0, 0, 0);
        let finding = script.only(Rule::PortPool);
        assert_eq!(finding.severity, Severity::Critical);
        assert!(finding.summary.contains("the range has none that is not reserved"), "{}", finding.summary);
    }

    #[test]
    fn doubt_is_said_as_bounds() {
        let mut script = script(20_000, TcpState::Established);
        script.census.port_pools[0].remaining_at_least = 8_000;
        assert!(script.only(Rule::PortPool).summary.contains("20,000 of 28,232 used, 8,000 to 8,232 left"));
    }

    #[test]
    fn the_cure_fits_the_state() {
        let fix = |state| script(20_000, state).only(Rule::PortPool).remedies.last().expect("a fix").text.clone();
        assert!(fix(TcpState::CloseWait).starts_with("mend the leak"));
        assert!(fix(TcpState::TimeWait).starts_with("keep connections and use them again"));
        assert!(fix(TcpState::Established).starts_with("open fewer connections"));
        let no = |state| script(20_000, state).only(Rule::PortPool).will_not_help;
        assert!(no(TcpState::CloseWait)[0].starts_with("tcp_fin_timeout and tcp_tw_reuse do not touch CLOSE-WAIT"));
        assert!(no(TcpState::TimeWait).iter().any(|sentence| sentence.starts_with("a restart of the program")));
    }

    #[test]
    fn ports_that_bind_took_from_everyone_are_told_once() {
        let mut script = Script::new();
        for host in 1..=30 {
            let pool = script.pool(endpoint(&format!("10.0.3.{host}:443")), 20_000 + host);
            pool.blocked = 20_000;
        }
        let finding = script.only(Rule::PortPool);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.summary.contains("20,000 ports are taken by sockets that were bound with bind() or listen"));
        assert!(finding.details[0].contains("30 pools of this namespace are short"), "{:?}", finding.details);
    }
}
