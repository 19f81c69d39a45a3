//! `closewatch probe`: the leak is real, it is what it says, and nothing of it stays.

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

mod drill;
mod exhaust;
mod killed;
mod leak;
mod matrix;
mod mixtures;
mod refusals;

#[path = "../prediction/forecast.rs"]
#[allow(dead_code, reason = "what the tests of predictions share; a part of it is used here")]
mod forecast;
#[path = "../support/mod.rs"]
mod support;
#[path = "../prediction/world.rs"]
#[allow(dead_code, reason = "what the tests of predictions share; a part of it is used here")]
mod world;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;

use support::{closewatch, skip, text};

/// `closewatch probe` with these arguments.
fn probe(args: &[&str]) -> Command {
    let mut probe = closewatch();
    probe.arg("probe").args(args);
    probe
}

/// The document that a probe prints with `--json`, and its status.
fn outcome(mut command: Command) -> (Value, Option<i32>) {
    let output = command.arg("--json").output().expect("closewatch starts");
    let outcome = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (outcome, output.status.code())
}

/// Fails with the whole outcome unless every step was seen.
fn assert_confirmed((outcome, status): &(Value, Option<i32>)) {
    assert_eq!((&outcome["confirmed"], *status), (&Value::Bool(true), Some(0)), "{outcome:#}");
    assert_eq!(outcome["schema"], "closewatch.probe/1");
    let steps = outcome["steps"].as_array().expect("a list");
    assert!(!steps.is_empty() && steps.iter().all(|step| step["ok"] == true), "{outcome:#}");
}

/// What was seen at a step.
fn observed<'a>(outcome: &'a Value, step: &str) -> &'a str {
    let steps = outcome["steps"].as_array().expect("a list");
    let found = steps.iter().find(|found| found["name"] == step);
    found.and_then(|found| found["observed"].as_str()).unwrap_or_else(|| panic!("no step {step}: {outcome:#}"))
}

/// Whether namespaces can be had; skips aloud when not.
fn has_namespaces(test: &str) -> bool {
    let output = run_isolated_nothing();
    let has = output.status.success();
    if !has {
        skip(test, &format!("needs a network namespace: {}", text(&output.stderr)));
    }
    has
}

fn run_isolated_nothing() -> Output {
    let mut unshare = Command::new("unshare");
    if !support::is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "true"]).output().expect("unshare starts")
}

/// What a user without privilege sees of the probe; `None`, with a loud skip, where there is no way to become one.
fn outcome_for_nobody(test: &str, args: &[&str]) -> Option<(Value, Option<i32>)> {
    if !support::is_root() {
        return Some(outcome(probe(args)));
    }
    if !support::has_program("setpriv") {
        skip(test, "needs the program `setpriv`");
        return None;
    }
    // The folder of the build may be closed to others.
    let everybody = std::fs::Permissions::from_mode(0o755);
    let dir = tempfile::Builder::new().permissions(everybody).tempdir().expect("a directory");
    let copy = dir.path().join("closewatch");
    std::fs::copy(env!("CARGO_BIN_EXE_closewatch"), &copy).expect("a copy of the program");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(copy).arg("probe").args(args);
    Some(outcome(command))
}
