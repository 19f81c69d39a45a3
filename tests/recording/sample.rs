//! A small host by hand, on which something is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use closewatch::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use closewatch::model::process::{Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use closewatch::model::snapshot::{
    Gap, Hides, Host, HostLimits, Namespace, NetNs, PortAnswer, PortAnswers, ProcessScan, Snapshot, SourceKind,
    TcpCounters, Usage,
};
use closewatch::model::socket::{
    CgroupId, Clocks, Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer,
};
use closewatch::model::state::TcpState;
use closewatch::model::tuple::{Endpoint, Family, FourTuple};

/// So many sockets leaked by one process in a unit and another in a container, in two namespaces.
pub fn leaking_host(sockets: u32) -> Snapshot {
    let endpoint = |text: &str, port| Endpoint::new(text.parse().expect("an address"), port);
    let socket = |nth: u32| SocketRecord {
        netns: NetNsIndex(nth % 2),
        state: TcpState::CloseWait,
        kind: SocketKind::Full,
        family: Family::V4,
        tuple: FourTuple {
            local: endpoint("10.0.0.5", 32_768 + (nth % 28_000) as u16),
            remote: endpoint("10.0.3.7", 8086),
        },
        interface: 0,
        cookie: SockCookie::new(0x1000 + u64::from(nth)),
        inode: Inode::new(500_000 + u64::from(nth)),
        uid: Some(1001),
        cgroup: CgroupId::new(4242),
        queues: Queues::Data { recv: 1076, send: 0 },
        timer: Timer::Off,
        binding: PortBinding::Auto,
        v6only: None,
        clocks: Some(Clocks {
            last_data_sent_ms: 1_814_400_000 + nth,
            last_data_recv_ms: 1_814_399_900 + nth,
            last_ack_recv_ms: 1_814_399_900 + nth,
        }),
        mptcp: None,
    };
    let holding = |nth: u32| Holding {
        inode: Inode::new(500_000 + u64::from(nth)).expect("not 0"),
        process: ProcessIndex(nth % 2),
        fd: 3 + nth,
    };
    let in_unit = Placement { unit: Some("telegraf.service".to_owned()), ..Placement::default() };
    let in_container = Placement { container: Some("0a1b2c3d4e5f".repeat(5) + "0a1b"), ..Placement::default() };
    Snapshot {
        taken_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_804_298_250),
        host: Host {
            name: Some("web-1".to_owned()),
            kernel: Some("6.18.44-corp".to_owned()),
            boot_id: Some("6f0c1a52-7f5e-4f0e-9a53-0b7a4f0f3b11".to_owned()),
            uptime: Some(Duration::from_secs(40 * 86_400)),
        },
        source: SourceKind::Netlink,
        namespaces: vec![namespace(0, "init"), namespace(1, "blue")],
        sockets: (0..sockets).map(socket).collect(),
        processes: vec![process(1234, "telegraf", in_unit), process(4321, "sidecar", in_container)],
        holdings: (0..sockets).map(holding).collect(),
        scan: ProcessScan::All,
        limits: HostLimits { files: Some(Usage { used: 31_200, limit: 9_223_372 }), ..HostLimits::default() },
        gaps: vec![Gap {
            what: "descriptors of 1 process (telegraf, in blue on web-1, to 10.0.3.7:8086)".to_owned(),
            why: "permission denied; needs CAP_SYS_PTRACE".to_owned(),
            hides: Hides::Owners,
            count: 1,
        }],
        file: None,
        ghosts: None,
        cgroups: Vec::new(),
    }
}

fn namespace(nth: u64, name: &str) -> Namespace {
    let local = Endpoint::new("10.0.0.5".parse().expect("an address"), 40_000);
    Namespace {
        id: NetNs {
            inode: Some(4_026_531_840 + nth),
            name: name.to_owned(),
            container: None,
            runtime: None,
            pod: None,
            unit: None,
        },
        ports: PortSettings {
            range: Some(EphemeralRange { first: 32_768, last: 33_167 }),
            reserved: Some(PortSet::from_iter([33_060, 33_061, 40_000])),
            tw_reuse: Some(TimeWaitReuse::Loopback),
            tw_reuse_delay_ms: Some(1000),
            timestamps: Some(true),
            autobind_reuse: Some(false),
            fin_timeout_s: Some(60),
        },
        sockstat: None,
        counters: TcpCounters { timeouts: Some(7), ..TcpCounters::default() },
        conntrack: None,
        answers: PortAnswers { bind: BTreeMap::from([(local, PortAnswer::Refused)]), ..PortAnswers::default() },
        took: Duration::from_millis(84),
        source: SourceKind::Netlink,
    }
}

fn process(pid: u32, name: &str, placement: Placement) -> Process {
    Process {
        key: ProcessKey { pid, start_ticks: 5_000 },
        name: name.to_owned(),
        started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000)),
        exe: Some(format!("/usr/bin/{name}").into()),
        uid: Some(1001),
        user: Some("metrics".to_owned()),
        placement: Some(placement),
        netns: Some(4_026_531_840),
        fds_open: Some(27_980),
        fds_limit: Some(65_536),
        runtime: Runtime::Go,
    }
}
