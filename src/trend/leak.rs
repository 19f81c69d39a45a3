//! Whether what is surely leaked grows.
//!
//! The line is looked at over [`HORIZONS_S`], each thinned to the lowest looks of [`MOST_SAMPLES`] equal parts. Over a horizon it
//! grows when all of this holds:
//! - the last look stands above all that was seen before the horizon: what only comes back is no growth;
//! - the level that it never went below again rose by what matters over such a time ([`least_rise`]);
//! - it did so in three rises or more (`rise`), and has not paused for much longer than it did between them;
//! - ranks and slope say the same ([`SURELY`]);
//! - it never came down by much in between ([`WANDERS`]);
//! - from two days on, the floor of the last day stands above that of the first.
//!
//! One verdict comes of many horizons so: the shortest that is sure says whether it grows or has stopped, and the longest that
//! agrees with it how fast, for it has the narrowest interval. Only horizons of two days and more have seen every hour of the
//! day in motion and at rest, so they go first; a shorter one is asked when they are not sure, when they say that it stopped,
//! or when it has found growth that is far steeper ([`FAR_STEEPER`]): a fast leak that has just begun on top of a slow one.

use std::time::Duration;

use super::kendall::{self, Sample};
use super::rise::{Pace, Rise};
use super::{Growth, Kind, Rate, Why};
use crate::model::past::Point;

const MINUTE_S: f64 = 60.0;
const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;

/// How far back is looked, in seconds, besides the whole line: steps of two to three, so that growth that has lasted for any
/// time fills most of one of them.
const HORIZONS_S: [f64; 14] = [
    MINUTE_S,
    2.0 * MINUTE_S,
    5.0 * MINUTE_S,
    10.0 * MINUTE_S,
    30.0 * MINUTE_S,
    HOUR_S,
    3.0 * HOUR_S,
    8.0 * HOUR_S,
    DAY_S,
    WAVES_S,
    4.0 * DAY_S,
    8.0 * DAY_S,
    16.0 * DAY_S,
    32.0 * DAY_S,
];
/// From here on a horizon holds every hour of the day twice.
const WAVES_S: f64 = 2.0 * DAY_S;
/// In less time than this no line is seen.
const SHORTEST_S: f64 = 30.0;
/// Pairs grow with the square: 48 samples make 1,128 slopes already, and of two days an hour each.
const MOST_SAMPLES: usize = 48;
/// Of fewer, chance makes a line too often.
const FEWEST_SAMPLES: usize = 10;
/// The normal deviate from which on ranks rise surely: 1 % by chance. The other conditions stand beside it, so that it need
/// not bear the many looks of many series alone.
const SURELY: f64 = 2.576;
/// What wanders at random rises for days, too, but comes down by more than this share of the rise in between.
const WANDERS: f64 = 0.25;
/// Over two days and more so many are more than the few of a healthy service that come and go.
const RISE_LEAST: f64 = 50.0;
/// In less than two days a wave cannot be told from a leak. Only what takes a hundredth of the limit matters so soon ...
const RISE_SHARE: f64 = 0.01;
/// ... and in less than an hour a twentieth: a server that restarts leaves a burst of closed connections behind.
const RISE_SHARE_OF_AN_HOUR: f64 = 0.05;
/// A hundredth of the usual port range, where no limit is known.
const RISE_WITHOUT_LIMIT: f64 = 282.0;
/// A leak that follows the traffic runs at up to four times its mean around noon; steeper than that is another leak.
const FAR_STEEPER: f64 = 4.0;
/// A longer horizon that lies so far outside the interval of the shortest still shows the same growth.
const AGREEMENT: f64 = 1.25;

/// Judges the leaked part of one line.
pub(super) fn judge(line: &[Point]) -> Growth {
    let horizons = horizons(line);
    if horizons.is_empty() || line.len() < FEWEST_SAMPLES {
        return Growth::Unknown(Why::FewLooks);
    }
    let spread = line
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (point.leaked.min(low), point.leaked.max(high)));
    // Most lines end here, and cost one pass.
    if spread.1 - spread.0 < RISE_LEAST {
        return Growth::Flat;
    }
    let tops = tops(line);
    let (short, long): (Vec<Horizon>, Vec<Horizon>) = horizons.into_iter().partition(|horizon| horizon.span < WAVES_S);
    let long = verdict(long.iter().map(|horizon| over(line, &tops, horizon.start)));
    let far_steeper = match long {
        Seen::Growing(rate) => rate.at_most * FAR_STEEPER,
        Seen::Nothing | Seen::Unclear(_) | Seen::Stopped => 0.0,
    };
    let steep = short.iter().filter(|horizon| horizon.per_hour >= far_steeper);
    let short = verdict(steep.map(|horizon| over(line, &tops, horizon.start)));
    reconcile(long, short, far_steeper)
}

/// One stretch of the line that ends at the last look.
struct Horizon {
    /// The first point of it.
    start: usize,
    span: f64,
    /// By how much the leaked part stands above where it began.
    per_hour: f64,
}

/// What was seen over one horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    Unclear(Why),
    Stopped,
    Growing(Rate),
}

/// Every horizon that the line fills, the shortest first, and the whole line last.
fn horizons(line: &[Point]) -> Vec<Horizon> {
    let Some(newest) = line.last() else { return Vec::new() };
    let starts = HORIZONS_S.iter().map(|horizon| {
        // A point before it, so that the horizon is full.
        line.partition_point(|point| point.at <= newest.at - horizon).saturating_sub(1)
    });
    let mut starts: Vec<usize> = starts.chain([0]).collect();
    starts.dedup();
    let horizons = starts.into_iter().map(|start| {
        let span = newest.at - line[start].at;
        Horizon { start, span, per_hour: (newest.leaked - line[start].leaked) / span * HOUR_S }
    });
    horizons.filter(|horizon| horizon.span >= SHORTEST_S).collect()
}

/// The highest leaked part up to each point.
fn tops(line: &[Point]) -> Vec<f64> {
    let highest = |top: &mut f64, point: &Point| {
        *top = top.max(point.leaked);
        Some(*top)
    };
    line.iter().scan(f64::NEG_INFINITY, highest).collect()
}

fn over(line: &[Point], tops: &[f64], start: usize) -> Seen {
    let samples = thinned(&line[start..]);
    let until = line.last().map_or(0.0, |newest| newest.at);
    let Some(rise) = Rise::of(&samples, until) else { return Seen::Nothing };
    // Growth that began within the horizon is measured from where it began.
    match rise.late_onset() {
        Some(onset) => {
            let start = line.partition_point(|point| point.at < onset);
            let samples = thinned(&line[start..]);
            Rise::of(&samples, until).map_or(Seen::Nothing, |rise| grade(line, tops, start, &samples, &rise))
        }
        None => grade(line, tops, start, &samples, &rise),
    }
}

fn grade(line: &[Point], tops: &[f64], start: usize, samples: &[Sample], rise: &Rise) -> Seen {
    let (Some(newest), Some(last)) = (line.last(), samples.last()) else { return Seen::Nothing };
    let span = newest.at - line[start].at;
    let least = least_rise(span, newest.limit);
    let comes_back = start.checked_sub(1).is_some_and(|before| tops[before] >= last.value);
    if span < SHORTEST_S || samples.len() < FEWEST_SAMPLES || rise.total < least || comes_back {
        return Seen::Nothing;
    }
    match rise.pace() {
        Pace::FewJumps => return Seen::Unclear(Why::FewJumps),
        Pace::OnceJumped => return Seen::Nothing,
        Pace::Stopped => return Seen::Stopped,
        Pace::Steady => {}
    }
    let Some(slope) = kendall::slope(samples) else { return Seen::Nothing };
    let sure = slope.z >= SURELY && slope.low > 0.0 && slope.median * span >= least;
    if !(sure && floors_rise(samples, slope.median) && goes_one_way(samples, rise.total)) {
        return Seen::Unclear(Why::Unclear);
    }
    // Where hours are kept as points, the least of an hour may have been seen half an hour from its middle at either end.
    let blur = if span >= WAVES_S { HOUR_S / span } else { 0.0 };
    Seen::Growing(Rate {
        per_hour: slope.median * HOUR_S,
        at_least: slope.low * HOUR_S * (1.0 - blur),
        at_most: slope.high * HOUR_S * (1.0 + blur),
        over: Duration::from_secs_f64(span),
        kind: Kind::Leak,
    })
}

/// Whether it never went down, from any sample to a later one, by much of the rise.
fn goes_one_way(samples: &[Sample], total: f64) -> bool {
    let mut top = f64::NEG_INFINITY;
    let deepest = samples.iter().fold(0.0_f64, |deepest, sample| {
        top = top.max(sample.value);
        deepest.max(top - sample.value)
    });
    deepest <= total * WANDERS
}

/// By how much the leaked part must rise over such a time to be called growth.
fn least_rise(span: f64, limit: Option<f64>) -> f64 {
    let share = if span < HOUR_S { RISE_SHARE_OF_AN_HOUR } else { RISE_SHARE };
    let matters = match limit {
        Some(limit) => limit * share,
        None => RISE_WITHOUT_LIMIT / RISE_SHARE * share,
    };
    if span < WAVES_S { matters.max(RISE_LEAST) } else { RISE_LEAST }
}

/// Whether the floor of the last day stands above that of the first by at least half of what the slope makes of the time
/// between: a wave comes down to its floor once a day, and a stair is half a step behind its slope.
fn floors_rise(samples: &[Sample], slope: f64) -> bool {
    let [first, .., last] = samples else { return false };
    let between = last.at - first.at - DAY_S;
    if between < DAY_S {
        return true;
    }
    let floor = |day: &dyn Fn(&&Sample) -> bool| {
        samples.iter().filter(day).map(|sample| sample.value).fold(f64::INFINITY, f64::min)
    };
    let rise = floor(&|sample| sample.at >= last.at - DAY_S) - floor(&|sample| sample.at <= first.at + DAY_S);
    rise >= slope * between / 2.0
}

/// The lowest look of each of [`MOST_SAMPLES`] equal parts of the time, at the moment when it was taken.
fn thinned(points: &[Point]) -> Vec<Sample> {
    let sample = |point: &Point| Sample { at: point.at, value: point.leaked };
    let [first, .., last] = points else { return Vec::new() };
    if points.len() <= MOST_SAMPLES {
        return points.iter().map(sample).collect();
    }
    let per_second = MOST_SAMPLES as f64 / (last.at - first.at);
    let mut thinned: Vec<Sample> = Vec::with_capacity(MOST_SAMPLES + 1);
    let mut newest_part = f64::NEG_INFINITY;
    for point in points {
        let part = ((point.at - first.at) * per_second).floor();
        match thinned.last_mut() {
            Some(lowest) if part <= newest_part => {
                if point.leaked < lowest.value {
                    *lowest = sample(point);
                }
            }
            _ => {
                newest_part = part;
                thinned.push(sample(point));
            }
        }
    }
    thinned
}

/// One verdict of both kinds of horizons.
fn reconcile(long: Seen, short: Seen, far_steeper: f64) -> Growth {
    match (long, short) {
        (Seen::Growing(_), Seen::Growing(fast)) if fast.at_least > far_steeper => Growth::Growing(fast),
        (Seen::Growing(rate), _) | (_, Seen::Growing(rate)) => Growth::Growing(rate),
        (Seen::Stopped, _) | (_, Seen::Stopped) => Growth::Flat,
        (Seen::Unclear(why), _) | (Seen::Nothing, Seen::Unclear(why)) => Growth::Unknown(why),
        (Seen::Nothing, Seen::Nothing) => Growth::Flat,
    }
}

/// The verdict of horizons in ascending order: what the shortest says that is sure, with the slope of the longest that agrees.
fn verdict(horizons: impl Iterator<Item = Seen>) -> Seen {
    let mut shortest: Option<Rate> = None;
    let mut chosen: Option<Rate> = None;
    let mut unsure = Seen::Nothing;
    for seen in horizons {
        match (seen, shortest) {
            (Seen::Growing(rate), None) => (shortest, chosen) = (Some(rate), Some(rate)),
            (Seen::Growing(rate), Some(shortest)) if agree(&shortest, &rate) => chosen = Some(rate),
            (Seen::Growing(_), Some(_)) => break,
            (Seen::Stopped, None) => return Seen::Stopped,
            (Seen::Unclear(_), _) => unsure = seen,
            (Seen::Stopped, Some(_)) | (Seen::Nothing, _) => {}
        }
    }
    chosen.map_or(unsure, Seen::Growing)
}

fn agree(shortest: &Rate, longer: &Rate) -> bool {
    (shortest.at_least / AGREEMENT..=shortest.at_most * AGREEMENT).contains(&longer.per_hour)
}
