//! The frame: one line that names the format, then sections that are checked one by one.
//!
//! ```text
//! closewatch.recording/1\n
//! section*     kind      4 bytes, ASCII
//!              first     u32, the number of its first row among the rows of its kind
//!              raw       u32, length of the payload before compression
//!              stored    u32, length of the payload as it is stored
//!              payload   CRC-64/XZ of the stored payload
//!              header    CRC-64/XZ of the 24 bytes before
//!              the stored payload: a raw DEFLATE stream (RFC 1951)
//! ```
//!
//! Numbers are little-endian. The header has a checksum of its own, so that no length is believed that was not written; with
//! a whole header and a damaged payload, the sections behind it can still be read.

use std::io::{self, Read, Write};

use crc::{CRC_64_XZ, Crc, Table};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// The version that is written. A reader of this version reads no other.
pub const VERSION: u32 = 1;

/// What every version begins with; its number and a line feed follow.
const NAME: &[u8] = b"closewatch.recording/";

/// The most digits that the number of a version has.
const VERSION_DIGITS: usize = 10;

const HEADER_BYTES: usize = 32;
const CHECKED_BYTES: usize = HEADER_BYTES - 8;

/// The longest payload of one section, before compression.
pub const MAX_SECTION_BYTES: usize = 16 << 20;

/// The most that all payloads may come to: more than a million sockets. DEFLATE makes a thousand bytes of one; a file that was
/// made to fill the memory is given up here.
pub const MAX_TOTAL_BYTES: u64 = 512 << 20;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// What the rows of a section are: four ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub [u8; 4]);

/// Why the frame ends before its end, or cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The file ends within its first line.
    #[error("it is cut short within its first line")]
    CutName,
    /// The first line is that of a recording, but for the number of its version.
    #[error("its first line is damaged")]
    BadName,
    /// A version that this program does not know.
    #[error("it has version {found} of the format, and this closewatch reads version {VERSION}")]
    Version {
        /// Its number.
        found: u32,
    },
    /// The payloads come to more than is ever written.
    #[error("it holds more than {} MiB, which is more than this closewatch reads or writes", MAX_TOTAL_BYTES >> 20)]
    TooLarge,
}

/// What is wrong with one place of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The file ends within a section, or before the last one.
    Cut,
    /// A checksum does not fit.
    Damaged,
    /// The checksums fit, and the content is not what this program writes.
    NotUnderstood,
}

/// A section whose header is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What its rows are.
    pub kind: Kind,
    /// The number of its first row.
    pub first: u32,
    raw_bytes: usize,
    stored: &'a [u8],
}

/// Whether the bytes begin as a recording of any version does, as far as they go.
#[must_use]
pub fn is_recording(bytes: &[u8]) -> bool {
    let length = bytes.len().min(NAME.len());
    !bytes.is_empty() && bytes[..length] == NAME[..length]
}

/// Writes a frame.
pub struct Writer {
    out: Vec<u8>,
    raw_bytes: u64,
}

impl Default for Writer {
    fn default() -> Self {
        let mut out = NAME.to_vec();
        out.extend_from_slice(format!("{VERSION}\n").as_bytes());
        Self { out, raw_bytes: 0 }
    }
}

impl Writer {
    /// Adds a section.
    ///
    /// # Errors
    /// When the payload, or all of them together, are more than a reader takes.
    pub fn section(&mut self, kind: Kind, first: u32, raw: &[u8]) -> Result<(), FrameError> {
        self.raw_bytes += raw.len() as u64;
        if raw.len() > MAX_SECTION_BYTES || self.raw_bytes > MAX_TOTAL_BYTES {
            return Err(FrameError::TooLarge);
        }
        // Memory takes what is written to it.
        let stored = deflate(raw).map_err(|_| FrameError::TooLarge)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&kind.0);
        for number in [first, raw.len() as u32, stored.len() as u32] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&CHECKSUM.checksum(&stored).to_le_bytes());
        header.extend_from_slice(&CHECKSUM.checksum(&header).to_le_bytes());
        self.out.extend_from_slice(&header);
        self.out.extend_from_slice(&stored);
        Ok(())
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads a frame, section by section.
pub struct Reader<'a> {
    rest: &'a [u8],
    raw_bytes: u64,
}

impl<'a> Reader<'a> {
    /// Reads the first line.
    ///
    /// # Errors
    /// When it is not that of this version.
    pub fn open(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let rest = bytes.strip_prefix(NAME).ok_or(FrameError::CutName)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(VERSION_DIGITS).count();
        match rest.get(digits) {
            None => return Err(FrameError::CutName),
            Some(b'\n') => {}
            Some(_) => return Err(FrameError::BadName),
        }
        let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse().ok());
        match number.ok_or(FrameError::BadName)? {
            VERSION => Ok(Self { rest: &rest[digits + 1..], raw_bytes: 0 }),
            found => Err(FrameError::Version { found }),
        }
    }

    /// The next section, or what is wrong with it: after [`Fault::Damaged`] reading may go on; `None` at the end, and when
    /// nothing behind a damaged place can be told apart.
    ///
    /// # Errors
    /// When the payloads come to more than a reader takes.
    pub fn next_section(&mut self) -> Result<Option<Result<Section<'a>, Fault>>, FrameError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some((header, rest)) = self.rest.split_at_checked(HEADER_BYTES) else {
            return Ok(self.give_up(Fault::Cut));
        };
        if number_at(header, CHECKED_BYTES) != CHECKSUM.checksum(&header[..CHECKED_BYTES]) {
            return Ok(self.give_up(Fault::Damaged));
        }
        let [first, raw, stored] = [4, 8, 12].map(|at| number_at(header, at) as u32);
        self.raw_bytes += u64::from(raw);
        if raw as usize > MAX_SECTION_BYTES || self.raw_bytes > MAX_TOTAL_BYTES {
            return Err(FrameError::TooLarge);
        }
        let Some((stored, rest)) = rest.split_at_checked(stored as usize) else {
            return Ok(self.give_up(Fault::Cut));
        };
        self.rest = rest;
        if number_at(header, 16) != CHECKSUM.checksum(stored) {
            return Ok(Some(Err(Fault::Damaged)));
        }
        let kind = Kind([header[0], header[1], header[2], header[3]]);
        Ok(Some(Ok(Section { kind, first, raw_bytes: raw as usize, stored })))
    }

    fn give_up(&mut self, fault: Fault) -> Option<Result<Section<'a>, Fault>> {
        self.rest = &[];
        Some(Err(fault))
    }
}

impl Section<'_> {
    /// The payload. What decompresses to another length than the header says, or not at all, is not understood: no more than
    /// that length is ever made of it.
    ///
    /// # Errors
    /// Always [`Fault::NotUnderstood`].
    pub fn payload(&self) -> Result<Vec<u8>, Fault> {
        let mut raw = Vec::new();
        let bound = self.raw_bytes as u64 + 1;
        let inflated = DeflateDecoder::new(self.stored).take(bound).read_to_end(&mut raw);
        match inflated {
            Ok(length) if length == self.raw_bytes => Ok(raw),
            _ => Err(Fault::NotUnderstood),
        }
    }
}

fn deflate(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(raw)?;
    encoder.finish()
}

/// Eight bytes, of which the caller may need the first four only. The place is within the header.
fn number_at(header: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind(*b"TEST");

    fn written(payloads: &[&[u8]]) -> Vec<u8> {
        let mut writer = Writer::default();
        for (nth, payload) in payloads.iter().enumerate() {
            writer.section(KIND, nth as u32, payload).expect("small");
        }
        writer.finish()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Result<Vec<u8>, Fault>>, FrameError> {
        let mut reader = Reader::open(bytes)?;
        let mut payloads = Vec::new();
        while let Some(section) = reader.next_section()? {
            payloads.push(section.and_then(|section| section.payload()));
        }
        Ok(payloads)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written(&[b"one", b"", &[7; 100_000]]);
        assert!(bytes.starts_with(b"closewatch.recording/1\n") && bytes.len() < 500, "{} bytes", bytes.len());
        assert_eq!(read(&bytes), Ok(vec![Ok(b"one".to_vec()), Ok(Vec::new()), Ok(vec![7; 100_000])]));
    }

    #[test]
    fn a_damaged_payload_costs_one_section_and_a_damaged_header_the_rest() {
        let bytes = written(&[b"one", b"two"]);
        let name = NAME.len() + 2;
        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            read(&bytes)
        };
        assert_eq!(flipped(name + HEADER_BYTES), Ok(vec![Err(Fault::Damaged), Ok(b"two".to_vec())]));
        for at in name..name + HEADER_BYTES {
            assert_eq!(flipped(at), Ok(vec![Err(Fault::Damaged)]), "byte {at}");
        }
        assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(vec![Ok(b"one".to_vec()), Err(Fault::Cut)]));
    }

    #[test]
    fn the_first_line_decides() {
        assert_eq!(read(b"closewatch.recording/2\n"), Err(FrameError::Version { found: 2 }));
        assert_eq!(read(b"closewatch.recording/01\n"), Ok(vec![]));
        for wrong in
            [&b"closewatch.recording/\n"[..], b"closewatch.recording/1x", b"closewatch.recording/99999999999\n"]
        {
            assert_eq!(read(wrong), Err(FrameError::BadName), "{}", String::from_utf8_lossy(wrong));
        }
        for cut in [&b"closewatch.rec"[..], b"closewatch.recording/", b"closewatch.recording/1"] {
            assert_eq!(read(cut), Err(FrameError::CutName), "{}", String::from_utf8_lossy(cut));
            assert!(is_recording(cut));
        }
        assert!(!is_recording(b"") && !is_recording(b"State Recv-Q") && !is_recording(b"closewatch.report/1"));
    }

    #[test]
    fn a_length_is_a_promise_and_no_more_is_made_of_a_payload() {
        let bomb = deflate(&vec![0; 1 << 20]).expect("memory");
        for raw_bytes in [0, 1, (1 << 20) - 1, (1 << 20) + 1] {
            let section = Section { kind: KIND, first: 0, raw_bytes, stored: &bomb };
            assert_eq!(section.payload(), Err(Fault::NotUnderstood), "{raw_bytes}");
        }
        let stored = b"no stream";
        assert_eq!(Section { kind: KIND, first: 0, raw_bytes: 9, stored }.payload(), Err(Fault::NotUnderstood));
    }

    #[test]
    fn more_than_a_reader_takes_is_neither_written_nor_read() {
        let mut writer = Writer::default();
        assert_eq!(writer.section(KIND, 0, &vec![0; MAX_SECTION_BYTES + 1]), Err(FrameError::TooLarge));
        let section = written(&[&vec![0; MAX_SECTION_BYTES]]).split_off(NAME.len() + 2);
        let mut bytes = written(&[]);
        for _ in 0..=MAX_TOTAL_BYTES / MAX_SECTION_BYTES as u64 {
            bytes.extend_from_slice(&section);
        }
        let mut reader = Reader::open(&bytes).expect("a first line");
        let error = loop {
            match reader.next_section() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a reader takes no more than its bound"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, FrameError::TooLarge);
    }
}
