//! A leak that takes minutes instead of weeks.

use closewatch::model::past::Point;
use closewatch::trend::{self, Growth, Wall};

use crate::RUNS;
use crate::figures::Numbers;
use crate::world::{Dice, series};

const LIMIT: f64 = 2000.0;
const PER_SECOND: f64 = 20.0;

/// A point every second: sockets leak, and are surely stuck some seconds later. Returns them and when the pool was full.
fn leaking(dice: &mut Dice, stuck_after: f64) -> (Vec<Point>, f64) {
    let others = dice.between(5.0, 60.0).floor();
    let mut points = Vec::new();
    let mut at = 1.7e9 + dice.between(0.0, 86_400.0);
    let begun = at;
    let full = begun + (LIMIT - others) / PER_SECOND;
    while at < full {
        let leaked_before = |moment: f64| ((moment - begun) * PER_SECOND).max(0.0).floor();
        points.push(Point {
            at,
            used: leaked_before(at) + others + dice.between(-3.0, 3.0).round(),
            leaked: leaked_before(at - stuck_after),
            limit: Some(LIMIT),
            run: 1,
        });
        at += dice.between(0.9, 1.2);
    }
    (points, full)
}

#[test]
fn the_end_of_a_fast_leak_is_known_half_way() {
    let mut errors = Numbers::default();
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 2_000_000);
        let stuck_after = dice.between(0.0, 10.0);
        let (points, full) = leaking(&mut dice, stuck_after);
        for known in (points.len() / 2 + 1..points.len() - 5).step_by(9) {
            let now = points[known - 1].at;
            let trend = trend::of(&series(points[..known].to_vec()), now);
            let Wall::In { expected_s, .. } = trend.wall else { panic!("seed {seed}, {known} looks: {trend:?}") };
            let error = (expected_s - (full - now)).abs() / (full - now);
            errors.add(100.0 * error);
            assert!(error <= 0.15, "seed {seed}, {known} looks: {trend:?}");
        }
    }
    println!("20 a second into 2,000 ports: error in % of the time left: {}", errors.words());
}

#[test]
fn a_burst_of_closed_connections_is_no_fast_leak() {
    for seed in 0..RUNS {
        let mut dice = Dice(seed + 3_000_000);
        let burst = dice.between(20.0, 600.0);
        let at_once = dice.between(1.0, 10.0);
        let point = |second: u32| Point {
            at: 1.7e9 + f64::from(second),
            used: 700.0,
            leaked: (burst * ((f64::from(second) - 60.0) / at_once).clamp(0.0, 1.0)).round(),
            limit: Some(LIMIT),
            run: 1,
        };
        let points: Vec<Point> = (0..180).map(point).collect();
        for known in [65, 75, 90, 120, 180] {
            let trend = trend::of(&series(points[..known].to_vec()), points[known - 1].at);
            assert!(!matches!(trend.growth, Growth::Growing(_)), "seed {seed}, {known} looks: {trend:?}");
        }
    }
}
