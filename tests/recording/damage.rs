//! A recording that was cut or changed is one clear error, or the part that is whole with a gap that says what is missing.

use std::fmt::Display;

use closewatch::capture::from::read;
use closewatch::capture::recording::{decode, encode};
use closewatch::diagnosis::finding::Verdict;
use closewatch::model::snapshot::{Gap, Hides, Names, Snapshot};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::sample::Index;

use crate::{arbitrary, sample, verdict_on};

/// Fails when the damaged bytes read as if nothing had happened.
fn assert_honest(original: &Snapshot, damaged: &[u8], how: &dyn Display) {
    let snapshot = match read(damaged, std::time::SystemTime::UNIX_EPOCH, None) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() > 10 && !text.contains('\n'), "{how}: {text:?}");
            return;
        }
    };
    let told: Vec<&Gap> = snapshot.gaps.iter().filter(|gap| !original.gaps.contains(gap)).collect();
    assert!(!told.is_empty(), "{how}: nothing tells of it");
    assert!(told.iter().all(|gap| gap.why.contains("recording")), "{how}: {told:#?}");
    let tells = |hides: Hides, kind: &str| -> u64 {
        told.iter().filter(|gap| gap.hides == hides && gap.what.contains(kind)).map(|gap| gap.count).sum()
    };
    let missing = [
        (original.sockets.len(), snapshot.sockets.len(), Hides::Sockets, "sockets"),
        (original.processes.len(), snapshot.processes.len(), Hides::Owners, "processes"),
        (original.holdings.len(), snapshot.holdings.len(), Hides::Owners, "descriptors"),
    ];
    for (was, is, hides, kind) in missing {
        assert_eq!((was - is) as u64, tells(hides, kind), "{how}: {kind}: {told:#?}");
    }
    assert_eq!(original.namespaces.len(), snapshot.namespaces.len(), "{how}");
    assert!(is_part_of(&snapshot.sockets, &original.sockets), "{how}: a socket that never was");
    assert!(is_part_of(&snapshot.processes, &original.processes), "{how}: a process that never was");
    let holder = |snapshot: &Snapshot, nth: usize| {
        let holding = snapshot.holdings[nth];
        (holding.inode, holding.fd, snapshot.processes[holding.process.0 as usize].clone())
    };
    let all = |snapshot: &Snapshot| (0..snapshot.holdings.len()).map(|nth| holder(snapshot, nth)).collect::<Vec<_>>();
    assert!(is_part_of(&all(&snapshot), &all(original)), "{how}: a holder that never was");
    let blinding = told.iter().any(|gap| gap.hides == Hides::Sockets);
    assert!(blinding || snapshot.sockets == original.sockets, "{how}: {told:#?}");
    let verdict = verdict_on(&snapshot);
    assert!(!blinding || verdict != Verdict::Ok, "{how}: sockets are missing, and the verdict is {verdict:?}");
}

/// Whether the items are some of those, in their order.
fn is_part_of<T: PartialEq>(items: &[T], of: &[T]) -> bool {
    let mut rest = of.iter();
    items.iter().all(|item| rest.any(|other| other == item))
}

#[test]
fn every_cut_and_every_changed_byte_of_a_small_recording_is_told() {
    let original = sample::leaking_host(12);
    let bytes = encode(&original, Names::Real).expect("small");
    for length in 0..bytes.len() {
        assert_honest(&original, &bytes[..length], &format_args!("cut at {length} of {}", bytes.len()));
    }
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for change in [1 << (at % 8), 0xff] {
            damaged[at] ^= change;
            assert_honest(&original, &damaged, &format_args!("byte {at} changed by {change:#x}"));
            damaged[at] = bytes[at];
        }
    }
}

#[test]
fn what_is_cut_off_is_counted_and_the_rest_is_attributed() {
    let original = sample::leaking_host(6_000);
    let bytes = encode(&original, Names::Real).expect("not large");
    let snapshot = decode(&bytes[..bytes.len() * 9 / 10]).expect("most of it is whole");
    let missing = (original.sockets.len() - snapshot.sockets.len()) as u64;
    assert!(missing > 0 && snapshot.sockets.len() > 1_000, "{missing} missing");
    assert_eq!(snapshot.holdings, original.holdings);
    let [_, gap] = snapshot.gaps.as_slice() else { panic!("{:#?}", snapshot.gaps) };
    assert_eq!((gap.count, gap.hides), (missing, Hides::Sockets));
    assert!(gap.what.ends_with("of 6,000 sockets, and the ports that they hold"), "{}", gap.what);
    assert_eq!(gap.why, "the recording is cut short");

    let mut flipped = bytes.clone();
    flipped[bytes.len() * 3 / 4] ^= 1;
    let snapshot = decode(&flipped).expect("most of it is whole");
    let missing = (original.sockets.len() - snapshot.sockets.len()) as u64;
    assert!((1..3_000).contains(&missing), "one section is lost, and those behind it are read: {missing}");
    assert_eq!(snapshot.sockets.last(), original.sockets.last());
    assert_eq!(snapshot.gaps.last().map(|gap| gap.why.as_str()), Some(DAMAGED));
}

const DAMAGED: &str = "the recording is damaged: a checksum does not fit";

#[test]
fn what_follows_the_end_is_told() {
    let original = sample::leaking_host(3);
    let mut bytes = encode(&original, Names::Real).expect("small");
    let twice = [bytes.clone(), bytes.clone()].concat();
    assert_honest(&original, &twice, &"twice");
    bytes.push(b'\n');
    assert_honest(&original, &bytes, &"a line feed more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_cut_is_told(snapshot in arbitrary::snapshot(), cut in any::<Index>()) {
        let bytes = encode(&snapshot, Names::Real).expect("small");
        let length = cut.index(bytes.len());
        assert_honest(&snapshot, &bytes[..length], &format_args!("cut at {length} of {}", bytes.len()));
    }

    #[test]
    fn a_changed_byte_is_told(snapshot in arbitrary::snapshot(), place in any::<Index>(), change in 1..=255_u8) {
        let mut bytes = encode(&snapshot, Names::Real).expect("small");
        let at = place.index(bytes.len());
        bytes[at] ^= change;
        assert_honest(&snapshot, &bytes, &format_args!("byte {at} changed by {change:#x}"));
    }

    #[test]
    fn a_lost_or_doubled_stretch_is_told(
        snapshot in arbitrary::snapshot(),
        ends in any::<(Index, Index)>(),
        doubled in any::<bool>(),
    ) {
        let bytes = encode(&snapshot, Names::Real).expect("small");
        let (a, b) = (ends.0.index(bytes.len()), ends.1.index(bytes.len()));
        let (from, to) = (a.min(b), a.max(b) + 1);
        let damaged = match doubled {
            true => [&bytes[..to], &bytes[from..]].concat(),
            false => [&bytes[..from], &bytes[to..]].concat(),
        };
        if damaged != bytes {
            assert_honest(&snapshot, &damaged, &format_args!("{from}..{to}, doubled: {doubled}"));
        }
    }
}
