//! When the looks were, by a clock that may have been set meanwhile.
//!
//! The order in which looks were written is known; what the clock said at each may not be true. Two things tell: within
//! this boot the time since boot, which nobody sets, and everywhere the rule that no look lies behind a later one.

/// What the file knows of when one look was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Stamp {
    /// By the clock, in milliseconds since 1970.
    pub(in super::super) clock: i64,
    /// Since the boot that `now` is of; `None` of another boot, and when it was not read.
    pub(in super::super) uptime: Option<u64>,
}

/// By how much the two clocks may differ before the time since boot is believed: they are not read at once.
const TOLERANCE_MS: u64 = 10_000;

/// The times of the looks, which come in the order in which they were written, in milliseconds since 1970 by the clock of
/// `now`. None is after `now`, none after the one behind it.
///
/// Where the clock was set back, what came before moves back with it by as much, its spacing kept, as far as it must to
/// stay in order: how long the clock stood still for the writer is not known, and counts as nothing.
pub(in super::super) fn straighten(stamps: &[Stamp], now: Stamp) -> Vec<i64> {
    let mut times = vec![0; stamps.len()];
    let mut bound = now.clock;
    let mut shift = 0;
    for (time, stamp) in times.iter_mut().zip(stamps).rev() {
        let clock = by_uptime(*stamp, now).unwrap_or(stamp.clock);
        if clock <= bound {
            shift = 0;
            *time = clock;
        } else {
            let shifted = clock.saturating_sub(shift);
            if shifted > bound {
                shift = clock.saturating_sub(bound);
            }
            *time = shifted.min(bound);
        }
        bound = *time;
    }
    times
}

/// The time by the time since boot, where the clock has been set since.
fn by_uptime(stamp: Stamp, now: Stamp) -> Option<i64> {
    let ago = i64::try_from(now.uptime?).ok()?.checked_sub(i64::try_from(stamp.uptime?).ok()?)?;
    let time = now.clock.checked_sub(ago)?;
    (time.abs_diff(stamp.clock) > TOLERANCE_MS).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn by_clock(minutes: &[i64]) -> Vec<Stamp> {
        minutes.iter().map(|minute| Stamp { clock: minute * MINUTE, uptime: None }).collect()
    }

    fn straight(minutes: &[i64], now: i64) -> Vec<i64> {
        let now = Stamp { clock: now * MINUTE, uptime: None };
        straighten(&by_clock(minutes), now).into_iter().map(|time| time / MINUTE).collect()
    }

    #[test]
    fn a_clock_that_runs_is_believed() {
        assert_eq!(straight(&[0, 5, 10, 500], 505), [0, 5, 10, 500]);
        assert_eq!(straight(&[], 505), [0; 0]);
    }

    #[test]
    fn a_clock_set_back_moves_what_was_before() {
        assert_eq!(straight(&[600, 605, 610, 550, 555], 560), [540, 545, 550, 550, 555]);
        assert_eq!(straight(&[600, 605, 610], 550), [540, 545, 550], "set back since the last look");
        assert_eq!(straight(&[100, 600, 605, 550], 560), [100, 545, 550, 550], "only as far as it must");
    }

    #[test]
    fn one_look_from_the_future_moves_alone() {
        assert_eq!(straight(&[600, 605, 5_000_000, 610], 615), [600, 605, 610, 610]);
    }

    #[test]
    fn two_checks_that_overtook_each_other_stay_in_order() {
        assert_eq!(straight(&[5, 11, 10, 15], 20), [5, 10, 10, 15]);
    }

    #[test]
    fn within_a_boot_the_time_since_boot_decides() {
        let stamp = |clock: i64, up: i64| Stamp { clock: clock * MINUTE, uptime: Some((up * MINUTE) as u64) };
        // The clock was two hours ahead at first, then an hour behind.
        let stamps = [stamp(720, 10), stamp(725, 15), stamp(550, 20)];
        let times = straighten(&stamps, stamp(615, 25));
        assert_eq!(times, [600, 605, 610].map(|minute| minute * MINUTE));
        // What was read moments apart is no clock that was set.
        let late = Stamp { clock: 610 * MINUTE + 4_000, uptime: Some(20 * MINUTE as u64) };
        assert_eq!(straighten(&[late], stamp(615, 25)), [610 * MINUTE + 4_000]);
    }
}
