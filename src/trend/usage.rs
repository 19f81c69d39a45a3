//! Whether what is in use and not surely leaked grows.
//!
//! It comes and goes with the traffic, so an hour is compared with the same hour of other days only, and a day with days: the
//! days are counted back from the last look, and of every hour of theirs the lowest look stands. Three days in a row are
//! judged at least, [`MOST_DAYS`] at most.
//!
//! Weeks have their wave, too: a Monday stands above a Sunday and says nothing. Growth must therefore be large ([`RISE_SHARE`]),
//! go on day after day ([`STEPS_UP`], and the middle step alone must make half of the rise), and be sure by ranks; of three or
//! four days no ranks are sure, and the least of the last must stand above the most of the first.

use std::time::Duration;

use super::kendall::{self, Sample, Slope, middle};
use super::{Growth, Kind, Rate, Why};
use crate::model::past::Point;

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;
const HOURS: usize = 24;
/// Two weeks: twice of each weekday.
const MOST_DAYS: usize = 14;
/// Three values of each hour span two whole days.
const FEWEST_DAYS: usize = 3;
/// From so many days on ranks alone can be sure: of four that all rise, one row in 24 is chance.
const DAYS_FOR_RANKS: usize = 5;
/// The normal deviate from which on ranks rise surely: 2 % by chance, which five days can just reach.
const SURELY: f64 = 2.326;
/// A day is whole when looks fell into half of its hours: hosts sleep, and timers miss.
const FEWEST_HOURS: usize = 12;
/// So many more, at the same time of day, are worth a word ...
const RISE_LEAST: f64 = 50.0;
/// ... if they are a quarter of what is usual, too: from day to day a healthy service differs by less.
const RISE_SHARE: f64 = 0.25;
/// So many of the steps from day to day must go up.
const STEPS_UP: f64 = 0.75;
/// A day whose hours have less than half of the day before begins a new line: the program was restarted, or its work moved.
const FALL_SHARE: f64 = 0.5;

/// The lowest look of each hour of one day.
type Day = [Option<Sample>; HOURS];

/// Judges the rest of one line.
pub(super) fn judge(points: &[Point]) -> Growth {
    let days = since_fall(whole_days(points));
    if days.len() < FEWEST_DAYS {
        return Growth::Unknown(Why::ShortTime);
    }
    let mut all: Vec<f64> = days.iter().flatten().flatten().map(|sample| sample.value).collect();
    let least = middle(&mut all).map_or(RISE_LEAST, |usual| (usual * RISE_SHARE).max(RISE_LEAST));
    let between = (days.len() - 1) as f64;
    let steps: Vec<f64> = days.windows(2).filter_map(|pair| step(&pair[0], &pair[1])).collect();
    if steps.iter().sum::<f64>() < least {
        return Growth::Flat;
    }
    let Some(slope) = kendall::seasonal_slope(&seasons(&days)) else { return Growth::Unknown(Why::ShortTime) };
    if slope.median * DAY_S * between < least {
        return Growth::Flat;
    }
    if goes_on(&steps, least / 2.0) && is_sure(&days, &slope) {
        growing(&slope, between)
    } else {
        Growth::Unknown(Why::Unclear)
    }
}

fn growing(slope: &Slope, days: f64) -> Growth {
    Growth::Growing(Rate {
        per_hour: slope.median * HOUR_S,
        at_least: slope.low * HOUR_S,
        at_most: slope.high * HOUR_S,
        over: Duration::from_secs_f64(days * DAY_S),
        kind: Kind::Use,
    })
}

/// The whole days before the last look, the oldest first, up to the first that is not whole.
fn whole_days(points: &[Point]) -> Vec<Day> {
    let Some(newest) = points.last() else { return Vec::new() };
    let mut days = vec![[None; HOURS]; MOST_DAYS];
    for point in points.iter().rev() {
        let hours_ago = (newest.at - point.at) / HOUR_S;
        let (day, hour) = ((hours_ago / HOURS as f64) as usize, hours_ago as usize % HOURS);
        let Some(lowest) = days.get_mut(day).map(|day: &mut Day| &mut day[hour]) else { break };
        let rest = Sample { at: point.at, value: (point.used - point.leaked).max(0.0) };
        if lowest.is_none_or(|lowest| rest.value < lowest.value) {
            *lowest = Some(rest);
        }
    }
    let whole = |day: &Day| day.iter().flatten().count() >= FEWEST_HOURS;
    days.truncate(days.iter().take_while(|day| whole(day)).count());
    days.reverse();
    days
}

fn since_fall(mut days: Vec<Day>) -> Vec<Day> {
    let falls = |pair: &[Day]| {
        let mut shares: Vec<f64> =
            hours_of_both(&pair[0], &pair[1]).map(|(before, after)| after / before.max(1.0)).collect();
        middle(&mut shares).is_some_and(|share| share < FALL_SHARE)
    };
    match days.windows(2).rposition(falls) {
        Some(before) => days.split_off(before + 1),
        None => days,
    }
}

/// By how much most hours of the later day stand above the same hours of the earlier one.
fn step(earlier: &Day, later: &Day) -> Option<f64> {
    middle(&mut hours_of_both(earlier, later).map(|(before, after)| after - before).collect::<Vec<_>>())
}

fn hours_of_both(earlier: &Day, later: &Day) -> impl Iterator<Item = (f64, f64)> {
    earlier.iter().zip(later).filter_map(|(earlier, later)| Some(((*earlier)?.value, (*later)?.value)))
}

fn seasons(days: &[Day]) -> Vec<Vec<Sample>> {
    (0..HOURS).map(|hour| days.iter().filter_map(|day| day[hour]).collect()).collect()
}

/// Whether it rises from day to day and not in one leap, and still did on the last day.
fn goes_on(steps: &[f64], least: f64) -> bool {
    let up = steps.iter().filter(|step| **step > 0.0).count() as f64;
    let still = steps.last().is_some_and(|last| *last > 0.0);
    let n_steps = steps.len() as f64;
    let in_the_middle = middle(&mut steps.to_vec()).is_some_and(|step| step * n_steps >= least);
    still && up >= n_steps * STEPS_UP && in_the_middle
}

fn is_sure(days: &[Day], slope: &Slope) -> bool {
    if days.len() >= DAYS_FOR_RANKS {
        return slope.z >= SURELY && slope.low > 0.0;
    }
    let values = |day: &Day| day.iter().flatten().map(|sample| sample.value).collect::<Vec<_>>();
    let [first, .., last] = days else { return false };
    let floor = values(last).into_iter().fold(f64::INFINITY, f64::min);
    let peak = values(first).into_iter().fold(f64::NEG_INFINITY, f64::max);
    floor > peak
}
