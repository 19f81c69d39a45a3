//! `closewatch check --format influx`: read by a strict parser of the line protocol, written from its grammar.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use support::crowd::{Crowd, LEAKED_EACH, act};
use support::saved::{EVIL_NAMES, LISTENER, check_saved, leaked_by};
use support::{closewatch, in_netns, text};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Integer(i64),
    Float(f64),
}

#[derive(Debug)]
struct Line {
    measurement: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Field>,
}

/// Splits at the separators that no backslash escapes, and undoes the escapes of each part.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().expect("an escape at the end of a part escapes what follows it");
                assert!(",= ".contains(next), "an escape that there is not: {text}");
                parts.last_mut().expect("a part").extend(['\\', next]);
            }
            c if c == separator => parts.push(String::new()),
            c => parts.last_mut().expect("a part").push(c),
        }
    }
    parts
}

fn plain(text: &str) -> String {
    let plain = text.replace("\\ ", " ").replace("\\,", ",").replace("\\=", "=");
    assert!(!plain.is_empty() && plain.chars().all(|c| !c.is_control()), "{text:?}");
    plain
}

/// `measurement,tag=value field=1i,other=0.5`, without a timestamp.
fn line(text: &str) -> Line {
    let parts = split(text, ' ');
    assert_eq!(parts.len(), 2, "tags and fields, and no timestamp: {text}");
    let mut head = split(&parts[0], ',').into_iter();
    let measurement = plain(&head.next().expect("a measurement"));
    let pair = |text: String| -> (String, String) {
        let pair = split(&text, '=');
        assert_eq!(pair.len(), 2, "{text}");
        (plain(&pair[0]), pair[1].clone())
    };
    let mut tags = BTreeMap::new();
    for (name, value) in head.map(pair) {
        assert!(tags.insert(name, plain(&value)).is_none(), "a tag comes twice: {text}");
    }
    let mut fields = BTreeMap::new();
    for (name, value) in split(&parts[1], ',').into_iter().map(pair) {
        let number = match value.strip_suffix('i') {
            Some(digits) => Field::Integer(digits.parse().unwrap_or_else(|error| panic!("{value}: {error}"))),
            None => Field::Float(value.parse().unwrap_or_else(|error| panic!("{value}: {error}"))),
        };
        assert!(fields.insert(name, number).is_none(), "a field comes twice: {text}");
    }
    Line { measurement, tags, fields }
}

fn lines(saved: &str, options: &[&str]) -> Vec<Line> {
    read(check_saved(saved, "influx", options))
}

fn read(output: Output) -> Vec<Line> {
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    printed.strip_suffix('\n').expect("a last line end").split('\n').map(line).collect()
}

#[test]
fn the_grammar_itself_is_strict() {
    for wrong in
        ["m", "m,a= b=1", "m b=", "m b=1 17", "m,a=1,a=2 b=1", "m b=1,b=2", "m b=x", "m,a b=1", "m,a\\x=1 b=1i"]
    {
        assert!(std::panic::catch_unwind(|| line(wrong)).is_err(), "{wrong} is read as a line");
    }
    let read = line("m\\ x,a=b\\,c f=1i,g=0.5");
    assert_eq!((&*read.measurement, &*read.tags["a"]), ("m x", "b,c"));
    assert_eq!((read.fields["f"], read.fields["g"]), (Field::Integer(1), Field::Float(0.5)));
}

#[test]
fn a_leak_is_told_in_the_words_of_netstat() {
    let lines = lines(&format!("{LISTENER}{}", leaked_by("telegraf", 1234, 1_200)), &[]);
    let host = &lines[0];
    assert_eq!((&*host.measurement, host.tags.len()), ("closewatch", 0));
    for field in [
        "tcp_established",
        "tcp_syn_sent",
        "tcp_syn_recv",
        "tcp_fin_wait1",
        "tcp_fin_wait2",
        "tcp_time_wait",
        "tcp_close",
        "tcp_close_wait",
        "tcp_last_ack",
        "tcp_listen",
        "tcp_closing",
    ] {
        assert!(matches!(host.fields[field], Field::Integer(_)), "{field}");
    }
    assert_eq!(host.fields["tcp_close_wait"], Field::Integer(1_200));
    assert_eq!((host.fields["verdict"], host.fields["stuck"]), (Field::Integer(2), Field::Integer(1_200)));
    let owner =
        lines.iter().find(|line| line.tags.get("owner").is_some_and(|owner| owner == "telegraf")).expect("listed");
    assert_eq!((&*owner.measurement, owner.fields["tcp_close_wait"]), ("closewatch_process", Field::Integer(1_200)));
    let pool = lines.iter().find(|line| line.measurement == "closewatch_pool").expect("a pool");
    assert_eq!((&*pool.tags["source"], pool.fields["used"]), ("10.0.0.5", Field::Integer(1_200)));
    assert!(matches!(pool.fields["used_ratio"], Field::Float(share) if (share - 1_200.0 / 28_232.0).abs() < 1e-9));
}

#[test]
fn names_cannot_break_out_and_fields_keep_their_types() {
    let evil: String = (2..).zip(EVIL_NAMES).map(|(pid, name)| leaked_by(name, pid, 12)).collect();
    let mut types: BTreeMap<(String, String), BTreeSet<bool>> = BTreeMap::new();
    for saved in [LISTENER.to_owned(), format!("{LISTENER}{evil}"), format!("{LISTENER}{}", leaked_by("x", 5, 900))] {
        for line in lines(&saved, &["--port-range", "mine=40000-40005"]) {
            for (name, field) in line.fields {
                let is_whole = matches!(field, Field::Integer(_));
                types.entry((line.measurement.clone(), name)).or_default().insert(is_whole);
            }
        }
    }
    assert!(types.values().all(|kinds| kinds.len() == 1), "{types:?}");
}

#[test]
fn what_could_not_be_looked_at_is_no_data() {
    let output = check_saved("no table\n", "influx", &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), String::new()));
    assert!(text(&output.stderr).starts_with("closewatch: "));
    let quiet = check_saved(LISTENER, "influx", &["--quiet"]);
    assert_eq!(quiet.status.code(), Some(3), "Telegraf would take silence for a fault");
}

#[test]
fn a_player_plays_its_role() {
    act();
}

#[test]
fn programs_with_the_worst_names_are_lines_of_their_own() {
    in_netns("programs_with_the_worst_names_are_lines_of_their_own", || {
        let crowd = Crowd::gather();
        let options = ["check", "--netns", "current", "--no-history", "--format", "influx"];
        let lines = read(closewatch().args(options).output().expect("closewatch starts"));
        assert_eq!(lines[0].fields["tcp_close_wait"], Field::Integer(crowd.leaked() as i64));
        let holders: Vec<&Line> = lines
            .iter()
            .filter(|line| line.measurement == "closewatch_process")
            .filter(|line| line.fields["tcp_close_wait"] != Field::Integer(0))
            .collect();
        // All are one where the tests run in a unit of systemd.
        if holders[0].tags["by"] != "unit" {
            let names: BTreeSet<&str> = holders.iter().map(|line| &*line.tags["owner"]).collect();
            assert_eq!(names.len(), crowd.count, "no two names became one: {names:?}");
            let held = Field::Integer(LEAKED_EACH as i64);
            assert!(holders.iter().all(|line| line.fields["tcp_close_wait"] == held), "{holders:#?}");
        }
    });
}
