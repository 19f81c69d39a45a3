//! What a probe will not do: one line, one hint, status 3, and nothing done.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{has_program, skip, text};
use crate::{has_namespaces, probe};

/// The two lines of a refusal.
fn refusal(mut command: Command) -> String {
    let output = command.output().expect("closewatch starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{command:?} printed: {}", text(&output.stdout));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("closewatch: ") && lines[1].starts_with("hint: "), "{said}");
    said
}

#[test]
fn more_than_its_share_is_refused() {
    let said = refusal(probe(&["leak", "--count", "60000"]));
    assert!(said.contains("60,000 connections are more than this probe may make here: "), "{said}");
    assert!(said.contains("a quarter of the ") && said.contains("--isolated"), "{said}");
    let said = refusal(probe(&["leak", "--target", "http://192.0.2.1/"]));
    assert!(said.contains("192.0.2.1:80 is not a loopback address") && said.contains("--allow-remote"), "{said}");
    let said = refusal(probe(&["leak", "--target", "http://192.0.2.1/", "--allow-remote", "--count", "101"]));
    assert!(said.contains("100, which is the most against a server that is not on this host"), "{said}");
}

#[test]
fn more_than_there_is_is_refused_in_a_namespace_of_its_own() {
    if !has_namespaces("refusals::more_than_there_is_is_refused_in_a_namespace_of_its_own") {
        return;
    }
    let said = refusal(probe(&["leak", "--isolated", "--count", "65000"]));
    assert!(said.contains("as many as the namespace has ports to 127.0.0.1:"), "{said}");
    let said = refusal(probe(&["leak", "--isolated", "--variant", "accept-stalled", "--count", "20000"]));
    assert!(said.contains("the length of the accept queue (net.core.somaxconn is "), "{said}");
}

#[test]
fn a_range_that_the_kernel_refuses_is_told() {
    if !has_namespaces("refusals::a_range_that_the_kernel_refuses_is_told") {
        return;
    }
    let said = refusal(probe(&["exhaust", "--range", "80-90"]));
    assert!(said.contains("Invalid argument\nhint: ports below net.ipv4.ip_unprivileged_port_start"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    for (args, why) in [
        (&["leak", "--http", "1.0", "--framing", "chunked"][..], "HTTP/1.0 has no chunked bodies"),
        (&["leak", "--framing", "until-close", "--closes", "client"], "the server's close is the end of this body"),
        (&["leak", "--variant", "accept-stalled", "--closes", "server"], "has nothing to close"),
        (&["leak", "--variant", "tls-pooled", "--http", "1.0"], "does not go into a pool"),
        (&["leak", "--count", "0"], "no connection is no leak"),
        (&["leak", "--hold", "long"], "`long` is not a duration"),
        (&["leak", "--target", "https://127.0.0.1/"], "does not begin with http://"),
        (&["leak", "--target", "http://127.0.0.1/", "--variant", "tls-pooled"], "a server of yours does not do"),
        (&["leak", "--target", "http://127.0.0.1/", "--isolated"], "cannot be used with"),
        (&["leak", "--listen", "0.0.0.0:0"], "0.0.0.0 is not a loopback address"),
        (&["exhaust", "--range", "5000-5000"], "is a single port"),
        (&["exhaust", "--range", "9-5"], "9-5 is empty"),
        (&["exhaust", "--range", "5000"], "is not a range of ports"),
        (&["leek"], "unrecognized subcommand"),
    ] {
        let said = refusal(probe(args));
        assert!(said.contains(why), "{args:?}: {said}");
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let said = refusal(probe(&["leak", "--listen", &address]));
    assert!(said.contains(&format!("listening at {address}: Address already in use")), "{said}");
    assert!(said.contains("name another port"), "{said}");
}

#[test]
fn a_server_that_is_none_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let output = probe(&["leak", "--target", &format!("http://{address}/")]).output().expect("closewatch starts");
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("asking {address}: Connection refused")), "{said}");
}

/// In a user namespace whose own namespaces are limited to none.
#[test]
fn a_user_who_may_have_no_namespace_is_told() {
    const TEST: &str = "refusals::a_user_who_may_have_no_namespace_is_told";
    if !has_program("unshare") {
        return skip(TEST, "needs the program `unshare`");
    }
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, env!("CARGO_BIN_EXE_closewatch")]);
    command.args(["probe", "exhaust"]);
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output().expect("unshare starts");
    if !allowed.status.success() {
        return skip(TEST, &format!("needs a user namespace: {}", text(&allowed.stderr)));
    }
    let said = refusal(command);
    assert!(said.contains("making a network namespace: No space left on device"), "{said}");
    assert!(said.contains("user.max_"), "{said}");
}
