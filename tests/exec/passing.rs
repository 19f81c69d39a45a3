//! What a command gets and gives is what it would without closewatch: streams, terminal, signals, status.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{has_program, skip, text};
use crate::{exec, verdict};

#[test]
fn the_status_is_that_of_the_command() {
    for (command, status) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["sh", "-c", "kill -TERM $$"], 143),
    ] {
        for options in [&[][..], &["--fail-on-leak"]] {
            let output = exec(options, command).output().expect("closewatch starts");
            assert_eq!(output.status.code(), Some(status), "{command:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains("no leak seen"), "{}", text(&output.stderr));
        }
    }
}

#[test]
fn a_command_that_cannot_be_started_is_one_line_and_a_hint() {
    for command in [&["/nonexistent/program"][..], &["/etc/passwd"]] {
        let output = exec(&[], command).output().expect("closewatch starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.starts_with(&format!("closewatch: starting {}: ", command[0])), "{said}");
    }
}

#[test]
fn streams_pass_through_and_the_verdict_goes_beside_them() {
    let mut child = exec(&[], &["sh", "-c", "cat; echo to-stderr >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("closewatch starts");
    child.stdin.take().expect("a pipe").write_all(b"from stdin\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(text(&output.stdout), "from stdin\n");
    assert!(
        text(&output.stderr).starts_with("to-stderr\nclosewatch: no leak seen of `sh "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn signals_are_handed_on() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGQUIT] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'echo got; exit 42' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child =
            exec(&[], &["sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it runs");
        assert_eq!(lines.next().expect("a line").expect("text"), "got", "{signal}");
        assert_eq!(child.wait().expect("it ends").code(), Some(42), "{signal}");
    }
}

/// What a terminal sends to its foreground processes reaches the command once, not a second time by way of closewatch.
#[test]
fn a_terminal_is_the_commands_own() {
    const TEST: &str = "passing::a_terminal_is_the_commands_own";
    if !has_program("script") {
        return skip(TEST, "needs the program `script`");
    }
    let inner = "n=0; trap 'n=$((n+1))' INT; test -t 0 && test -t 1 && test -t 2 && echo ready; \
                 for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; echo interrupted $n times";
    // Whoever runs the tests may ignore what is sent here, and to ignore is inherited.
    let program = concat!("env --default-signal=INT ", env!("CARGO_BIN_EXE_closewatch"));
    let command = format!("exec {program} exec -- sh -c '{}'", inner.replace('\'', r"'\''"));
    let mut child = std::process::Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("ready")), "the command has the terminal");
    stdin.write_all(b"\x03").expect("script reads");
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("interrupted 1 times")), "{rest:?}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_is_left_behind_is_told() {
    let (output, verdict) = verdict(&[], &["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]);
    let pid: i32 = text(&output.stdout).trim().parse().expect("a pid");
    let still_runs = kill(Pid::from_raw(pid), Signal::SIGKILL);
    assert_eq!(verdict["left_behind"], 1, "{verdict:#}");
    assert_eq!(still_runs, Ok(()), "closewatch ends nothing");
}
