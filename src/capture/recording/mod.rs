//! Recordings: one whole look in one file, to be looked at elsewhere or later.
//!
//! # The format, and why
//! - A recording holds the observations, never a report: rules that are learned later can be applied to it.
//! - It begins with a line of text that names the format and its version, so that `head -1` and `file` can tell what it is.
//!   Sections of one kind of rows each follow, each with checksums of its own (`frame` has the layout). CRC-64 finds every
//!   flipped bit of a section and every burst of up to 64; a general digest would guard against malice no better, since
//!   whoever writes a file writes its digest too.
//! - The rows are lines of JSON with the name of every value beside it (`rows`): they can be read without this program, and
//!   numbers keep all 64 bits. Compression takes the repeated names away again. Sections are cut at some 256 KiB, so that
//!   damage costs one of them.
//! - The head says how many rows of each kind there are. What is lost, by a cut or by damage, is the difference; it becomes a
//!   gap with its number, and the verdict of a report is UNKNOWN, unless something worse is seen in what is left. Owners
//!   come before sockets, so that what a cut leaves of the sockets can be attributed. A last section says that nothing is
//!   missing behind it.
//! - A section of another kind, which a newer closewatch may add, is skipped and named in a gap. What changes the meaning of
//!   a row makes a new version, and a reader refuses a version that it does not know.
//! - Whatever is read is taken for hostile: lengths are bounded before memory is asked for, indexes are checked, and what
//!   contradicts itself is refused.

pub mod frame;
mod read;
mod rows;

use serde::Serialize;

pub use self::frame::is_recording;
use self::frame::{FrameError, Kind, Writer};
pub use self::read::{decode, decode_head};
use self::rows::{
    AnswerRow, CgroupRow, GapRow, GhostRow, Head, HoldingRow, NamespaceRow, ProcessRow, RowCounts, SocketRow,
};
use crate::model::snapshot::{Names, Snapshot};

/// From so many bytes of rows on, a new section is begun.
const SECTION_BYTES: usize = 256 << 10;

/// The most namespaces of a recording. The census keeps some 64 KiB for each.
const MAX_NAMESPACES: usize = 1 << 14;

const HEAD: Kind = Kind(*b"HEAD");
const GAPS: Kind = Kind(*b"GAPS");
const NAMESPACES: Kind = Kind(*b"NETN");
const ANSWERS: Kind = Kind(*b"ANSW");
const PROCESSES: Kind = Kind(*b"PROC");
const HOLDINGS: Kind = Kind(*b"HOLD");
const GHOSTS: Kind = Kind(*b"GHST");
const CGROUPS: Kind = Kind(*b"CGRP");
const SOCKETS: Kind = Kind(*b"SOCK");
const END: Kind = Kind(*b"END.");

/// Why a snapshot cannot be recorded, or a recording not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The frame cannot be opened, or is larger than any that is written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Nothing can be said without this part, and it is not whole.
    #[error("its {part} cannot be read: {why}")]
    PartLost {
        /// Which part: `head`, `namespaces`.
        part: &'static str,
        /// Why: `it is cut short`.
        why: String,
    },
    /// There were sockets, and none of them is left.
    #[error("none of its {sockets} sockets can be read: {why}")]
    NothingLeft {
        /// How many there were.
        sockets: u32,
        /// Why: `it is cut short`.
        why: String,
    },
    /// The checksums fit, and two parts do not agree.
    #[error("it contradicts itself: {0}")]
    Contradiction(&'static str),
    /// More of something than is read or written.
    #[error("it has more {0} than this closewatch reads or writes")]
    TooMany(&'static str),
}

/// The recording of a snapshot, and whether its names are real.
///
/// # Errors
/// When the snapshot is larger than what is read.
pub fn encode(snapshot: &Snapshot, names: Names) -> Result<Vec<u8>, RecordingError> {
    // Every part is named, so that one that is added cannot be forgotten here; `file` says where this one was read.
    let Snapshot {
        taken_at: _,
        host: _,
        source: _,
        namespaces,
        sockets,
        processes,
        holdings,
        scan: _,
        limits: _,
        gaps,
        file: _,
        ghosts,
        cgroups,
    } = snapshot;
    if namespaces.len() > MAX_NAMESPACES {
        return Err(RecordingError::TooMany("network namespaces"));
    }
    let answers = || (0..).zip(namespaces).flat_map(|(at, namespace)| AnswerRow::all_of(at, &namespace.answers));
    let number = |length| u32::try_from(length).map_err(|_| RecordingError::TooMany("rows"));
    let rows = RowCounts {
        gaps: number(gaps.len())?,
        namespaces: number(namespaces.len())?,
        answers: number(answers().count())?,
        processes: number(processes.len())?,
        holdings: number(holdings.len())?,
        ghosts: ghosts.as_ref().map(|scan| number(GhostRow::all_of(scan).count())).transpose()?,
        sockets: number(sockets.len())?,
        cgroups: (!cgroups.is_empty()).then(|| number(cgroups.len())).transpose()?,
    };
    let mut out = Writer::default();
    write_rows(&mut out, HEAD, std::iter::once(Head::new(snapshot, names, rows)))?;
    write_rows(&mut out, GAPS, gaps.iter().map(GapRow::of))?;
    write_rows(&mut out, NAMESPACES, namespaces.iter().map(NamespaceRow::of))?;
    write_rows(&mut out, ANSWERS, answers())?;
    write_rows(&mut out, PROCESSES, processes.iter().map(ProcessRow::of))?;
    write_rows(&mut out, HOLDINGS, holdings.iter().map(HoldingRow::of))?;
    write_rows(&mut out, GHOSTS, ghosts.iter().flat_map(GhostRow::all_of))?;
    write_rows(&mut out, CGROUPS, cgroups.iter().map(CgroupRow::of))?;
    write_rows(&mut out, SOCKETS, sockets.iter().map(SocketRow::of))?;
    out.section(END, 0, &[])?;
    Ok(out.finish())
}

/// Writes rows in as many sections as they take; none for none.
fn write_rows<T: Serialize>(out: &mut Writer, kind: Kind, rows: impl Iterator<Item = T>) -> Result<(), RecordingError> {
    let mut lines = Vec::new();
    let mut first = 0;
    for (nth, row) in (0..).zip(rows) {
        // Memory takes every row, and no row has keys that JSON has no words for.
        serde_json::to_writer(&mut lines, &row).map_err(|_| RecordingError::TooMany("rows"))?;
        lines.push(b'\n');
        if lines.len() >= SECTION_BYTES {
            out.section(kind, first, &lines)?;
            lines.clear();
            first = nth + 1;
        }
    }
    if !lines.is_empty() {
        out.section(kind, first, &lines)?;
    }
    Ok(())
}
