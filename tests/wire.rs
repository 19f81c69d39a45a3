//! The wire against the running kernel: what is read is what `ss` reads, what the kernel leaves out is what a filter
//! leaves out.

#[path = "wire/kernel.rs"]
mod kernel;
#[path = "wire/mixture.rs"]
mod mixture;
mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use closewatch::capture::Deadline;
use closewatch::capture::bytecode::{Bytecode, Condition, Side, endpoints_of};
use closewatch::capture::inet_diag::{Extensions, Tables, WireError};
use closewatch::capture::netlink::{Asked, Table, read_tables};
use closewatch::model::ports::EphemeralRange;
use closewatch::model::selection::{EndpointFilter, Selection};
use closewatch::model::socket::{NetNsIndex, PortBinding, Queues, SockCookie, SocketKind, SocketRecord, Timer};
use closewatch::model::state::{StateCounts, StateMask, TcpState};
use closewatch::model::tuple::{Endpoint, Family, Network};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::net::{AddressFamily, SocketType, ipproto};
use support::{close_wait, in_netns, listen, run, set_sysctl, skip, wait_until};

const RANGE: EphemeralRange = EphemeralRange { first: 40_000, last: 40_999 };

fn asked(selection: &Selection) -> Asked<'_> {
    Asked {
        netns: NetNsIndex(0),
        selection,
        ephemeral: Some(RANGE),
        expected: 0,
        beside_descriptors: false,
        deadline: Deadline::after(Duration::from_secs(30)),
    }
}

fn everything() -> Table {
    read_tables(&asked(&Selection::default())).expect("the tables can be read")
}

fn set_range() {
    set_sysctl("net.ipv4.ip_local_port_range", &format!("{} {}", RANGE.first, RANGE.last));
}

#[test]
fn a_mixture_is_read_as_ss_reads_it() {
    in_netns("a_mixture_is_read_as_ss_reads_it", || {
        set_range();
        let _mixture = mixture::make();
        // Six orphans and the one that a process holds: who has data to acknowledge may take 40 ms to acknowledge the FIN.
        wait_until("FINs to be acknowledged", || support::ss_count("fin-wait-2") == 7);
        let (table, ss) = support::while_still(everything);
        assert_eq!(table.gaps, []);
        let mut counts = StateCounts::default();
        table.sockets.iter().for_each(|row| counts.add(row.state));
        let labels: BTreeMap<_, _> = counts
            .iter()
            // ss asks for no bound sockets.
            .filter(|(state, count)| *count > 0 && *state != TcpState::BoundInactive)
            .map(|(state, count)| (state.label().to_owned(), count))
            .collect();
        assert_eq!(labels, ss);
        for (state, count) in counts.iter() {
            assert!(count > 0 || state == TcpState::Close, "the mixture holds no {state}");
        }
        each_kind_is_told_apart(&table.sockets);
        if std::env::var_os("UPDATE_WIRE").is_some() {
            record_fixtures();
        }
    });
}

fn each_kind_is_told_apart(rows: &[SocketRecord]) {
    let count = |what: &dyn Fn(&SocketRecord) -> bool| rows.iter().filter(|row| what(row)).count();
    let state = |wanted: TcpState| rows.iter().filter(move |row| row.state == wanted);
    assert!(state(TcpState::TimeWait).all(|row| row.kind == SocketKind::TimeWait));
    assert!(state(TcpState::SynRecv).all(|row| row.kind == SocketKind::Request && row.inode.is_none()));
    assert_eq!(count(&|row| row.state == TcpState::FinWait2 && row.kind == SocketKind::Full), 1);
    // The far ends of six connections in CLOSE-WAIT, which their program has closed.
    assert_eq!(count(&|row| row.state == TcpState::FinWait2 && row.kind == SocketKind::TimeWait), 6);
    for row in rows {
        match row.kind {
            SocketKind::Full => assert!(row.uid.is_some() && row.cgroup.is_some(), "{row:?}"),
            SocketKind::TimeWait => {
                assert!(matches!(row.timer, Timer::TimeWait(1..=60_000)) && row.uid.is_none(), "{row:?}");
                assert_eq!(row.binding, PortBinding::Auto);
            }
            SocketKind::Request => assert_eq!((row.uid, row.cgroup), (None, None)),
        }
        let connected = !matches!(row.state, TcpState::Listen | TcpState::BoundInactive);
        assert_eq!(row.clocks.is_some(), row.kind == SocketKind::Full && connected, "{row:?}");
        assert_eq!(row.v6only.is_some(), row.state == TcpState::Listen && row.family == Family::V6, "{row:?}");
        assert_eq!(row.mptcp, None);
    }
    let explicit = rows.iter().filter(|row| row.binding == PortBinding::Explicit && row.state != TcpState::Listen);
    assert_eq!(explicit.map(|row| row.tuple.local.port).collect::<Vec<_>>(), [mixture::NAMED]);
    let bound: Vec<_> = state(TcpState::BoundInactive).collect();
    assert_eq!(bound.iter().map(|row| row.tuple.local.port).collect::<Vec<_>>(), [mixture::BOUND]);
    // An IPv6 socket with an IPv4 peer is one of IPv4 addresses.
    let mapped = |row: &SocketRecord| row.family == Family::V6 && row.tuple.remote.address.is_ipv4();
    assert_eq!(count(&|row| mapped(row) && row.state == TcpState::CloseWait), 1);
    let unread: BTreeMap<u32, usize> = state(TcpState::CloseWait).fold(BTreeMap::new(), |mut seen, row| {
        *seen.entry(row.unread()).or_default() += 1;
        seen
    });
    // A FIN that nobody read counts one.
    assert_eq!(unread, BTreeMap::from([(0, 1), (1, 4), (4, 1), (5, 1), (101, 1)]));
    let listener = state(TcpState::Listen).find(|row| row.tuple.local.port == mixture::SERVICE).expect("listens");
    assert!(matches!(listener.queues, Queues::Listen { waiting: 1, limit: Some(1..) }), "{listener:?}");
    assert_eq!(count(&|row| row.state == TcpState::Established && row.inode.is_none()), 1, "one is not accepted");
    let scoped = state(TcpState::Listen).find(|row| row.tuple.local.port == 8083).expect("listens");
    assert_eq!(scoped.interface, mixture::interface());
    let v6only: BTreeMap<u16, bool> = rows.iter().filter_map(|row| Some((row.tuple.local.port, row.v6only?))).collect();
    // The kernel makes a socket IPv6-only, too, when it is bound to one address of IPv6.
    assert_eq!(v6only, BTreeMap::from([(8081, false), (8082, true), (8083, true)]));
    assert_eq!(count(&|row| matches!(row.timer, Timer::KeepAlive(_))), 1);
    assert!(count(&|row| matches!(row.timer, Timer::Retransmit(_))) >= 4);
}

/// Writes `fixtures/wire/`: what the kernel answers now, with the text of `ss`.
fn record_fixtures() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/wire");
    let save = |name: &str, what: &str, bytes: &[u8], ss: Option<&[&str]>| {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
        let about = format!(
            "{what}\n\nEvery datagram of the answer as it was received, one behind the other; sequence number {}.\n\
             Recorded from the sockets of tests/wire/mixture.rs in a network namespace of their own, on Linux {},\n\
             x86-64 (the fields are in its byte order), by `UPDATE_WIRE=1 cargo test --test wire a_mixture`.\n",
            kernel::SEQUENCE,
            kernel.split('-').next().unwrap_or_default().trim()
        );
        std::fs::write(format!("{folder}/{name}.bin"), bytes).expect("can be written");
        std::fs::write(format!("{folder}/{name}.md"), about).expect("can be written");
        if let Some(options) = ss {
            std::fs::write(format!("{folder}/{name}.ss.txt"), run("ss", options).stdout).expect("can be written");
        }
    };
    for (name, tables, extensions, what, ss) in [
        (
            "both",
            Tables::Tcp,
            Extensions::None,
            "All states over both families in one walk (type 18).",
            &["-tanOe"][..],
        ),
        ("both-info", Tables::Tcp, Extensions::Info, "As both, with tcp_info.", &["-tanOei"]),
        ("v4-info", Tables::TcpOf(Family::V4), Extensions::Info, "All states of IPv4, with tcp_info.", &["-tanOei4"]),
        ("v6-info", Tables::TcpOf(Family::V6), Extensions::Info, "All states of IPv6, with tcp_info.", &["-tanOei6"]),
        ("v6", Tables::TcpOf(Family::V6), Extensions::None, "All states of IPv6.", &["-tanOe6"]),
    ] {
        let (bytes, _, end) = kernel::answers_to(&kernel::request(tables, extensions, None));
        assert_eq!(end, Ok(()));
        save(name, what, &bytes, Some(ss));
    }
    let mut unknown = kernel::request(Tables::TcpOf(Family::V4), Extensions::None, None);
    // sdiag_protocol, behind the header and the family.
    unknown[17] = 200;
    let (bytes, _, end) = kernel::answers_to(&unknown);
    assert_eq!(end, Err(WireError::Kernel(2)));
    save("unknown-protocol", "A protocol that the kernel does not know: the error is the code of DONE.", &bytes, None);
    let filter = Bytecode::compile(&Condition::AutoBound).expect("one operation");
    let mut bad = kernel::request(Tables::TcpOf(Family::V4), Extensions::None, Some(&filter));
    let operation = bad.len() - filter.as_bytes().len();
    bad[operation] = 99;
    let (bytes, _, end) = kernel::answers_to(&bad);
    assert_eq!(end, Err(WireError::Kernel(22)));
    save("bad-filter", "A filter with an unknown operation: the error is an error message.", &bytes, None);
}

#[test]
fn a_refusal_has_its_error_number() {
    in_netns("a_refusal_has_its_error_number", || {
        let mut unknown = kernel::request(Tables::TcpOf(Family::V4), Extensions::None, None);
        unknown[17] = 200;
        assert_eq!(kernel::answers_to(&unknown).2, Err(WireError::Kernel(2)));
        let selection = Selection::default();
        let late = Asked { deadline: Deadline::after(Duration::ZERO), ..asked(&selection) };
        let error = read_tables(&late).expect_err("no time is left");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn the_kernel_picks_what_a_condition_picks() {
    in_netns("the_kernel_picks_what_a_condition_picks", || {
        set_range();
        let _mixture = mixture::make();
        let all = kernel::rows_where(None);
        let auto = cookies(kernel::rows_where(Some(&Condition::AutoBound)).iter());
        assert!(auto.len() > 20 && auto.len() < all.len());
        let picked_some = Cell::new(0);
        let agrees = |condition: &Condition, here: Vec<SockCookie>| {
            if Bytecode::compile(condition).is_none() {
                return assert_eq!(here.len(), all.len(), "{condition:?} lets everything through");
            }
            if !here.is_empty() && here.len() < all.len() {
                picked_some.set(picked_some.get() + 1);
            }
            assert_eq!(cookies(kernel::rows_where(Some(condition)).iter()), here, "{condition:?}");
        };
        runner(500)
            .run(&conditions(), |condition| {
                agrees(&condition, cookies(all.iter().filter(|row| holds(&condition, row, &auto))));
                Ok(())
            })
            .expect("the kernel and the condition agree");
        assert!(picked_some.take() > 100, "conditions that make a difference");
        runner(300)
            .run(&selections(), |selection| {
                if let Some(condition) = endpoints_of(&selection) {
                    agrees(&condition, cookies(all.iter().filter(|row| selection.takes_socket(row))));
                }
                Ok(())
            })
            .expect("the kernel and the selection agree");
        assert!(picked_some.take() > 50, "selections that make a difference");
    });
}

/// What a condition means, said once more.
fn holds(condition: &Condition, row: &SocketRecord, auto: &[SockCookie]) -> bool {
    let end = |side: &Side| match side {
        Side::Local => row.tuple.local,
        Side::Peer => row.tuple.remote,
    };
    match condition {
        Condition::Port(side, ports) => ports.contains(&end(side).port),
        Condition::Address(side, network) => network.contains(end(side).address),
        Condition::AutoBound => row.cookie.is_some_and(|cookie| auto.binary_search(&cookie).is_ok()),
        Condition::Not(inner) => !holds(inner, row, auto),
        Condition::All(parts) => parts.iter().all(|part| holds(part, row, auto)),
        Condition::Any(parts) => parts.iter().any(|part| holds(part, row, auto)),
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let side = || prop_oneof![Just(Side::Local), Just(Side::Peer)];
    let leaf = prop_oneof![
        (side(), port_ranges()).prop_map(|(side, ports)| Condition::Port(side, ports)),
        (side(), networks()).prop_map(|(side, network)| Condition::Address(side, network)),
        Just(Condition::AutoBound),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Condition::negated),
            vec(inner.clone(), 0..4).prop_map(Condition::All),
            vec(inner, 0..4).prop_map(Condition::Any),
        ]
    })
}

fn selections() -> impl Strategy<Value = Selection> {
    let filter = || {
        (vec(networks(), 0..4), vec(port_ranges(), 0..4))
            .prop_map(|(networks, ports)| EndpointFilter { networks, ports })
    };
    (filter(), filter()).prop_map(|(local, peer)| Selection { local, peer, ..Selection::default() })
}

/// Ports around those of the mixture.
fn port_ranges() -> impl Strategy<Value = RangeInclusive<u16>> {
    let port = || prop_oneof![Just(0), Just(65535), 8078_u16..8086, 39_995_u16..41_005, any::<u16>()];
    (port(), port()).prop_map(|(one, other)| one.min(other)..=one.max(other))
}

/// Networks around the addresses of the mixture, and those that IPv4-mapped addresses could be mistaken to lie in.
fn networks() -> impl Strategy<Value = Network> {
    let addresses =
        ["127.0.0.1", "127.0.0.2", "10.9.0.1", "0.0.0.0", "::1", "::", "fe80::2", "::ffff:0:1:0", "2001:db8::"];
    (select(addresses.to_vec()), 0..=128_u8).prop_map(|(address, prefix)| {
        let address: IpAddr = address.parse().expect("an address");
        Network::new(address, prefix).unwrap_or_else(|| Network::host(address))
    })
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn cookies<'a>(rows: impl Iterator<Item = &'a SocketRecord>) -> Vec<SockCookie> {
    let mut cookies: Vec<_> = rows.filter_map(|row| row.cookie).collect();
    cookies.sort_unstable();
    cookies
}

#[test]
fn a_selection_never_hides_ports_and_listeners() {
    in_netns("a_selection_never_hides_ports_and_listeners", || {
        set_range();
        let _mixture = mixture::make();
        let all = everything().sockets;
        runner(40)
            .run(&selections(), |selection| {
                let mut seen = read_tables(&asked(&selection)).expect("the tables can be read").sockets;
                let needed = |row: &&SocketRecord| {
                    selection.takes_socket(row)
                        || RANGE.contains(row.tuple.local.port)
                        || matches!(row.state, TcpState::Listen | TcpState::BoundInactive)
                };
                if selection.is_everything() || all.iter().all(|row| needed(&row)) {
                    assert_eq!(seen.len(), all.len());
                }
                seen.retain(|row| needed(&row));
                assert_eq!(cookies(seen.iter()), cookies(all.iter().filter(needed)), "{selection:?}");
                Ok(())
            })
            .expect("nothing is hidden");
        let elsewhere = Selection {
            peer: EndpointFilter {
                networks: vec![Network::host("192.0.2.1".parse().expect("an address"))],
                ports: vec![],
            },
            ..Selection::default()
        };
        let seen = read_tables(&asked(&elsewhere)).expect("the tables can be read").sockets;
        assert!(seen.iter().all(|row| RANGE.contains(row.tuple.local.port) || row.tuple.remote.port == 0));
        assert!(seen.len() < all.len(), "the kernel left something out");
        // Without the range nothing may be left out.
        let blind = Asked { ephemeral: None, ..asked(&elsewhere) };
        assert_eq!(read_tables(&blind).expect("the tables can be read").sockets.len(), all.len());
    });
}

#[test]
fn a_port_is_explicit_when_bind_named_it() {
    in_netns("a_port_is_explicit_when_bind_named_it", || {
        set_range();
        let listener = listen("127.0.0.1:9000");
        let named = |port| {
            let socket = bound("127.0.0.1", port);
            rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9000)).expect("connects");
            TcpStream::from(socket)
        };
        let (in_use, leaked, outside, picked) = (named(40_100), named(40_101), named(39_000), named(0));
        let peers = accept_all(&listener, 4);
        let leaked_peer = peers.iter().find(|(_, peer)| peer.port() == 40_101).expect("accepted");
        leaked_peer.0.shutdown(Shutdown::Both).expect("shuts down");
        let auto = TcpStream::connect("127.0.0.1:9000").expect("connects");
        let (by_name, by_kernel) = (listen("127.0.0.2:40102"), listen("127.0.0.2:0"));
        wait_until("CLOSE-WAIT", || support::ss_count("close-wait") == 1);
        let rows = everything().sockets;
        let binding_at = |local: SocketAddr| {
            // Another address may have the same port.
            let mine = |row: &&SocketRecord| row.tuple.local == Endpoint::new(local.ip(), local.port());
            rows.iter().find(mine).map(|row| (row.state, row.binding)).expect("it is in the table")
        };
        let binding = |stream: &TcpStream| binding_at(stream.local_addr().expect("an address"));
        assert_eq!(binding(&in_use), (TcpState::Established, PortBinding::Explicit));
        assert_eq!(binding(&leaked), (TcpState::CloseWait, PortBinding::Explicit));
        assert_eq!(binding(&outside), (TcpState::Established, PortBinding::Explicit));
        assert_eq!(binding(&picked), (TcpState::Established, PortBinding::Auto));
        assert_eq!(binding(&auto), (TcpState::Established, PortBinding::Auto));
        let listening = |listener: &TcpListener| binding_at(listener.local_addr().expect("an address"));
        assert_eq!(listening(&by_name), (TcpState::Listen, PortBinding::Explicit));
        assert_eq!(listening(&by_kernel), (TcpState::Listen, PortBinding::Auto));
        // Where the range is not known, all ports are asked for.
        let blind = read_tables(&Asked { ephemeral: None, ..asked(&Selection::default()) }).expect("can be read");
        let outside = blind.sockets.iter().find(|row| row.tuple.local.port == 39_000).expect("it is in the table");
        assert_eq!(outside.binding, PortBinding::Explicit);
    });
}

fn bound(address: &str, port: u16) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let address: Ipv4Addr = address.parse().expect("an address");
    rustix::net::bind(&socket, &SocketAddrV4::new(address, port)).expect("binds");
    socket
}

/// Accepts so many connections.
fn accept_all(listener: &TcpListener, count: usize) -> Vec<(TcpStream, SocketAddr)> {
    (0..count).map(|_| listener.accept().expect("accepts")).collect()
}

#[test]
fn clocks_bound_the_age_of_close_wait() {
    in_netns("clocks_bound_the_age_of_close_wait", || {
        let listener = listen("127.0.0.1:0");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        server.write_all(b"body").expect("writes");
        let written = Instant::now();
        wait_until("the data is 300 ms old", || written.elapsed() > Duration::from_millis(300));
        let before = Instant::now();
        drop(server);
        let closed = Instant::now();
        wait_until("the end is 200 ms old", || closed.elapsed() > Duration::from_millis(200));
        let at_least = closed.elapsed();
        let rows = everything().sockets;
        let at_most = before.elapsed();
        let row = rows.iter().find(|row| row.state == TcpState::CloseWait).expect("one is in CLOSE-WAIT");
        let clocks = row.clocks.expect("tcp_info was asked for");
        // The kernel's clock ticks 100 to 1000 times a second.
        let tick = Duration::from_millis(10);
        let ack = Duration::from_millis(clocks.last_ack_recv_ms.into());
        let data = Duration::from_millis(clocks.last_data_recv_ms.into());
        assert!(at_least <= ack + tick && ack <= at_most + tick, "{at_least:?} {ack:?} {at_most:?}");
        assert!(data >= ack + Duration::from_millis(290), "the data came 300 ms before the end: {data:?} {ack:?}");
        drop(client);
    });
}

#[test]
fn every_connection_comes_with_its_clocks_and_once() {
    in_netns("every_connection_comes_with_its_clocks_and_once", || {
        set_range();
        let listener = listen("127.0.0.1:0");
        let address = listener.local_addr().expect("an address");
        let held: Vec<_> = (0..20).map(|_| close_wait(&listener)).collect();
        let open: Vec<_> = (0..20)
            .map(|_| {
                let client = TcpStream::connect(address).expect("connects");
                let (mut server, _) = listener.accept().expect("accepts");
                server.write_all(b"x").expect("writes");
                (client, server)
            })
            .collect();
        support::settle();
        let rows = everything().sockets;
        let count = |state| rows.iter().filter(|row| row.state == state && row.clocks.is_some()).count();
        assert_eq!(count(TcpState::CloseWait), held.len());
        assert_eq!(count(TcpState::Established), 2 * open.len(), "both ends of each");
        let connected = |row: &&SocketRecord| row.kind == SocketKind::Full && row.state != TcpState::Listen;
        assert!(rows.iter().filter(connected).all(|row| row.clocks.is_some() && row.binding == PortBinding::Auto));
        let mut cookies: Vec<_> = rows.iter().filter_map(|row| row.cookie).collect();
        cookies.sort_unstable();
        cookies.dedup();
        assert_eq!(cookies.len(), rows.len(), "each once");
        let one_state = Selection { states: Some(StateMask::of(TcpState::Established)), ..Selection::default() };
        let table = read_tables(&asked(&one_state)).expect("can be read");
        assert_eq!(table.sockets.len(), rows.len(), "ports need every state");
    });
}

#[test]
fn an_mptcp_connection_stands_beside_its_subflow() {
    let test = "an_mptcp_connection_stands_beside_its_subflow";
    in_netns(test, || {
        let socket = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP));
        if std::fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() != "1") {
            set_sysctl("net.mptcp.enabled", "1");
        }
        let Ok(listener) = socket() else { return skip(test, "needs a kernel with MPTCP") };
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9100);
        rustix::net::bind(&listener, &address).expect("binds");
        rustix::net::listen(&listener, 8).expect("listens");
        let listener = TcpListener::from(listener);
        let client = socket().expect("a socket");
        rustix::net::connect(&client, &address).expect("connects");
        let mut client = TcpStream::from(client);
        let (mut server, _) = listener.accept().expect("accepts");
        // The first data confirms that the peer speaks MPTCP.
        client.write_all(b"ping").expect("writes");
        server.read_exact(&mut [0; 4]).expect("reads");
        server.write_all(b"pong").expect("writes");
        client.read_exact(&mut [0; 4]).expect("reads");
        let before = Instant::now();
        drop(server);
        let port = client.local_addr().expect("an address").port();
        let row = || everything().sockets.into_iter().find(|row| row.tuple.local.port == port).expect("in the table");
        wait_until("CLOSE-WAIT of MPTCP", || row().mptcp == Some(TcpState::CloseWait));
        let closed = Instant::now();
        wait_until("the end is 200 ms old", || closed.elapsed() > Duration::from_millis(200));
        let row = row();
        let tick = Duration::from_millis(10);
        assert_eq!(row.state, TcpState::Established, "ss -t shows no CLOSE-WAIT");
        assert!(row.is_close_wait());
        let clocks = row.clocks.expect("those of the subflow");
        let (ack, data) = (clocks.last_ack_recv_ms, clocks.last_data_recv_ms);
        assert!(Duration::from_millis(ack.into()) <= before.elapsed() + tick, "{clocks:?}");
        assert!(Duration::from_millis(data.into()) + tick >= closed.elapsed(), "{clocks:?}");
    });
}

#[test]
fn the_namespace_is_that_of_the_calling_thread() {
    in_netns("the_namespace_is_that_of_the_calling_thread", || {
        let listener = listen("127.0.0.1:0");
        let held: Vec<_> = (0..5).map(|_| close_wait(&listener)).collect();
        let elsewhere = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace of its own");
            everything().sockets
        });
        assert_eq!(elsewhere.join().expect("does not panic"), []);
        let counts = everything().sockets.iter().filter(|row| row.state == TcpState::CloseWait).count();
        assert_eq!(counts, held.len());
    });
}
