//! How a stretch is packed. Of a single look every number stands once; of an hour the least, and how far the greatest and
//! the last are above it.

use super::super::bytes::{Packer, Seal, Torn, Unpacker};
use super::super::fault::Fault;
use super::super::names::NameId;
use super::{Head, LimitId, Stretch, leaked};
use crate::model::numbers::{LimitNumbers, OtherNumbers, PoolNumbers, ProcessNumbers, Spread};
use crate::model::past::LimitKind;

/// How many numbers stand for a spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Grain {
    /// One: it is a single look.
    Look,
    /// Three: it is an hour.
    Hour,
}

impl Grain {
    fn seal(self) -> Seal {
        match self {
            Self::Look => Seal::Look,
            Self::Hour => Seal::Hour,
        }
    }
}

impl Stretch {
    /// The row, sealed for the number of its first look. What series are made of comes first: nobody reads the rest for them.
    pub(in super::super) fn packed(&self, grain: Grain) -> Vec<u8> {
        let mut out = Packer::with_room(2_048);
        pack_head(&mut out, &self.head);
        let spread = |out: &mut Packer, spread: &Spread| pack_spread(out, grain, *spread);
        out.number(self.processes.len() as u64);
        for (id, numbers) in &self.processes {
            out.number(*id);
            pack_process(&mut out, grain, numbers);
        }
        out.number(self.pools.len() as u64);
        for (id, PoolNumbers { usable, used, stuck, holder }) in &self.pools {
            out.number(*id);
            out.number(*usable);
            spread(&mut out, used);
            spread(&mut out, stuck);
            pack_holder(&mut out, *holder);
        }
        out.number(self.limits.len() as u64);
        for (id, LimitNumbers { used, limit }) in &self.limits {
            pack_limit_id(&mut out, *id);
            spread(&mut out, used);
            out.number(*limit);
        }
        out.number(self.namespaces.len() as u64);
        for (id, states) in &self.namespaces {
            out.number(*id);
            states.iter().for_each(|states| spread(&mut out, states));
        }
        for OtherNumbers { count, sockets, stuck } in [&self.other_processes, &self.other_pools] {
            [count, sockets, stuck].into_iter().for_each(|number| spread(&mut out, number));
        }
        spread(&mut out, &self.n_stuck);
        out.sealed(grain.seal(), self.head.first)
    }

    /// The row with the number of this first look.
    pub(in super::super) fn read(grain: Grain, first: u64, sealed: &[u8]) -> Result<Self, Fault> {
        let mut row = Unpacker::open(grain.seal(), first, sealed)?;
        let head = read_head(&mut row, first)?;
        let processes = row.list(|row| read_process(row, grain))?;
        let pools = row.list(|row| read_pool(row, grain))?;
        let limits = row.list(|row| read_limit(row, grain))?;
        let namespaces = row.list(|row| {
            let id = row.number()?;
            let mut states = [Spread::default(); 12];
            for spread in &mut states {
                *spread = read_spread(row, grain)?;
            }
            Ok((id, states))
        })?;
        let mut others = || {
            let (count, sockets) = (read_spread(&mut row, grain)?, read_spread(&mut row, grain)?);
            Ok::<_, Torn>(OtherNumbers { count, sockets, stuck: read_spread(&mut row, grain)? })
        };
        let (other_processes, other_pools) = (others()?, others()?);
        let n_stuck = read_spread(&mut row, grain)?;
        row.finish()?;
        Ok(Self { head, namespaces, processes, other_processes, pools, other_pools, limits, n_stuck })
    }
}

/// The first look is the row's number and is not repeated.
fn pack_head(out: &mut Packer, head: &Head) {
    let Head { first, last, began, ended, uptime, life, boot, verdict, attributed, lists_pools } = head;
    out.number(last - first);
    out.signed(*began);
    out.signed(ended.wrapping_sub(*began));
    out.optional(*uptime);
    out.number(*life);
    out.optional(*boot);
    out.text(verdict);
    out.number(u64::from(*attributed));
    out.number(u64::from(*lists_pools));
}

pub(in super::super) fn read_head(row: &mut Unpacker, first: u64) -> Result<Head, Torn> {
    let last = first.checked_add(row.number()?).ok_or(Torn)?;
    let began = row.signed()?;
    Ok(Head {
        first,
        last,
        began,
        ended: began.wrapping_add(row.signed()?),
        uptime: row.optional()?,
        life: row.number()?,
        boot: row.optional()?,
        verdict: row.text()?,
        attributed: row.flag()?,
        lists_pools: row.flag()?,
    })
}

fn pack_spread(out: &mut Packer, grain: Grain, spread: Spread) {
    out.number(spread.least);
    if grain == Grain::Hour {
        out.number(spread.most - spread.least);
        out.number(spread.last - spread.least);
    }
}

fn read_spread(row: &mut Unpacker, grain: Grain) -> Result<Spread, Torn> {
    let least = row.number()?;
    if grain == Grain::Look {
        return Ok(Spread::of(least));
    }
    let mut above = || least.checked_add(row.number()?).ok_or(Torn);
    Ok(Spread { least, most: above()?, last: above()? })
}

fn pack_optional(out: &mut Packer, grain: Grain, spread: Option<Spread>) {
    out.number(u64::from(spread.is_some()));
    if let Some(spread) = spread {
        pack_spread(out, grain, spread);
    }
}

fn read_optional(row: &mut Unpacker, grain: Grain) -> Result<Option<Spread>, Torn> {
    if row.flag()? { read_spread(row, grain).map(Some) } else { Ok(None) }
}

fn pack_process(out: &mut Packer, grain: Grain, numbers: &ProcessNumbers) {
    let ProcessNumbers { sockets, close_wait, stuck, ghosts, fds_open, fds_limit, leaked } = numbers;
    [sockets, close_wait, stuck].into_iter().for_each(|number| pack_spread(out, grain, *number));
    pack_optional(out, grain, *ghosts);
    pack_optional(out, grain, *fds_open);
    out.optional(*fds_limit);
    if grain == Grain::Hour {
        out.number(*leaked);
    }
}

/// A process with the number of its run.
fn read_process(row: &mut Unpacker, grain: Grain) -> Result<(NameId, ProcessNumbers), Torn> {
    let id = row.number()?;
    let (sockets, close_wait) = (read_spread(row, grain)?, read_spread(row, grain)?);
    let stuck = read_spread(row, grain)?;
    let (ghosts, fds_open) = (read_optional(row, grain)?, read_optional(row, grain)?);
    let fds_limit = row.optional()?;
    let leaked = match grain {
        Grain::Look => leaked(stuck.last, ghosts.map(|ghosts| ghosts.last)),
        Grain::Hour => row.number()?,
    };
    Ok((id, ProcessNumbers { sockets, close_wait, stuck, ghosts, fds_open, fds_limit, leaked }))
}

/// Of a process in a look what a point is made of: tens of thousands are read at once, and nobody looks at the rest.
pub(in super::super) struct Descriptors {
    /// `None` when they could not be counted.
    pub(in super::super) used: Option<u64>,
    pub(in super::super) leaked: u64,
    /// Whether `leaked` has the ghosts in it.
    pub(in super::super) counts_ghosts: bool,
    pub(in super::super) limit: Option<u64>,
}

/// The same numbers as [`read_process`], of a look.
#[inline]
pub(in super::super) fn read_descriptors(row: &mut Unpacker) -> Result<(NameId, Descriptors), Torn> {
    let (id, _sockets, _close_wait, stuck) = (row.number()?, row.number()?, row.number()?, row.number()?);
    let ghosts = if row.flag()? { Some(row.number()?) } else { None };
    let used = if row.flag()? { Some(row.number()?) } else { None };
    let limit = row.optional()?;
    Ok((id, Descriptors { used, leaked: leaked(stuck, ghosts), counts_ghosts: ghosts.is_some(), limit }))
}

/// The same of a pool.
pub(in super::super) struct Ports {
    pub(in super::super) usable: u64,
    pub(in super::super) used: u64,
    pub(in super::super) leaked: u64,
    /// Who holds most of them, and how many; zeros when that is not known.
    pub(in super::super) holder: (NameId, u64),
}

/// The same numbers as [`read_pool`], of a look.
#[inline]
pub(in super::super) fn read_ports(row: &mut Unpacker) -> Result<(NameId, Ports), Torn> {
    let (id, usable, used, leaked) = (row.number()?, row.number()?, row.number()?, row.number()?);
    Ok((id, Ports { usable, used, leaked, holder: read_holder(row)?.unwrap_or_default() }))
}

/// A pool with the number of its name.
fn read_pool(row: &mut Unpacker, grain: Grain) -> Result<(NameId, PoolNumbers), Torn> {
    let (id, usable) = (row.number()?, row.number()?);
    let (used, stuck) = (read_spread(row, grain)?, read_spread(row, grain)?);
    Ok((id, PoolNumbers { usable, used, stuck, holder: read_holder(row)? }))
}

/// A limit with what it limits.
pub(in super::super) fn read_limit(row: &mut Unpacker, grain: Grain) -> Result<(LimitId, LimitNumbers), Torn> {
    let id = read_limit_id(row)?;
    let used = read_spread(row, grain)?;
    Ok((id, LimitNumbers { used, limit: row.number()? }))
}

fn pack_holder(out: &mut Packer, holder: Option<(u64, u64)>) {
    out.optional(holder.map(|(run, _)| run));
    if let Some((_, count)) = holder {
        out.number(count);
    }
}

fn read_holder(row: &mut Unpacker) -> Result<Option<(u64, u64)>, Torn> {
    match row.optional()? {
        Some(run) => Ok(Some((run, row.number()?))),
        None => Ok(None),
    }
}

pub(in super::super) fn pack_limit_id(out: &mut Packer, (kind, netns): LimitId) {
    let number = match kind {
        LimitKind::FileMax => 1,
        LimitKind::Conntrack => 2,
        LimitKind::Orphans => 3,
        LimitKind::TcpMem => 4,
    };
    out.number(number);
    out.optional(netns);
}

pub(in super::super) fn read_limit_id(row: &mut Unpacker) -> Result<LimitId, Torn> {
    let kind = match row.number()? {
        1 => LimitKind::FileMax,
        2 => LimitKind::Conntrack,
        3 => LimitKind::Orphans,
        4 => LimitKind::TcpMem,
        _ => return Err(Torn),
    };
    Ok((kind, row.optional()?))
}
