//! A month at one host, in whole numbers: what each look of five minutes leaves behind.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use closewatch::chronicle::{Chronicle, HistoryFile, Remembered, build};
use closewatch::history::{Access, History, LastLook, Moment};
use closewatch::model::past::{
    LimitKind, LimitMemory, Memory, NamespaceMemory, OtherMemory, PoolMemory, PoolName, ProcessMemory, Service,
    StuckMemory,
};
use closewatch::model::process::ProcessKey;
use closewatch::model::socket::SockCookie;
use closewatch::model::state::{StateCounts, TcpState};
use closewatch::model::tuple::Endpoint;

/// A Monday at midnight, UTC.
pub const START: u64 = 1_767_571_200;
pub const DAY: u64 = 86_400;
/// One look every five minutes.
pub const EVERY: u64 = 300;

const BOOT: &str = "6f9d3a52-6c1d-4f0e-9a1c-2f7a3c1e5b77";

pub fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}

/// A host whose telegraf leaks, from some moment on, so many sockets a day, between deploys of it; `web` has a daily wave.
#[derive(Clone)]
pub struct Host {
    pub leak_per_day: u64,
    /// When telegraf was started, in seconds; each begins with nothing.
    pub starts: Vec<u64>,
    /// What telegraf calls itself.
    pub name: String,
    pub netns: Vec<String>,
}

impl Host {
    pub fn leaking() -> Self {
        Self { leak_per_day: 700, starts: vec![0], name: "telegraf".to_owned(), netns: vec!["init".to_owned()] }
    }

    /// The look so many seconds after the start.
    pub fn look(&self, seconds: u64) -> Memory {
        let run = self.starts.iter().rposition(|start| *start <= seconds).unwrap_or(0);
        let leaked = self.leak_per_day * (seconds - self.starts[run]) / DAY;
        let traffic = wave(seconds);
        let netns = &self.netns[0];
        let service = |name: &str| Service {
            name: name.to_owned(),
            exe: Some(format!("/usr/bin/{name}")),
            unit: Some(format!("{name}.service")),
            container: None,
            netns: netns.clone(),
        };
        let process = |name: &str, pid: u32, stuck: u64, more: u64| ProcessMemory {
            service: service(name),
            key: ProcessKey { pid, start_ticks: u64::from(pid) * 100 },
            sockets: stuck + more,
            close_wait: stuck + more % 3,
            stuck,
            ghosts: Some(0),
            fds_open: Some(stuck + more + 14),
            fds_limit: Some(65_536),
        };
        let pool = |address: [u8; 4], port: u16, (used, stuck): (u64, u64), holder: usize| PoolMemory {
            name: PoolName {
                netns: netns.clone(),
                source: [10, 0, 0, 5].into(),
                destination: Endpoint::new(address.into(), port),
            },
            usable: 28_232,
            used,
            stuck,
            holder: Some((holder, used)),
        };
        let other = 40 + traffic / 10;
        Memory {
            taken_at: at(seconds),
            boot_id: Some(BOOT.to_owned()),
            uptime: Some(Duration::from_secs(DAY + seconds)),
            verdict: if leaked > 1_000 { "critical" } else { "ok" }.to_owned(),
            attributed: true,
            namespaces: self.netns.iter().map(|name| states(name, leaked, traffic)).collect(),
            processes: vec![process(&self.name, 1_234 + run as u32, leaked, other), process("web", 700, 0, traffic)],
            other_processes: OtherMemory { count: 3, sockets: 12, stuck: 0 },
            pools: vec![
                pool([10, 0, 3, 7], 8086, (leaked + other, leaked), 0),
                pool([10, 0, 4, 2], 5432, (traffic, 0), 1),
            ],
            other_pools: OtherMemory::default(),
            limits: vec![LimitMemory { kind: LimitKind::FileMax, netns: None, used: 9_000 + leaked, limit: 1 << 20 }],
            stuck: Vec::new(),
            n_stuck: leaked,
        }
    }

    /// Every look of so many days, from the start on; the last knows its stuck sockets one by one.
    pub fn looks(&self, days: u64) -> Vec<Memory> {
        let mut looks: Vec<Memory> = (0..=days * DAY / EVERY).map(|nth| self.look(nth * EVERY)).collect();
        let last = looks.last_mut().expect("a look");
        let rate = self.leak_per_day.max(1);
        let stuck = (0..last.n_stuck).map(|nth| StuckMemory {
            cookie: SockCookie::new(nth * 7 + 1).expect("not 0"),
            age_at_least: Duration::from_secs((last.n_stuck - nth) * DAY / rate),
            process: Some(0),
        });
        last.stuck = stuck.collect();
        looks
    }
}

fn states(name: &str, leaked: u64, traffic: u64) -> NamespaceMemory {
    let mut states = StateCounts::default();
    states[TcpState::Established] = traffic + 20;
    states[TcpState::CloseWait] = leaked + traffic % 3;
    states[TcpState::TimeWait] = traffic / 3;
    states[TcpState::Listen] = 14;
    NamespaceMemory { name: name.to_owned(), states }
}

/// From 200 at midnight to 900 at noon and back, with a little noise.
fn wave(seconds: u64) -> u64 {
    let hour = seconds % DAY * 24 / DAY;
    let from_noon = hour.abs_diff(12);
    let noise = (seconds / EVERY).wrapping_mul(2_654_435_761) >> 7 & 31;
    900 - from_noon * 700 / 12 + noise
}

/// Remembers the looks in a new file.
pub fn remembered(path: &Path, looks: &[Memory]) -> History {
    let mut history = History::open(path, Access::ReadWrite).unwrap_or_else(|error| panic!("{error}"));
    for looks in looks.chunks(500) {
        history.remember_all(looks).unwrap_or_else(|error| panic!("{error}"));
    }
    history
}

/// What is told of the looks so long after the last of them.
pub fn chronicle(looks: &[Memory], later: Duration, since: Option<SystemTime>) -> Chronicle {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = remembered(&dir.path().join("history.db"), looks);
    let last = history.last_look().expect("reads").unwrap_or(LastLook { at: at(0), boot_id: None, uptime: None });
    let uptime = last.uptime.map(|uptime| uptime + later);
    let moment = Moment { at: last.at + later, boot_id: last.boot_id.as_deref(), uptime };
    let past = history.past(&moment).expect("reads");
    let looks = history.looks(..).expect("reads");
    let file = Some(HistoryFile { path: "/var/lib/closewatch/history.db".into(), bytes: 1_234_567 });
    build(Remembered { past, looks, file, caveat: None, notes: Vec::new() }, moment.at, since)
}
