//! What is read beside the socket tables, and the text tables, against a real kernel.

mod support;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

use closewatch::capture::counters::{read_conntrack, read_host_limits, read_sockstat, read_tcp_counters};
use closewatch::capture::live::LiveHost;
use closewatch::capture::netlink::{Asked, read_tables};
use closewatch::capture::netns::enter_netns_of;
use closewatch::capture::proc_net::{TextTable, read_proc_net};
use closewatch::capture::sysctl::read_port_settings;
use closewatch::capture::{
    CaptureError, Deadline, NetNsChoice, PortProbeChoice, ProcessChoice, Request, SnapshotSource,
};
use closewatch::model::ports::{EphemeralRange, PortSet, PortSettings, TimeWaitReuse};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::Hides;
use closewatch::model::socket::{Inode, NetNsIndex, Queues, SocketKind, SocketRecord};
use closewatch::model::state::TcpState;
use closewatch::model::tuple::{Endpoint, FourTuple};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use support::{can_make_veth, close_wait, in_netns, is_root, listen, run, set_sysctl, skip, text, wait_until};

const TIME_WAIT_DELAY: &str = "net.ipv4.tcp_tw_reuse_delay";

#[test]
fn settings_read_back_as_they_were_set() {
    in_netns("settings_read_back_as_they_were_set", || {
        // Longer than the 32 bytes after which a buffered read would end.
        set_sysctl("net.ipv4.ip_local_reserved_ports", "8080,9000-9010,40010-40012,40020,40030,40040-40041,65535");
        set_sysctl("net.ipv4.ip_local_port_range", "40001 40100");
        set_sysctl("net.ipv4.tcp_tw_reuse", "1");
        set_sysctl("net.ipv4.tcp_timestamps", "0");
        set_sysctl("net.ipv4.tcp_fin_timeout", "17");
        set_sysctl("net.ipv4.ip_autobind_reuse", "1");
        let has_delay = fs::exists(format!("/proc/sys/{}", TIME_WAIT_DELAY.replace('.', "/"))).expect("can be asked");
        if has_delay {
            set_sysctl(TIME_WAIT_DELAY, "2500");
        }
        let mut gaps = Vec::new();
        let reserved = [8080, 40010, 40011, 40012, 40020, 40030, 40040, 40041, 65535];
        let expected = PortSettings {
            range: Some(EphemeralRange { first: 40001, last: 40100 }),
            reserved: Some(reserved.into_iter().chain(9000..=9010).collect()),
            tw_reuse: Some(TimeWaitReuse::Global),
            tw_reuse_delay_ms: has_delay.then_some(2500),
            timestamps: Some(false),
            autobind_reuse: Some(true),
            fin_timeout_s: Some(17),
        };
        assert_eq!(read_port_settings(&mut gaps), expected);
        assert_eq!(gaps, []);
    });
}

#[test]
fn the_longest_reserved_list_is_read_whole() {
    in_netns("the_longest_reserved_list_is_read_whole", || {
        let ports: PortSet = (1..u16::MAX).filter(|port| port % 3 != 0).collect();
        let list: Vec<String> = (1..u16::MAX).step_by(3).map(|port| format!("{port}-{}", port + 1)).collect();
        set_sysctl("net.ipv4.ip_local_reserved_ports", &list.join(","));
        let read = || read_port_settings(&mut Vec::new()).reserved.expect("can be read");
        assert_eq!(read().len(), ports.len());
        assert!(read() == ports, "as many ports, but others");
        set_sysctl("net.ipv4.ip_local_reserved_ports", "\n");
        assert!(read().is_empty());
    });
}

#[test]
fn the_rows_of_the_text_are_those_of_ss() {
    let test = "the_rows_of_the_text_are_those_of_ss";
    if !can_make_veth() {
        return skip(test, "needs a veth pair, to hold a handshake half way");
    }
    in_netns(test, || {
        let _sockets = every_state();
        let _half_open = half_open_handshake();
        // Those that get there by packets on their way.
        for (state, count) in [("TIME-WAIT", 4), ("FIN-WAIT-2", 6), ("LAST-ACK", 1), ("FIN-WAIT-1", 1), ("SYN-RECV", 1)]
        {
            wait_until(state, || support::ss_states().get(state) == Some(&count));
        }
        let (mut table, mut expected) = (TextTable::default(), ss_rows());
        wait_until("a moment in which nothing moves", || {
            table = read_proc_net(NetNsIndex(0)).expect("the tables can be read");
            std::mem::replace(&mut expected, ss_rows()) == expected
        });
        let mut rows: Vec<SsRow> = table.sockets.iter().map(SsRow::of).collect();
        rows.sort();
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row, expected);
        }
        let sockstat = read_sockstat(&mut Vec::new()).expect("can be read");
        let count = |kind| table.sockets.iter().filter(|socket| socket.kind == kind).count() as u64;
        assert_eq!((sockstat.inuse, sockstat.tw), (count(SocketKind::Full), count(SocketKind::TimeWait)));
        assert_eq!(count(SocketKind::Request), 1);
        let lost: Vec<_> = table.gaps.iter().map(|gap| gap.hides).collect();
        let expected =
            [Hides::Ages, Hides::Ports, Hides::Ports, Hides::Ports, Hides::Owners, Hides::Limits, Hides::Sockets];
        assert_eq!(lost, expected, "{:#?}", table.gaps);
    });
}

#[test]
fn an_overflowing_listener_is_counted() {
    in_netns("an_overflowing_listener_is_counted", || {
        let (listener, port) = listen_with_room_for_one();
        let mut gaps = Vec::new();
        let before = read_tcp_counters(&mut gaps).listen_overflows.expect("a counter of every kernel");
        let _accepted = connect_later(port);
        let _refused = connect_later(port);
        wait_until("an overflow", || {
            read_tcp_counters(&mut Vec::new()).listen_overflows.is_some_and(|after| after > before)
        });
        assert_eq!(gaps, []);
        drop(listener);

        let conntrack = read_conntrack(&mut gaps);
        assert!(conntrack.is_none_or(|conntrack| conntrack.used <= conntrack.limit), "{conntrack:?}");
        assert_eq!(gaps, []);
        let limits = read_host_limits(read_sockstat(&mut gaps), &mut gaps);
        assert!(limits.files.is_some_and(|files| files.used > 0 && files.used < files.limit), "{limits:?}");
        let told: Vec<_> = gaps.iter().map(|gap| (gap.what.as_str(), gap.hides)).collect();
        assert_eq!(told, [("net.ipv4.tcp_max_orphans, net.ipv4.tcp_mem", Hides::Limits)]);
    });
}

#[test]
fn another_namespace_is_entered_by_its_process() {
    in_netns("another_namespace_is_entered_by_its_process", || {
        let other = Sleeper::in_new_netns(&[]);
        let enter = |look: &(dyn Fn() + Sync)| enter_netns_of(other.pid(), look).expect("root of both may enter");
        let ours = read_port_settings(&mut Vec::new());
        let _here = listen("127.0.0.1:0");
        enter(&|| set_sysctl("net.ipv4.ip_local_port_range", "50000 50099"));
        enter(&|| {
            let settings = read_port_settings(&mut Vec::new());
            assert_eq!(settings.range, Some(EphemeralRange { first: 50000, last: 50099 }));
            assert_eq!(read_proc_net(NetNsIndex(0)).expect("can be read").sockets, []);
            assert_eq!(read_sockstat(&mut Vec::new()).map(|stat| stat.inuse), Some(0));
        });
        assert_eq!(read_port_settings(&mut Vec::new()), ours, "the caller did not move");
        assert_eq!(read_proc_net(NetNsIndex(0)).expect("can be read").sockets.len(), 1);
        let there = (format!("pid {}", other.pid()), Some(netns_inode(&other.pid().to_string())), 0);
        assert_eq!(seen(NetNsChoice::Pid(other.pid())), there);
        for asked in [NetNsChoice::Current, NetNsChoice::Pid(std::process::id())] {
            assert_eq!(seen(asked), ("current".to_owned(), Some(netns_inode("self")), 1));
        }
    });
}

fn request(netns: NetNsChoice) -> Request {
    Request {
        netns,
        selection: Selection::default(),
        processes: ProcessChoice::Skip,
        port_probe: PortProbeChoice::Bounds,
        deadline: Deadline::never(),
    }
}

/// The name, the inode and the number of sockets of the one namespace that was asked for.
fn seen(netns: NetNsChoice) -> (String, Option<u64>, usize) {
    let snapshot = LiveHost.take(&request(netns)).expect("it may be entered");
    let [namespace] = snapshot.namespaces.as_slice() else { panic!("{:#?}", snapshot.namespaces) };
    (namespace.id.name.clone(), namespace.id.inode, snapshot.sockets.len())
}

/// What of a row does not change while nothing happens. The clocks are asked more often where sockets are few.
fn standing(rows: &[SocketRecord]) -> Vec<String> {
    let stands = |row: &SocketRecord| {
        let parts = (row.state, row.kind, row.tuple, row.inode, row.uid, row.queues, row.binding, row.v6only);
        format!("{parts:?} {:?}", row.cookie)
    };
    let mut rows: Vec<String> = rows.iter().map(stands).collect();
    rows.sort();
    rows
}

#[test]
fn few_sockets_are_read_in_few_walks_and_none_is_lost() {
    in_netns("few_sockets_are_read_in_few_walks_and_none_is_lost", || {
        let look = || LiveHost.take(&request(NetNsChoice::Current)).expect("our own").sockets;
        assert_eq!(look(), []);
        let bound = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&bound, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        // Counted nowhere: sockstat says that there is nothing.
        assert_eq!(read_sockstat(&mut Vec::new()).map(|stat| (stat.inuse, stat.tw)), Some((0, 0)));
        assert_eq!(look().iter().map(|row| row.state).collect::<Vec<_>>(), [TcpState::BoundInactive]);
        let _every = every_state();
        let asked = Asked {
            netns: NetNsIndex(0),
            selection: &Selection::default(),
            ephemeral: read_port_settings(&mut Vec::new()).range,
            expected: 0,
            beside_descriptors: false,
            deadline: Deadline::never(),
        };
        let many_walks = || standing(&read_tables(&asked).expect("our own").sockets);
        wait_until("both ways to see the same", || {
            let before = many_walks();
            let few_walks = standing(&look());
            before == many_walks() && before == few_walks && before.len() > 10
        });
    });
}

#[test]
fn a_namespace_that_may_not_be_entered_is_a_clear_error() {
    let test = "a_namespace_that_may_not_be_entered_is_a_clear_error";
    if !is_root() {
        return skip(test, "needs root, to become a user without privilege");
    }
    let nobody = rustix::process::Uid::from_raw(65534);
    let owned_by_nobody = Sleeper::in_new_netns(&["--setuid", "65534"]);
    let owned_by_root = Sleeper::in_new_netns(&[]);
    // The kernel keeps the user id by thread: only this one loses its privilege.
    let enter_as_nobody = |pid: u32| {
        let visit = move || {
            rustix::thread::set_thread_uid(nobody).expect("root may");
            enter_netns_of(pid, || ())
        };
        std::thread::spawn(visit).join().expect("no panic")
    };
    enter_as_nobody(std::process::id()).expect("whoever is there already needs no privilege");
    let error_of = |entered: Result<(), CaptureError>| match entered.expect_err("nobody may not enter") {
        CaptureError::EnterNetNs { pid, error } => (pid, error.raw_os_error()),
        other => panic!("{other}"),
    };
    let (eperm, eacces) = (libc::EPERM, libc::EACCES);
    let pid = owned_by_nobody.pid();
    assert_eq!(error_of(enter_as_nobody(pid)), (pid, Some(eperm)), "its namespace is not nobody's");
    let pid = owned_by_root.pid();
    assert_eq!(error_of(enter_as_nobody(pid)), (pid, Some(eacces)), "the process is not nobody's");
    let told = enter_as_nobody(pid).expect_err("nobody may not enter").to_string();
    assert!(told.starts_with(&format!("entering the network namespace of process {pid}: Permission denied")), "{told}");
}

/// A process in a namespace of its own that does nothing until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn in_new_netns(options: &[&str]) -> Self {
        let sleep = Command::new("unshare").arg("--net").args(options).args(["sleep", "600"]).spawn();
        let sleeper = Self(sleep.expect("unshare starts"));
        wait_until("sleep in a namespace of its own", || {
            fs::read_to_string(format!("/proc/{}/comm", sleeper.pid())).is_ok_and(|name| name == "sleep\n")
        });
        assert_ne!(netns_inode(&sleeper.pid().to_string()), netns_inode("self"));
        sleeper
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("a child of ours");
    }
}

fn netns_inode(process: &str) -> u64 {
    fs::metadata(format!("/proc/{process}/ns/net")).expect("can be read").ino()
}

/// Sockets in every state that loopback alone can make and hold: 4 TIME-WAIT, 6 FIN-WAIT-2, FIN-WAIT-1, LAST-ACK,
/// SYN-SENT, CLOSE-WAIT, ESTABLISHED and LISTEN, of IPv4, IPv6 and IPv4 on an IPv6 socket.
fn every_state() -> Vec<OwnedFd> {
    let mut held: Vec<OwnedFd> = Vec::new();
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let listener = listen(address);
        held.push(close_wait(&listener).into());
        let (client, server) = connected(&listener);
        drop(client);
        wait_until("the FIN", || (&server).peek_end());
        drop(server);
        let (client, server) = connected(&listener);
        held.extend([client.into(), server.into(), listener.into()]);
    }
    let dual = listen("[::]:0");
    let port = dual.local_addr().expect("bound").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let (server, _) = dual.accept().expect("accepts");
    // CLOSE-WAIT on the IPv6 socket, whose addresses are mapped; and one on the IPv4 side.
    let second = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let (second_server, _) = dual.accept().expect("accepts");
    drop(second);
    wait_until("the FIN", || (&second_server).peek_end());
    let third = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    drop(dual.accept().expect("accepts"));
    held.extend([client.into(), server.into(), second_server.into(), third.into(), dual.into()]);
    // A mapped TIME-WAIT: the side of the server closes first.
    let dual = listen("[::]:0");
    let port = dual.local_addr().expect("bound").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    drop(dual.accept().expect("accepts"));
    wait_until("the FIN", || (&client).peek_end());
    drop((client, dual));

    let (room_for_one, port) = listen_with_room_for_one();
    let waiting = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    held.extend([room_for_one, waiting.into(), connect_later(port)]);

    let listener = listen("127.0.0.1:0");
    // FIN-WAIT-1: the FIN stands behind data for which the peer has no room.
    let (client, server) = connected(&listener);
    fill(&client);
    drop(client);
    held.push(server.into());
    // LAST-ACK: the same after the peer has closed its half.
    let (client, server) = connected(&listener);
    fill(&client);
    server.shutdown(std::net::Shutdown::Write).expect("connected");
    wait_until("the FIN", || (&client).peek_end());
    drop(client);
    held.extend([server.into(), listener.into()]);
    held
}

/// Whether the end of file has arrived.
trait PeekEnd {
    fn peek_end(self) -> bool;
}

impl PeekEnd for &TcpStream {
    fn peek_end(self) -> bool {
        self.set_nonblocking(true).expect("a socket");
        matches!(self.peek(&mut [0]), Ok(0))
    }
}

fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut address = listener.local_addr().expect("bound");
    if address.ip().is_unspecified() {
        address.set_ip("::1".parse().expect("an address"));
    }
    let client = TcpStream::connect(address).expect("connects");
    (client, listener.accept().expect("accepts").0)
}

fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).expect("a socket");
    let error = loop {
        if let Err(error) = stream.write(&[0; 65536]) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

/// A listener whose accept queue is full with one connection, and its port.
fn listen_with_room_for_one() -> (OwnedFd, u16) {
    let socket = tcp_socket(SocketFlags::CLOEXEC);
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("binds");
    rustix::net::listen(&socket, 0).expect("listens");
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).expect("bound")).expect("IPv4");
    (socket, address.port())
}

/// A socket that has begun to connect to this port of the loopback address.
fn connect_later(port: u16) -> OwnedFd {
    begin_to_connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

fn begin_to_connect(address: SocketAddrV4) -> OwnedFd {
    let socket = tcp_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    assert_eq!(rustix::net::connect(&socket, &address), Err(rustix::io::Errno::INPROGRESS));
    socket
}

fn tcp_socket(flags: SocketFlags) -> OwnedFd {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket")
}

/// A handshake whose second packet gets lost: SYN-RECV here, SYN-SENT in another namespace. The answer is sent to a
/// hardware address that the other end of a veth pair does not have.
fn half_open_handshake() -> (Sleeper, TcpListener, OwnedFd) {
    let other = Sleeper::in_new_netns(&[]);
    let pid = other.pid().to_string();
    run("ip", &["link", "add", "here0", "type", "veth", "peer", "name", "there0", "netns", &pid]);
    run("ip", &["address", "add", "10.9.0.1/24", "dev", "here0"]);
    run("ip", &["link", "set", "here0", "up"]);
    run("ip", &["neigh", "replace", "10.9.0.2", "lladdr", "02:00:00:00:09:09", "dev", "here0", "nud", "permanent"]);
    let listener = listen("10.9.0.1:7000");
    let connect = || {
        run("ip", &["address", "add", "10.9.0.2/24", "dev", "there0"]);
        run("ip", &["link", "set", "there0", "up"]);
        begin_to_connect(SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 7000))
    };
    let client = enter_netns_of(other.pid(), connect).expect("root of both may enter");
    (other, listener, client)
}

/// What `ss` and the text tables have in common.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SsRow {
    tuple: FourTuple,
    inode: Option<Inode>,
    state: String,
    recv: u32,
    /// Of a listener the limit, which the text does not have.
    send: Option<u32>,
}

impl SsRow {
    fn of(socket: &SocketRecord) -> Self {
        let (recv, send) = match socket.queues {
            Queues::Data { recv, send } => (recv, Some(send)),
            Queues::Listen { waiting, .. } => (waiting, None),
        };
        let state = socket.state.label().to_owned();
        Self { tuple: socket.tuple, inode: socket.inode, state, recv, send }
    }

    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let inode = words.iter().find_map(|word| word.strip_prefix("ino:")).expect("-e prints the inode");
        let inode = inode.parse().expect("a number");
        let queue = |text: &str| text.parse().expect("a number");
        let is_listener = words[0] == TcpState::Listen.label();
        Self {
            tuple: FourTuple { local: ss_endpoint(words[3]), remote: ss_endpoint(words[4]) },
            inode: Inode::new(inode),
            state: words[0].to_owned(),
            recv: queue(words[1]),
            send: (!is_listener).then(|| queue(words[2])),
        }
    }
}

fn ss_rows() -> Vec<SsRow> {
    let output = run("ss", &["-HtanOe"]);
    let mut rows: Vec<SsRow> = text(&output.stdout).lines().map(SsRow::parse).collect();
    rows.sort();
    rows
}

/// `127.0.0.1:80`, `[::1]:80`, `*:80` of a listener for both families, `[::]:*` of no peer.
fn ss_endpoint(text: &str) -> Endpoint {
    let (host, port) = text.rsplit_once(':').expect("host and port");
    let host = if host == "*" { "::" } else { host.trim_start_matches('[').trim_end_matches(']') };
    let port = if port == "*" { 0 } else { port.parse().expect("a port") };
    Endpoint::new(host.parse().expect("an address"), port)
}
