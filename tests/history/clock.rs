//! A clock that is wrong, and a machine that starts anew.

use std::time::Duration;

use closewatch::history::Moment;
use closewatch::model::past::{Memory, Track};

use super::sample::{at, empty, process, service, stuck};
use super::{all_looks, open, past_at, points, series};

/// A look at which the clock says one thing and the time since boot another.
fn look(clock: u64, up: Option<u64>, leaked: u64) -> Memory {
    let uptime = up.map(|up| Duration::from_secs(86_400 + up));
    Memory { uptime, processes: vec![process("web", 7, leaked)], ..empty(clock) }
}

#[test]
fn a_clock_set_back_within_a_boot_is_seen_through() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    // Two hours ahead at first; then set right.
    let memories = [
        look(10_000 + 7_200, Some(10_000), 1),
        look(10_300 + 7_200, Some(10_300), 2),
        look(10_600, Some(10_600), 3),
        look(10_900, Some(10_900), 4),
    ];
    history.remember_all(&memories).expect("remembers");
    let past = past_at(&mut history, 11_200);
    let web: Vec<_> = points(series(&past, &Track::Descriptors(service("web")))).into_iter().collect();
    let times: Vec<_> = web.iter().map(|(at, _, leaked)| (*at, *leaked)).collect();
    assert_eq!(times, [(10_000, 3), (10_300, 4), (10_600, 5), (10_900, 6)]);
    assert_eq!(past.looks, [10_000, 10_300, 10_600, 10_900].map(at));
    let within: Vec<_> = history.looks(at(10_200)..at(10_700)).expect("reads").iter().map(|look| look.began).collect();
    assert_eq!(within, [10_300, 10_600].map(at), "neither lost nor out of order");
}

#[test]
fn a_clock_set_back_that_nothing_else_tells_of_loses_nothing_and_mixes_nothing_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let memories = [(20_000, 1), (20_300, 2), (20_600, 3), (13_000, 4), (13_300, 5)]
        .map(|(clock, leaked)| look(clock, None, leaked));
    history.remember_all(&memories).expect("remembers");
    let now = Moment { at: at(13_600), boot_id: None, uptime: None };
    let past = history.past(&now).expect("reads");
    let web = points(series(&past, &Track::Descriptors(service("web"))));
    let times: Vec<_> = web.iter().map(|(at, _, leaked)| (*at, *leaked)).collect();
    assert_eq!(times, [(12_400, 3), (12_700, 4), (13_000, 5), (13_000, 6), (13_300, 7)], "by 2 hours, spacing kept");
}

#[test]
fn a_clock_that_leaps_for_a_moment_costs_no_past() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let ten_years = 10 * 365 * 86_400;
    let month = 30 * 86_400;
    let memories: Vec<Memory> = (0..30 * 24).map(|hour| look(hour * 3_600, None, hour)).collect();
    history.remember_all(&memories).expect("remembers");
    let before = all_looks(&mut history).len();
    history.remember(&look(month + ten_years, None, 9_999)).expect("remembers");
    for nth in 1..=50 {
        history.remember(&look(month + nth * 300, None, 1_000 + nth)).expect("remembers");
    }
    let looks = all_looks(&mut history);
    assert_eq!(looks.iter().map(|look| look.looks).sum::<u64>(), 30 * 24 + 51, "every look is in there");
    assert_eq!(looks.len(), before + 51);
    assert_eq!(looks[0].began, at(0));
    let past = past_at(&mut history, month + 60 * 300);
    let web = points(series(&past, &Track::Descriptors(service("web"))));
    assert!(web.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in order");
    assert!(web[0].0 <= 1_800 && web.last().expect("points").0 == (month + 50 * 300) as i64);
    assert!(past.looks.iter().all(|look| *look <= at(month + 60 * 300)), "no look is of the future");
}

#[test]
fn sockets_are_of_their_boot() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let first = Memory { stuck: vec![stuck(1, 60), stuck(2, 60)], n_stuck: 2, ..empty(0) };
    history.remember(&first).expect("remembers");
    let second = Memory {
        stuck: vec![stuck(1, 70)],
        n_stuck: 1,
        boot_id: Some("another".to_owned()),
        uptime: Some(Duration::from_secs(100)),
        ..empty(300)
    };
    let remembered = history.remember(&second).expect("remembers");
    assert_eq!((remembered.same, remembered.new, remembered.gone), (0, 1, 0), "the same cookie of another boot is new");
    let past = past_at(&mut history, 600);
    assert!(past.stuck_since.is_empty(), "the boot of the sample is over");
    assert_eq!(past.looks.len(), 2, "the numbers stay");
    let now = Moment { at: at(600), boot_id: Some("another"), uptime: Some(Duration::from_secs(400)) };
    let past = history.past(&now).expect("reads");
    let since: Vec<_> = past.stuck_since.iter().collect();
    assert_eq!(since, [(stuck(1, 0).cookie, at(230))]);
}

#[test]
fn without_a_boot_no_socket_is_known_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    for seconds in [0, 300] {
        let memory = Memory { stuck: vec![stuck(1, 60)], n_stuck: 1, boot_id: None, ..empty(seconds) };
        let remembered = history.remember(&memory).expect("remembers");
        assert_eq!((remembered.since, remembered.same, remembered.new), (None, 0, 1));
    }
    let past = history.past(&Moment { at: at(600), boot_id: None, uptime: None }).expect("reads");
    assert!(past.stuck_since.is_empty());
    assert_eq!(past.looks.len(), 2);
}

#[test]
fn a_socket_is_not_older_for_a_clock_that_was_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let day = 86_400;
    let with_socket =
        |clock: u64, up: u64, age: u64| Memory { stuck: vec![stuck(1, age)], n_stuck: 1, ..look(clock, Some(up), 1) };
    history.remember(&with_socket(1_000, 1_000, 100)).expect("remembers");
    let remembered = history.remember(&with_socket(1_300 + day, 1_300, 400)).expect("remembers");
    assert_eq!(remembered.since, Some(at(1_000 + day)), "300 s ago");
    let uptime = Some(Duration::from_secs(day + 1_600));
    let now = Moment { at: at(1_600 + day), boot_id: Some(super::sample::BOOT), uptime };
    let past = history.past(&now).expect("reads");
    assert_eq!(
        past.stuck_since.get(stuck(1, 0).cookie),
        Some(at(1_600 + day - 700)),
        "700 s, though the clock says a day"
    );
}
