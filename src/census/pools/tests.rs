//! Pools of snapshots made by hand. That the kernel agrees is shown by `tests/prediction.rs`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::{
    BindPool, Doubt, DoubtReason, DoubtfulPort, PortPool, PortQuestion, bind_pools, connect_pools, doubtful_ports,
    pool_for,
};
use crate::attribution;
use crate::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use crate::model::process::{Holding, Process, ProcessIndex, ProcessKey, Runtime};
use crate::model::snapshot::{
    Host, HostLimits, Namespace, NetNs, PortAnswer, PortAnswers, ProcessScan, Snapshot, SockStat, SourceKind,
    TcpCounters,
};
use crate::model::socket::{Inode, NetNsIndex, PortBinding, Queues, SocketKind, SocketRecord, Timer};
use crate::model::state::TcpState;
use crate::model::tuple::{Endpoint, Family, FourTuple};

const HERE: NetNsIndex = NetNsIndex(0);

fn endpoint(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().expect("an address and a port");
    Endpoint::new(address.ip(), address.port())
}

pub(in crate::census) fn host(sockets: Vec<SocketRecord>) -> Snapshot {
    let ports = PortSettings {
        range: Some(EphemeralRange { first: 40_000, last: 40_099 }),
        reserved: Some(PortSet::default()),
        tw_reuse: Some(TimeWaitReuse::Loopback),
        tw_reuse_delay_ms: Some(1000),
        timestamps: Some(true),
        autobind_reuse: Some(false),
        fin_timeout_s: Some(60),
    };
    Snapshot {
        taken_at: SystemTime::UNIX_EPOCH,
        host: Host::default(),
        source: SourceKind::Scripted,
        namespaces: vec![Namespace {
            id: NetNs { inode: Some(1), name: "init".to_owned(), ..NetNs::default() },
            ports,
            sockstat: None,
            counters: TcpCounters::default(),
            conntrack: None,
            answers: PortAnswers::default(),
            took: Duration::ZERO,
            source: SourceKind::Scripted,
        }],
        sockets,
        processes: Vec::new(),
        holdings: Vec::new(),
        scan: ProcessScan::All,
        limits: HostLimits::default(),
        gaps: Vec::new(),
        file: None,
        ghosts: None,
        cgroups: Vec::new(),
    }
}

pub(crate) fn socket(state: TcpState, local: &str, remote: &str) -> SocketRecord {
    let time_wait = state == TcpState::TimeWait;
    let (local, remote) = (endpoint(local), endpoint(remote));
    SocketRecord {
        netns: HERE,
        state,
        kind: if time_wait { SocketKind::TimeWait } else { SocketKind::Full },
        family: if local.address.is_ipv4() { Family::V4 } else { Family::V6 },
        tuple: FourTuple { local, remote },
        interface: 0,
        cookie: None,
        inode: None,
        uid: None,
        cgroup: None,
        queues: Queues::Data { recv: 0, send: 0 },
        timer: if time_wait { Timer::TimeWait(50_000) } else { Timer::Off },
        binding: PortBinding::Auto,
        v6only: None,
        clocks: None,
        mptcp: None,
    }
}

/// So many sockets of one address to one destination, on ports from the first of the range on.
fn row(state: TcpState, count: u16, source: &str, destination: &str) -> Vec<SocketRecord> {
    (0..count).map(|nth| socket(state, &format!("{source}:{}", 40_000 + nth), destination)).collect()
}

fn pools(snapshot: &Snapshot) -> Vec<PortPool> {
    connect_pools(snapshot, &attribution::join(snapshot))
}

fn to(snapshot: &Snapshot, destination: &str) -> PortPool {
    pool_for(snapshot, HERE, IpAddr::from([127, 0, 0, 1]), endpoint(destination), 0).expect("the settings are known")
}

fn bounds(pool: &PortPool) -> (u32, u32) {
    let doubted: u32 = pool.doubts.iter().map(|doubt| doubt.ports).sum();
    assert_eq!(doubted, pool.remaining - pool.remaining_at_least, "{:?}", pool.doubts);
    assert_eq!(pool.used, pool.usable - pool.remaining);
    (pool.remaining_at_least, pool.remaining)
}

fn bind_bounds(snapshot: &Snapshot, address: &str) -> (u32, u32) {
    let address: IpAddr = address.parse().expect("an address");
    let pools = bind_pools(snapshot);
    let pool: &BindPool = pools.iter().find(|pool| pool.address == address).expect("a pool of the address");
    let doubted: u32 = pool.doubts.iter().map(|doubt| doubt.ports).sum();
    assert_eq!(doubted, pool.remaining - pool.remaining_at_least, "{:?}", pool.doubts);
    (pool.remaining_at_least, pool.remaining)
}

#[test]
fn a_leak_uses_up_its_own_pool_and_leaves_the_others_in_doubt() {
    let mut snapshot = host(row(TcpState::CloseWait, 30, "127.0.0.1", "127.0.0.1:80"));
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (70, 70));
    let other = to(&snapshot, "127.0.0.1:81");
    assert_eq!(bounds(&other), (70, 100));
    assert_eq!(other.doubts, [Doubt { reason: DoubtReason::SharedPort, ports: 30 }]);
    snapshot.namespaces[0].answers.shared = (40_000..40_029).map(|port| (port, PortAnswer::Usable)).collect();
    snapshot.namespaces[0].answers.shared.insert(40_029, PortAnswer::Refused);
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:81")), (99, 99));
    assert_eq!(to(&snapshot, "127.0.0.1:81").blocked, 1);
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (70, 70));
}

#[test]
fn what_was_bound_is_closed_to_every_destination() {
    let mut named = socket(TcpState::CloseWait, "127.0.0.1:40002", "127.0.0.1:80");
    named.binding = PortBinding::Explicit;
    let mut listener = socket(TcpState::Listen, "[::1]:40000", "[::]:0");
    listener.v6only = Some(true);
    let snapshot = host(vec![
        listener,
        socket(TcpState::BoundInactive, "127.0.0.9:40001", "0.0.0.0:0"),
        named,
        socket(TcpState::Listen, "0.0.0.0:80", "0.0.0.0:0"),
    ]);
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:99")), (97, 97));
    assert_eq!(to(&snapshot, "127.0.0.1:99").blocked, 3);
    assert_eq!(doubtful_ports(&snapshot), []);
}

#[test]
fn reserved_ports_are_neither_usable_nor_counted_as_used() {
    let mut snapshot = host(row(TcpState::CloseWait, 30, "127.0.0.1", "127.0.0.1:80"));
    snapshot.namespaces[0].ports.reserved = Some((40_010..40_032).collect());
    let pool = to(&snapshot, "127.0.0.1:80");
    assert_eq!((pool.usable, pool.used, bounds(&pool)), (78, 10, (68, 68)));
}

#[test]
fn a_time_wait_is_taken_over_when_the_rules_and_its_age_allow() {
    let mut snapshot = host(row(TcpState::TimeWait, 20, "127.0.0.1", "127.0.0.1:80"));
    let now = |snapshot: &Snapshot| bounds(&to(snapshot, "127.0.0.1:80"));
    assert_eq!(now(&snapshot), (80, 100));
    snapshot.namespaces[0].ports.tw_reuse = Some(TimeWaitReuse::Off);
    assert_eq!(now(&snapshot), (80, 80));
    snapshot.namespaces[0].ports.tw_reuse = None;
    assert_eq!(now(&snapshot), (80, 100));
    snapshot.namespaces[0].ports.tw_reuse_delay_ms = Some(20_000);
    assert_eq!(now(&snapshot), (80, 80));
    snapshot.namespaces[0].ports.tw_reuse_delay_ms = None;
    for socket in &mut snapshot.sockets {
        socket.timer = Timer::TimeWait(60_000);
    }
    assert_eq!(now(&snapshot), (80, 100), "a clock of whole seconds may tick at once");
    for socket in &mut snapshot.sockets {
        socket.state = TcpState::FinWait2;
    }
    assert_eq!(now(&snapshot), (80, 80));
}

#[test]
fn tw_reuse_2_is_for_loopback_addresses_and_the_loopback_device() {
    let mut snapshot = host(row(TcpState::TimeWait, 20, "10.0.0.1", "10.0.0.2:80"));
    let now = |snapshot: &Snapshot, interface: u32| {
        let pool = pool_for(snapshot, HERE, IpAddr::from([10, 0, 0, 1]), endpoint("10.0.0.2:80"), interface);
        bounds(&pool.expect("the settings are known"))
    };
    assert_eq!(now(&snapshot, 0), (80, 80));
    for socket in &mut snapshot.sockets {
        socket.interface = 1;
    }
    assert_eq!(now(&snapshot, 1), (80, 100));
    assert_eq!(now(&snapshot, 0), (80, 100), "who is bound to no interface does not meet them; the ports are shared");
    snapshot.namespaces[0].ports.tw_reuse = Some(TimeWaitReuse::Global);
    snapshot.sockets.iter_mut().for_each(|socket| socket.interface = 0);
    assert_eq!(now(&snapshot, 0), (80, 100));
}

#[test]
fn an_answer_about_a_time_wait_counts_for_its_connection_only() {
    let mut snapshot = host(row(TcpState::TimeWait, 2, "127.0.0.1", "127.0.0.1:80"));
    let questions = doubtful_ports(&snapshot);
    let unused = endpoint("127.0.0.1:1");
    let tuples = [snapshot.sockets[0].tuple, snapshot.sockets[1].tuple];
    let expected = [
        PortQuestion::Shared { port: 40_000, unused },
        PortQuestion::Shared { port: 40_001, unused },
        PortQuestion::TimeWait { tuple: tuples[0], interface: 0 },
        PortQuestion::TimeWait { tuple: tuples[1], interface: 0 },
    ];
    assert_eq!(questions, expected.map(|question| DoubtfulPort { netns: HERE, question }));
    let answers = &mut snapshot.namespaces[0].answers;
    answers.shared = [(40_000, PortAnswer::Usable), (40_001, PortAnswer::Usable)].into();
    answers.time_wait = [(tuples[0], PortAnswer::Usable), (tuples[1], PortAnswer::Refused)].into();
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (99, 99));
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:81")), (100, 100));
    assert_eq!(doubtful_ports(&snapshot), []);
}

#[test]
fn what_is_in_doubt_once_a_time_wait_is_gone_is_asked_too() {
    let mut snapshot = host(vec![
        socket(TcpState::TimeWait, "127.0.0.1:40000", "127.0.0.1:80"),
        socket(TcpState::Established, "[::1]:40000", "[::1]:80"),
    ]);
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (99, 99));
    let bind = PortQuestion::Bind(endpoint("0.0.0.0:40000"));
    assert!(doubtful_ports(&snapshot).iter().any(|asked| asked.question == bind));
    snapshot.namespaces[0].answers.time_wait = [(snapshot.sockets[0].tuple, PortAnswer::Usable)].into();
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (99, 100), "only the IPv6 socket is left");
    snapshot.namespaces[0].answers.bind = [(endpoint("0.0.0.0:40000"), PortAnswer::Usable)].into();
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (100, 100));
}

#[test]
fn an_unused_destination_is_one_that_nobody_is_connected_to() {
    let snapshot = host(vec![
        socket(TcpState::CloseWait, "127.0.0.1:40000", "127.0.0.1:1"),
        socket(TcpState::CloseWait, "10.0.0.1:40001", "10.0.0.2:2"),
    ]);
    let unused = endpoint("127.0.0.1:2");
    let expected = [40_000, 40_001].map(|port| PortQuestion::Shared { port, unused });
    assert_eq!(doubtful_ports(&snapshot), expected.map(|question| DoubtfulPort { netns: HERE, question }));
}

#[test]
fn two_time_waits_of_one_four_tuple_are_not_asked_about() {
    let mut both = vec![socket(TcpState::TimeWait, "127.0.0.1:40000", "127.0.0.1:80"); 2];
    both[1].interface = 1;
    let snapshot = host(both);
    let asked = doubtful_ports(&snapshot);
    assert!(asked.iter().all(|asked| matches!(asked.question, PortQuestion::Shared { .. })), "{asked:?}");
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (99, 100));
}

#[test]
fn sockets_of_another_interface_are_not_in_the_way() {
    let mut sockets = row(TcpState::CloseWait, 10, "127.0.0.1", "127.0.0.1:80");
    sockets.iter_mut().for_each(|socket| socket.interface = 1);
    let mut snapshot = host(sockets);
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (90, 100));
    let used = pools(&snapshot);
    assert_eq!((used.len(), used[0].interface, bounds(&used[0])), (1, 1, (90, 90)));
    assert_eq!(used[0].states[TcpState::CloseWait], 10);
    snapshot.sockets.iter_mut().for_each(|socket| socket.interface = 0);
    let bound = pool_for(&snapshot, HERE, IpAddr::from([127, 0, 0, 1]), endpoint("127.0.0.1:80"), 1);
    assert_eq!(bounds(&bound.expect("the settings are known")), (90, 90));
}

#[test]
fn families_have_their_own_tuples_and_share_their_ports() {
    let snapshot = host(row(TcpState::CloseWait, 30, "[::1]", "[::1]:80"));
    let v6 = pool_for(&snapshot, HERE, "::1".parse().expect("an address"), endpoint("[::1]:80"), 0);
    assert_eq!(bounds(&v6.expect("the settings are known")), (70, 70));
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (70, 100));
    let mapped = host(row(TcpState::CloseWait, 30, "[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]:80"));
    assert_eq!(bounds(&to(&mapped, "127.0.0.1:80")), (70, 70));
}

#[test]
fn pools_in_use_are_the_outgoing_ones() {
    let mut sockets = row(TcpState::Established, 3, "10.0.0.1", "10.0.0.2:443");
    sockets.extend(row(TcpState::CloseWait, 2, "10.0.0.1", "10.0.0.3:443"));
    sockets.push(socket(TcpState::Established, "10.0.0.1:5000", "10.0.0.3:443"));
    // Accepted ones, on a port that is listened on inside and outside of the range.
    sockets.push(socket(TcpState::Listen, "0.0.0.0:443", "0.0.0.0:0"));
    sockets.push(socket(TcpState::Established, "10.0.0.1:443", "10.0.0.9:40000"));
    let mut dual = socket(TcpState::Listen, "[::]:40050", "[::]:0");
    dual.v6only = Some(false);
    sockets.push(dual);
    sockets.push(socket(TcpState::Established, "10.0.0.1:40050", "10.0.0.9:40001"));
    let mut request = socket(TcpState::SynRecv, "10.0.0.1:40051", "10.0.0.9:40002");
    request.kind = SocketKind::Request;
    sockets.push(request);
    let mut snapshot = host(sockets);
    snapshot.processes = vec![process(7), process(8)];
    for (nth, holder) in [(0, 0), (1, 0), (2, 1), (2, 0)] {
        snapshot.sockets[nth].inode = Inode::new(100 + nth as u64);
        let holding =
            Holding { inode: Inode::new(100 + nth as u64).expect("not 0"), process: ProcessIndex(holder), fd: 3 };
        snapshot.holdings.push(holding);
    }
    let pools = pools(&snapshot);
    let seen: Vec<_> =
        pools.iter().map(|pool| (pool.destination.to_string(), bounds(pool), pool.states.total())).collect();
    assert_eq!(
        seen,
        [("10.0.0.2:443".to_owned(), (96, 96), 3), ("10.0.0.3:443".to_owned(), (96, 97), 3)],
        "one port is blocked by the listener, one is used by the other destination only"
    );
    assert_eq!(pools[0].holders, [(ProcessIndex(0), 3), (ProcessIndex(1), 1)]);
}

fn process(pid: u32) -> Process {
    Process {
        key: ProcessKey { pid, start_ticks: 1 },
        name: "p".to_owned(),
        started_at: None,
        exe: None,
        uid: None,
        user: None,
        placement: None,
        netns: Some(1),
        fds_open: None,
        fds_limit: None,
        runtime: Runtime::Unknown,
    }
}

#[test]
fn an_odd_range_may_lose_one_end() {
    let mut snapshot = host(row(TcpState::CloseWait, 10, "127.0.0.1", "127.0.0.1:80"));
    snapshot.namespaces[0].ports.range = Some(EphemeralRange { first: 40_000, last: 40_100 });
    let pool = to(&snapshot, "127.0.0.1:80");
    assert_eq!(bounds(&pool), (90, 91));
    assert_eq!(pool.doubts, [Doubt { reason: DoubtReason::OddRange, ports: 1 }]);
    snapshot.namespaces[0].ports.reserved = Some([40_100].into_iter().collect());
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (90, 90), "neither end can be had anyway");
    assert_eq!(bind_bounds(&snapshot, "127.0.0.1"), (90, 90));
    snapshot.namespaces[0].ports.range = Some(EphemeralRange { first: 40_050, last: 40_050 });
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (1, 1));
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (1, 1));
}

#[test]
fn bound_sockets_that_the_source_does_not_list_are_a_doubt() {
    let mut snapshot = host(row(TcpState::CloseWait, 30, "127.0.0.1", "127.0.0.1:80"));
    snapshot.namespaces[0].source = SourceKind::ProcText;
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (0, 70));
    assert_eq!(bind_bounds(&snapshot, "127.0.0.1"), (0, 70));
    snapshot.namespaces[0].sockstat = Some(SockStat { inuse: 30, tw: 0, orphans: 0, alloc: 34, mem_pages: 0 });
    let pool = to(&snapshot, "127.0.0.1:80");
    assert_eq!(bounds(&pool), (66, 70));
    assert_eq!(pool.doubts, [Doubt { reason: DoubtReason::BoundUnseen, ports: 4 }]);
    assert_eq!(bind_bounds(&snapshot, "127.0.0.1"), (66, 70));
    assert_eq!(doubtful_ports(&snapshot).len(), 100, "a port that looks empty is asked about too");
    snapshot.namespaces[0].source = SourceKind::Netlink;
    snapshot.host.kernel = Some("6.7.12-amd64".to_owned());
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (66, 70));
    snapshot.host.kernel = Some("6.8.0".to_owned());
    assert_eq!(bounds(&to(&snapshot, "127.0.0.1:80")), (70, 70));
}

#[test]
fn nothing_is_predicted_from_settings_that_were_not_read() {
    let mut snapshot = host(row(TcpState::CloseWait, 30, "127.0.0.1", "127.0.0.1:80"));
    snapshot.namespaces[0].ports.reserved = None;
    assert_eq!(pools(&snapshot), []);
    assert_eq!(bind_pools(&snapshot), []);
    assert_eq!(doubtful_ports(&snapshot), []);
    assert_eq!(pool_for(&snapshot, HERE, IpAddr::from([127, 0, 0, 1]), endpoint("127.0.0.1:80"), 0), None);
}

#[test]
fn bind_is_refused_by_every_owner_whose_address_overlaps() {
    let mut sockets = row(TcpState::CloseWait, 30, "127.0.0.1", "127.0.0.1:80");
    sockets.push(socket(TcpState::TimeWait, "127.0.0.2:40000", "127.0.0.1:80"));
    sockets.push(socket(TcpState::TimeWait, "127.0.0.2:40030", "127.0.0.1:80"));
    sockets.push(socket(TcpState::BoundInactive, "0.0.0.0:40031", "0.0.0.0:0"));
    for (port, v6only) in [(40_032, true), (40_033, false)] {
        let mut listener = socket(TcpState::Listen, &format!("[::]:{port}"), "[::]:0");
        listener.v6only = Some(v6only);
        sockets.push(listener);
    }
    sockets.push(socket(TcpState::Established, "[::1]:40034", "[::1]:80"));
    let mut snapshot = host(sockets);
    assert_eq!(bind_bounds(&snapshot, "127.0.0.1"), (68, 68), "its 30, 0.0.0.0 and the dual-stack ::");
    assert_eq!(bind_bounds(&snapshot, "127.0.0.2"), (96, 96));
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (66, 67), "the connection of ::1 may be IPv6-only");
    assert_eq!(bind_bounds(&snapshot, "::"), (65, 65));
    assert_eq!(bind_bounds(&snapshot, "::1"), (97, 97));
    let bind = PortQuestion::Bind(endpoint("0.0.0.0:40034"));
    let asked = doubtful_ports(&snapshot);
    assert_eq!(asked.last(), Some(&DoubtfulPort { netns: HERE, question: bind }));
    snapshot.namespaces[0].answers.bind = [(endpoint("0.0.0.0:40034"), PortAnswer::Refused)].into();
    assert_eq!(bind_bounds(&snapshot, "0.0.0.0"), (66, 66));
    assert!(!doubtful_ports(&snapshot).iter().any(|asked| asked.question == bind));
}
