//! From the looks, one behind the other, to the numbers that are followed, one beside the other.

use std::cmp::Ordering;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::super::fault::Fault;
use super::super::names::{NameId, Names};
use super::super::stretch::{HOUR_MS, Head, LimitId};
use super::clock::Stamp;
use super::points::MOST_HOURS;
use crate::model::past::{Point, Series, Track};
use crate::model::process::ProcessKey;

/// A gap is filled with zeros look by look when it has no more of them than a day of looks every five minutes; of a longer
/// one the first and the last look do: points that tell nothing new must not be made by the million.
const LONGEST_FILLED: usize = 288;

/// More lines than this are of things that come and go.
const MANY_LINES: usize = 64;

/// One number at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) step: u32,
    /// Whose number it is, or who holds most of it; 0 when that is not known.
    pub(super) run: NameId,
    pub(super) used: u64,
    pub(super) leaked: u64,
    pub(super) limit: Option<u64>,
    /// Of ports, how many that run holds; of descriptors, whether `leaked` counts ghosts too.
    pub(super) aside: u32,
}

/// The points of one number. They are made once and not copied: three months of a host are ten megabytes. Until the end
/// `at` is the number of the step.
#[derive(Debug)]
pub(super) struct Line {
    points: Vec<Point>,
    /// [`Mark::aside`] of each.
    asides: Vec<u32>,
    /// Whether every step is behind the one before, whether right behind it, and whether all asides are the same: then
    /// nothing is to be done about that, which is seen while the points are at hand.
    is_in_order: bool,
    is_without_gaps: bool,
    is_alike: bool,
}

impl Line {
    fn with_room(points: usize) -> Self {
        Self {
            points: Vec::with_capacity(points),
            asides: Vec::with_capacity(points),
            is_in_order: true,
            is_without_gaps: true,
            is_alike: true,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, mark: Mark) {
        if let (Some(last), Some(aside)) = (self.points.last(), self.asides.last()) {
            let step = f64::from(mark.step);
            self.is_in_order &= step > last.at;
            self.is_without_gaps &= step == last.at + 1.0;
            self.is_alike &= mark.aside == *aside;
        }
        self.points.push(Point {
            at: f64::from(mark.step),
            used: mark.used as f64,
            leaked: mark.leaked as f64,
            limit: mark.limit.map(|limit| limit as f64),
            run: mark.run,
        });
        self.asides.push(mark.aside);
    }

    /// By step: a day of hours has its runs one after the other.
    fn sort(&mut self) {
        let mut pairs: Vec<(Point, u32)> = self.points.drain(..).zip(self.asides.drain(..)).collect();
        pairs.sort_by(|(one, _), (other, _)| one.at.total_cmp(&other.at));
        (self.points, self.asides) = pairs.into_iter().unzip();
    }

    /// Only the points whose place is marked.
    fn keep(&mut self, places: &[bool]) {
        let mut kept = places.iter();
        self.points.retain(|_| kept.next() == Some(&true));
        let mut kept = places.iter();
        self.asides.retain(|_| kept.next() == Some(&true));
    }
}

fn step_of(point: &Point) -> usize {
    point.at as usize
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

    /// The series, with the time of every step.
    pub(super) fn series(self, times: &[i64]) -> Result<Vec<Series>, Fault> {
        let Self { names, boot, steps, runs, services, pools, limits } = self;
        let holder_of = |line: &Line| -> Result<Option<ProcessKey>, Fault> {
            let Some(last) = line.points.last().filter(|last| last.run != 0) else { return Ok(None) };
            let run = names.run(last.run)?;
            Ok(Some(run.key).filter(|_| boot.is_some() && run.boot == boot))
        };
        let mut series = Vec::with_capacity(services.lines.len() + pools.lines.len() + limits.lines.len());
        for (service, mut line) in services.lines {
            follow_one_run(&mut line);
            leave_out_unlike_ghosts(&mut line);
            let track = Track::Descriptors(names.service(service)?.clone());
            push(&mut series, (track, holder_of(&line)?), line, times);
        }
        for (pool, mut line) in pools.lines {
            end_with_processes(&mut line, &runs);
            fill_empty_moments(&mut line, &steps);
            let track = Track::Ports(names.pool(pool)?.clone());
            push(&mut series, (track, holder_of(&line)?), line, times);
        }
        for ((kind, netns), line) in limits.lines {
            let netns = netns.map(|netns| names.netns(netns).map(str::to_owned)).transpose()?;
            push(&mut series, (Track::Limit(kind, netns), None), line, times);
        }
        Ok(series)
    }
}

fn push(series: &mut Vec<Series>, (track, holder): (Track, Option<ProcessKey>), line: Line, times: &[i64]) {
    let mut points = line.points;
    for point in &mut points {
        point.at = times[step_of(point)] as f64 / 1e3;
    }
    if !points.is_empty() {
        series.push(Series { track, points, holder });
    }
}

/// One point a look. Of a program that runs several times at once the run is followed that has leaked most now, back to
/// its start; before that the one that had leaked most then, and so on: a line that changes its process at every look
/// would tell nothing.
fn follow_one_run(line: &mut Line) {
    if line.is_in_order {
        return;
    }
    line.sort();
    let points = &line.points;
    let mut kept = vec![false; points.len()];
    let mut run = 0;
    let mut end = points.len();
    while end > 0 {
        let start = points[..end].partition_point(|point| point.at < points[end - 1].at);
        let of_step = start..end;
        let same = of_step.clone().find(|place| points[*place].run == run);
        let most = || of_step.max_by(|one, other| by_amount(&points[*one], &points[*other]));
        if let Some(place) = same.or_else(most) {
            run = points[place].run;
            kept[place] = true;
        }
        end = start;
    }
    line.keep(&kept);
}

/// By what is leaked, and where that is the same by what is used.
fn by_amount(one: &Point, other: &Point) -> Ordering {
    one.leaked.total_cmp(&other.leaked).then(one.used.total_cmp(&other.used))
}

/// Leaves out the looks that could not tell the ghosts of a run of which others could: they would look like a leak that
/// went away.
fn leave_out_unlike_ghosts(line: &mut Line) {
    if line.is_alike {
        return;
    }
    let mut kept = Vec::with_capacity(line.points.len());
    for of_run in line.points.chunk_by(|one, other| one.run == other.run) {
        let asides = &line.asides[kept.len()..kept.len() + of_run.len()];
        let is_known = asides.contains(&1);
        kept.extend(asides.iter().map(|has_ghosts| !is_known || *has_ghosts == 1));
    }
    line.keep(&kept);
}

/// The line of a pool ends when the process that held most of it is gone, or when another holds two thirds: then what was
/// held came and went with a process. As long as neither is so, several that share a pool are one line. A look that could
/// not tell holders belongs to the line before it, or behind it when it is the first.
fn end_with_processes(line: &mut Line, runs: &HashMap<NameId, RunPlace, RandomState>) {
    let mut current = line.points.iter().map(|point| point.run).find(|run| *run != 0).unwrap_or(0);
    for (point, held) in line.points.iter_mut().zip(&line.asides) {
        let is_other = point.run != 0 && point.run != current;
        let is_gone = || runs.get(&current).is_none_or(|place| (place.last_step as usize) < step_of(point));
        if is_other && (f64::from(*held) * 3.0 >= point.used * 2.0 || is_gone()) {
            current = point.run;
        }
        point.run = current;
    }
}

/// Adds zeros for the looks that listed every pool but this one, from its first look to the first without it at the end.
fn fill_empty_moments(line: &mut Line, steps: &[Step]) {
    if line.is_without_gaps {
        // The points need not be moved for one more at their end.
        let behind = line.points.last().map_or(steps.len(), |last| step_of(last) + 1);
        if let Some(first) = (behind..steps.len()).find(|step| steps[*step].lists_pools) {
            line.points.extend(line.points.last().map(|last| empty_at(first, last)));
        }
        return;
    }
    let mut filled = Vec::with_capacity(line.points.len() * 2);
    for (nth, point) in line.points.iter().enumerate() {
        filled.push(*point);
        let next = line.points.get(nth + 1);
        let between = (step_of(point) + 1)..next.map_or(steps.len(), step_of);
        let zero = |step: usize| empty_at(step, point);
        let without: Vec<usize> = between.filter(|step| steps[*step].lists_pools).collect();
        match without.as_slice() {
            [first, ..] if next.is_none() => filled.push(zero(*first)),
            [first, .., last] if without.len() > LONGEST_FILLED => filled.extend([zero(*first), zero(*last)]),
            all => filled.extend(all.iter().map(|step| zero(*step))),
        }
    }
    line.points = filled;
}

/// The point of a step at which nothing of it was in use any more.
fn empty_at(step: usize, before: &Point) -> Point {
    Point { at: step as f64, used: 0.0, leaked: 0.0, ..*before }
}
