//! Since when sockets are known to be stuck: tens of thousands of them, read anew by every check and each asked about once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::socket::SockCookie;

/// Since when sockets are known to be stuck, to the millisecond.
///
/// A map of the standard library takes twice the memory, and a check pays for every page of it.
#[derive(Debug, Clone, Default)]
pub struct StuckSince {
    /// Sorted by cookie, each with its moment in milliseconds since 1970.
    sockets: Vec<(SockCookie, i64)>,
    /// For each cookie the first free slot from its own on has one more than its place; 0 is a free slot. At most half of them
    /// are taken, and their number is a power of two, or 0.
    slots: Vec<u32>,
}

impl StuckSince {
    /// Of sockets with the moments since which they are stuck, in milliseconds since 1970. Of a socket that comes twice the
    /// earlier moment counts.
    #[must_use]
    pub fn of_millis(mut sockets: Vec<(SockCookie, i64)>) -> Self {
        let key = |(cookie, since): &(SockCookie, i64)| (cookie.get(), *since);
        if !sockets.is_sorted_by_key(key) {
            sockets.sort_unstable_by_key(key);
        }
        sockets.dedup_by_key(|(cookie, _)| *cookie);
        if sockets.is_empty() {
            return Self::default();
        }
        let mut slots = vec![0; sockets.len().next_power_of_two() * 2];
        for ((cookie, _), number) in sockets.iter().zip(1..) {
            let mut slot = home(*cookie, slots.len());
            while slots[slot] != 0 {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = number;
        }
        Self { sockets, slots }
    }

    /// Since when this socket is known to be stuck; `None` when it is not known to be.
    #[must_use]
    pub fn get(&self, cookie: SockCookie) -> Option<SystemTime> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = home(cookie, self.slots.len());
        loop {
            let place = (self.slots[slot] as usize).checked_sub(1)?;
            let (known, since) = self.sockets[place];
            if known == cookie {
                return Some(moment(since));
            }
            slot = (slot + 1) % self.slots.len();
        }
    }

    /// Every socket, by its cookie.
    pub fn iter(&self) -> impl Iterator<Item = (SockCookie, SystemTime)> + '_ {
        self.sockets.iter().map(|(cookie, since)| (*cookie, moment(*since)))
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

/// How the slots lie is of no account.
impl PartialEq for StuckSince {
    fn eq(&self, other: &Self) -> bool {
        self.sockets == other.sockets
    }
}

impl FromIterator<(SockCookie, SystemTime)> for StuckSince {
    fn from_iter<I: IntoIterator<Item = (SockCookie, SystemTime)>>(sockets: I) -> Self {
        Self::of_millis(sockets.into_iter().map(|(cookie, since)| (cookie, millis(since))).collect())
    }
}

/// The slot of a cookie, of a number of slots that is a power of two. The kernel counts cookies upwards, by stretches and in
/// steps, which one multiplication can leave in heaps; two spread them all (as in the generator splitmix64, Vigna). Nobody
/// outside the kernel chooses cookies, so that nobody can make them fall together.
fn home(cookie: SockCookie, slots: usize) -> usize {
    let mixed = (cookie.get() ^ cookie.get() >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 32) as usize & (slots - 1)
}

fn moment(since: i64) -> SystemTime {
    let span = Duration::from_millis(since.unsigned_abs());
    let moment = if since < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    moment.unwrap_or(UNIX_EPOCH)
}

fn millis(moment: SystemTime) -> i64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(number: u64) -> SockCookie {
        SockCookie::new(number).expect("not 0")
    }

    #[test]
    fn what_is_known_is_found_and_nothing_else() {
        // Cookies of several processors come in stretches; some here share a slot, and the last has the first but one.
        let cookies: Vec<u64> = (0..3_000).map(|nth| 1 + nth * 7 + (nth % 3) * 4_096 * 1_024).collect();
        let known: StuckSince =
            cookies.iter().rev().map(|number| (cookie(*number), moment(*number as i64 * 10))).collect();
        assert_eq!(known.len(), 3_000);
        for number in &cookies {
            assert_eq!(known.get(cookie(*number)), Some(moment(*number as i64 * 10)), "{number}");
            assert_eq!(known.get(cookie(number + 1)), None, "{number} and one");
        }
        let all: Vec<u64> = known.iter().map(|(cookie, _)| cookie.get()).collect();
        assert!(all.is_sorted() && all.len() == 3_000);
        assert_eq!(known.get(cookie(u64::MAX)), None);
    }

    #[test]
    fn cookies_in_steps_do_not_fall_together() {
        for step in [1, 7, 31, 64, 4_096, 4_181, 1 << 20, 1 << 32] {
            let slots = 1 << 13;
            let mut taken = vec![0_u32; slots];
            (0..slots as u64 / 2).for_each(|nth| taken[home(cookie(1 + nth * step), slots)] += 1);
            let most = taken.into_iter().max().expect("slots");
            assert!(most <= 8, "in steps of {step}, {most} have the same slot");
        }
    }

    #[test]
    fn of_a_socket_that_comes_twice_the_earlier_moment_counts() {
        let twice = StuckSince::of_millis(vec![(cookie(5), 900), (cookie(3), 100), (cookie(5), 200)]);
        assert_eq!(twice, StuckSince::of_millis(vec![(cookie(3), 100), (cookie(5), 200)]));
        assert_eq!(twice.get(cookie(5)), Some(moment(200)));
    }

    #[test]
    fn nothing_is_known_of_no_sockets() {
        assert!(StuckSince::default().is_empty() && StuckSince::default().get(cookie(1)).is_none());
        assert_eq!(StuckSince::of_millis(Vec::new()), StuckSince::default());
    }

    #[test]
    fn a_moment_before_1970_is_told() {
        assert_eq!(millis(moment(-1_500)), -1_500);
        assert_eq!(moment(-1_500), UNIX_EPOCH - Duration::from_millis(1_500));
    }
}
