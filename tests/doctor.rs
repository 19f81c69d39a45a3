//! `closewatch doctor`: what this user may see, and whether the line that it prints shows the rest.

mod support;

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::nobody::{as_nobody, public_place};
use support::{close_wait, closewatch, has_program, in_netns, is_root, listen, settle, skip, text};

/// The words of the page, whatever the lines.
fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_exit_status_says_whether_something_is_hidden() {
    let output = closewatch().arg("doctor").output().expect("closewatch starts");
    let page = words(&text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
    let expected = if page.ends_with("HIDDEN nothing") { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{page}");
    for title in ["RUNS AS ", " SEES ", " HIDDEN "] {
        assert!(page.contains(title), "{page}");
    }
}

#[test]
fn the_line_that_it_prints_shows_what_was_hidden() {
    let test = "the_line_that_it_prints_shows_what_was_hidden";
    if !is_root() || !has_program("setcap") {
        return skip(test, "needs root, to become another user, and the program `setcap`");
    }
    in_netns(test, || {
        let (dir, program) = public_place();
        let server = listen("127.0.0.2:8086");
        let _leaked: Vec<TcpStream> = (0..25).map(|_| close_wait(&server)).collect();
        settle();
        let doctor = || {
            let output = as_nobody(&program).arg("doctor").output().expect("setpriv starts");
            assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
            text(&output.stdout)
        };
        let before = doctor();
        let said = words(&before);
        assert!(said.starts_with("RUNS AS ") && said.contains("(65534), without a capability"), "{before}");
        assert!(said.contains("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH): who holds a socket"), "{before}");
        assert!(said.contains("AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"), "{before}");
        let line =
            before.lines().find(|line| line.trim_start().starts_with("setcap ")).expect("a line to paste").trim();
        let name = program.to_str().expect("a plain path");
        assert!(line.ends_with(&format!("+ep {name}")), "{line}");
        let given = Command::new("sh").args(["-c", line]).output().expect("sh starts");
        if !given.status.success() {
            return skip(test, &format!("needs a file system with capabilities: {}", text(&given.stderr)));
        }
        let after = words(&doctor());
        assert!(after.contains("(65534), with CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"), "{after}");
        assert!(!after.contains("needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH): who holds a socket"), "{after}");
        let options = ["check", "--json", "--netns", "current", "--no-history", "--stuck-after", "1ms"];
        let seen = text(&as_nobody(&program).args(options).output().expect("setpriv starts").stdout);
        let report: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
        assert_eq!(report["processes"][0]["pid"], std::process::id(), "it names this process now");
        // What it may read of processes it must not read for whoever runs it.
        let secret = dir.path().join("secret");
        fs::write(&secret, "password = 5\n").expect("written");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("chmod");
        for option in ["--policy", "--from", "--history"] {
            let output = as_nobody(&program).args(["check", option]).arg(&secret).output().expect("setpriv starts");
            let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
            assert!(said.contains("ermission denied") && !said.contains("password"), "{option}: {said}");
        }
    });
}
