//! What readers see: hand-made reports, rendered in every format and compared with the files in `fixtures/render`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test render` writes the files anew; the difference is then to be read by a person.

#[path = "../support/strict.rs"]
#[allow(unreachable_pub, reason = "shared with other tests")]
mod strict;

mod builder;
mod containers;
mod hidden;
mod pods;
mod stories;

use std::path::PathBuf;

use closewatch::render::{Color, Detail, Format, Page, render, schema};
use closewatch::report::Report;
use unicode_width::UnicodeWidthStr;

use self::builder::Story;
use self::strict::assert_every_field_is_needed_and_known;

type Teller = fn() -> Story;

const STORIES: [(&str, Teller); 7] = [
    ("telegraf", stories::telegraf),
    ("quiet", stories::quiet),
    ("unprivileged", stories::unprivileged),
    ("hostile", stories::hostile),
    ("containers", containers::containers),
    ("pods", pods::pods),
    ("hidden", hidden::hidden),
];

const PLAIN: Page = Page { width: Some(80), color: Color::Off, detail: Detail::Brief };

fn text(report: &Report<'_>, format: Format, page: &Page) -> String {
    let mut bytes = Vec::new();
    render(report, format, page, &mut bytes).expect("writing to memory works");
    String::from_utf8(bytes).expect("reports are UTF-8")
}

fn table(story: Teller, page: Page) -> String {
    story().tell(|report| text(report, Format::Table, &page))
}

fn json(story: Teller) -> serde_json::Value {
    let text = story().tell(|report| text(report, Format::Json, &PLAIN));
    serde_json::from_str(&text).expect("the JSON report is JSON")
}

fn assert_golden(name: &str, seen: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/render").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, seen).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(expected == seen, "{name} differs from what is rendered now:\n{seen}");
}

#[test]
fn tables_look_as_expected() {
    for (name, story) in STORIES {
        for width in [80, 160] {
            assert_golden(&format!("{name}.{width}.txt"), &table(story, Page { width: Some(width), ..PLAIN }));
        }
    }
    let full = Page { detail: Detail::Full, ..PLAIN };
    assert_golden("telegraf.verbose.txt", &table(stories::telegraf, full));
    assert_golden("quiet.verbose.txt", &table(stories::quiet, full));
    assert_golden("containers.verbose.txt", &table(containers::containers, Page { width: Some(160), ..full }));
    assert_golden("telegraf.piped.txt", &table(stories::telegraf, Page { width: None, ..PLAIN }));
}

#[test]
fn json_looks_as_expected() {
    for (name, story) in STORIES {
        let seen = story().tell(|report| text(report, Format::Json, &PLAIN));
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        assert_golden(&format!("{name}.json"), &seen.replace(&version, "\"version\": \"VERSION\""));
    }
}

#[test]
fn plugin_output_looks_as_expected() {
    for (name, story) in STORIES {
        assert_golden(&format!("{name}.nagios.txt"), &story().tell(|report| text(report, Format::Nagios, &PLAIN)));
    }
    let full = Page { detail: Detail::Full, ..PLAIN };
    let verbose = stories::telegraf().tell(|report| text(report, Format::Nagios, &full));
    assert_golden("telegraf.nagios.verbose.txt", &verbose);
}

#[test]
fn numbers_for_monitoring_look_as_expected() {
    for (name, story) in STORIES {
        for (kind, format) in
            [("prom", Format::Prometheus), ("influx", Format::Influx), ("zabbix.json", Format::Zabbix)]
        {
            let seen = story().tell(|report| text(report, format, &PLAIN));
            let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
            assert_golden(&format!("{name}.{kind}"), &seen.replace(&version, "\"version\":\"VERSION\""));
        }
    }
}

#[test]
fn no_line_of_a_table_is_wider_than_the_page() {
    for (name, story) in STORIES {
        // A command to paste is never broken.
        let remedies = story().findings.into_iter().flat_map(|finding| finding.remedies);
        let commands: Vec<String> = remedies.filter_map(|remedy| remedy.command).collect();
        for width in [80, 100, 120, 160, 200] {
            for detail in [Detail::Brief, Detail::Full] {
                let page = Page { width: Some(width), color: Color::Off, detail };
                let text = table(story, page);
                for line in text.lines().filter(|line| !commands.iter().any(|command| line.trim() == command)) {
                    assert!(line.width() <= usize::from(width), "{name} at {width}: {line}");
                    assert_eq!(line.trim_end(), line, "{name} at {width} ends in blanks");
                }
            }
        }
    }
}

#[test]
fn addresses_are_whole_at_every_width() {
    let addresses = ["2001:db8:1111:2222:3333:4444:5555:6666", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535"];
    for width in [Some(1), Some(20), Some(40), Some(80), None] {
        let text = table(stories::hostile, Page { width, ..PLAIN });
        for address in addresses {
            assert!(text.contains(address), "{address} at {width:?}:\n{text}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, story) in STORIES {
        let plain = table(story, PLAIN);
        let mut coloured = table(story, Page { color: Color::On, ..PLAIN });
        assert!(coloured.contains('\u{1b}'), "{name} has no colour");
        while let Some(start) = coloured.find('\u{1b}') {
            let end = coloured[start..].find('m').expect("a sequence ends in m");
            coloured.replace_range(start..=start + end, "");
        }
        assert_eq!(coloured, plain, "{name}");
    }
}

#[test]
fn nothing_that_a_terminal_acts_on_gets_through() {
    for width in [Some(80), Some(160), None] {
        let text = table(stories::hostile, Page { width, color: Color::Off, detail: Detail::Full });
        let odd: Vec<char> = text.chars().filter(|c| *c != '\n' && c.escape_debug().len() > 1).collect();
        assert!(odd.iter().all(|c| "'\"\\".contains(*c)), "{odd:?}");
    }
    let text = stories::hostile().tell(|report| text(report, Format::Json, &PLAIN));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}' && c != '\u{200b}'));
}

#[test]
fn reports_and_only_reports_keep_to_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(schema::REPORT).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a schema");
    let validator = jsonschema::validator_for(&schema).expect("the schema compiles");
    for (name, story) in STORIES.into_iter().chain([("everything", stories::one_of_everything as Teller)]) {
        let report = json(story);
        let errors: Vec<String> =
            validator.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path)).collect();
        assert!(errors.is_empty(), "{name}:\n{}", errors.join("\n"));
        assert_every_field_is_needed_and_known(&validator, &report, "");
    }
}

#[test]
fn both_formats_tell_the_same_numbers() {
    let report = json(stories::telegraf);
    let page = table(stories::telegraf, Page { width: Some(160), ..PLAIN });
    assert_eq!(report["totals"]["states"]["close_wait"], 27_911);
    assert!(page.contains("CLOSE-WAIT 27,911"), "{page}");
    assert_eq!(report["port_pools"][0]["used"], 27_912);
    assert_eq!(report["port_pools"][0]["remaining_at_least"], 298);
    assert!(page.contains("27,912 of 28,232") && page.contains("298–320"), "{page}");
    let process = &report["processes"][0];
    assert_eq!(process["close_wait"]["oldest_at_least_s"], 21.0 * 86_400.0);
    assert_eq!(process["fds"]["open"], 27_994);
    assert!(page.contains("≥ 21 days") && page.contains("27,994 of 65,536"), "{page}");
    let states = report["totals"]["states"].as_object().expect("an object");
    assert_eq!(states.len(), 12);
    assert_eq!(states.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), report["totals"]["sockets"]);
}

#[test]
fn namespaces_are_shown_where_there_is_something_to_tell_apart() {
    let one = table(stories::telegraf, PLAIN);
    assert!(!one.contains("NAMESPACES"), "{one}");
    let brief = table(containers::containers, Page { width: Some(160), ..PLAIN });
    assert!(brief.contains("  pod 1a2b3c4d") && !brief.contains("  upower.service"), "{brief}");
    assert!(brief.contains("6 namespaces (1 without any, 1 read as text)"), "{brief}");
    let full = table(containers::containers, Page { width: None, detail: Detail::Full, ..PLAIN });
    assert!(full.contains("  upower.service") && full.contains("12.8 ms") && full.contains("containerd"), "{full}");
    assert!(full.contains("tracked connections in pod 1a2b3c4d 41 of 262,144"), "{full}");
}

#[test]
fn rows_that_are_left_out_are_counted() {
    let brief = table(stories::telegraf, PLAIN);
    assert!(brief.contains("… and 4 more"), "{brief}");
    let full = table(stories::telegraf, Page { detail: Detail::Full, ..PLAIN });
    assert!(!full.contains("more") && full.contains("dialer"), "{full}");
}
