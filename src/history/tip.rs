//! The one row that says where the rest begins and ends. It is written with every look.

use rusqlite::{Connection, params};

use super::bytes::{Packer, Seal, Torn, Unpacker};
use super::fault::Fault;
use super::names::NameId;

/// The version of the whole file, here a second time under a checksum: `user_version` has none.
pub(super) const VERSION: u64 = 1;

/// Where things begin and end. Looks are numbered from 1 in the order in which they are written; hours have those below
/// [`Tip::first_look`], from [`Tip::first_hour_look`] on, without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) first_hour_look: u64,
    pub(super) first_look: u64,
    pub(super) next_look: u64,
    pub(super) next_name: NameId,
    /// How old the store is: the time between its looks, in milliseconds, of each gap no more than a day.
    pub(super) life: u64,
    /// How old it was at its first look that is not folded yet.
    pub(super) first_look_life: u64,
    /// How old it was at the end of its first hour.
    pub(super) first_hour_life: u64,
    /// Bytes of the rows of looks, and of those of hours.
    pub(super) look_bytes: u64,
    pub(super) hour_bytes: u64,
    /// How many sockets were stuck at the last look, and of how many it is known since when.
    pub(super) n_stuck: u64,
    pub(super) stuck_known: u64,
    pub(super) latest: Option<Latest>,
}

/// The look that was taken last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) boot: Option<NameId>,
    pub(super) clock: i64,
    pub(super) uptime: Option<u64>,
    pub(super) verdict: String,
    /// The time by which the moments of stuck sockets are told: that since boot, in milliseconds, or where no look of this
    /// boot could read that, the clock's of its first look and what went by since.
    pub(super) boot_clock: i64,
    pub(super) by_uptime: bool,
}

impl Latest {
    /// The same clock at another moment of this boot.
    pub(super) fn boot_clock(&self, clock: i64, uptime: Option<u64>) -> i64 {
        match uptime.filter(|_| self.by_uptime) {
            Some(uptime) => uptime as i64,
            None => self.boot_clock.saturating_add(clock.saturating_sub(self.clock).max(0)),
        }
    }
}

impl Default for Tip {
    fn default() -> Self {
        Self {
            first_hour_look: 1,
            first_look: 1,
            next_look: 1,
            next_name: 1,
            life: 0,
            first_look_life: 0,
            first_hour_life: 0,
            look_bytes: 0,
            hour_bytes: 0,
            n_stuck: 0,
            stuck_known: 0,
            latest: None,
        }
    }
}

impl Tip {
    pub(super) fn read(connection: &Connection) -> Result<Self, Fault> {
        let mut statement = connection.prepare_cached("SELECT body FROM tip WHERE id = 1")?;
        let body: Vec<u8> = statement.query_row([], |row| row.get(0))?;
        let mut row = Unpacker::open(Seal::Tip, 1, &body)?;
        if row.number()? != VERSION {
            return Err(Torn.into());
        }
        let mut numbers = [0; 11];
        for number in &mut numbers {
            *number = row.number()?;
        }
        let latest = if row.flag()? { Some(Latest::read(&mut row)?) } else { None };
        row.finish()?;
        let [first_hour_look, first_look, next_look, next_name, life, first_look_life, rest @ ..] = numbers;
        let [first_hour_life, look_bytes, hour_bytes, n_stuck, stuck_known] = rest;
        Ok(Self {
            first_hour_look,
            first_look,
            next_look,
            next_name,
            life,
            first_look_life,
            first_hour_life,
            look_bytes,
            hour_bytes,
            n_stuck,
            stuck_known,
            latest,
        })
    }

    /// The version that the row says, whatever follows it; `None` when there is no whole row.
    pub(super) fn version(connection: &Connection) -> Option<u64> {
        let mut statement = connection.prepare("SELECT body FROM tip WHERE id = 1").ok()?;
        let body: Vec<u8> = statement.query_row([], |row| row.get(0)).ok()?;
        Unpacker::open(Seal::Tip, 1, &body).ok()?.number().ok()
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<(), Fault> {
        let mut out = Packer::with_room(128);
        let numbers = [
            VERSION,
            self.first_hour_look,
            self.first_look,
            self.next_look,
            self.next_name,
            self.life,
            self.first_look_life,
            self.first_hour_life,
            self.look_bytes,
            self.hour_bytes,
            self.n_stuck,
            self.stuck_known,
        ];
        numbers.into_iter().for_each(|number| out.number(number));
        out.number(u64::from(self.latest.is_some()));
        if let Some(latest) = &self.latest {
            latest.pack(&mut out);
        }
        let mut replace = connection.prepare_cached("INSERT OR REPLACE INTO tip (id, body) VALUES (1, ?1)")?;
        replace.execute(params![out.sealed(Seal::Tip, 1)])?;
        Ok(())
    }
}

impl Latest {
    fn read(row: &mut Unpacker) -> Result<Self, Torn> {
        Ok(Self {
            boot: row.optional()?,
            clock: row.signed()?,
            uptime: row.optional()?,
            verdict: row.text()?,
            boot_clock: row.signed()?,
            by_uptime: row.flag()?,
        })
    }

    fn pack(&self, out: &mut Packer) {
        let Self { boot, clock, uptime, verdict, boot_clock, by_uptime } = self;
        out.optional(*boot);
        out.signed(*clock);
        out.optional(*uptime);
        out.text(verdict);
        out.signed(*boot_clock);
        out.number(u64::from(*by_uptime));
    }
}
