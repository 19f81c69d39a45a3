//! Whether what is in use and not surely leaked grows.
//!
//! It comes and goes with the traffic, so an hour is compared with the same hour of other days only, and a day with days: the
//! days are counted back from the last look, and of every hour of theirs the lowest look stands. Three days in a row are
//! judged at least, [`MOST_DAYS`] at most.
//!
//! Weeks have their wave, too: a Monday stands above a Sunday and says nothing. Growth must therefore be large ([`RISE_SHARE`]),
//! go on day after day ([`STEPS_UP`], [`STEP_SHARE`]), and be sure by ranks. Of three or four days no ranks are sure: there every
//! step must be large, and the least of the last day must stand above the most of the first.

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
/// So many of the steps from day to day must go up ...
const STEPS_UP: f64 = 0.75;
/// ... and if all were like the middle one, they would make so much of the least rise: a weekend and the Monday after it are one
/// large step among small ones.
const STEP_SHARE: f64 = 0.5;
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
    let sure = match days.len() < DAYS_FOR_RANKS {
        true => is_plain(&days, &steps, least),
        false => slope.z >= SURELY && slope.low > 0.0 && goes_on(&steps, least),
    };
    if sure { growing(&slope, between) } else { Growth::Unknown(Why::Unclear) }
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

/// By how much three quarters of the hours of the later day stand above the same hours of the earlier one, at least: where a
/// weekend ends within the day, half of them do not.
fn step(earlier: &Day, later: &Day) -> Option<f64> {
    let mut rises: Vec<f64> = hours_of_both(earlier, later).map(|(before, after)| after - before).collect();
    let quarter = rises.len() / 4;
    kendall::ranked(&mut rises, quarter)
}

fn hours_of_both(earlier: &Day, later: &Day) -> impl Iterator<Item = (f64, f64)> {
    earlier.iter().zip(later).filter_map(|(earlier, later)| Some(((*earlier)?.value, (*later)?.value)))
}

fn seasons(days: &[Day]) -> Vec<Vec<Sample>> {
    (0..HOURS).map(|hour| days.iter().filter_map(|day| day[hour]).collect()).collect()
}

/// Whether it rises from day to day and not in one leap, and still did on the last day.
fn goes_on(steps: &[f64], least: f64) -> bool {
    let n_steps = steps.len() as f64;
    let up = steps.iter().filter(|step| **step > 0.0).count() as f64;
    let still = steps.last().is_some_and(|last| *last > 0.0);
    let in_the_middle = middle(&mut steps.to_vec()).is_some_and(|step| step * n_steps >= least * STEP_SHARE);
    still && up >= n_steps * STEPS_UP && in_the_middle
}

/// Of too few days for ranks, each must do its part, and leave the whole wave of the first behind.
fn is_plain(days: &[Day], steps: &[f64], least: f64) -> bool {
    let values = |day: &Day| day.iter().flatten().map(|sample| sample.value).collect::<Vec<_>>();
    let [first, .., last] = days else { return false };
    let floor = values(last).into_iter().fold(f64::INFINITY, f64::min);
    let peak = values(first).into_iter().fold(f64::NEG_INFINITY, f64::max);
    let smallest = steps.iter().copied().fold(f64::INFINITY, f64::min);
    floor > peak && smallest * steps.len() as f64 >= least
}
