//! The file as SQLite has it: how it is opened, its tables, and how older files become newer ones.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::Fault;
use super::patience::Patience;
use super::tip::{self, Tip};
use super::upkeep::MOST_PAGES;

/// Says in the header of the file whose it is: "clwa".
const APPLICATION_ID: i64 = 0x636c_7761;

/// Each makes the next version of the one before; the first begins with an empty file. They only ever grow in number.
const MIGRATIONS: [&str; tip::VERSION as usize] = ["
    CREATE TABLE tip (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE name (
        id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, used INTEGER NOT NULL, kept INTEGER NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX name_by_hash ON name (hash);
    CREATE TABLE look (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE hour (first INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE hour_points (first INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE stuck (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
"];

/// The newest version.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Pages that are written ahead before they are put in place; what is written ahead is cut back to about as much.
const AHEAD_PAGES: i64 = 256;
const AHEAD_BYTES: i64 = AHEAD_PAGES * 4_096;

/// More than there are different ones in the sources.
const STATEMENTS: usize = 40;

/// Opens a file that is there for writing, and makes the tables when it is empty.
pub(super) fn open_for_writing(path: &Path, patience: Patience) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection, patience)?;
    check(&connection)?;
    write_ahead(&connection, patience)?;
    // After a crash of the machine the last looks may be gone; what is there is whole.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", AHEAD_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", AHEAD_BYTES, |_| Ok(()))?;
    // Freed pages are used again: the file need not shrink, it must not grow.
    connection.pragma_update_and_check(None, "max_page_count", MOST_PAGES as i64, |_| Ok(()))?;
    patience.grant(&connection)?;
    migrate(connection)
}

/// Opens a file for reading only.
pub(super) fn open_for_reading(path: &Path, patience: Patience) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    reader(Connection::open_with_flags(path, flags)?, patience)
}

/// Opens a file that nobody can write to, without locks and without a place for them. What was written ahead beside it is
/// not read: the caller sees to it that there is none.
pub(super) fn open_unchanging(path: &Path, patience: Patience) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = "file:".to_owned();
    for character in path.display().to_string().chars() {
        match character {
            '%' | '?' | '#' => uri.push_str(&format!("%{:02x}", character as u32)),
            _ => uri.push(character),
        }
    }
    uri.push_str("?immutable=1");
    reader(Connection::open_with_flags(uri, flags)?, patience)
}

fn reader(connection: Connection, patience: Patience) -> Result<Connection, Fault> {
    set_up(&connection, patience)?;
    check(&connection)?;
    Ok(connection)
}

/// What every connection needs: patience, and no trust in what a damaged file says its schema is.
fn set_up(connection: &Connection, patience: Patience) -> Result<(), Fault> {
    patience.grant(connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// Whether the file is ours, of a version that is known, and whole as far as its header and its schema tell.
fn check(connection: &Connection) -> Result<(), Fault> {
    // Another may be making the tables: all must be read of one moment.
    let connection = &connection.unchecked_transaction()?;
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    let ours = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('tip', 'name_by_hash')",
        [],
        |row| row.get::<_, i64>(0),
    )?;
    let all: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if all == 0 && application == 0 && version == 0 {
        // SQLite takes a file that is cut within its first page for an empty one. Nobody writes to it while this is read.
        let length = connection.path().and_then(|path| std::fs::symlink_metadata(path).ok()).map(|there| there.len());
        return if length.is_some_and(|length| (1..512).contains(&length)) {
            Err(Fault::Damage("it is cut within its first page"))
        } else {
            Ok(())
        };
    }
    if application != APPLICATION_ID {
        return Err(if ours == 2 { Fault::Damage("its header says that it is not ours") } else { Fault::Foreign });
    }
    if version == VERSION {
        return Ok(());
    }
    // The version is a number without a checksum: it is believed when the row that has one says no other.
    let is_damage = version <= 0 || Tip::version(connection).is_some_and(|sealed| sealed as i64 != version);
    Err(if is_damage {
        Fault::Damage("its header has another version than its content")
    } else {
        Fault::Newer(version)
    })
}

/// Two that turn a fresh file to writing ahead at once cannot wait for each other: SQLite tells both to try again.
fn write_ahead(connection: &Connection, patience: Patience) -> Result<(), Fault> {
    let (start, longest) = (Instant::now(), patience.left());
    loop {
        patience.grant(connection)?;
        let mode = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode.map_err(Fault::from) {
            Ok(_) => return Ok(()),
            Err(fault) if fault.is_busy() && start.elapsed() < longest => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fault) => return Err(fault),
        }
    }
}

fn migrate(mut connection: Connection) -> Result<Connection, Fault> {
    let version_of =
        |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    if version_of(&connection)? == VERSION {
        return Ok(connection);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another may have done it while this one waited.
    let version = version_of(&transaction)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    if version == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        Tip::default().write(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(connection)
}
