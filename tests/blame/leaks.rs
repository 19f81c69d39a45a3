//! Programs that leak, each in its own way: blamed, with the right age, kind and remedy.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl};
use rustix::net::{AddressFamily, SocketType, ipproto};
use serde_json::json;

use crate::stage::{
    Look, MANY, SERVER, assert_says, blamed, connected, evidence, grade, hung_up_after, look_for, look_until, timed,
    wait_for_fins,
};
use crate::support::player::Player;
use crate::support::{close_wait, entry, in_netns, listen, skip, wait_until};

fn me() -> u32 {
    std::process::id()
}

/// Our name, as a report writes it.
fn ours() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").expect("our own");
    format!("{}[{}]", name.trim_end(), me())
}

#[test]
fn abandoned_bodies_are_blamed_with_their_bytes() {
    in_netns("leaks::abandoned_bodies_are_blamed_with_their_bytes", || {
        let server = listen(SERVER);
        let body = [b'x'; 1075];
        let (first, when) = timed(|| hung_up_after(&server, &body));
        let mut leaked = vec![first];
        leaked.extend((1..MANY).map(|_| hung_up_after(&server, &body)));
        wait_for_fins();
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "certain"), me()));
        assert_says(finding, "holds 25 sockets in CLOSE-WAIT to 127.0.0.2:8086");
        assert_says(finding, "response bodies are not closed (1,075 bytes unread on each)");
        let fix = finding["remedies"].as_array().and_then(|remedies| remedies.last()).expect("a fix");
        assert!(fix["text"].as_str().is_some_and(|text| text.starts_with("C, C++, Rust: ")), "{fix}");
        let held = look.close_wait(me());
        assert_eq!((&held["count"], &held["eof_unread"], &held["eof_read"]), (&25.into(), &25.into(), &0.into()));
        assert_eq!(held["unread_bytes"], 25 * 1075, "the FIN is no byte");
        assert_eq!((&held["unread_least"], &held["unread_most"]), (&1075.into(), &1075.into()));
        look.assert_age(me(), when);
    });
}

#[test]
fn connections_that_nobody_looked_at_again_are_blamed() {
    in_netns("leaks::connections_that_nobody_looked_at_again_are_blamed", || {
        let server = listen(SERVER);
        let _leaked: Vec<TcpStream> = (0..MANY).map(|_| close_wait(&server)).collect();
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "certain"), me()));
        assert_says(finding, "connections were put aside and not closed (only the FIN is unread on each)");
        assert_eq!(evidence(finding, "unread_bytes"), 0.0);
    });
}

#[test]
fn connections_that_were_read_to_the_end_and_not_closed_are_blamed() {
    in_netns("leaks::connections_that_were_read_to_the_end_and_not_closed_are_blamed", || {
        let server = listen(SERVER);
        let read_to_end = |_| {
            let mut client = hung_up_after(&server, b"a short answer");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).expect("an answer");
            assert_eq!(answer, b"a short answer");
            client
        };
        let _leaked: Vec<TcpStream> = (0..MANY).map(read_to_end).collect();
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "certain"), me()));
        assert_says(finding, "read everything there was, and did not call close()");
        let held = look.close_wait(me());
        assert_eq!((&held["eof_read"], &held["eof_unread"]), (&25.into(), &0.into()));
    });
}

#[test]
fn a_server_that_forgets_its_clients_is_blamed_by_its_port() {
    in_netns("leaks::a_server_that_forgets_its_clients_is_blamed_by_its_port", || {
        let server = listen(SERVER);
        let forget = |_| {
            let (mut client, mut accepted) = connected(&server);
            client.write_all(b"request").expect("writes");
            accepted.read_exact(&mut [0; 7]).expect("reads");
            drop(client);
            accepted
        };
        let _forgotten: Vec<TcpStream> = (0..MANY).map(forget).collect();
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "likely"), me()), "it may be blocked");
        assert_says(finding, "holds 25 sockets in CLOSE-WAIT on port 8086 from 127.0.0.1,");
        assert_says(finding, "does not look at these connections any more");
    });
}

#[test]
fn the_process_that_leaks_is_blamed_and_not_the_one_at_the_other_end() {
    in_netns("leaks::the_process_that_leaks_is_blamed_and_not_the_one_at_the_other_end", || {
        let server = listen(SERVER);
        let leaker = Player::start(&format!("connect {MANY} {SERVER}"), |_| ());
        for _ in 0..MANY {
            drop(server.accept().expect("accepts"));
        }
        wait_for_fins();
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!(blamed(finding), leaker.pid());
        assert_says(finding, &format!("[{}] holds 25 sockets in CLOSE-WAIT to {SERVER}", leaker.pid()));
        assert_eq!(look.close_wait(me())["count"], 0);
        let closed =
            format!("The other end of 25 of them is on this host, in FIN-WAIT-2: its program closed it ({}", ours());
        assert_says(finding, &closed);
        let pair = entry(&look.report, "pairs", "server", &json!(SERVER));
        assert_eq!(
            (&pair["count"], &pair["fin_wait2_orphaned"], &pair["client"]),
            (&json!(25), &json!(25), &json!("127.0.0.1"))
        );
        let end = |end: &str| (pair[end]["holder"].clone(), pair[end]["pid"].clone());
        assert_eq!(end("kept"), (json!("process"), json!(leaker.pid())));
        assert_eq!(end("closed"), (json!("kernel"), json!(me())));
    });
}

#[test]
fn forks_that_share_the_sockets_are_not_blamed_again() {
    in_netns("leaks::forks_that_share_the_sockets_are_not_blamed_again", || {
        let server = listen(SERVER);
        let leaked: Vec<TcpStream> = (0..MANY).map(|_| close_wait(&server)).collect();
        for socket in &leaked {
            fcntl_setfd(socket, FdFlags::empty()).expect("a descriptor may be left open at exec");
        }
        let mut heir = Command::new("sh").args(["-c", "read line"]).stdin(Stdio::piped()).spawn().expect("sh starts");
        for socket in &leaked {
            fcntl_setfd(socket, FdFlags::CLOEXEC).expect("and closed again");
        }
        let look = look_for("close_wait_leak", "1s");
        let finding = look.only("close_wait_leak");
        assert_eq!(blamed(finding), me());
        assert_says(finding, "1 more process holds some of these sockets too, inherited from it");
        let inherited = look.close_wait(heir.id());
        assert_eq!((&inherited["count"], &inherited["inherited"]), (&25.into(), &25.into()));
        assert_eq!(look.report["totals"]["states"]["close_wait"], 25, "each socket counts once");
        drop(heir.stdin.take());
        heir.wait().expect("it ends with its input");
    });
}

#[test]
fn keepalive_hides_the_age_and_not_the_leak() {
    in_netns("leaks::keepalive_hides_the_age_and_not_the_leak", || {
        let server = listen(SERVER);
        let leak = || {
            let (client, server) = connected(&server);
            set_socket_keepalive(&client, true).expect("an option");
            set_tcp_keepidle(&client, Duration::from_secs(1)).expect("an option");
            set_tcp_keepintvl(&client, Duration::from_secs(1)).expect("an option");
            server.shutdown(Shutdown::Write).expect("connected");
            (client, server)
        };
        let (first, when) = timed(leak);
        let mut leaked = vec![first];
        leaked.extend((1..MANY).map(|_| leak()));
        // Each probe is answered within a second of the one before: the lower bound never gets there.
        let all = |look: &Look| look.close_wait(me())["maybe_stuck"] == MANY;
        let look = look_until("all perhaps to be stuck", &["--stuck-after", "3s"], all);
        let finding = look.only("close_wait_leak");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "likely"), me()));
        assert_says(finding, "0 surely older than 3 s, 25 perhaps: answers to keepalive probes");
        assert_says(finding, "Keepalive runs on 25");
        assert_says(finding, &format!("in FIN-WAIT-2: {} shut its side down and still holds it", ours()));
        look.assert_age(me(), when);
        let held = look.close_wait(me());
        assert_eq!(
            (&held["stuck"], &held["maybe_stuck"], &held["oldest_exact"]),
            (&0.into(), &25.into(), &false.into())
        );
    });
}

#[test]
fn bodies_too_large_for_the_buffer_are_blamed_while_the_connection_is_open() {
    in_netns("leaks::bodies_too_large_for_the_buffer_are_blamed_while_the_connection_is_open", || {
        let server = listen(SERVER);
        let stall = |_| {
            let (client, mut server) = connected(&server);
            server.set_nonblocking(true).expect("a socket");
            let full = loop {
                if let Err(error) = server.write(&[b'x'; 65_536]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
            (client, server)
        };
        let _stalled: Vec<_> = (0..12).map(stall).collect();
        let all = |look: &Look| look.process(me())["unread"]["stalled"] == 12;
        let look = look_until("all to be stalled", &["--stuck-after", "1s"], all);
        let finding = look.only("receive_stalled");
        assert_eq!((grade(finding), blamed(finding)), (("warning", "likely"), me()));
        assert_says(finding, "holds 12 connections open whose data nobody reads with 127.0.0.2:8086");
        assert!(evidence(finding, "unread_bytes") > 12.0 * 65_536.0, "{finding:#}");
        look.nothing_of("close_wait_leak");
        assert_eq!(look.report["totals"]["states"]["close_wait"], 0, "the FIN cannot come before the rest of the body");
    });
}

#[test]
fn a_leak_of_mptcp_connections_is_blamed_though_ss_shows_them_as_open() {
    let test = "leaks::a_leak_of_mptcp_connections_is_blamed_though_ss_shows_them_as_open";
    in_netns(test, || {
        let socket = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP));
        let Ok(listener) = socket() else { return skip(test, "needs a kernel with MPTCP, enabled in new namespaces") };
        let address = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 8086);
        rustix::net::bind(&listener, &address).expect("binds");
        rustix::net::listen(&listener, 128).expect("listens");
        let listener = TcpListener::from(listener);
        let leak = |_| {
            let client = socket().expect("a socket");
            rustix::net::connect(&client, &address).expect("connects");
            let mut client = TcpStream::from(client);
            let (mut server, _) = listener.accept().expect("accepts");
            // The first data confirms that the peer speaks MPTCP.
            client.write_all(b"ping").expect("writes");
            server.read_exact(&mut [0; 4]).expect("reads");
            server.write_all(b"pong").expect("writes");
            client.read_exact(&mut [0; 4]).expect("reads");
            client
        };
        let _leaked: Vec<TcpStream> = (0..MANY).map(leak).collect();
        let all = |look: &Look| look.close_wait(me())["mptcp"] == MANY;
        let look = look_until("CLOSE-WAIT of MPTCP", &["--stuck-after", "0s"], all);
        let finding = look.only("close_wait_leak");
        assert_eq!(blamed(finding), me());
        assert_says(finding, "25 are MPTCP connections, whose subflows ss -t shows as ESTAB");
        assert_eq!(crate::support::ss_count("close-wait"), 0);
    });
}

#[test]
fn a_listener_that_does_not_accept_is_blamed_and_nobody_for_a_leak() {
    in_netns("leaks::a_listener_that_does_not_accept_is_blamed_and_nobody_for_a_leak", || {
        let stalled = listen(SERVER);
        let connect_and_leave = || {
            let mut client = TcpStream::connect(SERVER).expect("connects");
            client.write_all(b"request").expect("writes");
        };
        for _ in 0..12 {
            connect_and_leave();
        }
        wait_until("the FINs", || crate::support::ss_count("close-wait") == 12);
        let look = look_for("accept_stalled", "1s");
        let finding = look.only("accept_stalled");
        assert_eq!(grade(finding), ("warning", "certain"));
        assert_eq!((&finding["subject"]["kind"], &finding["subject"]["local"]), (&"listener".into(), &SERVER.into()));
        assert_says(finding, &format!("[{}] does not accept on {SERVER}: 12 connections in CLOSE-WAIT", me()));
        look.nothing_of("close_wait_leak");
        assert_eq!(look.report["unowned"]["close_wait_not_accepted"], 12);
        drop(stalled);
    });
}
