//! A program that does not close sockets whose peer has closed.
//!
//! Blamed is who holds, by itself, at least as many CLOSE-WAIT as the policy's `stuck` that are older than `stuck_after`.
//! Not blamed:
//! - who holds many young ones: they drain;
//! - who inherited them from an older process: that one is blamed, and says with how many it shares;
//! - who still writes on them: a half-close in use;
//! - who holds few for each destination and has looked at none: an idle pool whose peers hung up, an Info;
//! - the holder of a listener at which they wait for `accept()`: another rule.
//!
//! Where keepalive answers or later writes hide the age, the upper bound makes a warning that is only likely; where there is
//! no age at all, as many sockets make an Unknown.

mod words;

use std::collections::HashSet;

use crate::census::CloseWaitCensus;
use crate::diagnosis::finding::{Confidence, Evidence, Finding, Rule, Severity, Unit};
use crate::diagnosis::owner::Owner;
use crate::diagnosis::policy::Policy;
use crate::diagnosis::scene::Scene;
use crate::model::socket::NetNsIndex;
use crate::model::tuple::Endpoint;

/// HTTP clients keep few idle connections for each destination by default (Go 2, OkHttp 5, Python's requests 10); so many
/// leave room for those that were told to keep more.
const POOL_PER_DESTINATION: u64 = 20;

/// Bytes that a TLS peer sends when it ends the session: the close_notify record of TLS 1.3 (RFC 8446 section 5.2: header 5,
/// alert 2, type 1, tag 16) and of TLS 1.2 with AES-GCM (RFC 5288: header 5, nonce 8, alert 2, tag 16).
const CLOSE_NOTIFY_BYTES: [u64; 2] = [24, 31];

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let accused = suspects(scene, |blame| scene.policy.stuck.grade_count(blame.possibly).is_some());
    accused.iter().map(judge_one).collect()
}

/// Who holds sockets that are or may be stuck and are its own doing, with how many. What looks like an idle pool is left out,
/// as no finding blames it.
pub(super) fn blamed(scene: &Scene<'_>) -> Vec<(Owner, Blame)> {
    let suspects = suspects(scene, |blame| blame.possibly > 0);
    let own = suspects.iter().filter(|suspect| !looks_like_idle_pool(suspect));
    own.map(|suspect| (suspect.owner, Blame::of(suspect.held))).collect()
}

/// Those whose blame makes them worth a closer look.
fn suspects<'a>(scene: &'a Scene<'a>, is_worth_it: impl Fn(Blame) -> bool) -> Vec<Suspect<'a>> {
    let census = scene.census;
    let known = census.processes.iter().map(|seen| (Owner::Process(seen.process), seen.netns, &seen.close_wait));
    let strangers = census.strangers.iter().map(|seen| (Owner::of(seen), seen.netns, &seen.close_wait));
    let accused: Vec<_> = known.chain(strangers).filter(|(_, _, held)| is_worth_it(Blame::of(held))).collect();
    let destinations = if accused.is_empty() { HashSet::new() } else { scene.destinations() };
    let suspects = accused.into_iter().map(|(owner, netns, held)| {
        let outbound: Vec<_> =
            held.destinations.iter().filter(|(peer, _)| destinations.contains(&(netns, *peer))).collect();
        let n_outbound = outbound.iter().map(|(_, count)| count).sum();
        Suspect { scene, owner, netns, held, outbound, n_outbound }
    });
    suspects.collect()
}

/// Who holds so many sockets that may be stuck that it is worth a closer look.
struct Suspect<'a> {
    scene: &'a Scene<'a>,
    owner: Owner,
    netns: NetNsIndex,
    held: &'a CloseWaitCensus,
    /// The destinations of the sockets that this host opened, most first.
    outbound: Vec<&'a (Endpoint, u64)>,
    /// How many sockets this host opened.
    n_outbound: u64,
}

impl Suspect<'_> {
    fn goes_out(&self) -> bool {
        self.n_outbound * 2 >= self.held.count
    }
}

/// How many sockets surely, perhaps at most, and possibly at most are stuck and this holder's own doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame {
    pub(super) surely: u64,
    perhaps: u64,
    pub(super) possibly: u64,
}

impl Blame {
    /// What is inherited or may be a half-close in use is taken off each number in full, since the census does not tell which
    /// of the sockets it was. Writes refresh the lower bound of an age, so a half-close is first taken for one of
    /// `maybe_stuck`.
    fn of(held: &CloseWaitCensus) -> Self {
        let excused = held.inherited + held.maybe_half_close;
        Self {
            surely: held
                .stuck
                .saturating_sub(held.inherited)
                .saturating_sub(held.maybe_half_close.saturating_sub(held.maybe_stuck)),
            perhaps: (held.stuck + held.maybe_stuck).saturating_sub(excused),
            possibly: (held.stuck + held.maybe_stuck + held.age_unknown).saturating_sub(excused),
        }
    }
}

fn judge_one(suspect: &Suspect<'_>) -> Finding {
    let (held, policy) = (suspect.held, suspect.scene.policy);
    let blame = Blame::of(held);
    let (severity, confidence) = if looks_like_idle_pool(suspect) {
        (Severity::Info, Confidence::Hint)
    } else if let Some(severity) = policy.stuck.grade_count(blame.surely) {
        (severity, confidence(suspect))
    } else if policy.stuck.grade_count(blame.perhaps).is_some() {
        (Severity::Warning, Confidence::Likely)
    } else {
        (Severity::Unknown, Confidence::Hint)
    };
    let idle_pool = severity == Severity::Info;
    Finding {
        rule: Rule::CloseWaitLeak,
        severity,
        confidence,
        subject: suspect.owner.subject(suspect.netns),
        summary: words::summary(suspect, severity),
        details: if idle_pool { words::idle_pool_details() } else { words::details(suspect, blame) },
        evidence: evidence(held, blame, policy, severity),
        remedies: if idle_pool { vec![words::idle_pool_remedy()] } else { words::remedies(suspect) },
        will_not_help: if idle_pool { Vec::new() } else { words::will_not_help(suspect) },
    }
}

/// What was seen has no other explanation when the program demonstrably looked at its sockets (it read from them) and wrote on
/// none; one that looked at none of its incoming ones may be blocked, which looks like a leak and ends with the block.
fn confidence(suspect: &Suspect<'_>) -> Confidence {
    let held = suspect.held;
    let looked_at = held.eof_read > 0 || held.with_unread_bytes > 0 || suspect.goes_out();
    let one_process = matches!(suspect.owner, Owner::Process(_));
    if looked_at && held.maybe_half_close == 0 && one_process { Confidence::Certain } else { Confidence::Likely }
}

/// Connections that this host opened, a few for each destination, of which nothing was read since the peer ended them: only
/// the FIN waits, or the record with which a TLS peer says good-bye before it.
fn looks_like_idle_pool(suspect: &Suspect<'_>) -> bool {
    let held = suspect.held;
    let said_goodbye = CLOSE_NOTIFY_BYTES.iter().any(|bytes| held.unread_least == *bytes && held.unread_most == *bytes);
    held.eof_unread == held.count
        && (held.with_unread_bytes == 0 || said_goodbye)
        && suspect.scene.policy.stuck.grade_count(held.count) != Some(Severity::Critical)
        && suspect.n_outbound == held.count
        && suspect.outbound.iter().all(|(_, count)| *count <= POOL_PER_DESTINATION)
}

fn evidence(held: &CloseWaitCensus, blame: Blame, policy: &Policy, severity: Severity) -> Vec<Evidence> {
    let stuck = policy.stuck.of(severity);
    let mut evidence = vec![
        Evidence::count("close_wait", held.count, None, Unit::Sockets),
        Evidence::count("close_wait_stuck", blame.surely, stuck, Unit::Sockets),
        Evidence::count("close_wait_perhaps_stuck", blame.perhaps - blame.surely, None, Unit::Sockets),
        Evidence::count("close_wait_age_unknown", held.age_unknown, None, Unit::Sockets),
        Evidence::count("eof_unread", held.eof_unread, None, Unit::Sockets),
        Evidence::count("eof_read", held.eof_read, None, Unit::Sockets),
        Evidence::count("unread_bytes", held.unread_bytes, None, Unit::Bytes),
    ];
    let threshold = policy.stuck_after.as_secs_f64();
    evidence.push(Evidence {
        name: "oldest_at_least",
        observed: held.oldest.map(|oldest| oldest.at_least.as_secs_f64()),
        threshold: Some(threshold),
        unit: Unit::Seconds,
    });
    evidence.push(Evidence {
        name: "oldest_at_most",
        observed: held.oldest.and_then(|oldest| oldest.at_most).map(|at_most| at_most.as_secs_f64()),
        threshold: Some(threshold),
        unit: Unit::Seconds,
    });
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Unresolved;
    use crate::census::Direction;
    use crate::census::age::Age;
    use crate::diagnosis::scripted::{Script, endpoint, exactly, stuck};
    use crate::model::process::{Placement, Runtime};
    use crate::model::snapshot::{Cgroup, CgroupIndex};
    use crate::model::socket::CgroupId;
    use crate::model::state::TcpState;
    use std::time::Duration;

    const INFLUX: &str = "10.0.3.7:8086";

    fn script(held: CloseWaitCensus) -> Script {
        let mut script = Script::new();
        let process = script.process("telegraf", 1234);
        script.unit(process, "telegraf.service");
        script.runtime(process, Runtime::Go);
        script.destination(endpoint(INFLUX));
        script.close_wait(process, held, &[endpoint(INFLUX)]);
        script
    }

    fn fingerprint(count: u64, bytes: u64) -> CloseWaitCensus {
        CloseWaitCensus {
            with_unread_bytes: count,
            unread_bytes: count * bytes,
            unread_least: bytes,
            unread_most: bytes,
            ..stuck(count, 21 * 86_400)
        }
    }

    #[test]
    fn the_leak_of_the_story_is_told_as_the_story_tells_it() {
        let script = script(fingerprint(27_905, 1_075));
        let finding = script.only(Rule::CloseWaitLeak);
        assert_eq!((finding.severity, finding.confidence), (Severity::Critical, Confidence::Certain));
        assert_eq!(
            finding.summary,
            "telegraf[1234] (telegraf.service) holds 27,905 sockets in CLOSE-WAIT to 10.0.3.7:8086, the oldest for 21 days"
        );
        assert_eq!(
            finding.details[0],
            "The peer closed; telegraf[1234] never read the end of file: response bodies are not closed (1,075 bytes unread \
             on each)."
        );
        assert_eq!(finding.remedies[0].command.as_deref(), Some("systemctl restart telegraf.service"));
        let fix = &finding.remedies.last().expect("a fix").text;
        assert!(fix.starts_with("Go: `defer resp.Body.Close()` after the error check"), "{fix}");
        assert!(finding.will_not_help[0].starts_with("tcp_fin_timeout and tcp_tw_reuse do not touch CLOSE-WAIT"));
        let named: Vec<&str> = finding.evidence.iter().map(|evidence| evidence.name).collect();
        assert!(named.contains(&"close_wait_stuck") && named.contains(&"oldest_at_least"), "{named:?}");
    }

    #[test]
    fn what_was_read_to_the_end_lacks_a_close() {
        let held = CloseWaitCensus { eof_unread: 0, eof_read: 50, ..stuck(50, 600) };
        let finding = script(held).only(Rule::CloseWaitLeak);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Certain));
        assert!(finding.details[0].ends_with("read everything there was, and did not call close()."));
        // The library has read the response, its user has not closed it; a program of its own has not closed its socket.
        assert!(finding.remedies[1].text.starts_with("Go: `defer resp.Body.Close()`"), "{}", finding.remedies[1].text);
        let held = CloseWaitCensus { eof_unread: 0, eof_read: 50, ..stuck(50, 600) };
        let mut own = script(held);
        own.runtime(crate::model::process::ProcessIndex(0), Runtime::Native);
        let close = &own.only(Rule::CloseWaitLeak).remedies[1].text;
        assert!(close.contains("close") && !close.contains("response"), "{close}");
    }

    #[test]
    fn young_ones_are_not_blamed() {
        let held = CloseWaitCensus { stuck: 0, oldest: Some(exactly(2)), ..stuck(30_000, 0) };
        script(held).none(Rule::CloseWaitLeak);
        script(stuck(9, 86_400)).none(Rule::CloseWaitLeak);
    }

    #[test]
    fn keepalive_hides_the_age_and_leaves_a_likely_warning() {
        let oldest =
            Age { at_least: Duration::from_secs(3), at_most: Some(Duration::from_secs(86_400 * 3)), exact: false };
        let held = CloseWaitCensus { stuck: 0, maybe_stuck: 40, keepalive: 40, oldest: Some(oldest), ..stuck(40, 0) };
        let finding = script(held).only(Rule::CloseWaitLeak);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Likely));
        assert!(finding.summary.ends_with("the oldest for 3 s to 3 days"), "{}", finding.summary);
        assert!(finding.details.iter().any(|detail| detail.starts_with("0 surely older than 60 s, 40 perhaps")));
    }

    #[test]
    fn sockets_without_an_age_leave_it_unknown() {
        let held = CloseWaitCensus { stuck: 0, age_unknown: 40, oldest: None, ..stuck(40, 0) };
        let script = script(held);
        let finding = script.only(Rule::CloseWaitLeak);
        assert_eq!(finding.severity, Severity::Unknown);
        assert!(finding.summary.ends_with("without their ages it cannot be told"), "{}", finding.summary);
        assert_eq!(script.headline(), finding.summary);
    }

    #[test]
    fn an_idle_pool_is_worth_knowing_only() {
        let mut script = Script::new();
        let process = script.process("app", 7);
        let peers: Vec<Endpoint> = (1..=30).map(|host| endpoint(&format!("10.0.3.{host}:443"))).collect();
        for peer in &peers {
            script.destination(*peer);
        }
        for held in [stuck(300, 3600), fingerprint(300, 24)] {
            script.close_wait(process, held, &peers);
            let finding = script.only(Rule::CloseWaitLeak);
            assert_eq!((finding.severity, finding.confidence), (Severity::Info, Confidence::Hint));
            assert!(finding.summary.ends_with("it looks like an idle pool whose peers hung up"), "{}", finding.summary);
            assert!(
                script.headline().contains("CLOSE-WAIT stuck in what looks like idle pools"),
                "{}",
                script.headline()
            );
        }
        // Not a pool: too many for one destination, bodies not read, or more than any pool keeps.
        for (held, peers) in [
            (stuck(21, 3600), &peers[..1]),
            (fingerprint(300, 1_075), &peers[..]),
            (CloseWaitCensus { eof_unread: 299, eof_read: 1, ..stuck(300, 3600) }, &peers[..]),
        ] {
            script.close_wait(process, held, peers);
            assert_eq!(script.only(Rule::CloseWaitLeak).severity, Severity::Warning);
        }
        let many: Vec<Endpoint> = (0..200).map(|nth| endpoint(&format!("10.0.4.{nth}:443"))).collect();
        for peer in &many {
            script.destination(*peer);
        }
        script.close_wait(process, stuck(1_000, 3600), &many);
        assert_eq!(script.only(Rule::CloseWaitLeak).severity, Severity::Critical);
    }

    #[test]
    fn a_server_that_looks_at_nothing_is_no_idle_pool() {
        let mut script = Script::new();
        let process = script.process("gunicorn", 50);
        let clients: Vec<Endpoint> =
            (0..40).map(|nth| endpoint(&format!("10.0.9.{}:{}", nth % 4, 50_000 + nth))).collect();
        for host in 0..4 {
            let peer = script.peer(Direction::Inbound, endpoint(&format!("10.0.9.{host}:8000")));
            peer.states[TcpState::CloseWait] = 10;
            peer.holders = vec![(process, 10)];
        }
        script.close_wait(process, stuck(40, 600), &clients);
        let finding = script.only(Rule::CloseWaitLeak);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Likely));
        assert_eq!(
            finding.summary,
            "gunicorn[50] holds 40 sockets in CLOSE-WAIT on port 8000 from 10.0.9.0 and 3 more addresses, the oldest for 10 \
             min"
        );
        assert!(
            finding.will_not_help.iter().all(|sentence| !sentence.contains("range")),
            "{:?}",
            finding.will_not_help
        );
    }

    #[test]
    fn a_half_close_in_use_is_not_blamed() {
        let written = CloseWaitCensus { stuck: 0, maybe_stuck: 200, maybe_half_close: 200, ..stuck(200, 1) };
        script(written).none(Rule::CloseWaitLeak);
        let slowly = CloseWaitCensus { maybe_half_close: 200, ..stuck(200, 120) };
        script(slowly).none(Rule::CloseWaitLeak);
        // Beside a leak it does not excuse the leak.
        let beside =
            CloseWaitCensus { count: 250, stuck: 50, maybe_stuck: 200, maybe_half_close: 200, ..stuck(50, 600) };
        assert_eq!(script(beside).only(Rule::CloseWaitLeak).severity, Severity::Warning);
    }

    #[test]
    fn forks_are_not_blamed_for_what_they_inherited() {
        let mut script = script(stuck(50, 600));
        let parent = script.census.processes[0].process;
        let children = [script.process("telegraf", 1300), script.process("telegraf", 1301)];
        for child in children {
            let inherited = CloseWaitCensus { inherited: 50, ..stuck(50, 600) };
            script.close_wait(child, inherited, &[endpoint(INFLUX)]);
        }
        for nth in 0..50 {
            let here = endpoint(&format!("10.0.0.5:{}", 40_000 + nth));
            let inode = script.socket(TcpState::CloseWait, here, endpoint(INFLUX)).inode.expect("an inode");
            for holder in [parent, children[0], children[1]] {
                script.hold(holder, inode);
            }
        }
        let finding = script.only(Rule::CloseWaitLeak);
        assert!(finding.summary.starts_with("telegraf[1234]"), "{}", finding.summary);
        assert!(
            finding.details.iter().any(|detail| detail.starts_with("2 more processes hold some of these sockets too")),
            "{:?}",
            finding.details
        );
    }

    #[test]
    fn hidden_holders_do_not_hide_the_leak() {
        for (reason, words) in [
            (Unresolved::NoHolderSeen, "processes of user 999 that could not be seen hold 50 sockets"),
            (Unresolved::NotLooked, "processes of user 999 that were not looked for hold 50 sockets"),
            (Unresolved::NotTold, "processes of user 999 that the text does not name hold 50 sockets"),
        ] {
            let mut script = Script::new();
            script.destination(endpoint(INFLUX));
            script.strangers(stuck(50, 600), reason, endpoint(INFLUX));
            let finding = script.only(Rule::CloseWaitLeak);
            assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Likely));
            assert!(finding.summary.starts_with(words), "{}", finding.summary);
        }
    }

    #[test]
    fn a_hidden_holder_is_told_by_the_unit_that_its_sockets_were_made_in() {
        let mut script = Script::new();
        script.destination(endpoint(INFLUX));
        script.strangers(stuck(50, 600), Unresolved::NoHolderSeen, endpoint(INFLUX));
        let unit = Some("telegraf\n.service".to_owned());
        let placement = Placement { unit, ..Placement::default() };
        script.snapshot.cgroups.push(Cgroup { id: CgroupId::new(77).expect("not 0"), placement });
        script.census.strangers[0].place = Some(CgroupIndex(0));
        let finding = script.only(Rule::CloseWaitLeak);
        let words = "processes of user 999 in telegraf\\n.service that could not be seen hold 50 sockets";
        assert!(finding.summary.starts_with(words), "{}", finding.summary);
        assert!(finding.remedies[0].text.ends_with("most likely of telegraf\\n.service"), "{:?}", finding.remedies);
    }

    #[test]
    fn short_ports_bring_the_way_to_free_them_and_the_listeners_in_the_way() {
        let mut script = script(stuck(20_000, 600));
        let process = script.census.processes[0].process;
        script.pool(endpoint(INFLUX), 20_000);
        script.listener(process, 8125);
        let finding = script.only(Rule::CloseWaitLeak);
        let commands: Vec<&str> = finding.remedies.iter().filter_map(|remedy| remedy.command.as_deref()).collect();
        assert_eq!(commands, ["systemctl restart telegraf.service", "ss -tK state close-wait dst 10.0.3.7:8086"]);
        assert_eq!(
            finding.will_not_help.last().map(String::as_str),
            Some("a wider port range only delays it, and 1 listener is in the way: 8125")
        );
    }
}
