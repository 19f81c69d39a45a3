//! Ports and descriptors that run out: told at the thresholds, and what is told to fail really fails.

use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::{Value, json};

use crate::roles::FEW_DESCRIPTORS;
use crate::stage::{Look, SERVER, assert_says, blamed, connected, evidence, grade, look, look_until};
use crate::support::neighbour::{HERE, Neighbour, THERE};
use crate::support::player::Player;
use crate::support::{can_make_veth, close_wait, entry, in_netns, listen, set_sysctl, skip, wait_until};

fn me() -> u32 {
    std::process::id()
}

/// Hands out 100 ports in the namespace of the test.
fn hundred_ports() {
    set_sysctl("net.ipv4.ip_local_port_range", "40000 40099");
}

#[test]
fn a_pool_is_told_at_half_at_four_fifths_and_when_connect_fails() {
    in_netns("limits::a_pool_is_told_at_half_at_four_fifths_and_when_connect_fails", || {
        hundred_ports();
        let (server, other) = (listen(SERVER), listen("127.0.0.2:8087"));
        let mut open = Vec::new();
        let mut look_at = |used: usize| {
            open.extend((open.len()..used).map(|_| connected(&server)));
            look(&[])
        };
        look_at(49).nothing_of("port_pool");
        for (used, expected) in [(50, "warning"), (79, "warning"), (80, "critical"), (99, "critical")] {
            let look = look_at(used);
            let finding = look.only("port_pool");
            assert_eq!(grade(finding), (expected, "certain"), "{used} of 100");
            assert_says(finding, &format!("to {SERVER}: {used} of 100 used, {} left", 100 - used));
            assert_says(finding, &format!("[{}]", me()));
        }
        let look = look_at(100);
        let finding = look.only("port_pool");
        assert_eq!(grade(finding), ("critical", "certain"));
        assert_says(finding, "none left; connect() fails now with EADDRNOTAVAIL");
        let error = TcpStream::connect(SERVER).expect_err("no port is left");
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL), "{error}");
        assert_says(finding, "Only this destination is short of ports");
        connected(&other);
    });
}

#[test]
fn a_leak_and_the_pool_it_drains_are_told_in_one_sentence() {
    in_netns("limits::a_leak_and_the_pool_it_drains_are_told_in_one_sentence", || {
        hundred_ports();
        let server = listen(SERVER);
        let _leaked: Vec<TcpStream> = (0..100).map(|_| close_wait(&server)).collect();
        let leak = |look: &Look| look.of("close_wait_leak").iter().any(|found| found["severity"] == "warning");
        let look = look_until("the leak", &["--stuck-after", "1s"], leak);
        let headline = look.report["headline"].as_str().expect("a sentence");
        let pool = "all 100 used, none left; connect() fails now with EADDRNOTAVAIL";
        assert!(headline.contains(pool), "{headline}");
        assert!(headline.ends_with(&format!("[{}] holds 100 in CLOSE-WAIT", me())), "{headline}");
    });
}

#[test]
fn ports_that_bind_took_are_told_once_for_all_destinations() {
    in_netns("limits::ports_that_bind_took_are_told_once_for_all_destinations", || {
        hundred_ports();
        let servers = [listen(SERVER), listen("127.0.0.2:8087")];
        let _open = servers.each_ref().map(connected);
        let bound = |_| {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let socket = socket.expect("a socket");
            let anywhere: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            bind(&socket, &anywhere).expect("binds");
            socket
        };
        let _bound: Vec<_> = (0..98).map(bound).collect();
        let look = look(&[]);
        let finding = look.only("port_pool");
        assert_eq!(grade(finding), ("critical", "certain"));
        assert_says(finding, "98 ports are taken by sockets that were bound with bind() or listen");
        assert_says(finding, "2 pools of this namespace are short of ports alike");
    });
}

#[test]
fn descriptors_are_told_at_seven_and_nine_tenths_and_when_calls_fail() {
    in_netns("limits::descriptors_are_told_at_seven_and_nine_tenths_and_when_calls_fail", || {
        for (role, expected) in [
            ("descriptors 69", None),
            ("descriptors 70", Some("warning")),
            ("descriptors 89", Some("warning")),
            ("descriptors 90", Some("critical")),
            ("exhaust-descriptors", Some("critical")),
        ] {
            let player = Player::start(role, |_| ());
            let look = look(&[]);
            let Some(severity) = expected else {
                look.nothing_of("fd_limit");
                continue;
            };
            let finding = look.only("fd_limit");
            assert_eq!((grade(finding), blamed(finding)), ((severity, "certain"), player.pid()), "{role}");
            assert_eq!(evidence(finding, "fds_limit"), FEW_DESCRIPTORS as f64);
            if role == "exhaust-descriptors" {
                // Those that it was born with may have numbers beyond the limit.
                assert!(evidence(finding, "fds_open") >= FEW_DESCRIPTORS as f64);
                assert_says(finding, "with EMFILE");
            }
        }
    });
}

#[test]
fn time_wait_is_churn_until_it_may_be_taken_over() {
    in_netns("limits::time_wait_is_churn_until_it_may_be_taken_over", || {
        hundred_ports();
        set_sysctl("net.ipv4.tcp_tw_reuse", "0");
        let server = listen(SERVER);
        let churn = |count: usize| {
            for _ in 0..count {
                let (client, accepted) = connected(&server);
                drop(client);
                wait_until("the FIN", || matches!(accepted.peek(&mut [0]), Ok(0)));
                drop(accepted);
            }
            wait_until("TIME-WAIT", || crate::support::ss_count("last-ack") == 0);
        };
        churn(49);
        look(&[]).nothing_of("time_wait_churn");
        churn(11);
        let seen = look(&[]);
        let finding = seen.only("time_wait_churn");
        assert_eq!(grade(finding), ("warning", "likely"));
        assert_says(finding, "TIME-WAIT holds 60 of 100 ports (60 %)");
        assert_says(finding, "about 1 connections a second are closed here");
        // What the report recommends makes the ports usable, and the finding goes.
        let command =
            finding["remedies"].as_array().expect("a list").iter().find_map(|remedy| remedy["command"].as_str());
        assert_eq!(command, Some("sysctl -w net.ipv4.tcp_tw_reuse=1"));
        set_sysctl("net.ipv4.tcp_tw_reuse", "1");
        let usable = |look: &Look| entry(&look.report, "port_pools", "destination", &json!(SERVER))["remaining"] == 100;
        look_until("every TIME-WAIT to be a second old", &[], usable).nothing_of("time_wait_churn");
        // The kernel may count a tick longer than its tables tell.
        let mut again = Vec::new();
        wait_until("each of them to be taken over", || {
            again.extend(TcpStream::connect(SERVER).ok());
            again.len() == 100
        });
    });
}

#[test]
fn a_nat_budget_is_shared_by_all_that_leaves_and_by_nothing_that_stays() {
    let test = "limits::a_nat_budget_is_shared_by_all_that_leaves_and_by_nothing_that_stays";
    if !can_make_veth() {
        return skip(test, "needs a veth pair, so that there is another host");
    }
    in_netns(test, || {
        let neighbour = Neighbour::linked();
        let there = neighbour.visit(|| listen(&format!("{THERE}:443")));
        let (here, at_home) = (listen(&format!("{HERE}:8000")), listen(SERVER));
        let mut open: Vec<_> = (0..49).map(|_| connected(&there)).collect();
        open.extend((0..70).flat_map(|_| [connected(&at_home), connected(&here)]));
        // Clients from there share no budget of ours.
        let clients: Vec<_> = (0..70)
            .map(|_| (neighbour.visit(|| TcpStream::connect((HERE, 8000)).expect("connects")), here.accept()))
            .collect();
        assert_eq!(look(&[]).report["snat"], json!([]));
        let budget = ["--snat-limit", "100"];
        look(&budget).nothing_of("snat_budget");
        open.push(connected(&there));
        let look = look(&budget);
        let finding = look.only("snat_budget");
        assert_eq!(grade(finding), ("warning", "likely"));
        assert_says(finding, &format!("NAT ports to {THERE}:443: 50 of 100 used, at most 50 left"));
        assert_eq!(finding["subject"], json!({"kind": "snat", "destination": format!("{THERE}:443")}));
        let rows = look.report["snat"].as_array().expect("a list");
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!((&rows[0]["used"], &rows[0]["holders"][0]["pid"]), (&json!(50), &json!(me())));
        drop(clients);
    });
}

/// The port that a finding's remedy would reserve, as the kernel takes it.
fn reservation(finding: &Value) -> &str {
    let remedies = finding["remedies"].as_array().expect("a list");
    let command = remedies.iter().find_map(|remedy| remedy["command"].as_str()).expect("a command");
    command.strip_prefix("sysctl -w net.ipv4.ip_local_reserved_ports=").expect("it reserves")
}

#[test]
fn a_service_inside_the_range_is_told_until_its_port_is_reserved() {
    in_netns("limits::a_service_inside_the_range_is_told_until_its_port_is_reserved", || {
        hundred_ports();
        let server = listen(SERVER);
        // A port that the kernel chose can be another one the next time.
        let chosen = TcpListener::bind("127.0.0.1:0").expect("listens");
        look(&[]).nothing_of("range_conflict");
        let port = if chosen.local_addr().expect("bound").port() == 40_050 { 40_051 } else { 40_050 };
        let service = TcpListener::bind(("127.0.0.1", port)).expect("listens");
        let seen = look(&[]);
        let finding = seen.only("range_conflict");
        assert_eq!(grade(finding), ("info", "certain"));
        assert_says(finding, &format!("1 listener is inside the ephemeral range and not reserved: {port} of "));
        // In a range that is half used it is likely that somebody gets the port while the service restarts.
        let _open: Vec<_> = (0..60).map(|_| connected(&server)).collect();
        let crowded = look(&[]);
        assert_eq!(grade(crowded.only("range_conflict")), ("warning", "likely"));
        let reserved = reservation(crowded.only("range_conflict"));
        assert_eq!(reserved, port.to_string());
        set_sysctl("net.ipv4.ip_local_reserved_ports", reserved);
        look(&[]).nothing_of("range_conflict");

        // The service stops, everybody connects, and the service starts again: as it was told.
        let restart = || TcpListener::bind(("127.0.0.1", port));
        let connect_all = || std::iter::from_fn(|| TcpStream::connect(SERVER).ok()).collect::<Vec<_>>();
        drop(service);
        let _others = connect_all();
        drop(restart().expect("nobody has the port"));
        set_sysctl("net.ipv4.ip_local_reserved_ports", "\n");
        let on_it = connect_all();
        assert_eq!(on_it.len(), 1);
        let taken = restart().expect_err("somebody has got the port");
        assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE), "{taken}");
    });
}

/// A connection from a port of the program's own choice.
#[test]
fn connections_from_a_port_by_name_are_counted_as_taken() {
    in_netns("limits::connections_from_a_port_by_name_are_counted_as_taken", || {
        hundred_ports();
        let server = listen(SERVER);
        let named = |port: u16| {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let socket = socket.expect("a socket");
            let from: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
            bind(&socket, &from).expect("binds");
            connect(&socket, &server.local_addr().expect("bound")).expect("connects");
            socket
        };
        let _named: Vec<_> = (40_000..40_060).map(named).collect();
        let look = look(&[]);
        let finding = look.only("port_pool");
        assert_eq!(grade(finding), ("warning", "certain"));
        assert_eq!(evidence(finding, "ports_blocked"), 60.0);
    });
}
