//! The stuck sockets of the last look, each with the moment since which it surely was in CLOSE-WAIT.
//!
//! Cookies grow, and most sockets of a leak stay: they lie sorted in rows of some hundreds, and only the rows are written
//! in which a socket came, went, or turned out to be older.

use std::ops::Range;

use rusqlite::{Connection, params};

use super::bytes::{Packer, Seal, Torn, Unpacker};
use super::fault::Fault;
use super::past::ROW_MISSING;
use super::tip::Tip;
use crate::model::past::{MOST_STUCK, Memory};
use crate::model::socket::SockCookie;

/// A row grows to this many sockets, and is then split into halves.
const MOST_IN_ROW: usize = 1_024;

/// A moment that is told anew changes when it moves by more: clocks are read apart, and a row must not be written for that.
const WORTH_WRITING_MS: i64 = 60_000;

/// A socket, and since when: by the clock of the boot ([`super::tip::Latest::boot_clock`]), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) cookie: SockCookie,
    pub(super) since: i64,
}

/// What became of the sockets that were stuck at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turnover {
    pub(super) same: u64,
    pub(super) new: u64,
    pub(super) gone: u64,
}

/// One row: its number, and its place among all sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: u64,
    place: Range<usize>,
}

/// All sockets, sorted by cookie.
pub(super) fn read(connection: &Connection, tip: &Tip) -> Result<Vec<Stuck>, Fault> {
    Ok(read_rows(connection, tip)?.0)
}

fn read_rows(connection: &Connection, tip: &Tip) -> Result<(Vec<Stuck>, Vec<Row>), Fault> {
    let mut statement = connection.prepare_cached("SELECT id, body FROM stuck")?;
    let mut found = statement.query([])?;
    let mut sockets = Vec::with_capacity(tip.stuck_known.min(MOST_STUCK as u64) as usize);
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let id = row.get::<_, i64>(0)? as u64;
        let start = sockets.len();
        unpack_into(&mut sockets, id, row.get_ref(1)?.as_blob().map_err(|_| Torn)?)?;
        rows.push(Row { id, place: start..sockets.len() });
    }
    let (sockets, rows) = in_order(sockets, rows);
    let is_sorted = sockets.windows(2).all(|pair| pair[0].cookie.get() < pair[1].cookie.get());
    if sockets.len() as u64 == tip.stuck_known && is_sorted { Ok((sockets, rows)) } else { Err(ROW_MISSING) }
}

/// A row that was split has its halves at the two ends of the table; most have not been.
fn in_order(sockets: Vec<Stuck>, mut rows: Vec<Row>) -> (Vec<Stuck>, Vec<Row>) {
    let first = |row: &Row| sockets.get(row.place.start).map(|socket| socket.cookie.get());
    if rows.is_sorted_by_key(first) {
        return (sockets, rows);
    }
    rows.sort_by_key(first);
    let mut sorted = Vec::with_capacity(sockets.len());
    for row in &mut rows {
        let start = sorted.len();
        sorted.extend_from_slice(&sockets[row.place.clone()]);
        row.place = start..sorted.len();
    }
    (sorted, rows)
}

fn unpack_into(sockets: &mut Vec<Stuck>, id: u64, sealed: &[u8]) -> Result<(), Fault> {
    let mut row = Unpacker::open(Seal::Stuck, id, sealed)?;
    let (mut cookie, mut since) = (0_u64, 0_i64);
    for _ in 0..row.number()? {
        cookie = cookie.checked_add(row.number()?).ok_or(Torn)?;
        since = since.wrapping_add(row.signed()?);
        sockets.push(Stuck { cookie: SockCookie::new(cookie).ok_or(Torn)?, since });
    }
    row.finish()?;
    Ok(())
}

fn packed(id: u64, sockets: &[Stuck]) -> Vec<u8> {
    let mut out = Packer::with_room(16 + 6 * sockets.len());
    out.number(sockets.len() as u64);
    let (mut cookie, mut since) = (0, 0);
    for socket in sockets {
        out.number(socket.cookie.get() - cookie);
        out.signed(socket.since.wrapping_sub(since));
        (cookie, since) = (socket.cookie.get(), socket.since);
    }
    out.sealed(Seal::Stuck, id)
}

/// The look's own sockets, sorted; of a cookie that it has twice the one that is older. Of more than can be kept the first
/// ones count, which are the oldest.
pub(super) fn of_look(memory: &Memory, boot_clock: i64) -> Vec<Stuck> {
    let sockets = memory.stuck.iter().take(MOST_STUCK).map(|socket| {
        let age = i64::try_from(socket.age_at_least.as_millis()).unwrap_or(i64::MAX);
        Stuck { cookie: socket.cookie, since: boot_clock.saturating_sub(age) }
    });
    let mut sockets: Vec<Stuck> = sockets.collect();
    sockets.sort_unstable_by_key(|socket| (socket.cookie.get(), socket.since));
    sockets.dedup_by_key(|socket| socket.cookie);
    sockets
}

/// Holds the look's sockets against those that are kept, and keeps the look's. A socket that was there keeps its moment.
pub(super) fn keep(connection: &Connection, tip: &mut Tip, mut seen: Vec<Stuck>) -> Result<Turnover, Fault> {
    let (kept, rows) = read_rows(connection, tip)?;
    let turnover = compare(&kept, &mut seen);
    write(connection, Layout { kept: &kept, rows: &rows }, &seen)?;
    tip.stuck_known = seen.len() as u64;
    Ok(turnover)
}

/// Only holds them against each other: the look is older than what is kept.
pub(super) fn only_compare(connection: &Connection, tip: &Tip, mut seen: Vec<Stuck>) -> Result<Turnover, Fault> {
    Ok(compare(&read(connection, tip)?, &mut seen))
}

/// Forgets all: they are of another boot.
pub(super) fn forget(connection: &Connection, tip: &mut Tip) -> Result<(), Fault> {
    tip.stuck_known = 0;
    connection.execute("DELETE FROM stuck", [])?;
    Ok(())
}

fn compare(kept: &[Stuck], seen: &mut [Stuck]) -> Turnover {
    let mut turnover = Turnover::default();
    let mut rest = kept.iter().peekable();
    for socket in seen {
        while rest.next_if(|known| known.cookie.get() < socket.cookie.get()).is_some() {
            turnover.gone += 1;
        }
        match rest.next_if(|known| known.cookie == socket.cookie) {
            Some(known) => {
                turnover.same += 1;
                if known.since.saturating_sub(socket.since) <= WORTH_WRITING_MS {
                    socket.since = known.since;
                }
            }
            None => turnover.new += 1,
        }
    }
    turnover.gone += rest.count() as u64;
    turnover
}

/// How what is kept lies in rows.
struct Layout<'a> {
    kept: &'a [Stuck],
    rows: &'a [Row],
}

fn write(connection: &Connection, layout: Layout, seen: &[Stuck]) -> Result<(), Fault> {
    // Rows that shrink are not joined one by one: when they are many more than needed, all are written anew.
    if layout.rows.len() > 8 + 4 * seen.len().div_ceil(MOST_IN_ROW) {
        connection.execute("DELETE FROM stuck", [])?;
        return write(connection, Layout { kept: &[], rows: &[] }, seen);
    }
    let mut next_id = layout.rows.iter().map(|row| row.id).max().unwrap_or(0) + 1;
    let mut replace = connection.prepare_cached("INSERT OR REPLACE INTO stuck (id, body) VALUES (?1, ?2)")?;
    let mut put = |id: u64, sockets: &[Stuck]| replace.execute(params![id as i64, packed(id, sockets)]);
    let mut rest = seen;
    for (nth, row) in layout.rows.iter().enumerate() {
        // A row takes what lies before the first socket of the next one.
        let bound = layout.rows.get(nth + 1).map(|next| layout.kept[next.place.start].cookie.get());
        let length = bound.map_or(rest.len(), |bound| rest.partition_point(|socket| socket.cookie.get() < bound));
        let (part, behind) = rest.split_at(length);
        rest = behind;
        if part == &layout.kept[row.place.clone()] {
            continue;
        }
        if part.is_empty() {
            connection.prepare_cached("DELETE FROM stuck WHERE id = ?1")?.execute([row.id as i64])?;
            continue;
        }
        for (piece, sockets) in pieces(part).enumerate() {
            put(if piece == 0 { row.id } else { next_id }, sockets)?;
            next_id += u64::from(piece > 0);
        }
    }
    // There is a rest only when there were no rows.
    for sockets in pieces(rest) {
        put(next_id, sockets)?;
        next_id += 1;
    }
    Ok(())
}

fn pieces(sockets: &[Stuck]) -> impl Iterator<Item = &[Stuck]> {
    let length = if sockets.len() > MOST_IN_ROW { MOST_IN_ROW / 2 } else { MOST_IN_ROW };
    sockets.chunks(length)
}
