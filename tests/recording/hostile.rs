//! Recordings whose checksums fit and whose content nobody wrote: an error or a gap, never a panic.

use closewatch::capture::recording::frame::{FrameError, Kind, MAX_SECTION_BYTES, Reader, Writer};
use closewatch::capture::recording::{RecordingError, decode, encode};
use closewatch::model::snapshot::{Gap, Hides, Names, Snapshot};
use closewatch::render::Format;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::sample::Index;

use crate::{arbitrary, report_on, sample};

/// The sections of a recording, as what they are and what is in them.
fn sections(bytes: &[u8]) -> Vec<([u8; 4], u32, String)> {
    let mut reader = Reader::open(bytes).expect("a recording");
    let mut sections = Vec::new();
    while let Some(section) = reader.next_section().expect("small") {
        let section = section.expect("whole");
        let text = String::from_utf8(section.payload().expect("whole")).expect("JSON");
        sections.push((section.kind.0, section.first, text));
    }
    sections
}

fn framed(sections: &[([u8; 4], u32, String)]) -> Vec<u8> {
    let mut writer = Writer::default();
    for (kind, first, text) in sections {
        writer.section(Kind(*kind), *first, text.as_bytes()).expect("small");
    }
    writer.finish()
}

fn sample() -> Vec<([u8; 4], u32, String)> {
    sections(&encode(&sample::leaking_host(4), Names::Real).expect("small"))
}

/// The sample with a text replaced by another in the sections of one kind.
fn with(kind: &[u8; 4], old: &str, new: &str) -> Result<Snapshot, RecordingError> {
    let mut sections = sample();
    let mut n_replaced = 0;
    for (name, _, text) in &mut sections {
        if name == kind && text.contains(old) {
            *text = text.replacen(old, new, 1);
            n_replaced += 1;
        }
    }
    assert_eq!(n_replaced, 1, "one section of {} has {old}", kind.escape_ascii());
    decode(&framed(&sections))
}

fn only_new_gap(snapshot: &Snapshot) -> &Gap {
    let [_, gap] = snapshot.gaps.as_slice() else { panic!("{:#?}", snapshot.gaps) };
    gap
}

#[test]
fn a_recording_is_what_its_module_says() {
    let kinds: Vec<String> = sample().iter().map(|(kind, ..)| kind.escape_ascii().to_string()).collect();
    assert_eq!(kinds, ["HEAD", "GAPS", "NETN", "ANSW", "PROC", "HOLD", "SOCK", "END."]);
    for (kind, _, text) in sample() {
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert!(rows.iter().all(serde_json::Value::is_object), "{}", kind.escape_ascii());
    }
}

#[test]
fn rows_that_point_nowhere_are_left_out_and_counted() {
    for (kind, old, new, hides) in [
        (b"SOCK", "\"netns\":1", "\"netns\":2", Hides::Sockets),
        (b"SOCK", "\"netns\":1", "\"netns\":4294967295", Hides::Sockets),
        (b"SOCK", "\"inode\":500001", "\"inode\":0", Hides::Sockets),
        (b"HOLD", "\"process\":1", "\"process\":2", Hides::Owners),
        (b"HOLD", "\"inode\":500001", "\"inode\":0", Hides::Owners),
        (b"ANSW", "\"netns\":1", "\"netns\":7", Hides::Ports),
    ] {
        let snapshot = with(kind, old, new).expect("the rest is whole");
        let gap = only_new_gap(&snapshot);
        assert_eq!((gap.hides, gap.count), (hides, 1), "{old} became {new}");
        report_on(&snapshot, Format::Json);
    }
}

#[test]
fn rows_that_are_not_understood_are_left_out_and_counted() {
    for (kind, old, new, hides) in [
        (b"SOCK", "\"close_wait\"", "\"close_weight\"", Hides::Sockets),
        (b"SOCK", "\"interface\":0", "\"interface\":0,\"new\":1", Hides::Sockets),
        (b"SOCK", "\"uid\":1001", "\"uid\":-1", Hides::Sockets),
        (b"SOCK", "{", "[", Hides::Sockets),
        (b"HOLD", "\"fd\":3", "\"fd\":3e99", Hides::Owners),
        (b"GAPS", "\"count\":1", "\"count\":18446744073709551615", Hides::Sockets),
    ] {
        let snapshot = with(kind, old, new).expect("the rest is whole");
        let gap = snapshot.gaps.last().expect("a gap");
        assert_eq!((gap.hides, gap.count), (hides, 1), "{old} became {new}");
        assert_eq!(gap.why, "rows of the recording are not understood");
    }
}

#[test]
fn a_lost_process_takes_its_descriptors_along_and_no_others() {
    let snapshot = with(b"PROC", "\"pid\":1234", "\"pid\":\"1234\"").expect("the rest is whole");
    assert_eq!(snapshot.processes.iter().map(|process| process.key.pid).collect::<Vec<_>>(), [4321]);
    assert_eq!(snapshot.holdings.iter().map(|holding| holding.inode.get()).collect::<Vec<_>>(), [500_001, 500_003]);
    let told: Vec<(&str, u64)> = snapshot.gaps[1..].iter().map(|gap| (&*gap.what, gap.count)).collect();
    assert_eq!(told, [("1 of 2 processes", 1), ("2 of 4 descriptors of sockets", 2)]);
}

#[test]
fn without_head_or_namespaces_there_is_nothing_to_look_at() {
    for (kind, old, new) in [
        (b"HEAD", "\"program\"", "\"programme\""),
        (b"NETN", "\"range\":[32768,33167]", "\"range\":[33167,32768]"),
        (b"NETN", "\"took\":[0,84000000]", "\"took\":[18446744073709551615,0]"),
        (b"NETN", "\"took\":[0,84000000]", "\"took\":[0,4000000000]"),
    ] {
        let error = with(kind, old, new).expect_err(new);
        assert!(matches!(error, RecordingError::PartLost { .. }), "{new}: {error:?}");
        assert!(error.to_string().ends_with("rows of the recording are not understood"), "{error}");
    }
    let no_sockets = with(b"SOCK", "\"netns\":0", "").and(with(b"HEAD", "\"sockets\":4", "\"sockets\":3"));
    assert_eq!(no_sockets, Err(RecordingError::Contradiction("there are more rows than it says")));
}

#[test]
fn numbers_of_rows_are_not_believed() {
    let announced = |count: &str| with(b"HEAD", "\"sockets\":4", &format!("\"sockets\":{count}"));
    let snapshot = announced("4294967295").expect("the four are there");
    assert_eq!((snapshot.sockets.len(), only_new_gap(&snapshot).count), (4, 4_294_967_291));
    assert!(matches!(announced("0"), Err(RecordingError::Contradiction(_))));
    assert!(matches!(announced("4294967296"), Err(RecordingError::PartLost { part: "head", .. })));
    let many = with(b"HEAD", "\"namespaces\":2", "\"namespaces\":4000000000");
    assert_eq!(many, Err(RecordingError::TooMany("network namespaces")));
    let mut far = sample();
    far[6].1 = u32::MAX - 1;
    assert!(matches!(decode(&framed(&far)), Err(RecordingError::TooMany("rows"))));
    let mut twice = sample();
    twice.insert(6, twice[6].clone());
    assert_eq!(decode(&framed(&twice)), Err(RecordingError::Contradiction("two rows have one number")));
    let mut heads = sample();
    heads.insert(1, (*b"HEAD", 1, heads[0].2.clone()));
    assert_eq!(decode(&framed(&heads)), Err(RecordingError::Contradiction("it has two heads")));
}

#[test]
fn sockets_of_which_none_is_left_are_an_error() {
    let mut sections = sample();
    sections.remove(6);
    let error = decode(&framed(&sections)).expect_err("nothing to look at");
    assert!(matches!(error, RecordingError::NothingLeft { sockets: 4, .. }), "{error:?}");
}

#[test]
fn a_part_that_a_newer_program_wrote_is_skipped_and_named() {
    let mut sections = sample();
    sections.insert(7, (*b"GH\n1", 0, "{\"new\":true}\n".to_owned()));
    let snapshot = decode(&framed(&sections)).expect("the rest is known");
    let gap = only_new_gap(&snapshot);
    assert_eq!(gap.what, "the part GH\\n1 of the recording");
    assert_eq!((gap.hides, snapshot.sockets.len()), (Hides::Sockets, 4));
}

#[test]
fn another_version_is_one_clear_error() {
    let bytes = framed(&sample());
    let newer = [b"closewatch.recording/2\n", &bytes[23..]].concat();
    assert_eq!(decode(&newer), Err(RecordingError::Frame(FrameError::Version { found: 2 })));
    let text = decode(&newer).expect_err("newer").to_string();
    assert_eq!(text, "it has version 2 of the format, and this closewatch reads version 1");
}

#[test]
fn what_was_packed_to_fill_the_memory_is_given_up() {
    let mut writer = Writer::default();
    let nothing = vec![b'\n'; MAX_SECTION_BYTES];
    writer.section(Kind(*b"SOCK"), 0, &nothing).expect("one alone is allowed");
    let section = writer.finish().split_off(23);
    let mut bytes = framed(&sample()[..5]);
    for _ in 0..100 {
        bytes.extend_from_slice(&section);
    }
    assert!(bytes.len() < 3 << 20, "{} bytes", bytes.len());
    assert_eq!(decode(&bytes), Err(RecordingError::Frame(FrameError::TooLarge)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Numbers of the right form and the wrong size, everywhere.
    #[test]
    fn changed_numbers_never_panic(
        snapshot in arbitrary::snapshot(),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), "[0-9]{1,3}|-1|4294967295|18446744073709551615|null"), 1..6),
    ) {
        let mut sections = sections(&encode(&snapshot, Names::Real).expect("small"));
        for (section, place, number) in &changes {
            let at = section.index(sections.len());
            let text = &mut sections[at].2;
            let numbers: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
            if !numbers.is_empty() {
                let from = numbers[place.index(numbers.len())];
                let to = from + text[from..].bytes().take_while(u8::is_ascii_digit).count();
                text.replace_range(from..to, number);
            }
        }
        if let Ok(snapshot) = decode(&framed(&sections)) {
            assert!(snapshot.sockets.iter().all(|socket| (socket.netns.0 as usize) < snapshot.namespaces.len()));
            let n_processes = snapshot.processes.len();
            assert!(snapshot.holdings.iter().all(|holding| (holding.process.0 as usize) < n_processes));
            if jiff::Timestamp::try_from(snapshot.taken_at).is_ok() {
                report_on(&snapshot, Format::Json);
                report_on(&snapshot, Format::Table);
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        assert!(decode(&bytes).is_err());
        assert!(decode(&[b"closewatch.recording/1\n", bytes.as_slice()].concat()).is_err());
    }
}
