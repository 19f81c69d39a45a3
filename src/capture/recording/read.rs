//! From sections back to a snapshot, or to as much of it as is whole.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::de::DeserializeOwned;

use super::frame::{Fault, Kind, Reader, Section};
use super::rows::{
    AnswerRow, CgroupRow, GapRow, GhostRow, Head, HoldingRow, NamespaceRow, ProcessRow, RowCounts, SocketRow,
};
use super::{
    ANSWERS, CGROUPS, END, GAPS, GHOSTS, HEAD, HOLDINGS, MAX_NAMESPACES, NAMESPACES, PROCESSES, RecordingError, SOCKETS,
};
use crate::model::ghost::GhostScan;
use crate::model::process::{Holding, Process};
use crate::model::snapshot::{Cgroup, Gap, Hides, Host, Namespace, RecordingNote, SavedFile, Snapshot};
use crate::model::socket::SocketRecord;
use crate::model::wording::count;

/// Reads a recording. What of it is lost or cannot be understood is a gap of the snapshot.
///
/// # Errors
/// When it is no recording of this version, contradicts itself, or when nothing to look at is left of it.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, RecordingError> {
    let mut reader = Reader::open(bytes)?;
    let mut found = Found::default();
    while let Some(section) = reader.next_section()? {
        if found.ended {
            found.surplus = true;
            break;
        }
        match section {
            Ok(section) => found.take(&section)?,
            Err(fault) => {
                found.faults.insert(fault);
            }
        }
    }
    found.into_snapshot()
}

/// When a recorded look was taken, and on which host: read from the head alone.
///
/// # Errors
/// When it is no recording of this version, or its head cannot be read.
pub fn decode_head(bytes: &[u8]) -> Result<(SystemTime, Host), RecordingError> {
    let mut reader = Reader::open(bytes)?;
    let mut found = Found::default();
    while found.head.is_none()
        && let Some(section) = reader.next_section()?
    {
        match section {
            Ok(section) => found.take(&section)?,
            Err(fault) => {
                found.faults.insert(fault);
            }
        }
    }
    let why = || if found.faults.is_empty() { "the recording is cut short".to_owned() } else { found.why() };
    let head = found.head.as_ref().ok_or_else(|| RecordingError::PartLost { part: "head", why: why() })?;
    let about = head.about().ok_or(RecordingError::Contradiction("its head has a time that no clock shows"))?;
    Ok((about.taken_at, about.host))
}

/// After so many rows of one section that are not understood, no more of them are tried.
const BAD_ROWS: u32 = 64;

/// The rows of one kind with their numbers, ascending.
struct Rows<T>(Vec<(u32, T)>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What was found in a frame.
#[derive(Default)]
struct Found {
    head: Option<Head>,
    gaps: Rows<Gap>,
    namespaces: Rows<Namespace>,
    answers: Rows<AnswerRow>,
    processes: Rows<Process>,
    holdings: Rows<HoldingRow>,
    ghosts: Rows<GhostRow>,
    cgroups: Rows<Cgroup>,
    sockets: Rows<SocketRow>,
    /// Kinds that this program does not know.
    unknown: Vec<Kind>,
    faults: BTreeSet<Fault>,
    ended: bool,
    /// Whether something stands behind the end.
    surplus: bool,
}

impl<T> Rows<T> {
    /// Adds the rows of one section: one on each line.
    fn extend<R: DeserializeOwned>(
        &mut self,
        section: &Section<'_>,
        faults: &mut BTreeSet<Fault>,
        read: impl Fn(R) -> Option<T>,
    ) -> Result<(), RecordingError> {
        let payload = match section.payload() {
            Ok(payload) => payload,
            Err(fault) => {
                faults.insert(fault);
                return Ok(());
            }
        };
        if self.0.last().is_some_and(|(last, _)| section.first <= *last) {
            return Err(RecordingError::Contradiction("two rows have one number"));
        }
        let mut n_bad = 0;
        let lines = payload.split_inclusive(|byte| *byte == b'\n');
        for (number, line) in (u64::from(section.first)..).zip(lines) {
            let number = u32::try_from(number).map_err(|_| RecordingError::TooMany("rows"))?;
            match serde_json::from_slice(line).ok().and_then(&read) {
                Some(row) => self.0.push((number, row)),
                None => {
                    faults.insert(Fault::NotUnderstood);
                    n_bad += 1;
                }
            }
            if n_bad >= BAD_ROWS {
                break;
            }
        }
        Ok(())
    }

    /// The rows, and how many of those announced are missing.
    fn complete(self, announced: u32) -> Result<(Vec<T>, u32), RecordingError> {
        if self.0.last().is_some_and(|(last, _)| *last >= announced) {
            return Err(RecordingError::Contradiction("there are more rows than it says"));
        }
        let rows: Vec<T> = self.0.into_iter().map(|(_, row)| row).collect();
        // Their numbers ascend and are below the announced one, so there are not more of them.
        let missing = announced - rows.len() as u32;
        Ok((rows, missing))
    }
}

impl Found {
    fn take(&mut self, section: &Section<'_>) -> Result<(), RecordingError> {
        let faults = &mut self.faults;
        match section.kind {
            HEAD => {
                let mut heads = Rows::<Head>::default();
                heads.extend(section, faults, Some)?;
                if self.head.is_some() || heads.0.len() > 1 {
                    return Err(RecordingError::Contradiction("it has two heads"));
                }
                self.head = heads.0.pop().map(|(_, head)| head);
                Ok(())
            }
            GAPS => self.gaps.extend(section, faults, GapRow::read),
            NAMESPACES => self.namespaces.extend(section, faults, NamespaceRow::read),
            ANSWERS => self.answers.extend(section, faults, Some),
            PROCESSES => self.processes.extend(section, faults, ProcessRow::read),
            HOLDINGS => self.holdings.extend(section, faults, Some),
            GHOSTS => self.ghosts.extend(section, faults, Some),
            CGROUPS => self.cgroups.extend(section, faults, CgroupRow::read),
            SOCKETS => self.sockets.extend(section, faults, Some),
            END => {
                self.ended = true;
                Ok(())
            }
            unknown => {
                if !self.unknown.contains(&unknown) {
                    self.unknown.push(unknown);
                }
                Ok(())
            }
        }
    }

    fn into_snapshot(mut self) -> Result<Snapshot, RecordingError> {
        if !self.ended && !self.faults.contains(&Fault::Damaged) {
            self.faults.insert(Fault::Cut);
        }
        let mut losses = Losses { gaps: Vec::new(), why: self.why() };
        losses.of_unknown(&self.unknown, self.surplus);
        let head = self.head.take().ok_or_else(|| losses.of_all("head"))?;
        let about = head.about().ok_or(RecordingError::Contradiction("its head has a time that no clock shows"))?;
        let rows = head.rows;
        let mut namespaces = read_namespaces(self.namespaces, rows.namespaces, &losses)?;
        let (mut gaps, missing) = self.gaps.complete(rows.gaps)?;
        losses.of(missing, rows.gaps, "notes of what was not seen", Hides::Sockets);
        let (answers, _) = self.answers.complete(rows.answers)?;
        let placed = answers.into_iter().filter_map(|row| row.read_into(&mut namespaces)).count();
        losses.of(rows.answers - placed as u32, rows.answers, "answers of the kernel about ports", Hides::Ports);
        let places = Places::of(&self.processes);
        let (processes, holdings) = read_owners(self.processes, self.holdings, rows, &places, &mut losses)?;
        let ghosts = read_ghosts(self.ghosts, rows.ghosts, &places, &mut losses)?;
        let announced = rows.cgroups.unwrap_or(0);
        let (cgroups, missing) = self.cgroups.complete(announced)?;
        losses.of(missing, announced, "cgroups of sockets without a known holder", Hides::Owners);
        let sockets = read_sockets(self.sockets, rows.sockets, namespaces.len(), &mut losses)?;
        if losses.gaps.is_empty() && !self.faults.is_empty() {
            losses.push(
                if self.ended { "a part of the recording" } else { "the end of the recording" },
                Hides::Sockets,
                1,
            );
        }
        gaps.extend(losses.gaps);
        let note = RecordingNote { program: head.program, names: head.names };
        Ok(Snapshot {
            taken_at: about.taken_at,
            host: about.host,
            source: head.source,
            namespaces,
            sockets,
            processes,
            holdings,
            scan: head.scan,
            limits: about.limits,
            gaps,
            file: Some(SavedFile { name: None, recording: Some(note) }),
            ghosts,
            cgroups,
        })
    }

    /// What is wrong with the file, in words; all that can be wrong, when it is not known.
    fn why(&self) -> String {
        let words = |fault: &Fault| match fault {
            Fault::Cut => "the recording is cut short",
            Fault::Damaged => "the recording is damaged: a checksum does not fit",
            Fault::NotUnderstood => "rows of the recording are not understood",
        };
        match self.faults.iter().map(words).collect::<Vec<_>>() {
            none if none.is_empty() => "the recording does not have them".to_owned(),
            some => some.join("; "),
        }
    }
}

fn read_namespaces(rows: Rows<Namespace>, announced: u32, losses: &Losses) -> Result<Vec<Namespace>, RecordingError> {
    if announced as usize > MAX_NAMESPACES {
        return Err(RecordingError::TooMany("network namespaces"));
    }
    match rows.complete(announced)? {
        (namespaces, 0) => Ok(namespaces),
        _ => Err(losses.of_all("list of network namespaces")),
    }
}

/// Where each process that was read stands: one that is lost moves those behind it.
struct Places(Vec<u32>);

impl Places {
    fn of(processes: &Rows<Process>) -> Self {
        Self(processes.0.iter().map(|(number, _)| *number).collect())
    }

    fn find(&self, number: u32) -> Option<u32> {
        self.0.binary_search(&number).ok().map(|at| at as u32)
    }
}

/// What the search for ghosts found; `None` when there was none.
fn read_ghosts(
    rows: Rows<GhostRow>,
    announced: Option<u32>,
    places: &Places,
    losses: &mut Losses,
) -> Result<Option<GhostScan>, RecordingError> {
    let (rows, _) = rows.complete(announced.unwrap_or(0))?;
    let Some(announced) = announced else { return Ok(None) };
    let mut scan = GhostScan::default();
    let read = rows.into_iter().filter_map(|row| row.read_into(&mut scan, |number| places.find(number))).count();
    losses.of(announced - read as u32, announced, "descriptors of connections that are over", Hides::Ghosts);
    Ok(Some(scan))
}

/// The processes that were read, and what they hold.
fn read_owners(
    processes: Rows<Process>,
    holdings: Rows<HoldingRow>,
    announced: RowCounts,
    places: &Places,
    losses: &mut Losses,
) -> Result<(Vec<Process>, Vec<Holding>), RecordingError> {
    let (processes, missing) = processes.complete(announced.processes)?;
    losses.of(missing, announced.processes, "processes", Hides::Owners);
    let (rows, _) = holdings.complete(announced.holdings)?;
    let holdings: Vec<Holding> = rows.into_iter().filter_map(|row| row.read(|number| places.find(number))).collect();
    let missing = announced.holdings - holdings.len() as u32;
    losses.of(missing, announced.holdings, "descriptors of sockets", Hides::Owners);
    Ok((processes, holdings))
}

fn read_sockets(
    rows: Rows<SocketRow>,
    announced: u32,
    namespaces: usize,
    losses: &mut Losses,
) -> Result<Vec<SocketRecord>, RecordingError> {
    let (rows, _) = rows.complete(announced)?;
    let sockets: Vec<SocketRecord> = rows.into_iter().filter_map(|row| row.read(namespaces)).collect();
    if sockets.is_empty() && announced > 0 {
        return Err(RecordingError::NothingLeft { sockets: announced, why: losses.why.clone() });
    }
    losses.of(announced - sockets.len() as u32, announced, "sockets, and the ports that they hold", Hides::Sockets);
    Ok(sockets)
}

/// The gaps that lost rows leave.
struct Losses {
    gaps: Vec<Gap>,
    why: String,
}

impl Losses {
    fn of(&mut self, missing: u32, announced: u32, what: &str, hides: Hides) {
        if missing > 0 {
            let what = format!("{} of {} {what}", count(missing.into()), count(announced.into()));
            self.push(&what, hides, missing);
        }
    }

    fn of_all(&self, part: &'static str) -> RecordingError {
        RecordingError::PartLost { part, why: self.why.clone() }
    }

    /// What this program does not know may be of any kind.
    fn of_unknown(&mut self, unknown: &[Kind], surplus: bool) {
        let gap = |what: String, why: &str| Gap { what, why: why.to_owned(), hides: Hides::Sockets, count: 1 };
        for Kind(name) in unknown {
            let what = format!("the part {} of the recording", name.escape_ascii());
            self.gaps.push(gap(what, "this closewatch does not know it: a newer one wrote it"));
        }
        if surplus {
            self.gaps
                .push(gap("what stands behind the end of the recording".to_owned(), "it is no part of the recording"));
        }
    }

    fn push(&mut self, what: &str, hides: Hides, missing: u32) {
        self.gaps.push(Gap { what: what.to_owned(), why: self.why.clone(), hides, count: missing.into() });
    }
}
