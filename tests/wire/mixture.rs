//! Sockets in every state that TCP has, of every kind that the dump tells apart, held still.
//!
//! States that end by themselves on loopback are made over a link to a second namespace, towards which no packet finds
//! its way: the neighbour has a hardware address that nobody owns.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};

use crate::support::{run, set_sysctl, ss_count, wait_until};

/// The listener of the mixture on every IPv4 address.
pub(crate) const SERVICE: u16 = 8080;
/// The port that one connection was bound to by name; it lies in the range of the namespace.
pub(crate) const NAMED: u16 = 40_007;
/// The port that is bound and nothing else.
pub(crate) const BOUND: u16 = 40_008;

/// Whatever keeps the sockets as they are.
pub(crate) struct Mixture {
    _held: Vec<OwnedFd>,
    /// Ends the second namespace when dropped.
    _far: mpsc::Sender<()>,
}

/// Makes it, in the namespace of the calling thread. Of every state there is at least one socket.
pub(crate) fn make() -> Mixture {
    // connect() must not take the ports that are named later.
    set_sysctl("net.ipv4.ip_local_reserved_ports", &format!("{NAMED},{BOUND}"));
    let mut held = loopback();
    let (far, mut streams) = across();
    held.append(&mut streams);
    Mixture { _held: held, _far: far }
}

fn loopback() -> Vec<OwnedFd> {
    let mut held: Vec<OwnedFd> = Vec::new();
    let listener = TcpListener::bind(("0.0.0.0", SERVICE)).expect("listens");
    let dual = TcpListener::bind("[::]:8081").expect("listens");
    let only_v6 = socket(AddressFamily::INET6);
    rustix::net::sockopt::set_ipv6_v6only(&only_v6, true).expect("sets IPV6_V6ONLY");
    bind(&only_v6, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 8082, 0, 0)).expect("binds");
    rustix::net::listen(&only_v6, 7).expect("listens");

    // ESTABLISHED: idle, with unread data, and one that nobody accepts.
    for unread in [0, 5] {
        let (client, mut server) = pair(&listener, "127.0.0.1:8080");
        server.write_all(&vec![b'x'; unread]).expect("writes");
        held.extend([client.into(), server.into()]);
    }
    // CLOSE-WAIT: end of file read, not read, with data before it; mapped, and over IPv6.
    for (target, at, unread) in [
        ("127.0.0.1:8080", &listener, 0),
        ("127.0.0.2:8080", &listener, 100),
        ("[::ffff:127.0.0.1]:8080", &listener, 3),
        ("[::1]:8081", &dual, 4),
        ("127.0.0.1:8081", &dual, 0),
    ] {
        let (client, mut server) = pair(at, target);
        server.write_all(&vec![b'y'; unread]).expect("writes");
        drop(server);
        held.push(client.into());
    }
    let (mut client, server) = pair(&listener, "127.0.0.1:8080");
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).expect("reads"), 0);
    held.push(client.into());
    // FIN-WAIT-2 that a process holds.
    let (client, server) = pair(&listener, "127.0.0.1:8080");
    client.shutdown(std::net::Shutdown::Write).expect("shuts down");
    held.extend([client.into(), server.into()]);
    // TIME-WAIT, over both families.
    for (at, target) in [(&listener, "127.0.0.1:8080"), (&dual, "[::1]:8081")] {
        let (client, server) = pair(at, target);
        drop(client);
        drop(server);
    }
    // A port that the program named, with and without a peer.
    let named = socket(AddressFamily::INET);
    bind(&named, &v4("127.0.0.1", NAMED)).expect("binds");
    connect(&named, &v4("127.0.0.1", SERVICE)).expect("connects");
    let (server, _) = listener.accept().expect("accepts");
    let bound = socket(AddressFamily::INET);
    bind(&bound, &v4("127.0.0.1", BOUND)).expect("binds");
    held.extend([named, bound, server.into()]);
    // Last, since nobody accepts it.
    held.push(TcpStream::connect("127.0.0.1:8080").expect("connects").into());
    held.extend([listener.into(), dual.into(), only_v6]);
    held
}

/// The states in which an answer is missing.
fn across() -> (mpsc::Sender<()>, Vec<OwnedFd>) {
    let (stop, stopped) = mpsc::channel();
    let (ready, connected) = mpsc::channel();
    let here = std::process::id().to_string();
    thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace of its own");
        run("ip", &["link", "add", "far", "type", "veth", "peer", "name", "near", "netns", &here]);
        run("ip", &["addr", "add", "10.9.0.1/24", "dev", "far"]);
        run("ip", &["link", "set", "far", "up"]);
        ready.send(Vec::new()).expect("someone waits");
        stopped.recv().expect("told to go on");
        let mut streams: Vec<_> = (0..4).map(|_| TcpStream::connect("10.9.0.2:9090").expect("connects")).collect();
        // CLOSE-WAIT at the near end for the two whose far end closes first.
        let last = streams.split_off(2);
        drop(last);
        ready.send(streams).expect("someone waits");
        stopped.recv().expect("told to go on");
        // The handshake of this one ends at the answer, which never comes.
        let late = socket(AddressFamily::INET);
        rustix::io::ioctl_fionbio(&late, true).expect("does not block");
        let begun = connect(&late, &v4("10.9.0.2", 9090));
        assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
        ready.send(Vec::new()).expect("someone waits");
        // Until the mixture is dropped.
        stopped.recv().expect_err("nothing more is asked of this thread");
    });
    connected.recv().expect("the link is made");
    run("ip", &["addr", "add", "10.9.0.2/24", "dev", "near"]);
    run("ip", &["addr", "add", "fe80::2/64", "dev", "near", "nodad"]);
    run("ip", &["link", "set", "near", "up"]);
    let listener = TcpListener::bind("10.9.0.2:9090").expect("listens");
    let before = ss_count("close-wait");
    stop.send(()).expect("the other end lives");
    let near: Vec<_> = (0..4).map(|_| listener.accept().expect("accepts").0).collect();
    let far = connected.recv().expect("connected");
    wait_until("two are closed by the far end", || ss_count("close-wait") == before + 2);
    for address in ["10.9.0.1", "10.9.0.77"] {
        run("ip", &["neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", "near", "nud", "permanent"]);
    }
    let mut held = Vec::new();
    // Of those that the far end has closed: LAST-ACK, and one in CLOSE-WAIT for which keepalive runs.
    let (mut closed, open): (Vec<_>, Vec<_>) = near.into_iter().partition(is_closed_by_peer);
    drop(closed.pop());
    let kept = closed.pop().expect("two were closed");
    rustix::net::sockopt::set_socket_keepalive(&kept, true).expect("sets SO_KEEPALIVE");
    held.push(kept.into());
    // Of the others: FIN-WAIT-1, and CLOSING for the one whose far end then closes too.
    let mut far = far.into_iter();
    let crossing = far.next().expect("two are left");
    let port = crossing.local_addr().expect("an address").port();
    for stream in open {
        let crosses = stream.peer_addr().expect("a peer").port() == port;
        drop(stream);
        if crosses {
            wait_until("FIN-WAIT-1", || ss_count("fin-wait-1") >= 1);
        }
    }
    drop(crossing);
    held.extend(far.map(OwnedFd::from));
    // SYN-SENT, and with it the scope of an interface.
    let unanswered = socket(AddressFamily::INET);
    rustix::io::ioctl_fionbio(&unanswered, true).expect("does not block");
    assert_eq!(connect(&unanswered, &v4("10.9.0.77", 9090)), Err(rustix::io::Errno::INPROGRESS));
    let scoped = socket(AddressFamily::INET6);
    bind(&scoped, &SocketAddrV6::new("fe80::2".parse().expect("an address"), 8083, 0, interface())).expect("binds");
    rustix::net::listen(&scoped, 3).expect("listens");
    held.extend([unanswered, scoped, listener.into()]);
    stop.send(()).expect("the other end lives");
    connected.recv().expect("begun");
    wait_until("SYN-RECV", || ss_count("syn-recv") >= 1);
    wait_until("CLOSING", || ss_count("closing") >= 1);
    (stop, held)
}

/// The index of the near end of the link.
pub(crate) fn interface() -> u32 {
    let text = String::from_utf8(run("ip", &["-o", "link", "show", "near"]).stdout).expect("text");
    text.split(':').next().and_then(|index| index.parse().ok()).expect("ip names the index first")
}

fn is_closed_by_peer(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("does not block");
    matches!(stream.peek(&mut [0]), Ok(0))
}

fn pair(listener: &TcpListener, target: &str) -> (TcpStream, TcpStream) {
    let target: SocketAddr = target.parse().expect("an address");
    let client = TcpStream::connect(target).unwrap_or_else(|error| panic!("{target}: {error}"));
    (client, listener.accept().expect("accepts").0)
}

fn socket(family: AddressFamily) -> OwnedFd {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP)).expect("a socket")
}

fn v4(address: &str, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address.parse().expect("an address"), port)
}
