//! What people read: a scripted month in a real store, rendered and compared with the files in `fixtures/history`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test history_command` writes the files anew; the difference is then to be read by a person.

use std::path::PathBuf;
use std::time::Duration;

use closewatch::chronicle::{Chronicle, Tone};
use closewatch::render::chronicle::{Format, render};
use closewatch::render::{Color, Detail, Page};

use crate::world::{DAY, Host, at, chronicle};

const PLAIN: Page = Page { width: Some(80), color: Color::Off, detail: Detail::Brief };
const SOON: Duration = Duration::from_secs(120);

pub fn text(chronicle: &Chronicle, format: Format, page: &Page) -> String {
    let mut bytes = Vec::new();
    render(chronicle, format, page, &mut bytes).expect("writing to memory works");
    String::from_utf8(bytes).expect("the history is UTF-8")
}

fn assert_golden(name: &str, seen: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/history").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, seen).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(expected == seen, "{name} differs from what is rendered now:\n{seen}");
}

fn restarted() -> Host {
    Host { leak_per_day: 2_000, starts: vec![0, 4 * DAY, 8 * DAY], ..Host::leaking() }
}

#[test]
fn tables_look_as_expected() {
    let healthy = Host { leak_per_day: 0, ..Host::leaking() };
    let stories = [
        ("leak", chronicle(&Host::leaking().looks(30), SOON, None)),
        ("restarts", chronicle(&restarted().looks(12), SOON, None)),
        ("healthy", chronicle(&healthy.looks(9), SOON, None)),
        ("first-hour", chronicle(&Host::leaking().looks(1)[..12], SOON, None)),
        ("since", chronicle(&restarted().looks(12), SOON, Some(at(10 * DAY)))),
        ("empty", chronicle(&[], SOON, None)),
    ];
    for (name, story) in &stories {
        for width in [80, 160] {
            let page = Page { width: Some(width), ..PLAIN };
            assert_golden(&format!("{name}.{width}.txt"), &text(story, Format::Table, &page));
        }
    }
    let full = Page { detail: Detail::Full, ..PLAIN };
    assert_golden("restarts.verbose.txt", &text(&stories[1].1, Format::Table, &full));
    let tones = stories.each_ref().map(|(_, story)| story.tone);
    assert_eq!(tones, [Tone::Wall, Tone::Wall, Tone::Steady, Tone::NotKnown, Tone::Wall, Tone::NotKnown]);
}

/// A number as the program groups it.
pub fn grouped(number: u64) -> String {
    closewatch::model::wording::count(number)
}
