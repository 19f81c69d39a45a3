//! Services that leak: fast and slowly, in jumps, for a while, across restarts.

use closewatch::trend::{Growth, Kind, Why};

use crate::RUNS;
use crate::figures::{Numbers, Predictions, hours_until_called, rate};
use crate::world::{A_DAY, AN_HOUR, DAY, Dice, PORTS, Service, sums};

/// The story: 60,000 sockets in 30 days.
const WHOLE: f64 = 60_000.0;
const A_LOOK: f64 = WHOLE / 30.0 / A_DAY as f64;

/// The looks at every full hour from there on.
fn hourly(from: usize, hours: usize) -> impl Iterator<Item = usize> {
    (1..=hours).map(move |hour| from + hour * AN_HOUR)
}

/// A moment of those days, to a look.
fn moment(dice: &mut Dice, first_day: usize, days: usize) -> usize {
    first_day * A_DAY + dice.below((days * A_DAY) as u64) as usize
}

#[test]
fn a_leak_is_called_on_its_first_day_and_its_end_is_known() {
    let (mut hours, mut predictions) = (Numbers::default(), Predictions::default());
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 10_000_000);
        let leaked = sums(&mut dice, 31, |_| A_LOOK);
        let service = Service::new(&mut dice, WHOLE, &leaked, &[]);
        let called = hours_until_called(&service, 0, hourly(0, 24).step_by(2));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: not called in 24 hours")));
        let end = service.exhausted_at().expect("more than there is");
        for look in [moment(&mut dice, 3, 10), moment(&mut dice, 13, 15)] {
            predictions.ask(&service, look, end);
        }
    }
    println!("leak of 60,000 in 30 days: called in 1,000 of 1,000; hours until then: {}", hours.words());
    predictions.tell();
    assert!(predictions.wrong().is_empty(), "{}", predictions.wrong().join("\n"));
}

#[test]
fn a_leak_that_follows_the_traffic_is_called_and_its_end_is_known() {
    let (mut hours, mut predictions) = (Numbers::default(), Predictions::default());
    for seed in 0..RUNS / 4 {
        let mut dice = Dice(seed + 20_000_000);
        let phase = dice.between(0.0, std::f64::consts::TAU);
        let traffic = |look: usize| 1.0 + (look as f64 / A_DAY as f64 * std::f64::consts::TAU + phase).sin();
        let leaked = sums(&mut dice, 32, |look| A_LOOK * traffic(look));
        let service = Service::new(&mut dice, WHOLE, &leaked, &[]);
        let called = hours_until_called(&service, 0, hourly(0, 24).step_by(2));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: not called in 24 hours")));
        let end = service.exhausted_at().expect("more than there is");
        for look in [moment(&mut dice, 3, 7), moment(&mut dice, 10, 16)] {
            predictions.ask(&service, look, end);
        }
    }
    println!("leak that follows the traffic: called in 250 of 250; hours until then: {}", hours.words());
    predictions.tell();
    assert!(predictions.wrong().is_empty(), "{}", predictions.wrong().join("\n"));
}

#[test]
fn a_slow_leak_is_called_within_days() {
    let mut hours = Numbers::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 30_000_000);
        let per_day = dice.between(60.0, 300.0);
        let leaked = sums(&mut dice, 5, |_| per_day / A_DAY as f64);
        let service = Service::new(&mut dice, PORTS, &leaked, &[]);
        let called = hours_until_called(&service, 0, hourly(24 * AN_HOUR, 95).step_by(4));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: {per_day} a day, not called in five days")));
        let found = rate(&service, leaked.len() - 1).unwrap_or_else(|| panic!("seed {seed}: no longer called"));
        let error = (found.per_hour * 24.0 - per_day).abs() / per_day;
        assert!(error < 0.3 && found.kind == Kind::Leak, "seed {seed}: {per_day} a day, {found:?}");
    }
    println!("leak of 60 to 300 a day: called in 1,000 of 1,000; hours until then: {}", hours.words());
}

#[test]
fn a_stair_is_growth() {
    let mut hours = Numbers::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 40_000_000);
        let night = 2 * AN_HOUR + dice.below(22 * AN_HOUR as u64) as usize;
        let leaked: Vec<f64> = (0..10 * A_DAY).map(|look| 500.0 * ((look + A_DAY - night) / A_DAY) as f64).collect();
        let service = Service::new(&mut dice, PORTS, &leaked, &[]);
        let called = hours_until_called(&service, night, hourly(night + 36 * AN_HOUR, 24 * 4).step_by(4));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: not called")));
        for look in [moment(&mut dice, 5, 5), moment(&mut dice, 5, 5)] {
            let found = rate(&service, look).unwrap_or_else(|| panic!("seed {seed}, look {look}: no longer called"));
            assert!((found.per_hour * 24.0 - 500.0).abs() < 125.0, "seed {seed}, look {look}: {found:?}");
        }
        let one_step = service.trend(night + 4 * AN_HOUR).growth;
        assert!(matches!(one_step, Growth::Unknown(Why::FewJumps | Why::FewLooks)), "seed {seed}: {one_step:?}");
    }
    println!("500 every night: called in 1,000 of 1,000; hours since the first: {}", hours.words());
}

#[test]
fn a_leak_that_stopped_is_not_growing() {
    let mut hours = Numbers::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 50_000_000);
        let stops = moment(&mut dice, 1, 11);
        let leaked = sums(&mut dice, 15, |look| if look < stops { A_LOOK } else { 0.0 });
        let service = Service::new(&mut dice, WHOLE, &leaked, &[]);
        assert!(rate(&service, stops).is_some(), "seed {seed}: not called while it leaked");
        let hour = [7, 6, 5, 4].into_iter().find(|hour| rate(&service, stops + hour * AN_HOUR).is_some());
        hours.add(hour.map_or(4.0, |hour| hour as f64 + 1.0));
        for look in [stops + 8 * AN_HOUR, stops + 24 * AN_HOUR, moment(&mut dice, 13, 2)] {
            assert_eq!(rate(&service, look), None, "seed {seed}: stopped at look {stops}, called at {look}");
        }
    }
    println!("leak that stopped: hours until it is not called any more: {}", hours.words());
}

#[test]
fn a_restart_and_an_emptied_pool_begin_anew() {
    let mut hours = Numbers::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 60_000_000);
        let again = moment(&mut dice, 3, 7);
        let mut leaked = sums(&mut dice, 16, |_| A_LOOK);
        let so_far = leaked[again];
        leaked[again..].iter_mut().for_each(|leaked| *leaked -= so_far);
        // Half of them are pools, which have no runs.
        let starts = if dice.below(2) == 0 { vec![again] } else { Vec::new() };
        let service = Service::new(&mut dice, WHOLE, &leaked, &starts);
        assert!(rate(&service, again - 1).is_some(), "seed {seed}: not called before");
        let fresh = service.trend(again + 2).growth;
        assert!(matches!(fresh, Growth::Unknown(Why::FewLooks)), "seed {seed}: {fresh:?} right after");
        let called = hours_until_called(&service, again, hourly(again, 24).step_by(2));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: not called again in 24 hours")));
        let later = moment(&mut dice, 13, 3);
        let found = rate(&service, later).unwrap_or_else(|| panic!("seed {seed}: not called at look {later}"));
        assert!((found.per_hour * 24.0 - 2000.0).abs() < 100.0, "seed {seed}: {found:?}");
        assert!(
            found.over.as_secs_f64() < service.at(later) - service.at(again) + DAY / 24.0,
            "seed {seed}: {found:?}"
        );
    }
    println!("restart of what leaks: called again in 1,000 of 1,000; hours until then: {}", hours.words());
}

#[test]
fn use_that_grows_at_every_time_of_day_is_growth() {
    let mut hours = Numbers::default();
    for seed in 0..RUNS / 4 {
        let mut dice = Dice(seed + 70_000_000);
        let per_day = dice.between(1000.0, 2000.0);
        let used = sums(&mut dice, 9, |_| per_day / A_DAY as f64);
        let service = Service::new(&mut dice, WHOLE, &vec![0.0; used.len()], &[]).with_use(&used);
        let called = hours_until_called(&service, 0, hourly(0, 24 * 8));
        hours.add(called.unwrap_or_else(|| panic!("seed {seed}: {per_day} a day, not called in eight days")));
        let found = rate(&service, used.len() - 1).unwrap_or_else(|| panic!("seed {seed}: no longer called"));
        let error = (found.per_hour * 24.0 - per_day).abs() / per_day;
        assert!(error < 0.15 && found.kind == Kind::Use, "seed {seed}: {per_day} a day, {found:?}");
    }
    println!("use that grows by 1,000 to 2,000 a day: called in 250 of 250; hours until then: {}", hours.words());
}
