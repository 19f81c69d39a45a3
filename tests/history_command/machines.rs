//! What machines read: JSON that keeps to its schema, CSV that keeps to RFC 4180, and names that harm neither.

use std::collections::BTreeSet;
use std::time::Duration;

use closewatch::chronicle::Chronicle;
use closewatch::render::chronicle::Format;
use closewatch::render::{Color, Detail, Page, schema};
use serde_json::{Value, json};

use crate::strict::assert_every_field_is_needed_and_known;
use crate::tables::text;
use crate::world::{DAY, EVERY, Host, at, chronicle};

const FULL: Page = Page { width: Some(80), color: Color::Off, detail: Detail::Full };
const SOON: Duration = Duration::from_secs(60);

/// What strangers call their programs and namespaces.
const NAMES: [&str; 4] = ["=cmd|' /C calc'!A0", "a\u{1b}[31m\r\n\",\u{202e}b", "\"quoted, and\" more", "-R\u{9b}2J"];

fn hostile(name: &str) -> Chronicle {
    let netns = vec![name.to_owned(), "init".to_owned()];
    chronicle(&Host { name: name.to_owned(), netns, ..Host::leaking() }.looks(3), SOON, None)
}

fn json_of(chronicle: &Chronicle) -> Value {
    serde_json::from_str(&text(chronicle, Format::Json, &FULL)).expect("JSON")
}

#[test]
fn the_json_history_keeps_to_its_schema() {
    let schema: Value = serde_json::from_str(schema::HISTORY).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    let validator = jsonschema::validator_for(&schema).expect("the schema compiles");
    let restarted = Host { leak_per_day: 2_000, starts: vec![0, 4 * DAY], ..Host::leaking() };
    let mut gone = Host::leaking().looks(4);
    for look in &mut gone[1_000..] {
        look.processes.truncate(1);
        look.pools.truncate(1);
    }
    let stories = [
        chronicle(&Host::leaking().looks(30), SOON, None),
        chronicle(&restarted.looks(6), SOON, Some(at(5 * DAY))),
        chronicle(&gone, SOON, None),
        chronicle(&[], SOON, None),
        hostile(NAMES[1]),
    ];
    for story in &stories {
        let document = json_of(story);
        let wrong: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    let mut few = json_of(&stories[1]);
    // Whole lists would be cloned for each field: two of each stand for all.
    few["looks"].as_array_mut().expect("looks").truncate(2);
    few["series"].as_array_mut().expect("series").truncate(2);
    for series in few["series"].as_array_mut().expect("series") {
        series["points"].as_array_mut().expect("points").truncate(2);
    }
    assert_every_field_is_needed_and_known(&validator, &few, "");
}

#[test]
fn json_and_table_tell_the_same_numbers() {
    let story = chronicle(&Host::leaking().looks(30), SOON, None);
    let document = json_of(&story);
    let table = text(&story, Format::Table, &Page { width: Some(160), ..FULL });
    let ports = &document["series"][0];
    assert_eq!((&ports["kind"], &ports["destination"]), (&json!("ports"), &json!("10.0.3.7:8086")));
    assert_eq!((&ports["used"], &ports["leaked"], &ports["limit"]), (&json!(21_061), &json!(21_000), &json!(28_232)));
    assert_eq!((&ports["growth"]["state"], &ports["growth"]["kind"]), (&json!("growing"), &json!("leak")));
    assert_eq!(ports["holder_pid"], json!(1_234));
    let per_hour = ports["growth"]["per_hour"].as_f64().expect("a number");
    assert!((per_hour - 700.0 / 24.0).abs() < 0.1, "{per_hour}");
    let expected = ports["wall"]["expected_at"].as_str().expect("a moment");
    assert!(table.contains(&expected[..16].replace('T', " ")), "{expected}\n{table}");
    assert!(table.contains(document["headline"].as_str().expect("a sentence").split(':').next().expect("a part")));
    assert_eq!(document["outlook"], json!("wall"));
    assert_eq!(document["remembered"]["looks"], json!(8_641));
    assert!(table.contains("8,641 looks: 577 one by one, before that 672 hours"), "{table}");
    assert_eq!(document["looks"].as_array().map(Vec::len), Some(577 + 672));
    assert_eq!(ports["points"].as_array().map(Vec::len), Some(577 + 672));
    assert_eq!(document["looks"][1_248]["states"]["close_wait"], json!(21_001));
    // 700 a day: of 21,000 all but the last day's have been stuck for a day.
    assert_eq!(document["remembered"]["stuck"], json!(21_000));
    let for_a_day = document["remembered"]["stuck_for_a_day"].as_u64().expect("a count");
    assert!((20_298..=20_302).contains(&for_a_day), "{for_a_day}");
}

#[test]
fn since_shows_less_and_judges_by_all() {
    let looks = Host::leaking().looks(10);
    let (all, late) = (chronicle(&looks, SOON, None), chronicle(&looks, SOON, Some(at(9 * DAY))));
    let (all, late) = (json_of(&all), json_of(&late));
    for same in ["headline", "remembered", "at"] {
        assert_eq!(all[same], late[same]);
    }
    assert_eq!(all["series"][0]["growth"], late["series"][0]["growth"]);
    let points = late["series"][0]["points"].as_array().expect("points");
    assert_eq!(points.len() as u64, DAY / EVERY + 1);
    assert_eq!(points[0]["at"], json!("2026-01-14T00:00:00.000Z"));
    assert_eq!(late["looks"].as_array().map(Vec::len), Some(points.len()));
}

/// Reads CSV as RFC 4180 has it, and nothing else.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let mut rest = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        let record = records.last_mut().expect("a record");
        let is_fresh = record.last().is_some_and(String::is_empty);
        match (c, quoted) {
            ('"', true) if rest.peek() == Some(&'"') => record.last_mut().expect("a field").extend(rest.next()),
            ('"', true) => {
                quoted = false;
                assert!(matches!(rest.peek(), Some(',' | '\r')), "text behind a quoted field");
            }
            ('"', false) if is_fresh => quoted = true,
            (',', false) => record.push(String::new()),
            ('\r', false) => {
                assert_eq!(rest.next(), Some('\n'), "a bare carriage return");
                records.push(vec![String::new()]);
            }
            ('"' | '\n', false) => panic!("a bare {c:?}"),
            (c, _) => record.last_mut().expect("a field").push(c),
        }
    }
    assert!(!quoted, "an open quote");
    assert_eq!(records.pop(), Some(vec![String::new()]), "the last record ends like all others");
    records
}

#[test]
fn csv_has_a_row_for_each_number_of_each_look() {
    let story = chronicle(&Host::leaking().looks(4), SOON, None);
    let records = records(&text(&story, Format::Csv, &FULL));
    let (header, rows) = records.split_first().expect("a header");
    let column = |name: &str| header.iter().position(|column| column == name).expect("a column");
    assert!(rows.iter().all(|row| row.len() == header.len()));
    let per_look = 1 + 12 + 2 * 6 + 3 + 2 * 2 + 3 + 1;
    assert_eq!(rows.len(), story.looks.len() * per_look);
    let of = |time: &str, kind: &str, number: &str, name: &str| {
        let is_it = |row: &&Vec<String>| {
            row[column("time")] == time
                && row[column("kind")] == kind
                && row[column("number")] == number
                && (row[column("name")] == name || row[column("destination")] == name)
        };
        let row = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row of {kind} {number} {name} at {time}"));
        ["looks", "least", "most", "last", "limit"].map(|name| row[column(name)].clone())
    };
    // The first hour: 2 sockets at 00:05, 26 at 00:55.
    let hour = "2026-01-05T00:00:00.000Z";
    assert_eq!(of(hour, "process", "stuck", "telegraf"), ["12", "0", "26", "26", ""]);
    assert_eq!(of(hour, "process", "leaked", "telegraf"), ["12", "0", "", "", ""]);
    let end = "2026-01-09T00:00:00.000Z";
    assert_eq!(of(end, "pool", "stuck", "10.0.3.7:8086"), ["1", "2800", "2800", "2800", ""]);
    assert_eq!(of(end, "process", "leaked", "telegraf"), ["1", "2800", "2800", "2800", ""]);
    assert_eq!(of(end, "process", "descriptors", "web")[4], "65536");
    assert_eq!(of(end, "limit", "file_max", "")[3..], ["11800", "1048576"]);
    assert_eq!(of(end, "state", "listen", "")[3], "14");
}

#[test]
fn hostile_names_harm_no_reader() {
    for name in NAMES {
        let story = hostile(name);
        for width in [Some(80), Some(160), None] {
            let table = text(&story, Format::Table, &Page { width, ..FULL });
            let odd: BTreeSet<char> = table.chars().filter(|c| *c != '\n' && c.escape_debug().len() > 1).collect();
            assert!(odd.iter().all(|c| "'\"\\".contains(*c)), "{odd:?}");
        }
        let json = text(&story, Format::Json, &FULL);
        assert!(json.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
        let series = json_of(&story)["series"].clone();
        let names: Vec<&str> =
            series.as_array().expect("series").iter().filter_map(|row| row["process"]["name"].as_str()).collect();
        assert!(names.contains(&name), "to a parser the name is what it is: {names:?}");
        let csv = text(&story, Format::Csv, &FULL);
        assert!(csv.replace("\r\n", "").chars().all(|c| !c.is_control() && c != '\u{202e}'));
        let fields: BTreeSet<String> = records(&csv).into_iter().flatten().collect();
        assert!(fields.iter().all(|field| !field.starts_with(['=', '+', '-', '@'])), "a formula");
        assert!(
            fields.iter().any(|field| field.len() > 9 && field.ends_with(name.chars().next_back().expect("a name"))),
            "{fields:?}"
        );
    }
}

#[test]
fn no_line_of_a_table_is_wider_than_the_page() {
    use unicode_width::UnicodeWidthStr;
    let restarted = Host { leak_per_day: 9_000, starts: vec![0, 3 * DAY], ..Host::leaking() };
    for story in [chronicle(&Host::leaking().looks(9), SOON, None), chronicle(&restarted.looks(6), SOON, None)] {
        for width in [80, 100, 120, 160, 200, 240] {
            for detail in [Detail::Brief, Detail::Full] {
                let table = text(&story, Format::Table, &Page { width: Some(width), color: Color::Off, detail });
                for line in table.lines() {
                    assert!(line.width() <= usize::from(width), "{width}: {line}");
                    assert_eq!(line.trim_end(), line, "{width}: a line ends in blanks");
                }
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    let story = chronicle(&Host::leaking().looks(9), SOON, None);
    let plain = text(&story, Format::Table, &FULL);
    let mut coloured = text(&story, Format::Table, &Page { color: Color::On, ..FULL });
    assert!(coloured.contains('\u{1b}'));
    while let Some(start) = coloured.find('\u{1b}') {
        let end = coloured[start..].find('m').expect("a sequence ends in m");
        coloured.replace_range(start..=start + end, "");
    }
    assert_eq!(coloured, plain);
}
