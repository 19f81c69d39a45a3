//! Peers that do not answer, do not close, or come faster than they are accepted.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::stage::{Look, SERVER, assert_says, blamed, connected, evidence, grade, look, look_until};
use crate::support::neighbour::{Neighbour, THERE};
use crate::support::{can_make_veth, in_netns, listen, run, skip, ss_count, wait_until};

fn me() -> u32 {
    std::process::id()
}

fn begin_to_connect(address: SocketAddrV4) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    assert_eq!(connect(&socket, &address), Err(Errno::INPROGRESS));
    socket
}

#[test]
fn a_destination_that_does_not_answer_is_named() {
    in_netns("peers::a_destination_that_does_not_answer_is_named", || {
        // A packet to an address that the loopback device does not have is discarded without a word.
        run("ip", &["address", "add", "10.9.0.1/32", "dev", "lo"]);
        run("ip", &["route", "add", "10.9.0.2/32", "dev", "lo", "src", "10.9.0.1"]);
        let black_hole = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 2), 443);
        let mut waiting: Vec<OwnedFd> = (0..19).map(|_| begin_to_connect(black_hole)).collect();
        look(&[]).nothing_of("connect_unanswered");
        waiting.push(begin_to_connect(black_hole));
        let look = look(&[]);
        let finding = look.only("connect_unanswered");
        assert_eq!(grade(finding), ("warning", "likely"));
        assert_says(finding, &format!("20 connections to {black_hole} wait for an answer in SYN-SENT"));
        assert_says(finding, &format!("[{}]", me()));
        assert_eq!((&finding["subject"]["kind"], &finding["subject"]["address"]), (&"peer".into(), &"10.9.0.2".into()));
    });
}

#[test]
fn a_peer_that_does_not_close_is_named() {
    let test = "peers::a_peer_that_does_not_close_is_named";
    if !can_make_veth() {
        return skip(test, "needs a veth pair, so that the peer is not in this namespace");
    }
    in_netns(test, || {
        let neighbour = Neighbour::linked();
        let listener = neighbour.visit(|| listen(&format!("{THERE}:443")));
        let server = listener.local_addr().expect("bound");
        let mut kept = Vec::new();
        let mut close = |count: usize| kept.extend((0..count).map(|_| connected(&listener).1));
        close(99);
        wait_until("99 FIN-WAIT-2", || ss_count("fin-wait-2") == 99);
        look(&[]).nothing_of("peer_not_closing");
        close(21);
        wait_until("120 FIN-WAIT-2", || ss_count("fin-wait-2") == 120);
        let look = look(&[]);
        let finding = look.only("peer_not_closing");
        assert_eq!(grade(finding), ("warning", "likely"));
        assert_says(finding, &format!("120 connections to {server} in FIN-WAIT-2: the peer does not close its side"));
        assert_eq!(evidence(finding, "fin_wait2_orphans"), 120.0);
        assert_says(finding, "the kernel ends them after 60 s (tcp_fin_timeout)");
        look.nothing_of("close_wait_leak");
    });
}

#[test]
fn a_peer_on_this_host_that_does_not_close_is_blamed_itself() {
    in_netns("peers::a_peer_on_this_host_that_does_not_close_is_blamed_itself", || {
        let listener = listen(SERVER);
        let _kept: Vec<TcpStream> = (0..120)
            .map(|_| {
                let (client, server) = connected(&listener);
                drop(client);
                server
            })
            .collect();
        wait_until("120 FIN-WAIT-2", || ss_count("fin-wait-2") == 120);
        let leak = |look: &Look| look.of("close_wait_leak").len() == 1;
        let look = look_until("the leak", &["--stuck-after", "1s"], leak);
        let finding = look.only("peer_not_closing");
        assert_eq!(grade(finding), ("info", "certain"));
        let name = std::fs::read_to_string("/proc/self/comm").expect("our own");
        let ours = format!("{}[{}]", name.trim_end(), me());
        assert_says(finding, &format!("their other ends are on this host, in CLOSE-WAIT, held by {ours}"));
        assert_eq!(blamed(look.only("close_wait_leak")), me());
    });
}

/// A listener with room for so many, its address, and connections that fill it to what is asked.
struct Queue {
    address: SocketAddrV4,
    _listener: OwnedFd,
    waiting: Vec<OwnedFd>,
}

impl Queue {
    fn with_room_for(backlog: i32) -> Self {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8086);
        bind(&socket, &address).expect("binds");
        rustix::net::listen(&socket, backlog).expect("listens");
        Self { address, _listener: socket, waiting: Vec::new() }
    }

    fn fill_to(&mut self, count: usize) {
        let missing = count - self.waiting.len();
        self.waiting.extend((0..missing).map(|_| begin_to_connect(self.address)));
        wait_until("the queue to be so long", || look(&[]).report["listeners"][0]["waiting"] == count);
    }
}

#[test]
fn an_accept_queue_is_full_when_the_kernel_drops_what_comes() {
    in_netns("peers::an_accept_queue_is_full_when_the_kernel_drops_what_comes", || {
        let mut queue = Queue::with_room_for(4);
        queue.fill_to(4);
        look(&[]).nothing_of("listener_backlog");
        // The kernel lets one more in than `listen()` says (sk_acceptq_is_full).
        queue.fill_to(5);
        let full = look(&[]);
        let finding = full.only("listener_backlog");
        assert_eq!(grade(finding), ("critical", "certain"));
        assert_says(finding, &format!("5 of 4 connections wait at listener {}", queue.address));
        assert_says(finding, &format!("[{}]", me()));
        queue.waiting.push(begin_to_connect(queue.address));
        let overflow = |look: &Look| {
            look.of("listener_backlog").iter().any(|finding| {
                finding["details"].as_array().is_some_and(|details| {
                    details
                        .iter()
                        .any(|line| line.as_str().is_some_and(|line| line.starts_with("ListenOverflows has counted")))
                })
            })
        };
        let dropped = look_until("the kernel to drop one", &[], overflow);
        assert_eq!(dropped.report["totals"]["states"]["syn_sent"], 1, "the sixth gets no answer");
    });
}
