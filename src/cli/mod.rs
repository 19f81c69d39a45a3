//! The commands, one arm each.

pub mod args;
mod check;
mod doctor;
pub mod exec;
pub mod exit;
mod guard;
mod history;
mod matrix_table;
pub mod output;
mod past;
mod policy_file;
mod probe;
pub mod probe_args;
mod ranges;
mod recordings;
pub mod request;
pub mod terminal;
pub mod usage;
mod values;

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use clap_complete::Shell;

use self::args::{Command, IntegrateArgs, PastArgs, RecordArgs, ReportArgs};
use self::exit::Exit;
use self::guard::Voice;
use self::output::{OutputError, Sink};
use self::past::{Keeper, Purpose};
use self::request::{NamesRequest, OutputRequest, PastJob, RecordJob, ReportJob};
use self::usage::{Refusal, UsageError, closest};
use crate::capture::anonymize::{Key, KeyError};
use crate::capture::from::SavedLook;
use crate::capture::live::LiveHost;
use crate::capture::recording::RecordingError;
use crate::capture::{CaptureError, Request, SnapshotSource, anonymize, privilege, recording};
use crate::exec::ExecError;
use crate::history::HistoryError;
use crate::integrate;
use crate::model::snapshot::{Names, ProcessScan, Snapshot};
use crate::model::text::printable;
use crate::model::wording::counted;
use crate::probe::{ProbeError, worker};
use crate::render::{self, Detail};
use crate::report;

/// Runs the command line and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    if let Some(status) = worker::run_if_called(std::env::args_os()) {
        return status;
    }
    privilege::lower();
    let typed: Vec<OsString> = std::env::args_os().collect();
    let voice = check::voice_typed(&typed);
    let outcome = match args::parse(typed) {
        // A monitoring system that was told to run this must not read it as OK.
        Err(Refusal::Text(text)) => {
            say(text.as_bytes()).map(|done| if voice == Voice::Program { done } else { Exit::Failed })
        }
        Err(Refusal::Usage(error)) => check::refuse(error.into(), voice),
        Ok(cli) => match cli.command {
            None => report(&cli.report),
            Some(Command::Report(args)) => report(&args),
            Some(Command::Check(args)) => check::check(&args),
            Some(Command::History(args)) => past(&args),
            Some(Command::Record(args)) => record(&args),
            Some(Command::Probe { scenario }) => probe::probe(&scenario),
            Some(Command::Exec(args)) => exec::exec(&args),
            Some(Command::Integrate(args)) => integrate(&args),
            Some(Command::Explain { topic }) => explain(topic.as_deref()),
            Some(Command::Doctor) => doctor::doctor(),
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
    let snapshot = look(job.from.as_ref(), &job.request)?;
    let mut keeper = Keeper::open(&job.history, Purpose::Know, job.request.deadline)?;
    let past = keeper.past(&snapshot);
    let mut report = report::build(&snapshot, &job.query, &past, &job.policy);
    report.history = keeper.into_note();
    let mut bytes = Vec::new();
    render::render(&report, job.output.format, &terminal::page(&job.output), &mut bytes)
        .context("writing the report")?;
    deliver(sink, &bytes)
}

/// Shows what is remembered.
fn past(args: &PastArgs) -> Result<Exit> {
    let job = PastJob::from_args(args)?;
    let sink = Sink::open(job.output.file.as_deref())?;
    let mut shelf = match job.from.as_slice() {
        [] => history::open(&job.history)?,
        from => recordings::remember(from, &job.history)?,
    };
    let chronicle = history::tell(&mut shelf, job.since)?;
    let mut bytes = Vec::new();
    render::chronicle::render(&chronicle, job.output.format, &terminal::page(&job.output), &mut bytes)
        .context("writing the history")?;
    deliver(sink, &bytes)
}

fn integrate(args: &IntegrateArgs) -> Result<Exit> {
    let program = std::env::current_exe().context("finding out where closewatch is")?;
    let target = values::read_target(args)?;
    say(integrate::configuration(target, &program.to_string_lossy()).as_bytes())
}

fn record(args: &RecordArgs) -> Result<Exit> {
    let job = RecordJob::from_args(args)?;
    let sink = Sink::open(job.file.as_deref())?;
    refuse_terminal(&sink)?;
    let key = match &job.names {
        NamesRequest::Seen => None,
        NamesRequest::Invented => Some(Key::random()?),
        NamesRequest::InventedBy(file) => Some(Key::read(file)?),
    };
    let mut snapshot = look(job.from.as_ref(), &job.request)?;
    if let Some(key) = &key {
        anonymize::anonymize(&mut snapshot, key);
    }
    let names = if key.is_some() { Names::Invented } else { snapshot.names() };
    let bytes = recording::encode(&snapshot, names).context("this look cannot be recorded")?;
    let exit = deliver(sink, &bytes)?;
    if job.detail == Detail::Full {
        tell(&recorded(&snapshot, bytes.len()));
    }
    Ok(exit)
}

/// Looks at the file, or at this host.
fn look(from: Option<&SavedLook>, request: &Request) -> Result<Snapshot> {
    let Some(file) = from else {
        return Ok(LiveHost.take(request)?);
    };
    let snapshot = file.take(request)?;
    if snapshot.scan == ProcessScan::Skipped && request.selection.by_process() {
        return Err(Error::from(UsageError::new(
            "--from: the file does not tell which process holds a socket",
            "leave out --pid, --process, --unit and --container; record without --no-processes to have them",
        )));
    }
    Ok(snapshot)
}

/// A recording on a screen helps nobody, and may confuse the terminal.
fn refuse_terminal(sink: &Sink) -> Result<()> {
    if matches!(sink, Sink::Stdout) && io::stdout().is_terminal() {
        return Err(Error::from(UsageError::new(
            "a recording is not written to a terminal",
            "name a file, or redirect standard output",
        )));
    }
    Ok(())
}

fn recorded(snapshot: &Snapshot, bytes: usize) -> String {
    let count = |length: usize, one, many| counted(length as u64, one, many);
    format!(
        "recorded {} in {}, {}, {} not seen: {}",
        count(snapshot.sockets.len(), "socket", "sockets"),
        count(snapshot.namespaces.len(), "namespace", "namespaces"),
        count(snapshot.processes.len(), "process", "processes"),
        count(snapshot.gaps.len(), "thing", "things"),
        count(bytes, "byte", "bytes"),
    )
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
    write_to_stderr(&text);
    Exit::Failed
}

/// Tells something beside the output.
fn tell(sentence: &str) {
    write_to_stderr(&format!("closewatch: {}\n", printable(sentence)));
}

/// Tells what happens while it does: on standard output, or beside it where a document goes there.
fn tell_on(stderr: bool, line: &str) {
    let line = format!("{}\n", printable(line));
    if stderr {
        return write_to_stderr(&line);
    }
    // A reader who has gone has seen enough; what is being done is done to its end.
    let _ = io::stdout().write_all(line.as_bytes());
}

fn write_to_stderr(text: &str) {
    // When standard error is closed there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
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
    if error.is::<KeyError>() {
        return Some(
            "`openssl rand -hex 16 > FILE` makes a key; without --anonymize-key a random one is used".to_owned(),
        );
    }
    if let Some(history) = error.downcast_ref::<HistoryError>() {
        return Some(history.hint().to_owned());
    }
    if error.is::<RecordingError>() {
        return Some("record fewer namespaces at a time, with --netns".to_owned());
    }
    if let Some(probe) = error.downcast_ref::<ProbeError>() {
        return Some(probe.hint().to_owned());
    }
    if let Some(exec) = error.downcast_ref::<ExecError>() {
        return Some(exec.hint().to_owned());
    }
    match error.downcast_ref::<CaptureError>()? {
        CaptureError::EnterNetNs { pid, error } if error.kind() == ErrorKind::NotFound => {
            Some(format!("is process {pid} still running?"))
        }
        CaptureError::EnterNetNs { .. } | CaptureError::EnterNamedNetNs { .. } => {
            Some("needs CAP_SYS_ADMIN and CAP_SYS_PTRACE; some processes are protected even from root".to_owned())
        }
        CaptureError::NoSuchNetNs { name, known } => Some(names_that_are(name, known)),
        CaptureError::ManyNetNs { inodes, .. } => {
            let inodes: Vec<String> = inodes.iter().map(u64::to_string).collect();
            Some(format!("name one by its inode: {}", inodes.join(", ")))
        }
        CaptureError::NoTable { .. } => {
            Some("is /proc mounted, and does a seccomp filter forbid netlink sockets?".to_owned())
        }
        CaptureError::From { error, .. } => Some(error.hint().to_owned()),
    }
}

/// Which namespaces there are, and which of them was probably meant.
fn names_that_are(name: &str, known: &[String]) -> String {
    /// A hint is one line: of more names, the first.
    const NAMED: usize = 8;
    let names: Vec<&str> = known.iter().take(NAMED).map(String::as_str).collect();
    let more = if known.len() > NAMED { ", …" } else { "" };
    let list = match names.as_slice() {
        [] => "a name of `ip netns`, a container's id, an inode or a pid names a namespace".to_owned(),
        names => format!("there are: {}{more}; a container's id, an inode or a pid names one too", names.join(", ")),
    };
    match closest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`? {list}"),
        None => list,
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
