use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;
use crate::census::GhostCensus;
use crate::diagnosis::policy::PolicyEntry;
use crate::diagnosis::range::{Alerts, Range};
use crate::diagnosis::scripted::{Script, USABLE, endpoint, stuck};
use crate::diagnosis::{judge, verdict as verdict_of};
use crate::model::ghost::GhostScan;
use crate::model::snapshot::{Gap, Hides, ProcessScan, Usage};

const INFLUX: &str = "10.0.3.7:8086";

fn measured(script: &Script, metric: Metric) -> Measured {
    let scene = script.scene();
    measure(&scene).swap_remove(metric as usize)
}

fn policy_entry(metric: Metric) -> &'static PolicyEntry {
    Policy::entry(metric.entry().name).expect("an entry of the same name")
}

fn ask(script: &mut Script, metric: Metric, severity: Severity, range: Range) {
    policy_entry(metric).ask(&mut script.policy, severity, range);
}

fn up_to(end: f64) -> Range {
    Range::new(Alerts::Outside, 0.0, end).expect("a range")
}

fn between(start: f64, end: f64) -> Range {
    Range::new(Alerts::Inside, start, end).expect("a range")
}

fn gap(hides: Hides) -> Gap {
    let why = "permission denied; needs CAP_SYS_PTRACE".to_owned();
    Gap { what: "descriptors of 12 processes".to_owned(), why, hides, count: 12 }
}

/// A host on which everything that can be measured is there, and little of it is used.
fn host(used: u64) -> Script {
    let mut script = Script::new();
    let process = script.process("telegraf", 1234);
    script.destination(endpoint(INFLUX));
    script.pool(endpoint(INFLUX), u32::try_from(used * u64::from(USABLE) / 100).expect("few"));
    let mut held = stuck(used, 600);
    (held.eof_unread, held.eof_read) = (0, used);
    script.close_wait(process, held, &[endpoint(INFLUX)]);
    script.fds(process, used, Some(100));
    script.ghosts(process, GhostCensus { count: used, ..GhostCensus::default() });
    script.snapshot.ghosts = Some(GhostScan::default());
    script.listener(process, 8080).waiting = u32::try_from(used).expect("few");
    script.census.listeners[0].limit = Some(100);
    script.namespace().conntrack = Some(Usage { used, limit: 100 });
    (script.census.coverage.attributable, script.census.coverage.attributed) = (100, used);
    script
}

#[test]
fn the_table_has_the_order_of_the_enum_and_a_place_in_the_policy() {
    for (nth, entry) in METRICS.iter().enumerate() {
        assert_eq!(entry.metric as usize, nth, "{}", entry.name);
        assert_eq!(policy_entry(entry.metric).unit, entry.unit, "{}", entry.name);
        let mut policy = Policy::default();
        policy_entry(entry.metric).ask(&mut policy, Severity::Warning, Range::from(1.0));
        assert!((entry.levels)(&policy).asked, "{}: the policy keeps it elsewhere", entry.name);
    }
    assert_eq!(METRICS.last().map(|entry| entry.metric), Some(Metric::Coverage), "a metric without a line in METRICS");
}

#[test]
fn every_metric_reads_what_is_there_and_names_whose_it_is() {
    let script = host(40);
    for (metric, value, words) in [
        (Metric::Ports, 0.4, "ports is 39 % (to 10.0.3.7:8086)"),
        (Metric::Stuck, 40.0, "stuck is 40 (telegraf[1234]): warning from 10"),
        (Metric::Fds, 0.4, "fds is 40 % (telegraf[1234])"),
        (Metric::Ghosts, 40.0, "ghosts is 40 (telegraf[1234]): warning from 10"),
        (Metric::Accept, 0.4, "accept is 40 % (0.0.0.0:8080)"),
        (Metric::Conntrack, 0.4, "conntrack is 40 % (connection tracking)"),
        (Metric::Coverage, 0.4, "coverage is 40 %"),
    ] {
        let measured = measured(&script, metric);
        assert!((measured.value.expect("it is known") - value).abs() < 1e-4, "{measured:?}");
        assert_eq!(measured.sentence(), words);
    }
    let eta = measured(&script, Metric::Eta);
    assert_eq!((eta.value, eta.grade), (None, None));
    assert_eq!(eta.sentence(), "eta is not known yet: it needs several looks over time");
}

#[test]
fn a_host_at_rest_is_fine_by_every_metric() {
    let mut script = Script::new();
    script.snapshot.ghosts = Some(GhostScan::default());
    for entry in METRICS.iter().filter(|entry| entry.metric != Metric::Eta) {
        let measured = measured(&script, entry.metric);
        let at_rest = if entry.metric == Metric::Coverage { 1.0 } else { 0.0 };
        assert_eq!((measured.value, measured.grade), (Some(at_rest), Some(Verdict::Ok)), "{}", entry.name);
        assert_eq!((&measured.whose, &measured.unseen), (&None, &None), "{}", entry.name);
    }
}

#[test]
fn the_ends_of_a_range_are_as_plugins_have_them() {
    let graded = |used: u64, range: Range| {
        let mut script = host(used);
        ask(&mut script, Metric::Fds, Severity::Critical, range);
        measured(&script, Metric::Fds).grade.expect("it is known")
    };
    // What is 8 % of 100, as `fds=8%`, `fds=8%:`, `fds=@8%:` and `fds=@5%:8%` grade it.
    let cases: [(Range, [Verdict; 3]); 4] = [
        (up_to(0.08), [Verdict::Ok, Verdict::Ok, Verdict::Critical]),
        (Range::below(0.08), [Verdict::Critical, Verdict::Ok, Verdict::Ok]),
        (Range::from(0.08), [Verdict::Ok, Verdict::Critical, Verdict::Critical]),
        (between(0.05, 0.08), [Verdict::Critical, Verdict::Critical, Verdict::Ok]),
    ];
    for (range, expected) in cases {
        assert_eq!([7, 8, 9].map(|used| graded(used, range)), expected, "{range:?}");
    }
}

#[test]
fn an_upper_bound_moves_the_rule_and_other_ranges_are_the_metrics_alone() {
    let mut script = host(40);
    ask(&mut script, Metric::Stuck, Severity::Warning, up_to(40.0));
    ask(&mut script, Metric::Ghosts, Severity::Warning, up_to(40.0));
    assert_eq!((script.verdict(), measured(&script, Metric::Stuck).grade), (Verdict::Ok, Some(Verdict::Ok)));
    ask(&mut script, Metric::Stuck, Severity::Critical, up_to(39.0));
    let finding = script.findings().swap_remove(0);
    assert_eq!(
        (finding.severity, measured(&script, Metric::Stuck).grade),
        (Severity::Critical, Some(Verdict::Critical))
    );
    let threshold = finding.evidence.iter().find(|evidence| evidence.name == "close_wait_stuck").expect("it is there");
    assert_eq!((threshold.observed, threshold.threshold), (Some(40.0), Some(39.0)));
    ask(&mut script, Metric::Stuck, Severity::Critical, between(35.0, 45.0));
    let measured = measured(&script, Metric::Stuck);
    assert_eq!((script.verdict(), measured.grade), (Verdict::Ok, Some(Verdict::Critical)));
    let told = headline(&[measured], Verdict::Ok).expect("no finding tells it");
    assert_eq!(told, "stuck is 40 (telegraf[1234]): critical at 35 to 45");
}

#[test]
fn what_no_rule_blames_is_no_part_of_a_metric() {
    let mut script = host(0);
    let pool = script.process("java", 99);
    script.close_wait(pool, stuck(15, 600), &[endpoint(INFLUX)]);
    script.listener(pool, 9090).waiting = 7;
    assert_eq!(measured(&script, Metric::Stuck).value, Some(0.0), "an idle pool");
    assert_eq!(measured(&script, Metric::Accept).value, Some(0.0), "a burst");
    let mut held = stuck(50, 600);
    (held.eof_unread, held.eof_read, held.inherited) = (0, 50, 45);
    script.close_wait(pool, held, &[endpoint(INFLUX)]);
    script.ghosts(pool, GhostCensus { count: 50, inherited: 48, ..GhostCensus::default() });
    assert_eq!(measured(&script, Metric::Stuck).value, Some(5.0));
    assert_eq!(measured(&script, Metric::Ghosts).value, Some(2.0));
}

#[test]
fn what_is_not_known_is_unknown_only_to_who_asks() {
    type Hide = fn(&mut Script);
    let hide: [(Metric, Hide); 7] = [
        (Metric::Ports, |script| {
            script.census.port_pools.clear();
            script.namespace().ports.range = None;
            script.socket(crate::model::state::TcpState::Established, endpoint("10.0.0.5:4"), endpoint(INFLUX));
        }),
        (Metric::Stuck, |script| {
            let held = &mut script.census.processes[0].close_wait;
            (held.stuck, held.age_unknown, held.count) = (0, 400, 400);
        }),
        (Metric::Fds, |script| script.snapshot.gaps.push(gap(Hides::Owners))),
        (Metric::Ghosts, |script| script.snapshot.ghosts = None),
        (Metric::Accept, |script| script.census.listeners[0].limit = None),
        (Metric::Eta, |_| ()),
        (Metric::Conntrack, |script| {
            script.namespace().conntrack = None;
            script.namespace().ports.range = None;
        }),
    ];
    for (metric, hide) in hide {
        let mut script = host(9);
        hide(&mut script);
        let name = metric.entry().name;
        let before = measured(&script, metric);
        assert!(before.unseen.is_some(), "{name}: {before:?}");
        assert!(before.grade.is_none_or(|grade| grade == Verdict::Ok), "{name}: {before:?}");
        ask(
            &mut script,
            metric,
            Severity::Critical,
            if metric == Metric::Eta { Range::below(1.0) } else { up_to(99.0) },
        );
        let after = measured(&script, metric);
        assert_eq!(after.grade, Some(Verdict::Unknown), "{name}: {after:?}");
        assert!(after.sentence().contains(after.unseen.as_deref().expect("why")), "{}", after.sentence());
    }
}

#[test]
fn too_little_coverage_is_unknown_where_it_was_asked_for_and_never_worse() {
    let mut script = host(9);
    assert_eq!(measured(&script, Metric::Coverage).grade, Some(Verdict::Ok));
    for severity in [Severity::Warning, Severity::Critical] {
        ask(&mut script, Metric::Coverage, severity, Range::below(0.9));
        let measured = measured(&script, Metric::Coverage);
        assert_eq!(measured.grade, Some(Verdict::Unknown));
        assert_eq!(measured.sentence(), "coverage is 9 %: less than was asked for");
    }
    script.census.coverage.attributed = 90;
    assert_eq!(measured(&script, Metric::Coverage).grade, Some(Verdict::Ok));
    script.snapshot.gaps.push(gap(Hides::Sockets));
    assert_eq!(measured(&script, Metric::Coverage).grade, Some(Verdict::Unknown), "whole sockets were not seen");
}

#[test]
fn a_look_without_processes_knows_no_descriptors() {
    let mut script = Script::new();
    script.snapshot.scan = ProcessScan::Skipped;
    assert_eq!(measured(&script, Metric::Fds).value, None);
    assert_eq!(measured(&script, Metric::Ghosts).value, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn findings_are_never_better_than_what_their_metric_says(
        used in 0_u64..=100,
        metric in prop::sample::select(&[Metric::Ports, Metric::Stuck, Metric::Fds, Metric::Ghosts, Metric::Accept, Metric::Conntrack][..]),
        edge in 0_u32..=100,
        from in any::<bool>(),
    ) {
        let mut script = host(used);
        let edge = if metric.entry().unit == Unit::Ratio { f64::from(edge) / 100.0 } else { f64::from(edge) };
        let range = if from { Range::from(edge.max(0.01)) } else { up_to(edge) };
        ask(&mut script, metric, Severity::Critical, range);
        let scene = script.scene();
        let graded = verdict(&measure(&scene));
        let found = verdict_of(&judge(&scene));
        assert!(found >= graded, "{metric:?} {used}: {found:?} against {graded:?}");
    }
}
