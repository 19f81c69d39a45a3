//! The rows of a namespace and of what its kernel answered.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::head::SourceMirror;
use super::process::ContainerRuntimeRow;
use super::{Span, endpoint, socket_addr};
use crate::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use crate::model::snapshot::{Namespace, NetNs, PortAnswer, PortAnswers, SockStat, SourceKind, TcpCounters, Usage};
use crate::model::tuple::FourTuple;

/// A [`Namespace`] without its answers, which may be many and have rows of their own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceRow {
    inode: Option<u64>,
    name: String,
    container: Option<String>,
    runtime: Option<ContainerRuntimeRow>,
    pod: Option<String>,
    unit: Option<String>,
    ports: SettingsRow,
    sockstat: Option<SockStatRow>,
    #[serde(with = "CountersMirror")]
    counters: TcpCounters,
    conntrack: Option<UsageRow>,
    took: Span,
    #[serde(with = "SourceMirror")]
    source: SourceKind,
}

/// One of the [`PortAnswers`] of a namespace.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRow {
    netns: u32,
    about: Question,
    usable: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Shared(u16),
    TimeWait(SocketAddr, SocketAddr),
    Bind(SocketAddr),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsRow {
    /// Both ends belong to it.
    range: Option<(u16, u16)>,
    /// Spans, both ends of which belong to them.
    reserved: Option<Vec<(u16, u16)>>,
    tw_reuse: Option<TimeWaitReuseToken>,
    tw_reuse_delay_ms: Option<u32>,
    timestamps: Option<bool>,
    autobind_reuse: Option<bool>,
    fin_timeout_s: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct TimeWaitReuseToken(#[serde(with = "TimeWaitReuseMirror")] TimeWaitReuse);

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct SockStatRow(#[serde(with = "SockStatMirror")] SockStat);

/// A [`Usage`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct UsageRow(#[serde(with = "UsageMirror")] pub(super) Usage);

impl NamespaceRow {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let Namespace { id, ports, sockstat, counters, conntrack, answers: _, took, source } = namespace;
        let NetNs { inode, name, container, runtime, pod, unit } = id;
        Self {
            inode: *inode,
            name: name.clone(),
            container: container.clone(),
            runtime: runtime.map(ContainerRuntimeRow),
            pod: pod.clone(),
            unit: unit.clone(),
            ports: SettingsRow::of(ports),
            sockstat: sockstat.map(SockStatRow),
            counters: *counters,
            conntrack: conntrack.map(UsageRow),
            took: Span::of(*took),
            source: *source,
        }
    }

    /// `None` when a range of ports runs backwards, or a span is out of this world.
    pub(crate) fn read(self) -> Option<Namespace> {
        Some(Namespace {
            id: NetNs {
                inode: self.inode,
                name: self.name,
                container: self.container,
                runtime: self.runtime.map(|row| row.0),
                pod: self.pod,
                unit: self.unit,
            },
            ports: self.ports.read()?,
            sockstat: self.sockstat.map(|row| row.0),
            counters: self.counters,
            conntrack: self.conntrack.map(|row| row.0),
            answers: PortAnswers::default(),
            took: self.took.read()?,
            source: self.source,
        })
    }
}

impl AnswerRow {
    /// All answers of the namespace with this index.
    pub(crate) fn all_of(netns: u32, answers: &PortAnswers) -> impl Iterator<Item = Self> {
        let PortAnswers { shared, time_wait, bind } = answers;
        let shared = shared.iter().map(|(port, answer)| (Question::Shared(*port), *answer));
        let time_wait = time_wait
            .iter()
            .map(|(tuple, answer)| (Question::TimeWait(socket_addr(tuple.local), socket_addr(tuple.remote)), *answer));
        let bind = bind.iter().map(|(local, answer)| (Question::Bind(socket_addr(*local)), *answer));
        let all = shared.chain(time_wait).chain(bind);
        all.map(move |(about, answer)| Self { netns, about, usable: answer == PortAnswer::Usable })
    }

    /// Puts the answer where it belongs; `None` when that namespace is not there.
    pub(crate) fn read_into(self, namespaces: &mut [Namespace]) -> Option<()> {
        let answers = &mut namespaces.get_mut(self.netns as usize)?.answers;
        let answer = if self.usable { PortAnswer::Usable } else { PortAnswer::Refused };
        match self.about {
            Question::Shared(port) => answers.shared.insert(port, answer),
            Question::TimeWait(local, remote) => {
                answers.time_wait.insert(FourTuple { local: endpoint(local), remote: endpoint(remote) }, answer)
            }
            Question::Bind(local) => answers.bind.insert(endpoint(local), answer),
        };
        Some(())
    }
}

impl SettingsRow {
    fn of(settings: &PortSettings) -> Self {
        let PortSettings { range, reserved, tw_reuse, tw_reuse_delay_ms, timestamps, autobind_reuse, fin_timeout_s } =
            settings;
        Self {
            range: range.map(|range| (range.first, range.last)),
            reserved: reserved.as_ref().map(spans),
            tw_reuse: tw_reuse.map(TimeWaitReuseToken),
            tw_reuse_delay_ms: *tw_reuse_delay_ms,
            timestamps: *timestamps,
            autobind_reuse: *autobind_reuse,
            fin_timeout_s: *fin_timeout_s,
        }
    }

    fn read(self) -> Option<PortSettings> {
        if self.range.is_some_and(|(first, last)| first > last) {
            return None;
        }
        Some(PortSettings {
            range: self.range.map(|(first, last)| EphemeralRange { first, last }),
            reserved: self.reserved.map(|spans| spans.into_iter().flat_map(|(first, last)| first..=last).collect()),
            tw_reuse: self.tw_reuse.map(|token| token.0),
            tw_reuse_delay_ms: self.tw_reuse_delay_ms,
            timestamps: self.timestamps,
            autobind_reuse: self.autobind_reuse,
            fin_timeout_s: self.fin_timeout_s,
        })
    }
}

fn spans(ports: &PortSet) -> Vec<(u16, u16)> {
    let mut spans: Vec<(u16, u16)> = Vec::new();
    for port in ports.iter() {
        match spans.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(port) => *last = port,
            _ => spans.push((port, port)),
        }
    }
    spans
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TimeWaitReuse", rename_all = "snake_case")]
enum TimeWaitReuseMirror {
    Off,
    Global,
    Loopback,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SockStat", deny_unknown_fields)]
struct SockStatMirror {
    inuse: u64,
    tw: u64,
    orphans: u64,
    alloc: u64,
    mem_pages: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Usage", deny_unknown_fields)]
struct UsageMirror {
    used: u64,
    limit: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TcpCounters", deny_unknown_fields)]
struct CountersMirror {
    listen_overflows: Option<u64>,
    listen_drops: Option<u64>,
    time_wait_overflow: Option<u64>,
    abort_on_memory: Option<u64>,
    memory_pressures: Option<u64>,
    timeouts: Option<u64>,
    syn_retransmits: Option<u64>,
    time_wait_recycled: Option<u64>,
}
