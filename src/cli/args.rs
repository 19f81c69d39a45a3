//! What can be typed: clap's view of the command line, and nothing else.
//!
//! The doc comments here are the text of `--help` and of the manual page. What they mean is decided in
//! [`super::request`].

mod check;
mod history;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::check::{CheckArgs, CheckFormatArg, IntegrateArgs, TargetArg, UnitArg, ZabbixArg};
pub use self::history::{PastArgs, PastFormatArg};
use super::exec::ExecArgs;
use super::probe_args::ProbeCommand;
use super::usage::Refusal;

/// Says who leaks TCP sockets on this host, since when, to whom, how many ephemeral ports are left, and what to do
///
/// Every number is read from the running kernel. What may not be read is named, with the capability that would show it.
/// Without a command, `closewatch` does what `closewatch report` does.
#[derive(Debug, Parser)]
#[command(
    name = "closewatch",
    version,
    propagate_version = true,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The command; `report` when there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of `report`, which may be given without naming it.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at this host now: verdict and next action first, then the numbers
    Report(Box<ReportArgs>),
    /// The same look, graded for cron, Nagios and their like: exits 0 ok, 1 warning, 2 critical, 3 unknown
    ///
    /// Each metric is held against a warning and a critical range; findings are graded by the same levels. `closewatch explain
    /// policy` prints the defaults with their reasons. Permissions that are missing leave an OK alone, and are told; who wants
    /// to be UNKNOWN then asks for coverage (-w coverage=90%:).
    Check(Box<CheckArgs>),
    /// Show what checks have remembered: what grows and when it meets its limit, with plots
    ///
    /// Growth is judged as check and report judge it: by ranks, apart for what is surely leaked and for what is in use, so that
    /// neither a daily wave nor a restart is growth. What is not known yet is said to be so. The history is only read, unless
    /// `--from` adds to it.
    History(PastArgs),
    /// Save all that a look sees, to be reported on elsewhere or later with `--from`
    ///
    /// A recording holds observations: sockets, the processes that hold them with their names, executables, users and units,
    /// limits, and what could not be seen. It holds no payload, no command line and no environment. Everything is recorded;
    /// filters are for the report on it.
    Record(Box<RecordArgs>),
    /// Reproduce the leak for real, in small and safely, and confirm that it is seen
    Probe {
        /// Which probe.
        #[command(subcommand)]
        scenario: ProbeCommand,
    },
    /// Run a command or a test suite, and tell which sockets it leaked
    ///
    /// The command, and all that it starts, is watched while it runs: which sockets stayed in CLOSE-WAIT, or became ghosts, for
    /// longer than --grace, with destination, kind and age, on standard error when it has ended. Its standard streams, its
    /// terminal, its signals and its exit status are passed through. Descriptors vanish with their process, so the kernel is
    /// looked at every --interval, or less often where a look takes longer than a fifth of that.
    Exec(ExecArgs),
    /// Explain a topic; without one, list the topics
    Explain {
        /// What to explain: json-schema, history-json-schema, policy, a rule or a TCP state
        topic: Option<String>,
    },
    /// Print ready configuration for a scheduler or a monitoring system
    Integrate(IntegrateArgs),
    /// Tell what this user may see here, what is hidden and why, and the line that would show it; exits 1 if something is hidden
    Doctor,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Formats of the report, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// For people
    Table,
    /// For machines: closewatch.report/1
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorArg {
    /// When standard output is a terminal, TERM is not dumb and NO_COLOR is not set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// How to print the report
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<FormatArg>,
    /// The same as --format json
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Write to FILE instead of standard output, whole or not at all
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub color: ColorArg,
    /// Show every row and every reason
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,

    /// What to look at and to count.
    #[command(flatten)]
    pub query: QueryArgs,
    /// What is remembered.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// The options of every command that knows the past.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The history of earlier checks [default: /var/lib/closewatch/history.db for root, else
    /// ~/.local/state/closewatch/history.db]
    #[arg(long, value_name = "FILE", conflicts_with = "no_history", help_heading = "History")]
    pub history: Option<PathBuf>,
    /// Neither read nor write a history
    #[arg(long, help_heading = "History")]
    pub no_history: bool,
}

/// The options of every command that reports: what to look at, and what to count.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// What to look at, and how.
    #[command(flatten)]
    pub look: LookArgs,
    /// From which age on a CLOSE-WAIT is stuck: 90, 90s, 5m, 2h, 1d, 500ms [default: 60s]
    #[arg(long, value_name = "DURATION", help_heading = "Where and how to look")]
    pub stuck_after: Option<String>,
    /// Count in a range of local ports of your own, beside system, ephemeral and user (repeatable)
    #[arg(long = "port-range", value_name = "NAME=FIRST-LAST", help_heading = "Where and how to look")]
    pub port_ranges: Vec<String>,
    /// Hold the connections to each destination against a NAT's budget of N ports, which all namespaces share
    #[arg(long, value_name = "N", help_heading = "Where and how to look")]
    pub snat_limit: Option<String>,

    /// Only sockets of this process (repeatable)
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',', help_heading = "Filters")]
    pub pids: Vec<String>,
    /// Only sockets of processes with this name, or whose executable has it (repeatable)
    #[arg(long = "process", value_name = "NAME", help_heading = "Filters")]
    pub processes: Vec<String>,
    /// Only sockets of processes of this systemd unit (repeatable)
    #[arg(long = "unit", value_name = "UNIT", help_heading = "Filters")]
    pub units: Vec<String>,
    /// Only sockets of processes of this container: its id or the beginning of it (repeatable)
    #[arg(long = "container", value_name = "ID", help_heading = "Filters")]
    pub containers: Vec<String>,
    /// Only sockets in this state, as `ss` or the JSON report spells it (repeatable, or separated by commas)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', help_heading = "Filters")]
    pub states: Vec<String>,
    /// Only sockets with this local address or port.
    #[arg(
        long,
        value_name = "ADDRESS|PORTS",
        value_delimiter = ',',
        help_heading = "Filters",
        help = "Only sockets with this local address or port: 10.0.0.0/8, 443, 8000-8999, 10.0.0.5:443, [::1]:80 (repeatable)"
    )]
    pub local: Vec<String>,
    /// Only sockets with this remote address or port, written as for --local (repeatable)
    #[arg(long, value_name = "ADDRESS|PORTS", value_delimiter = ',', help_heading = "Filters")]
    pub peer: Vec<String>,
}

/// The options of every command that looks.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// Look at a file in place of this host: a recording, or saved text of `ss`, `netstat` or /proc/net/tcp, recognised by
    /// content; `-` is standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["netns", "no_processes", "exact", "timeout"],
        help_heading = "Where and how to look"
    )]
    pub from: Option<PathBuf>,
    /// The ephemeral port range of the host that a saved text is of, which no such text tells: 32768-60999
    #[arg(long, value_name = "FIRST-LAST", requires = "from", help_heading = "Where and how to look")]
    pub ephemeral_range: Option<String>,
    /// The network namespaces to look at: `all`, `current`, that of a process, or one by name: that of `ip netns`, a
    /// container's id or the beginning of it, an inode
    #[arg(long, value_name = "all|current|PID|NAME", default_value = "all", help_heading = "Where and how to look")]
    pub netns: String,
    /// Do not look for the processes that hold the sockets, nor for namespaces that only a descriptor keeps: counts and
    /// ports only
    #[arg(long, help_heading = "Where and how to look")]
    pub no_processes: bool,
    /// Ask the kernel about ports that its tables leave in doubt (needs CAP_NET_ADMIN; sends no packet)
    #[arg(long, help_heading = "Where and how to look")]
    pub exact: bool,
    /// Stop looking after so many seconds and report what was seen until then [default: no limit; check: 10, for
    /// Zabbix 2]
    #[arg(short, long, value_name = "SECONDS", help_heading = "Where and how to look")]
    pub timeout: Option<String>,
}

/// The options of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The file to write, whole or not at all; `-` is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Replace addresses and names, each by always the same other one; ports, pids, counts and times stay
    ///
    /// Addresses keep their family, what they are (loopback, link-local, private, multicast), and the prefixes that they
    /// share. The names of the host, of processes, executables, units, containers, users and namespaces become digits; user
    /// ids from 1000 on become others. Which becomes which depends on a random key that is thrown away.
    #[arg(long, help_heading = "What to record")]
    pub anonymize: bool,
    /// Take the key from FILE, so that several recordings agree: 32 hexadecimal digits (openssl rand -hex 16)
    #[arg(long, value_name = "FILE", requires = "anonymize", help_heading = "What to record")]
    pub anonymize_key: Option<PathBuf>,
    /// Say on standard error what was recorded
    #[arg(short, long, help_heading = "Output")]
    pub verbose: bool,
    /// What to look at, and how.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Reads the command line.
///
/// # Errors
/// What is to be said instead of doing anything: a usage error, or the text of `--help` or `--version`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Refusal> {
    Cli::try_parse_from(args).map_err(|error| Refusal::from_clap(&error))
}

/// The command line as clap knows it, for completions and for the manual page.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_help_tells_the_default_age_of_a_stuck_socket() {
        let help = super::command().render_long_help().to_string();
        let seconds = crate::diagnosis::policy::Policy::default().stuck_after.as_secs();
        assert!(help.contains(&format!("500ms [default: {seconds}s]")), "{help}");
    }

    #[test]
    fn clap_finds_no_fault_with_the_definitions() {
        super::command().debug_assert();
    }
}
