//! What was said of the services, and how right it was.

use closewatch::trend::forecast::Forecast;
use closewatch::trend::{Growth, Wall};

use super::world::{A_DAY, AN_HOUR, DAY, HOUR};

/// From this day on the end of a leak is asked about, and whether a healthy service stands still.
const FIRST_DAY: usize = 3;
/// A prediction is right within this share of the time that is left ...
const RIGHT: f64 = 0.1;
/// ... and in the last two days and a half, of which it is less, within the time that a daily wave takes to its middle.
const RIGHT_HOURS: f64 = 6.0;
/// Whether the crest of a day just reaches the limit is chance, and the next one is most of a day later: that is less than a
/// tenth of what is left as long as so much is left. Later a prediction may be wrong, if the interval knows of it.
const SURELY_RIGHT: f64 = 5.0 * DAY;

/// Of one service or of many.
#[derive(Debug, Default)]
pub(crate) struct Said {
    healthy: Healthy,
    leaks: Leaks,
    predictions: Predictions,
}

#[derive(Debug, Default)]
struct Healthy {
    judged: usize,
    judged_late: usize,
    /// How often it was known from the third day on that a number does not grow.
    flat_late: usize,
    alarms: Vec<String>,
}

#[derive(Debug, Default)]
struct Leaks {
    /// After how many hours each was called.
    called: Vec<usize>,
    /// Those that were not called in a day, or not all the time from then on.
    missed: Vec<String>,
}

#[derive(Debug, Default)]
struct Predictions {
    asked: usize,
    within_interval: usize,
    /// By full days that were left, how far each was off: in hours, and as a share of what was left.
    by_days_left: Vec<Vec<(f64, f64)>>,
    /// Those that were not right.
    wrong: Vec<String>,
    /// Of these, those that might have been right, or whose interval did not hold the end either.
    misleading: Vec<String>,
}

/// A number in so many parts of a whole.
fn share(part: usize, whole: usize) -> String {
    format!("{part} of {whole} ({:.2} %)", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Whether a check would speak of it.
fn is_called(forecast: &Forecast) -> bool {
    matches!(forecast.trend.growth, Growth::Growing(_)) || forecast.eta_s().is_some()
}

impl Said {
    /// Of a service that does not leak.
    pub(crate) fn of_healthy(&mut self, seed: u64, look: usize, forecast: &Forecast) {
        let healthy = &mut self.healthy;
        healthy.judged += 1;
        if look >= FIRST_DAY * A_DAY {
            healthy.judged_late += 1;
            healthy.flat_late += usize::from(forecast.trend.growth == Growth::Flat);
        }
        if is_called(forecast) {
            healthy
                .alarms
                .push(format!("healthy service {seed}, look {look}: {:?} {:?}", forecast.track, forecast.trend));
        }
    }

    /// Of a leak, in the order of looks, when so many seconds are left; whether it had been called before. Whether it is now.
    pub(crate) fn of_leak(&mut self, seed: u64, look: usize, (forecast, left, before): (&Forecast, f64, bool)) -> bool {
        let called = is_called(forecast);
        let what = || format!("leak {seed}, look {look}, {:.1} h left: {:?}", left / HOUR, forecast.trend);
        if called && !before {
            self.leaks.called.push(look.div_ceil(AN_HOUR));
        }
        if !called && (before || look >= A_DAY) {
            self.leaks.missed.push(what());
        }
        if look >= FIRST_DAY * A_DAY {
            match forecast.trend.wall {
                Wall::In { expected_s, earliest_s, latest_s } => {
                    let outside = (earliest_s - left).max(latest_s.map_or(0.0, |latest| left - latest));
                    self.predictions.add((expected_s - left).abs(), left, outside, what);
                }
                _ => self.leaks.missed.push(what()),
            }
        }
        called
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.healthy.judged += other.healthy.judged;
        self.healthy.judged_late += other.healthy.judged_late;
        self.healthy.flat_late += other.healthy.flat_late;
        self.healthy.alarms.extend(other.healthy.alarms);
        self.leaks.called.extend(other.leaks.called);
        self.leaks.missed.extend(other.leaks.missed);
        self.predictions.join(other.predictions);
    }

    /// Tells the rates, and holds them against what is promised of so many services of each kind.
    pub(crate) fn tell(mut self, runs: usize) {
        let Healthy { judged, judged_late, flat_late, alarms } = &self.healthy;
        println!("{runs} healthy services: {} false alarms in {judged} judgements", alarms.len());
        println!("  known to stand still from day {FIRST_DAY} on: {}", share(*flat_late, *judged_late));
        let Leaks { called, missed } = &mut self.leaks;
        called.sort_unstable();
        println!("{runs} leaks of 60,000 in 30 days: called within 24 hours: {}", share(called.len(), runs));
        println!("  hours until then: median {}, at most {}", called[called.len() / 2], called[called.len() - 1]);
        self.predictions.tell();
        assert!(alarms.is_empty(), "{}", alarms.join("\n"));
        assert!(flat_late * 10 > judged_late * 8, "most of the time it is known");
        assert!(missed.is_empty() && called.len() == runs, "{}", missed.join("\n"));
        let Predictions { asked, within_interval, wrong, misleading, .. } = &self.predictions;
        assert!(misleading.is_empty(), "wrong without a word of doubt:\n{}", misleading.join("\n"));
        assert!(wrong.len() * 500 <= *asked, "{}", wrong.join("\n"));
        assert!(within_interval * 10 >= asked * 9, "nine of ten ends lie within the interval");
    }
}

impl Predictions {
    /// Adds one that was off by an error and whose interval lay outside of the end, all in seconds.
    fn add(&mut self, error: f64, left: f64, outside: f64, what: impl Fn() -> String) {
        self.asked += 1;
        self.within_interval += usize::from(outside <= 0.0);
        // What is older than two days is kept by the hour.
        let is_nearly_within = outside <= HOUR;
        let days = (left / DAY) as usize;
        self.by_days_left.resize_with(self.by_days_left.len().max(days + 1), Vec::new);
        self.by_days_left[days].push((error / HOUR, error / left));
        if error > (RIGHT * left).max(RIGHT_HOURS * HOUR) {
            self.wrong.push(what());
            self.misleading.extend((left >= SURELY_RIGHT || !is_nearly_within).then(what));
        }
    }

    fn join(&mut self, other: Self) {
        self.asked += other.asked;
        self.within_interval += other.within_interval;
        self.by_days_left.resize_with(self.by_days_left.len().max(other.by_days_left.len()), Vec::new);
        self.by_days_left.iter_mut().zip(other.by_days_left).for_each(|(all, more)| all.extend(more));
        self.wrong.extend(other.wrong);
        self.misleading.extend(other.misleading);
    }

    fn tell(&self) {
        let right = self.asked - self.wrong.len();
        println!("  end foretold to a tenth, or to six hours: {}", share(right, self.asked));
        println!("  end within the interval: {}", share(self.within_interval, self.asked));
        for (days, errors) in self.by_days_left.iter().enumerate().filter(|(_, errors)| !errors.is_empty()) {
            let to_a_tenth = errors.iter().filter(|(_, share)| *share <= RIGHT).count();
            let mut hours: Vec<f64> = errors.iter().map(|(hours, _)| *hours).collect();
            hours.sort_by(f64::total_cmp);
            let [median, most, all] = [0.5, 0.99, 1.0].map(|rank| hours[((hours.len() - 1) as f64 * rank) as usize]);
            println!(
                "  {days:2} days left: to a tenth {}; off by hours: median {median:.1}, 99 % within {most:.1}, all within {all:.1}",
                share(to_a_tenth, errors.len())
            );
        }
    }
}
