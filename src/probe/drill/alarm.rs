//! Asking the alarm: a program is run to its end, and its answer read.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::{Alarm, CheckOptions};
use crate::probe::message::Role;
use crate::probe::worker::{THIS_PROGRAM, WORKER};
use crate::probe::{ProbeError, Stage};

/// An alarm that has not answered for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two glances at whether it has.
const GLANCE_EVERY: Duration = Duration::from_millis(10);
/// What a shell says of a command that it cannot run, and of one that it cannot find (POSIX, Shell Command Language 2.8.2).
const NOT_RUN: [i32; 2] = [126, 127];
/// So much of an answer is repeated.
const REPEATED: usize = 160;

/// Whether there is trouble, by the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// There is none.
    Quiet,
    /// There is.
    Trouble,
}

/// What an alarm says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) mood: Mood,
    /// In one line.
    pub(super) words: String,
    /// The whole report, of `closewatch check`; null of any other alarm.
    pub(super) report: Value,
}

/// Asks once.
///
/// # Errors
/// [`ProbeError::Alarm`] when the alarm cannot say anything, whatever the host is like.
pub(super) fn ask(stage: &Stage<'_>, alarm: &Alarm, pids: [u32; 2]) -> Result<Answer, ProbeError> {
    match alarm {
        Alarm::Check(options) => {
            let said = run(stage, check(options, pids))?;
            read_check(&said)
        }
        Alarm::Command { command, expect } => {
            let said = run(stage, ["/bin/sh", "-c", command].map(str::to_owned).to_vec())?;
            read_command(&said, expect.as_deref())
        }
    }
}

/// The words of `closewatch check` on these processes.
fn check(options: &CheckOptions, pids: [u32; 2]) -> Vec<String> {
    let fixed = [THIS_PROGRAM, "check", "--no-history", "--json", "--netns", "current"];
    let mut words: Vec<String> = fixed.map(str::to_owned).to_vec();
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    pids.iter().for_each(|pid| option("--pid", pid.to_string()));
    options.stuck_after.iter().for_each(|value| option("--stuck-after", value.clone()));
    options.warning.iter().for_each(|value| option("--warning", value.clone()));
    options.critical.iter().for_each(|value| option("--critical", value.clone()));
    options.policy.iter().for_each(|file| option("--policy", file.display().to_string()));
    words
}

/// How a program ended, and what it said.
struct Spoken {
    status: ExitStatus,
    out: String,
    error: String,
}

/// Runs a program to its end, by way of a worker that becomes it: so it has the signals that a program is used to, and ends
/// with the director.
fn run(stage: &Stage<'_>, words: Vec<String>) -> Result<Spoken, ProbeError> {
    let failed = |error: io::Error| ProbeError::Alarm(format!("running it: {error}"));
    let role = serde_json::to_string(&Role::Run(words)).map_err(|error| failed(error.into()))?;
    let (mut out, mut error) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let child = Command::new(&stage.program)
        .arg0(WORKER)
        .arg(role)
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(failed)?)
        .stderr(error.try_clone().map_err(failed)?)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let status = wait(stage, child)?;
    let text = |file: &mut File| -> io::Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Spoken { status, out: text(&mut out).map_err(failed)?, error: text(&mut error).map_err(failed)? })
}

fn wait(stage: &Stage<'_>, mut child: Child) -> Result<ExitStatus, ProbeError> {
    let began_at = Instant::now();
    let outcome = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => break ProbeError::Alarm(format!("waiting for it: {error}")),
        }
        if let Some(signal) = stage.stop.came() {
            break ProbeError::Stopped(signal.as_str());
        }
        if began_at.elapsed() >= PATIENCE {
            break ProbeError::Alarm("it has not answered for a minute".to_owned());
        }
        thread::sleep(GLANCE_EVERY);
    };
    // What it has started goes with it, as far as it is of its group.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    Err(outcome)
}

fn read_check(said: &Spoken) -> Result<Answer, ProbeError> {
    let report: Value = serde_json::from_str(&said.out)
        .map_err(|_| ProbeError::Alarm(first_line(&said.error).trim_start_matches("closewatch: ").to_owned()))?;
    let verdict = report["verdict"].as_str().unwrap_or("no verdict").to_uppercase();
    let words = format!("{verdict}: {}", report["headline"].as_str().unwrap_or_default());
    match said.status.code() {
        Some(0) => Ok(Answer { mood: Mood::Quiet, words, report }),
        Some(1 | 2) => Ok(Answer { mood: Mood::Trouble, words, report }),
        _ => Err(ProbeError::Alarm(words)),
    }
}

fn read_command(said: &Spoken, expect: Option<&str>) -> Result<Answer, ProbeError> {
    let status = said.status.code();
    if status.is_some_and(|status| NOT_RUN.contains(&status)) {
        return Err(ProbeError::Alarm(first_line(&said.error)));
    }
    let trouble = match expect {
        Some(text) => said.out.contains(text) || said.error.contains(text),
        None => !said.status.success(),
    };
    let line = first_line(if said.out.trim().is_empty() { &said.error } else { &said.out });
    let status = status.map_or("ended by a signal".to_owned(), |status| format!("status {status}"));
    let words = if line.is_empty() { status } else { format!("{status}: {line}") };
    Ok(Answer { mood: if trouble { Mood::Trouble } else { Mood::Quiet }, words, report: Value::Null })
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(REPEATED).collect()
}
