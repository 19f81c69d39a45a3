//! Room for many rows, made while something else has to be waited for.
//!
//! The first touch of each page of 4 KiB costs a microsecond, on a virtual machine three and more: of 60,000 rows more than
//! decoding them. So the kernel is asked for large pages, and the pages are touched by a thread that has nothing else to do.

use std::ffi::c_void;
use std::ptr;

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// The usual size of a large page: smaller room is not worth the calls. Also how much is touched in one call, which keeps
/// the other threads from changing the map of the memory.
const PIECE: usize = 2 * 1024 * 1024;

/// Where the room is that a list has not used yet. It may be stale: nothing is read or written through it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    start: usize,
    bytes: usize,
}

/// An empty list with room for so many, and where that is.
pub(super) fn room_for<T>(count: usize) -> (Vec<T>, Room) {
    let list = Vec::<T>::with_capacity(count);
    let (start, bytes) = (list.as_ptr() as usize, list.capacity() * size_of::<T>());
    let skipped = start.next_multiple_of(page_size()) - start;
    let whole = bytes.saturating_sub(skipped) / page_size() * page_size();
    let room = Room { start: start + skipped, bytes: if whole < PIECE { 0 } else { whole } };
    if room.bytes > 0 {
        // Transparent large pages are given on request by most distributions.
        advise(room, Advice::LinuxHugepage);
    }
    (list, room)
}

impl Room {
    /// Touches the pages, by `MADV_POPULATE_WRITE`, which Linux has since 5.14; before, they are touched when they are used.
    pub(super) fn touch(self) {
        for from in (0..self.bytes).step_by(PIECE) {
            let piece = Self { start: self.start + from, bytes: PIECE.min(self.bytes - from) };
            advise(piece, Advice::LinuxPopulateWrite);
        }
    }
}

/// Whatever the kernel answers, the memory is there.
#[allow(unsafe_code, reason = "no safe wrapper advises on the memory of a Vec")]
fn advise(room: Room, advice: Advice) {
    let start: *mut c_void = ptr::without_provenance_mut(room.start);
    // SAFETY: neither advice changes a byte of the memory, whoever uses it meanwhile and whether or not it is still there.
    let _ = unsafe { madvise(start, room.bytes, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_of_any_size_holds_what_was_asked_for() {
        for count in [0, 1, 1_000, 65_536, 300_001] {
            let (mut list, room) = room_for::<[u64; 16]>(count);
            list.extend((0..count / 2).map(|nth| [nth as u64; 16]));
            room.touch();
            list.extend((count / 2..count).map(|nth| [nth as u64; 16]));
            // It has moved, and what was its room is nobody's.
            list.reserve(count * 8);
            room.touch();
            assert!(list.iter().enumerate().all(|(nth, row)| row[15] == nth as u64), "{count}");
        }
    }
}
