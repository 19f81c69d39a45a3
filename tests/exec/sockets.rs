//! Every kind of neglect, by programs of a few lines; and what is none.
//!
//! Each stays for long enough that a machine which is busy with other things looks several times.

use serde_json::{Value, json};

use crate::server;
use crate::support::{has_program, skip, text};
use crate::verdict;

/// Runs the Python program with `PORT` in place, watched with a grace of half a second.
fn watch(test: &str, options: &[&str], program: &str) -> Option<(Option<i32>, Value)> {
    if !has_program("python3") {
        skip(test, "needs python3");
        return None;
    }
    let server = server::start();
    let prelude = format!("import os, socket, sys, time\nSERVER = ('127.0.0.1', {})\n{ASK}", server.port());
    let options: Vec<&str> = ["--grace", "500ms", "--interval", "100ms"].iter().chain(options).copied().collect();
    let (output, verdict) = verdict(&options, &["python3", "-c", &format!("{prelude}\n{program}")]);
    assert_eq!(text(&output.stderr), "", "{verdict:#}");
    Some((output.status.code(), with_server(verdict, &server.to_string())))
}

const ASK: &str = "
def ask(path):
    s = socket.create_connection(SERVER)
    s.sendall(b'GET ' + path + b' HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    return s
";

/// The verdict with `SERVER` in place of the server's address.
fn with_server(verdict: Value, server: &str) -> Value {
    serde_json::from_str(&verdict.to_string().replace(server, "SERVER")).expect("JSON")
}

/// Kind, direction, destination and number of each leak.
fn leaks(verdict: &Value) -> Vec<Value> {
    let leaks = verdict["leaks"].as_array().expect("a list");
    leaks.iter().map(|leak| json!([leak["kind"], leak["direction"], leak["destination"], leak["sockets"]])).collect()
}

#[test]
fn each_neglect_is_told_by_what_lies_in_the_queue() {
    const TEST: &str = "sockets::each_neglect_is_told_by_what_lies_in_the_queue";
    let program = "
unread = [ask(b'/1000') for _ in range(3)]
read = [ask(b'/1000') for _ in range(2)]
for s in read:
    while s.recv(65536): pass
exact = ask(b'/late')
while not exact.recv(65536).endswith(b'..........'): pass
time.sleep(4)";
    let Some((status, verdict)) = watch(TEST, &["--fail-on-leak"], program) else { return };
    let expected = [
        json!(["body_unread", "outbound", "SERVER", 3]),
        json!(["eof_read", "outbound", "SERVER", 2]),
        json!(["eof_unread", "outbound", "SERVER", 1]),
    ];
    assert_eq!(leaks(&verdict), expected, "{verdict:#}");
    assert_eq!((status, verdict["leaked"].as_u64()), (Some(2), Some(6)));
    let oldest = verdict["leaks"][0]["oldest_s"].as_f64().expect("a number");
    assert!((0.5..60.0).contains(&oldest), "{verdict:#}");
}

#[test]
fn a_reset_that_nobody_cleans_up_is_a_ghost_with_its_destination() {
    const TEST: &str = "sockets::a_reset_that_nobody_cleans_up_is_a_ghost_with_its_destination";
    // Silent at first, so that a look sees the connection while it is one.
    let program = "
kept = [socket.create_connection(SERVER) for _ in range(2)]
time.sleep(4)
for s in kept: s.sendall(b'GET /reset HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
time.sleep(6)";
    let Some((_, verdict)) = watch(TEST, &[], program) else { return };
    assert_eq!(leaks(&verdict), [json!(["ghost", "outbound", "SERVER", 2])], "{verdict:#}");
}

#[test]
fn what_waits_for_accept_belongs_to_who_listens() {
    const TEST: &str = "sockets::what_waits_for_accept_belongs_to_who_listens";
    let program = "
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(4): socket.create_connection(listener.getsockname()).close()
time.sleep(4)";
    let Some((_, verdict)) = watch(TEST, &[], program) else { return };
    let leaks = leaks(&verdict);
    assert_eq!(leaks.len(), 1, "{verdict:#}");
    assert_eq!((&leaks[0][0], &leaks[0][1], &leaks[0][3]), (&json!("not_accepted"), &json!("inbound"), &json!(4)));
}

#[test]
fn children_and_orphans_belong_to_the_command() {
    const TEST: &str = "sockets::children_and_orphans_belong_to_the_command";
    let program = "
if os.fork() == 0:
    if os.fork() == 0:
        kept = ask(b'/1000')
        time.sleep(4)
    os._exit(0)
kept = [ask(b'/10'), ask(b'/10')] if os.fork() == 0 else None
time.sleep(5)";
    let Some((_, verdict)) = watch(TEST, &[], program) else { return };
    let pids: std::collections::BTreeSet<u64> =
        verdict["leaks"].as_array().expect("a list").iter().filter_map(|leak| leak["pid"].as_u64()).collect();
    assert_eq!((verdict["leaked"].as_u64(), pids.len()), (Some(3), 2), "{verdict:#}");
}

#[test]
fn what_is_closed_in_time_or_was_there_before_is_no_leak() {
    const TEST: &str = "sockets::what_is_closed_in_time_or_was_there_before_is_no_leak";
    let program = "
for _ in range(10):
    s = ask(b'/1000')
    time.sleep(0.1)
    s.close()
still_open = socket.create_connection(SERVER)
time.sleep(4)";
    let Some((status, verdict)) = watch(TEST, &["--fail-on-leak"], program) else { return };
    assert_eq!((status, leaks(&verdict)), (Some(0), Vec::new()), "{verdict:#}");
    assert!(verdict["looks"].as_u64() > Some(2), "{verdict:#}");
}
