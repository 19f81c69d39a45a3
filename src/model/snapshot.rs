//! All that was observed in one moment, and what was not.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::ghost::GhostScan;
use super::ports::PortSettings;
use super::process::{ContainerRuntime, Holding, Placement, Process};
use super::socket::{CgroupId, SocketRecord};
use super::tuple::{Endpoint, FourTuple};

/// Where the rows came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// The running kernel, by sock_diag netlink.
    Netlink,
    /// The running kernel, by the text of `/proc/net/tcp` and `/proc/net/tcp6`.
    ProcText,
    /// Made by hand, in a test.
    Scripted,
    /// Text that `ss` printed and somebody saved.
    SsText,
    /// Text that `netstat` printed and somebody saved.
    NetstatText,
    /// The text of `/proc/net/tcp` and `/proc/net/tcp6` that somebody saved.
    SavedProcText,
}

impl SourceKind {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Netlink => "netlink",
            Self::ProcText | Self::SavedProcText => "proc_net",
            Self::Scripted => "scripted",
            Self::SsText => "ss_text",
            Self::NetstatText => "netstat_text",
        }
    }

    /// Whether it is text that somebody saved, of a host and a moment that it does not name.
    #[must_use]
    pub fn is_saved_text(self) -> bool {
        matches!(self, Self::SsText | Self::NetstatText | Self::SavedProcText)
    }
}

/// The host that was looked at. `None` is what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Its name.
    pub name: Option<String>,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`: tells one boot from the next.
    pub boot_id: Option<String>,
    /// Time since boot. The clocks of tcp_info wrap after 49.7 days: within that time their upper bounds hold.
    pub uptime: Option<Duration>,
}

/// A network namespace: its number, the best name there is, and what lives in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetNs {
    /// Inode in nsfs: the N of `net:[N]`. `None` when it could not be read.
    pub inode: Option<u64>,
    /// What people call it, the first of these that it has: `init`, the name given to `ip netns`, `current` when the look
    /// was taken from there, its pod, its container, its service, `pid 1234`. No two of one snapshot share it.
    pub name: String,
    /// The id of a container in it, that of the first process where several share the namespace. `None` also for the
    /// namespace that the host booted with, whatever lives there.
    pub container: Option<String>,
    /// What runs that container, where its cgroup tells.
    pub runtime: Option<ContainerRuntime>,
    /// The uid of the Kubernetes pod that it is.
    pub pod: Option<String>,
    /// The systemd unit of the first process in it.
    pub unit: Option<String>,
}

/// What `/proc/net/sockstat{,6}` counts in one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockStat {
    /// TCP sockets that are hashed and not TIME-WAIT, IPv4 and IPv6 together.
    pub inuse: u64,
    /// TIME-WAIT sockets of this namespace.
    pub tw: u64,
    /// Sockets that no process holds and that still close; of the whole host.
    pub orphans: u64,
    /// Allocated TCP sockets of the whole host.
    pub alloc: u64,
    /// Pages used by TCP buffers of the whole host.
    pub mem_pages: u64,
}

/// Counters of `/proc/net/netstat` (TcpExt) that tell of exhaustion, since the namespace was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpCounters {
    /// `ListenOverflows`: a handshake was finished and the accept queue was full.
    pub listen_overflows: Option<u64>,
    /// `ListenDrops`: a SYN or a finished handshake was dropped at a listener, for whatever reason.
    pub listen_drops: Option<u64>,
    /// `TCPTimeWaitOverflow`: `tcp_max_tw_buckets` was reached.
    pub time_wait_overflow: Option<u64>,
    /// `TCPAbortOnMemory`: orphans or memory were over their limits.
    pub abort_on_memory: Option<u64>,
    /// `TCPMemoryPressures`.
    pub memory_pressures: Option<u64>,
    /// `TCPTimeouts`: retransmission timers that fired.
    pub timeouts: Option<u64>,
    /// `TCPSynRetrans`.
    pub syn_retransmits: Option<u64>,
    /// `TWRecycled`: connections that took over a TIME-WAIT.
    pub time_wait_recycled: Option<u64>,
}

/// A count against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub used: u64,
    /// How many there may be.
    pub limit: u64,
}

/// What the kernel answered when it was asked whether a port can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortAnswer {
    /// The call gets the port.
    Usable,
    /// `EADDRNOTAVAIL` or `EADDRINUSE`.
    Refused,
}

/// The kernel's own answers for the ports that a dump leaves in doubt (`--exact`). A port without an answer stays in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortAnswers {
    /// Whether a `connect()` to a destination that nobody uses yet may share this local port with its present owners.
    pub shared: BTreeMap<u16, PortAnswer>,
    /// Whether a `connect()` takes over this connection in TIME-WAIT. [`PortAnswer::Usable`]: the one that asked did, and
    /// it is gone.
    pub time_wait: BTreeMap<FourTuple, PortAnswer>,
    /// Whether `bind()` of this address gets this port.
    pub bind: BTreeMap<Endpoint, PortAnswer>,
}

/// One network namespace and its own limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Which one.
    pub id: NetNs,
    /// Its rules for ports.
    pub ports: PortSettings,
    /// Its sockstat.
    pub sockstat: Option<SockStat>,
    /// Its counters.
    pub counters: TcpCounters,
    /// Tracked connections of this namespace against the limit of the host; `None` when conntrack is not loaded.
    pub conntrack: Option<Usage>,
    /// What the kernel answered where a dump leaves doubt.
    pub answers: PortAnswers,
    /// How long reading this namespace took. Several are read at once, so that the sum is more than the look took.
    pub took: Duration,
    /// Where its rows came from: one namespace may be entered and another only be read from outside.
    pub source: SourceKind,
}

/// Limits of the whole host. `None` is what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostLimits {
    /// `fs.file-nr`: allocated file handles against `fs.file-max`.
    pub files: Option<Usage>,
    /// Orphaned sockets against `net.ipv4.tcp_max_orphans`.
    pub orphans: Option<Usage>,
    /// Pages of TCP buffers against the third number of `net.ipv4.tcp_mem`.
    pub tcp_mem_pages: Option<Usage>,
    /// Sockets that a recorded connection may keep in the TIME-WAIT table: `net.ipv4.tcp_max_tw_buckets`.
    pub max_tw_buckets: Option<u64>,
}

/// What an unseen thing may hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hides {
    /// Whole sockets: a leak may be there that no count shows.
    Sockets,
    /// How many ports are left.
    Ports,
    /// How old a CLOSE-WAIT is.
    Ages,
    /// Who holds a socket.
    Owners,
    /// A limit or a counter beside the socket tables.
    Limits,
    /// Descriptors of connections that are over.
    Ghosts,
}

impl Hides {
    /// For machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Ports => "ports",
            Self::Ages => "ages",
            Self::Owners => "owners",
            Self::Limits => "limits",
            Self::Ghosts => "ghosts",
        }
    }
}

/// Something that was not seen, why, and what it may hide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What was not seen: `descriptors of 12 processes`.
    pub what: String,
    /// Why, with the missing capability or setting where one is known: `permission denied; needs CAP_SYS_PTRACE`.
    pub why: String,
    /// What it may hide.
    pub hides: Hides,
    /// How many things of the kind were not seen.
    pub count: u64,
}

impl Gap {
    /// Whether a capability that the reader lacks would show it.
    #[must_use]
    pub fn lacks_permission(&self) -> bool {
        self.why.contains("needs CAP_")
    }

    /// Whether it is what a look left out that ran into its time limit.
    #[must_use]
    pub fn ran_out_of_time(&self) -> bool {
        self.why.contains("--timeout is ")
    }
}

/// Whether the descriptors of processes were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessScan {
    /// Every process of this `/proc`.
    All,
    /// Only the processes that were asked for.
    Selected,
    /// None, by request.
    Skipped,
}

/// Whether names and addresses are those of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Names {
    /// They are.
    Real,
    /// They were replaced, each by always the same other one, before the recording was written.
    Invented,
}

/// What is known of a recording beside what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingNote {
    /// The program that wrote it: `closewatch 0.1.0`.
    pub program: String,
    /// Whether the names are the real ones.
    pub names: Names,
}

/// The file that a snapshot was read back from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedFile {
    /// Its name, as it was typed; `None` for standard input.
    pub name: Option<String>,
    /// What a recording says of itself; `None` for text that another program saved.
    pub recording: Option<RecordingNote>,
}

/// A cgroup in which sockets were made whose holder was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its number.
    pub id: CgroupId,
    /// What its path names; nothing of one that belongs to no unit, container or pod.
    pub placement: Placement,
}

/// Index of a cgroup in [`Snapshot::cgroups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupIndex(pub u32);

/// One look at a host: observations only, no conclusions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When the look began; the only reading of the clock.
    pub taken_at: SystemTime,
    /// Which host.
    pub host: Host,
    /// Where the rows came from first; of several namespaces, those of the first. A recording keeps what it was made from: see
    /// `file`.
    pub source: SourceKind,
    /// The namespaces that were read; sockets name them by index.
    pub namespaces: Vec<Namespace>,
    /// Every socket, each once.
    pub sockets: Vec<SocketRecord>,
    /// The processes that hold them.
    pub processes: Vec<Process>,
    /// Which process holds which socket by which descriptor.
    pub holdings: Vec<Holding>,
    /// How far the search for holders went.
    pub scan: ProcessScan,
    /// Limits of the whole host.
    pub limits: HostLimits,
    /// What was not seen.
    pub gaps: Vec<Gap>,
    /// The file that all this was read back from; `None` for the running host.
    pub file: Option<SavedFile>,
    /// Descriptors of connections that are over; `None` when nobody looked for them.
    pub ghosts: Option<GhostScan>,
    /// The cgroups of the sockets that nobody was seen to hold, by number, ascending; a cgroup that could not be found is
    /// missing. Empty when every socket has its holder, and when not all processes were looked at.
    pub cgroups: Vec<Cgroup>,
}

impl Snapshot {
    /// What the cgroup with this index names; `None` when it is not of this snapshot.
    #[must_use]
    pub fn placement(&self, cgroup: CgroupIndex) -> Option<&Placement> {
        self.cgroups.get(cgroup.0 as usize).map(|cgroup| &cgroup.placement)
    }

    /// Whether the names and addresses in it are those of the host.
    #[must_use]
    pub fn names(&self) -> Names {
        let note = self.file.as_ref().and_then(|file| file.recording.as_ref());
        note.map_or(Names::Real, |note| note.names)
    }
}
