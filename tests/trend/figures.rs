//! What many runs have in common.

use closewatch::trend::{Growth, Rate, Wall};

use crate::world::{A_DAY, DAY, HOUR, Service};

/// Numbers of which the ranks are told.
#[derive(Default)]
pub(crate) struct Numbers(Vec<f64>);

impl Numbers {
    pub(crate) fn add(&mut self, number: f64) {
        self.0.push(number);
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    /// The number below which this share of them lies; the highest for 1.
    fn rank(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[((self.0.len() - 1) as f64 * share).round() as usize]
    }

    /// Median, 95th percentile and highest.
    pub(crate) fn words(&mut self) -> String {
        let [median, most, all] = [0.5, 0.95, 1.0].map(|share| self.rank(share));
        format!("median {median:.1}, 95 % within {most:.1}, all within {all:.1}")
    }
}

/// How fast it is said to grow at this look, if it is.
pub(crate) fn rate(service: &Service, look: usize) -> Option<Rate> {
    match service.trend(look).growth {
        Growth::Growing(rate) => Some(rate),
        Growth::Flat | Growth::Unknown(_) => None,
    }
}

/// The first of the looks at which it is said to grow, as hours since `from`.
pub(crate) fn hours_until_called(
    service: &Service,
    from: usize,
    mut looks: impl Iterator<Item = usize>,
) -> Option<f64> {
    let first = looks.find(|look| rate(service, *look).is_some())?;
    Some((service.at(first) - service.at(from)) / HOUR)
}

/// How right the predictions are, by the day on which they were made.
#[derive(Default)]
pub(crate) struct Predictions {
    by_day: Vec<Numbers>,
    last_days: Numbers,
    wrong: Vec<String>,
    early: usize,
    late: usize,
    asked: usize,
}

/// A prediction is right within this share of the time that is left.
const RIGHT: f64 = 0.1;
/// A tenth of the last days is less than the wave alone decides: from there on it is right to so many hours.
const RIGHT_HOURS: f64 = 6.0;
/// So close to the end the errors are told in hours.
const LAST_DAYS: f64 = 3.0 * DAY;

impl Predictions {
    /// Notes what is said at this look, for a service that is exhausted at `end`.
    pub(crate) fn ask(&mut self, service: &Service, look: usize, end: f64) {
        let left = end - service.at(look);
        let trend = service.trend(look);
        let Wall::In { expected_s, earliest_s, latest_s } = trend.wall else {
            panic!("day {:.2}: {trend:?}", look as f64 / A_DAY as f64)
        };
        let error = (expected_s - left).abs();
        self.asked += 1;
        self.early += usize::from(left < earliest_s);
        self.late += usize::from(latest_s.is_some_and(|latest| left > latest));
        if error > (RIGHT * left).max(RIGHT_HOURS * HOUR) {
            self.wrong.push(format!("day {:.2}, {left:.0} s left: {trend:?}", look as f64 / A_DAY as f64));
        }
        if left < LAST_DAYS {
            self.last_days.add(error / HOUR);
        } else {
            let day = look / A_DAY;
            self.by_day.resize_with(self.by_day.len().max(day + 1), Numbers::default);
            self.by_day[day].add(100.0 * error / left);
        }
    }

    /// Tells the figures.
    pub(crate) fn tell(&mut self) {
        for (day, errors) in self.by_day.iter_mut().enumerate().filter(|(_, errors)| errors.count() > 0) {
            println!("  said on day {day:2}: error in % of the time left: {}", errors.words());
        }
        if self.last_days.count() > 0 {
            println!("  said in the last three days: error in hours: {}", self.last_days.words());
        }
        let share = |n: usize| 100.0 * n as f64 / self.asked as f64;
        let [wrong, early, late] = [self.wrong.len(), self.early, self.late].map(share);
        println!(
            "  {} predictions, wrong by over 10 % and six hours: {wrong:.1} %; the end came before the earliest: {early:.1} %, after the latest: {late:.1} %",
            self.asked
        );
    }

    /// The predictions that were not right.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }
}
