//! From counts to findings: what is wrong, how sure that is, and what to do.
//!
//! A rule is a file with one function from a scene (the look, its counts, the thresholds) to findings, and a line in [`RULES`].

mod accept_stalled;
mod bind_pool;
mod close_wait_leak;
mod connect_unanswered;
mod conntrack;
mod coverage;
pub mod explain;
mod fd_limit;
pub mod finding;
pub(crate) mod fix;
mod ghost_sockets;
mod growth;
mod headline;
mod listener_backlog;
pub mod metrics;
mod other_end;
mod owner;
mod peer_not_closing;
pub mod policy;
mod port_pool;
pub mod range;
mod range_conflict;
mod receive_stalled;
mod remedy;
pub mod scene;
#[cfg(test)]
mod scripted;
mod snat_budget;
mod time_wait_churn;

use crate::diagnosis::finding::{Confidence, Finding, Rule, Severity, Verdict};
use crate::diagnosis::scene::Scene;

/// A rule: its names, and the function that applies it.
#[derive(Debug)]
pub struct RuleEntry {
    /// Which one.
    pub rule: Rule,
    /// For machines.
    pub token: &'static str,
    /// For people: what it finds, in a few words.
    pub title: &'static str,
    judge: fn(&Scene<'_>) -> Vec<Finding>,
}

/// Every rule, in the order of [`Rule`]: of findings that are equally bad and sure, the earlier rule's is told first.
#[rustfmt::skip]
pub const RULES: &[RuleEntry] = &[
    entry(Rule::CloseWaitLeak, "close_wait_leak", "sockets that the peer closed and the program does not", close_wait_leak::judge),
    entry(Rule::ReceiveStalled, "receive_stalled", "open connections whose data nobody reads", receive_stalled::judge),
    entry(Rule::AcceptStalled, "accept_stalled", "a listener whose program does not accept", accept_stalled::judge),
    entry(Rule::PortPool, "port_pool", "few ports left to one destination", port_pool::judge),
    entry(Rule::SnatBudget, "snat_budget", "few ports of a NAT left to one destination", snat_budget::judge),
    entry(Rule::BindPool, "bind_pool", "few ports left for bind() to port 0", bind_pool::judge),
    entry(Rule::GhostSockets, "ghost_sockets", "descriptors of connections that are over", ghost_sockets::judge),
    entry(Rule::FdLimit, "fd_limit", "few descriptors left", fd_limit::judge),
    entry(Rule::TimeWaitChurn, "time_wait_churn", "TIME-WAIT holds the ports to one destination", time_wait_churn::judge),
    entry(Rule::ListenerBacklog, "listener_backlog", "an accept queue that is nearly full", listener_backlog::judge),
    entry(Rule::PeerNotClosing, "peer_not_closing", "a peer that does not close its side", peer_not_closing::judge),
    entry(Rule::ConnectUnanswered, "connect_unanswered", "a peer that does not answer", connect_unanswered::judge),
    entry(Rule::Conntrack, "conntrack", "a connection tracking table that is nearly full", conntrack::judge),
    entry(Rule::RangeConflict, "range_conflict", "listeners inside the ephemeral range", range_conflict::judge),
    entry(Rule::Growth, "growth", "something that grows towards its limit", growth::judge),
    entry(Rule::Coverage, "coverage", "what could not be seen", coverage::judge),
];

const fn entry(
    rule: Rule,
    token: &'static str,
    title: &'static str,
    judge: fn(&Scene<'_>) -> Vec<Finding>,
) -> RuleEntry {
    RuleEntry { rule, token, title, judge }
}

/// Applies every rule; the most urgent finding first, of equally urgent ones the surest, and of those in the order of
/// [`RULES`].
#[must_use]
pub fn judge(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|entry| (entry.judge)(scene)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(urgency(finding)));
    findings
}

/// What is seen and cannot be judged says more than what was not seen at all, however certain that is.
fn urgency(finding: &Finding) -> (Severity, bool, Confidence) {
    (finding.severity, finding.rule != Rule::Coverage, finding.confidence)
}

/// Folds findings into one grade: the worst severity there is, in the order Critical, Warning, Unknown, Ok.
///
/// - What is seen to be bad is not made less bad by what is not seen: Critical and Warning go before Unknown.
/// - Unknown goes before Ok: it stands for whole sockets that were not read, a port range that was not read, or as many
///   CLOSE-WAIT without an age as would make a leak. Each of these may hide a Warning.
/// - Infos leave the grade alone. Holders that were not seen are an Info: sockets, states, ages and ports are complete
///   without them, and a leak is graded by its user's sockets where its process is not known. So is what only a missing
///   permission hides, where the policy says so, as that of `closewatch check` does.
#[must_use]
pub fn verdict(findings: &[Finding]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Info) => Verdict::Ok,
        Some(Severity::Unknown) => Verdict::Unknown,
        Some(Severity::Warning) => Verdict::Warning,
        Some(Severity::Critical) => Verdict::Critical,
    }
}

/// The sentence that the report opens with, safe to print. The findings are those of [`judge`], in its order.
#[must_use]
pub fn headline(scene: &Scene<'_>, findings: &[Finding]) -> String {
    headline::sentence(scene, findings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, proptest};

    use super::*;
    use crate::census::{Direction, GhostCensus};
    use crate::diagnosis::finding::Subject;
    use crate::diagnosis::scripted::{Script, USABLE, endpoint, stuck};
    use crate::model::process::Runtime;
    use crate::model::snapshot::{Gap, Hides, Usage};
    use crate::model::state::TcpState;

    #[test]
    fn the_table_has_the_order_of_the_enum_and_tokens_read_back() {
        for (nth, entry) in RULES.iter().enumerate() {
            assert_eq!(entry.rule as usize, nth, "{}", entry.token);
            assert_eq!(Rule::parse(entry.token), Some(entry.rule));
            assert_eq!(Rule::parse(&entry.token.replace('_', "-").to_uppercase()), Some(entry.rule));
            assert_eq!((entry.rule.token(), entry.rule.title()), (entry.token, entry.title));
        }
        assert_eq!(RULES.last().map(|entry| entry.rule), Some(Rule::Coverage), "a rule without a line in RULES");
    }

    #[test]
    fn a_host_at_rest_has_no_finding() {
        let script = Script::new();
        assert_eq!(script.findings(), []);
        assert_eq!(script.verdict(), Verdict::Ok);
    }

    #[test]
    fn the_verdict_is_the_worst_that_was_seen_then_what_was_not_seen() {
        let graded = |severities: &[Severity]| {
            let mut script = Script::new();
            script.namespace().conntrack = Some(Usage { used: 80, limit: 100 });
            let finding = script.only(Rule::Conntrack);
            let findings: Vec<Finding> =
                severities.iter().map(|severity| Finding { severity: *severity, ..finding.clone() }).collect();
            verdict(&findings)
        };
        assert_eq!(graded(&[]), Verdict::Ok);
        assert_eq!(graded(&[Severity::Info]), Verdict::Ok);
        assert_eq!(graded(&[Severity::Info, Severity::Unknown]), Verdict::Unknown);
        assert_eq!(graded(&[Severity::Unknown, Severity::Warning]), Verdict::Warning);
        assert_eq!(graded(&[Severity::Warning, Severity::Critical, Severity::Unknown]), Verdict::Critical);
    }

    /// A host on which every rule finds something, all names alike.
    fn sick_host(name: &str, runtime: Runtime) -> Script {
        let mut script = Script::new();
        let process = script.process(name, 1234);
        script.unit(process, name);
        script.runtime(process, runtime);
        script.fds(process, 1_000, Some(1_024));
        script.ghosts(process, GhostCensus { count: 50, refused: 7, ..GhostCensus::default() });
        script.census.coverage.elsewhere = Some(120_000);
        let peer = endpoint("[2001:db8::7]:8086");
        let states = &mut script.peer(Direction::Outbound, peer).states;
        (states[TcpState::SynSent], states[TcpState::FinWait2]) = (50, 500);
        script.close_wait(process, stuck(5_000, 600), &[peer]);
        script.unread(process, 20, 2_000, peer);
        script.strangers(stuck(50, 600), crate::attribution::Unresolved::NoHolderSeen, peer);
        let pool = script.pool(peer, 20_000);
        (pool.states[TcpState::TimeWait], pool.holders) = (20_000, vec![(process, 20_000)]);
        script.snat(peer, 900, process);
        script.bind_pool("0.0.0.0", USABLE);
        script.listener(process, 40_000).waiting = 129;
        let stalled = script.listener(process, 3_306);
        (stalled.close_wait_not_accepted, stalled.oldest_not_accepted) = (20, Some(scripted::exactly(600)));
        script.namespace().conntrack = Some(Usage { used: 95, limit: 100 });
        script.namespace().id.name = name.to_owned();
        let (what, why) = (name.to_owned(), name.to_owned());
        script.snapshot.gaps.push(Gap { what, why, hides: Hides::Sockets, count: 2 });
        let second = script.snapshot.namespaces[0].clone();
        script.snapshot.namespaces.push(second);
        script.fills_up(83.0, 9.0 * 24.0);
        script
    }

    /// What a shell would act on beyond running one command.
    fn acts(c: char) -> bool {
        "`$;|&<>*?!~#\n\\".contains(c)
    }

    fn texts(script: &Script) -> Vec<String> {
        let mut texts = vec![script.headline()];
        for finding in script.findings() {
            texts.push(finding.summary);
            texts.extend(finding.details);
            texts.extend(finding.will_not_help);
            for remedy in finding.remedies {
                texts.push(remedy.text);
                if let Some(command) = remedy.command {
                    assert!(!command.contains(acts), "{command}");
                    texts.push(command);
                }
            }
        }
        texts
    }

    #[test]
    fn every_rule_finds_something_on_a_sick_host_the_worst_first() {
        let findings = sick_host("telegraf.service", Runtime::Go).findings();
        for entry in RULES {
            assert!(findings.iter().any(|finding| finding.rule == entry.rule), "{} found nothing", entry.token);
        }
        assert!(findings.is_sorted_by_key(|finding| std::cmp::Reverse(urgency(finding))));
        assert_eq!(findings[0].subject, Subject::Process(crate::model::process::ProcessIndex(0)));
        for finding in &findings {
            assert!(finding.remedies.is_sorted_by_key(|remedy| remedy.when), "{finding:#?}");
            assert!(!finding.evidence.is_empty(), "{finding:#?}");
            assert!(!finding.remedies.is_empty() || finding.rule == Rule::Coverage, "{finding:#?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_name_can_act_on_the_readers_terminal(name in any::<String>(), evil in prop::sample::select(EVIL)) {
            for name in [name.clone(), format!("{name}{evil}"), format!("{evil}{name}.service")] {
                for text in texts(&sick_host(&name, Runtime::Unknown)) {
                    assert_eq!(crate::model::text::printable(&text).replace("\\\\", "\\"), text);
                }
            }
        }
    }

    const EVIL: &[&str] =
        &[") \u{1b}[31m\n", "\u{9b}2J", "\r", "\u{202e}", "$(reboot)", "'; reboot #", "\0", "`x`", "\u{7f}"];
}
