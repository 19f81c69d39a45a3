//! The points of one hour beside its numbers: what a look asks of three months must be few bytes.

use super::super::bytes::{Packer, Seal, Unpacker};
use super::super::fault::Fault;
use super::super::stretch::code::{pack_head, pack_holder, pack_limit_id, read_head, read_holder, read_limit_id};
use super::super::stretch::{Head, Stretch};
use super::lines::{Lines, Mark};

/// The row, sealed for the number of the hour's first look.
pub(in super::super) fn packed(hour: &Stretch) -> Vec<u8> {
    let mut out = Packer::with_room(1_024);
    pack_head(&mut out, &hour.head);
    out.number(hour.processes.len() as u64);
    for (run, numbers) in &hour.processes {
        out.number(*run);
        out.optional(numbers.fds_open.map(|open| open.least));
        out.number(numbers.leaked);
        out.number(u64::from(numbers.ghosts.is_some()));
        out.optional(numbers.fds_limit);
    }
    out.number(hour.pools.len() as u64);
    for (pool, numbers) in &hour.pools {
        out.number(*pool);
        out.number(numbers.used.least);
        out.number(numbers.stuck.least);
        out.number(numbers.usable);
        pack_holder(&mut out, numbers.holder);
    }
    out.number(hour.limits.len() as u64);
    for (limit, numbers) in &hour.limits {
        pack_limit_id(&mut out, *limit);
        out.number(numbers.used.least);
        out.number(numbers.limit);
    }
    out.sealed(Seal::HourPoints, hour.head.first)
}

/// Adds the points of the row to the lines, as one step at the middle of the hour.
pub(super) fn read_into(lines: &mut Lines, first: u64, sealed: &[u8]) -> Result<Head, Fault> {
    let mut row = Unpacker::open(Seal::HourPoints, first, sealed)?;
    let head = read_head(&mut row, first)?;
    let step = lines.step_of_hour(&head);
    for _ in 0..row.number()? {
        let (run, used) = (row.number()?, row.optional()?);
        let (leaked, has_ghosts, limit) = (row.number()?, row.flag()?, row.optional()?);
        lines.process(run, used, Mark { step, leaked, has_ghosts, limit, ..Mark::default() })?;
    }
    for _ in 0..row.number()? {
        let (pool, used, leaked) = (row.number()?, row.number()?, row.number()?);
        let limit = Some(row.number()?);
        let (run, held) = read_holder(&mut row)?.unwrap_or_default();
        lines.pool(pool, Mark { step, run, used, leaked, limit, held, has_ghosts: false });
    }
    for _ in 0..row.number()? {
        let limit = read_limit_id(&mut row)?;
        let (used, most) = (row.number()?, row.number()?);
        lines.limit(limit, Mark { step, used, limit: Some(most), ..Mark::default() });
    }
    row.finish()?;
    Ok(head)
}

/// Adds one look to the lines, as a step of its own.
pub(super) fn add_look(lines: &mut Lines, look: &Stretch) -> Result<(), Fault> {
    let step = lines.step_of_look(&look.head);
    for (run, numbers) in &look.processes {
        let mark = Mark {
            step,
            leaked: numbers.leaked,
            has_ghosts: numbers.ghosts.is_some(),
            limit: numbers.fds_limit,
            ..Mark::default()
        };
        lines.process(*run, numbers.fds_open.map(|open| open.last), mark)?;
    }
    for (pool, numbers) in &look.pools {
        let (run, held) = numbers.holder.unwrap_or_default();
        let (used, leaked, limit) = (numbers.used.last, numbers.stuck.last, Some(numbers.usable));
        lines.pool(*pool, Mark { step, run, used, leaked, limit, held, has_ghosts: false });
    }
    for (limit, numbers) in &look.limits {
        lines.limit(*limit, Mark { step, used: numbers.used.last, limit: Some(numbers.limit), ..Mark::default() });
    }
    Ok(())
}
