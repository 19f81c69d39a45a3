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

use closewatch::capture::recording::{decode, encode};
use closewatch::census::Query;
use closewatch::diagnosis::finding::Verdict;
use closewatch::diagnosis::policy::Policy;
use closewatch::model::selection::Selection;
use closewatch::model::snapshot::{Names, RecordingNote, SavedFile, Snapshot};
use closewatch::render::{Color, Detail, Format, Page, render};
use closewatch::report;
use proptest::prelude::{ProptestConfig, proptest};

/// What `report` prints about the snapshot, in one format, and its verdict.
pub fn report_on(snapshot: &Snapshot, format: Format) -> (String, Verdict) {
    let policy = Policy::default();
    let query = Query { selection: Selection::default(), port_ranges: Vec::new(), stuck_after: policy.stuck_after };
    let report = report::build(snapshot, &query, &policy);
    let page = Page { width: Some(100), color: Color::Off, detail: Detail::Full };
    let mut bytes = Vec::new();
    render(&report, format, &page, &mut bytes).expect("a time that calendars have, and memory to write to");
    (String::from_utf8(bytes).expect("reports are UTF-8"), report.verdict)
}

/// The verdict on the snapshot.
pub fn verdict_on(snapshot: &Snapshot) -> Verdict {
    let policy = Policy::default();
    let query = Query { selection: Selection::default(), port_ranges: Vec::new(), stuck_after: policy.stuck_after };
    report::build(snapshot, &query, &policy).verdict
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
