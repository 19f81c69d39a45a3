//! Snapshots of every kind, with numbers from the ends of what they may be.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, SystemTime};

use closewatch::model::ports::{EphemeralRange, PortSettings, TimeWaitReuse};
use closewatch::model::process::{ContainerRuntime, Holding, Placement, Process, ProcessIndex, ProcessKey, Runtime};
use closewatch::model::snapshot::{
    Cgroup, Gap, Hides, Host, HostLimits, Namespace, NetNs, PortAnswer, PortAnswers, ProcessScan, Snapshot, SockStat,
    SourceKind, TcpCounters, Usage,
};
use closewatch::model::socket::{
    CgroupId, Clocks, Inode, NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer,
};
use closewatch::model::state::TcpState;
use closewatch::model::tuple::{Endpoint, Family, FourTuple};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

/// Any snapshot that a look may make, with up to some fifty sockets.
pub fn snapshot() -> impl Strategy<Value = Snapshot> {
    (vec(namespace(), 1..4), vec(process(), 0..5)).prop_flat_map(|(namespaces, processes)| {
        let sockets = vec(socket(namespaces.len() as u32), 0..48);
        let holdings = match processes.len() as u32 {
            0 => Just(Vec::new()).boxed(),
            n => vec(holding(n), 0..48).boxed(),
        };
        let about = (moment(), host(), limits(), select(&[SourceKind::Netlink, SourceKind::ProcText][..]));
        let scan = select(&[ProcessScan::All, ProcessScan::Selected, ProcessScan::Skipped][..]);
        let seen = (Just(namespaces), Just(processes), sockets, holdings, scan, vec(gap(), 0..4), vec(cgroup(), 0..4));
        (about, seen).prop_map(
            |((taken_at, host, limits, source), (namespaces, processes, sockets, holdings, scan, gaps, cgroups))| {
                Snapshot {
                    taken_at,
                    host,
                    source,
                    namespaces,
                    sockets,
                    processes,
                    holdings,
                    scan,
                    limits,
                    gaps,
                    file: None,
                    ghosts: None,
                    cgroups,
                }
            },
        )
    })
}

/// Small numbers, so that some are equal, and those at the end.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, any::<u64>(), Just(u64::MAX)]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![0..20_u32, any::<u32>(), Just(u32::MAX)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["", "telegraf", ") \u{1b}[31m\n", "größer\u{202e}", "a b"][..]).prop_map(str::to_owned),
        any::<String>()
    ]
}

fn span() -> impl Strategy<Value = Duration> {
    (0..1_u64 << 34, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn moment() -> impl Strategy<Value = SystemTime> {
    // From 1906 to 2514: what every calendar has.
    (-2_000_000_000..17_179_869_184_i64, 0..1_000_000_000_u64).prop_map(|(seconds, nanos)| {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second = if seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
        second + Duration::from_nanos(nanos)
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    const USUAL: [&str; 8] = ["0.0.0.0", "127.0.0.1", "10.0.0.5", "8.8.8.8", "::", "::1", "fe80::1", "2001:db8::1"];
    prop_oneof![
        select(&USUAL[..]).prop_map(|text| text.parse().expect("an address")),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)).to_canonical()),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let port = prop_oneof![Just(0_u16), Just(80), 32_768..32_788_u16, any::<u16>()];
    (address(), port).prop_map(|(address, port)| Endpoint::new(address, port))
}

fn tuple() -> impl Strategy<Value = FourTuple> {
    (endpoint(), endpoint()).prop_map(|(local, remote)| FourTuple { local, remote })
}

fn usage() -> impl Strategy<Value = Usage> {
    (number(), number()).prop_map(|(used, limit)| Usage { used, limit })
}

fn host() -> impl Strategy<Value = Host> {
    let kernel = option::of(prop_oneof![Just("6.18.44".to_owned()), Just("5.4".to_owned()), text()]);
    (option::of(text()), kernel, option::of(text()), option::of(span()))
        .prop_map(|(name, kernel, boot_id, uptime)| Host { name, kernel, boot_id, uptime })
}

fn limits() -> impl Strategy<Value = HostLimits> {
    (option::of(usage()), option::of(usage()), option::of(usage()), option::of(number())).prop_map(
        |(files, orphans, tcp_mem_pages, max_tw_buckets)| HostLimits { files, orphans, tcp_mem_pages, max_tw_buckets },
    )
}

fn gap() -> impl Strategy<Value = Gap> {
    let hides = select(&[Hides::Sockets, Hides::Ports, Hides::Ages, Hides::Owners, Hides::Limits][..]);
    (text(), text(), hides, small()).prop_map(|(what, why, hides, count)| Gap { what, why, hides, count: count.into() })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    let sockstat = (number(), number(), number(), number(), number())
        .prop_map(|(inuse, tw, orphans, alloc, mem_pages)| SockStat { inuse, tw, orphans, alloc, mem_pages });
    let counters = vec(option::of(number()), 8).prop_map(|counters| TcpCounters {
        listen_overflows: counters[0],
        listen_drops: counters[1],
        time_wait_overflow: counters[2],
        abort_on_memory: counters[3],
        memory_pressures: counters[4],
        timeouts: counters[5],
        syn_retransmits: counters[6],
        time_wait_recycled: counters[7],
    });
    let id = (option::of(number()), text(), placement()).prop_map(|(inode, name, placement)| {
        let Placement { unit, container, runtime, pod } = placement;
        NetNs { inode, name, container, runtime, pod, unit }
    });
    let source = select(&[SourceKind::Netlink, SourceKind::ProcText][..]);
    (id, settings(), option::of(sockstat), counters, option::of(usage()), answers(), span(), source).prop_map(
        |(id, ports, sockstat, counters, conntrack, answers, took, source)| Namespace {
            id,
            ports,
            sockstat,
            counters,
            conntrack,
            answers,
            took,
            source,
        },
    )
}

fn placement() -> impl Strategy<Value = Placement> {
    let runtime = select(&[ContainerRuntime::Docker, ContainerRuntime::CriO, ContainerRuntime::Lxc][..]);
    (option::of(text()), option::of(text()), option::of(runtime), option::of(text()))
        .prop_map(|(unit, container, runtime, pod)| Placement { unit, container, runtime, pod })
}

fn cgroup() -> impl Strategy<Value = Cgroup> {
    (number(), placement())
        .prop_filter_map("0 is no cgroup", |(id, placement)| Some(Cgroup { id: CgroupId::new(id)?, placement }))
}

fn settings() -> impl Strategy<Value = PortSettings> {
    let range = prop_oneof![Just((32_768, 60_999)), Just((0, u16::MAX)), any::<(u16, u16)>()]
        .prop_map(|(a, b): (u16, u16)| EphemeralRange { first: a.min(b), last: a.max(b) });
    let reserved = vec(prop_oneof![Just(0_u16), Just(u16::MAX), 32_768..32_800_u16], 0..20)
        .prop_map(|ports| ports.into_iter().collect());
    let reuse = select(&[TimeWaitReuse::Off, TimeWaitReuse::Global, TimeWaitReuse::Loopback][..]);
    let flags = (option::of(any::<bool>()), option::of(any::<bool>()));
    let numbers = (option::of(small()), option::of(small()));
    (option::of(range), option::of(reserved), option::of(reuse), flags, numbers).prop_map(
        |(range, reserved, tw_reuse, (timestamps, autobind_reuse), (tw_reuse_delay_ms, fin_timeout_s))| PortSettings {
            range,
            reserved,
            tw_reuse,
            tw_reuse_delay_ms,
            timestamps,
            autobind_reuse,
            fin_timeout_s,
        },
    )
}

fn answers() -> impl Strategy<Value = PortAnswers> {
    let answer = || select(&[PortAnswer::Usable, PortAnswer::Refused][..]);
    (btree_map(any::<u16>(), answer(), 0..4), btree_map(tuple(), answer(), 0..4), btree_map(endpoint(), answer(), 0..4))
        .prop_map(|(shared, time_wait, bind)| PortAnswers { shared, time_wait, bind })
}

fn process() -> impl Strategy<Value = Process> {
    let key = (small(), number()).prop_map(|(pid, start_ticks)| ProcessKey { pid, start_ticks });
    let exe = prop_oneof![
        text().prop_map(OsString::from),
        vec(any::<u8>(), 0..9).prop_map(OsString::from_vec),
        Just("/usr/bin/telegraf (deleted)".into()),
    ];
    let runtime = select(
        &[
            Runtime::Go,
            Runtime::Java,
            Runtime::Python,
            Runtime::Node,
            Runtime::DotNet,
            Runtime::Ruby,
            Runtime::Php,
            Runtime::Native,
            Runtime::Unknown,
        ][..],
    );
    let who = (key, text(), option::of(moment()), option::of(exe), option::of(small()), option::of(text()));
    let what = (option::of(placement()), option::of(number()), option::of(number()), option::of(number()), runtime);
    (who, what).prop_map(
        |((key, name, started_at, exe, uid, user), (placement, netns, fds_open, fds_limit, runtime))| Process {
            key,
            name,
            started_at,
            exe: exe.map(Into::into),
            uid,
            user,
            placement,
            netns,
            fds_open,
            fds_limit,
            runtime,
        },
    )
}

fn inode() -> impl Strategy<Value = Inode> {
    prop_oneof![1..30_u64, Just(u64::MAX)].prop_map(|number| Inode::new(number).expect("not 0"))
}

fn holding(processes: u32) -> impl Strategy<Value = Holding> {
    (inode(), 0..processes, small()).prop_map(|(inode, process, fd)| Holding {
        inode,
        process: ProcessIndex(process),
        fd,
    })
}

fn socket(namespaces: u32) -> impl Strategy<Value = SocketRecord> {
    let state = || select(&TcpState::ALL[..]);
    let kind = select(&[SocketKind::Full, SocketKind::Full, SocketKind::TimeWait, SocketKind::Request][..]);
    let queues = prop_oneof![
        (small(), small()).prop_map(|(recv, send)| Queues::Data { recv, send }),
        (small(), option::of(small())).prop_map(|(waiting, limit)| Queues::Listen { waiting, limit }),
    ];
    let timer = (0..6, small()).prop_map(|(which, left)| match which {
        0 => Timer::Off,
        1 => Timer::Retransmit(left),
        2 => Timer::KeepAlive(left),
        3 => Timer::TimeWait(left),
        4 => Timer::Probe(left),
        _ => Timer::Unknown,
    });
    let clocks = (small(), small(), small()).prop_map(|(sent, received, acked)| Clocks {
        last_data_sent_ms: sent,
        last_data_recv_ms: received,
        last_ack_recv_ms: acked,
    });
    let binding = select(&[PortBinding::Auto, PortBinding::Explicit, PortBinding::Unknown][..]);
    let family = select(&[Family::V4, Family::V6][..]);
    let place = (0..namespaces, state(), kind, family, tuple(), small());
    let ids = (option::of(number()), option::of(inode()), option::of(small()), option::of(number()));
    let rest = (queues, timer, binding, option::of(any::<bool>()), option::of(clocks), option::of(state()));
    (place, ids, rest).prop_map(|((netns, state, kind, family, tuple, interface), ids, rest)| {
        let (cookie, inode, uid, cgroup) = ids;
        let (queues, timer, binding, v6only, clocks, mptcp) = rest;
        SocketRecord {
            netns: NetNsIndex(netns),
            state,
            kind,
            family,
            tuple,
            interface,
            cookie: cookie.and_then(SockCookie::new),
            inode,
            uid,
            cgroup: cgroup.and_then(CgroupId::new),
            queues,
            timer,
            binding,
            v6only,
            clocks,
            mptcp,
        }
    })
}
