//! The commands, one arm each.

pub mod args;
pub mod exit;
pub mod output;
pub mod request;
pub mod terminal;
pub mod usage;
mod values;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap_complete::Shell;

use self::args::{Command, ReportArgs};
use self::exit::Exit;
use self::output::{OutputError, Sink};
use self::request::{OutputRequest, ReportJob};
use self::usage::{Refusal, UsageError};
use crate::capture::live::LiveHost;
use crate::capture::{CaptureError, SnapshotSource};
use crate::model::text::printable;
use crate::render;
use crate::report;

/// Runs the command line and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match args::parse(std::env::args_os()) {
        Err(Refusal::Text(text)) => say(text.as_bytes()),
        Err(Refusal::Usage(error)) => Err(error.into()),
        Ok(cli) => match cli.command {
            None => report(&cli.report),
            Some(Command::Report(args)) => report(&args),
            Some(Command::Explain { topic }) => explain(topic.as_deref()),
            Some(Command::Completions { shell }) => completions(shell),
        },
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => complain(&error).into(),
    }
}

fn report(args: &ReportArgs) -> Result<Exit> {
    let job = ReportJob::from_args(args)?;
    let sink = Sink::open(job.output.file.as_deref())?;
    let snapshot = match &job.from {
        Some(file) => file.take(&job.request)?,
        None => LiveHost.take(&job.request)?,
    };
    let report = report::build(&snapshot, &job.query, &job.policy);
    let mut bytes = Vec::new();
    render::render(&report, job.output.format, &terminal::page(&job.output), &mut bytes)
        .context("writing the report")?;
    deliver(sink, &bytes)
}

fn explain(topic: Option<&str>) -> Result<Exit> {
    let topic = topic.map(values::parse_topic).transpose()?;
    let page = terminal::page(&OutputRequest::for_people());
    say(render::explain::explain(topic, &page).as_bytes())
}

fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "closewatch", &mut script);
    say(&script)
}

fn say(bytes: &[u8]) -> Result<Exit> {
    deliver(Sink::Stdout, bytes)
}

/// Writes, and is content when the reader has gone: `closewatch | head -1` has seen what it wanted.
fn deliver(sink: Sink, bytes: &[u8]) -> Result<Exit> {
    match sink.write(bytes) {
        Err(OutputError::Write { error, .. }) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        outcome => outcome.map(|()| Exit::Done).map_err(Error::from),
    }
}

/// Prints the error, once, and what the reader can do about it.
fn complain(error: &Error) -> Exit {
    let mut text = format!("closewatch: {}\n", one_line(&format!("{error:#}")));
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {}\n", printable(&hint)));
    }
    // When standard error is closed there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    Exit::Failed
}

/// The message in one line, without the numbers of errors whose names are given.
fn one_line(message: &str) -> String {
    let mut plain = message.to_owned();
    while let Some(start) = plain.find(" (os error ") {
        let end = plain[start..].find(')').map_or(plain.len(), |end| start + end + 1);
        plain.replace_range(start..end, "");
    }
    printable(&plain).into_owned()
}

fn hint(error: &Error) -> Option<String> {
    if let Some(usage) = error.downcast_ref::<UsageError>() {
        return Some(usage.hint.clone());
    }
    if let Some(output) = error.downcast_ref::<OutputError>() {
        return Some(output.hint().to_owned());
    }
    match error.downcast_ref::<CaptureError>()? {
        CaptureError::EnterNetNs { pid, error } if error.kind() == ErrorKind::NotFound => {
            Some(format!("is process {pid} still running?"))
        }
        CaptureError::EnterNetNs { .. } => {
            Some("needs CAP_SYS_ADMIN and CAP_SYS_PTRACE; some processes are protected even from root".to_owned())
        }
        CaptureError::NoTable { .. } => {
            Some("is /proc mounted, and does a seccomp filter forbid netlink sockets?".to_owned())
        }
        CaptureError::ReadFile { .. } => Some("name a file that can be read, or `-` for standard input".to_owned()),
        CaptureError::SavedText { error, .. } => Some(error.hint().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_numbers_of_errors() {
        let message = "reading x: No such file (os error 2); y: denied (os error 13)\n";
        assert_eq!(one_line(message), "reading x: No such file; y: denied\\n");
        assert_eq!(one_line("cut short (os error 2"), "cut short");
    }
}
