//! From the looks, one behind the other, to the numbers that are followed, one beside the other.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::fault::Fault;
use super::super::names::{NameId, Names};
use super::super::stretch::{HOUR_MS, Head, LimitId};
use super::clock::Stamp;
use super::points::MOST_HOURS;
use crate::model::past::{Series, Track};
use crate::model::points::{Points, Under};
use crate::model::process::ProcessKey;

/// A gap is filled with zeros look by look when it has no more of them than a day of looks every five minutes; of a longer
/// one the first and the last look do: points that tell nothing new must not be made by the million.
const LONGEST_FILLED: usize = 288;

/// More lines than this are of things that come and go.
const MANY_LINES: usize = 64;

/// One number at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub(super) step: u32,
    /// Whose number it is, or who holds most of it, 0 when that is not known; and the limit.
    pub(super) under: Under,
    pub(super) used: u64,
    pub(super) leaked: u64,
    /// Of ports, whether that run holds two thirds of them; of descriptors, whether `leaked` counts ghosts too.
    pub(super) aside: bool,
}

/// Whether one holds so much of a pool that what is in use comes and goes with it.
#[inline]
pub(super) fn holds_two_thirds(held: u64, used: u64) -> bool {
    held.saturating_mul(3) >= used.saturating_mul(2)
}

/// The points of one number. They are made once and not copied. Until the end they are told by their steps.
#[derive(Debug)]
pub(super) struct Line {
    points: Points,
    /// [`Mark::aside`] of each.
    asides: Vec<bool>,
    /// The step behind that of the last.
    next_step: u32,
    /// Whether every step is behind the one before, whether right behind it, and whether all asides are the same: then
    /// nothing is to be done about that, which is seen while the points are at hand.
    is_in_order: bool,
    is_without_gaps: bool,
    is_alike: bool,
}

impl Line {
    fn with_room(points: usize) -> Self {
        Self {
            points: Points::with_room(points),
            asides: Vec::with_capacity(points),
            next_step: 0,
            is_in_order: true,
            is_without_gaps: true,
            is_alike: true,
        }
    }

    fn of(marks: &[Mark]) -> Self {
        let mut line = Self::with_room(marks.len());
        marks.iter().for_each(|mark| line.push(*mark));
        line
    }

    #[inline]
    pub(super) fn push(&mut self, mark: Mark) {
        let Mark { step, under, used, leaked, aside } = mark;
        if let Some(last) = self.asides.last() {
            self.is_in_order &= step >= self.next_step;
            self.is_without_gaps &= step == self.next_step;
            self.is_alike &= aside == *last;
        }
        self.next_step = step + 1;
        self.points.push(step, under, (used, leaked));
        self.asides.push(aside);
    }

    /// Adds points of which each is one step behind the one before: what is used, leaked, and [`Mark::aside`].
    pub(super) fn extend(&mut self, step: u32, under: Under, cells: impl Iterator<Item = (u64, u64, bool)> + Clone) {
        let before = self.asides.len();
        let amounts = (cells.clone().map(|(used, ..)| used), cells.clone().map(|(_, leaked, _)| leaked));
        self.points.extend(step, under, amounts);
        self.asides.extend(cells.map(|(.., aside)| aside));
        if before > 0 {
            self.is_in_order &= step >= self.next_step;
            self.is_without_gaps &= step == self.next_step;
        }
        let last = self.asides[before.saturating_sub(1)];
        self.is_alike = self.is_alike && self.asides[before..].iter().all(|aside| *aside == last);
        self.next_step = step + (self.asides.len() - before) as u32;
    }

    fn marks(&self) -> Vec<Mark> {
        let mark = |((step, under, (used, leaked)), aside): (_, &bool)| Mark {
            step,
            under,
            used: used as u64,
            leaked: leaked as u64,
            aside: *aside,
        };
        self.points.walk().zip(&self.asides).map(mark).collect()
    }
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
    lines: Vec<(K, Line)>,
    /// How many points a line may have that begins at the first step.
    room: usize,
}

impl<K: Copy + Eq + std::hash::Hash> Table<K> {
    fn new(room: usize) -> Self {
        Self { places: HashMap::default(), lines: Vec::new(), room }
    }

    /// The place of the line. One that stays has room for all its points from the start; there are not many of those.
    fn place(&mut self, key: K, step: u32) -> usize {
        let fresh = self.lines.len();
        let place = *self.places.entry(key).or_insert(fresh);
        if place == fresh {
            let before = (step as usize).saturating_sub(MOST_HOURS);
            let room = if fresh < MANY_LINES { self.room.saturating_sub(before) } else { 0 };
            self.lines.push((key, Line::with_room(room)));
        }
        place
    }
}

impl<'n> Lines<'n> {
    /// `boot` is the one that times since boot are of; `room` the number of steps that are expected.
    pub(super) fn new(names: &'n Names, boot: Option<NameId>, room: usize) -> Self {
        Self {
            names,
            boot,
            steps: Vec::new(),
            runs: HashMap::default(),
            services: Table::new(room),
            pools: Table::new(room),
            limits: Table::new(room),
        }
    }

    /// An hour, which is told by its middle, and by the clock.
    pub(super) fn step_of_hour(&mut self, begins: i64, lists_pools: bool) -> u32 {
        let stamp = Stamp { clock: begins.saturating_add(HOUR_MS / 2), uptime: None };
        self.step(Step { stamp, lists_pools })
    }

    pub(super) fn step_of_look(&mut self, head: &Head) -> u32 {
        let uptime = head.uptime.filter(|_| head.boot.is_some() && head.boot == self.boot);
        self.step(Step { stamp: Stamp { clock: head.began, uptime }, lists_pools: head.lists_pools })
    }

    fn step(&mut self, step: Step) -> u32 {
        self.steps.push(step);
        self.steps.len() as u32 - 1
    }

    /// The line of the program that this run is of, which was seen at this step.
    pub(super) fn process(&mut self, run: NameId, step: u32) -> Result<&mut Line, Fault> {
        let line = match self.runs.get_mut(&run) {
            Some(place) => {
                place.last_step = step;
                place.line
            }
            None => {
                let line = self.services.place(self.names.run(run)?.service, step);
                self.runs.insert(run, RunPlace { line, last_step: step });
                line
            }
        };
        Ok(&mut self.services.lines[line].1)
    }

    pub(super) fn pool(&mut self, pool: NameId, step: u32) -> &mut Line {
        let line = self.pools.place(pool, step);
        &mut self.pools.lines[line].1
    }

    pub(super) fn limit(&mut self, limit: LimitId, step: u32) -> &mut Line {
        let line = self.limits.place(limit, step);
        &mut self.limits.lines[line].1
    }

    pub(super) fn stamps(&self) -> Vec<Stamp> {
        self.steps.iter().map(|step| step.stamp).collect()
    }

    /// The series, with the time of every step in milliseconds since 1970.
    pub(super) fn series(self, times: &[i64]) -> Result<Vec<Series>, Fault> {
        let Self { names, boot, steps, runs, services, pools, limits } = self;
        let moments: Arc<[f64]> = times.iter().map(|time| *time as f64 / 1e3).collect();
        let holder_of = |line: &Line| -> Result<Option<ProcessKey>, Fault> {
            let last = line.points.walk().next_back().map_or(0, |(_, under, _)| under.run);
            if last == 0 {
                return Ok(None);
            }
            let run = names.run(last)?;
            Ok(Some(run.key).filter(|_| boot.is_some() && run.boot == boot))
        };
        let mut series = Vec::with_capacity(services.lines.len() + pools.lines.len() + limits.lines.len());
        let mut push = |track, holder, line: Line| {
            if !line.points.is_empty() {
                series.push(Series { track, points: line.points.at(moments.clone()), holder });
            }
        };
        for (service, mut line) in services.lines {
            follow_one_run(&mut line);
            leave_out_unlike_ghosts(&mut line);
            push(Track::Descriptors(names.service(service)?.clone()), holder_of(&line)?, line);
        }
        for (pool, mut line) in pools.lines {
            end_with_processes(&mut line, &runs);
            fill_empty_moments(&mut line, &steps);
            push(Track::Ports(names.pool(pool)?.clone()), holder_of(&line)?, line);
        }
        for ((kind, netns), line) in limits.lines {
            let netns = netns.map(|netns| names.netns(netns).map(str::to_owned)).transpose()?;
            push(Track::Limit(kind, netns), None, line);
        }
        Ok(series)
    }
}

/// One point a look. Of a program that runs several times at once the run is followed that has leaked most now, back to
/// its start; before that the one that had leaked most then, and so on: a line that changes its process at every look
/// would tell nothing.
fn follow_one_run(line: &mut Line) {
    if line.is_in_order {
        return;
    }
    let mut marks = line.marks();
    // A day of hours has its runs one after the other.
    marks.sort_by_key(|mark| mark.step);
    let mut kept = Vec::with_capacity(marks.len());
    let mut run = 0;
    let mut rest = marks.as_slice();
    while let Some(last) = rest.last() {
        let (before, of_step) = rest.split_at(rest.partition_point(|mark| mark.step < last.step));
        let same = of_step.iter().find(|mark| mark.under.run == run);
        let most = || of_step.iter().max_by_key(|mark| (mark.leaked, mark.used));
        if let Some(mark) = same.or_else(most) {
            run = mark.under.run;
            kept.push(*mark);
        }
        rest = before;
    }
    kept.reverse();
    *line = Line::of(&kept);
}

/// Leaves out the looks that could not tell the ghosts of a run of which others could: they would look like a leak that
/// went away.
fn leave_out_unlike_ghosts(line: &mut Line) {
    if line.is_alike {
        return;
    }
    let marks = line.marks();
    let of_runs = marks.chunk_by(|one, other| one.under.run == other.under.run);
    let kept = of_runs.flat_map(|of_run| {
        let is_known = of_run.iter().any(|mark| mark.aside);
        of_run.iter().filter(move |mark| !is_known || mark.aside).copied()
    });
    *line = Line::of(&kept.collect::<Vec<_>>());
}

/// The line of a pool ends when the process that held most of it is gone, or when another holds two thirds: then what was
/// held came and went with a process. As long as neither is so, several that share a pool are one line. A look that could
/// not tell holders belongs to the line before it, or behind it when it is the first.
fn end_with_processes(line: &mut Line, runs: &HashMap<NameId, RunPlace, RandomState>) {
    let run_of = |under: Under| under.run;
    let first = line.points.unders().next().map(run_of);
    if line.points.unders().all(|under| Some(under.run) == first) {
        return;
    }
    let mut marks = line.marks();
    let mut current = line.points.unders().map(run_of).find(|run| *run != 0).unwrap_or(0);
    for mark in &mut marks {
        let is_other = mark.under.run != 0 && mark.under.run != current;
        let is_gone = || runs.get(&current).is_none_or(|place| place.last_step < mark.step);
        if is_other && (mark.aside || is_gone()) {
            current = mark.under.run;
        }
        mark.under.run = current;
    }
    *line = Line::of(&marks);
}

/// Adds zeros for the looks that listed every pool but this one, from its first look to the first without it at the end.
fn fill_empty_moments(line: &mut Line, steps: &[Step]) {
    if line.is_without_gaps {
        // The points need not be moved for one more at their end.
        let last = line.points.walk().next_back();
        let behind = (line.next_step as usize..steps.len()).find(|step| steps[*step].lists_pools);
        if let (Some((_, under, _)), Some(step)) = (last, behind) {
            line.push(empty_at(step, under));
        }
        return;
    }
    let marks = line.marks();
    let mut filled = Vec::with_capacity(marks.len() * 2);
    for (nth, mark) in marks.iter().enumerate() {
        filled.push(*mark);
        let next = marks.get(nth + 1);
        let between = mark.step as usize + 1..next.map_or(steps.len(), |next| next.step as usize);
        let zero = |step: usize| empty_at(step, mark.under);
        let without: Vec<usize> = between.filter(|step| steps[*step].lists_pools).collect();
        match without.as_slice() {
            [first, ..] if next.is_none() => filled.push(zero(*first)),
            [first, .., last] if without.len() > LONGEST_FILLED => filled.extend([zero(*first), zero(*last)]),
            all => filled.extend(all.iter().map(|step| zero(*step))),
        }
    }
    *line = Line::of(&filled);
}

/// The point of a step at which nothing of it was in use any more.
fn empty_at(step: usize, under: Under) -> Mark {
    Mark { step: step as u32, under, used: 0, leaked: 0, aside: false }
}
