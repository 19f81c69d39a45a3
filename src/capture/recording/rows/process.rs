//! The rows of a process and of what it holds, and of where the sockets were made that nobody was seen to hold.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::model::process::{ContainerRuntime, Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use crate::model::snapshot::Cgroup;
use crate::model::socket::{CgroupId, Inode};

/// A [`Process`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessRow {
    pid: u32,
    start_ticks: u64,
    name: String,
    started_at: Option<Moment>,
    exe: Option<PathText>,
    uid: Option<u32>,
    user: Option<String>,
    placement: Option<PlacementRow>,
    netns: Option<u64>,
    fds_open: Option<u64>,
    fds_limit: Option<u64>,
    #[serde(with = "RuntimeMirror")]
    runtime: Runtime,
}

/// A [`Holding`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldingRow {
    inode: u64,
    /// The number of the process among the rows of processes.
    process: u32,
    fd: u32,
}

/// A [`Cgroup`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CgroupRow {
    id: u64,
    placement: PlacementRow,
}

/// A path: text, or bytes where it is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacementRow {
    unit: Option<String>,
    container: Option<String>,
    runtime: Option<ContainerRuntimeRow>,
    pod: Option<String>,
}

/// A [`ContainerRuntime`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ContainerRuntimeRow(#[serde(with = "ContainerRuntimeMirror")] pub(super) ContainerRuntime);

impl PlacementRow {
    fn of(placement: &Placement) -> Self {
        let Placement { unit, container, runtime, pod } = placement;
        Self {
            unit: unit.clone(),
            container: container.clone(),
            runtime: runtime.map(ContainerRuntimeRow),
            pod: pod.clone(),
        }
    }

    fn read(self) -> Placement {
        let Self { unit, container, runtime, pod } = self;
        Placement { unit, container, runtime: runtime.map(|row| row.0), pod }
    }
}

impl ProcessRow {
    pub(crate) fn of(process: &Process) -> Self {
        let Process {
            key: ProcessKey { pid, start_ticks },
            name,
            started_at,
            exe,
            uid,
            user,
            placement,
            netns,
            fds_open,
            fds_limit,
            runtime,
        } = process;
        Self {
            pid: *pid,
            start_ticks: *start_ticks,
            name: name.clone(),
            started_at: started_at.map(Moment::of),
            exe: exe.as_deref().map(PathText::of),
            uid: *uid,
            user: user.clone(),
            placement: placement.as_ref().map(PlacementRow::of),
            netns: *netns,
            fds_open: *fds_open,
            fds_limit: *fds_limit,
            runtime: *runtime,
        }
    }

    /// `None` when it started at a time that no clock shows.
    pub(crate) fn read(self) -> Option<Process> {
        Some(Process {
            key: ProcessKey { pid: self.pid, start_ticks: self.start_ticks },
            name: self.name,
            started_at: match self.started_at {
                Some(moment) => Some(moment.read()?),
                None => None,
            },
            exe: self.exe.map(PathText::read),
            uid: self.uid,
            user: self.user,
            placement: self.placement.map(PlacementRow::read),
            netns: self.netns,
            fds_open: self.fds_open,
            fds_limit: self.fds_limit,
            runtime: self.runtime,
        })
    }
}

impl HoldingRow {
    pub(crate) fn of(holding: &Holding) -> Self {
        let Holding { inode, process, fd } = *holding;
        Self { inode: inode.get(), process: process.0, fd }
    }

    /// `None` when the process is not among those that were read, whose numbers are mapped to their places, or when the
    /// inode is the 0 that means none.
    pub(crate) fn read(self, place: impl FnOnce(u32) -> Option<u32>) -> Option<Holding> {
        let process = ProcessIndex(place(self.process)?);
        Some(Holding { inode: Inode::new(self.inode)?, process, fd: self.fd })
    }
}

impl CgroupRow {
    pub(crate) fn of(cgroup: &Cgroup) -> Self {
        let Cgroup { id, placement } = cgroup;
        Self { id: id.get(), placement: PlacementRow::of(placement) }
    }

    /// `None` when it has the number 0, which no cgroup has.
    pub(crate) fn read(self) -> Option<Cgroup> {
        let Self { id, placement } = self;
        Some(Cgroup { id: CgroupId::new(id)?, placement: placement.read() })
    }
}

impl PathText {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }

    fn read(self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ContainerRuntime", rename_all = "snake_case")]
enum ContainerRuntimeMirror {
    Docker,
    Containerd,
    CriO,
    Podman,
    Nspawn,
    Lxc,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Runtime", rename_all = "snake_case")]
enum RuntimeMirror {
    Go,
    Java,
    Python,
    Node,
    DotNet,
    Ruby,
    Php,
    Native,
    Unknown,
}
