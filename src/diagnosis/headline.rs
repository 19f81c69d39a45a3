//! The sentence that a report opens with.

use crate::census::pools::PortPool;
use crate::census::{CloseWaitCensus, ProcessCensus};
use crate::diagnosis::finding::{Finding, Rule, Severity, Subject};
use crate::diagnosis::port_pool::{self, state_of};
use crate::diagnosis::scene::{Scene, ports_share};
use crate::model::process::ProcessIndex;
use crate::model::state::TcpState;
use crate::model::wording::{count, counted, percent};

/// The most urgent finding in one sentence, or what was looked for and not found.
///
/// A leak and the pool it drains are one story, and are told in one sentence.
pub(super) fn sentence(scene: &Scene<'_>, findings: &[Finding]) -> String {
    let Some(top) = findings.first().filter(|top| top.severity > Severity::Info) else {
        return nothing_found(scene, findings);
    };
    if top.severity == Severity::Unknown {
        return match top.rule {
            Rule::Coverage => format!("no leak in what could be seen, but {}", top.summary),
            _ => top.summary.clone(),
        };
    }
    let pair = leak_and_pool(scene, findings, top);
    let story = match pair {
        Some((leak, pool)) => merged(scene, leak, pool),
        None => format!("{}{}", top.summary, ports_left(scene, top)),
    };
    let tells_leak = is_leak(top) || pair.is_some();
    let told = if matches!(top.rule, Rule::GhostSockets) { 1 } else { usize::from(tells_leak) };
    let is_bad = |finding: &&Finding| finding.severity >= Severity::Warning;
    let leaks = findings.iter().filter(|finding| is_leak(finding) || finding.rule == Rule::GhostSockets);
    match leaks.filter(is_bad).count() - told {
        0 => story,
        more => format!("{story}; {} found", counted(more as u64, "more leak", "more leaks")),
    }
}

fn is_leak(finding: &Finding) -> bool {
    finding.rule == Rule::CloseWaitLeak
}

/// `no leak seen: 0 stuck CLOSE-WAIT, the fullest port pool is 3 % used (to 10.0.3.7:8086)`.
fn nothing_found(scene: &Scene<'_>, findings: &[Finding]) -> String {
    let census = scene.census;
    let own = |held: &CloseWaitCensus| held.stuck.saturating_sub(held.inherited);
    let known = census.processes.iter().map(|process| own(&process.close_wait));
    let strangers = census.strangers.iter().map(|stranger| own(&stranger.close_wait));
    let stuck = count(known.chain(strangers).sum());
    let close_wait = match census.totals[TcpState::CloseWait] {
        0 => "0 stuck CLOSE-WAIT".to_owned(),
        all => format!("{stuck} of {} CLOSE-WAIT stuck", count(all)),
    };
    let idle = if findings.iter().any(is_leak) { " in what looks like idle pools" } else { "" };
    let share_of = |pool: &&PortPool| ports_share(pool.used, pool.usable);
    let ports = match census.port_pools.iter().max_by(|a, b| share_of(a).total_cmp(&share_of(b))) {
        Some(pool) => {
            let used = percent(ports_share(pool.used, pool.usable));
            format!("the fullest port pool is {used} used (to {}{})", pool.destination, scene.place(pool.netns))
        }
        None => "no ports in use to any destination".to_owned(),
    };
    format!("no leak seen: {close_wait}{idle}, {ports}")
}

/// The leaking process and the short pool, when one of them is the top finding and they are one story.
fn leak_and_pool<'a>(
    scene: &Scene<'a>,
    findings: &[Finding],
    top: &Finding,
) -> Option<(&'a ProcessCensus, &'a PortPool)> {
    let pools = || scene.census.port_pools.iter();
    match (top.rule, &top.subject) {
        (Rule::CloseWaitLeak, Subject::Process(process)) => {
            let leak = census_of(scene, *process)?;
            let drained = pools().filter(|pool| port_pool::severity(scene, pool).is_some() && drains(leak, pool));
            let share_of = |pool: &&PortPool| ports_share(pool.used, pool.usable);
            Some((leak, drained.max_by(|a, b| share_of(a).total_cmp(&share_of(b)))?))
        }
        (Rule::PortPool | Rule::Growth, Subject::PortPool { netns, source, destination }) => {
            let pool =
                pools().find(|pool| (pool.netns, pool.source, pool.destination) == (*netns, *source, *destination))?;
            let (holder, _) = port_pool::largest_holder(pool)?;
            let leak = census_of(scene, holder).filter(|leak| drains(leak, pool))?;
            let told = |finding: &Finding| {
                is_leak(finding) && finding.severity >= Severity::Warning && finding.subject == Subject::Process(holder)
            };
            findings.iter().any(told).then_some((leak, pool))
        }
        _ => None,
    }
}

fn census_of<'a>(scene: &Scene<'a>, process: ProcessIndex) -> Option<&'a ProcessCensus> {
    scene.census.processes.iter().find(|census| census.process == process)
}

fn drains(leak: &ProcessCensus, pool: &PortPool) -> bool {
    leak.netns == pool.netns && leaked_to(leak, pool) > 0
}

fn leaked_to(leak: &ProcessCensus, pool: &PortPool) -> u64 {
    let found = leak.close_wait.destinations.iter().find(|(destination, _)| *destination == pool.destination);
    found.map_or(0, |(_, count)| *count)
}

fn merged(scene: &Scene<'_>, leak: &ProcessCensus, pool: &PortPool) -> String {
    let n = count(leaked_to(leak, pool));
    format!("{}; {} holds {n} in CLOSE-WAIT", state_of(scene, pool), scene.who(leak.process))
}

/// `; 23,232 of 28,232 ports to it are left`, for a leak that has not drained its pool yet.
fn ports_left(scene: &Scene<'_>, top: &Finding) -> String {
    let leak = match &top.subject {
        Subject::Process(process) if is_leak(top) => census_of(scene, *process),
        _ => None,
    };
    let pool = leak.and_then(|leak| {
        let (first, _) = leak.close_wait.destinations.first()?;
        scene.census.port_pools.iter().find(|pool| pool.netns == leak.netns && pool.destination == *first)
    });
    match pool {
        Some(pool) => format!(
            "; {} of {} ports to {} are left",
            count(pool.remaining.into()),
            count(pool.usable.into()),
            pool.destination
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::attribution::Unresolved;
    use crate::diagnosis::scripted::{Script, endpoint, stuck};
    use crate::model::process::ProcessIndex;
    use crate::model::snapshot::{Gap, Hides};
    use crate::model::state::TcpState;

    fn leak(script: &mut Script, name: &str, pid: u32, count: u64) -> ProcessIndex {
        let process = script.process(name, pid);
        script.destination(endpoint("10.0.3.7:8086"));
        script.close_wait(process, stuck(count, 21 * 86_400), &[endpoint("10.0.3.7:8086")]);
        process
    }

    fn pool(script: &mut Script, used: u32, holder: ProcessIndex, held: u64) {
        let pool = script.pool(endpoint("10.0.3.7:8086"), used);
        pool.states[TcpState::CloseWait] = held;
        pool.holders = vec![(holder, held)];
    }

    #[test]
    fn a_leak_and_the_pool_it_drains_are_one_sentence() {
        let mut script = Script::new();
        let process = leak(&mut script, "telegraf", 1234, 27_905);
        pool(&mut script, 27_912, process, 27_905);
        assert_eq!(
            script.headline(),
            "ports from 10.0.0.5 to 10.0.3.7:8086: 27,912 of 28,232 used, 320 left; telegraf[1234] holds 27,905 in CLOSE-WAIT"
        );
    }

    #[test]
    fn an_empty_pool_says_what_connect_says() {
        let mut script = Script::new();
        let process = leak(&mut script, "telegraf", 1234, 900);
        pool(&mut script, 28_232, process, 900);
        assert_eq!(
            script.headline(),
            "ports from 10.0.0.5 to 10.0.3.7:8086: all 28,232 used, none left; connect() fails now with EADDRNOTAVAIL (cannot \
             assign requested address); telegraf[1234] holds 900 in CLOSE-WAIT"
        );
    }

    #[test]
    fn a_leak_that_has_not_drained_its_pool_says_what_is_left() {
        let mut script = Script::new();
        let process = leak(&mut script, "telegraf", 1234, 5_000);
        script.unit(process, "telegraf.service");
        pool(&mut script, 5_000, process, 5_000);
        leak(&mut script, "other", 99, 40);
        leak(&mut script, "third", 98, 40);
        assert_eq!(
            script.headline(),
            "telegraf[1234] (telegraf.service) holds 5,000 sockets in CLOSE-WAIT to 10.0.3.7:8086, the oldest for 21 days; \
             23,232 of 28,232 ports to 10.0.3.7:8086 are left; 2 more leaks found"
        );
    }

    #[test]
    fn a_quiet_host_says_what_was_looked_for() {
        let mut script = Script::new();
        assert_eq!(script.headline(), "no leak seen: 0 stuck CLOSE-WAIT, no ports in use to any destination");
        let process = leak(&mut script, "telegraf", 1234, 3);
        pool(&mut script, 850, process, 3);
        assert_eq!(
            script.headline(),
            "no leak seen: 3 of 3 CLOSE-WAIT stuck, the fullest port pool is 3 % used (to 10.0.3.7:8086)"
        );
    }

    #[test]
    fn what_could_not_be_seen_is_said_before_what_was_not_found() {
        let mut script = Script::new();
        let (what, why) = ("the sockets of namespace web".to_owned(), "needs CAP_SYS_ADMIN".to_owned());
        script.snapshot.gaps.push(Gap { what, why, hides: Hides::Sockets, count: 1 });
        assert_eq!(
            script.headline(),
            "no leak in what could be seen, but not seen: the sockets of namespace web (needs CAP_SYS_ADMIN)"
        );
        leak(&mut script, "telegraf", 1234, 50);
        assert!(script.headline().starts_with("telegraf[1234] holds 50 sockets"), "{}", script.headline());
    }

    #[test]
    fn a_leak_of_the_unseen_is_a_leak() {
        let mut script = Script::new();
        script.destination(endpoint("10.0.3.7:8086"));
        script.strangers(stuck(5_000, 300), Unresolved::NoHolderSeen, endpoint("10.0.3.7:8086"));
        assert_eq!(
            script.headline(),
            "processes of user 999 that could not be seen hold 5,000 sockets in CLOSE-WAIT to 10.0.3.7:8086, the oldest for 5 \
             min"
        );
    }

    #[test]
    fn a_hostile_name_is_written_out() {
        let mut script = Script::new();
        let process = leak(&mut script, ") \u{1b}[31m\n", 1234, 27_905);
        pool(&mut script, 27_912, process, 27_905);
        assert!(
            script.headline().ends_with("; ) \\u{1b}[31m\\n[1234] holds 27,905 in CLOSE-WAIT"),
            "{}",
            script.headline()
        );
    }
}
