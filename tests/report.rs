//! The report of a real namespace with a real leak, held against `ss` and against what the test itself did.

mod support;

use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};
use support::{assert_states_match_ss, close_wait, entry, in_netns, listen, report_json};

/// One of every state that keeps still while it is looked at.
struct Mixture {
    _kept: Vec<TcpStream>,
    _listeners: Vec<TcpListener>,
}

fn mixture() -> Mixture {
    let v4 = listen("127.0.0.1:9001");
    let v6 = listen("[::1]:9002");
    let mut kept = Vec::new();
    for listener in [&v4, &v6] {
        for _ in 0..3 {
            kept.push(TcpStream::connect(listener.local_addr().expect("bound")).expect("connects"));
            kept.push(listener.accept().expect("accepts").0);
        }
        let first = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let second = listener.accept().expect("accepts").0;
        drop(first);
        support::wait_until("the FIN arrives", || support::ss_count("close-wait") > 0);
        drop(second);
        support::wait_until("TIME-WAIT", || support::ss_count("close-wait") == 0);
    }
    Mixture { _kept: kept, _listeners: vec![v4, v6] }
}

#[test]
fn five_thousand_close_wait_are_counted_named_and_dated() {
    in_netns("five_thousand_close_wait_are_counted_named_and_dated", || {
        support::raise_descriptor_limit();
        let _mixture = mixture();
        let server = listen("127.0.0.2:8086");
        let (before_first, first) = (Instant::now(), close_wait(&server));
        let after_first = Instant::now();
        let mut leaked = vec![first];
        leaked.extend((1..5_000).map(|_| close_wait(&server)));
        // An orphan whose FIN was acknowledged while close() still owned it ends its FIN-WAIT-2 with a reset (kernel
        // tcp_keepalive_timer), and takes our CLOSE-WAIT with it: look before tcp_fin_timeout, 60 s, is over.
        support::settle();

        let asked = Instant::now();
        let report = report_json(&[]);
        let answered = Instant::now();
        let ss = support::ss_states();

        assert_states_match_ss(&report["totals"]["states"], &ss);
        assert_eq!(report["totals"]["states"]["close_wait"], json!(5_000));
        assert_eq!(report["totals"]["sockets"].as_u64(), Some(ss.values().sum()), "{ss:?}");
        let me = entry(&report, "processes", "pid", &json!(std::process::id()));
        let leak = &me["close_wait"];
        assert_eq!((&leak["count"], &leak["eof_unread"], &leak["eof_read"]), (&json!(5_000), &json!(5_000), &json!(0)));
        assert_eq!(leak["unread_bytes"], json!(0));
        assert_eq!(leak["destinations"][0], json!({"address": "127.0.0.2:8086", "count": 5_000}));
        let (at_least, at_most) = (seconds(&leak["oldest_at_least_s"]), seconds(&leak["oldest_at_most_s"]));
        // One tick of the coarsest kernel clock either way.
        let tick = 0.011;
        assert!(at_least <= (answered - before_first).as_secs_f64() + tick, "{at_least} s at least");
        assert!(at_most >= (asked - after_first).as_secs_f64() - tick, "{at_most} s at most");
        assert!(at_most - at_least < 0.1, "the FIN came right after the handshake: {at_least} to {at_most}");

        let pool = entry(&report, "port_pools", "destination", &json!("127.0.0.2:8086"));
        assert_eq!(pool["source"], json!("127.0.0.1"));
        assert_eq!(pool["usable"], json!(28_232));
        let (used, remaining) = (pool["used"].as_u64().expect("a count"), pool["remaining"].as_u64().expect("a count"));
        assert_eq!(used + remaining, 28_232);
        assert_eq!(used, 5_000, "the listeners are outside the range, and other destinations share");
        assert_eq!(pool["holders"][0]["pid"], json!(std::process::id()));
        assert_eq!(report["coverage"]["attributed"], report["coverage"]["attributable"]);
    });
}

#[test]
fn a_stuck_leak_is_critical_once_it_is_older_than_the_threshold() {
    in_netns("a_stuck_leak_is_critical_once_it_is_older_than_the_threshold", || {
        support::raise_descriptor_limit();
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..1_200).map(|_| close_wait(&server)).collect();
        let young = report_json(&["--stuck-after", "10m"]);
        assert_eq!(young["verdict"], json!("ok"), "young sockets are not blamed: {:#}", young["findings"]);
        let old = || report_json(&["--stuck-after", "1s"]);
        support::wait_until("the sockets are a second old", || old()["verdict"] == json!("critical"));
        let report = old();
        let finding = &report["findings"][0];
        assert_eq!(
            (&finding["rule"], &finding["subject"]["pid"]),
            (&json!("close_wait_leak"), &json!(std::process::id()))
        );
        let headline = report["headline"].as_str().expect("a sentence");
        assert!(headline.contains("1,200") && headline.contains("127.0.0.2:8086"), "{headline}");
    });
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number of seconds"))
}

#[test]
fn filters_select_what_they_name() {
    in_netns("filters_select_what_they_name", || {
        let _mixture = mixture();
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..20).map(|_| close_wait(&server)).collect();
        let count = |options: &[&str], state: &str| report_json(options)["totals"]["states"][state].clone();
        assert_eq!(count(&["--state", "close-wait"], "close_wait"), json!(20));
        assert_eq!(count(&["--state", "close-wait"], "established"), json!(0));
        assert_eq!(count(&["--peer", "127.0.0.2"], "close_wait"), json!(20));
        assert_eq!(count(&["--peer", "127.0.0.2"], "established"), json!(0));
        assert_eq!(count(&["--peer", "127.0.0.0/31"], "close_wait"), json!(0));
        assert_eq!(count(&["--peer", "[::1]:9002"], "established"), json!(3));
        assert_eq!(count(&["--local", "9001-9002"], "established"), json!(6));
        let me = std::process::id().to_string();
        assert_eq!(count(&["--pid", &me], "close_wait"), json!(20));
        assert_eq!(count(&["--process", "no-such-name"], "close_wait"), json!(0));
        // A filter narrows what is shown, never what the ports left are computed from.
        let all = report_json(&[]);
        let one = report_json(&["--peer", "127.0.0.2", "--state", "established"]);
        let pool =
            |report: &Value| entry(report, "port_pools", "destination", &json!("127.0.0.2:8086"))["remaining"].clone();
        assert_eq!(pool(&all), pool(&one));
    });
}

#[test]
fn the_census_crosses_processes_port_ranges_and_states() {
    in_netns("the_census_crosses_processes_port_ranges_and_states", || {
        support::set_sysctl("net.ipv4.ip_local_port_range", "40000 40999");
        let server = listen("127.0.0.2:443");
        let _leaked: Vec<TcpStream> = (0..20).map(|_| close_wait(&server)).collect();
        let report = report_json(&["--port-range", "web=443-444"]);
        let range = |name: &str| entry(&report, "port_ranges", "name", &json!(name)).clone();
        let ephemeral = range("ephemeral");
        assert_eq!((&ephemeral["first"], &ephemeral["last"]), (&json!(40_000), &json!(40_999)));
        assert_eq!(ephemeral["states"]["close_wait"], json!(20));
        assert_eq!((&range("system")["states"]["listen"], &range("web")["states"]["listen"]), (&json!(1), &json!(1)));
        let me = entry(&report, "processes", "pid", &json!(std::process::id())).clone();
        assert_eq!(entry(&me, "port_ranges", "name", &json!("ephemeral"))["states"]["close_wait"], json!(20));
        assert_eq!(entry(&me, "port_ranges", "name", &json!("system"))["states"]["listen"], json!(1));
    });
}
