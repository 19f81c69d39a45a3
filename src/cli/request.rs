//! What was typed becomes what is meant, before any work starts. Pure, but for the one clock that a time limit starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{
    CheckArgs, CheckFormatArg, ColorArg, FormatArg, HistoryArgs, LookArgs, PastArgs, PastFormatArg, QueryArgs,
    RecordArgs, ReportArgs,
};
use super::ranges;
use super::usage::UsageError;
use super::values::{
    Since, parse_duration, parse_endpoints, parse_ephemeral_range, parse_netns, parse_pid, parse_port_range,
    parse_since, parse_snat_limit, parse_states,
};
use crate::capture::from::SavedLook;
use crate::capture::{Deadline, PortProbeChoice, ProcessChoice, Request};
use crate::census::Query;
use crate::diagnosis::policy::{MissingPermission, Policy};
use crate::model::ports::NamedPortRange;
use crate::model::selection::Selection;
use crate::render::{Detail, Format, chronicle};

/// One report: what to look at, what to count, how to judge, how to print.
#[derive(Debug)]
pub struct ReportJob {
    /// The file to look at; `None` is this host.
    pub from: Option<SavedLook>,
    /// What to look at.
    pub request: Request,
    /// What to count.
    pub query: Query,
    /// How to judge.
    pub policy: Policy,
    /// Which history to know.
    pub history: HistoryRequest,
    /// How to print.
    pub output: OutputRequest,
}

/// Which history to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryRequest {
    /// The one in the usual place.
    Usual,
    /// The one in this file.
    File(PathBuf),
    /// None.
    None,
}

/// How and where to print.
#[derive(Debug, PartialEq, Eq)]
pub struct OutputRequest<F = Format> {
    /// The format.
    pub format: F,
    /// The file; `None` is standard output.
    pub file: Option<PathBuf>,
    /// When to use colour.
    pub color: ColorArg,
    /// How many rows and reasons.
    pub detail: Detail,
}

impl OutputRequest {
    /// Text on standard output, for a command that takes no options of output.
    #[must_use]
    pub fn for_people() -> Self {
        Self { format: Format::Table, file: None, color: ColorArg::Auto, detail: Detail::Brief }
    }
}

/// One recording: what to look at, and what to write.
#[derive(Debug)]
pub struct RecordJob {
    /// The file to look at; `None` is this host.
    pub from: Option<SavedLook>,
    /// What to look at: everything.
    pub request: Request,
    /// Whose names to write.
    pub names: NamesRequest,
    /// The file to write; `None` is standard output.
    pub file: Option<PathBuf>,
    /// How much to say about it.
    pub detail: Detail,
}

/// Whose names go into a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamesRequest {
    /// Those that were seen.
    Seen,
    /// Others, by a key that is made for it.
    Invented,
    /// Others, by the key in this file.
    InventedBy(PathBuf),
}

impl RecordJob {
    /// Reads the values and starts the clock of `--timeout`.
    ///
    /// # Errors
    /// The first thing that cannot be acted on.
    pub fn from_args(args: &RecordArgs) -> Result<Self, UsageError> {
        Ok(Self {
            from: read_from(&args.look)?,
            request: read_request(&args.look, Selection::default())?,
            names: match (&args.anonymize_key, args.anonymize) {
                (Some(file), _) => NamesRequest::InventedBy(file.clone()),
                (None, true) => NamesRequest::Invented,
                (None, false) => NamesRequest::Seen,
            },
            file: Some(args.file.clone()).filter(|file| !is_dash(file)),
            detail: read_detail(args.verbose),
        })
    }
}

impl ReportJob {
    /// Reads the values, refuses what contradicts itself, and starts the clock of `--timeout`.
    ///
    /// # Errors
    /// The first thing that cannot be acted on.
    pub fn from_args(args: &ReportArgs) -> Result<Self, UsageError> {
        let asks_json = args.format.is_none_or(|format| format == FormatArg::Json);
        refuse_contradictory_formats(args.json, asks_json)?;
        let (policy, query) = read_query(&args.query, Policy::default())?;
        Ok(Self {
            from: read_from(&args.query.look)?,
            request: read_request(&args.query.look, query.selection.clone())?,
            query,
            policy,
            history: read_history(&args.history, &args.query.look),
            output: read_output(args),
        })
    }
}

/// One check: a report, and how long it may take.
#[derive(Debug)]
pub struct CheckJob {
    /// The report.
    pub report: ReportJob,
    /// How long all of it may take; `None` of a saved look, which takes no time worth a bound.
    pub limit: Option<Duration>,
    /// Whether to say nothing of what is well.
    pub quiet: bool,
}

impl CheckJob {
    /// How long a check may take by default. Plugins have their own deadline before that of who runs them; 10 s is what the
    /// Monitoring Plugins Development Guidelines recommend.
    const USUAL_LIMIT: Duration = Duration::from_secs(10);

    /// The same for Zabbix, whose agent kills what takes longer than its own 3 s (`Timeout=`).
    const USUAL_LIMIT_OF_ZABBIX: Duration = Duration::from_secs(2);

    /// How much of the limit the look may take: what is left is for counting and printing what it saw. Who is killed when it is
    /// late, and has little time, leaves more of it.
    fn share_of_look(limit: Duration, format: Format) -> Duration {
        const ENOUGH: Duration = Duration::from_millis(250);
        match format {
            Format::Zabbix => limit * 3 / 5,
            _ => limit - (limit / 10).max(ENOUGH.min(limit / 2)),
        }
    }

    /// Reads the values, refuses what contradicts itself, and starts the clock of `--timeout`. `policy` is what the policy
    /// file made of the defaults.
    ///
    /// # Errors
    /// The first thing that cannot be acted on.
    pub fn from_args(args: &CheckArgs, policy: Policy) -> Result<Self, UsageError> {
        let asks_json = args.format.is_none_or(|format| format == CheckFormatArg::Json);
        refuse_contradictory_formats(args.json, asks_json)?;
        let (mut policy, query) = read_query(&args.query, policy)?;
        policy.missing_permission = MissingPermission::Told;
        ranges::ask(&mut policy, &args.warning, &args.critical)?;
        let look = &args.query.look;
        let from = read_from(look)?;
        let history = read_history(&args.history, look);
        let output = read_check_output(args);
        let is_document = matches!(output.format, Format::Prometheus | Format::Influx | Format::Zabbix);
        if args.quiet && is_document {
            return Err(UsageError::new("--quiet contradicts a --format that is always read", "leave one of them out"));
        }
        let usual = if output.format == Format::Zabbix { Self::USUAL_LIMIT_OF_ZABBIX } else { Self::USUAL_LIMIT };
        let limit = read_timeout(look.timeout.as_deref())?.or(from.is_none().then_some(usual));
        let mut request = read_request(look, query.selection.clone())?;
        request.deadline =
            limit.map_or_else(Deadline::never, |limit| Deadline::after(Self::share_of_look(limit, output.format)));
        Ok(Self { report: ReportJob { from, request, query, policy, history, output }, limit, quiet: args.quiet })
    }
}

/// What is remembered, and how to show it.
#[derive(Debug)]
pub struct PastJob {
    /// Which history to show, or to build.
    pub history: HistoryRequest,
    /// The recordings and folders to build it of; empty to show what is remembered.
    pub from: Vec<PathBuf>,
    /// Since when to show it.
    pub since: Option<Since>,
    /// How to print.
    pub output: OutputRequest<chronicle::Format>,
}

impl PastJob {
    /// Reads the values, and refuses what contradicts itself.
    ///
    /// # Errors
    /// The first thing that cannot be acted on.
    pub fn from_args(args: &PastArgs) -> Result<Self, UsageError> {
        let asks_json = args.format.is_none_or(|format| format == PastFormatArg::Json);
        refuse_contradictory_formats(args.json, asks_json)?;
        if args.from.iter().any(|file| is_dash(file)) {
            return Err(UsageError::new(
                "--from: a history is built of files, and standard input is none",
                "save the recording to a file; a folder of recordings can be named, too",
            ));
        }
        let usual = if args.from.is_empty() { HistoryRequest::Usual } else { HistoryRequest::None };
        Ok(Self {
            history: args.history.clone().map_or(usual, HistoryRequest::File),
            from: args.from.clone(),
            since: args.since.as_deref().map(parse_since).transpose()?,
            output: read_past_output(args),
        })
    }
}

/// Of a saved look, the usual history is that of another host, or of another time.
fn read_history(args: &HistoryArgs, look: &LookArgs) -> HistoryRequest {
    match &args.history {
        Some(file) => HistoryRequest::File(file.clone()),
        None if args.no_history || look.from.is_some() => HistoryRequest::None,
        None => HistoryRequest::Usual,
    }
}

/// What to count, and the policy with the age that the reader gave.
fn read_query(args: &QueryArgs, mut policy: Policy) -> Result<(Policy, Query), UsageError> {
    let selection = read_selection(args)?;
    refuse_contradictions(args, &selection)?;
    if let Some(text) = &args.stuck_after {
        policy.stuck_after = parse_duration("--stuck-after", text)?;
    }
    let query = Query {
        selection,
        port_ranges: read_port_ranges(&args.port_ranges)?,
        stuck_after: policy.stuck_after,
        snat_limit: args.snat_limit.as_deref().map(parse_snat_limit).transpose()?,
    };
    Ok((policy, query))
}

fn read_from(look: &LookArgs) -> Result<Option<SavedLook>, UsageError> {
    let ephemeral = look.ephemeral_range.as_deref().map(parse_ephemeral_range).transpose()?;
    let saved = |file: &PathBuf| SavedLook { path: Some(file.clone()).filter(|file| !is_dash(file)), ephemeral };
    Ok(look.from.as_ref().map(saved))
}

fn read_request(look: &LookArgs, selection: Selection) -> Result<Request, UsageError> {
    Ok(Request {
        netns: parse_netns(&look.netns)?,
        selection,
        processes: if look.no_processes { ProcessChoice::Skip } else { ProcessChoice::Attribute },
        port_probe: if look.exact { PortProbeChoice::Exact } else { PortProbeChoice::Bounds },
        deadline: read_timeout(look.timeout.as_deref())?.map_or_else(Deadline::never, Deadline::after),
    })
}

fn read_selection(args: &QueryArgs) -> Result<Selection, UsageError> {
    for (option, values) in [("--process", &args.processes), ("--unit", &args.units), ("--container", &args.containers)]
    {
        if values.iter().any(String::is_empty) {
            return Err(UsageError::new(format!("{option}: an empty name matches nothing"), "leave the option out"));
        }
    }
    Ok(Selection {
        states: parse_states(&args.states)?,
        local: parse_endpoints("--local", &args.local)?,
        peer: parse_endpoints("--peer", &args.peer)?,
        pids: args.pids.iter().map(|pid| parse_pid("--pid", pid)).collect::<Result<_, _>>()?,
        processes: args.processes.clone(),
        units: args.units.clone(),
        containers: args.containers.clone(),
    })
}

fn refuse_contradictions(args: &QueryArgs, selection: &Selection) -> Result<(), UsageError> {
    if args.look.no_processes && selection.by_process() {
        return Err(UsageError::new(
            "--no-processes contradicts --pid, --process, --unit and --container",
            "without processes no socket can be told to be theirs: drop one of the two",
        ));
    }
    Ok(())
}

fn refuse_contradictory_formats(json: bool, format_allows_it: bool) -> Result<(), UsageError> {
    if json && !format_allows_it {
        return Err(UsageError::new("--json contradicts another --format", "--json is short for --format json"));
    }
    Ok(())
}

fn read_port_ranges(texts: &[String]) -> Result<Vec<NamedPortRange>, UsageError> {
    let mut ranges: Vec<NamedPortRange> = Vec::new();
    for text in texts {
        let range = parse_port_range(text)?;
        if ranges.iter().any(|earlier| earlier.name == range.name) {
            return Err(UsageError::new(
                format!("--port-range: there are two ranges named `{}`", range.name),
                "give each range a name of its own",
            ));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn read_timeout(text: Option<&str>) -> Result<Option<Duration>, UsageError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let span = parse_duration("--timeout", text)?;
    if span.is_zero() {
        return Err(UsageError::new("--timeout: no look fits into no time", "leave the option out for no limit"));
    }
    Ok(Some(span))
}

fn read_output(args: &ReportArgs) -> OutputRequest {
    let format = if args.json { FormatArg::Json } else { args.format.unwrap_or(FormatArg::Table) };
    let file = args.output.clone().filter(|file| !is_dash(file));
    OutputRequest {
        format: match format {
            FormatArg::Table => Format::Table,
            FormatArg::Json => Format::Json,
        },
        file,
        color: args.color,
        detail: read_detail(args.verbose),
    }
}

/// The format of a check.
pub(super) fn check_format(args: &CheckArgs) -> Format {
    match if args.json { CheckFormatArg::Json } else { args.format.unwrap_or(CheckFormatArg::Nagios) } {
        CheckFormatArg::Table => Format::Table,
        CheckFormatArg::Json => Format::Json,
        CheckFormatArg::Nagios => Format::Nagios,
        CheckFormatArg::Prometheus => Format::Prometheus,
        CheckFormatArg::Influx => Format::Influx,
        CheckFormatArg::Zabbix => Format::Zabbix,
    }
}

fn read_check_output(args: &CheckArgs) -> OutputRequest {
    OutputRequest {
        format: check_format(args),
        file: args.output.clone().filter(|file| !is_dash(file)),
        color: args.color,
        detail: read_detail(args.verbose > 0),
    }
}

fn read_past_output(args: &PastArgs) -> OutputRequest<chronicle::Format> {
    let format = if args.json { PastFormatArg::Json } else { args.format.unwrap_or(PastFormatArg::Table) };
    OutputRequest {
        format: match format {
            PastFormatArg::Table => chronicle::Format::Table,
            PastFormatArg::Json => chronicle::Format::Json,
            PastFormatArg::Csv => chronicle::Format::Csv,
        },
        file: args.output.clone().filter(|file| !is_dash(file)),
        color: args.color,
        detail: read_detail(args.verbose),
    }
}

fn read_detail(verbose: bool) -> Detail {
    if verbose { Detail::Full } else { Detail::Brief }
}

/// Whether standard input or output is meant.
fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::NetNsChoice;
    use crate::cli::args;
    use crate::model::ports::EphemeralRange;

    fn job(typed: &str) -> Result<ReportJob, UsageError> {
        let words = std::iter::once("closewatch").chain(typed.split_whitespace());
        let cli = args::parse(words.map(Into::into)).unwrap_or_else(|refusal| panic!("{typed}: {refusal:?}"));
        ReportJob::from_args(&cli.report)
    }

    #[test]
    fn nothing_typed_means_all_namespaces_and_everything_in_them() {
        let job = job("").expect("the defaults are meant");
        assert_eq!(job.from, None);
        assert_eq!(job.request.netns, NetNsChoice::All);
        assert_eq!(job.request.processes, ProcessChoice::Attribute);
        assert_eq!(job.request.port_probe, PortProbeChoice::Bounds);
        assert_eq!(job.request.deadline, Deadline::never());
        assert!(job.request.selection.is_everything());
        assert_eq!(job.policy, Policy::default());
        assert_eq!(job.query.stuck_after, job.policy.stuck_after);
        assert_eq!(job.output, OutputRequest::for_people());
    }

    #[test]
    fn every_option_reaches_what_it_is_about() {
        let job = job("--json --output out --netns 12 --exact --stuck-after 5m -t 2 -v --color never \
                       --pid 1,2 --pid 3 --process a --unit b --container c --state close-wait,listen \
                       --local 10.0.0.0/8 --peer :443 --port-range x=1-2 --port-range y=3 --snat-limit 1024")
        .expect("all of it makes sense");
        assert_eq!(job.request.netns, NetNsChoice::Pid(12));
        assert_eq!(job.request.port_probe, PortProbeChoice::Exact);
        assert!(job.request.deadline.left().is_some_and(|left| left <= Duration::from_secs(2)));
        assert_eq!(job.policy.stuck_after, Duration::from_secs(300));
        assert_eq!(job.query.stuck_after, Duration::from_secs(300));
        let selection = &job.query.selection;
        assert_eq!(job.request.selection, *selection);
        assert_eq!(selection.pids, [1, 2, 3]);
        assert_eq!((&*selection.processes[0], &*selection.units[0], &*selection.containers[0]), ("a", "b", "c"));
        assert!(selection.states.is_some() && !selection.local.is_everything() && !selection.peer.is_everything());
        assert_eq!(job.query.port_ranges.iter().map(|range| range.last).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(job.query.snat_limit, Some(1024));
        assert_eq!((job.output.format, job.output.detail), (Format::Json, Detail::Full));
        assert_eq!(job.output.file.as_deref(), Some(std::path::Path::new("out")));
    }

    #[test]
    fn a_file_is_looked_at_instead_of_the_host() {
        let from = |typed: &str| job(typed).expect("it makes sense").from.expect("a file");
        let (first, last) = (32_768, 60_999);
        let file = from("--from ss.txt --ephemeral-range 32768-60999");
        let ephemeral = Some(EphemeralRange { first, last });
        assert_eq!(file, SavedLook { path: Some("ss.txt".into()), ephemeral });
        assert_eq!(from("--from -"), SavedLook { path: None, ephemeral: None });
        for typed in ["0-10", "10-9", "10", "1-65536", ""] {
            let error = job(&format!("--from x --ephemeral-range={typed}")).expect_err(typed);
            assert!(error.message.starts_with("--ephemeral-range: "), "{error:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for typed in [
            "--no-processes --pid 1",
            "--no-processes --process a",
            "--no-processes --unit a",
            "--no-processes --container a",
            "--json --format table",
            "--port-range a=1-2 --port-range a=3-4",
            "--timeout 0",
            "--snat-limit 0",
            "--snat-limit 64k",
            "--pid 0",
            "--pid abc",
            "--unit=",
        ] {
            let error = job(typed).expect_err(typed);
            assert!(!error.message.is_empty() && !error.hint.is_empty(), "{typed}: {error:?}");
        }
        assert!(job("--json --format json").is_ok());
        assert!(job("--no-processes --state close-wait").is_ok());
    }
}
