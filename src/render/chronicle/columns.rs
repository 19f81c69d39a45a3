//! From moments to columns: what a plot shows of each equal part of the time.

/// A moment, in seconds since 1970, and a value.
pub(super) type Sample = (f64, f64);

/// A break is so many times as long as the longest of the distances around it: nobody looked meanwhile.
const BREAK: f64 = 3.0;
/// How many distances on each side are around it.
const AROUND: usize = 2;

/// The highest value in each of `n` equal parts of the time. A part without a look shows the look before it, unless it lies
/// in a break, or outside of what was seen: then it has none.
pub(super) fn columns(samples: &[Sample], (from, to): (f64, f64), n: usize) -> Vec<Option<f64>> {
    let mut columns: Vec<Option<f64>> = vec![None; n];
    let place = |at: f64| (((at - from) / (to - from) * n as f64) as usize).min(n.saturating_sub(1));
    let is_shown = |(at, _): &&Sample| (from..=to).contains(at);
    for (at, value) in samples.iter().filter(is_shown) {
        let column = &mut columns[place(*at)];
        *column = Some(column.map_or(*value, |highest| highest.max(*value)));
    }
    for (nth, pair) in samples.windows(2).enumerate() {
        let [(earlier, value), (later, _)] = [pair[0], pair[1]];
        if earlier < from || later > to || is_break(samples, nth) {
            continue;
        }
        for column in &mut columns[place(earlier)..place(later)] {
            column.get_or_insert(value);
        }
    }
    columns
}

/// Whether the distance behind this sample is a break.
fn is_break(samples: &[Sample], nth: usize) -> bool {
    let distance = |place: usize| Some(samples.get(place + 1)?.0 - samples[place].0);
    let around = (nth.saturating_sub(AROUND)..=nth + AROUND).filter(|place| *place != nth).filter_map(distance);
    let longest = around.fold(0.0, f64::max);
    longest > 0.0 && distance(nth).is_some_and(|distance| distance > BREAK * longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_shows_its_highest_or_the_look_before_it() {
        let samples = [(0.0, 1.0), (1.0, 5.0), (2.0, 2.0), (6.0, 3.0), (10.0, 4.0)];
        assert_eq!(columns(&samples, (0.0, 10.0), 5), [5.0, 2.0, 2.0, 3.0, 4.0].map(Some));
        assert_eq!(columns(&samples, (0.0, 20.0), 4), [Some(5.0), Some(3.0), Some(4.0), None]);
        assert_eq!(columns(&[], (0.0, 1.0), 2), [None, None]);
    }

    #[test]
    fn nothing_is_shown_where_nobody_looked() {
        let looks = [0.0, 1.0, 2.0, 3.0, 23.0, 24.0, 25.0, 26.0].map(|at| (at, 7.0));
        let seen: Vec<bool> = columns(&looks, (0.0, 26.0), 26).iter().map(Option::is_some).collect();
        assert_eq!(seen.iter().filter(|seen| !**seen).count(), 19, "{seen:?}");
        // Where a look is kept for each hour and later for each minute, both are dense.
        let hours = (0..10).map(|hour| (f64::from(hour) * 3600.0, 1.0));
        let minutes = (1..60).map(|minute| (9.0 * 3600.0 + f64::from(minute) * 60.0, 1.0));
        let mixed: Vec<Sample> = hours.chain(minutes).collect();
        assert!(columns(&mixed, (0.0, 35_940.0), 200).iter().all(Option::is_some));
    }
}
