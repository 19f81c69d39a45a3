//! A leak that runs into the wall, watched by a check every second: the moment that was predicted comes true.

mod support;

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{closewatch, in_netns, listen, set_sysctl, text};

/// The ports that there are.
const PORTS: u16 = 2_000;
/// One leaked socket every so often: 20 a second.
const PACE: Duration = Duration::from_millis(50);
/// One check every so often.
const EVERY: Duration = Duration::from_secs(1);

/// Leaks until no port is left; then says when that was. The sockets stay until the receiver is gone.
fn leak_to_the_wall(server: TcpListener) -> Receiver<Instant> {
    let (told, wall) = channel();
    let address: SocketAddr = server.local_addr().expect("bound");
    thread::spawn(move || {
        let begin = Instant::now();
        let mut held = Vec::new();
        loop {
            let due = begin + PACE * held.len() as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            match TcpStream::connect(address) {
                Ok(client) => {
                    let (peer, _) = server.accept().expect("accepts");
                    // In two steps: see benches/rivals.rs.
                    peer.shutdown(Shutdown::Write).expect("shuts");
                    held.push(client);
                }
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => break,
                Err(error) => panic!("after {}: {error}", held.len()),
            }
        }
        told.send(Instant::now()).expect("awaited");
        thread::park();
        drop(held);
    });
    wall
}

/// What one check says: its whole report, and the seconds that are left to the wall of the ports.
fn check(history: &str) -> (Value, Option<f64>) {
    let args = ["check", "--netns", "current", "--history", history, "--stuck-after", "1s", "--json"];
    let output = closewatch().args(args).output().expect("starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}, {}", output.status, text(&output.stderr)));
    assert_eq!(report["history"]["notes"], json!([]), "{:#}", report["history"]);
    let walls = report["walls"].as_array().expect("a list");
    let ports = walls.iter().find(|wall| wall["kind"] == "ports");
    let eta = ports.and_then(|wall| wall["eta_s"].as_f64());
    (report, eta)
}

#[test]
fn the_moment_at_which_the_ports_run_out_is_predicted() {
    in_netns("the_moment_at_which_the_ports_run_out_is_predicted", || {
        support::raise_descriptor_limit();
        set_sysctl("net.ipv4.ip_local_port_range", &format!("40000 {}", 40_000 + PORTS - 1));
        let directory = tempfile::tempdir().expect("a directory");
        let history = directory.path().join("history.db").display().to_string();
        let begin = Instant::now();
        let wall = leak_to_the_wall(listen("127.0.0.2:8086"));
        let mut predictions: Vec<(Instant, Option<f64>)> = Vec::new();
        let came = loop {
            let asked = Instant::now();
            let (report, eta) = check(&history);
            predictions.push((asked, eta));
            if eta.is_some_and(|eta| eta < 20.0) {
                let headline = report["headline"].as_str().expect("a sentence");
                assert!(headline.contains("are gone in about"), "{headline}");
                assert_eq!(report["verdict"], "critical", "{headline}");
            }
            match wall.recv_timeout((asked + EVERY).saturating_duration_since(Instant::now())) {
                Ok(came) => break came,
                Err(RecvTimeoutError::Timeout) => assert!(begin.elapsed() < Duration::from_secs(300), "no wall"),
                Err(error) => panic!("the leak ended: {error}"),
            }
        };
        judge(begin, came, &predictions);
        let (report, _) = check(&history);
        let ports = report["port_pools"][0].clone();
        assert_eq!((&ports["used"], &ports["remaining"]), (&json!(PORTS), &json!(0)));
    });
}

/// Every prediction from half-way on is off by no more than 15 % of what was left then, or by one check.
fn judge(begin: Instant, came: Instant, predictions: &[(Instant, Option<f64>)]) {
    let half = begin + (came - begin) / 2;
    let first = predictions.iter().find(|(_, eta)| eta.is_some()).map(|(asked, _)| (*asked - begin).as_secs_f64());
    let late: Vec<_> = predictions.iter().filter(|(asked, _)| *asked >= half).collect();
    assert!(late.len() > 20, "{} checks from half-way on", late.len());
    let mut worst = 0.0_f64;
    for (asked, eta) in late {
        let left = came.saturating_duration_since(*asked).as_secs_f64();
        let eta = eta.unwrap_or_else(|| panic!("nothing predicted {left:.1} s before"));
        let off = (eta - left).abs();
        assert!(off <= (0.15 * left).max(EVERY.as_secs_f64()), "{left:.1} s before it said {eta:.1} s");
        worst = worst.max(off / left.max(EVERY.as_secs_f64()));
    }
    let line = format!(
        "MEASURED the wall came after {:.1} s; first predicted after {:.1} s; from half-way on off by at most {:.0} %\n",
        (came - begin).as_secs_f64(),
        first.unwrap_or(f64::NAN),
        worst * 100.0
    );
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("stderr can be written to");
}
