//! How rows are packed: numbers of as few bytes as they need, and a checksum behind them. SQLite has none of its own.

use crc::{CRC_64_XZ, Crc, Table};

use super::fault::Fault;

static CHECKSUM: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);
const CHECKSUM_BYTES: usize = 8;

/// What a sealed row is. It goes into the checksum, so that a row is not taken for one of another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    Tip = 1,
    Name = 2,
    Look = 3,
    Hour = 4,
    HourPoints = 5,
    Stuck = 6,
}

/// A row is not what this program writes, though its checksum may fit. It has no content: numbers are read by the hundred
/// thousand, and each comes with the place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn;

impl From<Torn> for Fault {
    fn from(Torn: Torn) -> Self {
        Self::Damage("a row is not what was ever written")
    }
}

/// A row that is being packed.
#[derive(Debug, Default)]
pub(super) struct Packer(Vec<u8>);

impl Packer {
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow (LEB128).
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// The number in so many bytes, the lowest first; those above them are zeros.
    pub(super) fn fixed(&mut self, number: u64, width: usize) {
        self.0.extend_from_slice(&number.to_le_bytes()[..width]);
    }

    /// The sign becomes the lowest bit: small numbers stay short on both sides of zero.
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    /// One more than the number, or zero.
    pub(super) fn optional(&mut self, number: Option<u64>) {
        // The greatest number of all is not worth a form of its own.
        self.number(number.map_or(0, |number| number.saturating_add(1)));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The row with its checksum, for this place of that table.
    pub(super) fn sealed(mut self, seal: Seal, id: u64) -> Vec<u8> {
        let checksum = checksum(seal, id, &self.0);
        self.0.extend_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// A row that is being read.
#[derive(Debug)]
pub(super) struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// What was sealed for this place, or that it is damaged.
    pub(super) fn open(seal: Seal, id: u64, bytes: &'a [u8]) -> Result<Self, Fault> {
        let split = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(Fault::Damage("a row is cut"))?;
        let (packed, stored) = bytes.split_at(split);
        if checksum(seal, id, packed).to_le_bytes() != *stored {
            return Err(Fault::Damage("the checksum of a row does not fit"));
        }
        Ok(Self(packed))
    }

    /// A part of a row, as it was packed.
    #[cfg(test)]
    pub(super) fn unsealed(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, Torn> {
        // Most numbers have one byte to three: by so much counts change that go up to the number of ports.
        match self.0 {
            [low, rest @ ..] if *low < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*low))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*low & 0x7F) | u64::from(*high) << 7)
            }
            [low, middle, high, rest @ ..] if *high < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*low & 0x7F) | u64::from(*middle & 0x7F) << 7 | u64::from(*high) << 14)
            }
            _ => self.long_number(),
        }
    }

    #[cold]
    fn long_number(&mut self) -> Result<u64, Torn> {
        let mut number = 0;
        for (nth, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7F) << (7 * nth);
            if byte & 0x80 == 0 {
                self.0 = &self.0[nth + 1..];
                return Ok(number);
            }
        }
        Err(Torn)
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, Torn> {
        let folded = self.number()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// As many numbers of so many bytes as there are places.
    #[inline]
    pub(super) fn fixed<const N: usize>(
        &mut self,
        places: &mut [u64],
        number: impl Fn([u8; N]) -> u64,
    ) -> Result<(), Torn> {
        let (fixed, rest) = self.0.split_at_checked(places.len() * N).ok_or(Torn)?;
        self.0 = rest;
        let (numbers, _) = fixed.as_chunks();
        places.iter_mut().zip(numbers).for_each(|(place, bytes)| *place = number(*bytes));
        Ok(())
    }

    #[inline]
    pub(super) fn optional(&mut self) -> Result<Option<u64>, Torn> {
        Ok(self.number()?.checked_sub(1))
    }

    #[inline]
    pub(super) fn flag(&mut self) -> Result<bool, Torn> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Torn),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Torn> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Torn)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Torn)
    }

    pub(super) fn byte_array<const N: usize>(&mut self) -> Result<[u8; N], Torn> {
        if self.number()? != N as u64 {
            return Err(Torn);
        }
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Torn)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// As many rows as the next number says. No more room is taken than the bytes that are left can fill.
    pub(super) fn list<T>(&mut self, mut row: impl FnMut(&mut Self) -> Result<T, Torn>) -> Result<Vec<T>, Torn> {
        let count = self.number()? as usize;
        if count > self.0.len() {
            return Err(Torn);
        }
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(row(self)?);
        }
        Ok(rows)
    }

    /// Nothing may be left over.
    pub(super) fn finish(self) -> Result<(), Torn> {
        if self.0.is_empty() { Ok(()) } else { Err(Torn) }
    }
}

fn checksum(seal: Seal, id: u64, packed: &[u8]) -> u64 {
    let mut digest = CHECKSUM.digest();
    digest.update(&[seal as u8]);
    digest.update(&id.to_le_bytes());
    digest.update(packed);
    digest.finalize()
}

/// A number that names with the same bytes share.
pub(super) fn hash(bytes: &[u8]) -> i64 {
    CHECKSUM.checksum(bytes) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_a_row_of_another_place_is_refused() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let signed = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN];
        let mut packer = Packer::default();
        numbers.into_iter().for_each(|number| packer.number(number));
        signed.into_iter().for_each(|number| packer.signed(number));
        [None, Some(0), Some(u64::MAX)].into_iter().for_each(|number| packer.optional(number));
        packer.text("größer");
        let row = packer.sealed(Seal::Look, 7);

        let mut unpacker = Unpacker::open(Seal::Look, 7, &row).expect("whole");
        assert!(numbers.into_iter().all(|number| unpacker.number().expect("a number") == number));
        assert!(signed.into_iter().all(|number| unpacker.signed().expect("a number") == number));
        let optional = [(); 3].map(|()| unpacker.optional().expect("a number"));
        assert_eq!(optional, [None, Some(0), Some(u64::MAX - 1)]);
        assert_eq!(unpacker.text().expect("text"), "größer");
        unpacker.finish().expect("nothing left");

        assert!(Unpacker::open(Seal::Look, 8, &row).is_err());
        assert!(Unpacker::open(Seal::Hour, 7, &row).is_err());
        for nth in 0..row.len() {
            assert!(Unpacker::open(Seal::Look, 7, &row[..nth]).is_err(), "cut at {nth}");
            let mut changed = row.clone();
            changed[nth] ^= 0x10;
            assert!(Unpacker::open(Seal::Look, 7, &changed).is_err(), "changed at {nth}");
        }
    }

    #[test]
    fn a_list_takes_no_more_room_than_its_bytes_can_fill() {
        let mut packer = Packer::default();
        packer.number(u64::MAX >> 1);
        let bytes = packer.into_bytes();
        assert!(Unpacker(&bytes).list(Unpacker::number).is_err());
        assert!(Unpacker(&[0x80; 20]).number().is_err());
    }
}
