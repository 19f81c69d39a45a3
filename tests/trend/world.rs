//! Services that leak and services that do not, looked at every five minutes for a month, and what the store keeps of it.

use std::net::{IpAddr, Ipv4Addr};

use closewatch::model::past::{Point, PoolName, Series, Track};
use closewatch::model::tuple::Endpoint;
use closewatch::trend::{self, Trend};

pub(crate) const MINUTE: f64 = 60.0;
pub(crate) const HOUR: f64 = 3600.0;
pub(crate) const DAY: f64 = 86_400.0;
/// One look every five minutes.
pub(crate) const EVERY: f64 = 5.0 * MINUTE;
pub(crate) const A_DAY: usize = 288;
pub(crate) const AN_HOUR: usize = 12;
/// For so many days the store keeps every look, and one point per hour before.
const RAW_DAYS: usize = 2;
/// The ports of the usual range.
pub(crate) const PORTS: f64 = 28_232.0;

/// Numbers that look random (splitmix64, Vigna).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.below(1 << 32) as f64 / (1_u64 << 32) as f64
    }
}

/// What a service does for some days: every look at it.
pub(crate) struct Service {
    looks: Vec<Point>,
    hours: Vec<Point>,
}

impl Service {
    /// A service with daily and weekly waves, noise and three deploys of its neighbours, that has leaked so much by each look.
    ///
    /// `starts` holds the looks at which the program itself has been restarted.
    pub(crate) fn new(dice: &mut Dice, limit: f64, leaked: &[f64], starts: &[usize]) -> Self {
        let started = 1.7e9 + dice.between(0.0, 7.0 * DAY).floor();
        let rest = Rest::new(dice, leaked.len() / A_DAY);
        let mut stuck = Stuck::new(dice);
        let mut run = 1;
        let looks = leaked.iter().enumerate().map(|(look, leaked)| {
            run += u64::from(starts.contains(&look));
            let at = started + look as f64 * EVERY;
            let leaked = (leaked + stuck.at(at, dice)).round();
            let used = leaked + rest.at(look, at, dice).round();
            Point { at, used, leaked, limit: Some(limit), run }
        });
        let looks: Vec<Point> = looks.collect();
        let hours = by_hour(&looks);
        Self { looks, hours }
    }

    /// The same with so much more in use at each look that is not surely leaked.
    pub(crate) fn with_use(mut self, more: &[f64]) -> Self {
        self.looks.iter_mut().zip(more).for_each(|(look, more)| look.used += more.round());
        self.hours = by_hour(&self.looks);
        self
    }

    /// Every look at it.
    pub(crate) fn looks(&self) -> &[Point] {
        &self.looks
    }

    /// When that look was.
    pub(crate) fn at(&self, look: usize) -> f64 {
        self.looks()[look].at
    }

    /// When all that there is was first in use.
    pub(crate) fn exhausted_at(&self) -> Option<f64> {
        self.looks.iter().find(|look| look.limit.is_some_and(|limit| look.used >= limit)).map(|look| look.at)
    }

    /// What is said when this look is the last.
    pub(crate) fn trend(&self, look: usize) -> Trend {
        trend::of(&self.kept(look), self.at(look))
    }

    /// What the store has when this look is the last.
    fn kept(&self, look: usize) -> Series {
        let raw = look.saturating_sub(RAW_DAYS * A_DAY);
        let first_raw = hour_of(&self.looks[raw]);
        let n_hours = if raw == 0 { 0 } else { self.hours.partition_point(|hour| hour_of(hour) < first_raw) };
        let from = if raw == 0 { 0 } else { self.looks.partition_point(|look| hour_of(look) < first_raw) };
        series(self.hours[..n_hours].iter().chain(&self.looks[from..=look]).copied().collect())
    }
}

/// The sum so far of what each look adds, half as much more or less each time.
pub(crate) fn sums(dice: &mut Dice, days: usize, adds: impl Fn(usize) -> f64) -> Vec<f64> {
    let add = |sum: &mut f64, look: usize| {
        *sum += adds(look) * dice.between(0.5, 1.5);
        Some(*sum)
    };
    (0..days * A_DAY).scan(0.0, add).collect()
}

pub(crate) fn series(points: Vec<Point>) -> Series {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let pool = PoolName { netns: "init".to_owned(), source: loopback, destination: Endpoint::new(loopback, 80) };
    Series { track: Track::Ports(pool), points: points.into_iter().collect(), holder: None }
}

fn hour_of(point: &Point) -> u64 {
    (point.at / HOUR) as u64
}

fn by_hour(looks: &[Point]) -> Vec<Point> {
    looks.chunk_by(|a, b| hour_of(a) == hour_of(b)).filter_map(least_of_hour).collect()
}

/// The least of an hour, at its middle; of another run of the program, of its own.
fn least_of_hour(looks: &[Point]) -> Option<Point> {
    let last = looks.last()?;
    let of_run = || looks.iter().filter(|look| look.run == last.run);
    Some(Point {
        at: (hour_of(last) as f64 + 0.5) * HOUR,
        used: of_run().map(|look| look.used).fold(f64::INFINITY, f64::min),
        leaked: of_run().map(|look| look.leaked).fold(f64::INFINITY, f64::min),
        ..*last
    })
}

/// What is in use and not leaked.
struct Rest {
    wave: Vec<f64>,
    days: Vec<f64>,
    noise: f64,
    weekend: f64,
    /// From which look to which the neighbours are being deployed, and what is left meanwhile.
    deploys: Vec<(usize, usize, f64)>,
}

impl Rest {
    fn new(dice: &mut Dice, days: usize) -> Self {
        let base = dice.between(100.0, 600.0);
        let swing = base * dice.between(0.5, 2.0);
        let steepness = dice.between(1.0, 3.0);
        let phase = dice.between(0.0, std::f64::consts::TAU);
        let wave = (0..A_DAY).map(|look| {
            let turn = look as f64 / A_DAY as f64 * std::f64::consts::TAU + phase;
            base + swing * (0.5 + 0.5 * turn.sin()).powf(steepness)
        });
        let wave = wave.collect();
        let deploys = (0..3).map(|_| {
            let from = dice.below((days * A_DAY) as u64) as usize;
            (from, from + 1 + dice.below(6) as usize, dice.between(0.2, 0.7))
        });
        let deploys = deploys.collect();
        let days = (0..=days).map(|_| dice.between(0.96, 1.04)).collect();
        Self { wave, days, noise: dice.between(0.01, 0.06), weekend: dice.between(0.5, 1.0), deploys }
    }

    fn at(&self, look: usize, at: f64, dice: &mut Dice) -> f64 {
        let weekend = (at / DAY) as u64 % 7 >= 5;
        let week = if weekend { self.weekend } else { 1.0 };
        let deploys = self.deploys.iter().filter(|(from, to, _)| (*from..*to).contains(&look));
        let left: f64 = deploys.map(|(_, _, left)| left).product();
        let noise = 1.0 + dice.between(-self.noise, self.noise);
        self.wave[look % A_DAY] * self.days[look / A_DAY] * week * left * noise
    }
}

/// The few stuck sockets of every service, that come and go: at random, at leisure, or with the traffic.
struct Stuck {
    now: f64,
    manner: u64,
    most: f64,
}

impl Stuck {
    fn new(dice: &mut Dice) -> Self {
        let manner = dice.below(3);
        Self { now: 0.0, manner, most: if manner == 2 { dice.between(8.0, 25.0) } else { 8.0 } }
    }

    fn at(&mut self, at: f64, dice: &mut Dice) -> f64 {
        self.now = match self.manner {
            0 => dice.between(0.0, self.most),
            1 => (self.now + dice.between(-2.0, 2.0)).clamp(0.0, self.most),
            _ => {
                let turn = at / DAY * std::f64::consts::TAU;
                (self.most - 4.0) * (0.5 + 0.5 * turn.sin()) + dice.between(0.0, 4.0)
            }
        };
        self.now
    }
}
