//! Which points belong to one line: the same run of the program, by one clock, since the leaked part last fell.

use std::collections::VecDeque;

use crate::model::past::Point;

/// Two looks at once may be stored the wrong way round; a clock that goes back by more was set back, and the spans across
/// that moment mean nothing.
const CLOCK_STEP_S: f64 = 60.0;
/// A program that is stopped lets go of everything within minutes. What declines more slowly is a wave, and no new line.
const FALL_WITHIN_S: f64 = 600.0;
/// A fall takes away at least so many of what was leaked, so that the few stuck sockets of a healthy service come and go
/// without a new line each time ...
const FALL_LEAST: f64 = 10.0;
/// ... and such a share: less is a replica of many, or a look that missed some.
const FALL_SHARE: f64 = 0.2;
/// So often in a week neither deploys empty a pool nor looks miss something: to come and go is its way, and its falls are part
/// of one line.
const OFTEN: usize = 3;
const WEEK_S: f64 = 7.0 * 86_400.0;

/// The points of the last run, up to `now`, in the order of time. What was read by another clock is left out.
pub(super) fn same_run(points: impl DoubleEndedIterator<Item = Point>, now: f64) -> Vec<Point> {
    let known = |point: &Point| point.at <= now && point.used.is_finite() && point.leaked.is_finite();
    let mut kept: Vec<Point> = Vec::with_capacity(points.size_hint().0);
    for point in points.rev().filter(known) {
        if let Some(later) = kept.last() {
            if point.run != later.run || point.at > later.at + CLOCK_STEP_S {
                break;
            }
            if point.at >= later.at {
                continue;
            }
        }
        kept.push(point);
    }
    kept.reverse();
    drop_oversights(&mut kept);
    kept
}

/// The points since the leaked part last fell at once; all of them when it does so by habit.
pub(super) fn since_fall(points: &[Point]) -> &[Point] {
    let falls = falls(points);
    let Some(newest) = points.last() else { return points };
    let lately = falls.iter().filter(|start| newest.at - points[**start].at <= WEEK_S).count();
    match falls.last() {
        Some(start) if lately < OFTEN => &points[*start..],
        _ => points,
    }
}

/// Where the leaked part has just fallen. What follows within the same minutes is the same fall.
fn falls(points: &[Point]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    // Most lines have nothing to lose, and cost one pass.
    if points.iter().all(|point| point.leaked <= FALL_LEAST) {
        return found;
    }
    // The highest of the last minutes comes first, and each is followed by the highest after it.
    let mut heights: VecDeque<(f64, f64)> = VecDeque::new();
    for (index, point) in points.iter().enumerate() {
        let level = level(points, index);
        while heights.len() > 1 && heights.front().is_some_and(|(at, _)| point.at - at > FALL_WITHIN_S) {
            heights.pop_front();
        }
        if let Some((_, top)) = heights.front()
            && has_fallen(*top, level)
        {
            if found.last().is_some_and(|last| point.at - points[*last].at <= FALL_WITHIN_S) {
                found.pop();
            }
            found.push(index);
            heights.clear();
        }
        while heights.back().is_some_and(|(_, height)| *height <= level) {
            heights.pop_back();
        }
        heights.push_back((point.at, level));
    }
    found
}

/// The leaked part as its neighbours confirm it, their median: one burst is no height.
fn level(points: &[Point], index: usize) -> f64 {
    let here = points[index].leaked;
    let before = index.checked_sub(1).map_or(here, |before| points[before].leaked);
    let after = points.get(index + 1).map_or(here, |after| after.leaked);
    before.max(after).min(before.min(after).max(here))
}

/// Leaves the looks out that saw much less than those right before and after: a process that could not be read that once. Where
/// that is the way of the thing it is no oversight, and they stay.
fn drop_oversights(points: &mut Vec<Point>) {
    let Some(newest) = points.last().map(|newest| newest.at) else { return };
    let missed = |window: &[Point]| has_fallen(window[0].leaked.min(window[2].leaked), window[1].leaked);
    let oversights: Vec<f64> = points.windows(3).filter(|window| missed(window)).map(|window| window[1].at).collect();
    if oversights.iter().filter(|at| newest - **at <= WEEK_S).count() < OFTEN {
        points.retain(|point| !oversights.contains(&point.at));
    }
}

fn has_fallen(from: f64, to: f64) -> bool {
    to < from * (1.0 - FALL_SHARE) - FALL_LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(leaked: &[f64]) -> Vec<Point> {
        let point = |(index, leaked): (usize, &f64)| Point {
            at: 1e9 + index as f64 * 300.0,
            used: leaked + 100.0,
            leaked: *leaked,
            limit: Some(1000.0),
            run: 1,
        };
        leaked.iter().enumerate().map(point).collect()
    }

    const LATER: f64 = 2e9;

    fn run(points: &[Point]) -> Vec<Point> {
        same_run(points.iter().copied(), LATER)
    }

    #[test]
    fn another_run_is_another_line() {
        let mut points = line(&[1.0, 2.0, 3.0, 4.0]);
        points[0].run = 7;
        points[1].run = 7;
        assert_eq!(run(&points), points[2..]);
    }

    #[test]
    fn what_another_clock_stamped_is_left_out() {
        let mut points = line(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        points[1].at += 86_400.0;
        assert_eq!(run(&points), points[2..], "the clock was set back after the second look");
        points[4].at = LATER + 5.0;
        assert_eq!(run(&points), points[2..4], "a moment that is still to come");
        let mut twice = line(&[1.0, 2.0, 3.0]);
        twice[1].at = twice[2].at + 1.0;
        assert_eq!(run(&twice), [twice[0], twice[2]], "two looks that crossed");
        points[2].used = f64::NAN;
        assert_eq!(run(&points), points[3..4]);
        assert!(run(&[]).is_empty());
    }

    #[test]
    fn a_look_that_saw_too_little_is_left_out_unless_many_do() {
        let missed = line(&[500.0, 510.0, 0.0, 530.0, 540.0]);
        assert_eq!(run(&missed), [&missed[..2], &missed[3..]].concat());
        let last = line(&[500.0, 510.0, 520.0, 0.0]);
        assert_eq!(run(&last), last, "the next look will tell");
        let often: Vec<f64> = (0..40).map(|index| if index % 10 == 5 { 0.0 } else { 500.0 }).collect();
        let often = line(&often);
        assert_eq!(run(&often), often);
    }

    #[test]
    fn a_fall_begins_a_new_line() {
        let emptied = line(&[500.0, 510.0, 520.0, 0.0, 0.0, 10.0]);
        assert_eq!(since_fall(&emptied), &emptied[3..]);
        let in_part = line(&[500.0, 510.0, 520.0, 360.0, 370.0]);
        assert_eq!(since_fall(&in_part), &in_part[3..], "one holder of several");
        let in_steps = line(&[500.0, 510.0, 250.0, 20.0, 30.0, 40.0]);
        assert_eq!(since_fall(&in_steps), &in_steps[3..]);
    }

    #[test]
    fn what_is_no_fall_is_no_new_line() {
        let noise = line(&[8.0, 0.0, 0.0, 7.0, 0.0, 0.0]);
        assert_eq!(since_fall(&noise), &noise[..]);
        let burst = line(&[50.0, 50.0, 500.0, 50.0, 50.0]);
        assert_eq!(since_fall(&burst), &burst[..]);
        let ebb: Vec<f64> = (0..200).map(|index| 400.0 - f64::from(index) * 2.0).collect();
        let ebb = line(&ebb);
        assert_eq!(since_fall(&ebb), &ebb[..], "a wave goes slowly");
        assert!(since_fall(&[]).is_empty());
    }

    #[test]
    fn what_falls_all_the_time_has_one_line() {
        let teeth: Vec<f64> = (0..60).map(|index| f64::from(index % 10) * 30.0).collect();
        let teeth = line(&teeth);
        assert_eq!(since_fall(&teeth), &teeth[..]);
    }
}
