//! From the looks, one behind the other, to the numbers that are followed, one beside the other.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::super::fault::Fault;
use super::super::names::{NameId, Names};
use super::super::stretch::{HOUR_MS, Head, LimitId};
use super::clock::Stamp;
use crate::model::past::{Point, Series, Track};
use crate::model::process::ProcessKey;

/// A gap is filled with zeros look by look when it has no more of them than a day of looks every five minutes; of a longer
/// one the first and the last look do: points that tell nothing new must not be made by the million.
const LONGEST_FILLED: usize = 288;

/// One number at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) step: u32,
    /// Whose number it is, or who holds most of it; 0 when that is not known.
    pub(super) run: NameId,
    pub(super) used: u64,
    pub(super) leaked: u64,
    pub(super) limit: Option<u64>,
    /// How much of it that run holds.
    pub(super) held: u64,
    /// Whether `leaked` counts ghosts too.
    pub(super) has_ghosts: bool,
}

/// One look, or one hour of looks.
#[derive(Debug, Clone, Copy)]
struct Step {
    stamp: Stamp,
    lists_pools: bool,
}

#[derive(Debug, Clone, Copy)]
struct RunPlace {
    line: usize,
    last_step: u32,
}

/// The numbers that are being followed.
#[derive(Debug)]
pub(super) struct Lines<'n> {
    names: &'n Names,
    boot: Option<NameId>,
    steps: Vec<Step>,
    runs: HashMap<NameId, RunPlace, RandomState>,
    services: Table<NameId>,
    pools: Table<NameId>,
    limits: Table<LimitId>,
}

/// Lines by what they are of, in the order in which they were first seen.
#[derive(Debug)]
struct Table<K> {
    places: HashMap<K, usize, RandomState>,
    lines: Vec<(K, Vec<Mark>)>,
}

impl<K: Copy + Eq + std::hash::Hash> Table<K> {
    fn new() -> Self {
        Self { places: HashMap::default(), lines: Vec::new() }
    }

    fn place(&mut self, key: K) -> usize {
        let fresh = self.lines.len();
        let place = *self.places.entry(key).or_insert(fresh);
        if place == fresh {
            self.lines.push((key, Vec::new()));
        }
        place
    }
}

impl<'n> Lines<'n> {
    /// `boot` is the one that times since boot are of.
    pub(super) fn new(names: &'n Names, boot: Option<NameId>) -> Self {
        Self {
            names,
            boot,
            steps: Vec::new(),
            runs: HashMap::default(),
            services: Table::new(),
            pools: Table::new(),
            limits: Table::new(),
        }
    }

    /// An hour is told by its middle; the time since boot is that of its last look.
    pub(super) fn step_of_hour(&mut self, head: &Head) -> u32 {
        self.step(Stamp { clock: head.hour() + HOUR_MS / 2, uptime: None }, head)
    }

    pub(super) fn step_of_look(&mut self, head: &Head) -> u32 {
        let uptime = head.uptime.filter(|_| head.boot.is_some() && head.boot == self.boot);
        self.step(Stamp { clock: head.began, uptime }, head)
    }

    fn step(&mut self, stamp: Stamp, head: &Head) -> u32 {
        self.steps.push(Step { stamp, lists_pools: head.lists_pools });
        self.steps.len() as u32 - 1
    }

    /// A process; without `used` it was seen, and there is no point.
    pub(super) fn process(&mut self, run: NameId, used: Option<u64>, mark: Mark) -> Result<(), Fault> {
        let line = match self.runs.get_mut(&run) {
            Some(place) => {
                place.last_step = mark.step;
                place.line
            }
            None => {
                let line = self.services.place(self.names.run(run)?.service);
                self.runs.insert(run, RunPlace { line, last_step: mark.step });
                line
            }
        };
        if let Some(used) = used {
            self.services.lines[line].1.push(Mark { run, used, ..mark });
        }
        Ok(())
    }

    pub(super) fn pool(&mut self, pool: NameId, mark: Mark) {
        let line = self.pools.place(pool);
        self.pools.lines[line].1.push(mark);
    }

    pub(super) fn limit(&mut self, limit: LimitId, mark: Mark) {
        let line = self.limits.place(limit);
        self.limits.lines[line].1.push(mark);
    }

    pub(super) fn stamps(&self) -> Vec<Stamp> {
        self.steps.iter().map(|step| step.stamp).collect()
    }

    /// The series, with the time of every step.
    pub(super) fn series(self, times: &[i64]) -> Result<Vec<Series>, Fault> {
        let Self { names, boot, steps, runs, services, pools, limits } = self;
        let holder_of = |marks: &[Mark]| -> Result<Option<ProcessKey>, Fault> {
            let Some(last) = marks.last().filter(|last| last.run != 0) else { return Ok(None) };
            let run = names.run(last.run)?;
            Ok(Some(run.key).filter(|_| boot.is_some() && run.boot == boot))
        };
        let mut series = Vec::with_capacity(services.lines.len() + pools.lines.len() + limits.lines.len());
        for (service, marks) in services.lines {
            let track = Track::Descriptors(names.service(service)?.clone());
            let marks = with_like_ghosts(one_run_at_a_time(marks));
            push(&mut series, (track, holder_of(&marks)?), &marks, times);
        }
        for (pool, marks) in pools.lines {
            let track = Track::Ports(names.pool(pool)?.clone());
            let marks = with_empty_moments(with_lines(marks, &runs), &steps);
            push(&mut series, (track, holder_of(&marks)?), &marks, times);
        }
        for ((kind, netns), marks) in limits.lines {
            let netns = netns.map(|netns| names.netns(netns).map(str::to_owned)).transpose()?;
            push(&mut series, (Track::Limit(kind, netns), None), &marks, times);
        }
        Ok(series)
    }
}

fn push(series: &mut Vec<Series>, (track, holder): (Track, Option<ProcessKey>), marks: &[Mark], times: &[i64]) {
    if marks.is_empty() {
        return;
    }
    let points = marks.iter().map(|mark| Point {
        at: times[mark.step as usize] as f64 / 1e3,
        used: mark.used as f64,
        leaked: mark.leaked as f64,
        limit: mark.limit.map(|limit| limit as f64),
        run: mark.run,
    });
    series.push(Series { track, points: points.collect(), holder });
}

/// One point a look. Of a program that runs several times at once the run is followed that has leaked most now, back to
/// its start; before that the one that had leaked most then, and so on: a line that changes its process at every look
/// would tell nothing.
fn one_run_at_a_time(marks: Vec<Mark>) -> Vec<Mark> {
    if marks.windows(2).all(|pair| pair[0].step != pair[1].step) {
        return marks;
    }
    let mut followed: Vec<Mark> = Vec::with_capacity(marks.len());
    let mut run = 0;
    for step in marks.chunk_by(|one, other| one.step == other.step).rev() {
        let same = step.iter().find(|mark| mark.run == run);
        let most = same.or_else(|| step.iter().max_by_key(|mark| (mark.leaked, mark.used)));
        if let Some(mark) = most {
            run = mark.run;
            followed.push(*mark);
        }
    }
    followed.reverse();
    followed
}

/// Without the looks that could not tell the ghosts of a run of which others could: they would look like a leak that went
/// away.
fn with_like_ghosts(mut marks: Vec<Mark>) -> Vec<Mark> {
    let mut start = 0;
    while start < marks.len() {
        let run = marks[start].run;
        let end = start + marks[start..].iter().take_while(|mark| mark.run == run).count();
        let known = marks[start..end].iter().any(|mark| mark.has_ghosts);
        if known && !marks[start..end].iter().all(|mark| mark.has_ghosts) {
            let like: Vec<Mark> = marks[start..end].iter().copied().filter(|mark| mark.has_ghosts).collect();
            let kept = like.len();
            marks.splice(start..end, like);
            start += kept;
        } else {
            start = end;
        }
    }
    marks
}

/// The line of a pool ends when the process that held most of it is gone, or when another holds two thirds: then what was
/// held came and went with a process. As long as neither is so, several that share a pool are one line. A look that could
/// not tell holders belongs to the line before it, or behind it when it is the first.
fn with_lines(mut marks: Vec<Mark>, runs: &HashMap<NameId, RunPlace, RandomState>) -> Vec<Mark> {
    let mut line = marks.iter().map(|mark| mark.run).find(|run| *run != 0).unwrap_or(0);
    for mark in &mut marks {
        let is_other = mark.run != 0 && mark.run != line;
        let is_gone = || runs.get(&line).is_none_or(|place| place.last_step < mark.step);
        if is_other && (mark.held.saturating_mul(3) >= mark.used.saturating_mul(2) || is_gone()) {
            line = mark.run;
        }
        mark.run = line;
    }
    marks
}

/// With zeros for the looks that listed every pool but this one, from its first look to the first without it at the end.
fn with_empty_moments(marks: Vec<Mark>, steps: &[Step]) -> Vec<Mark> {
    let mut filled = Vec::with_capacity(marks.len());
    for (nth, mark) in marks.iter().enumerate() {
        filled.push(*mark);
        let end = marks.get(nth + 1).map_or(steps.len(), |next| next.step as usize);
        let between = (mark.step as usize + 1)..end;
        if between.is_empty() {
            continue;
        }
        let zero = |step: usize| Mark { step: step as u32, used: 0, leaked: 0, held: 0, ..*mark };
        let without: Vec<usize> = between.filter(|step| steps[*step].lists_pools).collect();
        match without.as_slice() {
            [first, ..] if nth + 1 == marks.len() => filled.push(zero(*first)),
            [first, .., last] if without.len() > LONGEST_FILLED => filled.extend([zero(*first), zero(*last)]),
            all => filled.extend(all.iter().map(|step| zero(*step))),
        }
    }
    filled
}

#[cfg(test)]
mod tests;
