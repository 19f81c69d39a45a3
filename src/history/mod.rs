//! The history: what is remembered of earlier looks, in one file of SQLite.
//!
//! A look is one row; two days of looks lie there one by one, before that an hour is one row, for three months. Names are
//! stored once and said by number, numbers take as few bytes as they need, and every row has a checksum. One more row, the
//! tip, says which rows there must be: what is missing is found as surely as what is changed.
//!
//! Every look is one transaction: it is there whole or not at all, whoever is killed meanwhile. Looks are numbered in the
//! order in which they are written, and that order is never given up; what the clock said is straightened when they are
//! read ([`History::past`]).

mod bytes;
mod fault;
mod names;
mod past;
mod patience;
mod place;
mod rows;
mod schema;
mod stretch;
mod stuck;
mod tip;
mod upkeep;

use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

pub use self::fault::{HistoryError, PlaceFault};
pub use self::place::default_path;
pub use crate::model::look::{Look, Program};
pub use crate::model::numbers;

use self::fault::Fault;
use self::names::Dictionary;
use self::patience::Patience;
use self::place::{Identity, Place};
use self::stretch::code::Grain;
use self::stretch::{milliseconds, system_time, uptime_ms};
use self::tip::{Latest, Tip};
use crate::model::past::{Memory, Past, Turnover};

/// The most that the age of the store grows between two looks, whatever the clock says.
const LONGEST_STEP_MS: u64 = 86_400_000;

/// What a history is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read and to remember. What is not there is made.
    ReadWrite,
    /// To read only. Nothing is made, moved or changed.
    ReadOnly,
}

/// The moment that the past is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment<'a> {
    /// By the clock.
    pub at: SystemTime,
    /// The boot; without it no socket is known again.
    pub boot_id: Option<&'a str>,
    /// Time since boot. With it a clock that was set within this boot misleads nobody.
    pub uptime: Option<Duration>,
}

/// The look that was taken last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLook {
    /// When it began, by the clock then.
    pub at: SystemTime,
    /// Of which boot it was.
    pub boot_id: Option<String>,
    /// Time since that boot.
    pub uptime: Option<Duration>,
}

/// An open history. Others wait for it when the file is damaged: hold it for a look, not for a day.
#[derive(Debug)]
pub struct History {
    // Dropped before the place: the directory is held as long as the file is open.
    connection: Connection,
    place: Place,
    identity: Option<Identity>,
    access: Access,
    read_only_because: Option<String>,
    notes: Vec<String>,
}

impl History {
    /// Opens the file. One that is damaged is set aside, under a name with the date beside the old one, and begun anew; one
    /// that cannot be written is opened for reading. [`History::notes`] tells of both.
    ///
    /// # Errors
    /// When there is none (for reading only), when the place cannot be trusted, when it is of a later version or of another
    /// program, and when it cannot be read at all.
    pub fn open(path: &Path, access: Access) -> Result<Self, HistoryError> {
        Self::open_by(path, access, None)
    }

    /// The same, and whatever is done with it: others are waited for until this moment at the most. Without one they are for
    /// some seconds at each step. What takes no waiting is done after that moment, too.
    ///
    /// # Errors
    /// As for [`History::open`].
    pub fn open_by(path: &Path, access: Access, moment: Option<Instant>) -> Result<Self, HistoryError> {
        let patience = Patience::until(moment);
        let place = match access {
            Access::ReadWrite => match Place::make(path, patience) {
                // Where nothing can be made, there may still be a history to read.
                Err(unmade @ HistoryError::Io { .. }) => {
                    let found = Place::find(path, patience).map_err(|_| ());
                    return match found.map(|place| Self::open_reading(place, Some(unmade.to_string()))) {
                        Ok(Ok(history)) => Ok(history),
                        _ => Err(unmade),
                    };
                }
                made => made?,
            },
            Access::ReadOnly => return Self::open_reading(Place::find(path, patience)?, None),
        };
        let identity = place.identity()?;
        let asked = Instant::now();
        match schema::open_for_writing(place.path(), patience) {
            Ok(connection) if is_read_only(&connection) => {
                let why = "the file may not be written to".to_owned();
                Self::open_reading(place, Some(why))
            }
            Ok(connection) => {
                Ok(Self { connection, place, identity, access, read_only_because: None, notes: Vec::new() })
            }
            Err(fault) => Self::open_otherwise(place, identity, Met { fault, asked }),
        }
    }

    fn open_otherwise(place: Place, identity: Option<Identity>, met: Met) -> Result<Self, HistoryError> {
        if let Some(what) = met.fault.damage() {
            let note = set_aside(&place, identity, &what)?;
            let identity = place.identity()?;
            let asked = Instant::now();
            let opened = schema::open_for_writing(place.path(), place.patience());
            let connection = opened.map_err(|fault| told(&place, "opening", Met { fault, asked }))?;
            let notes = note.into_iter().collect();
            return Ok(Self { connection, place, identity, access: Access::ReadWrite, read_only_because: None, notes });
        }
        let refused = told(&place, "opening", met);
        match refused {
            HistoryError::Sqlite { ref error, .. } => {
                Self::open_reading(place, Some(error.to_string())).map_err(|_| refused)
            }
            _ => Err(refused),
        }
    }

    /// `why` it is not opened for writing, when that was asked for.
    fn open_reading(place: Place, why: Option<String>) -> Result<Self, HistoryError> {
        let identity = place.identity()?;
        let asked = Instant::now();
        let opened = match schema::open_for_reading(place.path(), place.patience()) {
            // On a device that may not be written to, or has no room, there is no place for locks. Nor for a writer.
            Err(fault) if fault.damage().is_none() && !fault.is_busy() && !place.has_pages_ahead() => {
                schema::open_unchanging(place.path(), place.patience()).map_err(|_| fault)
            }
            opened => opened,
        };
        let connection = opened.map_err(|fault| told(&place, "opening", Met { fault, asked }))?;
        let path = place.path().display();
        let note = why.as_ref().map(|why| format!("the history {path} is read and not added to: {why}"));
        let notes = note.into_iter().collect();
        Ok(Self { connection, place, identity, access: Access::ReadOnly, read_only_because: why, notes })
    }

    /// What the reader should know: that a damaged file was set aside, and as what; that nothing can be added.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// How many bytes the file has on the device, with what SQLite keeps beside it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.place.bytes()
    }

    /// The look that was taken last; `None` when there is none yet.
    ///
    /// # Errors
    /// As for [`History::past`].
    pub fn last_look(&mut self) -> Result<Option<LastLook>, HistoryError> {
        match self.reading(past::last_look) {
            Err(met) => {
                self.give_up_damaged("reading", met)?;
                Ok(None)
            }
            Ok(last) => Ok(last),
        }
    }

    /// What is known of the past at this moment.
    ///
    /// Looks come in the order in which they were written. Where the clock was set back meanwhile, what was before is moved
    /// back with it, so that nothing is lost and nothing lies behind what came later; within this boot the time since boot
    /// tells how far.
    ///
    /// # Errors
    /// When it cannot be read. A file that is found damaged is set aside: then the past is empty, and a note says so.
    pub fn past(&mut self, now: &Moment) -> Result<Past, HistoryError> {
        let past = self.reading(|connection| past::read(connection, now));
        match past {
            Err(met) => {
                self.give_up_damaged("reading", met)?;
                Ok(Past::default())
            }
            Ok(past) => Ok(past),
        }
    }

    /// Looks, and hours of looks, that touch the range, oldest first. Their times are straightened as in [`History::past`],
    /// against the look that was written last.
    ///
    /// # Errors
    /// As for [`History::past`].
    pub fn looks(&mut self, range: impl RangeBounds<SystemTime>) -> Result<Vec<Look>, HistoryError> {
        let looks = self.reading(|connection| rows::read(connection, &range));
        match looks {
            Err(met) => {
                self.give_up_damaged("reading", met)?;
                Ok(Vec::new())
            }
            Ok(looks) => Ok(looks),
        }
    }

    /// Remembers one look, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written: the disk is full, the place may only be read, others do not let go of it. What was there
    /// is as it was. A file that is found damaged is set aside, and the look is the first of a new one; a note says so.
    pub fn remember(&mut self, memory: &Memory) -> Result<Turnover, HistoryError> {
        self.remember_all(std::slice::from_ref(memory))
    }

    /// Remembers several looks, oldest first, all or none; what became of the sockets is told of the last.
    ///
    /// # Errors
    /// As for [`History::remember`].
    pub fn remember_all(&mut self, memories: &[Memory]) -> Result<Turnover, HistoryError> {
        if self.access == Access::ReadOnly {
            let why = self.read_only_because.clone().unwrap_or_else(|| "it was opened for reading".to_owned());
            return Err(HistoryError::NotWritable { path: self.path().to_owned(), why });
        }
        match self.writing(memories) {
            Err(met) => {
                self.give_up_damaged("writing", met)?;
                self.writing(memories).map_err(|met| told(&self.place, "writing", met))
            }
            Ok(remembered) => Ok(remembered),
        }
    }

    fn writing(&mut self, memories: &[Memory]) -> Result<Turnover, Met> {
        let asked = Instant::now();
        let granted = self.place.patience().grant(&self.connection);
        granted.and_then(|()| write(&mut self.connection, memories)).map_err(|fault| Met { fault, asked })
    }

    /// Reads in one transaction, so that all is of one moment.
    fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Met> {
        let asked = Instant::now();
        let result = self.place.patience().grant(&self.connection).and_then(|()| {
            let transaction = self.connection.unchecked_transaction()?;
            // Nothing is written: there is nothing that could fail to be put in place.
            read(&transaction)
        });
        result.map_err(|fault| Met { fault, asked })
    }

    /// Sets the file aside if that is what the fault calls for, and goes on with an empty one.
    fn give_up_damaged(&mut self, operation: &'static str, met: Met) -> Result<(), HistoryError> {
        let what = match met.fault.damage() {
            Some(what) if self.access == Access::ReadWrite => what,
            _ => return Err(told(&self.place, operation, met)),
        };
        // The file must not be open when it is moved: what closes it would write to it.
        let asked = Instant::now();
        let nothing = Connection::open_in_memory()
            .map_err(|error| told(&self.place, operation, Met { fault: error.into(), asked }))?;
        drop(std::mem::replace(&mut self.connection, nothing));
        let note = set_aside(&self.place, self.identity, &what)?;
        self.notes.extend(note);
        self.identity = self.place.identity()?;
        let opened = schema::open_for_writing(self.place.path(), self.place.patience());
        self.connection = opened.map_err(|fault| told(&self.place, operation, Met { fault, asked }))?;
        Ok(())
    }
}

/// A fault, and when the step was begun that it ended.
struct Met {
    fault: Fault,
    asked: Instant,
}

/// The note that tells of it; none when another process was faster.
fn set_aside(place: &Place, identity: Option<Identity>, what: &str) -> Result<Option<String>, HistoryError> {
    let damaged = || HistoryError::Damaged { path: place.path().to_owned(), what: what.to_owned() };
    if !place.may_be_moved() {
        return Err(HistoryError::Foreign { path: place.path().to_owned() });
    }
    let identity = identity.ok_or_else(damaged)?;
    let moved = place.set_aside(identity, Timestamp::now());
    let target: Option<PathBuf> = moved.map_err(|error| match error {
        HistoryError::Busy { .. } => damaged(),
        other => other,
    })?;
    let path = place.path().display();
    Ok(target
        .map(|target| format!("the history {path} was damaged ({what}); it was set aside as {}", target.display())))
}

fn is_read_only(connection: &Connection) -> bool {
    connection.is_readonly("main").unwrap_or(false)
}

/// The fault with the file it is of.
fn told(place: &Place, operation: &'static str, Met { fault, asked }: Met) -> HistoryError {
    let path = place.path().to_owned();
    if let Some(what) = fault.damage() {
        return HistoryError::Damaged { path, what };
    }
    if fault.is_busy() {
        return HistoryError::Busy { operation, path, waited: asked.elapsed() };
    }
    match fault {
        Fault::Newer(found) => HistoryError::Newer { path, found, known: schema::VERSION },
        Fault::Foreign => HistoryError::Foreign { path },
        Fault::Damage(what) => HistoryError::Damaged { path, what: what.to_owned() },
        Fault::Sqlite(error) => HistoryError::Sqlite { operation, path, error },
    }
}

fn write(connection: &mut Connection, memories: &[Memory]) -> Result<Turnover, Fault> {
    // To begin as a reader and write later would fail whenever another wrote in between.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut tip = Tip::read(&transaction)?;
    let mut names = Dictionary::new(&transaction, tip.next_name);
    let mut remembered = Turnover::default();
    for memory in memories {
        remembered = add(&transaction, &mut tip, &mut names, memory)?;
        upkeep::run(&transaction, &mut tip, &mut names)?;
    }
    tip.next_name = names.next;
    tip.write(&transaction)?;
    drop(names);
    transaction.commit()?;
    Ok(remembered)
}

fn add(connection: &Connection, tip: &mut Tip, names: &mut Dictionary, memory: &Memory) -> Result<Turnover, Fault> {
    let clock = milliseconds(memory.taken_at);
    if let Some(latest) = &tip.latest {
        tip.life += u64::try_from(clock.saturating_sub(latest.clock)).unwrap_or(0).min(LONGEST_STEP_MS);
    }
    names.hour = upkeep::hour_of_life(tip);
    let mut look = stretch::of_look(memory, names)?;
    look.head.life = tip.life;
    (look.head.first, look.head.last) = (tip.next_look, tip.next_look);
    let body = look.packed(Grain::Look);
    let mut insert = connection.prepare_cached("INSERT INTO look (id, body) VALUES (?1, ?2)")?;
    insert.execute(params![tip.next_look as i64, body])?;
    if tip.first_look == tip.next_look {
        tip.first_look_life = tip.life;
    }
    tip.next_look += 1;
    tip.look_bytes += body.len() as u64;
    remember_stuck(connection, tip, look.head.boot, memory)
}

/// Holds the stuck sockets against those of the last look, and makes this one the last, unless it was taken before.
fn remember_stuck(
    connection: &Connection,
    tip: &mut Tip,
    boot: Option<u64>,
    memory: &Memory,
) -> Result<Turnover, Fault> {
    let (clock, uptime) = (milliseconds(memory.taken_at), uptime_ms(memory));
    let same_boot = tip.latest.clone().filter(|latest| boot.is_some() && latest.boot == boot);
    let boot_clock = match &same_boot {
        Some(latest) => latest.boot_clock(clock, uptime),
        None => uptime.map_or(clock, |uptime| uptime as i64),
    };
    let is_complete = |n_stuck: u64, known: u64| n_stuck <= known;
    let mut complete = is_complete(memory.n_stuck, memory.stuck.len() as u64);
    let mut since = None;
    let seen = stuck::of_look(memory, boot_clock);
    if let Some(latest) = &same_boot {
        since = Some(system_time(clock.saturating_sub(boot_clock.saturating_sub(latest.boot_clock))));
        complete &= is_complete(tip.n_stuck, tip.stuck_known);
        // Two checks at once may overtake each other on the way to the file. Only the time since boot tells that surely.
        if latest.by_uptime && latest.uptime > uptime && uptime.is_some() {
            let stuck::Turnover { same, new, gone } = stuck::only_compare(connection, tip, seen)?;
            return Ok(Turnover { since, same, new, gone, complete });
        }
    } else {
        stuck::forget(connection, tip)?;
    }
    let stuck::Turnover { same, new, gone } = stuck::keep(connection, tip, seen)?;
    tip.n_stuck = memory.n_stuck;
    let by_uptime = same_boot.map_or(uptime.is_some(), |latest| latest.by_uptime);
    tip.latest = Some(Latest { boot, clock, uptime, verdict: memory.verdict.clone(), boot_clock, by_uptime });
    Ok(Turnover { since, same, new, gone, complete })
}
