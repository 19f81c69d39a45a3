//! What looks like a leak for a moment or in part, and is none: nobody is blamed, however long one looks.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::stage::{Look, SERVER, connected, grade, look, look_until};
use crate::support::{close_wait, in_netns, listen};

fn me() -> u32 {
    std::process::id()
}

/// The seconds under a name of the row of our CLOSE-WAIT.
fn seconds(look: &Look, bound: &str) -> f64 {
    look.close_wait(me())[bound].as_f64().unwrap_or(0.0)
}

#[test]
fn an_idle_pool_whose_peer_hung_up_is_worth_knowing_only() {
    in_netns("innocent::an_idle_pool_whose_peer_hung_up_is_worth_knowing_only", || {
        let server = listen(SERVER);
        let use_and_keep = |_| {
            let (mut client, mut server) = connected(&server);
            client.write_all(b"request").expect("writes");
            server.read_exact(&mut [0; 7]).expect("reads");
            server.write_all(b"answer").expect("writes");
            client.read_exact(&mut [0; 6]).expect("reads");
            client
        };
        let _pool: Vec<TcpStream> = (0..10).map(use_and_keep).collect();
        let all_stuck = |look: &Look| look.close_wait(me())["stuck"] == 10;
        let look = look_until("ten stuck sockets", &["--stuck-after", "1s"], all_stuck);
        let finding = look.only("close_wait_leak");
        assert_eq!(grade(finding), ("info", "hint"), "{finding:#}");
        assert_eq!(look.report["verdict"], "ok", "{:#}", look.report["findings"]);
        assert!(look.report["headline"].as_str().is_some_and(|line| line.contains("idle pools")));
    });
}

#[test]
fn a_half_close_that_is_written_to_is_not_blamed() {
    in_netns("innocent::a_half_close_that_is_written_to_is_not_blamed", || {
        let server = listen(SERVER);
        let half_close = |_| {
            let (client, server) = connected(&server);
            server.shutdown(Shutdown::Write).expect("connected");
            (client, server)
        };
        let connections: Vec<_> = (0..30).map(half_close).collect();
        let upload = || {
            for (client, server) in &connections {
                let (mut client, mut server): (&TcpStream, &TcpStream) = (client, server);
                client.write_all(b"more").expect("the other half is open");
                server.read_exact(&mut [0; 4]).expect("reads");
            }
        };
        // Busy: every look comes right after a write.
        let options = ["--stuck-after", "2s"];
        let busy = look_until("half-closes of four seconds", &options, |look| {
            look.nothing_of("close_wait_leak");
            upload();
            seconds(look, "oldest_at_most_s") > 4.0
        });
        assert_eq!(busy.close_wait(me())["maybe_half_close"], 30);
        // At rest: the last write is so long ago that the lower bound is over the threshold.
        let slow = look_until("half-closes at rest", &options, |look| seconds(look, "oldest_at_least_s") > 2.5);
        assert_eq!(slow.close_wait(me())["maybe_half_close"], 30);
        slow.nothing_of("close_wait_leak");
    });
}

#[test]
fn a_program_that_closes_late_but_closes_is_not_blamed() {
    in_netns("innocent::a_program_that_closes_late_but_closes_is_not_blamed", || {
        let server = listen(SERVER);
        let (begin, mut held, mut most) = (Instant::now(), VecDeque::new(), 0);
        // Longer than the threshold: by then a leak of the same size would have been found.
        while begin.elapsed() < Duration::from_secs(5) {
            held.extend((0..20).map(|_| (Instant::now(), close_wait(&server))));
            while held.front().is_some_and(|(closed, _)| closed.elapsed() > Duration::from_millis(500)) {
                held.pop_front();
            }
            let look = look(&["--stuck-after", "4s"]);
            look.nothing_of("close_wait_leak");
            most = most.max(look.close_wait(me())["count"].as_u64().expect("a count"));
        }
        assert!(most >= 20, "there were {most} at most");
    });
}

#[test]
fn a_burst_that_is_accepted_a_little_later_is_not_blamed() {
    in_netns("innocent::a_burst_that_is_accepted_a_little_later_is_not_blamed", || {
        let server = listen(SERVER);
        for _ in 0..40 {
            drop(TcpStream::connect(SERVER).expect("connects"));
        }
        let waiting = |look: &Look| look.report["unowned"]["close_wait_not_accepted"] == 40;
        let look = look_until("all to wait", &["--stuck-after", "10m"], waiting);
        look.nothing_of("accept_stalled");
        look.nothing_of("close_wait_leak");
        drop(server);
    });
}
