//! Whether what is surely leaked grows.
//!
//! The line is looked at over [`HORIZONS_S`], each thinned to the lowest looks of [`MOST_SAMPLES`] equal parts. Over a horizon it
//! grows when all of this holds:
//! - the last look stands above all that was seen before the horizon: what only comes back is no growth;
//! - the level that it never went below again rose by what matters over such a time ([`least_rise`]);
//! - it did so in three rises or more (`rise`), and has not paused for much longer than it did between them;
//! - ranks and slope say the same ([`SURELY`]);
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
/// Pairs grow with the square: 64 samples are 2,016 slopes, and the interval of their median is a hundredth of it already.
const MOST_SAMPLES: usize = 64;
/// Of fewer, chance makes a line too often.
const FEWEST_SAMPLES: usize = 10;
/// The normal deviate from which on ranks rise surely: 1 % by chance. The other conditions stand beside it, so that it need
/// not bear the many looks of many series alone.
const SURELY: f64 = 2.576;
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
/// So far apart may the intervals of two horizons be that still show the same growth.
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
    let seen = |&(start, span): &(usize, f64)| (over(line, &tops, start), span);
    let seen: Vec<(Seen, f64)> = horizons.iter().map(seen).collect();
    let short = seen.partition_point(|(_, span)| *span < WAVES_S);
    reconcile(&seen[..short], &seen[short..])
}

/// What was seen over one horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    Unclear(Why),
    Stopped,
    Growing(Rate),
}

/// Where each horizon that the line fills begins, and how much time it holds; the whole line comes last.
fn horizons(line: &[Point]) -> Vec<(usize, f64)> {
    let Some(newest) = line.last() else { return Vec::new() };
    let starts = HORIZONS_S.iter().map(|horizon| line.partition_point(|point| point.at < newest.at - horizon));
    let mut starts: Vec<usize> = starts.chain([0]).collect();
    starts.dedup();
    let spans = starts.into_iter().map(|start| (start, newest.at - line[start].at));
    spans.filter(|(_, span)| *span >= SHORTEST_S).collect()
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
    let Some(rise) = Rise::of(&samples) else { return Seen::Nothing };
    // Growth that began within the horizon is measured from where it began.
    match rise.late_onset() {
        Some(onset) => {
            let start = line.partition_point(|point| point.at < onset);
            let samples = thinned(&line[start..]);
            Rise::of(&samples).map_or(Seen::Nothing, |rise| grade(line, tops, start, &samples, &rise))
        }
        None => grade(line, tops, start, &samples, &rise),
    }
}

fn grade(line: &[Point], tops: &[f64], start: usize, samples: &[Sample], rise: &Rise) -> Seen {
    let (Some(newest), [first, .., last]) = (line.last(), samples) else { return Seen::Nothing };
    let span = last.at - first.at;
    let least = least_rise(span, newest.limit);
    let comes_back = start.checked_sub(1).is_some_and(|before| tops[before] >= last.value);
    if samples.len() < FEWEST_SAMPLES || rise.total < least || comes_back {
        return Seen::Nothing;
    }
    match rise.pace() {
        Pace::FewJumps => return Seen::Unclear(Why::FewJumps),
        Pace::OnceJumped => return Seen::Nothing,
        Pace::Stopped => return Seen::Stopped,
        Pace::Steady => {}
    }
    let Some(slope) = kendall::slope(samples) else { return Seen::Nothing };
    if slope.z < SURELY || slope.low <= 0.0 || slope.median * span < least || !floors_rise(samples, slope.median) {
        return Seen::Unclear(Why::Unclear);
    }
    Seen::Growing(Rate {
        per_hour: slope.median * HOUR_S,
        at_least: slope.low * HOUR_S,
        at_most: slope.high * HOUR_S,
        over: Duration::from_secs_f64(span),
        kind: Kind::Leak,
    })
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
    let width = (last.at - first.at) / MOST_SAMPLES as f64;
    let part = |point: &Point| (((point.at - first.at) / width) as usize).min(MOST_SAMPLES - 1);
    let lowest = |points: &[Point]| points.iter().min_by(|a, b| a.leaked.total_cmp(&b.leaked)).map(sample);
    points.chunk_by(|a, b| part(a) == part(b)).filter_map(lowest).collect()
}

/// One verdict of all horizons, which come in ascending order.
fn reconcile(short: &[(Seen, f64)], long: &[(Seen, f64)]) -> Growth {
    let (short_says, long_says) = (verdict(short), verdict(long));
    match (long_says, short_says) {
        (Seen::Growing(slow), Seen::Growing(fast)) if fast.at_least > slow.at_most * FAR_STEEPER => {
            Growth::Growing(fast)
        }
        (Seen::Growing(rate), _) | (_, Seen::Growing(rate)) => Growth::Growing(rate),
        (Seen::Stopped, _) | (_, Seen::Stopped) => Growth::Flat,
        (Seen::Unclear(why), _) | (Seen::Nothing, Seen::Unclear(why)) => Growth::Unknown(why),
        (Seen::Nothing, Seen::Nothing) => Growth::Flat,
    }
}

/// The verdict of some horizons: what the shortest says that is sure, with the slope of the longest that agrees with it.
fn verdict(horizons: &[(Seen, f64)]) -> Seen {
    let mut chosen: Option<Rate> = None;
    let mut unsure = Seen::Nothing;
    for (seen, _) in horizons {
        match (seen, chosen) {
            (Seen::Growing(rate), None) => chosen = Some(*rate),
            (Seen::Growing(rate), Some(shorter)) if agree(&shorter, rate) => chosen = Some(*rate),
            (Seen::Growing(_), Some(_)) => break,
            (Seen::Stopped, None) => return Seen::Stopped,
            (Seen::Unclear(_), _) => unsure = *seen,
            (Seen::Stopped, Some(_)) | (Seen::Nothing, _) => {}
        }
    }
    chosen.map_or(unsure, Seen::Growing)
}

fn agree(one: &Rate, other: &Rate) -> bool {
    one.at_least <= other.at_most * AGREEMENT && other.at_least <= one.at_most * AGREEMENT
}
