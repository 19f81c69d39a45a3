//! Whether a number grows, how fast, and when it meets its limit.
//!
//! What is leaked and what is merely in use are judged apart, because traffic comes back down and a leak does not.
//! - The **leaked** part (`leak`) may be called on any horizon from half a minute to three months.
//! - The **rest** (`usage`) is compared with itself at the same time of day, over two whole days and more: a morning is no growth.
//!
//! Both go by ranks, which neither a burst nor a look that saw too little can pull away: the slope of Theil and Sen with its
//! interval (Sen, JASA 63, 1968) and the test of Mann and Kendall, as chapters 16 and 17 of R. O. Gilbert, "Statistical Methods
//! for Environmental Pollution Monitoring" (1987) have them. A line ends where the program restarted, where the leaked part
//! fell at once, and where the clock was set back (`line`). What cannot be told is [`Growth::Unknown`] and has no number.
//!
//! # How good it is
//! `tests/trend` makes a thousand months of five-minute looks of each kind, with daily and weekly waves, noise and deploys, and
//! prints what was said of them. Of healthy services none is called, whether they are known for an hour or a month. A leak of
//! 60,000 sockets in 30 days is called within nine hours, one of 60 a day within two days, a stair at its third step, use that
//! grows after two and a half days; a leak that stops is no longer called within seven hours. From the third day on the time
//! that is left is told to a tenth, in the last two days to six hours, and nine of ten ends lie within the interval.
//!
//! `tests/story` has a thousand such leaks and a thousand healthy services of months that went through the store, 32 to a host,
//! judged every hour of the first day and once on each later one. It finds 0 false alarms in 106,000 judgements, from the third
//! day on 99.5 % of which know that nothing grows, and 1,000 of 1,000 leaks, each within eight hours. Of 26,745 ends that were
//! foretold from the third day on, all were right to a tenth as long as five days were left, and 99.94 % to a tenth or six hours:
//! whether the crest of one day just reaches the limit or the next one does is chance. 90.6 % lay within the interval.

pub mod forecast;
mod kendall;
mod leak;
mod line;
mod rise;
#[cfg(test)]
mod tests;
mod usage;
mod wall;
pub mod words;

use std::time::Duration;

use crate::model::past::{Point, Series};

/// What is to be expected of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Whether it grows.
    pub growth: Growth,
    /// When it meets its limit.
    pub wall: Wall,
}

/// Whether a number grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Growth {
    /// Not known yet.
    Unknown(Why),
    /// It does not, or no longer.
    Flat,
    /// It does.
    Growing(Rate),
}

/// How fast a number grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// So many more in an hour: the median over all pairs of moments.
    pub per_hour: f64,
    /// The lower end of its interval of 95 %.
    pub at_least: f64,
    /// The upper end.
    pub at_most: f64,
    /// Over what time that was seen.
    pub over: Duration,
    /// What it is that grows.
    pub kind: Kind,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What is surely leaked.
    Leak,
    /// What is in use and not surely leaked, at every time of day.
    Use,
}

/// Why something is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There are too few looks since the line began: the first of all, a restart, a fall, a clock that was set back.
    FewLooks,
    /// Nothing leaks, and whether the use grows takes three days of looks to tell from a wave.
    ShortTime,
    /// It has risen, and that may be chance or a wave.
    Unclear,
    /// It rose in one jump or two: an event, or the beginning of a stair.
    FewJumps,
    /// The last look is more than a day old.
    Stale,
    /// The last look did not list it any more: the program has ended, or the pool is empty.
    Gone,
}

/// When a number meets its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wall {
    /// Not known, because the growth is not.
    Unknown(Why),
    /// There is no limit, or none that is known.
    NoLimit,
    /// It does not grow, or so slowly that the limit is more than a year away.
    NotApproached,
    /// It is met already.
    Reached,
    /// It is ahead. All three count seconds from the moment of asking; in nine of ten cases the end lies within the interval.
    In {
        /// When the leaked part and the rest that is usual at that time of day meet the limit.
        expected_s: f64,
        /// Growth at the upper end of its interval, on top of the highest rest of a week.
        earliest_s: f64,
        /// Growth at the lower end, until even the lowest hour of the week finds it full; `None` when that end does not grow.
        latest_s: Option<f64>,
    },
}

/// After so long without a look nothing is said of the present: a day, and with it a whole wave, went unseen.
const STALE_S: f64 = 86_400.0;

/// What is to be expected of the number that `series` follows.
///
/// `now` is in seconds since 1970, like the points; points after it were stamped by a clock that has been set back since, and
/// are left out. The look that is being judged is meant to be the last point.
#[must_use]
pub fn of(series: &Series, now: f64) -> Trend {
    judge(series.points.iter(), now)
}

fn judge(points: impl DoubleEndedIterator<Item = Point>, now: f64) -> Trend {
    let run = line::same_run(points, now);
    let growth = match run.last() {
        None => Growth::Unknown(Why::FewLooks),
        Some(last) if now - last.at > STALE_S => Growth::Unknown(Why::Stale),
        Some(_) => first_known(leak::judge(line::since_fall(&run)), || usage::judge(&run)),
    };
    Trend { growth, wall: wall::of(&run, growth, now) }
}

/// A leak outweighs all else; that nothing grows is only known when both parts are known.
fn first_known(leak: Growth, usage: impl FnOnce() -> Growth) -> Growth {
    if matches!(leak, Growth::Growing(_)) {
        return leak;
    }
    match (leak, usage()) {
        (_, growing @ Growth::Growing(_)) => growing,
        (Growth::Flat, usage) => usage,
        (unknown, _) => unknown,
    }
}
