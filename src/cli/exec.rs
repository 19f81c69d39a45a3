//! `closewatch exec`: a command run and watched.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::exit::Exit;
use super::output::Sink;
use super::tell;
use super::usage::UsageError;
use super::values::parse_duration;
use crate::capture::live::LiveHost;
use crate::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use crate::exec::verdict::Verdict;
use crate::exec::{self, ExecPlan, Sought};
use crate::model::selection::Selection;
use crate::model::snapshot::Snapshot;

/// The options of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// How long a socket may be in CLOSE-WAIT, or a ghost, before it counts as leaked
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub grace: String,
    /// How much time lies between two looks at least; what comes and goes in between is not seen
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    pub interval: String,
    /// Exit with 2 when COMMAND leaked, whatever its own status, and with 3 when no look was possible
    #[arg(long)]
    pub fail_on_leak: bool,
    /// Tell as closewatch.exec/1
    #[arg(long)]
    pub json: bool,
    /// Tell it in FILE in place of standard error, whole or not at all
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Runs the command, tells what it leaked, and passes its status on.
pub(super) fn exec(args: &ExecArgs) -> Result<Exit> {
    let interval = parse_duration("--interval", &args.interval)?;
    if interval.is_zero() {
        return Err(UsageError::new("--interval: no time is too little", "250ms is short enough for most").into());
    }
    let plan = ExecPlan { command: args.command.clone(), grace: parse_duration("--grace", &args.grace)?, interval };
    let file = args.output.as_deref().map(|file| Sink::open(Some(file))).transpose()?;
    let (ended, verdict) = exec::run(&plan, &look)?;
    report(args, &verdict, file)?;
    Ok(match args.fail_on_leak {
        true if verdict.leaked > 0 => Exit::Leaked,
        true if verdict.is_blind() => Exit::Failed,
        _ => Exit::OfCommand(ended.status()),
    })
}

fn report(args: &ExecArgs, verdict: &Verdict, file: Option<Sink>) -> Result<()> {
    let lines = match args.json {
        true => vec![serde_json::to_string_pretty(verdict).context("writing the verdict")?],
        false => verdict.lines(),
    };
    if let Some(sink) = file {
        sink.write(format!("{}\n", lines.join("\n")).as_bytes())?;
        return Ok(());
    }
    if args.json {
        super::write_to_stderr(&format!("{}\n", lines.join("\n")));
        return Ok(());
    }
    lines.iter().for_each(|line| tell(line));
    Ok(())
}

/// The sockets of some processes, in one namespace.
fn look(sought: &Sought) -> Result<Snapshot, String> {
    let request = Request {
        netns: sought.through.map_or(NetNsChoice::Current, NetNsChoice::Pid),
        selection: Selection { pids: sought.pids.clone(), ..Selection::default() },
        processes: ProcessChoice::Attribute,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    };
    LiveHost.take(&request).map_err(|error| error.to_string())
}
