use std::time::Duration;

use super::*;
use crate::model::past::{LimitKind, Track};
use crate::trend::forecast::{Forecast, Stayed};
use crate::trend::{Growth, Kind, Rate, Trend, Why};

const HOUR: f64 = 3600.0;
/// 2026-01-05 00:00 UTC.
const START: f64 = 1_767_571_200.0;

fn point(hour: u32, used: f64, leaked: f64, limit: Option<f64>) -> Point {
    Point { at: START + f64::from(hour) * HOUR, used, leaked, limit, run: 1 }
}

fn line(points: Vec<Point>, trend: Trend) -> Line {
    let now = *points.last().expect("points");
    let track = Track::Limit(LimitKind::FileMax, None);
    let forecast = Forecast { track, holder: None, now, n_looks: points.len() - 1, trend, stayed: Stayed::default() };
    Line { forecast, holder: None, points }
}

fn growing(expected_s: f64) -> Trend {
    let over = Duration::from_secs(3600);
    let rate = Rate { per_hour: 10.0, at_least: 9.0, at_most: 11.0, over, kind: Kind::Leak };
    let wall = Wall::In { expected_s, earliest_s: expected_s * 0.9, latest_s: None };
    Trend { growth: Growth::Growing(rate), wall }
}

const FLAT: Trend = Trend { growth: Growth::Flat, wall: Wall::NotApproached };

fn drawn(line: &Line, width: usize) -> Vec<String> {
    let at = line.forecast.now.at;
    plot(line, at, width).expect("a plot").lines
}

#[test]
fn a_leak_climbs_to_its_wall() {
    let points = (0..=20).map(|hour| point(hour, f64::from(hour) * 25.0 + 50.0, f64::from(hour) * 25.0, Some(1000.0)));
    let lines = drawn(&line(points.collect(), growing(18.0 * HOUR)), 44);
    assert_eq!(
        lines,
        [
            "1,000 ┤┄ limit ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄×",
            "      │                               ·····",
            "      │                           ····",
            "      │                      ·····",
            "      │                    ··",
            "  500 ┤               ▂▄▅▇█",
            "      │          ▂▄▅▇██████",
            "      │     ▂▄▅▇███████████",
            "      │▂▄▅▇████████████████",
            "    0 └┬──────────────────┬─────────────────",
            "       5 Jan          last look",
        ],
        "{}",
        lines.join("\n")
    );
}

#[test]
fn a_limit_far_above_is_out_of_scale_and_a_restart_is_marked() {
    let mut points: Vec<Point> =
        (0..=20).map(|hour| point(hour, 10.0 + f64::from(hour % 5), 0.0, Some(65_536.0))).collect();
    points[10..].iter_mut().for_each(|point| point.run = 2);
    let drawn = plot(&line(points.clone(), FLAT), points[20].at, 40).expect("a plot");
    let lines = &drawn.lines;
    assert!(lines[0].starts_with("65,536 ┤┄ limit ┄┄") && lines[1] == "     ≈ ┤" && lines[2].starts_with("    20 ┤"));
    assert!(lines.iter().any(|line| line.starts_with("     0 └") && line.contains('▲')), "{lines:#?}");
    assert_eq!(drawn.signs, Signs { leaked: false, expected: false, other_run: true });
}

#[test]
fn no_line_is_wider_than_the_page_and_nothing_makes_it_panic() {
    let numbers = [0.0, 1.0, 7.0, 28_232.0, 1e15, f64::MAX];
    for used in numbers {
        for limit in [None, Some(0.0), Some(1.0), Some(28_232.0), Some(1e18)] {
            for (hours, eta) in [(1, 1.0), (1, 3e7), (2000, 60.0), (2000, 3e7)] {
                let points = [point(0, 0.0, 0.0, limit), point(hours, used, used, limit)];
                for width in [0, 1, 30, 80, 160, 200] {
                    let seen = line(points.to_vec(), growing(eta));
                    for text in drawn(&seen, width) {
                        let room = width.max(LEAST + 2 + words(1e18_f64.max(used)).len());
                        assert!(text.chars().count() <= room, "{used} {limit:?} {width}: {text}");
                    }
                }
            }
        }
    }
    assert!(plot(&line(vec![point(0, 1.0, 0.0, None)], FLAT), START, 80).is_none());
    let same = vec![point(0, 1.0, 0.0, None), point(0, 1.0, 0.0, None)];
    assert!(plot(&line(same, FLAT), START, 80).is_none());
    let gone = Trend { growth: Growth::Unknown(Why::Gone), wall: Wall::Unknown(Why::Gone) };
    let mut ended = line(vec![point(0, 1.0, 0.0, None), point(5, 1.0, 0.0, None)], growing(60.0));
    ended.forecast.trend = gone;
    let drawn = plot(&ended, START + 1e6, 80).expect("a plot");
    assert!(!drawn.signs.expected && drawn.lines[0].starts_with("10 ┤"), "{drawn:#?}");
}

#[test]
fn scales_and_steps_are_round() {
    assert_eq!([0.0, 10.0, 11.0, 21.0, 501.0, 28_232.0].map(round_above), [10.0, 10.0, 20.0, 50.0, 1000.0, 50_000.0]);
    assert_eq!([step(5.0, 5), step(3600.0, 5), step(30.0 * 86_400.0, 5)], [1.0, 900.0, 10.0 * 86_400.0]);
    assert_eq!(step(400.0 * 86_400.0, 5), 90.0 * 86_400.0);
}
