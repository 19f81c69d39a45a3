//! Places that cannot be trusted, cannot be written to, or are full.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use closewatch::history::{Access, History, HistoryError, PlaceFault};
use closewatch::model::past::Memory;

use super::sample::{Numbers, at, busy, empty};
use super::support::{has_program, is_root, run, skip, text};
use super::{all_looks, open, past_at};

const INSIDE: &str = "CLOSEWATCH_TEST_MOUNTS";

fn refusal(path: &Path) -> PlaceFault {
    match History::open(path, Access::ReadWrite) {
        Err(HistoryError::Place { why, .. }) => why,
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn what_others_could_have_laid_there_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let target = dir.path().join("target");
    let link = dir.path().join("link.db");
    symlink(&target, &link).expect("a link");
    assert_eq!(refusal(&link), PlaceFault::Link);
    assert!(!target.exists(), "nothing is written where it points to");
    let error = History::open(&link, Access::ReadWrite).expect_err("refused");
    assert!(error.to_string().ends_with("link.db: it is a symbolic link"), "{error}");

    let beside = dir.path().join("beside.db");
    symlink(&target, dir.path().join("beside.db-wal")).expect("a link");
    assert_eq!(refusal(&beside), PlaceFault::Link, "nor what lies beside it");
    assert_eq!(refusal(dir.path()), PlaceFault::NotAFile);
    run("mkfifo", &[&dir.path().join("pipe.db").display().to_string()]);
    assert_eq!(refusal(&dir.path().join("pipe.db")), PlaceFault::NotAFile);

    let open_to_all = dir.path().join("open");
    fs::create_dir(&open_to_all).expect("a directory");
    fs::set_permissions(&open_to_all, Permissions::from_mode(0o777)).expect("chmod");
    assert_eq!(refusal(&open_to_all.join("history.db")), PlaceFault::OpenDirectory);
    fs::set_permissions(&open_to_all, Permissions::from_mode(0o1777)).expect("chmod");
    open(&open_to_all.join("history.db"));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    if !is_root() {
        return skip("places::a_file_of_somebody_else_is_refused", "only root may give a file away");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    open(&path);
    chown(&path, Some(12_345), None).expect("chown");
    assert_eq!(refusal(&path), PlaceFault::Owner(12_345));
    chown(&path, Some(0), None).expect("chown");
    open(&path);
    chown(dir.path(), Some(12_345), None).expect("chown");
    assert_eq!(refusal(&path), PlaceFault::Owner(12_345), "nor is one in a directory of somebody else");
}

#[test]
fn directories_on_the_way_are_made_and_may_be_links() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state/closewatch/history.db");
    open(&path).remember(&empty(0)).expect("remembers");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("state/closewatch")) & !0o750, 0);
    assert_eq!(mode(&path) & !0o640, 0);
    let link = dir.path().join("link");
    symlink(dir.path().join("state"), &link).expect("a link");
    assert_eq!(all_looks(&mut open(&link.join("closewatch/history.db"))).len(), 1);
}

#[test]
fn a_reader_makes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    for path in [dir.path().join("history.db"), dir.path().join("none/history.db")] {
        let error = History::open(&path, Access::ReadOnly).expect_err("there is none");
        assert!(matches!(error, HistoryError::Missing { .. }), "{error:?}");
        assert!(error.to_string().ends_with("history.db: there is none yet"), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}

#[test]
fn a_reader_reads_while_another_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut writer = open(&path);
    writer.remember(&empty(0)).expect("remembers");
    let mut reader = History::open(&path, Access::ReadOnly).expect("opens");
    assert_eq!(all_looks(&mut reader).len(), 1);
    writer.remember(&empty(300)).expect("remembers");
    assert_eq!(all_looks(&mut reader).len(), 2);
    assert!(matches!(reader.remember(&empty(600)), Err(HistoryError::NotWritable { .. })));
}

/// Runs the body in a mount namespace of its own, with a file system of this size at the path it is given.
fn with_device(test: &str, size: &str, body: impl FnOnce(&Path)) {
    if std::env::var_os(INSIDE).is_some() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs", &place]);
        body(dir.path());
        run("umount", &[&place]);
        return;
    }
    let user: &[&str] = if is_root() { &[] } else { &["--user", "--map-root-user"] };
    if !has_program("unshare") || !has_program("mount") {
        return skip(test, "needs the programs `unshare` and `mount`");
    }
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").args(user);
    let allowed = Command::new("unshare").args(unshare.get_args()).arg("true").output().expect("unshare starts");
    if !allowed.status.success() {
        return skip(test, &format!("needs a mount namespace: {}", text(&allowed.stderr)));
    }
    let exe = std::env::current_exe().expect("the test program has a path");
    let output = unshare.arg(exe).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.expect("unshare starts");
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "inside the namespace:\n{stdout}\n{}", text(&output.stderr));
    assert!(stdout.contains("1 passed"), "the name {test} found no test:\n{stdout}");
}

#[test]
fn a_full_device_costs_the_look_and_not_the_past() {
    with_device("places::a_full_device_costs_the_look_and_not_the_past", "1m", |dir| {
        let path = dir.join("history.db");
        let mut numbers = Numbers(31);
        let mut remembered = 0;
        let error = loop {
            match open(&path).remember(&busy(remembered * 300, &mut numbers)) {
                Ok(_) => remembered += 1,
                Err(error) => break error,
            }
        };
        assert!(remembered > 50, "{remembered}");
        assert!(matches!(error, HistoryError::Sqlite { .. }), "{error:?}");
        assert!(error.to_string().starts_with(&format!("writing the history {}: ", path.display())), "{error}");
        assert!(error.hint().contains("room"), "{}", error.hint());
        // Not a byte is left: not even for the index that SQLite keeps beside the file.
        let filler = dir.join("filler");
        while fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&filler)
            .is_ok_and(|mut file| std::io::Write::write_all(&mut file, &[0; 512]).is_ok())
        {}
        let mut history = History::open(&path, Access::ReadWrite).expect("opens");
        let looks = history.looks(..).expect("reads");
        assert_eq!(looks.iter().map(|look| look.looks).sum::<u64>(), remembered);
        assert_eq!(looks.last().map(|look| look.began), Some(at((remembered - 1) * 300)));
        history.remember(&busy(remembered * 300, &mut numbers)).expect_err("there is no room");
        drop(history);
        fs::remove_file(&filler).expect("removes");
        let there = all_looks(&mut open(&path));
        assert_eq!(there, looks, "the look that failed left nothing behind");
    });
}

#[test]
fn a_full_device_without_a_history_says_so() {
    with_device("places::a_full_device_without_a_history_says_so", "64k", |dir| {
        fs::write(dir.join("filler"), vec![0; 64 << 10]).expect("just fits");
        let opened = History::open(&dir.join("history.db"), Access::ReadWrite);
        let failed = opened.and_then(|mut history| history.remember(&empty(0)).map(drop));
        let error = failed.expect_err("there is no room");
        assert!(error.to_string().ends_with(": database or disk is full"), "{error}");
    });
}

#[test]
fn a_device_that_may_only_be_read_is_read() {
    with_device("places::a_device_that_may_only_be_read_is_read", "4m", |dir| {
        let path = dir.join("history.db");
        let looks: Vec<Memory> = (0..20).map(|nth| empty(nth * 300)).collect();
        open(&path).remember_all(&looks).expect("remembers");
        let place = dir.display().to_string();
        run("mount", &["-o", "remount,ro", &place]);
        let mut history = History::open(&path, Access::ReadWrite).expect("opens");
        let [note] = history.notes() else { panic!("one note: {:?}", history.notes()) };
        assert!(note.contains("is read and not added to: "), "{note}");
        assert_eq!(history.looks(..).expect("reads").len(), 20);
        let error = history.remember(&empty(6_000)).expect_err("it may only be read");
        assert!(matches!(error, HistoryError::NotWritable { .. }), "{error:?}");
        let mut reader = History::open(&path, Access::ReadOnly).expect("opens");
        assert_eq!(past_at(&mut reader, 6_300).looks.len(), 20);
        drop((history, reader));
        let error = History::open(&dir.join("new/history.db"), Access::ReadWrite).expect_err("nothing can be made");
        assert!(error.to_string().contains("Read-only file system"), "{error}");
        run("mount", &["-o", "remount,rw", &place]);
        open(&path).remember(&empty(6_000)).expect("remembers");
    });
}
