//! `closewatch probe`: what was typed becomes a plan, and what the probe shows is printed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::exit::Exit;
use super::probe_args::{DrillArgs, ExhaustArgs, LeakArgs, MatrixArgs, ProbeCommand};
use super::usage::UsageError;
use super::values::{parse_duration, parse_port_range_of};
use super::{matrix_table, say, tell_on};
use crate::capture::live::LiveHost;
use crate::capture::{Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource};
use crate::model::selection::Selection;
use crate::model::snapshot::Snapshot;
use crate::probe::crew::StopSignals;
use crate::probe::drill::{Alarm, CheckOptions, DrillPlan};
use crate::probe::leak::{LeakPlan, Target, TheirServer};
use crate::probe::outcome::Outcome;
use crate::probe::scenario::Exchange;
use crate::probe::{Stage, drill, exhaust, isolation, leak, matrix, worker};

/// Runs the probe that was asked for.
pub(super) fn probe(command: &ProbeCommand) -> Result<Exit> {
    match command {
        ProbeCommand::Leak(args) => run_leak(args),
        ProbeCommand::Exhaust(args) => run_exhaust(args),
        ProbeCommand::Matrix(args) => run_matrix(args),
        ProbeCommand::Drill(args) => run_drill(args),
    }
}

fn run_leak(args: &LeakArgs) -> Result<Exit> {
    let mut plan = plan_leak(args)?;
    if args.isolated {
        plan.isolation = Some(isolation::isolate()?);
    }
    on_stage(args.json, |stage| Ok(leak::run(stage, &plan)?))
}

fn run_exhaust(args: &ExhaustArgs) -> Result<Exit> {
    let range = parse_port_range_of("--range", &args.range)?;
    exhaust::refuse_single_port(range)?;
    isolation::isolate()?;
    on_stage(args.json, |stage| Ok(exhaust::run(stage, Some(range))?))
}

fn run_matrix(args: &MatrixArgs) -> Result<Exit> {
    isolation::isolate()?;
    let stage = set_stage(&|_| {})?;
    let outcome = matrix::run(&stage)?;
    if args.json {
        return finish(true, &outcome);
    }
    say(matrix_table::table(&outcome).as_bytes())?;
    finish(false, &outcome)
}

fn run_drill(args: &DrillArgs) -> Result<Exit> {
    let plan = plan_drill(args)?;
    if args.isolated {
        isolation::isolate()?;
    }
    on_stage(args.json, |stage| Ok(drill::run(stage, &plan)?))
}

fn plan_drill(args: &DrillArgs) -> Result<DrillPlan> {
    /// Old enough to be told from what closes in a moment.
    const STUCK_AFTER: &str = "2s";
    if args.count == 0 {
        return Err(UsageError::new("--count: no connection is no leak", "50 are enough to be seen").into());
    }
    let usual = args.policy.is_none().then(|| STUCK_AFTER.to_owned());
    let check = CheckOptions {
        stuck_after: args.stuck_after.clone().or(usual),
        warning: args.warning.clone(),
        critical: args.critical.clone(),
        policy: args.policy.clone(),
    };
    Ok(DrillPlan {
        alarm: match &args.command {
            None => Alarm::Check(check),
            Some(command) => Alarm::Command { command: command.clone(), expect: args.expect.clone() },
        },
        count: args.count,
        within: parse_duration("--within", &args.within)?,
        every: parse_duration("--every", &args.every)?,
        isolated: args.isolated,
    })
}

/// Sets the stage, plays, and prints how it went.
fn on_stage<T: Serialize>(json: bool, play: impl FnOnce(&Stage<'_>) -> Result<Outcome<T>>) -> Result<Exit> {
    let tell = move |line: &str| tell_on(json, line);
    let outcome = play(&set_stage(&tell)?)?;
    finish(json, &outcome)
}

fn set_stage(tell: &dyn Fn(&str)) -> Result<Stage<'_>> {
    Ok(Stage { program: worker::THIS_PROGRAM.into(), look: &look, tell, stop: StopSignals::heed()? })
}

fn finish<T: Serialize>(json: bool, outcome: &Outcome<T>) -> Result<Exit> {
    let verdict = if outcome.confirmed { "confirmed" } else { "NOT CONFIRMED" };
    let mut text = format!("{verdict}\n");
    if json {
        text = serde_json::to_string_pretty(outcome).context("writing the outcome")?;
        text.push('\n');
    }
    say(text.as_bytes())?;
    Ok(if outcome.confirmed { Exit::Done } else { Exit::NotConfirmed })
}

/// The namespace that this process is in; nobody's descriptors.
fn look() -> Result<Snapshot, String> {
    let request = Request {
        netns: NetNsChoice::Current,
        selection: Selection::default(),
        processes: ProcessChoice::Skip,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    };
    LiveHost.take(&request).map_err(|error| error.to_string())
}

fn plan_leak(args: &LeakArgs) -> Result<LeakPlan> {
    if args.count == 0 {
        return Err(UsageError::new("--count: no connection is no leak", "50 are enough to be seen").into());
    }
    let closes_first = args.closes.unwrap_or(args.variant.usual_closer());
    Ok(LeakPlan {
        count: args.count,
        every: Duration::from_secs(1).checked_div(args.rate).unwrap_or_default(),
        hold: parse_duration("--hold", &args.hold)?,
        exchange: Exchange { version: args.http, framing: args.framing, closes_first },
        variant: args.variant,
        target: match &args.target {
            None => Target::Own(args.listen),
            Some(url) => Target::Theirs(parse_url(url, args.allow_remote)?),
        },
        isolation: None,
    })
}

/// Reads `http://host[:port][/path]`, and asks for the address of the host.
fn parse_url(url: &str, remote_allowed: bool) -> Result<TheirServer, UsageError> {
    const HINT: &str = "write http://127.0.0.1:8080/path; the probe speaks no TLS";
    let refuse = |why: &str| UsageError::new(format!("--target: `{url}` {why}"), HINT);
    let rest = url.strip_prefix("http://").ok_or_else(|| refuse("does not begin with http://"))?;
    let (host, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = path.split('#').next().unwrap_or_default();
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !plain(host) || !plain(path) {
        return Err(refuse("names no host that can be asked"));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if has_port { host.to_owned() } else { format!("{host}:80") };
    let addresses = place.to_socket_addrs().map_err(|error| refuse(&format!("has no address: {error}")))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    // Of several addresses that of another host comes first, so that it is the one that is refused.
    let address = addresses.iter().find(|address| !address.ip().is_loopback()).or(addresses.first());
    let address = *address.ok_or_else(|| refuse("has no address"))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(TheirServer { address, host: host.to_owned(), path, remote_allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_nonsense_is_not() {
        let read = |url| parse_url(url, false).map(|server| (server.address.to_string(), server.host, server.path));
        let is = |address: &str, host: &str, path: &str| Ok((address.to_owned(), host.to_owned(), path.to_owned()));
        assert_eq!(read("http://127.0.0.1:8080/a?b#c"), is("127.0.0.1:8080", "127.0.0.1:8080", "/a?b"));
        assert_eq!(read("http://127.0.0.1"), is("127.0.0.1:80", "127.0.0.1", "/"));
        assert_eq!(read("http://[::1]:81?q"), is("[::1]:81", "[::1]:81", "/?q"));
        for wrong in [
            "https://127.0.0.1/",
            "127.0.0.1:80",
            "http://",
            "http:///x",
            "http://a@127.0.0.1/",
            "http://127.0.0.1/a b",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
