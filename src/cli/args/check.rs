//! What can be typed behind `check` and `integrate`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::{ColorArg, HistoryArgs, QueryArgs};

/// The options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// When a metric is a warning (repeatable, or separated by commas).
    #[arg(
        short,
        long,
        value_name = "METRIC=RANGE",
        value_delimiter = ',',
        help_heading = "Grades",
        help = "When a metric is a warning: ports=60%, stuck=10, fds=@80%:, eta=7d:, coverage=90%: (repeatable)",
        long_help = "When a metric is a warning (repeatable, or separated by commas).\n\n\
                     The metrics are ports, stuck, fds, ghosts, accept, eta, conntrack and coverage. A RANGE is that of \
                     monitoring plugins, [@]START:END: it alerts outside of START to END, with @ inside; both ends are \
                     inside. 10 is 0:10 and alerts above 10, 10: alerts below 10, @10: from 10 on; ~ is minus infinity. \
                     Shares are written 80% or 0.8, times 7d, 12h, 30m or 90s. A metric that is asked about and not known is \
                     UNKNOWN"
    )]
    pub warning: Vec<String>,
    /// When a metric is critical, written as for --warning (repeatable)
    #[arg(short, long, value_name = "METRIC=RANGE", value_delimiter = ',', help_heading = "Grades")]
    pub critical: Vec<String>,
    /// Take levels from a TOML file; --warning, --critical and --stuck-after go before it
    ///
    /// Its keys are the names that `closewatch explain policy` prints: `stuck_after = "5m"`, and a table for each metric, as
    /// `[ports]` with `warning = "60%"` and `critical = "85%"`.
    #[arg(long, value_name = "FILE", help_heading = "Grades")]
    pub policy: Option<PathBuf>,

    /// How to print it [default: nagios]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<CheckFormatArg>,
    /// The same as --format json
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Write to FILE instead of standard output, whole or not at all
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print nothing on standard output when all is well
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub color: ColorArg,
    /// Show every row and every reason; more than one -v is as one
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,

    /// What to look at and to count.
    #[command(flatten)]
    pub query: QueryArgs,
    /// Where to remember it.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// Formats of the check, as they are typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormatArg {
    /// For people: the report
    Table,
    /// For machines: closewatch.report/1
    Json,
    /// For monitoring systems: one line with numbers, and long output
    Nagios,
    /// For Prometheus: gauges, for the textfile collector of the node exporter
    Prometheus,
    /// For Telegraf: line protocol; exits 0 whenever it printed something
    Influx,
    /// For Zabbix: closewatch.zabbix/1, all on standard output
    Zabbix,
}

/// The options of `integrate`.
#[derive(Debug, Args)]
pub struct IntegrateArgs {
    /// For what
    #[arg(value_enum, value_name = "TARGET")]
    pub target: TargetArg,
    /// Of systemd, only this unit
    #[arg(long, value_enum, value_name = "UNIT")]
    pub unit: Option<UnitArg>,
    /// Of a template, the format of this version: 6.0, which 7.0 imports too, or 7.0, which has timeouts [default: 6.0]
    #[arg(long, value_enum, value_name = "VERSION")]
    pub zabbix: Option<ZabbixArg>,
}

/// A version of Zabbix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZabbixArg {
    /// 6.0 and later
    #[value(name = "6.0")]
    Six,
    /// 7.0 and later
    #[value(name = "7.0")]
    Seven,
}

/// What configuration can be printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetArg {
    /// A file for /etc/cron.d
    Cron,
    /// A service and its timer
    Systemd,
    /// A command and a service, for Nagios, Icinga and Naemon
    Nagios,
    /// Recording rules and alerts
    PrometheusRules,
    /// An input of inputs.exec
    Telegraf,
    /// A key of the agent
    ZabbixAgent,
    /// A template of the server, to be imported
    ZabbixTemplate,
}

/// A unit of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnitArg {
    /// What is run
    Service,
    /// When it is run
    Timer,
}
