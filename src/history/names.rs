//! Names are stored once: every row says a number for a program, a run of it, a pool, a namespace or a boot.
//!
//! A name is kept while a look or an hour may say its number: `used` is the hour of the store's life in which a look last
//! said it, `kept` that of the last hour of looks that was folded with it. What is older than the oldest of both goes.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension, params};

use super::bytes::{Packer, Seal, Torn, Unpacker, hash};
use super::fault::Fault;
use crate::model::past::{PoolName, Service};
use crate::model::process::ProcessKey;
use crate::model::tuple::Endpoint;

/// The number of a name. Zero is no name's, and none is given twice.
pub(super) type NameId = u64;

/// What rows have a number for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Boot(String),
    NetNs(String),
    Service(Service),
    Run(Run),
    Pool(PoolName),
}

/// One process that was a program for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) service: NameId,
    pub(super) boot: Option<NameId>,
    pub(super) key: ProcessKey,
}

impl Name {
    fn packed(&self) -> Vec<u8> {
        let mut out = Packer::with_room(128);
        match self {
            Self::Boot(id) => {
                out.number(1);
                out.text(id);
            }
            Self::NetNs(name) => {
                out.number(2);
                out.text(name);
            }
            Self::Service(service) => {
                out.number(3);
                let Service { name, exe, unit, container, netns } = service;
                out.text(name);
                for part in [exe, unit, container] {
                    out.number(u64::from(part.is_some()));
                    out.text(part.as_deref().unwrap_or_default());
                }
                out.text(netns);
            }
            Self::Run(Run { service, boot, key }) => {
                out.number(4);
                out.number(*service);
                out.optional(*boot);
                out.number(u64::from(key.pid));
                out.number(key.start_ticks);
            }
            Self::Pool(PoolName { netns, source, destination }) => {
                out.number(5);
                out.text(netns);
                pack_address(&mut out, *source);
                pack_address(&mut out, destination.address);
                out.number(u64::from(destination.port));
            }
        }
        out.into_bytes()
    }

    fn read(row: &mut Unpacker) -> Result<Self, Torn> {
        Ok(match row.number()? {
            1 => Self::Boot(row.text()?),
            2 => Self::NetNs(row.text()?),
            3 => {
                let name = row.text()?;
                let mut part = || Ok::<_, Torn>((row.flag()?, row.text()?));
                let [exe, unit, container] = [part()?, part()?, part()?].map(|(known, text)| known.then_some(text));
                Self::Service(Service { name, exe, unit, container, netns: row.text()? })
            }
            4 => {
                let (service, boot) = (row.number()?, row.optional()?);
                let pid = u32::try_from(row.number()?).map_err(|_| Torn)?;
                Self::Run(Run { service, boot, key: ProcessKey { pid, start_ticks: row.number()? } })
            }
            5 => {
                let netns = row.text()?;
                let (source, address) = (read_address(row)?, read_address(row)?);
                let port = u16::try_from(row.number()?).map_err(|_| Torn)?;
                Self::Pool(PoolName { netns, source, destination: Endpoint { address, port } })
            }
            _ => return Err(Torn),
        })
    }
}

fn pack_address(out: &mut Packer, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.number(4);
            out.bytes(&address.octets());
        }
        IpAddr::V6(address) => {
            out.number(6);
            out.bytes(&address.octets());
        }
    }
}

fn read_address(row: &mut Unpacker) -> Result<IpAddr, Torn> {
    match row.number()? {
        4 => Ok(IpAddr::from(row.byte_array::<4>()?)),
        6 => Ok(IpAddr::from(row.byte_array::<16>()?)),
        _ => Err(Torn),
    }
}

fn sealed(packed: &[u8], id: NameId) -> Vec<u8> {
    let mut out = Packer::with_room(packed.len() + 16);
    out.bytes(packed);
    out.sealed(Seal::Name, id)
}

/// Every name that there is, by its number.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<NameId, Name, RandomState>);

impl Names {
    pub(super) fn read(connection: &Connection) -> Result<Self, Fault> {
        let mut statement = connection.prepare("SELECT id, body FROM name")?;
        let mut rows = statement.query([])?;
        let mut names = HashMap::default();
        while let Some(row) = rows.next()? {
            let id = row.get::<_, i64>(0)? as u64;
            names.insert(id, opened(id, row.get_ref(1)?.as_blob().map_err(|_| Torn)?)?);
        }
        Ok(Self(names))
    }

    pub(super) fn boot(&self, id: NameId) -> Result<&str, Fault> {
        match self.0.get(&id) {
            Some(Name::Boot(boot)) => Ok(boot),
            _ => Err(NO_SUCH_NAME),
        }
    }

    pub(super) fn netns(&self, id: NameId) -> Result<&str, Fault> {
        match self.0.get(&id) {
            Some(Name::NetNs(name)) => Ok(name),
            _ => Err(NO_SUCH_NAME),
        }
    }

    pub(super) fn service(&self, id: NameId) -> Result<&Service, Fault> {
        match self.0.get(&id) {
            Some(Name::Service(service)) => Ok(service),
            _ => Err(NO_SUCH_NAME),
        }
    }

    pub(super) fn run(&self, id: NameId) -> Result<Run, Fault> {
        match self.0.get(&id) {
            Some(Name::Run(run)) => Ok(*run),
            _ => Err(NO_SUCH_NAME),
        }
    }

    pub(super) fn pool(&self, id: NameId) -> Result<&PoolName, Fault> {
        match self.0.get(&id) {
            Some(Name::Pool(pool)) => Ok(pool),
            _ => Err(NO_SUCH_NAME),
        }
    }
}

const NO_SUCH_NAME: Fault = Fault::Damage("a row has a name that is not there");

fn opened(id: NameId, sealed: &[u8]) -> Result<Name, Fault> {
    let mut row = Unpacker::open(Seal::Name, id, sealed)?;
    // The length before it serves the comparison of packed names only.
    row.number()?;
    let name = Name::read(&mut row)?;
    row.finish()?;
    Ok(name)
}

/// The names as they are said and learnt within one transaction.
#[derive(Debug)]
pub(super) struct Dictionary<'c> {
    connection: &'c Connection,
    /// What the next new name is called.
    pub(super) next: NameId,
    /// The hour of the store's life.
    pub(super) hour: i64,
    said: HashMap<Vec<u8>, Said, RandomState>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    id: NameId,
    used: i64,
}

impl<'c> Dictionary<'c> {
    pub(super) fn new(connection: &'c Connection, next: NameId) -> Self {
        Self { connection, next, hour: 0, said: HashMap::default() }
    }

    /// The number of the name, a new one when it has none, and that it was used in this hour.
    pub(super) fn say(&mut self, name: &Name) -> Result<NameId, Fault> {
        let packed = name.packed();
        let known = match self.said.get(&packed) {
            Some(said) => Some(*said),
            None => self.find(&packed)?,
        };
        let said = match known {
            Some(said) if said.used == self.hour => said,
            Some(Said { id, .. }) => {
                let mut update = self.connection.prepare_cached("UPDATE name SET used = ?2 WHERE id = ?1")?;
                update.execute(params![id as i64, self.hour])?;
                Said { id, used: self.hour }
            }
            None => self.learn(&packed)?,
        };
        self.said.insert(packed, said);
        Ok(said.id)
    }

    fn find(&self, packed: &[u8]) -> Result<Option<Said>, Fault> {
        let mut statement = self.connection.prepare_cached("SELECT id, used, body FROM name WHERE hash = ?1")?;
        let mut rows = statement.query([hash(packed)])?;
        while let Some(row) = rows.next()? {
            let (id, used) = (row.get::<_, i64>(0)? as u64, row.get(1)?);
            // Names that strangers chose may be made to share a hash: the bytes decide.
            if row.get_ref(2)?.as_blob().map_err(|_| Torn)? == sealed(packed, id) {
                return Ok(Some(Said { id, used }));
            }
        }
        Ok(None)
    }

    fn learn(&mut self, packed: &[u8]) -> Result<Said, Fault> {
        let id = self.next;
        self.next += 1;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO name (id, hash, used, kept, body) VALUES (?1, ?2, ?3, -1, ?4)")?;
        insert.execute(params![id as i64, hash(packed), self.hour, sealed(packed, id)])?;
        Ok(Said { id, used: self.hour })
    }

    /// The run with this number.
    pub(super) fn run(&self, id: NameId) -> Result<Run, Fault> {
        let mut select = self.connection.prepare_cached("SELECT body FROM name WHERE id = ?1")?;
        let body: Option<Vec<u8>> = select.query_row([id as i64], |row| row.get(0)).optional()?;
        match opened(id, &body.ok_or(NO_SUCH_NAME)?)? {
            Name::Run(run) => Ok(run),
            _ => Err(NO_SUCH_NAME),
        }
    }

    /// That an hour that ended in this hour of the store's life says the number.
    pub(super) fn keep(&self, id: NameId, hour: i64) -> Result<(), Fault> {
        let mut update = self.connection.prepare_cached("UPDATE name SET kept = ?2 WHERE id = ?1 AND kept < ?2")?;
        update.execute(params![id as i64, hour])?;
        Ok(())
    }

    /// Forgets the names that neither a look since one hour of the store's life nor an hour since another says.
    pub(super) fn forget(&mut self, looks_since: i64, hours_since: i64) -> Result<(), Fault> {
        let mut delete = self.connection.prepare_cached("DELETE FROM name WHERE used < ?1 AND kept < ?2")?;
        if delete.execute([looks_since, hours_since])? > 0 {
            self.said.retain(|_, said| said.used >= looks_since);
        }
        Ok(())
    }
}
