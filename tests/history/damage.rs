//! Files that are damaged: they are read right, or set aside; never is a number wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use closewatch::history::{Access, History, HistoryError, Look, Moment};
use closewatch::model::past::{Memory, Past};

use super::sample::{BOOT, Numbers, at, empty, pool, process, stuck};
use super::{all_looks, open, past_at};

const END: u64 = 60 * 3_600;

/// Sixty hours of a look every half hour, some of which are folded into hours, and sockets that are stuck.
fn looks() -> Vec<Memory> {
    let mut numbers = Numbers(21);
    let look = |nth: u64| Memory {
        processes: (0..4).map(|pid| process(&format!("service-{pid}"), pid + 1, numbers.below(9_000))).collect(),
        pools: (0..4).map(|pool_nth| pool(pool_nth, numbers.below(9_000))).collect(),
        stuck: (0..=nth * 20).map(|cookie| stuck(cookie * 17 + 1, 100)).collect(),
        n_stuck: nth * 20 + 1,
        ..empty(nth * 1_800)
    };
    (0..END / 1_800).map(look).collect()
}

fn make(path: &Path) {
    open(path).remember_all(&looks()).expect("remembers");
}

struct Truth {
    bytes: Vec<u8>,
    past: Past,
    looks: Vec<Look>,
}

impl Truth {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        make(&path);
        let mut history = open(&path);
        let (past, looks) = (past_at(&mut history, END), all_looks(&mut history));
        drop(history);
        let bytes = fs::read(&path).expect("a file");
        assert!(looks.iter().any(|look| look.looks > 1) && past.stuck_since.len() > 2_000);
        assert_eq!(bytes[..16], *b"SQLite format 3\0");
        Self { bytes, past, looks }
    }

    /// Opens a file with these bytes: whether it was set aside. When it was not, all that is read is right.
    fn hold_against(&self, bytes: &[u8], what: &str) -> bool {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        fs::write(&path, bytes).expect("writes");
        let mut history = History::open(&path, Access::ReadWrite).unwrap_or_else(|error| panic!("{what}: {error}"));
        let uptime = Some(std::time::Duration::from_secs(86_400 + END));
        let now = Moment { at: at(END), boot_id: Some(BOOT), uptime };
        let past = history.past(&now).unwrap_or_else(|error| panic!("{what}: {error}"));
        let looks = history.looks(..).unwrap_or_else(|error| panic!("{what}: {error}"));
        let aside = set_aside(dir.path());
        if aside.is_empty() {
            assert_eq!(past, self.past, "{what}");
            assert_eq!(looks, self.looks, "{what}");
            return false;
        }
        assert!(past == Past::default() || past == self.past, "{what}");
        assert!(looks.is_empty(), "{what}");
        let [note] = history.notes() else { panic!("{what}: one note: {:?}", history.notes()) };
        let [aside] = aside.as_slice() else { panic!("{what}: one file set aside: {aside:?}") };
        assert!(note.contains("was damaged (") && note.ends_with(&aside.display().to_string()), "{note}");
        history.remember(&empty(END)).unwrap_or_else(|error| panic!("{what}: {error}"));
        drop(history);
        assert_eq!(all_looks(&mut open(&path)).len(), 1, "{what}: checking goes on");
        true
    }
}

/// The files that were set aside in the directory, those that belong to them left out.
fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let is_aside = |path: &PathBuf| {
        let name = path.display().to_string();
        name.contains(".damaged-") && !["-wal", "-shm"].iter().any(|suffix| name.ends_with(suffix))
    };
    let mut aside: Vec<PathBuf> = paths.filter(is_aside).collect();
    aside.sort();
    aside
}

#[test]
fn a_file_that_is_cut_is_set_aside() {
    let truth = Truth::new();
    assert!(!truth.hold_against(&truth.bytes, "whole"));
    for nth in 1..40 {
        let length = truth.bytes.len() * nth / 40 + 7;
        assert!(truth.hold_against(&truth.bytes[..length], &format!("cut at {length}")));
    }
    for length in [1, 15, 16, 99, 100, 511, 512, 4_095, 4_096, truth.bytes.len() - 1] {
        assert!(truth.hold_against(&truth.bytes[..length], &format!("cut at {length}")));
    }
}

#[test]
fn a_page_of_zeros_or_of_noise_is_never_read_as_something_else() {
    let truth = Truth::new();
    let mut numbers = Numbers(22);
    let mut aside = 0;
    let pages = truth.bytes.len() / 4_096;
    for page in 0..pages {
        let place = page * 4_096..(page + 1) * 4_096;
        let mut zeros = truth.bytes.clone();
        zeros[place.clone()].fill(0);
        aside += usize::from(truth.hold_against(&zeros, &format!("page {page} of zeros")));
        let mut noise = truth.bytes.clone();
        noise[place].iter_mut().for_each(|byte| *byte = numbers.below(256) as u8);
        aside += usize::from(truth.hold_against(&noise, &format!("page {page} of noise")));
    }
    assert!(aside > pages, "{aside} of {pages} pages: some are free, and are not read");
}

#[test]
fn a_flipped_bit_is_never_a_wrong_number() {
    let truth = Truth::new();
    let mut numbers = Numbers(23);
    let mut aside = 0;
    for _ in 0..400 {
        let (place, bit) = (numbers.below(truth.bytes.len() as u64) as usize, numbers.below(8));
        let mut bytes = truth.bytes.clone();
        bytes[place] ^= 1 << bit;
        aside += usize::from(truth.hold_against(&bytes, &format!("bit {bit} of byte {place}")));
    }
    assert!(aside > 100, "{aside} of 400: some lie where nothing is");
}

/// The header says what the file is and how it may be written: some of its bits make SQLite refuse to write.
#[test]
fn a_flipped_bit_of_the_header_is_never_a_wrong_number() {
    let truth = Truth::new();
    for place in 0..100 {
        let mut bytes = truth.bytes.clone();
        bytes[place] ^= 0x10;
        truth.hold_against(&bytes, &format!("byte {place}"));
    }
}

#[test]
fn what_was_written_ahead_counts_as_far_as_it_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut history = open(&path);
    for nth in 0..40 {
        history.remember(&empty(nth * 300)).expect("remembers");
    }
    // As a crash of the machine would leave them: the history is still open.
    let files = ["history.db", "history.db-wal"].map(|name| fs::read(dir.path().join(name)).expect("a file"));
    assert!(files[1].len() > 40 * 4_096);
    let mut counts = Vec::new();
    for nth in 0..=30 {
        let copy = tempfile::tempdir().expect("a directory");
        let path = copy.path().join("history.db");
        fs::write(&path, &files[0]).expect("writes");
        fs::write(copy.path().join("history.db-wal"), &files[1][..files[1].len() * nth / 30]).expect("writes");
        let looks = all_looks(&mut open(&path));
        assert!(looks.iter().enumerate().all(|(nth, look)| look.began == at(nth as u64 * 300)), "a beginning of all");
        counts.push(looks.len());
    }
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!((counts[0], counts[30]), (0, 40));
}

#[test]
fn a_text_in_its_place_is_set_aside_and_a_file_that_was_meant_otherwise_is_not_touched() {
    let truth = Truth::new();
    let text = "root:x:0:0:root:/root:/bin/bash\n".repeat(200);
    assert!(truth.hold_against(text.as_bytes(), "text"));
    assert!(!truth.hold_against(&truth.bytes, "whole"));

    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("passwd");
    fs::write(&path, &text).expect("writes");
    let error = History::open(&path, Access::ReadWrite).expect_err("it is no history");
    assert!(matches!(error, HistoryError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().ends_with("passwd: it is not a history of closewatch"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("there"), text);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is made beside it");
}

#[test]
fn a_database_of_another_program_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("other.db");
    let other = rusqlite::Connection::open(&path).expect("opens");
    other.execute_batch("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (1);").expect("makes");
    drop(other);
    let bytes = fs::read(&path).expect("there");
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = History::open(&path, access).expect_err("it is not ours");
        assert!(matches!(error, HistoryError::Foreign { .. }), "{error:?}");
    }
    assert_eq!(fs::read(&path).expect("there"), bytes);
}

#[test]
fn a_history_of_a_later_version_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    make(&path);
    let later = rusqlite::Connection::open(&path).expect("opens");
    later.execute_batch("DROP TABLE tip; CREATE TABLE crown (id INTEGER); PRAGMA user_version = 2;").expect("changes");
    drop(later);
    let bytes = fs::read(&path).expect("there");
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = History::open(&path, access).expect_err("it is of a later version");
        assert!(matches!(error, HistoryError::Newer { found: 2, known: 1, .. }), "{error:?}");
        assert!(error.to_string().ends_with("it has version 2, and this closewatch knows version 1"), "{error}");
    }
    assert_eq!(fs::read(&path).expect("there"), bytes);
}

#[test]
fn several_that_find_the_same_damage_set_it_aside_once() {
    for round in 0..5 {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        fs::write(&path, "no database at all ".repeat(1_000)).expect("writes");
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for nth in 0..8 {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut history = History::open(path, Access::ReadWrite).expect("opens");
                    history.remember(&empty(nth * 10)).expect("remembers");
                });
            }
        });
        assert_eq!(set_aside(dir.path()).len(), 1, "round {round}");
        assert_eq!(all_looks(&mut open(&path)).len(), 8, "round {round}: no look went with the damaged file");
    }
}

#[test]
fn damage_that_is_found_while_writing_costs_the_past_and_not_the_look() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    make(&path);
    let other = rusqlite::Connection::open(&path).expect("opens");
    other.execute("UPDATE tip SET body = x'00112233'", []).expect("changes");
    drop(other);
    let mut history = History::open(&path, Access::ReadWrite).expect("opens");
    assert_eq!(history.notes().len(), 0, "it cannot be seen from outside");
    history.remember(&empty(END)).expect("remembers");
    assert_eq!(history.notes().len(), 1);
    assert_eq!(set_aside(dir.path()).len(), 1);
    drop(history);
    assert_eq!(all_looks(&mut open(&path)).len(), 1);
}

#[test]
fn a_reader_moves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    make(&path);
    let mut bytes = fs::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xA5);
    fs::write(&path, &bytes).expect("writes");
    let mut history = History::open(&path, Access::ReadOnly).expect("opens");
    let error = history.looks(..).expect_err("it is damaged");
    assert!(matches!(error, HistoryError::Damaged { .. }), "{error:?}");
    assert!(error.hint().contains("closewatch check"), "{}", error.hint());
    assert!(matches!(history.remember(&empty(0)), Err(HistoryError::NotWritable { .. })));
    assert_eq!(set_aside(dir.path()).len(), 0);
    assert_eq!(fs::read(&path).expect("there"), bytes);
}

#[test]
fn no_more_than_three_damaged_files_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    for nth in 0..5 {
        fs::write(&path, format!("damage {nth} ").repeat(1_000)).expect("writes");
        let history = History::open(&path, Access::ReadWrite).expect("opens");
        assert_eq!(history.notes().len(), 1);
    }
    let aside = set_aside(dir.path());
    assert_eq!(aside.len(), 3, "{aside:?}");
    let kept: Vec<String> = aside.iter().map(|path| fs::read_to_string(path).expect("text")[..8].to_owned()).collect();
    assert_eq!(kept, ["damage 2", "damage 3", "damage 4"]);
}
