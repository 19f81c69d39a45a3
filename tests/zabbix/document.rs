//! `closewatch check --format zabbix`: one document, whatever happens.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::nobody::{as_nobody, public_place};
use crate::support::saved::{EVIL_NAMES, LISTENER, check_saved, leaked_by};
use crate::support::slow::{Crowd, Cut, cut_short};
use crate::support::{close_wait, closewatch, in_netns, is_root, listen, settle, skip, text, wait_until};

/// The most that an agent of Zabbix 6.0 hands on.
const MOST_BYTES: usize = 512 * 1024 - 1;

/// The document, of which stderr has nothing.
fn document(output: &Output) -> Value {
    assert_eq!(text(&output.stderr), "", "the agent would merge it into the value");
    let printed = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(printed.len() <= MOST_BYTES, "{} bytes", printed.len());
    assert_eq!(printed.matches('\n').count(), 1, "one line");
    let document: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(document["schema"], "closewatch.zabbix/1");
    assert_numbers_fit(&document);
    document
}

/// JSONPath makes a number with an exponent of what is beyond 2^53.
fn assert_numbers_fit(value: &Value) {
    match value {
        Value::Number(number) if number.is_u64() => assert!(number.as_u64() < Some(1 << 53), "{number}"),
        Value::Number(number) => assert!(number.is_f64(), "{number} is negative"),
        Value::Array(list) => list.iter().for_each(assert_numbers_fit),
        Value::Object(map) => map.values().for_each(assert_numbers_fit),
        _ => {}
    }
}

/// Every path to a value, rows of lists as one.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| paths(value, &format!("{at}.{key}"), found)),
        Value::Array(list) => list.iter().for_each(|value| paths(value, &format!("{at}[]"), found)),
        _ => drop(found.insert(at.to_owned())),
    }
}

fn names(document: &Value, list: &str) -> Vec<String> {
    let rows = document[list].as_array().unwrap_or_else(|| panic!("no {list}: {document:#}"));
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

fn saved(text: &str) -> Value {
    document(&check_saved(text, "zabbix", &[]))
}

#[test]
fn a_leak_is_told_with_who_where_to_and_what_to_do() {
    let document = saved(&format!("{LISTENER}{}", leaked_by("telegraf", 1234, 1_200)));
    assert_eq!(
        (&document["verdict"], &document["error"], &document["partial"]),
        (&json!(2), &json!(""), &json!(false))
    );
    assert_eq!(document["states"].as_object().map(serde_json::Map::len), Some(12));
    assert_eq!((&document["states"]["close_wait"], &document["states"]["syn_sent"]), (&json!(1_200), &json!(0)));
    assert_eq!((&document["metrics"]["stuck"], &document["metrics"]["eta"]), (&json!(1_200), &Value::Null));
    let owner = &document["processes"][0];
    assert_eq!((&owner["name"], &owner["stuck"], &owner["severity"]), (&json!("telegraf"), &json!(1_200), &json!(2)));
    assert_eq!(owner["notable"], json!(1));
    let story = owner["story"].as_str().expect("a story");
    let begin = "telegraf[1234] holds 1,200 sockets to 10.0.4.234:8086 in CLOSE-WAIT, the oldest for ";
    assert!(story.starts_with(begin) && story.contains("; now: "), "{story}");
    let pool = &document["pools"][0];
    assert_eq!((&pool["name"], &pool["used"]), (&json!("10.0.0.5 to 10.0.4.234:8086"), &json!(1_200)));
    assert_eq!((&pool["close_wait_ratio"], &pool["holder"]), (&json!(1.0), &json!("telegraf[1234]")));
}

#[test]
fn every_key_is_always_there() {
    let keys = |document: &Value| {
        let mut found = BTreeSet::new();
        paths(document, "", &mut found);
        found
    };
    let ill = keys(&saved(&format!("{LISTENER}{}", leaked_by("telegraf", 1234, 1_200))));
    let well = keys(&saved(LISTENER));
    let missing: Vec<_> = ill.difference(&well).filter(|path| !path.starts_with(".pools[]")).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn names_stay_after_a_restart_are_unique_and_need_no_quoting() {
    let evil =
        |first: u16| -> String { (first..).zip(EVIL_NAMES).map(|(pid, name)| leaked_by(name, pid, 700)).collect() };
    let before = saved(&format!("{LISTENER}{}", evil(2)));
    let after = saved(&format!("{LISTENER}{}", evil(3_000)));
    let sorted = |document: &Value| names(document, "processes").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&before), sorted(&after));
    for list in ["processes", "pools", "listeners", "namespaces"] {
        let names = names(&before, list);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        for name in names {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_@:+/ []".contains(c);
            assert!(name.chars().all(is_plain) && name.len() <= 300, "{name:?}");
        }
    }
}

#[test]
fn it_is_small_however_much_there_is() {
    let many: String = (2..5_002).map(|pid| leaked_by(&format!("worker \u{e0001}{pid}"), pid, 4)).collect();
    let document = saved(&format!("{LISTENER}{many}"));
    let owners = document["processes"].as_array().expect("a list");
    assert_eq!(owners.len(), 32);
    let listed: u64 = owners.iter().map(|row| row["close_wait"].as_u64().expect("a count")).sum();
    assert_eq!(listed + document["other_processes"]["close_wait"].as_u64().expect("a count"), 20_000);
    assert!(document.to_string().len() < 64 * 1024, "{} bytes", document.to_string().len());
}

#[test]
fn what_goes_wrong_is_a_document_too() {
    let run = |options: &[&str]| {
        let mut command = closewatch();
        command.args(["check", "--format", "zabbix"]).args(options).output().expect("closewatch starts")
    };
    for (options, why) in [
        (&["--from", "/nonexistent"][..], "reading /nonexistent: No such file or directory"),
        (&["--policy", "/nonexistent\u{1b}[2J"], "reading /nonexistent\\\\u{1b}[2J: "),
        (&["-w", "stuk=5"], "no metric `stuk`"),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["--quiet"], "--quiet contradicts"),
        (&["--output", "/nonexistent/file"], "opening /nonexistent/file for writing"),
        (&["--netns", "no-such-place"], "no-such-place"),
    ] {
        let output = run(options);
        assert_eq!(output.status.code(), Some(3), "{options:?}");
        let document = document(&output);
        let error = document["error"].as_str().expect("a reason");
        assert!(error.contains(&why.replace("\\\\", "\\")), "{options:?}: {error}");
        assert_eq!(document.as_object().map(serde_json::Map::len), Some(2), "{document}");
    }
}

#[test]
fn past_its_time_it_counts_what_it_saw_and_lists_nothing() {
    in_netns("document::past_its_time_it_counts_what_it_saw_and_lists_nothing", || {
        let server = listen(crate::DESTINATION);
        let leaked: Vec<TcpStream> = (0..crate::LEAKED).map(|_| close_wait(&server)).collect();
        settle();
        let _crowd = Crowd::of(&leaked);
        let seen = cut_short(|limit| {
            let limit = format!("{limit}ms");
            let options = ["check", "--format", "zabbix", "--netns", "current", "--no-history", "-t", &limit];
            let seen = document(&closewatch().args(options).output().expect("closewatch starts"));
            let cut = match (&seen["partial"], seen["error"] == "" && seen["sockets"].as_u64() > Some(0)) {
                (_, false) => Cut::TooShort,
                (Value::Bool(true), true) => Cut::Short,
                _ => Cut::No,
            };
            (cut, seen)
        });
        for list in ["processes", "pools", "listeners", "namespaces"] {
            assert_eq!(seen[list], Value::Null, "what is missing must not look as if it were gone");
        }
    });
}

#[test]
fn who_may_not_see_the_processes_tells_the_user_and_all_counts() {
    let test = "document::who_may_not_see_the_processes_tells_the_user_and_all_counts";
    if !is_root() {
        return skip(test, "needs root, to become another user");
    }
    in_netns(test, || {
        let (_dir, program) = public_place();
        let server = listen(crate::DESTINATION);
        let _leaked: Vec<TcpStream> = (0..crate::LEAKED).map(|_| close_wait(&server)).collect();
        settle();
        let options = ["check", "--format", "zabbix", "--netns", "current", "--stuck-after", "1ms"];
        let mut seen = Value::Null;
        wait_until("the sockets to be stuck", || {
            seen = document(&as_nobody(&program).args(options).output().expect("setpriv starts"));
            seen["metrics"]["stuck"] == json!(crate::LEAKED)
        });
        assert_eq!((&seen["owners_complete"], &seen["states"]["close_wait"]), (&json!(false), &json!(crate::LEAKED)));
        let owner = &seen["processes"][0];
        // And the unit, where the test runs in one: see `tests/hidden.rs`.
        let name = owner["name"].as_str().expect("a name");
        assert!(name == "user 0" || name.starts_with("user 0 in "), "{name}");
        assert!([json!("user"), json!("user_in_unit")].contains(&owner["by"]), "{owner}");
        assert_eq!(owner["stuck"], json!(crate::LEAKED));
        assert_eq!(owner["destination"], json!(crate::DESTINATION));
        let whole = document(&Command::new(&program).args(options).output().expect("closewatch starts"));
        let by = &whole["processes"][0]["by"];
        assert!(!by.as_str().expect("a word").starts_with("user"), "root sees who: {by}");
    });
}
