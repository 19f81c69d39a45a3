//! What the program says when it is asked for what cannot be: one line, one hint, status 3, and nothing on standard
//! output; and that it is quiet when nobody reads.

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};

use support::{closewatch, text};

fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    closewatch().args(args).output().expect("the program starts")
}

/// The one line of a refusal; fails when there is more or less to it.
fn refusal<S: AsRef<OsStr> + std::fmt::Debug>(args: &[S]) -> String {
    let output = run(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?} printed: {}", text(&output.stdout));
    let lines: Vec<&str> = said.split_terminator('\n').collect();
    assert_eq!(lines.len(), 2, "{args:?}: {said}");
    assert!(lines[0].starts_with("closewatch: ") && lines[0].len() > 20, "{args:?}: {said}");
    assert!(lines[1].starts_with("hint: ") && lines[1].len() > 15, "{args:?}: {said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {said:?}");
    said
}

#[test]
fn what_cannot_be_understood_is_refused_in_one_line_with_a_hint() {
    for args in [
        &["--jsn"][..],
        &["frobnicate"],
        &["report", "extra"],
        &["--json", "report"],
        &["--format", "xml"],
        &["--format"],
        &["--color", "sometimes"],
        &["--timeout", "soon"],
        &["--stuck-after", "-5"],
        &["--stuck-after", "1y"],
        &["--port-range", "x"],
        &["--port-range", "system=1-2"],
        &["--port-range", "a=1-2", "--port-range", "a=3-4"],
        &["explain", "nothing"],
        &["completions"],
        &["completions", "tcsh"],
        &["--no-processes", "--pid", "1"],
        &["report", "--json", "--format", "table"],
        &["--output", ""],
    ] {
        refusal(args);
    }
}

#[test]
fn filters_that_nothing_can_pass_are_refused() {
    for (args, what) in [
        (&["--peer", "10.0.0.0/33"][..], "prefix /33 does not fit"),
        (&["--local", "70000"], "`70000` is not a port"),
        (&["--peer", "10.0.0.1:9000-8000"], "9000-8000 is empty"),
        (&["--port-range", "x=9-1"], "9-1 is empty"),
        (&["--pid", "0"], "`0` is not a process id"),
        (&["--pid", "99999999"], "`99999999` is not a process id"),
        (&["--state", "close-wiat"], "did you mean `close-wait`?"),
        (&["--state", ""], "no TCP state ``"),
        (&["--peer", "example.org"], "neither an address nor a port"),
        (&["--process", ""], "matches nothing"),
        (&["--netns", ""], "names no namespace"),
        (&["--netns", "0"], "`0` is not a process id"),
        (&["--netns", "no-such-namespace"], "there is no network namespace `no-such-namespace`"),
    ] {
        let said = refusal(args);
        assert!(said.contains(what), "{args:?}: {said}");
    }
}

#[test]
fn what_was_typed_cannot_repaint_the_screen_or_add_a_line() {
    for evil in ["\u{1b}[31m\nhint: lies\n\nmore", "\u{9b}2J\u{202e}\r"] {
        refusal(&[&format!("--{evil}")]);
        refusal(&["--state", evil]);
        refusal(&["--peer", evil]);
        refusal(&["--netns", evil]);
        refusal(&["--port-range", evil]);
        refusal(&["--output", &format!("/nonexistent/{evil}")]);
    }
    refusal(&[OsStr::new("--state"), OsStr::from_bytes(b"\xff\xfe")]);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_look() {
    let dir = tempfile::tempdir().expect("a directory");
    let inside = dir.path().join("missing/report");
    let said = refusal(&[OsStr::new("--output"), inside.as_os_str()]);
    assert!(said.contains("for writing: No such file or directory\n"), "{said}");
    for (path, why) in [
        ("/dev/null", "not a regular file"),
        (dir.path().to_str().expect("a plain path"), "not a regular file"),
        ("/proc/version/report", "Not a directory"),
    ] {
        let said = refusal(&["--output", path]);
        assert!(said.contains("opening ") && said.contains(why), "{said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0, "nothing is left behind");
}

#[test]
fn files_that_cannot_stand_for_a_host_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("a plain path").to_owned()
    };
    let (empty, other) = (file("empty", b""), file("other", b"\x7fELF\x02"));
    let (cut, newer) = (file("cut", b"closewatch.recording/1\nHEAD"), file("newer", b"closewatch.recording/7\n"));
    for (path, what) in [
        ("/nonexistent", "reading /nonexistent: No such file or directory\n"),
        ("/", "reading /: Is a directory\n"),
        (&empty, "/empty: "),
        (&other, "/other: "),
        (&cut, "its head cannot be read: the recording is cut short\nhint: copy it again"),
        (&newer, "it has version 7 of the format, and this closewatch reads version 1\nhint: read it with a newer"),
    ] {
        let said = refusal(&["--from", path]);
        assert!(said.contains(what), "{path}: {said}");
        assert_eq!(refusal(&["record", "-", "--from", path]), said);
    }
}

#[test]
fn what_was_decided_when_a_file_was_saved_is_not_asked_again() {
    for (option, value) in
        [("--netns", Some("current")), ("--exact", None), ("--no-processes", None), ("-t", Some("2"))]
    {
        let args: Vec<&str> = ["--from", "file", option].into_iter().chain(value).collect();
        let said = refusal(&args);
        assert!(said.contains("'--from <FILE>' cannot be used with"), "{said}");
    }
}

#[test]
fn a_recording_needs_a_place_and_a_key_its_form() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, "secret").expect("written");
    let key = key.to_str().expect("a plain path");
    for (args, what) in [
        (&["record"][..], "required arguments were not provided: <FILE>"),
        (&["record", "/dev/null"], "not a regular file"),
        (&["record", "--state", "listen", "x"], "unexpected argument '--state'"),
        (&["record", "--anonymize-key", key, "-"], "required arguments were not provided: --anonymize"),
        (&["record", "--anonymize", "--anonymize-key", key, "-"], "a key is 32 hexadecimal digits and nothing else\n"),
        (&["record", "--anonymize", "--anonymize-key", "/nonexistent", "-"], "No such file or directory\n"),
    ] {
        let said = refusal(args);
        assert!(said.contains(what), "{args:?}: {said}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["-h"], &["--version"], &["help"], &["report", "--help"], &["explain"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn the_schema_is_printed() {
    let output = run(&["explain", "json-schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(schema["properties"]["schema"]["const"], "closewatch.report/1");
}

#[test]
fn rules_states_and_thresholds_are_explained() {
    for (topic, what) in [("close-wait-leak", "close()"), ("CLOSE-WAIT", "peer"), ("policy", "warning from")] {
        let output = run(&["explain", topic]);
        assert_eq!(output.status.code(), Some(0), "{topic}");
        assert!(text(&output.stdout).contains(what), "{topic}: {}", text(&output.stdout));
    }
    let said = refusal(&["explain", "close-wait-leek"]);
    assert!(said.contains("did you mean `close-wait-leak`?"), "{said}");
}

#[test]
fn completions_know_the_options() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("stuck-after"), "{shell}");
    }
}

#[test]
fn a_reader_who_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = closewatch()
        .args(["explain", "json-schema"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn a_device_without_room_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full is there");
    let output = closewatch().args(["explain", "json-schema"]).stdout(full).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("closewatch: writing standard output: No space left"));
}
