//! Trends by ranks: the test of Mann and Kendall and the slope of Theil and Sen, plain and by season.

/// One value at one moment, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) value: f64,
}

/// A slope with its interval of 95 %, per second, and how sure it is that there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slope {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The test's normal deviate: positive when values rise.
    pub(super) z: f64,
}

/// The normal deviate of a two-sided interval of 95 %.
const NORMAL_95: f64 = 1.959_964;

/// The slope of samples in the order of time, which follow each other at roughly equal distances (Gilbert 1987, 16.4 and 16.5).
///
/// Neighbours are alike, and count as fewer than they are: the variance is corrected by the autocorrelation of the ranks
/// that remain without the slope (Hamed and Rao, J. Hydrology 204, 1998), and never made smaller. `None` for fewer than four
/// samples.
pub(super) fn slope(samples: &[Sample]) -> Option<Slope> {
    if samples.len() < 4 {
        return None;
    }
    let mut pairs = Pairs::default();
    pairs.add(samples);
    let median = middle(&mut pairs.slopes)?;
    let rest: Vec<f64> = samples.iter().map(|sample| sample.value - median * sample.at).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let deviation = (variance(values) * autocorrelation_factor(&rest)).sqrt();
    pairs.finish(deviation)
}

/// The common slope of several seasons, each in the order of time (Hirsch, Slack and Smith, Water Resources Research 18,
/// 1982; Gilbert 1987, 17.1 and 17.2).
///
/// The hours of a day rise and fall together. How much so cannot be estimated from a few days (Hirsch and Slack 1984 ask for
/// ten periods), so the deviations are added up as if they did entirely, which is their upper bound. `None` without pairs.
pub(super) fn seasonal_slope(seasons: &[Vec<Sample>]) -> Option<Slope> {
    let mut pairs = Pairs::default();
    let mut deviation = 0.0;
    for season in seasons {
        pairs.add(season);
        deviation += variance(season.iter().map(|sample| sample.value).collect()).sqrt();
    }
    pairs.finish(deviation)
}

/// The middle of the values, which are reordered; `None` when there are none.
pub(super) fn middle(values: &mut [f64]) -> Option<f64> {
    let upper = ranked(values, values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values[..values.len() / 2].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(f64::midpoint(lower, upper))
}

/// The value of this rank from below, in values that are reordered; `None` when there are not so many.
pub(super) fn ranked(values: &mut [f64], rank: usize) -> Option<f64> {
    (rank < values.len()).then(|| *values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// All pairs of moments: how many more rise than fall, and the slope of each.
#[derive(Default)]
struct Pairs {
    surplus: f64,
    slopes: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, samples: &[Sample]) {
        self.slopes.reserve(samples.len() * samples.len() / 2);
        for (index, earlier) in samples.iter().enumerate() {
            for later in &samples[index + 1..] {
                let rise = later.value - earlier.value;
                if rise != 0.0 {
                    self.surplus += rise.signum();
                }
                self.slopes.push(rise / (later.at - earlier.at));
            }
        }
    }

    fn finish(mut self, deviation: f64) -> Option<Slope> {
        let median = middle(&mut self.slopes)?;
        // The surplus moves in steps; one step less is the correction for that (Gilbert 1987, 16.4.3).
        let z =
            if deviation > 0.0 { self.surplus.signum() * (self.surplus.abs() - 1.0).max(0.0) / deviation } else { 0.0 };
        let n_pairs = self.slopes.len() as f64;
        let reach = NORMAL_95 * deviation;
        let lowest = ((n_pairs - reach) / 2.0 - 1.0).floor().max(0.0) as usize;
        let highest = ((n_pairs + reach) / 2.0).ceil().min(n_pairs - 1.0) as usize;
        let (low, high) = (ranked(&mut self.slopes, lowest)?, ranked(&mut self.slopes, highest)?);
        Some(Slope { median, low, high, z })
    }
}

/// The variance of the surplus when there is no trend; values that are equal make it smaller.
fn variance(mut values: Vec<f64>) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    values.sort_unstable_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|tied| term(tied.len() as f64)).sum();
    (term(values.len() as f64) - ties) / 18.0
}

/// By how much the likeness of neighbours widens the variance.
fn autocorrelation_factor(rest: &[f64]) -> f64 {
    let ranks = centred_ranks(rest);
    let n = ranks.len() as f64;
    let power: f64 = ranks.iter().map(|rank| rank * rank).sum();
    if power <= 0.0 {
        return 1.0;
    }
    let mut sum = 0.0;
    // The correlation over more than a quarter of the samples comes from too few pairs to be of use.
    for lag in 1..=ranks.len() / 4 {
        let product: f64 = ranks.iter().zip(&ranks[lag..]).map(|(a, b)| a * b).sum();
        let correlation = product / power;
        let left = n - lag as f64;
        if correlation.abs() > NORMAL_95 / n.sqrt() {
            sum += left * (left - 1.0) * (left - 2.0) * correlation;
        }
    }
    (1.0 + 2.0 * sum / (n * (n - 1.0) * (n - 2.0))).max(1.0)
}

/// The rank of every value, less the mean rank; equal values share theirs.
fn centred_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mean = (values.len() as f64 - 1.0) / 2.0;
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = first as f64 + (tied.len() as f64 - 1.0) / 2.0;
        for index in tied {
            ranks[*index] = shared - mean;
        }
        first += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Vec<Sample> {
        values.iter().enumerate().map(|(index, value)| Sample { at: index as f64, value: *value }).collect()
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn ties_make_the_variance_smaller() {
        // Gilbert 1987, equation 16.2, by hand: n = 6 without ties 6·5·17/18; with groups of 2 and 3 less (18 + 66) / 18.
        assert!(near(variance(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 510.0 / 18.0));
        assert!(near(variance(vec![5.0, 5.0, 7.0, 7.0, 7.0, 9.0]), (510.0 - 18.0 - 66.0) / 18.0));
        assert!(near(variance(vec![4.0; 6]), 0.0));
    }

    #[test]
    fn the_slope_is_the_median_of_all_pairs() {
        // Pairs: 2, 1.5, 4, 1, 5, 9.
        let found = slope(&samples(&[1.0, 3.0, 4.0, 13.0])).expect("four samples");
        assert!(near(found.median, 3.0), "{found:?}");
        // Six pairs rise, the variance is 156/18.
        assert!(near(found.z, 5.0 / (156.0_f64 / 18.0).sqrt()), "{found:?}");
        assert!(found.low <= 1.5 && found.high >= 5.0, "{found:?}");
        assert_eq!(slope(&samples(&[1.0, 2.0, 3.0])), None);
    }

    #[test]
    fn one_wild_look_does_not_pull_the_slope() {
        let mut values: Vec<f64> = (0..40).map(|index| f64::from(index) * 10.0).collect();
        values[20] = 0.0;
        let found = slope(&samples(&values)).expect("many samples");
        assert!(near(found.median, 10.0) && found.z > 5.0, "{found:?}");
    }

    #[test]
    fn what_wanders_together_counts_as_fewer() {
        let wave: Vec<f64> = (0..64).map(|index| (f64::from(index) / 8.0).sin()).collect();
        assert!(autocorrelation_factor(&wave) > 3.0);
        let jagged: Vec<f64> = (0..64).map(|index| f64::from(index * 37 % 64)).collect();
        assert!(autocorrelation_factor(&jagged) < 1.5);
        assert!(near(autocorrelation_factor(&[1.0; 20]), 1.0));
    }

    #[test]
    fn seasons_are_compared_with_themselves_only() {
        // Two hours of the day, far apart from each other, each rising by 5 a day.
        let season = |base: f64, offset: f64| -> Vec<Sample> {
            (0..6).map(|day| Sample { at: f64::from(day) + offset, value: base + 5.0 * f64::from(day) }).collect()
        };
        let found = seasonal_slope(&[season(1000.0, 0.0), season(10.0, 0.5)]).expect("pairs");
        assert!(near(found.median, 5.0), "{found:?}");
        // Two seasons that rise together are no surer than one: 30 of surplus, twice the deviation of six days.
        assert!(near(found.z, 29.0 / (2.0 * (510.0_f64 / 18.0).sqrt())), "{found:?}");
        assert_eq!(seasonal_slope(&[]), None);
    }

    #[test]
    fn nothing_but_equal_values_is_no_trend() {
        let found = slope(&samples(&[7.0; 30])).expect("many samples");
        assert!(near(found.z, 0.0) && near(found.median, 0.0), "{found:?}");
    }
}
