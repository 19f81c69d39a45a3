//! `closewatch exec` around real programs: what passes through it, what it sees, and what it does not.

mod passing;
mod programs;
mod server;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Output};

use support::{closewatch, text};

/// `closewatch exec` with these options, around this command.
fn exec(options: &[&str], command: &[&str]) -> Command {
    let closewatch = closewatch();
    // Whoever runs the tests may ignore what is sent here, and to ignore is inherited.
    let mut exec = Command::new("env");
    exec.args(["--default-signal=INT", "--default-signal=QUIT"]).arg(closewatch.get_program());
    exec.envs(closewatch.get_envs().filter_map(|(name, value)| Some((name, value?))));
    exec.arg("exec").args(options).arg("--").args(command);
    exec
}

/// Runs it, and reads the document that it writes.
fn verdict(options: &[&str], command: &[&str]) -> (Output, serde_json::Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("verdict");
    let output = closewatch()
        .arg("exec")
        .args(options)
        .args(["--json", "--output"])
        .arg(&file)
        .arg("--")
        .args(command)
        .output()
        .expect("closewatch starts");
    let written = std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output, serde_json::from_slice(&written).expect("JSON"))
}
