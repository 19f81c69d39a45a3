//! What the tests share: namespaces of their own, loud skips, and the words of `ss`.
#![allow(dead_code, unreachable_pub, reason = "every test file compiles this module and uses its own part of it")]

pub mod crowd;
pub mod neighbour;
pub mod nobody;
pub mod player;
pub mod saved;
pub mod service;
pub mod slow;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Set in the copy of the test program that runs inside a namespace.
const INSIDE: &str = "CLOSEWATCH_TEST_INSIDE";
/// Set by CI: a skip is a failure there.
const REQUIRED: &str = "CLOSEWATCH_TESTS_REQUIRED";

/// Says aloud that a test did not run, also when the test runner captures what tests print; fails where skips are
/// forbidden.
pub fn skip(test: &str, reason: &str) {
    let line = format!("\nSKIPPED {test}: {reason}\n");
    // The runner captures the print macros, not the stream.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written to");
    assert!(std::env::var_os(REQUIRED).is_none(), "{test} was skipped where it is required: {reason}");
}

/// Whether the program can be started; the caller skips when not.
pub fn has_program(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok() || Command::new(program).arg("-V").output().is_ok()
}

/// Whether the tests run as root of the initial user namespace or of a full-powered one.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the kernel has veth pairs.
pub fn can_make_veth() -> bool {
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    let mut unshare = Command::new("unshare");
    unshare.arg("--net").args(user).args(["ip", "link", "add", "type", "veth"]);
    unshare.output().is_ok_and(|output| output.status.success())
}

/// Runs `body` in a fresh network namespace whose loopback is up, in a process of its own: a namespace belongs to a
/// process, and the test runner's threads must stay out of it. Not root: in a fresh user namespace too.
///
/// `test` is the full name of the calling test, so that the copy runs that one only.
pub fn in_netns(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    for program in ["unshare", "ip", "ss"] {
        if !has_program(program) {
            return skip(test, &format!("needs the program `{program}`"));
        }
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if !is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let allowed = Command::new("unshare").args(unshare.get_args()).arg("true").output().expect("unshare starts");
    if !allowed.status.success() {
        return skip(test, &format!("needs a network namespace: {}", text(&allowed.stderr)));
    }
    let output = unshare
        .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("the test program has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare starts");
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "inside the namespace:\n{stdout}\n{}", text(&output.stderr));
    assert!(stdout.contains("1 passed"), "the name {test} found no test:\n{stdout}");
    // What the copy skipped or measured must be heard here too.
    let said = text(&output.stderr);
    for line in said.lines().filter(|line| line.starts_with("SKIPPED") || line.starts_with("MEASURED")) {
        std::io::stderr().write_all(format!("\n{line}\n").as_bytes()).expect("stderr can be written to");
    }
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program under test.
pub fn closewatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_closewatch"));
    // Never the history of the host that runs the tests.
    command.env("STATE_DIRECTORY", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command
}

/// Runs a command that must succeed.
pub fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
    output
}

/// Sets a sysctl of the namespace that the test runs in.
pub fn set_sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
}

/// Waits until `condition` holds; fails after the deadline with what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited 30 s for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many sockets `ss -tan` counts in each state, by the spelling of `ss`.
pub fn ss_states() -> BTreeMap<String, u64> {
    let output = run("ss", &["-Htan"]);
    let mut states = BTreeMap::new();
    for line in text(&output.stdout).lines() {
        let state = line.split_whitespace().next().expect("a row of ss begins with its state");
        *states.entry(state.to_owned()).or_insert(0) += 1;
    }
    states
}

/// What `look` sees while `ss` counts the same before and after it: an ACK may be delayed by 40 ms, and what is compared
/// must have stood still meanwhile.
pub fn while_still<T>(look: impl Fn() -> T) -> (T, BTreeMap<String, u64>) {
    let mut before = ss_states();
    let mut seen = look();
    wait_until("the sockets to stand still", || {
        let after = ss_states();
        let still = after == before;
        if !still {
            (before, seen) = (after, look());
        }
        still
    });
    (seen, before)
}

/// Waits until every FIN is acknowledged: an ACK may be delayed by 40 ms, and states change with it.
pub fn settle() {
    wait_until("every FIN to be acknowledged", || ss_count("fin-wait-1") == 0);
}

/// How many sockets `ss` counts in one state, named as its filter names it (`close-wait`).
pub fn ss_count(state: &str) -> usize {
    let output = run("ss", &["-Htan", "state", state]);
    text(&output.stdout).lines().count()
}

/// A connection on which the peer has closed: what is returned is in CLOSE-WAIT until it is dropped.
pub fn close_wait(listener: &TcpListener) -> TcpStream {
    let client = TcpStream::connect(listener.local_addr().expect("a bound address")).expect("connects");
    let (peer, _) = listener.accept().expect("accepts");
    drop(peer);
    client
}

/// A listener on a free port of the address.
pub fn listen(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().expect("an address");
    TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"))
}

/// Lets this process open as many descriptors as the machine allows.
pub fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("the hard limit may be reached");
}

/// What `closewatch report --netns current --json` prints with these further options, parsed.
pub fn report_json(options: &[&str]) -> serde_json::Value {
    json_of(closewatch().args(["report", "--netns", "current", "--json"]).args(options))
}

/// The JSON that a command prints; it must succeed and keep stderr empty.
pub fn json_of(command: &mut Command) -> serde_json::Value {
    let output = command.output().expect("closewatch starts");
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing on stderr beside a report");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The entry of a list of the report for which the field has this value.
pub fn entry<'a>(
    report: &'a serde_json::Value,
    list: &str,
    field: &str,
    value: &serde_json::Value,
) -> &'a serde_json::Value {
    let found = report[list].as_array().expect("a list").iter().find(|entry| entry[field] == *value);
    found.unwrap_or_else(|| panic!("no entry of {list} has {field} = {value}: {:#}", report[list]))
}

/// Holds the counts of a report's states against those of `ss -tan`.
pub fn assert_states_match_ss(states: &serde_json::Value, ss: &BTreeMap<String, u64>) {
    let spellings = [
        ("established", "ESTAB"),
        ("syn_sent", "SYN-SENT"),
        ("syn_recv", "SYN-RECV"),
        ("fin_wait1", "FIN-WAIT-1"),
        ("fin_wait2", "FIN-WAIT-2"),
        ("time_wait", "TIME-WAIT"),
        ("close_wait", "CLOSE-WAIT"),
        ("last_ack", "LAST-ACK"),
        ("listen", "LISTEN"),
        ("closing", "CLOSING"),
    ];
    for (token, label) in spellings {
        assert_eq!(
            states[token].as_u64(),
            Some(ss.get(label).copied().unwrap_or(0)),
            "{token}: {states} against {ss:?}"
        );
    }
}
