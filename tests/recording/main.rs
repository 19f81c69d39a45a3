//! Recordings: what is written is read back to the letter, and what is damaged says so.

#![allow(unreachable_pub, reason = "`pub` here means: for the other files of this test")]

#[path = "../support/mod.rs"]
mod support;

mod anonymous;
mod arbitrary;
mod corpus;
mod damage;
mod hostile;
mod live;
mod sample;

use std::time::Duration;

use closewatch::capture::recording::frame::Reader;
use closewatch::capture::recording::{decode, encode};
use closewatch::census::Query;
use closewatch::diagnosis::finding::Verdict;
use closewatch::diagnosis::policy::Policy;
use closewatch::model::ghost::{Ghost, GhostEnd, GhostScan};
use closewatch::model::past::Past;
use closewatch::model::process::{Holding, Placement, ProcessIndex};
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{Cgroup, Names, RecordingNote, SavedFile, Snapshot};
use closewatch::model::socket::{CgroupId, Inode};
use closewatch::model::tuple::Endpoint;
use closewatch::render::{Color, Detail, Format, Page, render};
use closewatch::report;
use proptest::prelude::{ProptestConfig, proptest};

/// What `report` prints about the snapshot, in one format, and its verdict.
pub fn report_on(snapshot: &Snapshot, format: Format) -> (String, Verdict) {
    let policy = Policy::default();
    let query = Query {
        selection: Selection::default(),
        port_ranges: Vec::new(),
        stuck_after: policy.stuck_after,
        snat_limit: None,
    };
    let past = Past::default();
    let report = report::build(snapshot, &query, &past, &policy);
    let page = Page { width: Some(100), color: Color::Off, detail: Detail::Full };
    let mut bytes = Vec::new();
    render(&report, format, &page, &mut bytes).expect("a time that calendars have, and memory to write to");
    (String::from_utf8(bytes).expect("reports are UTF-8"), report.verdict)
}

/// The verdict on the snapshot.
pub fn verdict_on(snapshot: &Snapshot) -> Verdict {
    let policy = Policy::default();
    let query = Query {
        selection: Selection::default(),
        port_ranges: Vec::new(),
        stuck_after: policy.stuck_after,
        snat_limit: None,
    };
    report::build(snapshot, &query, &Past::default(), &policy).verdict
}

/// The snapshot without what tells that it was read from a file.
pub fn as_seen(mut snapshot: Snapshot) -> Snapshot {
    snapshot.file = None;
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_was_seen_reads_back_to_the_letter(snapshot in arbitrary::snapshot()) {
        for names in [Names::Real, Names::Invented] {
            let bytes = encode(&snapshot, names).expect("small");
            let read = decode(&bytes).expect("whole");
            let program = format!("closewatch {}", env!("CARGO_PKG_VERSION"));
            let note = RecordingNote { program, names };
            assert_eq!(read.file, Some(SavedFile { name: None, recording: Some(note) }));
            assert_eq!(as_seen(read), snapshot);
        }
    }

    #[test]
    fn whatever_is_read_can_be_reported_on(snapshot in arbitrary::snapshot()) {
        let read = decode(&encode(&snapshot, Names::Real).expect("small")).expect("whole");
        let (table, verdict) = report_on(&read, Format::Table);
        assert!(table.contains("recorded by closewatch"), "{table}");
        let read = as_seen(read);
        assert_eq!(report_on(&read, Format::Json), report_on(&snapshot, Format::Json));
        assert_eq!(report_on(&read, Format::Table).1, verdict);
    }
}

#[test]
fn ghosts_read_back_to_the_letter() {
    let mut snapshot = sample::leaking_host(4);
    snapshot.ghosts = Some(GhostScan {
        ghosts: vec![Ghost {
            holding: Holding { inode: Inode::new(900_000).expect("not 0"), process: ProcessIndex(0), fd: 4_000 },
            end: GhostEnd::Refused,
            local: Some(Endpoint::new("10.0.0.5".parse().expect("an address"), 40_001)),
            untouched: true,
            silent_for: Some(Duration::from_secs(90)),
        }],
        undecided: vec![ProcessIndex(1)],
    });
    let bytes = encode(&snapshot, Names::Real).expect("small");
    assert_eq!(as_seen(decode(&bytes).expect("whole")), snapshot);
}

#[test]
fn a_recording_without_hidden_holders_is_as_it_always_was() {
    let mut snapshot = sample::leaking_host(4);
    // The payloads are compressed; what older programs read is what is in them.
    let has = |snapshot: &Snapshot, word: &str| {
        let bytes = encode(snapshot, Names::Real).expect("small");
        let mut reader = Reader::open(&bytes).expect("a first line");
        let mut payloads = Vec::new();
        while let Some(section) = reader.next_section().expect("small") {
            payloads.extend(section.and_then(|section| section.payload()).expect("whole"));
        }
        String::from_utf8(payloads).expect("JSON").contains(word)
    };
    assert!(has(&snapshot, "\"ghosts\"") && !has(&snapshot, "\"cgroups\""));
    let unit = Some("telegraf.service".to_owned());
    let placement = Placement { unit, ..Placement::default() };
    snapshot.cgroups = vec![Cgroup { id: CgroupId::new(4242).expect("not 0"), placement }];
    assert!(has(&snapshot, "\"cgroups\":1"));
}
