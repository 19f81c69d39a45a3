//! Looks that are folded into hours.

use std::time::Duration;

use closewatch::history::numbers::Spread;
use closewatch::model::past::{LimitKind, LimitMemory, Memory, NamespaceMemory, PoolMemory, ProcessMemory, Track};
use closewatch::model::state::{StateCounts, TcpState};

use super::sample::{Numbers, at, empty, pool, pool_name, process, service};
use super::{all_looks, open, past_at, points, series};

const DAYS: u64 = 4;
const STEP: u64 = 300;

/// One process, one pool, one limit and one namespace, whose numbers jump about.
fn look(seconds: u64, numbers: &mut Numbers) -> Memory {
    let (stuck, used) = (numbers.below(5_000), numbers.below(20_000));
    let mut states = StateCounts::default();
    states[TcpState::CloseWait] = numbers.below(1_000);
    let process = ProcessMemory { fds_open: Some(6_000 + numbers.below(1_000)), ..process("web", 7, stuck) };
    Memory {
        namespaces: vec![NamespaceMemory { name: "init".to_owned(), states }],
        processes: vec![process],
        pools: vec![PoolMemory { used, ..pool(1, used / 2) }],
        limits: vec![LimitMemory { kind: LimitKind::FileMax, netns: None, used, limit: 90_000 + used }],
        n_stuck: stuck,
        ..empty(seconds)
    }
}

fn spread(numbers: impl Iterator<Item = u64> + Clone) -> Spread {
    let least = numbers.clone().min().expect("looks");
    Spread { least, most: numbers.clone().max().expect("looks"), last: numbers.last().expect("looks") }
}

#[test]
fn an_hour_has_the_least_the_greatest_and_the_last_of_every_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let mut numbers = Numbers(9);
    let memories: Vec<Memory> = (0..DAYS * 86_400 / STEP).map(|nth| look(nth * STEP, &mut numbers)).collect();
    for memories in memories.chunks(100) {
        history.remember_all(memories).expect("remembers");
    }
    let looks = all_looks(&mut history);
    let (hours, raw): (Vec<_>, Vec<_>) = looks.iter().partition(|look| look.looks > 1);
    let per_hour = (3_600 / STEP) as usize;
    assert!((576..=576 + per_hour).contains(&raw.len()), "two days one by one: {}", raw.len());
    assert_eq!(hours.len() * per_hour + raw.len(), memories.len(), "every look is in one hour, or there");
    for (hour, looks) in hours.iter().zip(memories.chunks(per_hour)) {
        assert_eq!((hour.began, hour.looks), (looks[0].taken_at, looks.len() as u64));
        assert_eq!(hour.ended, looks[looks.len() - 1].taken_at);
        let process =
            |number: fn(&ProcessMemory) -> u64| spread(looks.iter().map(move |look| number(&look.processes[0])));
        let found = &hour.processes[0].1;
        assert_eq!(found.stuck, process(|process| process.stuck));
        assert_eq!(found.sockets, process(|process| process.sockets));
        assert_eq!(found.close_wait, process(|process| process.close_wait));
        assert_eq!(found.fds_open, Some(process(|process| process.fds_open.expect("known"))));
        assert_eq!(found.leaked, process(|process| process.stuck + 2).least);
        let (_, found) = &hour.pools[0];
        assert_eq!(found.used, spread(looks.iter().map(|look| look.pools[0].used)));
        assert_eq!(found.stuck, spread(looks.iter().map(|look| look.pools[0].stuck)));
        let (_, found) = &hour.limits[0];
        assert_eq!(found.used, spread(looks.iter().map(|look| look.limits[0].used)));
        assert_eq!(found.limit, looks[looks.len() - 1].limits[0].limit);
        let close_wait = looks.iter().map(|look| look.namespaces[0].states[TcpState::CloseWait]);
        assert_eq!(hour.namespaces[0].1[7], spread(close_wait));
        assert_eq!(hour.n_stuck, spread(looks.iter().map(|look| look.n_stuck)));
    }

    let past = past_at(&mut history, DAYS * 86_400);
    assert_eq!(past.looks.len(), looks.len());
    let web = points(series(&past, &Track::Descriptors(service("web"))));
    assert_eq!(web.len(), looks.len());
    let expected = memories.chunks(per_hour).take(hours.len()).enumerate().map(|(nth, looks)| {
        let used = looks.iter().filter_map(|look| look.processes[0].fds_open).min().expect("looks");
        let leaked = looks.iter().map(|look| look.processes[0].stuck + 2).min().expect("looks");
        (nth as i64 * 3_600 + 1_800, used, leaked)
    });
    assert_eq!(web[..hours.len()], expected.collect::<Vec<_>>(), "the least of the hour, at its middle");
    let ports = points(series(&past, &Track::Ports(pool_name(1))));
    let least = memories[..per_hour].iter().map(|look| look.pools[0].used).min().expect("looks");
    assert_eq!(ports[0].1, least);
}

#[test]
fn a_pool_that_was_empty_for_a_part_of_the_hour_had_no_port_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let mut memories: Vec<Memory> =
        (0..3 * 288).map(|nth| Memory { pools: vec![pool(1, 40)], ..empty(nth * STEP) }).collect();
    memories[3].pools.clear();
    for look in &mut memories[12..24] {
        look.pools.clear();
    }
    // Here the list was cut: that it is missing says nothing.
    memories[30].pools.clear();
    memories[30].other_pools.count = 5;
    history.remember_all(&memories).expect("remembers");
    let past = past_at(&mut history, 3 * 86_400);
    let ports = points(series(&past, &Track::Ports(pool_name(1))));
    assert_eq!(ports[..3], [(1_800, 0, 0), (5_400, 0, 0), (9_000, 50, 40)]);
    let looks = all_looks(&mut history);
    assert_eq!(looks[0].pools[0].1.used, Spread { least: 0, most: 50, last: 50 });
    assert!(looks[1].pools.is_empty());
    assert_eq!(looks[2].pools[0].1.used, Spread::of(50));
}

#[test]
fn a_restart_within_the_hour_keeps_both_runs_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let memories = (0..3 * 288).map(|nth| {
        let (pid, leaked) = if nth < 6 { (7, 1_000 + nth) } else { (8, nth) };
        Memory { processes: vec![process("web", pid, leaked)], ..empty(nth * STEP) }
    });
    history.remember_all(&memories.collect::<Vec<_>>()).expect("remembers");
    let hour = &all_looks(&mut history)[0];
    let stuck: Vec<_> = hour.processes.iter().map(|(program, numbers)| (program.key.pid, numbers.stuck)).collect();
    let spread = |least, most| Spread { least, most, last: most };
    assert_eq!(stuck, [(7, spread(1_000, 1_005)), (8, spread(6, 11))]);
    let past = past_at(&mut history, 3 * 86_400);
    let web = points(series(&past, &Track::Descriptors(service("web"))));
    assert_eq!(web[0], (1_800, 46, 8), "the run that goes on");
}

/// Looks every second do not wait for two days: the first ones are folded as soon as there are too many.
#[test]
fn an_hour_that_is_folded_in_parts_has_the_same_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let mut numbers = Numbers(6);
    let memories: Vec<Memory> = (0..5_000).map(|second| look(second, &mut numbers)).collect();
    for memories in memories.chunks(500) {
        history.remember_all(memories).expect("remembers");
    }
    let hour = &all_looks(&mut history)[0];
    assert_eq!(hour.looks, 1_024, "twice as many as are folded at once");
    let folded = &memories[..1_024];
    let (_, found) = &hour.processes[0];
    assert_eq!(found.stuck, spread(folded.iter().map(|look| look.processes[0].stuck)));
    assert_eq!(hour.pools[0].1.used, spread(folded.iter().map(|look| look.pools[0].used)));
    let past = past_at(&mut history, 5_000);
    assert_eq!(past.looks.len(), 1 + 5_000 - 1_024);
    let web = points(series(&past, &Track::Descriptors(service("web"))));
    let used = folded.iter().filter_map(|look| look.processes[0].fds_open).min().expect("looks");
    assert_eq!((web[0].1, web[0].2), (used, found.leaked));
    // The middle of the hour lies behind the first look that is not folded: no look lies behind a later one.
    assert_eq!(web[0].0, 1_024);
}

#[test]
fn hours_are_kept_for_three_months() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(&dir.path().join("history.db"));
    let mut numbers = Numbers(5);
    let days = 100;
    for day in 0..days {
        let looks: Vec<Memory> = (0..24).map(|hour| look(day * 86_400 + hour * 3_600, &mut numbers)).collect();
        history.remember_all(&looks).expect("remembers");
    }
    let looks = all_looks(&mut history);
    let age = at(days * 86_400).duration_since(looks[0].began).expect("earlier").as_secs_f64() / 86_400.0;
    assert!((90.0..91.2).contains(&age), "the first is {age} days old");
    assert_eq!(
        looks.len(),
        looks.iter().map(|look| look.looks as usize).sum::<usize>(),
        "one look an hour is one row an hour"
    );
    assert!(looks.windows(2).all(|pair| pair[1].began - Duration::from_secs(3_600) == pair[0].began));
}
