//! The processes that hold sockets.

use std::path::PathBuf;
use std::time::SystemTime;

use super::socket::Inode;

/// A process, told apart from a later one with the same number by when it started (field 22 of `/proc/PID/stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id, as this `/proc` numbers it.
    pub pid: u32,
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
}

/// Index of a process in [`super::snapshot::Snapshot::processes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessIndex(pub u32);

/// What runs the program: it decides what the fix looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// A Go binary (it carries a Go build note).
    Go,
    /// A Java virtual machine.
    Java,
    /// CPython or PyPy.
    Python,
    /// Node.js.
    Node,
    /// .NET.
    DotNet,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// Some other ELF binary: C, C++, Rust.
    Native,
    /// The executable could not be read.
    Unknown,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerRuntime {
    /// Docker.
    Docker,
    /// containerd, below Kubernetes or nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// podman.
    Podman,
    /// systemd-nspawn, or another manager that registers with systemd-machined.
    Nspawn,
    /// LXC or LXD.
    Lxc,
}

impl ContainerRuntime {
    /// As the project writes itself, for people and for machines.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Nspawn => "systemd-nspawn",
            Self::Lxc => "lxc",
        }
    }
}

/// Where a process belongs, or a socket was made: read from a cgroup path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Placement {
    /// The systemd unit: `telegraf.service`, `session-3.scope`.
    pub unit: Option<String>,
    /// The container's id, as its runtime wrote it.
    pub container: Option<String>,
    /// What runs the container; `None` when the path has the id alone.
    pub runtime: Option<ContainerRuntime>,
    /// The uid of the Kubernetes pod, with hyphens, however the path writes it.
    pub pod: Option<String>,
}

impl Placement {
    /// Whether it names nothing: neither unit, nor container, nor pod.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        self.unit.is_none() && self.container.is_none() && self.pod.is_none()
    }
}

/// A process that holds at least one socket or that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its identity.
    pub key: ProcessKey,
    /// `comm`: at most 15 bytes, whatever the process made of them; escaped only when printed.
    pub name: String,
    /// When it started.
    pub started_at: Option<SystemTime>,
    /// What `/proc/PID/exe` points to. A trailing ` (deleted)` is the kernel's.
    pub exe: Option<PathBuf>,
    /// Effective user id.
    pub uid: Option<u32>,
    /// The name of that user in `/etc/passwd`.
    pub user: Option<String>,
    /// Unit and container; `None` when the cgroup could not be read.
    pub placement: Option<Placement>,
    /// Inode of its network namespace (`/proc/PID/ns/net`).
    pub netns: Option<u64>,
    /// Open descriptors.
    pub fds_open: Option<u64>,
    /// The soft RLIMIT_NOFILE: at so many descriptors `socket()` fails with EMFILE. `None` when it could not be read;
    /// unlimited is `u64::MAX`.
    pub fds_limit: Option<u64>,
    /// What runs it.
    pub runtime: Runtime,
}

/// One descriptor that refers to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holding {
    /// The socket.
    pub inode: Inode,
    /// Who holds it.
    pub process: ProcessIndex,
    /// The descriptor; of a socket that is registered with io_uring and has none, that of the ring.
    pub fd: u32,
}
