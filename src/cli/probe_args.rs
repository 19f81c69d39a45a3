//! What can be typed after `probe`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::probe::scenario::{End, Framing, HttpVersion, Variant};

/// The probes.
#[derive(Debug, Subcommand)]
pub enum ProbeCommand {
    /// Leak connections over real HTTP, hold them, and release them
    ///
    /// The leak is held by processes of its own, whose ids are told, until --hold has passed or Ctrl-C, SIGTERM or SIGHUP
    /// comes. Whatever ends closewatch, SIGKILL too, ends the leak.
    Leak(LeakArgs),
    /// Use up every port to one destination, in a network namespace of its own
    ///
    /// Leaks until connect() says EADDRNOTAVAIL ("cannot assign requested address"); holds how many connections that took
    /// against how many closewatch predicted; shows that another destination still answers, that closing the connections
    /// makes ports free again, and how connect() slows down on the way.
    Exhaust(ExhaustArgs),
    /// Show who closes a connection, in every way in which HTTP/1 can end one
    ///
    /// HTTP/1.0 and 1.1, every framing of the body, who closes first, and whether the client closes, reads or leaves the body:
    /// each is done in a network namespace of its own, and the TCP states of both ends are read from the kernel at five
    /// moments: answered, first FIN on its way, first FIN arrived, second FIN on its way, settled.
    Matrix(MatrixArgs),
    /// Drill the whole alarm path: quiet, a leak, an alarm that names it, the cure, quiet again
    ///
    /// The alarm is this very program, run as `closewatch check` on the processes of the drill, and must name the right process,
    /// destination, count, kind and age; or any command with --command. The status is 0 only when every step was seen, and 2
    /// when one was not.
    Drill(DrillArgs),
}

/// The options of `probe leak`.
#[derive(Debug, Args)]
pub struct LeakArgs {
    /// How many connections to leak
    #[arg(long, value_name = "N", default_value = "50")]
    pub count: u32,
    /// How many to make in a second; 0 is as many as go
    #[arg(long, value_name = "N", default_value = "0")]
    pub rate: u32,
    /// How long to hold them: 90s, 5m, 2h
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub hold: String,
    /// The version of HTTP
    #[arg(long, value_enum, value_name = "VERSION", default_value = "1.1")]
    pub http: HttpVersion,
    /// How the end of the body is told
    #[arg(long, value_enum, value_name = "FRAMING", default_value = "content-length")]
    pub framing: Framing,
    /// Which neglect
    #[arg(long, value_enum, value_name = "VARIANT", default_value = "unread-body")]
    pub variant: Variant,
    /// Who closes first; the other end leaks [default: what is usual for the variant]
    #[arg(long, value_enum, value_name = "END")]
    pub closes: Option<End>,
    /// Where the server of the probe listens; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", conflicts_with = "target")]
    pub listen: SocketAddr,
    /// Leak against this server in place of one of the probe's own: http://127.0.0.1:8080/path
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Allow a --target that is not a loopback address, with at most 100 connections
    #[arg(long, requires = "target")]
    pub allow_remote: bool,
    /// Run in a network namespace of its own, where the probe may take every port; without privilege, in a user namespace
    #[arg(long, conflicts_with = "target")]
    pub isolated: bool,
    /// Print closewatch.probe/1 at the end, and tell what happens on standard error
    #[arg(long)]
    pub json: bool,
}

/// The options of `probe exhaust`.
#[derive(Debug, Args)]
pub struct ExhaustArgs {
    /// The range of ports that the namespace hands out
    #[arg(long, value_name = "FIRST-LAST", default_value = "20000-29999")]
    pub range: String,
    /// Changes nothing: this probe always runs in a network namespace of its own
    #[arg(long)]
    pub isolated: bool,
    /// Print closewatch.probe/1 at the end, and tell what happens on standard error
    #[arg(long)]
    pub json: bool,
}

/// The options of `probe matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Changes nothing: this probe always runs in a network namespace of its own
    #[arg(long)]
    pub isolated: bool,
    /// Print closewatch.probe/1 in place of the table
    #[arg(long)]
    pub json: bool,
}

/// The options of `probe drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// How many connections to leak
    #[arg(long, value_name = "N", default_value = "50")]
    pub count: u32,
    /// How long may pass until the alarm is heard, and until it is quiet again
    #[arg(long, value_name = "DURATION", default_value = "90s")]
    pub within: String,
    /// How long to wait between two askings
    #[arg(long, value_name = "DURATION", default_value = "500ms")]
    pub every: String,
    /// Run in a network namespace of its own; without privilege, in a user namespace
    #[arg(long)]
    pub isolated: bool,
    /// Handed to check; 2s where there is neither this nor --policy, so that the drill need not wait for a minute
    #[arg(long, value_name = "DURATION")]
    pub stuck_after: Option<String>,
    /// Handed to check (repeatable)
    #[arg(short, long, value_name = "METRIC=RANGE")]
    pub warning: Vec<String>,
    /// Handed to check (repeatable)
    #[arg(short, long, value_name = "METRIC=RANGE")]
    pub critical: Vec<String>,
    /// Handed to check
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Drill this command of a shell in place of check: there is trouble when its status is not 0
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["stuck_after", "warning", "critical", "policy"])]
    pub command: Option<String>,
    /// There is trouble when the output of COMMAND holds TEXT, whatever its status
    #[arg(long, value_name = "TEXT", requires = "command")]
    pub expect: Option<String>,
    /// Print closewatch.probe/1 at the end, and tell what happens on standard error
    #[arg(long)]
    pub json: bool,
}

macro_rules! typed_by_token {
    ($kind:ty, $($value:expr => $help:literal),+ $(,)?) => {
        impl ValueEnum for $kind {
            fn value_variants<'a>() -> &'a [Self] {
                &[$($value),+]
            }

            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                let helps = [$(($value, $help)),+];
                let (_, help) = helps.into_iter().find(|(value, _)| value == self)?;
                Some(clap::builder::PossibleValue::new(self.token()).help(help))
            }
        }
    };
}

typed_by_token!(HttpVersion,
    HttpVersion::V10 => "a connection ends with its response",
    HttpVersion::V11 => "a connection persists unless somebody says otherwise",
);
typed_by_token!(Framing,
    Framing::ContentLength => "the head tells the length",
    Framing::Chunked => "an empty chunk ends the body",
    Framing::UntilClose => "the server's close ends the body",
);
typed_by_token!(End, End::Client => "the one that asked", End::Server => "the one that answered");
typed_by_token!(Variant,
    Variant::UnreadBody => "the body is not read",
    Variant::EofRead => "all is read, the end of file too",
    Variant::Keepalive => "not read, and probed by keepalive: ghosts after tcp_fin_timeout",
    Variant::AcceptStalled => "the server does not accept",
    Variant::TlsPooled => "an idle pooled connection that a TLS peer ends",
    Variant::ForkedChildren => "children keep copies of the descriptors",
);
