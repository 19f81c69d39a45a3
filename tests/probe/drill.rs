//! `probe drill`: an alarm that works is confirmed, one that cannot fire is not, and one that cannot answer is told.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::text;
use crate::{assert_confirmed, has_namespaces, observed, outcome, outcome_for_nobody, probe};

const STEPS: [&str; 10] =
    ["healthy", "leak", "detected", "process", "destination", "count", "kind", "age", "cured", "recovered"];

fn steps(outcome: &Value) -> Vec<(&str, bool)> {
    let steps = outcome["steps"].as_array().expect("a list");
    steps.iter().map(|step| (step["name"].as_str().expect("a name"), step["ok"] == true)).collect()
}

fn assert_every_step_was_seen(outcome: &(Value, Option<i32>)) {
    assert_confirmed(outcome);
    let (outcome, _) = outcome;
    assert_eq!(steps(outcome), STEPS.map(|name| (name, true)), "{outcome:#}");
    assert_eq!(observed(outcome, "destination"), outcome["destination"].as_str().expect("an address"));
    assert!(observed(outcome, "process").contains(&format!("[{}]", outcome["pid"])), "{outcome:#}");
    // No sooner than a socket is stuck.
    assert!(outcome["time_to_detect_s"].as_f64() > Some(1.9), "{outcome:#}");
    assert!(outcome["time_to_recover_s"].is_f64(), "{outcome:#}");
}

#[test]
fn the_alarm_of_closewatch_is_confirmed_step_by_step() {
    if !has_namespaces("drill::the_alarm_of_closewatch_is_confirmed_step_by_step") {
        return;
    }
    assert_every_step_was_seen(&outcome(probe(&["drill", "--isolated"])));
}

/// The README shows the steps that there are.
#[test]
fn the_readme_shows_this_drill() {
    let readme = include_str!("../../README.md");
    let shown: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("  ok      "))
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(shown, STEPS);
}

#[test]
fn a_user_without_privilege_may_drill_it_too() {
    const TEST: &str = "drill::a_user_without_privilege_may_drill_it_too";
    if !has_namespaces(TEST) {
        return;
    }
    let Some(outcome) = outcome_for_nobody(TEST, &["drill", "--isolated"]) else { return };
    assert_every_step_was_seen(&outcome);
}

#[test]
fn in_the_namespace_of_the_host_it_is_the_same() {
    assert_every_step_was_seen(&outcome(probe(&["drill"])));
}

#[test]
fn an_alarm_that_cannot_fire_is_not_confirmed() {
    if !has_namespaces("drill::an_alarm_that_cannot_fire_is_not_confirmed") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("policy.toml");
    let levels = "stuck_after = \"1s\"\n[stuck]\nwarning = 1000000\ncritical = 1000000\n";
    std::fs::write(&policy, levels).expect("written");
    for sabotage in [
        &["-w", "stuck=1000000", "-c", "stuck=1000000"][..],
        &["--policy", policy.to_str().expect("a plain path")],
        &["--stuck-after", "1h"],
        &["--command", "true"],
    ] {
        let args: Vec<&str> = ["drill", "--isolated", "--within", "4s"].iter().chain(sabotage).copied().collect();
        let (outcome, status) = outcome(probe(&args));
        assert_eq!((status, &outcome["confirmed"]), (Some(2), &Value::Bool(false)), "{sabotage:?}: {outcome:#}");
        let expected = [("healthy", true), ("leak", true), ("detected", false), ("cured", true), ("recovered", true)];
        assert_eq!(steps(&outcome), expected, "{sabotage:?}: {outcome:#}");
        assert!(outcome["time_to_detect_s"].is_null(), "{sabotage:?}: {outcome:#}");
    }
}

#[test]
fn an_alarm_that_never_stops_is_not_confirmed() {
    if !has_namespaces("drill::an_alarm_that_never_stops_is_not_confirmed") {
        return;
    }
    let (outcome, status) = outcome(probe(&["drill", "--isolated", "--within", "1s", "--command", "false"]));
    assert_eq!(status, Some(2));
    let expected = [("healthy", false), ("leak", true), ("detected", true), ("cured", true), ("recovered", false)];
    assert_eq!(steps(&outcome), expected, "{outcome:#}");
}

/// A command that counts for itself, and one whose output tells.
#[test]
fn any_alarm_can_be_drilled() {
    if !has_namespaces("drill::any_alarm_can_be_drilled") {
        return;
    }
    for alarm in [
        &["--command", "test $(ss -Htan state close-wait | wc -l) -lt 10"][..],
        &["--command", "ss -Htan state close-wait; false", "--expect", "127.0.0.1"],
    ] {
        let args: Vec<&str> = ["drill", "--isolated", "--every", "10ms"].iter().chain(alarm).copied().collect();
        let outcome = outcome(probe(&args));
        assert_confirmed(&outcome);
        assert!(outcome.0["time_to_detect_s"].is_f64() && outcome.0["time_to_recover_s"].is_f64(), "{:#}", outcome.0);
    }
}

#[test]
fn an_alarm_that_cannot_answer_is_one_line_and_a_hint() {
    if !has_namespaces("drill::an_alarm_that_cannot_answer_is_one_line_and_a_hint") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let not_a_program = dir.path().join("alarm");
    std::fs::write(&not_a_program, "").expect("written");
    std::fs::set_permissions(&not_a_program, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    for (alarm, why) in [
        (&["-w", "nonsense=1"][..], "there is no metric `nonsense`"),
        (&["--policy", "/nonexistent"], "No such file or directory"),
        (&["--command", "no-such-program"], "no-such-program: not found"),
        (&["--command", not_a_program.to_str().expect("a plain path")], "Permission denied"),
    ] {
        let args: Vec<&str> = ["drill", "--isolated"].iter().chain(alarm).copied().collect();
        let output = probe(&args).output().expect("closewatch starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{alarm:?}: {said}");
        assert!(output.stdout.is_empty() && said.lines().count() == 2, "{alarm:?}: {said}");
        assert!(said.contains("asking the alarm: ") && said.contains(why), "{alarm:?}: {said}");
    }
}
