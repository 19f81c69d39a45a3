//! A check beside one who holds its history: it is graded in its time all the same, and says what it could not do.

mod support;

use std::fs::File;
use std::path::Path;
use std::process::Output;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use support::{closewatch, in_netns, text};

fn check(history: &Path, options: &[&str]) -> Output {
    let mut command = closewatch();
    command.args(["check", "--netns", "current", "--history"]).arg(history).args(options);
    command.output().expect("closewatch starts")
}

/// What is said of the history by a check that has two seconds. Beyond them its watchdog would speak in its place.
fn notes_in_time(history: &Path) -> Vec<String> {
    let output = check(history, &["--timeout", "2s", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &json!("ok")), "{:#}", report["history"]);
    serde_json::from_value(report["history"]["notes"].clone()).expect("a list of sentences")
}

/// Holds the file as one does who writes to it, in this process, and asks the checks beside it.
fn beside_a_writer(history: &Path, ask: impl FnOnce()) {
    let writer = rusqlite::Connection::open(history).expect("opens");
    writer.execute_batch("BEGIN IMMEDIATE").expect("nobody else has it");
    ask();
    writer.execute_batch("ROLLBACK").expect("is still in it");
}

/// Holds the directory as one does who sets a damaged file aside.
fn beside_a_mover(directory: &Path, ask: impl FnOnce()) {
    let held = File::open(directory).expect("opens");
    flock(&held, FlockOperation::LockExclusive).expect("nobody else has it");
    ask();
}

/// The seconds that the note says they were waited for.
fn waited(note: &str, operation: &str, history: &Path) -> f64 {
    let begin =
        format!("not remembered: {operation} the history {}: others have been using it for ", history.display());
    let seconds = note.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(" s"));
    seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{note}"))
}

#[test]
fn a_check_does_not_wait_longer_for_its_history_than_it_has_time() {
    in_netns("a_check_does_not_wait_longer_for_its_history_than_it_has_time", || {
        let directory = tempfile::tempdir().expect("a directory");
        let history = directory.path().join("history.db");
        assert_eq!(notes_in_time(&history), [""; 0], "the first look is remembered");
        for (operation, notes) in [
            ("writing", {
                let mut notes = Vec::new();
                beside_a_writer(&history, || notes = notes_in_time(&history));
                notes
            }),
            ("opening", {
                let mut notes = Vec::new();
                beside_a_mover(directory.path(), || notes = notes_in_time(&history));
                notes
            }),
        ] {
            let [note] = notes.as_slice() else { panic!("one note: {notes:?}") };
            let waited = waited(note, operation, &history);
            assert!((0.1..2.0).contains(&waited), "{note}");
        }
        assert_eq!(notes_in_time(&history), [""; 0], "nobody holds it any more");
    });
}

#[test]
fn what_monitoring_reads_has_its_grade_and_the_note() {
    in_netns("what_monitoring_reads_has_its_grade_and_the_note", || {
        let directory = tempfile::tempdir().expect("a directory");
        let history = directory.path().join("history.db");
        assert_eq!(check(&history, &[]).status.code(), Some(0));
        beside_a_writer(&history, || {
            let plugin = check(&history, &["--timeout", "1s"]);
            let said = text(&plugin.stdout);
            assert_eq!(plugin.status.code(), Some(0), "{said}");
            assert!(
                said.starts_with("CLOSEWATCH OK - ") && said.contains("not remembered: writing the history"),
                "{said}"
            );
            let zabbix = check(&history, &["--format", "zabbix"]);
            let said = text(&zabbix.stdout);
            let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
            assert_eq!((zabbix.status.code(), text(&zabbix.stderr).as_str()), (Some(0), ""), "{said}");
            assert_eq!((&document["verdict"], &document["error"]), (&json!(0), &json!("")), "{said}");
        });
    });
}
