//! What somebody saved, and what `report --from` makes of it: every folder of `fixtures/cases` is a case. It holds the
//! input, `about.md` (how it came about, and what a reader must see), `options.txt` where options are given beside `--from`,
//! and the expected report in every format.
//!
//! `UPDATE_GOLDEN=1 cargo test --test cases` writes the expected files anew; the difference is then to be read by a person.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use closewatch::render::schema;
use serde_json::Value;
use support::{
    assert_states_match_ss, close_wait, closewatch, entry, in_netns, json_of, listen, report_json, run, text,
    wait_until, while_still,
};

/// The moment that every input was saved at: the age of a file in a checkout means nothing.
const SAVED_AT: Duration = Duration::from_secs(1_760_000_000);

fn cases() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders
}

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases").join(name)
}

/// A copy of the case's input that was saved at the same moment as every other.
fn input(case: &Path, dir: &Path) -> PathBuf {
    let copy = dir.join("input");
    fs::copy(case.join("input.txt"), &copy).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
    let file = File::options().write(true).open(&copy).expect("the copy");
    file.set_modified(SystemTime::UNIX_EPOCH + SAVED_AT).expect("the time is set");
    copy
}

fn options(case: &Path) -> Vec<String> {
    let options = fs::read_to_string(case.join("options.txt")).unwrap_or_default();
    options.split_whitespace().map(str::to_owned).collect()
}

fn report(case: &Path, more: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = closewatch();
    // By its bare name, which the report repeats.
    input(case, dir.path());
    command.current_dir(dir.path()).args(["report", "--from", "input"]).args(options(case)).args(more);
    let output = command.env("COLUMNS", "80").env_remove("NO_COLOR").output().expect("closewatch starts");
    assert!(output.status.success(), "{}: {}", case.display(), text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "{}", case.display());
    String::from_utf8(output.stdout).expect("reports are UTF-8")
}

fn json(name: &str) -> Value {
    serde_json::from_str(&report(&case(name), &["--json"])).expect("JSON")
}

fn assert_golden(path: &Path, seen: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, seen).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let expected = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(expected == seen, "{} differs from what is reported now:\n{seen}", path.display());
}

#[test]
fn every_case_is_reported_as_expected() {
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    for case in cases() {
        assert!(case.join("about.md").is_file(), "{}: say how it came about", case.display());
        assert_golden(&case.join("expected/table.txt"), &report(&case, &["--color", "never"]));
        let json = report(&case, &["--json"]).replace(&version, "\"version\": \"VERSION\"");
        assert_golden(&case.join("expected/report.json"), &json);
    }
}

#[test]
fn every_report_of_a_case_keeps_to_the_schema() {
    let schema: Value = serde_json::from_str(schema::REPORT).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for case in cases() {
        let report: Value = serde_json::from_str(&report(&case, &["--json"])).expect("JSON");
        let wrong: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", case.display());
    }
}

/// The states, by their tokens, without those that no socket is in.
fn states(report: &Value) -> BTreeMap<String, u64> {
    let all = report["totals"]["states"].as_object().expect("states");
    let counts = all.iter().map(|(state, count)| (state.clone(), count.as_u64().expect("a count")));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn every_version_and_layout_shows_the_same_sockets() {
    // All were recorded at one moment. Only ss since 6.8 lists the bound one.
    let bound = "bound_inactive";
    let mut expected = states(&json("ss-6.12-tanpieom"));
    assert_eq!(expected.remove(bound), Some(1));
    assert_eq!(expected["close_wait"], 16);
    for name in [
        "ss-3.8-tanpieom",
        "ss-4.9-tanpieom",
        "ss-4.14-anp",
        "ss-5.4-tanHp",
        "ss-5.15-oneline",
        "ss-6.1-tanpieom",
        "ss-6.1-names-crlf",
        "proc-little",
        "proc-big",
        "netstat-tanpeo",
    ] {
        assert_eq!(states(&json(name)), expected, "{name}");
    }
}

#[test]
fn every_version_names_the_same_holders() {
    let holders = |name: &str| -> BTreeMap<u64, (String, u64)> {
        let report = json(name);
        let rows = report["processes"].as_array().expect("processes").iter();
        rows.map(|row| {
            let name = row["name"].as_str().expect("a name").to_owned();
            (row["pid"].as_u64().expect("a pid"), (name, row["close_wait"]["count"].as_u64().expect("a count")))
        })
        .collect()
    };
    let expected = holders("ss-6.1-tanpieom");
    assert_eq!(expected.len(), 8);
    for name in
        ["ss-3.8-tanpieom", "ss-4.9-tanpieom", "ss-4.14-anp", "ss-5.4-tanHp", "ss-5.15-oneline", "ss-6.12-tanpieom"]
    {
        assert_eq!(holders(name), expected, "{name}");
    }
}

#[test]
fn both_byte_orders_read_the_same() {
    let without_gaps = |name: &str| {
        let mut report = json(name);
        report["coverage"]["gaps"].take();
        report
    };
    assert_eq!(without_gaps("proc-little"), without_gaps("proc-big"));
}

fn from_stdin(bytes: &[u8], more: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("text");
    fs::write(&path, bytes).expect("the file is written");
    let stdin = File::open(path).expect("the file is there");
    closewatch().args(["report", "--from", "-"]).args(more).stdin(stdin).output().expect("closewatch starts")
}

#[test]
fn standard_input_is_read_like_a_file() {
    let bytes = fs::read(case("ss-6.1-tanpieom").join("input.txt")).expect("the input");
    let output = from_stdin(&bytes, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["totals"], json("ss-6.1-tanpieom")["totals"]);
    assert_eq!(report["source"]["kind"], "ss_text");
}

#[test]
fn filters_work_on_a_saved_text() {
    let path = case("ss-6.1-tanpieom").join("input.txt");
    let with = |options: &[&str]| json_of(closewatch().args(["--json", "--from"]).arg(&path).args(options));
    let telegraf = with(&["--process", "telegraf"]);
    assert_eq!((&telegraf["totals"]["sockets"], telegraf["processes"].as_array().map(Vec::len)), (&14.into(), Some(1)));
    assert_eq!(with(&["--state", "listen", "--local", ":80"])["totals"]["sockets"], 2);
}

#[test]
fn what_is_no_table_is_refused_in_one_line_with_a_hint() {
    let summary = "Total: 181\nTCP:   10 (estab 2, closed 0, orphaned 0, timewait 0)\n";
    let stateless = "Recv-Q Send-Q Local Address:Port Peer Address:Port\n1 0 10.0.0.5:1 10.0.0.7:2\n";
    let mixed = "ESTAB 0 0 10.0.0.5:1 10.0.0.7:2\ntcp 0 0 10.0.0.5:1 10.0.0.7:2 ESTABLISHED\n";
    let rows: [(&[u8], &str, &str); 6] = [
        (b"", "there is nothing in it", "hint: save the output of `ss -tanpieo`"),
        (summary.as_bytes(), "it is the summary of `ss -s`: counts, and no sockets", "hint: save the output"),
        (stateless.as_bytes(), "its rows have no state", "hint: keep the command"),
        (mixed.as_bytes(), "it holds tables of ss and of netstat", "hint: keep one of them"),
        (b"hello \x1b[31m\n", "it holds no TCP socket of ss, netstat or /proc/net/tcp", "hint: save the output"),
        (b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe", "it holds no TCP socket", "hint: save the output"),
    ];
    for (bytes, what, hint) in rows {
        let output = from_stdin(bytes, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(output.stdout.is_empty() && said.lines().count() == 2, "{said}");
        assert!(said.contains(&format!("closewatch: reading standard input: {what}")), "{said}");
        assert!(said.contains(hint) && said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
    for (args, what) in [
        (&["--from", "/nonexistent"][..], "reading /nonexistent: No such file or directory"),
        (&["--from", "/"], "reading /: Is a directory"),
        (&["--from", "x", "--exact"], "'--from <FILE>' cannot be used with '--exact'"),
        (&["--from", "x", "--netns", "1"], "'--from <FILE>' cannot be used with '--netns"),
        (&["--ephemeral-range", "1-2"], "--from <FILE>"),
        (&["--from", "x", "--ephemeral-range", "9-1"], "--ephemeral-range: the range 9-1 is empty"),
    ] {
        let output = closewatch().args(args).output().expect("closewatch starts");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {said}");
        assert!(said.contains(what) && said.lines().count() == 2, "{args:?}: {said}");
    }
}

/// What a report says of the sockets of one process, without what only the running host tells.
fn told_of(report: &Value, pid: u32) -> Value {
    let row = entry(report, "processes", "pid", &pid.into());
    let held = &row["close_wait"];
    serde_json::json!({
        "states": row["states"],
        "count": held["count"],
        "eof_unread": held["eof_unread"],
        "unread_bytes": held["unread_bytes"],
        "keepalive": held["keepalive"],
        "destinations": held["destinations"],
    })
}

#[test]
fn what_is_saved_now_says_what_a_look_says_now() {
    in_netns("what_is_saved_now_says_what_a_look_says_now", || {
        let listeners = [listen("127.0.0.1:0"), listen("[::1]:0"), listen("[::]:0")];
        let leaked: Vec<TcpStream> = listeners[..2].iter().flat_map(|to| (0..5).map(|_| close_wait(to))).collect();
        let waiting: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(listeners[0].local_addr().expect("bound")).expect("connects")).collect();
        wait_until("the peers' FINs", || support::ss_count("close-wait") == leaked.len());
        let ((live, texts), ss) = while_still(|| {
            let texts = [
                run("ss", &["-tanpieom"]).stdout,
                run("ss", &["-tanpe"]).stdout,
                [fs::read("/proc/thread-self/net/tcp"), fs::read("/proc/thread-self/net/tcp6")]
                    .map(|table| table.expect("a table"))
                    .concat(),
            ];
            (report_json(&[]), texts)
        });
        for (nth, bytes) in texts.iter().enumerate() {
            let output = from_stdin(bytes, &["--json"]);
            let saved: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
            assert_states_match_ss(&saved["totals"]["states"], &ss);
            assert_eq!(saved["totals"]["states"], live["totals"]["states"], "text {nth}");
            let unread = |report: &Value| {
                let gaps = report["coverage"]["gaps"].as_array().expect("gaps").iter();
                gaps.filter(|gap| gap["what"].as_str().is_some_and(|what| what.contains("lines of"))).count()
            };
            assert_eq!(unread(&saved), 0, "{:#}", saved["coverage"]);
            let waits = |report: &Value| {
                report["listeners"]
                    .as_array()
                    .map(|rows| rows.iter().map(|row| row["waiting"].clone()).collect::<Vec<_>>())
            };
            assert_eq!(waits(&saved), waits(&live), "text {nth}");
            let oldest = &saved["processes"][0]["close_wait"]["oldest_at_least_s"];
            assert_eq!(oldest.is_number(), nth == 0, "ages come with -i");
            if nth < 2 {
                let pid = std::process::id();
                let (mut saved, mut live) = (told_of(&saved, pid), told_of(&live, pid));
                if nth == 1 {
                    // Without -o nothing is known of timers.
                    (saved["keepalive"], live["keepalive"]) = (Value::Null, Value::Null);
                }
                assert_eq!(saved, live, "text {nth}");
            }
        }
        drop((leaked, waiting));
    });
}
