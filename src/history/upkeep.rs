//! What keeps the file small: looks are folded into hours, hours are dropped, names go with them. A little each time.
//!
//! Age is told by the store's own life, not by the clock: a clock that is wrong for a moment must not cost three months.

use rusqlite::{Connection, OptionalExtension, params};

use super::bytes::Torn;
use super::fault::Fault;
use super::names::{Dictionary, NameId};
use super::past::points::Day;
use super::stretch::code::Grain;
use super::stretch::{HOUR_MS, Stretch};
use super::tip::Tip;

const DAY_MS: u64 = 86_400_000;

/// Looks are kept one by one for so long, and until the hour that they are in is over by it.
pub(super) const LOOKS_FOR_MS: u64 = 2 * DAY_MS;

/// Hours are kept for so long, and until the day that they lie with in one row is over by it.
pub(super) const HOURS_FOR_MS: u64 = 90 * DAY_MS;

/// At most so many looks are kept one by one: two days of a look every minute have 2,880.
pub(super) const MOST_LOOKS: u64 = 4_096;

/// At most so many are folded at once, and a day of hours dropped: a look must not wait long for the upkeep.
const AT_ONCE: u64 = 512;

/// At most so many runs and pools an hour has. A host that starts new programs all the time would fill the store with them.
const MOST_IN_HOUR: usize = 64;

/// Of these, so many that did not outlive the hour.
const MOST_PASSING: usize = 8;

/// Where the upkeep begins to make room, and how much it makes; SQLite refuses to grow the file beyond the last number
/// ([`super::schema`]). With what is written ahead, 16 MiB is never reached.
const PAGE_BYTES: u64 = 4_096;
const CROWDED_PAGES: u64 = (12 << 20) / PAGE_BYTES;
const ROOMY_PAGES: u64 = (11 << 20) / PAGE_BYTES;
pub(super) const MOST_PAGES: u64 = (14 << 20) / PAGE_BYTES;

/// Does what is due after a look was added.
pub(super) fn run(connection: &Connection, tip: &mut Tip, names: &mut Dictionary) -> Result<(), Fault> {
    let mut changed = false;
    if tip.life >= tip.first_look_life + LOOKS_FOR_MS + HOUR_MS as u64 {
        changed |= fold(connection, tip, names, Some(tip.life - LOOKS_FOR_MS))?;
    }
    if tip.next_look - tip.first_look > MOST_LOOKS {
        changed |= fold(connection, tip, names, None)?;
    }
    if tip.life > tip.first_hour_life + HOURS_FOR_MS + DAY_MS {
        changed |= drop_day(connection, tip, Some(tip.life - HOURS_FOR_MS))?;
    }
    if changed {
        forget_names(tip, names)?;
    }
    if pages(connection)? > CROWDED_PAGES { make_room(connection, tip, names) } else { Ok(()) }
}

/// The larger part gives way, until there is room again.
fn make_room(connection: &Connection, tip: &mut Tip, names: &mut Dictionary) -> Result<(), Fault> {
    while pages(connection)? > ROOMY_PAGES {
        let has_hours = tip.first_hour_look < tip.first_look;
        let made = if tip.look_bytes > tip.hour_bytes || !has_hours {
            fold(connection, tip, names, None)?
        } else {
            drop_day(connection, tip, None)?
        };
        if !made {
            break;
        }
        forget_names(tip, names)?;
    }
    Ok(())
}

/// Pages that hold something.
fn pages(connection: &Connection) -> Result<u64, Fault> {
    let count = |pragma: &str| connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(count("PRAGMA page_count")?.saturating_sub(count("PRAGMA freelist_count")?).max(0) as u64)
}

fn life_hour(life: u64) -> i64 {
    (life / HOUR_MS as u64) as i64
}

/// Says so of the age at which a look or an hour says names.
pub(super) fn hour_of_life(tip: &Tip) -> i64 {
    life_hour(tip.life)
}

fn forget_names(tip: &Tip, names: &mut Dictionary) -> Result<(), Fault> {
    names.forget(life_hour(tip.first_look_life), life_hour(tip.first_hour_life))
}

/// Folds the first looks that lie in one hour of the clock, those that are no younger than the store was then, or all of
/// them; never the last look of all. Whether there were such.
fn fold(
    connection: &Connection,
    tip: &mut Tip,
    names: &mut Dictionary,
    until_life: Option<u64>,
) -> Result<bool, Fault> {
    let end = tip.next_look.saturating_sub(1).min(tip.first_look + AT_ONCE);
    let mut looks: Vec<Stretch> = Vec::new();
    let mut bytes = 0;
    while tip.first_look + (looks.len() as u64) < end {
        let id = tip.first_look + looks.len() as u64;
        let (look, length) = read_look(connection, id)?;
        let is_of_hour = looks.first().is_none_or(|first| first.head.hour() == look.head.hour());
        if !is_of_hour || until_life.is_some_and(|life| look.head.life > life) {
            break;
        }
        bytes += length;
        looks.push(look);
    }
    let Some(first) = looks.first() else {
        return Ok(false);
    };
    let hour = last_hour(connection)?.filter(|hour| hour.head.hour() == first.head.hour());
    let n_looks = looks.len() as u64;
    let next = read_look(connection, tip.first_look + n_looks)?.0;
    let mut parts = hour.into_iter().chain(looks);
    let folded = parts.next().map(|first| parts.fold(first, Stretch::then));
    if let Some(mut hour) = folded {
        thin(&mut hour, &next, names)?;
        write_hour(connection, tip, names, &hour)?;
    }
    connection.prepare_cached("DELETE FROM look WHERE id < ?1")?.execute([(tip.first_look + n_looks) as i64])?;
    tip.first_look += n_looks;
    tip.first_look_life = next.head.life;
    tip.look_bytes = tip.look_bytes.saturating_sub(bytes);
    Ok(true)
}

fn read_look(connection: &Connection, id: u64) -> Result<(Stretch, u64), Fault> {
    let mut select = connection.prepare_cached("SELECT body FROM look WHERE id = ?1")?;
    let mut rows = select.query([id as i64])?;
    let row = rows.next()?.ok_or(super::past::ROW_MISSING)?;
    let body = row.get_ref(0)?.as_blob().map_err(|_| Torn)?;
    Ok((Stretch::read(Grain::Look, id, body)?, body.len() as u64))
}

fn last_hour(connection: &Connection) -> Result<Option<Stretch>, Fault> {
    let mut select = connection.prepare_cached("SELECT first, body FROM hour ORDER BY first DESC LIMIT 1")?;
    let mut rows = select.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let first = row.get::<_, i64>(0)? as u64;
    Stretch::read(Grain::Hour, first, row.get_ref(1)?.as_blob().map_err(|_| Torn)?).map(Some)
}

/// Leaves out what an hour has too many of. What is still there at the next look goes first, then what leaked most.
fn thin(hour: &mut Stretch, next: &Stretch, names: &Dictionary) -> Result<(), Fault> {
    if hour.processes.len() > MOST_IN_HOUR {
        let service = |run: NameId| names.run(run).map(|run| run.service);
        let staying: Vec<NameId> = next.processes.iter().map(|(run, _)| service(*run)).collect::<Result<_, _>>()?;
        let mut ranked = Vec::with_capacity(hour.processes.len());
        for (run, numbers) in hour.processes.drain(..) {
            let stays = staying.contains(&service(run)?);
            ranked.push(((stays, numbers.stuck.most, numbers.sockets.most), (run, numbers)));
        }
        hour.processes = foremost(ranked);
    }
    if hour.pools.len() > MOST_IN_HOUR {
        let ranked = hour.pools.drain(..).map(|(pool, numbers)| {
            let stays = next.pools.iter().any(|(other, _)| *other == pool);
            ((stays, numbers.stuck.most, numbers.used.most), (pool, numbers))
        });
        hour.pools = foremost(ranked.collect());
        hour.head.lists_pools = false;
    }
    Ok(())
}

fn foremost<T>(mut ranked: Vec<((bool, u64, u64), T)>) -> Vec<T> {
    ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    let staying = ranked.iter().filter(|((stays, ..), _)| *stays).count().min(MOST_IN_HOUR - MOST_PASSING);
    ranked.into_iter().take(staying + MOST_PASSING).map(|(_, row)| row).collect()
}

fn write_hour(connection: &Connection, tip: &mut Tip, names: &Dictionary, hour: &Stretch) -> Result<(), Fault> {
    let (day, old_bytes) = match last_day(connection)? {
        Some((day, bytes)) => match day.with(hour) {
            Ok(day) => (day, bytes),
            Err(_full) => (begun_with(hour)?, 0),
        },
        None => (begun_with(hour)?, 0),
    };
    let before = old_bytes + length(connection, "hour", hour.head.first)?;
    let mut written = 0;
    for (table, first, body) in
        [("hour", hour.head.first, hour.packed(Grain::Hour)), ("hour_points", day.first(), day.packed())]
    {
        let sql = format!("INSERT OR REPLACE INTO {table} (first, body) VALUES (?1, ?2)");
        connection.prepare_cached(&sql)?.execute(params![first as i64, body])?;
        written += body.len() as u64;
    }
    tip.hour_bytes = (tip.hour_bytes + written).saturating_sub(before);
    if hour.head.first == tip.first_hour_look {
        tip.first_hour_life = hour.head.life;
    }
    keep_names(names, hour)
}

fn begun_with(hour: &Stretch) -> Result<Day, Fault> {
    Day::default().with(hour).map_err(|_| Torn.into())
}

fn last_day(connection: &Connection) -> Result<Option<(Day, u64)>, Fault> {
    let mut select = connection.prepare_cached("SELECT first, body FROM hour_points ORDER BY first DESC LIMIT 1")?;
    let mut rows = select.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let first = row.get::<_, i64>(0)? as u64;
    let body = row.get_ref(1)?.as_blob().map_err(|_| Torn)?;
    Ok(Some((Day::read(first, body)?, body.len() as u64)))
}

fn length(connection: &Connection, table: &str, first: u64) -> Result<u64, Fault> {
    let sql = format!("SELECT length(body) FROM {table} WHERE first = ?1");
    let bytes: Option<i64> = connection.prepare_cached(&sql)?.query_row([first as i64], |row| row.get(0)).optional()?;
    Ok(bytes.unwrap_or(0).max(0) as u64)
}

fn keep_names(names: &Dictionary, hour: &Stretch) -> Result<(), Fault> {
    let mut said: Vec<NameId> = hour.head.boot.into_iter().collect();
    said.extend(hour.namespaces.iter().map(|(netns, _)| *netns));
    said.extend(hour.limits.iter().filter_map(|((_, netns), _)| *netns));
    said.extend(hour.pools.iter().map(|(pool, _)| *pool));
    let holders = hour.pools.iter().filter_map(|(_, numbers)| numbers.holder.map(|(run, _)| run));
    let mut runs: Vec<NameId> = hour.processes.iter().map(|(run, _)| *run).chain(holders).collect();
    runs.sort_unstable();
    runs.dedup();
    for id in runs {
        let run = names.run(id)?;
        said.extend([Some(id), Some(run.service), run.boot].into_iter().flatten());
    }
    let ended = life_hour(hour.head.life);
    said.into_iter().try_for_each(|id| names.keep(id, ended))
}

/// Drops the first day of hours, if it ended before the store was so old, or whenever it ended. Whether there was one.
fn drop_day(connection: &Connection, tip: &mut Tip, until_life: Option<u64>) -> Result<bool, Fault> {
    if tip.first_hour_look == tip.first_look {
        return Ok(false);
    }
    let first = tip.first_hour_look;
    let day = read_day(connection, first)?;
    let Some(last) = day.hours.last() else {
        return Err(Torn.into());
    };
    if until_life.is_some_and(|life| last.life >= life) {
        return Ok(false);
    }
    let mut bytes = length(connection, "hour_points", first)?;
    for hour in &day.hours {
        bytes += length(connection, "hour", hour.first)?;
        connection.prepare_cached("DELETE FROM hour WHERE first = ?1")?.execute([hour.first as i64])?;
    }
    connection.prepare_cached("DELETE FROM hour_points WHERE first = ?1")?.execute([first as i64])?;
    tip.hour_bytes = tip.hour_bytes.saturating_sub(bytes);
    tip.first_hour_look = last.last + 1;
    if tip.first_hour_look < tip.first_look {
        let next = read_day(connection, tip.first_hour_look)?;
        tip.first_hour_life = next.hours.first().map_or(tip.first_hour_life, |hour| hour.life);
    }
    Ok(true)
}

fn read_day(connection: &Connection, first: u64) -> Result<Day, Fault> {
    let mut select = connection.prepare_cached("SELECT body FROM hour_points WHERE first = ?1")?;
    let mut rows = select.query([first as i64])?;
    let row = rows.next()?.ok_or(super::past::ROW_MISSING)?;
    Day::read(first, row.get_ref(0)?.as_blob().map_err(|_| Torn)?)
}
