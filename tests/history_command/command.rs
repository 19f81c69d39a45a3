//! The command itself: what it opens, what it refuses, and how it ends.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{closewatch, text};
use crate::world::{DAY, EVERY, Host, at, remembered};

fn history(file: &Path, options: &[&str]) -> Output {
    closewatch().args(["history", "--history"]).arg(file).args(options).output().expect("the program starts")
}

/// What is printed; it must succeed and be quiet on standard error.
fn shown(file: &Path, options: &[&str]) -> String {
    let output = history(file, options);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{options:?}");
    text(&output.stdout)
}

/// The one line and the hint of a refusal.
pub fn refusal(output: &Output) -> [String; 2] {
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(3), ""), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let [line, hint] = lines.as_slice() else { panic!("a line and a hint: {said}") };
    assert!(line.starts_with("closewatch: ") && hint.starts_with("hint: "), "{said}");
    [(*line).to_owned(), (*hint).to_owned()]
}

fn leaking(days: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("history.db");
    drop(remembered(&file, &Host::leaking().looks(days)));
    (dir, file)
}

#[test]
fn what_is_remembered_is_shown_in_every_format_and_left_as_it_is() {
    let (_dir, file) = leaking(5);
    let before = fs::read(&file).expect("there");
    let table = shown(&file, &[]);
    assert!(table.starts_with("FIRST WALL  the ports from 10.0.0.5 to 10.0.3.7:8086 are gone in about "), "{table}");
    assert!(table.contains(&file.display().to_string()), "{table}");
    let document: Value = serde_json::from_str(&shown(&file, &["--json"])).expect("JSON");
    assert_eq!(document["remembered"]["file"], json!(file.display().to_string()));
    assert_eq!(serde_json::from_str::<Value>(&shown(&file, &["--format", "json"])).expect("JSON"), document);
    let csv = shown(&file, &["--format", "csv"]);
    assert!(csv.starts_with("time,until,looks,kind,"), "{}", csv.lines().next().unwrap_or_default());
    let out = file.with_file_name("out.csv");
    assert_eq!(shown(&file, &["--format", "csv", "--output", out.to_str().expect("a plain path")]), "");
    assert_eq!(fs::read_to_string(&out).expect("written"), csv);
    assert_eq!(fs::read(&file).expect("there"), before, "nothing is added, pruned or moved");
}

#[test]
fn it_tells_of_now_or_of_the_last_look_when_that_is_long_ago() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("history.db");
    let mut looks = Host::leaking().looks(4);
    drop(remembered(&file, &looks));
    let document: Value = serde_json::from_str(&shown(&file, &["--json"])).expect("JSON");
    let age = SystemTime::now().duration_since(at(4 * DAY)).expect("the sample is of the past").as_secs() / DAY;
    let note = format!("the last look was {} days ago", crate::tables::grouped(age));
    assert_eq!(document["at"], json!("2026-01-09T00:00:00.000Z"));
    let table = shown(&file, &[]);
    assert!(table.contains(&format!("Note that {note}: all this is told as of")), "{table}");
    assert!(document["notes"][0].as_str().is_some_and(|said| said.starts_with(&note)), "{}", document["notes"]);

    let late = SystemTime::now() - Duration::from_secs(3_600);
    let n_looks = looks.len() as u64;
    for (nth, look) in looks.iter_mut().enumerate() {
        look.taken_at = late - Duration::from_secs((n_looks - 1 - nth as u64) * EVERY);
    }
    let file = dir.path().join("fresh.db");
    drop(remembered(&file, &looks));
    let document: Value = serde_json::from_str(&shown(&file, &["--json"])).expect("JSON");
    assert_eq!(document["notes"], json!([]));
    let eta = document["series"][0]["wall"]["eta_s"].as_f64().expect("it grows");
    // 2,800 and some 60 more of 28,232 are used, 700 more every day: an hour of that has gone by since.
    let expected = (28_232.0 - 2_860.0) / 700.0 * DAY as f64 - 3_600.0;
    assert!((eta - expected).abs() < 0.05 * expected, "{eta} against {expected}");
}

#[test]
fn what_cannot_be_read_is_refused_with_a_hint_and_left_alone() {
    let (dir, file) = leaking(1);
    let [line, hint] = refusal(&history(&dir.path().join("none.db"), &[]));
    assert!(line.contains("there is none yet") && hint.contains("`closewatch check` makes it"), "{line} {hint}");

    let begun = dir.path().join("begun.db");
    fs::write(&begun, "").expect("written");
    assert!(refusal(&history(&begun, &[]))[0].contains("there is none yet"));

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).and_then(|db| db.execute_batch("CREATE TABLE other (x)")).expect("another database");
    let [line, hint] = refusal(&history(&foreign, &[]));
    assert!(line.contains("it is not a history of closewatch") && hint.contains("not touched"), "{line} {hint}");

    let newer = dir.path().join("newer.db");
    let statements = "PRAGMA application_id = 0x636c7761; PRAGMA user_version = 99; CREATE TABLE other (x)";
    Connection::open(&newer).and_then(|db| db.execute_batch(statements)).expect("a later version");
    let [line, _] = refusal(&history(&newer, &[]));
    assert!(line.contains("it has version 99, and this closewatch knows version 1"), "{line}");

    let text_file = dir.path().join("notes.txt");
    fs::write(&text_file, "not a database at all, and long enough to have a header of a hundred bytes".repeat(9))
        .expect("written");
    refusal(&history(&text_file, &[]));

    let mut bytes = fs::read(&file).expect("there");
    let third = bytes.len() / 3;
    bytes[third..2 * third].fill(0x55);
    let damaged = dir.path().join("damaged.db");
    fs::write(&damaged, &bytes).expect("written");
    let [line, hint] = refusal(&history(&damaged, &[]));
    assert!(line.contains("it is damaged") && hint.contains("sets it aside"), "{line} {hint}");
    assert_eq!(fs::read(&damaged).expect("there"), bytes, "for reading nothing is moved");
    refusal(&history(dir.path(), &[]));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let (_dir, file) = leaking(1);
    for (options, what) in [
        (&["--since", "yesterday"][..], "neither a duration nor a moment"),
        (&["--since", "99999999999999999w"], "neither a duration nor a moment"),
        (&["--json", "--format", "csv"], "contradicts"),
        (&["--format", "nagios"], "invalid value 'nagios'"),
        (&["--no-history"], "unexpected argument"),
        (&["--from", "-"], "a history is built of files"),
    ] {
        let [line, _] = refusal(&history(&file, options));
        assert!(line.contains(what), "{options:?}: {line}");
    }
}

#[test]
fn since_is_told_in_spans_and_in_moments() {
    let (_dir, file) = leaking(3);
    for since in ["1d", "1440m", "2026-01-07", "2026-01-07T00:00:00Z"] {
        let document: Value = serde_json::from_str(&shown(&file, &["--json", "--since", since])).expect("JSON");
        assert_eq!(document["looks"].as_array().map(Vec::len), Some(289), "{since}");
    }
    let nothing = shown(&file, &["--since", "2027-01-01"]);
    assert!(nothing.starts_with("FIRST WALL") && !nothing.contains("OVER TIME"), "{nothing}");
}

#[test]
fn the_usual_place_is_that_of_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| closewatch().args(args).env("STATE_DIRECTORY", dir.path()).output().expect("starts");
    refusal(&run(&["history"]));
    run(&["check"]);
    let output = run(&["history", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&document["remembered"]["looks"], &document["outlook"]), (&json!(1), &json!("unknown")));
}
