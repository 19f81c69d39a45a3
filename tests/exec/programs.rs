//! Three programs that leak through libraries which are not ours, and their twins that close.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::server;
use crate::support::{has_program, skip, text};
use crate::verdict;

/// How often each asks.
const TIMES: &str = "4";
/// How long each stays: several times the grace.
const SECONDS: &str = "5";
/// Larger than what any of the three reads ahead, smaller than what the kernel takes in.
const BODY: &str = "100000";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/leaks").join(name)
}

/// Runs the program, which must end well, and gives the verdict on it and the server that it asked.
fn watch(command: &[&str]) -> (Value, String) {
    let server = server::start();
    let url = format!("http://{server}/{BODY}");
    let command: Vec<&str> = command.iter().copied().chain([url.as_str(), TIMES, SECONDS]).collect();
    let (output, verdict) = verdict(&["--grace", "1s"], &command);
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 4, "{command:?}: {}", text(&output.stdout));
    (verdict, server.to_string())
}

fn assert_leaks(command: &[&str], kind: &str) {
    let (verdict, server) = watch(command);
    let leaks = verdict["leaks"].as_array().expect("a list");
    assert_eq!(verdict["leaked"], 4, "{verdict:#}");
    assert_eq!(leaks.len(), 1, "{verdict:#}");
    assert_eq!((&leaks[0]["destination"], &leaks[0]["kind"]), (&server.into(), &kind.into()), "{verdict:#}");
}

fn assert_clean(command: &[&str]) {
    let (verdict, _) = watch(command);
    assert_eq!(verdict["leaked"], 0, "{verdict:#}");
    assert!(verdict["looks"].as_u64() > Some(2), "{verdict:#}");
}

#[test]
fn go_net_http_without_closing_the_body() {
    const TEST: &str = "programs::go_net_http_without_closing_the_body";
    if Command::new("go").arg("version").output().is_err() {
        return skip(TEST, "needs go");
    }
    let build = |twin: &str| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-{twin}"));
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([&program, &source(&format!("go/{twin}/main.go"))])
            .env("GO111MODULE", "off")
            .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
            .output()
            .expect("go starts");
        assert!(built.status.success(), "{}", text(&built.stderr));
        program.to_str().expect("a plain path").to_owned()
    };
    assert_leaks(&[&build("leaky")], "body_unread");
    assert_clean(&[&build("clean")]);
}

#[test]
fn python_requests_with_stream_and_no_close() {
    const TEST: &str = "programs::python_requests_with_stream_and_no_close";
    let has_requests = |python: &&str| {
        Command::new(python).args(["-c", "import requests"]).output().is_ok_and(|output| output.status.success())
    };
    // Debian's packages are for its own Python, which need not be the first in the path.
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_requests) else {
        return skip(TEST, "needs python3 with requests");
    };
    let program = |name: &str| source(name).to_str().expect("a plain path").to_owned();
    assert_leaks(&[python, &program("python/leaky.py")], "body_unread");
    assert_clean(&[python, &program("python/clean.py")]);
}

#[test]
fn node_http_without_consuming() {
    const TEST: &str = "programs::node_http_without_consuming";
    if !has_program("node") {
        return skip(TEST, "needs node");
    }
    let program = |name: &str| source(name).to_str().expect("a plain path").to_owned();
    assert_leaks(&["node", &program("node/leaky.js")], "eof_read");
    assert_clean(&["node", &program("node/clean.js")]);
}
