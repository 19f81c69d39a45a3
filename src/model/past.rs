//! What is remembered of earlier looks: counts that are small enough to keep by the thousand, and the sockets that stay.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::points::Points;
use super::process::ProcessKey;
use super::socket::SockCookie;
use super::state::StateCounts;
use super::stuck_since::StuckSince;
use super::tuple::Endpoint;

/// What one look leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// When the look began.
    pub taken_at: SystemTime,
    /// Of which boot; `None` when it could not be read. Process keys and cookies mean nothing across boots.
    pub boot_id: Option<String>,
    /// Time since boot then; `None` when it could not be read. It tells a clock that was set from time that went by.
    pub uptime: Option<Duration>,
    /// How the look was graded: the token of the verdict.
    pub verdict: String,
    /// Whether holders were looked for. When they were not, a process that is missing here may well exist.
    pub attributed: bool,
    /// Every namespace that was read.
    pub namespaces: Vec<NamespaceMemory>,
    /// The processes that hold most of what can run out.
    pub processes: Vec<ProcessMemory>,
    /// What the processes that are not listed hold together.
    pub other_processes: OtherMemory,
    /// The fullest port pools.
    pub pools: Vec<PoolMemory>,
    /// What the pools that are not listed hold together: `sockets` are the ports used, `stuck` those of stuck sockets.
    pub other_pools: OtherMemory,
    /// The limits that are nobody's own.
    pub limits: Vec<LimitMemory>,
    /// CLOSE-WAIT sockets that were surely stuck; the oldest, when there are more than [`MOST_STUCK`].
    pub stuck: Vec<StuckMemory>,
    /// How many were stuck in all.
    pub n_stuck: u64,
}

/// How many stuck sockets are remembered one by one: more than one destination has ports.
pub const MOST_STUCK: usize = 65_536;

/// The states of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceMemory {
    /// Its name in the report.
    pub name: String,
    /// Sockets by state.
    pub states: StateCounts,
}

/// What a program is called that comes back after a restart: the same unit, executable and name in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// `comm`.
    pub name: String,
    /// The path of its executable, without the kernel's ` (deleted)`.
    pub exe: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The container's id.
    pub container: Option<String>,
    /// The name of the namespace that most of its sockets are in.
    pub netns: String,
}

/// The sockets and descriptors of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Which program.
    pub service: Service,
    /// Which run of it, within the boot.
    pub key: ProcessKey,
    /// All its sockets.
    pub sockets: u64,
    /// In CLOSE-WAIT.
    pub close_wait: u64,
    /// Of these, surely older than the threshold, those that an older process holds too left out.
    pub stuck: u64,
    /// Its descriptors of connections that are over; `None` when that could not be told.
    pub ghosts: Option<u64>,
    /// Open descriptors.
    pub fds_open: Option<u64>,
    /// The soft RLIMIT_NOFILE; `None` when it is unlimited or could not be read.
    pub fds_limit: Option<u64>,
}

/// What is not listed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherMemory {
    /// How many things that is.
    pub count: u64,
    /// Their sockets.
    pub sockets: u64,
    /// Of these, stuck in CLOSE-WAIT.
    pub stuck: u64,
}

/// A port pool, told apart from others by names that stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName {
    /// The name of the namespace.
    pub netns: String,
    /// The local address.
    pub source: IpAddr,
    /// The remote end.
    pub destination: Endpoint,
}

/// The ports from one source to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolMemory {
    /// Which pool.
    pub name: PoolName,
    /// Ports of the range that are not reserved.
    pub usable: u64,
    /// Of these, not to be had.
    pub used: u64,
    /// Of the used ones, those that a stuck CLOSE-WAIT holds.
    pub stuck: u64,
    /// Who holds most of them, and how many: an index into [`Memory::processes`].
    pub holder: Option<(usize, u64)>,
}

/// What a limit limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitKind {
    /// Open files of the host: `fs.file-nr` against `fs.file-max`.
    FileMax,
    /// Tracked connections of a namespace against `nf_conntrack_max`.
    Conntrack,
    /// Orphaned sockets of the host against `tcp_max_orphans`.
    Orphans,
    /// Pages of TCP buffers of the host against the last number of `tcp_mem`.
    TcpMem,
}

impl LimitKind {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::FileMax => "file_max",
            Self::Conntrack => "conntrack",
            Self::Orphans => "orphans",
            Self::TcpMem => "tcp_mem",
        }
    }

    /// What there is a limit of, for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::FileMax => "the file handles of the host",
            Self::Conntrack => "the entries for tracked connections",
            Self::Orphans => "orphaned sockets",
            Self::TcpMem => "the pages of TCP memory",
        }
    }
}

/// A limit that is no process's and no pool's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitMemory {
    /// Which limit.
    pub kind: LimitKind,
    /// The name of the namespace; `None` for limits of the host.
    pub netns: Option<String>,
    /// How many there were.
    pub used: u64,
    /// How many there may be.
    pub limit: u64,
}

/// A CLOSE-WAIT socket that was surely stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StuckMemory {
    /// Which socket.
    pub cookie: SockCookie,
    /// How long it had surely been in CLOSE-WAIT when it was seen.
    pub age_at_least: Duration,
    /// Who holds it: an index into [`Memory::processes`]. `None` when that is not known or not listed.
    pub process: Option<usize>,
}

/// One number at one moment. Of a time that is kept by the hour, the least of the hour at its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds since 1970, UTC.
    pub at: f64,
    /// All that was in use: sockets of a process or its descriptors, ports of a pool, entries of a table.
    pub used: f64,
    /// Of that, what was surely leaked: stuck CLOSE-WAIT, and ghosts where descriptors are counted. It does not come and go
    /// with the traffic.
    pub leaked: f64,
    /// The limit at that moment; `None` when it was not known.
    pub limit: Option<f64>,
    /// Which run of the program the number belongs to: another number, another line. 0 for what is not a program's.
    pub run: u64,
}

/// What a series of numbers was counted of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    /// The descriptors of a program.
    Descriptors(Service),
    /// The ports of a pool.
    Ports(PoolName),
    /// A limit that is nobody's own, and the namespace it is counted in.
    Limit(LimitKind, Option<String>),
}

/// One number over time, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Of what.
    pub track: Track,
    /// The points.
    pub points: Points,
    /// Whose the last point is, when that is of this boot: the process, or of a pool the process that held most of it.
    pub holder: Option<ProcessKey>,
}

/// What is known of the past when a look is judged. Empty when there is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// When the earlier looks began, ascending.
    pub looks: Vec<SystemTime>,
    /// Every number that was followed.
    pub series: Vec<Series>,
    /// Sockets of this boot that were stuck at the last look, each with the moment since which it surely was in CLOSE-WAIT.
    pub stuck_since: StuckSince,
    /// How many were stuck at the last look; more than `stuck_since` has when not all could be kept.
    pub n_stuck: u64,
    /// The verdict of the last look.
    pub last_verdict: Option<String>,
}

/// What became of the stuck sockets since the last look of this boot that was remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turnover {
    /// When that look was, by the clock of this one. `None` when there was none, or when the boot is not known: then nothing
    /// is known of sockets, and all count as new.
    pub since: Option<SystemTime>,
    /// Stuck then and now.
    pub same: u64,
    /// Stuck now and not then.
    pub new: u64,
    /// Stuck then and not now: closed, at last.
    pub gone: u64,
    /// Whether these are all. When more were stuck than can be kept, the rest is in none of the numbers.
    pub complete: bool,
}

/// What a command had to do with the history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryNote {
    /// The file; `None` when there is none.
    pub file: Option<PathBuf>,
    /// What the reader should know: what could not be read or added, and why; what was set aside.
    pub notes: Vec<String>,
    /// What became of the stuck sockets, when this look was added.
    pub turnover: Option<Turnover>,
}
