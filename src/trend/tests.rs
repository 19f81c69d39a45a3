//! Small stories, each with one thing in it.

use super::*;
use crate::model::past::{LimitKind, Point, Track};

const START: f64 = 1.7e9;
const MINUTE: f64 = 60.0;
const DAY: f64 = 86_400.0;
const LIMIT: f64 = 28_232.0;

/// Looks every five minutes; what is leaked and the rest are functions of the days since the start.
fn looks(days: f64, leaked: impl Fn(f64) -> f64, rest: impl Fn(f64) -> f64) -> Vec<Point> {
    let point = |look: u32| {
        let (at, day) = (START + f64::from(look) * 5.0 * MINUTE, f64::from(look) / 288.0);
        let leaked = leaked(day).round();
        Point { at, used: leaked + rest(day).round(), leaked, limit: Some(LIMIT), run: 1 }
    };
    (0..=(days * 288.0) as u32).map(point).collect()
}

fn wave(day: f64) -> f64 {
    400.0 + 300.0 * (day * std::f64::consts::TAU).sin()
}

fn series(points: Vec<Point>) -> Series {
    Series { track: Track::Limit(LimitKind::Conntrack, None), points: points.into_iter().collect(), holder: None }
}

/// What is said at the last look.
fn said(points: Vec<Point>) -> Trend {
    let now = points.last().map_or(START, |newest| newest.at);
    of(&series(points), now)
}

fn per_day(trend: Trend) -> f64 {
    match trend.growth {
        Growth::Growing(rate) => rate.per_hour * 24.0,
        other => panic!("not growing: {other:?}"),
    }
}

fn unknown(why: Why) -> Trend {
    Trend { growth: Growth::Unknown(why), wall: Wall::Unknown(why) }
}

#[test]
fn too_little_is_not_known_and_has_no_number() {
    assert_eq!(said(Vec::new()), unknown(Why::FewLooks));
    assert_eq!(said(looks(0.0, |_| 5000.0, wave)), unknown(Why::FewLooks));
    assert_eq!(said(looks(0.02, |day| day * 90_000.0, wave)), unknown(Why::FewLooks));
    assert_eq!(said(looks(2.0, |_| 0.0, wave)), unknown(Why::ShortTime));
    assert_eq!(said(looks(4.0, |_| 0.0, wave)), Trend { growth: Growth::Flat, wall: Wall::NotApproached });
    let old = looks(4.0, |day| day * 2000.0, wave);
    assert_eq!(of(&series(old), START + 5.5 * DAY), unknown(Why::Stale));
}

#[test]
fn a_leak_is_measured_and_its_end_is_told() {
    let trend = said(looks(5.0, |day| day * 2000.0, wave));
    assert!((per_day(trend) - 2000.0).abs() < 5.0, "{trend:?}");
    // At its crest of 700 the rest leaves 27,532, which are leaked by day 13.77; the crest comes at a quarter past.
    let Wall::In { expected_s, earliest_s, latest_s } = trend.wall else { panic!("{trend:?}") };
    let latest_s = latest_s.expect("it grows at the least, too");
    assert!((expected_s / DAY - 8.9).abs() < 0.4, "{trend:?}");
    assert!(earliest_s <= expected_s && expected_s <= latest_s && latest_s < 9.5 * DAY, "{trend:?}");
}

#[test]
fn limits_that_are_unknown_reached_or_far_away() {
    let mut points = looks(5.0, |day| day * 2000.0, wave);
    points.last_mut().expect("a point").limit = None;
    assert_eq!(said(points.clone()).wall, Wall::NoLimit);
    points.last_mut().expect("a point").limit = Some(9000.0);
    assert_eq!(said(points).wall, Wall::Reached);
    assert_eq!(said(looks(5.0, |day| day * 40.0, wave)).wall, Wall::NotApproached, "in almost two years");
}

#[test]
fn a_wave_of_what_is_leaked_is_no_leak() {
    let leaked = |day: f64| 120.0 + 120.0 * (day * std::f64::consts::TAU).sin();
    for hours in (6..24 * 6).step_by(3) {
        let trend = said(looks(f64::from(hours) / 24.0, leaked, wave));
        assert!(!matches!(trend.growth, Growth::Growing(_)), "{hours} h: {trend:?}");
    }
}

#[test]
fn what_is_emptied_again_and_again_is_no_leak() {
    // Finalizers that run every five hours: 50 an hour, 250 at the top, 1 % of a small limit.
    let leaked = |day: f64| 250.0 * (day * 24.0 / 5.0).fract();
    for hours in (24..24 * 6).step_by(3) {
        let trend = said(looks(f64::from(hours) / 24.0, leaked, wave));
        assert!(!matches!(trend.growth, Growth::Growing(_)), "{hours} h: {trend:?}");
    }
}

#[test]
fn one_jump_is_not_known_and_later_none() {
    let jump = |day: f64| if day < 3.5 { 3.0 } else { 900.0 };
    assert_eq!(said(looks(4.0, jump, wave)), unknown(Why::FewJumps));
    assert_eq!(said(looks(8.0, jump, wave)).growth, Growth::Flat);
}

#[test]
fn the_growth_of_today_counts() {
    let faster = said(looks(9.0, |day| day * 500.0 + (day - 6.0).max(0.0) * 2000.0, wave));
    assert!((per_day(faster) - 2500.0).abs() < 100.0, "{faster:?}");
    let begun = said(looks(9.0, |day| (day - 8.6).max(0.0) * 4000.0, wave));
    assert!((per_day(begun) - 4000.0).abs() < 200.0, "{begun:?}");
    let on_top = said(looks(9.0, |day| day * 100.0 + (day - 8.8).max(0.0) * 9000.0, wave));
    assert!((per_day(on_top) - 9100.0).abs() < 300.0, "{on_top:?}");
    let stopped = said(looks(9.0, |day| day.min(8.0) * 2000.0, wave));
    assert_eq!(stopped, Trend { growth: Growth::Flat, wall: Wall::NotApproached });
}

#[test]
fn a_new_run_and_a_fall_begin_anew() {
    let mut restarted = looks(6.0, |day| if day < 5.9 { day * 2000.0 } else { 0.0 }, wave);
    let emptied = restarted.clone();
    restarted.iter_mut().filter(|point| point.at > START + 5.9 * DAY).for_each(|point| point.run = 2);
    assert_eq!(said(restarted.clone()), unknown(Why::ShortTime));
    restarted.truncate(5 * 288 + 264);
    assert_eq!(said(restarted), unknown(Why::FewLooks));
    assert!(!matches!(said(emptied).growth, Growth::Growing(_)));
}

#[test]
fn clocks_that_jump_make_no_numbers() {
    let steady = |points: &mut Vec<Point>| points.iter_mut().for_each(|point| point.at -= DAY);
    let mut set_back = looks(5.0, |day| day * 2000.0, wave);
    let mut after = looks(0.02, |_| 10_000.0, wave);
    after.iter_mut().for_each(|point| point.at += 4.0 * DAY);
    set_back.extend(after);
    assert_eq!(said(set_back), unknown(Why::FewLooks));

    let mut ahead = looks(5.0, |day| day * 2000.0, wave);
    let now = START + 5.0 * DAY;
    assert!((per_day(of(&series(ahead.clone()), now)) - 2000.0).abs() < 5.0);
    steady(&mut ahead);
    ahead.iter_mut().rev().take(3).for_each(|point| point.at += 40.0 * DAY);
    assert!((per_day(of(&series(ahead), now - DAY)) - 2000.0).abs() < 5.0, "what is still to come is left out");

    let mut from_1970 = looks(0.5, |day| day * 100.0, wave);
    from_1970.iter_mut().take(140).for_each(|point| point.at -= START);
    assert!(!matches!(said(from_1970).growth, Growth::Growing(_)));
    let mut equal = looks(1.0, |day| day * 2000.0, wave);
    equal.iter_mut().for_each(|point| point.at = START);
    assert_eq!(said(equal), unknown(Why::FewLooks));
}

#[test]
fn gaps_between_looks_do_no_harm() {
    let mut points = looks(6.0, |day| day * 2000.0, wave);
    let asleep = |at: f64| ((at - START) / DAY).fract() < 0.4 || ((at - START) / DAY) as u32 == 2;
    points.retain(|point| !asleep(point.at));
    let trend = said(points);
    assert!((per_day(trend) - 2000.0).abs() < 5.0, "{trend:?}");
}

#[test]
fn a_look_that_saw_too_little_does_no_harm() {
    let mut points = looks(6.0, |day| day * 2000.0, wave);
    for missed in [300, 1700] {
        points[missed].leaked = 0.0;
        points[missed].used = 10.0;
    }
    let trend = said(points);
    assert!((per_day(trend) - 2000.0).abs() < 5.0, "{trend:?}");
    let Growth::Growing(rate) = trend.growth else { panic!("{trend:?}") };
    assert!(rate.over.as_secs_f64() > 5.9 * DAY, "the whole line is one: {trend:?}");
}

#[test]
fn what_wanders_is_no_leak() {
    let mut state = 1_u64;
    let mut level = 0.0_f64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        level = (level + ((state >> 40) as f64 / f64::from(1 << 24) - 0.5) * 40.0).clamp(0.0, 200.0);
        level
    };
    let wandered: Vec<f64> = (0..=14 * 288).map(step).collect();
    let leaked = |day: f64| wandered[(day * 288.0).round() as usize];
    for hours in (6..24 * 14).step_by(2) {
        let trend = said(looks(f64::from(hours) / 24.0, leaked, wave));
        assert!(!matches!(trend.growth, Growth::Growing(_)), "{hours} h: {trend:?}");
    }
}

#[test]
fn use_grows_only_at_every_time_of_day() {
    let growing = said(looks(4.0, |_| 0.0, |day| wave(day) + day * 1000.0));
    assert!((per_day(growing) - 1000.0).abs() < 5.0 && matches!(growing.wall, Wall::In { .. }), "{growing:?}");
    let slowly = said(looks(9.0, |_| 0.0, |day| wave(day) + day * 60.0));
    assert!((per_day(slowly) - 60.0).abs() < 5.0, "{slowly:?}");

    let weekend = |day: f64| if day < 2.3 { 0.5 * wave(day) } else { wave(day) };
    let new_version = |day: f64| if day < 4.4 { wave(day) } else { 3.0 * wave(day) };
    let crests = |day: f64| 400.0 + (300.0 + day * 400.0) * (day * std::f64::consts::TAU).sin().max(0.0);
    for hours in (60..24 * 7).step_by(3) {
        let days = f64::from(hours) / 24.0;
        for rest in [&weekend as &dyn Fn(f64) -> f64, &new_version, &crests] {
            let trend = said(looks(days, |_| 0.0, rest));
            assert!(!matches!(trend.growth, Growth::Growing(_)), "{hours} h: {trend:?}");
        }
    }
}

#[test]
fn words_and_tokens() {
    let trend = said(looks(5.0, |day| day * 2000.0, wave));
    assert_eq!((trend.growth.token(), trend.wall.token()), ("growing", "in"));
    let sentence = trend.sentence();
    assert!(
        sentence.starts_with(
            "What is leaked grows by 83 an hour (83 to 84), as seen over 5 days; the limit is met in 8 days"
        ),
        "{sentence}"
    );
    assert_eq!(
        said(looks(0.0, |_| 0.0, wave)).sentence(),
        "Not known yet: there are too few looks since the program or its line began."
    );
}
