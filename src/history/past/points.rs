//! The points of up to a day of hours in one row: what a look asks of three months must be few bytes in few rows.
//!
//! A number stands beside itself hour after hour: where it does not change it is written once, elsewhere by how much it
//! changes. The numbers that nobody asks of so long ago, the greatest and the last, lie in the rows of the hours.

use super::super::bytes::{Packer, Seal, Torn, Unpacker};
use super::super::fault::Fault;
use super::super::names::NameId;
use super::super::stretch::code::{
    Grain, Ports, pack_limit_id, read_descriptors, read_head, read_limit, read_limit_id, read_ports,
};
use super::super::stretch::{HOUR_MS, LimitId, Stretch};
use super::lines::{Line, Lines, Mark, holds_two_thirds};
use crate::model::points::Under;

/// The most hours that a row has.
pub(super) const MOST_HOURS: usize = 24;

/// The row in the file, with the number of its first look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Day {
    pub(in super::super) hours: Vec<Hour>,
    processes: Vec<(NameId, Cells)>,
    pools: Vec<(NameId, Cells)>,
    limits: Vec<(LimitId, Cells)>,
}

/// One hour of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Hour {
    /// The numbers of its first and last look.
    pub(in super::super) first: u64,
    pub(in super::super) last: u64,
    /// Its beginning by the clock, in hours since 1970.
    clock: i64,
    /// How old the store was at its end, in milliseconds.
    pub(in super::super) life: u64,
    lists_pools: bool,
}

/// One number hour by hour; `None` where it was not listed.
type Cells = [Option<Cell>; MOST_HOURS];

/// What a point is made of, in the order in which it is written: the least that was used, and one more than that, 0 when it
/// was not known; what was leaked; one more than the limit, 0 when it was not known; who holds most of a pool, where a process
/// is its own; how many ports that one holds, or of a process whether ghosts are counted.
type Cell = [u64; 5];

impl Day {
    /// The day with this hour in it: in place of its last one when that is the same, or behind it. When there is no room, all
    /// of it comes back.
    pub(in super::super) fn with(mut self, hour: &Stretch) -> Result<Self, Self> {
        let head = &hour.head;
        if self.hours.last().is_some_and(|last| last.first == head.first) {
            self.hours.pop();
            self.clear(self.hours.len());
        }
        let place = self.hours.len();
        if place == MOST_HOURS {
            return Err(self);
        }
        let clock = head.hour() / HOUR_MS;
        let (first, last, life, lists_pools) = (head.first, head.last, head.life, head.lists_pools);
        self.hours.push(Hour { first, last, clock, life, lists_pools });
        for (run, numbers) in &hour.processes {
            let used = numbers.fds_open.map_or(0, |open| open.least.saturating_add(1));
            let limit = numbers.fds_limit.map_or(0, |limit| limit.saturating_add(1));
            let cell = [used, numbers.leaked, limit, 0, u64::from(numbers.ghosts.is_some())];
            set(&mut self.processes, *run, place, cell);
        }
        for (pool, numbers) in &hour.pools {
            let (run, held) = numbers.holder.unwrap_or_default();
            let (used, usable) = (numbers.used.least.saturating_add(1), numbers.usable.saturating_add(1));
            set(&mut self.pools, *pool, place, [used, numbers.stuck.least, usable, run, held]);
        }
        for (limit, numbers) in &hour.limits {
            let (used, most) = (numbers.used.least.saturating_add(1), numbers.limit.saturating_add(1));
            set(&mut self.limits, *limit, place, [used, 0, most, 0, 0]);
        }
        Ok(self)
    }

    fn clear(&mut self, place: usize) {
        let named = self.processes.iter_mut().chain(&mut self.pools).map(|(_, cells)| cells);
        named.chain(self.limits.iter_mut().map(|(_, cells)| cells)).for_each(|cells| cells[place] = None);
        self.processes.retain(|(_, cells)| cells.iter().any(Option::is_some));
        self.pools.retain(|(_, cells)| cells.iter().any(Option::is_some));
        self.limits.retain(|(_, cells)| cells.iter().any(Option::is_some));
    }

    /// The number of its first look, which is that of the row.
    pub(in super::super) fn first(&self) -> u64 {
        self.hours.first().map_or(0, |hour| hour.first)
    }

    pub(in super::super) fn packed(&self) -> Vec<u8> {
        let mut out = Packer::with_room(16 << 10);
        out.number(self.hours.len() as u64);
        let mut before = Hour { last: self.first().wrapping_sub(1), ..Hour::default() };
        for hour in &self.hours {
            out.number(hour.last - hour.first);
            out.signed(hour.clock - before.clock);
            out.number(hour.life - before.life);
            out.number(u64::from(hour.lists_pools));
            before = *hour;
        }
        let count = self.hours.len();
        for named in [&self.processes, &self.pools] {
            out.number(named.len() as u64);
            for (id, cells) in named {
                out.number(*id);
                pack_cells(&mut out, &cells[..count]);
            }
        }
        out.number(self.limits.len() as u64);
        for (id, cells) in &self.limits {
            pack_limit_id(&mut out, *id);
            pack_cells(&mut out, &cells[..count]);
        }
        out.sealed(Seal::HourPoints, self.first())
    }

    /// The row with the number of this first look.
    pub(in super::super) fn read(first: u64, sealed: &[u8]) -> Result<Self, Fault> {
        let mut row = Unpacker::open(Seal::HourPoints, first, sealed)?;
        let hours = read_hours(&mut row, first)?;
        let mut columns = Columns::default();
        let mut cells = |row: &mut Unpacker| {
            columns.read(row, hours.len())?;
            Ok::<_, Torn>(columns.cells(hours.len()))
        };
        let processes = row.list(|row| Ok((row.number()?, cells(row)?)))?;
        let pools = row.list(|row| Ok((row.number()?, cells(row)?)))?;
        let limits = row.list(|row| Ok((read_limit_id(row)?, cells(row)?)))?;
        row.finish()?;
        Ok(Self { hours, processes, pools, limits })
    }
}

fn set<K: Copy + Eq>(rows: &mut Vec<(K, Cells)>, key: K, place: usize, cell: Cell) {
    match rows.iter_mut().find(|(known, _)| *known == key) {
        Some((_, cells)) => cells[place] = Some(cell),
        None => {
            let mut cells = [None; MOST_HOURS];
            cells[place] = Some(cell);
            rows.push((key, cells));
        }
    }
}

/// First which hours are missing, a bit for each, then the parts of the cells, one after the other.
fn pack_cells(out: &mut Packer, cells: &[Option<Cell>]) {
    let missing = cells.iter().enumerate().filter(|(_, cell)| cell.is_none()).map(|(nth, _)| 1 << nth);
    out.number(missing.sum());
    for part in 0..5 {
        pack_column(out, cells.iter().flatten().map(|cell| cell[part]));
    }
}

/// What follows the first number of a column. Of others it is by how many bytes, and one more, each is told above that number.
const STEADY: u64 = 0;
/// Each by how much it differs from the one before: as the first files have it.
const DIFFERENCES: u64 = 1;

/// The least of the numbers, and by how much each is above it: in bytes that are as many for all, as far as one needs them.
/// Numbers of this and that many bytes would be fewer and take three times as long to read.
fn pack_column(out: &mut Packer, numbers: impl Iterator<Item = u64> + Clone) {
    let least = numbers.clone().min().unwrap_or(0);
    let above = numbers.map(|number| number - least);
    let width = match above.clone().max().unwrap_or(0) {
        0 => 0,
        1..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x1_0000_0000 => 4,
        _ => 8,
    };
    out.number(least);
    if width == 0 {
        out.number(STEADY);
        return;
    }
    out.number(width as u64 + 1);
    above.for_each(|above| out.fixed(above, width));
}

/// Whether all are the same.
fn read_column(row: &mut Unpacker, column: &mut [u64; MOST_HOURS], count: usize) -> Result<bool, Torn> {
    let mut number = row.number()?;
    let part = &mut column[..count];
    match row.number()? {
        STEADY => {
            column.fill(number);
            return Ok(true);
        }
        DIFFERENCES => {
            let (first, rest) = part.split_first_mut().ok_or(Torn)?;
            *first = number;
            for place in rest {
                number = number.wrapping_add(row.signed()? as u64);
                *place = number;
            }
        }
        2 => row.fixed(part, |[byte]: [u8; 1]| number.wrapping_add(byte.into()))?,
        3 => row.fixed(part, |bytes| number.wrapping_add(u16::from_le_bytes(bytes).into()))?,
        5 => row.fixed(part, |bytes| number.wrapping_add(u32::from_le_bytes(bytes).into()))?,
        9 => row.fixed(part, |bytes| number.wrapping_add(u64::from_le_bytes(bytes)))?,
        _ => return Err(Torn),
    }
    Ok(false)
}

fn read_hours(row: &mut Unpacker, first: u64) -> Result<Vec<Hour>, Torn> {
    let mut before = Hour { last: first.wrapping_sub(1), ..Hour::default() };
    let hours = row.list(|row| {
        let first = before.last.wrapping_add(1);
        before = Hour {
            first,
            last: first.checked_add(row.number()?).ok_or(Torn)?,
            clock: before.clock.wrapping_add(row.signed()?),
            life: before.life.wrapping_add(row.number()?),
            lists_pools: row.flag()?,
        };
        Ok(before)
    })?;
    if (1..=MOST_HOURS).contains(&hours.len()) { Ok(hours) } else { Err(Torn) }
}

/// The parts of the cells of one number, as they are read.
#[derive(Debug, Default)]
struct Columns {
    missing: u64,
    parts: [[u64; MOST_HOURS]; 5],
    /// Which parts are the same in every hour.
    is_steady: [bool; 5],
    count: usize,
}

impl Columns {
    fn read(&mut self, row: &mut Unpacker, hours: usize) -> Result<(), Torn> {
        self.missing = row.number()?;
        self.count = hours.checked_sub(self.missing.count_ones() as usize).ok_or(Torn)?;
        for (part, is_steady) in self.parts.iter_mut().zip(&mut self.is_steady) {
            *is_steady = read_column(row, part, self.count)?;
        }
        Ok(())
    }

    /// The hours that are not missing, with the place of their cell. Counted, and not zipped with a range of a known length: the
    /// optimizer would lay out a search for each place behind the other, and follow them all for minutes.
    fn places(&self, hours: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let missing = self.missing;
        (0..hours).filter(move |hour| missing >> hour & 1 == 0).enumerate().map(|(place, hour)| (hour, place))
    }

    fn cells(&self, hours: usize) -> Cells {
        let mut cells = [None; MOST_HOURS];
        for (hour, place) in self.places(hours) {
            cells[hour] = Some(self.parts.map(|part| part[place]));
        }
        cells
    }

    /// Adds the points to a line; of a process `run` is its own. What was not known is no point.
    fn push_to(&self, line: &mut Line, first_step: u32, hours: usize, run: Option<NameId>) {
        let [used, leaked, limits, runs, asides] = &self.parts;
        let [.., one_limit, one_run, _] = self.is_steady;
        let under = |place: usize| Under {
            run: run.unwrap_or(runs[place]),
            limit: limits[place].checked_sub(1).map(|limit| limit as f64),
        };
        let is_aside = |aside: u64, used: u64| match run {
            Some(_) => aside == 1,
            None => holds_two_thirds(aside, used),
        };
        let is_known = self.missing == 0 && !used[..self.count].contains(&0);
        if is_known && one_limit && (one_run || run.is_some()) {
            let cells = used[..self.count].iter().zip(leaked).zip(asides);
            let cells = cells.map(|((used, leaked), aside)| (used - 1, *leaked, is_aside(*aside, used - 1)));
            line.extend(first_step, under(0), cells);
            return;
        }
        for (hour, place) in self.places(hours) {
            if let Some(used) = used[place].checked_sub(1) {
                let (step, aside) = (first_step + hour as u32, is_aside(asides[place], used));
                line.push(Mark { step, under: under(place), used, leaked: leaked[place], aside });
            }
        }
    }
}

/// Adds the points of the row to the lines, each at the middle of its hour. The number of the look behind it.
pub(super) fn read_into(lines: &mut Lines, first: u64, sealed: &[u8]) -> Result<u64, Fault> {
    let mut row = Unpacker::open(Seal::HourPoints, first, sealed)?;
    let hours = read_hours(&mut row, first)?;
    let count = hours.len();
    let mut step = 0;
    for hour in &hours {
        step = lines.step_of_hour(hour.clock.saturating_mul(HOUR_MS), hour.lists_pools);
    }
    let first_step = (step + 1).saturating_sub(count as u32);
    let mut columns = Columns::default();
    for _ in 0..row.number()? {
        let run = row.number()?;
        columns.read(&mut row, count)?;
        let last = columns.places(count).last().map_or(0, |(hour, _)| hour as u32);
        columns.push_to(lines.process(run, first_step + last)?, first_step, count, Some(run));
    }
    for _ in 0..row.number()? {
        let pool = row.number()?;
        columns.read(&mut row, count)?;
        columns.push_to(lines.pool(pool, first_step), first_step, count, None);
    }
    for _ in 0..row.number()? {
        let limit = read_limit_id(&mut row)?;
        columns.read(&mut row, count)?;
        columns.push_to(lines.limit(limit, first_step), first_step, count, Some(0));
    }
    row.finish()?;
    hours.last().and_then(|hour| hour.last.checked_add(1)).ok_or(Fault::from(Torn))
}

/// Adds one look to the lines, as a step of its own.
pub(super) fn read_look_into(lines: &mut Lines, id: u64, sealed: &[u8]) -> Result<(), Fault> {
    let mut row = Unpacker::open(Seal::Look, id, sealed)?;
    let step = lines.step_of_look(&read_head(&mut row, id)?);
    for _ in 0..row.number()? {
        let (run, seen) = read_descriptors(&mut row)?;
        let line = lines.process(run, step)?;
        if let Some(used) = seen.used {
            let under = Under { run, limit: seen.limit.map(|limit| limit as f64) };
            line.push(Mark { step, under, used, leaked: seen.leaked, aside: seen.counts_ghosts });
        }
    }
    for _ in 0..row.number()? {
        let (pool, seen) = read_ports(&mut row)?;
        let Ports { usable, used, leaked, holder: (run, held) } = seen;
        let under = Under { run, limit: Some(usable as f64) };
        lines.pool(pool, step).push(Mark { step, under, used, leaked, aside: holds_two_thirds(held, used) });
    }
    for _ in 0..row.number()? {
        let (limit, numbers) = read_limit(&mut row, Grain::Look)?;
        let under = Under { run: 0, limit: Some(numbers.limit as f64) };
        lines.limit(limit, step).push(Mark { step, under, used: numbers.used.last, leaked: 0, aside: false });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(row: &[u8], count: usize) -> (Vec<u64>, bool) {
        let mut row = Unpacker::unsealed(row);
        let mut column = [0; MOST_HOURS];
        let is_steady = read_column(&mut row, &mut column, count).expect("a column");
        row.finish().expect("nothing left");
        (column[..count].to_vec(), is_steady)
    }

    #[test]
    fn columns_read_back_whatever_their_width() {
        for most in [0, 1, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let column: Vec<u64> =
                (0..MOST_HOURS as u64).map(|hour| if hour % 3 == 0 { most } else { most / 5 }).collect();
            for count in [1, 2, MOST_HOURS] {
                let mut out = Packer::default();
                pack_column(&mut out, column[..count].iter().copied());
                let row = out.into_bytes();
                assert_eq!(read(&row, count), (column[..count].to_vec(), most == 0 || count == 1), "{most}, {count}");
            }
        }
    }

    #[test]
    fn the_first_files_tell_differences() {
        let mut out = Packer::default();
        [700, DIFFERENCES].into_iter().for_each(|number| out.number(number));
        [-200, 0, 1 << 40].into_iter().for_each(|difference| out.signed(difference));
        assert_eq!(read(&out.into_bytes(), 4), (vec![700, 500, 500, 500 + (1 << 40)], false));
    }

    #[test]
    fn a_width_that_was_never_written_is_torn() {
        for row in [[7, 4, 1, 2], [7, 10, 1, 2], [7, 3, 1, 2]] {
            assert_eq!(read_column(&mut Unpacker::unsealed(&row), &mut [0; MOST_HOURS], 2), Err(Torn), "{row:?}");
        }
    }
}
