//! One number over time in characters, with its wall: what is leaked solid, what else is in use shaded, what is expected
//! dotted.

use super::columns::{Sample, columns};
use super::times::label;
use crate::chronicle::Line;
use crate::model::past::Point;
use crate::model::wording::count;
use crate::trend::Wall;

/// Rows between zero and the top.
const ROWS: usize = 8;
/// A limit that is so many times as high as anything else is drawn out of scale: else there were nothing else to see.
const FAR_ABOVE: f64 = 5.0;
/// Columns that a label of the time takes, with room around it.
const LABEL: usize = 10;
/// The least width that shows anything.
const LEAST: usize = 20;

/// Fillings of a cell by eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One row of the picture: what stands at its left, and the cells.
type Row = (String, Vec<char>);

/// What a plot has of what its legend explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    pub(super) leaked: bool,
    pub(super) expected: bool,
    pub(super) other_run: bool,
}

/// A drawn plot.
#[derive(Debug)]
pub(super) struct Plot {
    /// Its lines, none wider than was asked for.
    pub(super) lines: Vec<String>,
    /// The signs in them.
    pub(super) signs: Signs,
}

/// The line over time, as it is told at this moment; `None` when fewer than two looks are shown.
pub(super) fn plot(line: &Line, at: f64, width: usize) -> Option<Plot> {
    let [first, .., last] = line.points.as_slice() else { return None };
    let now = if line.is_gone() { last.at } else { at.max(last.at) };
    let past = now - first.at;
    if past <= 0.0 {
        return None;
    }
    let ahead = Ahead::of(line, now, past);
    let to = now + ahead.map_or(0.0, |ahead| ahead.shown_s);
    let scale = Scale::of(&line.points, ahead.map_or(0.0, |ahead| ahead.value(to)));
    let labels = scale.label_width();
    let n = width.saturating_sub(labels + 2).max(LEAST);
    let frame = Frame { from: first.at, to, n };
    let mut rows = scale.rows(n);
    scale.draw(&mut rows, &line.points, &frame);
    if let Some(ahead) = ahead {
        scale.dot(&mut rows, &ahead, &frame);
    }
    let signs = Signs {
        leaked: line.points.iter().any(|point| point.leaked > 0.0),
        expected: ahead.is_some(),
        other_run: line.points.windows(2).any(|pair| pair[0].run != pair[1].run),
    };
    let mut lines: Vec<String> = rows.into_iter().map(|(name, cells)| joined(&name, labels, cells)).collect();
    let name = if at > last.at { "now" } else { "last look" };
    lines.extend(frame.axis(&line.points, ahead.map(|_| (now, name)), labels));
    Some(Plot { lines, signs })
}

fn joined(name: &str, labels: usize, cells: Vec<char>) -> String {
    let edge = if name.is_empty() { '│' } else { '┤' };
    let text: String = cells.into_iter().collect();
    format!("{name:>labels$} {edge}{text}").trim_end().to_owned()
}

/// What is expected: a straight line from now to the wall.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    now: f64,
    used: f64,
    per_s: f64,
    /// How much of what is to come is shown.
    shown_s: f64,
    /// When the limit is met.
    met_at: f64,
}

impl Ahead {
    /// As much as was seen at the most: a leak of an hour must not vanish in front of the month that is left.
    fn of(line: &Line, now: f64, past: f64) -> Option<Self> {
        let Wall::In { expected_s, .. } = line.forecast.trend.wall else { return None };
        let Point { used, limit, .. } = line.forecast.now;
        let limit = limit?;
        let shown_s = if expected_s <= past { (expected_s * 1.05).max(past / 20.0) } else { past / 4.0 };
        Some(Self { now, used, per_s: (limit - used) / expected_s.max(1.0), shown_s, met_at: now + expected_s })
    }

    fn value(&self, at: f64) -> f64 {
        self.used + self.per_s * (at.min(self.met_at) - self.now)
    }
}

/// From counts to rows.
struct Scale {
    /// What the topmost row reaches.
    top: f64,
    limit: Option<f64>,
    /// Whether the limit is the top.
    is_true: bool,
}

impl Scale {
    fn of(points: &[Point], expected: f64) -> Self {
        let limit = points.last().and_then(|point| point.limit).filter(|limit| *limit > 0.0);
        let peak = points.iter().fold(expected, |peak, point| peak.max(point.used));
        match limit.filter(|limit| peak * FAR_ABOVE >= *limit) {
            Some(limit) => Self { top: limit, limit: Some(limit), is_true: true },
            None => Self { top: round_above(peak), limit, is_true: false },
        }
    }

    fn label_width(&self) -> usize {
        [Some(self.top), self.limit].into_iter().flatten().map(|value| words(value).len()).max().unwrap_or(1)
    }

    /// The empty rows from the top: the wall, where it is known, and what lies below it.
    fn rows(&self, n: usize) -> Vec<Row> {
        let wall = |limit: f64| {
            let line = "┄ limit ".chars().chain(std::iter::repeat('┄'));
            (words(limit), line.take(n).collect())
        };
        let mut rows: Vec<Row> = self.limit.map(wall).into_iter().collect();
        if !self.is_true && self.limit.is_some() {
            rows.push(("≈".to_owned(), vec![' '; n]));
        }
        rows.extend((0..ROWS).map(|nth| (self.name(nth), vec![' '; n])));
        rows
    }

    /// What stands at the left of the row: of the topmost, when the limit does not say it, and half way down.
    fn name(&self, nth: usize) -> String {
        match nth {
            0 if !self.is_true => words(self.top),
            half if half * 2 == ROWS => words(self.top / 2.0),
            _ => String::new(),
        }
    }

    fn draw(&self, rows: &mut [Row], points: &[Point], frame: &Frame) {
        let of = |value: fn(&Point) -> f64| {
            let samples: Vec<Sample> = points.iter().map(|point| (point.at, value(point))).collect();
            columns(&samples, (frame.from, frame.to), frame.n)
        };
        let [used, leaked] = [of(|point| point.used), of(|point| point.leaked)];
        let bottom = rows.len();
        for (column, (used, leaked)) in used.into_iter().zip(leaked).enumerate() {
            let Some((used, leaked)) = used.zip(leaked) else { continue };
            let [used, leaked] = [used, leaked].map(|value| (value / self.top * ROWS as f64).min(ROWS as f64));
            for height in 0..ROWS {
                rows[bottom - 1 - height].1[column] = cell(used - height as f64, leaked - height as f64);
            }
        }
    }

    fn dot(&self, rows: &mut [Row], ahead: &Ahead, frame: &Frame) {
        let bottom = rows.len();
        let first = frame.column(ahead.now) + 1;
        let met = frame.column(ahead.met_at);
        for column in first..frame.n {
            if column == met && self.is_true && ahead.met_at <= frame.to {
                rows[0].1[column] = '×';
                break;
            }
            let height = ahead.value(frame.middle(column)) / self.top * ROWS as f64;
            rows[bottom - 1 - (height as usize).min(ROWS - 1)].1[column] = '·';
        }
    }
}

/// What fills one cell of which so much is used, and so much of that leaked, in cells.
fn cell(used: f64, leaked: f64) -> char {
    /// Less than half a shade is none.
    const HALF: f64 = 0.5;
    let eighths = (leaked * 8.0).ceil().clamp(0.0, 8.0) as usize;
    match eighths {
        0 if used >= HALF => '░',
        0 => ' ',
        filled => EIGHTHS[filled],
    }
}

/// From moments to columns.
struct Frame {
    from: f64,
    to: f64,
    n: usize,
}

impl Frame {
    fn column(&self, at: f64) -> usize {
        (((at - self.from) / (self.to - self.from) * self.n as f64).max(0.0) as usize).min(self.n - 1)
    }

    fn middle(&self, column: usize) -> f64 {
        self.from + (column as f64 + 0.5) / self.n as f64 * (self.to - self.from)
    }

    /// The line of the zero, and the labels below it. `now` is told where something lies ahead of it.
    fn axis(&self, points: &[Point], now: Option<(f64, &str)>, labels: usize) -> [String; 2] {
        let mut line = vec!['─'; self.n];
        let mut text = vec![' '; self.n];
        if let Some(now) = now {
            self.mark(&mut line, &mut text, now);
        }
        let step = step(self.to - self.from, self.n / LABEL);
        let mut tick = (self.from / step).ceil() * step;
        while tick <= self.to {
            self.mark(&mut line, &mut text, (tick, &label(tick, step)));
            tick += step;
        }
        for pair in points.windows(2).filter(|pair| pair[0].run != pair[1].run) {
            line[self.column(pair[1].at)] = '▲';
        }
        let [line, text]: [String; 2] = [line, text].map(|cells| cells.into_iter().collect());
        [format!("{:>labels$} └{line}", "0"), format!("{:labels$}  {text}", "").trim_end().to_owned()]
    }

    /// Puts a label below its moment, unless there is another one already.
    fn mark(&self, line: &mut [char], text: &mut [char], (at, label): (f64, &str)) {
        let column = self.column(at);
        let length = label.chars().count();
        let start = column.saturating_sub(length / 2).min(self.n.saturating_sub(length));
        let around = start.saturating_sub(1)..(start + length + 1).min(self.n);
        if text[around].iter().any(|cell| *cell != ' ') {
            return;
        }
        line[column] = '┬';
        text[start..].iter_mut().zip(label.chars()).for_each(|(cell, letter)| *cell = letter);
    }
}

/// The least of the usual distances by which no more labels than this fit.
fn step(span: f64, labels: usize) -> f64 {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86_400.0;
    const STEPS: [f64; 17] = [
        1.0,
        5.0,
        15.0,
        30.0,
        MINUTE,
        5.0 * MINUTE,
        15.0 * MINUTE,
        30.0 * MINUTE,
        HOUR,
        3.0 * HOUR,
        6.0 * HOUR,
        12.0 * HOUR,
        DAY,
        2.0 * DAY,
        5.0 * DAY,
        10.0 * DAY,
        30.0 * DAY,
    ];
    let least = span / labels.max(1) as f64;
    let longest = STEPS[STEPS.len() - 1];
    STEPS.into_iter().find(|step| *step >= least).unwrap_or((least / longest).ceil() * longest)
}

/// The next of 1, 2 and 5 with zeros behind it.
fn round_above(value: f64) -> f64 {
    /// What can be told apart in rows.
    const LEAST: f64 = 10.0;
    let value = value.max(LEAST);
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn words(value: f64) -> String {
    count(value.round() as u64)
}

#[cfg(test)]
mod tests;
