//! `probe leak`: every variant makes the disease that it is named for, and another closewatch sees it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{closewatch, entry, json_of, text, wait_until};
use crate::{assert_confirmed, has_namespaces, observed, outcome, outcome_for_nobody, probe};

const ISOLATED: [&str; 6] = ["leak", "--isolated", "--count", "20", "--hold", "1ms"];

/// What the variant leaves in each receive queue, the FIN counted.
#[test]
fn every_variant_makes_the_disease_that_it_is_named_for() {
    const TEST: &str = "leak::every_variant_makes_the_disease_that_it_is_named_for";
    if !has_namespaces(TEST) {
        return;
    }
    for (options, end, queue) in [
        (&["--variant", "unread-body"][..], "client", "1,025 in every"),
        (&["--variant", "eof-read"], "client", "0 in every"),
        (&["--variant", "keepalive"], "client", "1,025 in every"),
        (&["--variant", "tls-pooled"], "client", "25 in every"),
        (&["--variant", "forked-children"], "client", "1,025 in every"),
        (&["--variant", "accept-stalled"], "server", ""),
        (&["--variant", "unread-body", "--closes", "client"], "server", "1,025 in every"),
        (&["--variant", "eof-read", "--closes", "client"], "server", "0 in every"),
        (&["--variant", "keepalive", "--closes", "client"], "server", "1 in every"),
        (&["--http", "1.0"], "client", "1,025 in every"),
        (&["--http", "1.0", "--framing", "until-close"], "client", "1,025 in every"),
        (&["--framing", "until-close"], "client", "1,025 in every"),
        // Two chunks of 512 bytes, their sizes and line ends, and the empty one.
        (&["--framing", "chunked"], "client", "1,044 in every"),
        (&["--listen", "[::1]:0"], "client", "1,025 in every"),
    ] {
        let args: Vec<&str> = ISOLATED.iter().chain(options).copied().collect();
        let outcome = outcome(probe(&args));
        assert_confirmed(&outcome);
        let outcome = &outcome.0;
        assert_eq!(observed(outcome, "close-wait"), format!("20 in CLOSE-WAIT at the {end}"), "{options:?}");
        assert!(observed(outcome, "kind").starts_with(queue), "{options:?}: {outcome:#}");
        let holders = if options.contains(&"forked-children") { 2 } else { 1 };
        assert_eq!(outcome["holders"].as_array().map(Vec::len), Some(holders), "{options:?}: {outcome:#}");
    }
}

#[test]
fn a_user_without_privilege_has_it_in_a_user_namespace() {
    const TEST: &str = "leak::a_user_without_privilege_has_it_in_a_user_namespace";
    if !has_namespaces(TEST) {
        return;
    }
    let Some(outcome) = outcome_for_nobody(TEST, &ISOLATED) else { return };
    assert_confirmed(&outcome);
}

/// A leak that is held, and the line that tells its holder.
struct Leak {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    told: Vec<String>,
}

impl Leak {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("closewatch starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut told = Vec::new();
        while told.last().is_none_or(|line: &String| !line.starts_with("holding")) {
            told.push(lines.next().unwrap_or_else(|| panic!("it holds: {told:?}")).expect("text"));
        }
        Self { child, lines, told }
    }

    fn holder(&self) -> u32 {
        let line = self.told.iter().find(|line| line.starts_with("  pid ")).expect("a holder");
        line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("a pid")
    }

    fn server(&self) -> String {
        let line = self.told.iter().find(|line| line.starts_with("leaking ")).expect("a beginning");
        line.split(" to ").nth(1).and_then(|rest| rest.split(": ").next()).expect("an address").to_owned()
    }

    /// Sends the signal; the lines that came after it, and the status.
    fn end(mut self, signal: Signal) -> (Vec<String>, Option<i32>) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
        let rest = self.lines.by_ref().map(|line| line.expect("text")).collect();
        (rest, self.child.wait().expect("it ends").code())
    }
}

/// The report of another closewatch on the namespace of the process.
fn report_on(pid: u32) -> Value {
    json_of(closewatch().args(["report", "--json", "--stuck-after", "0s", "--netns", &pid.to_string()]))
}

#[test]
fn another_closewatch_sees_it_and_a_signal_releases_it() {
    const TEST: &str = "leak::another_closewatch_sees_it_and_a_signal_releases_it";
    if !has_namespaces(TEST) || !crate::support::is_root() {
        return crate::support::skip(TEST, "needs root, to look into the namespace from outside");
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let leak = Leak::start(probe(&["leak", "--isolated", "--count", "30", "--hold", "10m"]));
        let (holder, server) = (leak.holder(), leak.server());
        let report = report_on(holder);
        let process = entry(&report, "processes", "pid", &holder.into());
        assert_eq!(process["close_wait"]["count"], 30, "{process:#}");
        assert_eq!(process["close_wait"]["destinations"][0]["address"], server.as_str(), "{process:#}");
        assert_eq!(process["name"], "probe-client");
        let (rest, status) = leak.end(signal);
        assert_eq!(status, Some(0), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains("released: 0 in CLOSE-WAIT")), "{rest:?}");
        assert_eq!(rest.last().map(String::as_str), Some("confirmed"));
        wait_until("the holder to be gone", || !std::path::Path::new(&format!("/proc/{holder}")).exists());
    }
}

#[test]
fn a_server_of_the_operators_own_is_leaked_against() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
            let head: Vec<String> =
                lines.by_ref().map(|line| line.expect("text")).take_while(|line| !line.is_empty()).collect();
            assert!(
                head[0].starts_with("GET /some/path?x HTTP/1.1") && head[1].starts_with("Host: localhost:"),
                "{head:?}"
            );
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            std::io::Write::write_all(&mut stream, answer).expect("it listens");
        }
    });
    let url = format!("http://localhost:{}/some/path?x", server.port());
    let outcome = outcome(probe(&["leak", "--count", "5", "--hold", "1ms", "--target", &url]));
    assert_confirmed(&outcome);
    assert_eq!(outcome.0["destination"], server.to_string());
}

#[test]
fn a_rate_is_kept() {
    let began_at = std::time::Instant::now();
    let output = probe(&["leak", "--count", "5", "--rate", "10", "--hold", "1ms"]).output().expect("closewatch starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Five at a tenth of a second each: the last begins after four of them.
    assert!(began_at.elapsed() >= std::time::Duration::from_millis(400), "{:?}", began_at.elapsed());
}
