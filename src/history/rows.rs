//! What was remembered, for those who want to see it: the looks with their names.

use std::ops::{Bound, RangeBounds};
use std::time::SystemTime;

use rusqlite::Connection;

use super::bytes::Torn;
use super::fault::Fault;
use super::names::Names;
use super::past::ROW_MISSING;
use super::past::clock::{Stamp, straighten};
use super::stretch::code::Grain;
use super::stretch::{Stretch, system_time};
use super::tip::Tip;
use crate::model::look::{Look, Program};

/// Reads the looks that touch the range, oldest first.
pub(super) fn read(connection: &Connection, range: &impl RangeBounds<SystemTime>) -> Result<Vec<Look>, Fault> {
    let tip = Tip::read(connection)?;
    let Some(latest) = &tip.latest else {
        return Ok(Vec::new());
    };
    let names = Names::read(connection)?;
    let mut stretches = read_stretches(connection, "hour", Grain::Hour)?;
    stretches.extend(read_stretches(connection, "look", Grain::Look)?);
    let mut next = tip.first_hour_look;
    for stretch in &stretches {
        if stretch.head.first != next {
            return Err(ROW_MISSING);
        }
        next = stretch.head.last + 1;
    }
    if next != tip.next_look {
        return Err(ROW_MISSING);
    }
    let stamps: Vec<Stamp> = stretches
        .iter()
        .map(|Stretch { head, .. }| Stamp {
            clock: head.ended,
            uptime: head.uptime.filter(|_| head.boot == latest.boot),
        })
        .collect();
    let uptime = latest.uptime.filter(|_| latest.boot.is_some());
    let times = straighten(&stamps, Stamp { clock: latest.clock, uptime });
    let looks = stretches.into_iter().zip(times).filter_map(|(stretch, ended)| {
        let length = stretch.head.ended.saturating_sub(stretch.head.began).max(0);
        let (began, ended) = (system_time(ended.saturating_sub(length)), system_time(ended));
        touches(range, began, ended).then(|| named(&names, stretch, (began, ended)))
    });
    looks.collect()
}

fn touches(range: &impl RangeBounds<SystemTime>, began: SystemTime, ended: SystemTime) -> bool {
    let starts = match range.start_bound() {
        Bound::Included(start) => *start <= ended,
        Bound::Excluded(start) => *start < ended,
        Bound::Unbounded => true,
    };
    let ends = match range.end_bound() {
        Bound::Included(end) => began <= *end,
        Bound::Excluded(end) => began < *end,
        Bound::Unbounded => true,
    };
    starts && ends
}

fn read_stretches(connection: &Connection, table: &str, grain: Grain) -> Result<Vec<Stretch>, Fault> {
    let key = if grain == Grain::Hour { "first" } else { "id" };
    let mut statement = connection.prepare(&format!("SELECT {key}, body FROM {table} ORDER BY {key}"))?;
    let mut rows = statement.query([])?;
    let mut stretches = Vec::new();
    while let Some(row) = rows.next()? {
        let first = row.get::<_, i64>(0)? as u64;
        let body = row.get_ref(1)?.as_blob().map_err(|_| Torn)?;
        stretches.push(Stretch::read(grain, first, body)?);
    }
    Ok(stretches)
}

fn named(names: &Names, stretch: Stretch, (began, ended): (SystemTime, SystemTime)) -> Result<Look, Fault> {
    let Stretch { head, namespaces, processes, other_processes, pools, other_pools, limits, n_stuck } = stretch;
    let netns = |id: u64| names.netns(id).map(str::to_owned);
    let namespaces = namespaces.into_iter().map(|(id, states)| Ok((netns(id)?, states)));
    let processes = processes.into_iter().map(|(id, numbers)| {
        let run = names.run(id)?;
        let program = Program { service: names.service(run.service)?.clone(), key: run.key, run: id };
        Ok((program, numbers))
    });
    let pools = pools.into_iter().map(|(id, numbers)| Ok((names.pool(id)?.clone(), numbers)));
    let limits = limits.into_iter().map(|((kind, id), numbers)| Ok(((kind, id.map(netns).transpose()?), numbers)));
    Ok(Look {
        began,
        ended,
        looks: head.looks(),
        boot_id: head.boot.map(|boot| names.boot(boot).map(str::to_owned)).transpose()?,
        verdict: head.verdict,
        attributed: head.attributed,
        namespaces: namespaces.collect::<Result<_, Fault>>()?,
        processes: processes.collect::<Result<_, Fault>>()?,
        other_processes,
        pools: pools.collect::<Result<_, Fault>>()?,
        other_pools,
        limits: limits.collect::<Result<_, Fault>>()?,
        n_stuck,
    })
}
