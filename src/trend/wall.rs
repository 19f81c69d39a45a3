//! When a number that grows meets its limit.
//!
//! The wall is met when the part that grows and the rest that is usual at that time of day add up to the limit. The rest is
//! taken hour by hour from the last week: at night a full pool may last until the morning, on Friday until Monday. What is expected in the hour to
//! come goes by the rest of the last minutes instead: a leak of seconds carries the young sockets that are not surely leaked
//! along, and no earlier day knows them.

use super::kendall::middle;
use super::{Growth, Kind, Rate, Wall};
use crate::model::past::Point;

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;
const HOURS: usize = 24;
const DAYS: usize = 7;
const WEEK_S: f64 = 7.0 * DAY_S;
/// The rest of this moment is the highest of the last minutes.
const PRESENT_S: f64 = 900.0;
/// What is further away than a year is not approached: everything else changes before.
const FARTHEST_S: f64 = 365.0 * DAY_S;
/// The last looks of which the middle one tells where the line stands now.
const ANCHORS: usize = 3;

/// When the last of the points, of one run of the program, meet their limit at this growth.
pub(super) fn of(points: &[Point], growth: Growth, now: f64) -> Wall {
    let Some(newest) = points.last() else { return unknown(growth) };
    let Some(limit) = newest.limit else { return Wall::NoLimit };
    match growth {
        Growth::Unknown(why) => Wall::Unknown(why),
        _ if newest.used >= limit => Wall::Reached,
        Growth::Flat => Wall::NotApproached,
        Growth::Growing(rate) => ahead(points, &rate, limit, now),
    }
}

fn unknown(growth: Growth) -> Wall {
    match growth {
        Growth::Unknown(why) => Wall::Unknown(why),
        Growth::Flat | Growth::Growing(_) => Wall::NotApproached,
    }
}

fn ahead(points: &[Point], rate: &Rate, limit: f64, now: f64) -> Wall {
    let slopes = [rate.per_hour, rate.at_most, rate.at_least].map(|per_hour| per_hour / HOUR_S);
    let [slope, steepest, gentlest] = slopes;
    let parts: Vec<(f64, f64, f64)> = parts(points, rate.kind, slope, now).collect();
    let mut anchors: Vec<f64> = parts.iter().rev().take(ANCHORS).map(|(_, grown, _)| *grown).collect();
    let Some(grown) = middle(&mut anchors) else { return Wall::NotApproached };
    let rest = Rest::of(parts.iter().map(|(at, _, rest)| (*at, *rest)), now);
    let room = limit - grown;
    let soon = (room - rest.present) / slope;
    let expected_s =
        if soon <= HOUR_S { soon.max(0.0) } else { rest.mean_of(|usual| first_full(room, slope, usual, now)) };
    if expected_s > FARTHEST_S {
        return Wall::NotApproached;
    }
    let earliest_s = ((room - rest.highest) / steepest).clamp(0.0, expected_s);
    let latest_s = (gentlest > 0.0).then(|| ((room - rest.lowest) / gentlest).max(expected_s));
    Wall::In { expected_s, earliest_s, latest_s }
}

/// Of every point its time, the part that grows carried forward to now, and the rest.
fn parts(points: &[Point], kind: Kind, slope: f64, now: f64) -> impl Iterator<Item = (f64, f64, f64)> {
    let leaked_now = points.last().map_or(0.0, |newest| newest.leaked);
    points.iter().map(move |point| {
        let (rest, since) = (point.used - point.leaked, slope * (now - point.at));
        match kind {
            Kind::Leak => (point.at, point.leaked + since, rest),
            Kind::Use => (point.at, leaked_now, rest + since),
        }
    })
}

/// The seconds until the growing part leaves less room than the rest needs in the hour of that moment.
fn first_full(room: f64, slope: f64, rest: &[f64], now: f64) -> f64 {
    let full = rest.iter().zip(0_u8..).map(|(rest, hour)| {
        let ready = now + ((room - rest) / slope).max(0.0);
        let since_hour = (ready - f64::from(hour) * HOUR_S).rem_euclid(WEEK_S);
        let wait = if since_hour < HOUR_S { 0.0 } else { WEEK_S - since_hour };
        ready + wait - now
    });
    full.fold(f64::INFINITY, f64::min)
}

/// The rest by the hour of the week, UTC.
struct Rest {
    /// What that hour had a week ago at the most; before there is a week, the middle of the days' highest.
    usual: Vec<f64>,
    highest: f64,
    lowest: f64,
    present: f64,
}

/// By how much the same hour of another week differs. Whether the crest of one day just reaches the limit is chance, and the
/// next is a day later: what is expected is the mean of a week like the last, a higher one and a lower one.
const WEEKS: [f64; 3] = [0.95, 1.0, 1.05];

impl Rest {
    /// The mean of what comes of such weeks.
    fn mean_of(&self, seconds: impl Fn(&[f64]) -> f64) -> f64 {
        let of_week = |share: f64| seconds(&self.usual.iter().map(|rest| rest * share).collect::<Vec<_>>());
        WEEKS.map(of_week).iter().sum::<f64>() / WEEKS.len() as f64
    }

    /// Of moments and values in the order of time.
    fn of(values: impl DoubleEndedIterator<Item = (f64, f64)>, now: f64) -> Self {
        let mut peaks = [None::<f64>; HOURS * DAYS];
        let mut newest = None;
        let (mut present, mut highest) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (at, value) in values.rev().take_while(|(at, _)| now - at < WEEK_S) {
            let peak = &mut peaks[(at.rem_euclid(WEEK_S) / HOUR_S) as usize % (HOURS * DAYS)];
            *peak = Some(peak.map_or(value, |peak| peak.max(value)));
            highest = highest.max(value);
            if *newest.get_or_insert(at) - at <= PRESENT_S {
                present = present.max(value);
            }
        }
        let of_hour =
            |hour: usize| -> Vec<f64> { peaks.iter().skip(hour % HOURS).step_by(HOURS).flatten().copied().collect() };
        // An hour that was never seen may be as high as any.
        let usual =
            |(hour, peak): (usize, &Option<f64>)| peak.or_else(|| middle(&mut of_hour(hour))).unwrap_or(highest);
        let usual = peaks.iter().enumerate().map(usual).collect();
        let lowest = peaks.iter().flatten().copied().fold(highest, f64::min);
        Self { usual, highest, lowest, present }
    }
}
