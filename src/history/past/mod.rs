//! What is known of the past when a look is judged: read in one go, from few rows.

pub(super) mod clock;
mod lines;
pub(super) mod points;

use std::time::Duration;

use rusqlite::Connection;

use self::clock::{Stamp, straighten};
use self::lines::Lines;
use super::bytes::Torn;
use super::fault::Fault;
use super::names::Names;
use super::stretch::{HOUR_MS, milliseconds, system_time};
use super::stuck;
use super::tip::Tip;
use super::upkeep::{HOURS_FOR_MS, MOST_LOOKS};
use super::{LastLook, Moment};
use crate::model::past::Past;
use crate::model::stuck_since::StuckSince;

/// Reads everything that a look at this moment may be held against. One transaction around it makes it one moment's.
pub(super) fn read(connection: &Connection, now: &Moment) -> Result<Past, Fault> {
    let tip = Tip::read(connection)?;
    let Some(latest) = &tip.latest else {
        return Ok(Past::default());
    };
    let names = Names::read(connection)?;
    let last_boot = latest.boot.map(|boot| names.boot(boot)).transpose()?;
    let is_same_boot = now.boot_id.is_some() && now.boot_id == last_boot;
    let boot = latest.boot.filter(|_| is_same_boot);
    let mut lines = Lines::new(&names, boot, expected_steps(&tip));
    read_hours(connection, &tip, &mut lines)?;
    read_looks(connection, &tip, &mut lines)?;
    let uptime = now.uptime.map(|uptime| uptime.as_millis() as u64).filter(|_| is_same_boot);
    let stamp = Stamp { clock: milliseconds(now.at), uptime };
    let times = straighten(&lines.stamps(), stamp);
    let mut past = Past {
        looks: times.iter().map(|time| system_time(*time)).collect(),
        series: lines.series(&times)?,
        last_verdict: Some(latest.verdict.clone()),
        ..Past::default()
    };
    if is_same_boot {
        let boot_clock = latest.boot_clock(stamp.clock, uptime);
        let since = stuck::read(connection, &tip)?.into_iter().map(|socket| {
            let ago = boot_clock.saturating_sub(socket.since).max(0);
            (socket.cookie, stamp.clock.saturating_sub(ago))
        });
        past.stuck_since = StuckSince::of_millis(since.collect());
        past.n_stuck = tip.n_stuck;
    }
    Ok(past)
}

/// When the last look was, and of which boot.
pub(super) fn last_look(connection: &Connection) -> Result<Option<LastLook>, Fault> {
    let Some(latest) = Tip::read(connection)?.latest else {
        return Ok(None);
    };
    let boot_id = match latest.boot {
        Some(boot) => Some(Names::read(connection)?.boot(boot)?.to_owned()),
        None => None,
    };
    Ok(Some(LastLook { at: system_time(latest.clock), boot_id, uptime: latest.uptime.map(Duration::from_millis) }))
}

/// About how many hours and looks there are: counting the rows would cost as much as reading them.
fn expected_steps(tip: &Tip) -> usize {
    let looks = tip.next_look.saturating_sub(tip.first_look).min(MOST_LOOKS);
    let hours = tip.first_look.saturating_sub(tip.first_hour_look).min(HOURS_FOR_MS / HOUR_MS as u64);
    (looks + hours) as usize
}

/// A row that is missing is damage, not a gap: the hours are without a break, and the looks behind them too.
fn read_hours(connection: &Connection, tip: &Tip, lines: &mut Lines) -> Result<(), Fault> {
    let mut next = tip.first_hour_look;
    let mut statement = connection.prepare("SELECT first, body FROM hour_points ORDER BY first")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let first = row.get::<_, i64>(0)? as u64;
        let body = row.get_ref(1)?.as_blob().map_err(|_| Torn)?;
        let behind = points::read_into(lines, first, body)?;
        if first != next {
            return Err(ROW_MISSING);
        }
        next = behind;
    }
    if next == tip.first_look { Ok(()) } else { Err(ROW_MISSING) }
}

fn read_looks(connection: &Connection, tip: &Tip, lines: &mut Lines) -> Result<(), Fault> {
    let mut next = tip.first_look;
    let mut statement = connection.prepare("SELECT id, body FROM look ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)? as u64;
        points::read_look_into(lines, id, row.get_ref(1)?.as_blob().map_err(|_| Torn)?)?;
        if id != next {
            return Err(ROW_MISSING);
        }
        next += 1;
    }
    if next == tip.next_look { Ok(()) } else { Err(ROW_MISSING) }
}

pub(super) const ROW_MISSING: Fault = Fault::Damage("rows are missing");
