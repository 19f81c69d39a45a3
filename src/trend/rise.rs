//! In how many rises a level went up, and how long it paused between them: a line, a stair, one jump, or an end.

use super::kendall::Sample;

/// How a level went up within one horizon.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rise {
    /// From the first level that was never undercut again to the last.
    pub(super) total: f64,
    begun: f64,
    ended: f64,
    /// The usual distance of two samples.
    spacing: f64,
    /// When it had risen by one part more; rises between two samples are one.
    moments: Vec<f64>,
    /// The last sample before the first of the moments.
    onset: f64,
}

/// What the pauses tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It rises again and again.
    Steady,
    /// It did, and has now paused for much longer than ever before.
    Stopped,
    /// It rose once or twice: too few to know its rhythm.
    FewJumps,
    /// It rose once or twice, and so long ago that no daily rhythm can be behind it.
    OnceJumped,
}

/// The rise is watched in parts: so many ...
const MOST_PARTS: f64 = 32.0;
/// ... of at least so many sockets, so that the noise of a few is no rise ...
const PART_LEAST: f64 = 30.0;
/// ... but no fewer than this, so that a small rise can be told from a jump.
const FEWEST_PARTS: f64 = 6.0;
/// From the third rise on there are two pauses to compare.
const RISES_OF_A_RHYTHM: usize = 3;
/// A pause that is so many times the longest one before it is no pause any more.
const MUCH_LONGER: f64 = 3.0;
/// The slowest rhythm that is waited for after a jump or two: that of a day.
const DAY_S: f64 = 86_400.0;

impl Rise {
    /// Of samples up to this moment; `None` when there are fewer than two, or when the level did not rise.
    pub(super) fn of(samples: &[Sample], until: f64) -> Option<Self> {
        let [first, .., last] = samples else { return None };
        let levels = never_undercut(samples);
        let bottom = *levels.first()?;
        let total = last.value - bottom;
        if total <= 0.0 {
            return None;
        }
        let part = (total / MOST_PARTS).max(PART_LEAST.min(total / FEWEST_PARTS));
        let risen = rises(&levels, part);
        let onset = samples.get(risen.first()?.checked_sub(1)?)?.at;
        Some(Self {
            total,
            begun: first.at,
            ended: until,
            spacing: (last.at - first.at) / (samples.len() - 1) as f64,
            moments: risen.into_iter().map(|index| samples[index].at).collect(),
            onset,
        })
    }

    /// What the pauses tell.
    pub(super) fn pace(&self) -> Pace {
        let patience = MUCH_LONGER * self.longest_pause();
        let quiet = self.moments.last().map_or(0.0, |last| self.ended - last);
        match self.moments.len() < RISES_OF_A_RHYTHM {
            true if quiet > patience.max(MUCH_LONGER * DAY_S) => Pace::OnceJumped,
            true => Pace::FewJumps,
            false if quiet > patience => Pace::Stopped,
            false => Pace::Steady,
        }
    }

    /// When the rise began, if the level had rested before it for much longer than it ever paused since.
    pub(super) fn late_onset(&self) -> Option<f64> {
        let late = self.onset - self.begun > MUCH_LONGER * self.longest_pause();
        (late && self.moments.len() >= RISES_OF_A_RHYTHM).then_some(self.onset)
    }

    /// The longest time between two rises; between two samples it cannot be told.
    fn longest_pause(&self) -> f64 {
        self.moments.windows(2).map(|pair| pair[1] - pair[0]).fold(self.spacing, f64::max)
    }
}

/// The samples at which the level stood a part or more above the last of them. The last part of the rise does not count: a
/// few that come and go on top of a leak that has stopped would look like one more rise.
fn rises(levels: &[f64], part: f64) -> Vec<usize> {
    let [bottom, .., top] = levels else { return Vec::new() };
    let whole_part = part * (1.0 - 1e-9);
    let mut last = *bottom;
    let risen = levels.iter().enumerate().filter_map(|(index, level)| {
        let level = level.min(top - part);
        (level - last >= whole_part).then(|| {
            last = level;
            index
        })
    });
    risen.collect()
}

/// For each sample the lowest value from there on.
fn never_undercut(samples: &[Sample]) -> Vec<f64> {
    let mut lowest = f64::INFINITY;
    let mut levels: Vec<f64> = samples
        .iter()
        .rev()
        .map(|sample| {
            lowest = lowest.min(sample.value);
            lowest
        })
        .collect();
    levels.reverse();
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: f64 = 3600.0;

    /// Hourly samples.
    fn rise(value: impl Fn(f64) -> f64, hours: u32) -> Option<Rise> {
        let sample = |hour: u32| Sample { at: f64::from(hour) * HOUR_S, value: value(f64::from(hour)) };
        Rise::of(&(0..hours).map(sample).collect::<Vec<_>>(), f64::from(hours - 1) * HOUR_S)
    }

    #[test]
    fn a_line_and_a_stair_rise_steadily() {
        let line = rise(|hour| 80.0 * hour, 60).expect("a rise");
        assert_eq!((line.pace(), line.late_onset()), (Pace::Steady, None));
        let stair = rise(|hour| 500.0 * (hour / 24.0).floor(), 90).expect("a rise");
        assert_eq!((stair.total, stair.pace()), (1500.0, Pace::Steady));
        let waiting = rise(|hour| 500.0 * (hour / 24.0).floor().min(3.0), 140).expect("a rise");
        assert_eq!(waiting.pace(), Pace::Steady, "the next step may still come");
    }

    #[test]
    fn what_has_paused_for_long_has_stopped() {
        let line = rise(|hour| 80.0 * hour.min(40.0), 60).expect("a rise");
        assert_eq!(line.pace(), Pace::Stopped);
        let stair = rise(|hour| 500.0 * (hour / 24.0).floor().min(3.0), 150).expect("a rise");
        assert_eq!(stair.pace(), Pace::Stopped);
    }

    #[test]
    fn a_jump_or_two_have_no_rhythm() {
        let one = rise(|hour| if hour < 20.0 { 0.0 } else { 900.0 }, 60).expect("a rise");
        assert_eq!((one.pace(), one.late_onset()), (Pace::FewJumps, None));
        let long_ago = rise(|hour| if hour < 5.0 { 0.0 } else { 900.0 }, 90).expect("a rise");
        assert_eq!(long_ago.pace(), Pace::OnceJumped);
    }

    #[test]
    fn a_rise_is_dated_from_where_it_began() {
        let late = rise(|hour| 80.0 * (hour - 30.0).max(0.0), 60).expect("a rise");
        assert_eq!(late.late_onset(), Some(30.0 * HOUR_S));
    }

    #[test]
    fn what_comes_back_down_has_not_risen() {
        assert_eq!(rise(|hour| if hour > 50.0 { 3.0 } else { 3.0 + hour }, 60), None);
        assert_eq!(rise(|_| 3.0, 60), None);
        assert_eq!(rise(|hour| hour, 1), None);
    }
}
