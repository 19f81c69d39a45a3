//! The same sockets as last time, those that are new, and those that are gone.

use std::collections::HashMap;
use std::time::Duration;

use closewatch::model::past::{MOST_STUCK, Memory, Turnover};
use closewatch::model::socket::SockCookie;
use closewatch::model::stuck_since::StuckSince;

use super::sample::{Numbers, at, empty, stuck};
use super::{open, past_at};

fn look(seconds: u64, sockets: &[(u64, u64)]) -> Memory {
    let stuck: Vec<_> = sockets.iter().map(|(cookie, age)| stuck(*cookie, *age)).collect();
    Memory { n_stuck: stuck.len() as u64, stuck, ..empty(seconds) }
}

#[test]
fn what_stays_what_comes_and_what_goes_is_told_and_a_socket_keeps_its_moment() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let all = |since, same, new, gone| Turnover { since: Some(at(since)), same, new, gone, complete: true };
    let first = Turnover { since: None, same: 0, new: 2, gone: 0, complete: true };
    assert_eq!(history.remember(&look(1_000, &[(30, 60), (10, 90)])).expect("remembers"), first);
    // 10 tells a little less, 30 a lot more.
    let turnover = history.remember(&look(1_300, &[(10, 70), (20, 65), (30, 900)])).expect("remembers");
    assert_eq!(turnover, all(1_000, 2, 1, 0));
    let past = past_at(&mut history, 1_600);
    let since: StuckSince = [(10, 910), (20, 1_235), (30, 400)]
        .map(|(cookie, s)| (SockCookie::new(cookie).expect("not 0"), at(s)))
        .into_iter()
        .collect();
    assert_eq!(past.stuck_since, since);
    assert_eq!(history.remember(&look(1_600, &[(20, 300)])).expect("remembers"), all(1_300, 1, 0, 2));
    assert_eq!(past_at(&mut history, 1_700).stuck_since.len(), 1);
    assert_eq!(history.remember(&look(1_900, &[])).expect("remembers"), all(1_600, 0, 0, 1));
    assert!(past_at(&mut history, 2_000).stuck_since.is_empty());
}

#[test]
fn a_look_that_was_overtaken_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    history.remember(&look(1_300, &[(1, 60), (2, 60)])).expect("remembers");
    let late = Memory { verdict: "critical".to_owned(), ..look(1_299, &[(1, 59), (3, 80)]) };
    let turnover = history.remember(&late).expect("remembers");
    assert_eq!((turnover.same, turnover.new, turnover.gone), (1, 1, 1), "against the later one");
    let past = past_at(&mut history, 1_400);
    assert_eq!(past.looks.len(), 2);
    assert!(
        past.stuck_since.get(SockCookie::new(2).expect("not 0")).is_some()
            && past.stuck_since.get(SockCookie::new(3).expect("not 0")).is_none()
    );
    assert_eq!(past.last_verdict.as_deref(), Some("ok"));
}

/// A leak that grows, loses some, and is restarted, against a plain map.
#[test]
fn a_long_leak_is_kept_as_a_plain_map_would() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let mut numbers = Numbers(3);
    let mut model: HashMap<u64, u64> = HashMap::new();
    let mut next_cookie = 1 << 40;
    for round in 0..60_u64 {
        let seconds = round * 300;
        let before = model.clone();
        for _ in 0..numbers.below(900) {
            next_cookie += 1 + numbers.below(5_000);
            model.insert(next_cookie, seconds.saturating_sub(60));
        }
        match round {
            30 => model.clear(),
            _ => model.retain(|_, _| numbers.below(40) > 0),
        }
        let sockets: Vec<(u64, u64)> = model.iter().map(|(cookie, since)| (*cookie, seconds - since)).collect();
        let turnover = open(&path).remember(&look(seconds, &sockets)).expect("remembers");
        let same = model.keys().filter(|cookie| before.contains_key(cookie)).count() as u64;
        let since = seconds.checked_sub(300).map(at);
        let (new, gone) = (model.len() as u64 - same, before.len() as u64 - same);
        let expected = Turnover { since, same, new, gone, complete: true };
        assert_eq!(turnover, expected, "round {round}");
    }
    let past = past_at(&mut open(&path), 60 * 300);
    let expected: StuckSince =
        model.iter().map(|(cookie, since)| (SockCookie::new(*cookie).expect("not 0"), at(*since))).collect();
    assert_eq!(past.stuck_since, expected);
    assert!(model.len() > 5_000, "{}", model.len());
}

#[test]
fn more_than_can_be_kept_are_not_taken_for_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let sockets: Vec<(u64, u64)> = (0..MOST_STUCK as u64).map(|nth| (nth * 7 + 1, 100_000 - nth)).collect();
    let memory = Memory { n_stuck: 80_000, ..look(1_000, &sockets) };
    assert!(!history.remember(&memory).expect("remembers").complete);
    let again = Memory { n_stuck: 80_000, ..look(1_300, &sockets) };
    let turnover = history.remember(&again).expect("remembers");
    assert_eq!((turnover.same, turnover.complete), (MOST_STUCK as u64, false));
    let past = past_at(&mut history, 1_400);
    assert_eq!((past.stuck_since.len(), past.n_stuck), (MOST_STUCK, 80_000));
    let oldest = past.stuck_since.get(SockCookie::new(1).expect("not 0")).expect("it is the oldest");
    assert_eq!(at(1_300).duration_since(oldest).expect("earlier"), Duration::from_secs(100_300));
}
