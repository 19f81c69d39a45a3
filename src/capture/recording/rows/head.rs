//! The first row, which says how many of each are to come, and the rows of gaps.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::namespace::UsageRow;
use super::{Moment, Span};
use crate::model::snapshot::{Gap, Hides, Host, HostLimits, Names, ProcessScan, SourceKind};

/// What a snapshot is beside its lists, and how long these are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// `closewatch 0.1.0`.
    pub(crate) program: String,
    #[serde(with = "NamesMirror")]
    pub(crate) names: Names,
    #[serde(with = "SourceMirror")]
    pub(crate) source: SourceKind,
    #[serde(with = "ScanMirror")]
    pub(crate) scan: ProcessScan,
    taken_at: Moment,
    host: HostRow,
    limits: LimitsRow,
    pub(crate) rows: RowCounts,
}

/// How many rows of each kind there are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowCounts {
    pub(crate) gaps: u32,
    pub(crate) namespaces: u32,
    pub(crate) answers: u32,
    pub(crate) processes: u32,
    pub(crate) holdings: u32,
    /// `None` when nobody looked for ghosts.
    pub(crate) ghosts: Option<u32>,
    pub(crate) sockets: u32,
    /// `None` where there are none. An older closewatch refuses to read what it does not know: it meets it only there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cgroups: Option<u32>,
}

/// A [`Gap`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GapRow {
    what: String,
    why: String,
    #[serde(with = "HidesMirror")]
    hides: Hides,
    count: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostRow {
    name: Option<String>,
    kernel: Option<String>,
    boot_id: Option<String>,
    uptime: Option<Span>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsRow {
    files: Option<UsageRow>,
    orphans: Option<UsageRow>,
    tcp_mem_pages: Option<UsageRow>,
    max_tw_buckets: Option<u64>,
}

/// What the head says of the host.
pub(crate) struct About {
    pub(crate) taken_at: SystemTime,
    pub(crate) host: Host,
    pub(crate) limits: HostLimits,
}

impl Head {
    pub(crate) fn new(snapshot: &crate::model::snapshot::Snapshot, names: Names, rows: RowCounts) -> Self {
        let Host { name, kernel, boot_id, uptime } = &snapshot.host;
        let HostLimits { files, orphans, tcp_mem_pages, max_tw_buckets } = snapshot.limits;
        Self {
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            names,
            source: snapshot.source,
            scan: snapshot.scan,
            taken_at: Moment::of(snapshot.taken_at),
            host: HostRow {
                name: name.clone(),
                kernel: kernel.clone(),
                boot_id: boot_id.clone(),
                uptime: uptime.map(Span::of),
            },
            limits: LimitsRow {
                files: files.map(UsageRow),
                orphans: orphans.map(UsageRow),
                tcp_mem_pages: tcp_mem_pages.map(UsageRow),
                max_tw_buckets,
            },
            rows,
        }
    }

    /// `None` when a time is out of this world.
    pub(crate) fn about(&self) -> Option<About> {
        let HostRow { name, kernel, boot_id, uptime } = &self.host;
        let usage = |row: &Option<UsageRow>| row.as_ref().map(|row| row.0);
        Some(About {
            taken_at: self.taken_at.read()?,
            host: Host {
                name: name.clone(),
                kernel: kernel.clone(),
                boot_id: boot_id.clone(),
                uptime: match uptime {
                    Some(span) => Some(span.read()?),
                    None => None,
                },
            },
            limits: HostLimits {
                files: usage(&self.limits.files),
                orphans: usage(&self.limits.orphans),
                tcp_mem_pages: usage(&self.limits.tcp_mem_pages),
                max_tw_buckets: self.limits.max_tw_buckets,
            },
        })
    }
}

impl GapRow {
    pub(crate) fn of(gap: &Gap) -> Self {
        let Gap { what, why, hides, count } = gap;
        Self { what: what.clone(), why: why.clone(), hides: *hides, count: *count }
    }

    /// `None` for more than can be counted on one host.
    pub(crate) fn read(self) -> Option<Gap> {
        let Self { what, why, hides, count } = self;
        (count <= u64::from(u32::MAX)).then_some(Gap { what, why, hides, count })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Names", rename_all = "snake_case")]
enum NamesMirror {
    Real,
    Invented,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SourceKind", rename_all = "snake_case")]
pub(super) enum SourceMirror {
    Netlink,
    ProcText,
    SsText,
    NetstatText,
    SavedProcText,
    Scripted,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProcessScan", rename_all = "snake_case")]
enum ScanMirror {
    All,
    Selected,
    Skipped,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Hides", rename_all = "snake_case")]
enum HidesMirror {
    Sockets,
    Ports,
    Ages,
    Owners,
    Limits,
    Ghosts,
}
