//! Sets and maps of numbers that the kernel hands out one after the other: inodes and cookies.
//!
//! The sockets of a leak of minutes have numbers close together, and a bit or a place for each number between the first and
//! the last is then sooner looked up than a hash, by the time of ten. Where the numbers lie far apart, hashes are used.

use super::{RandomState, SocketMap, SocketSet};

/// Up to so many numbers for each member of a set, a bit for each is kept.
const NUMBERS_PER_MEMBER: u64 = 64;
/// Up to so many numbers for each key of a map, a place for each is kept.
const NUMBERS_PER_KEY: u64 = 4;

/// A set of numbers.
#[derive(Debug, Clone)]
pub(crate) struct NumberSet {
    members: Members,
    len: usize,
}

#[derive(Debug, Clone)]
enum Members {
    Near { first: u64, words: Vec<u64> },
    Far(SocketSet<u64>),
}

impl NumberSet {
    /// An empty set for numbers between these two, of which about so many will come.
    fn between(first: u64, last: u64, about: usize) -> Self {
        let members = match is_near(first, last, about, NUMBERS_PER_MEMBER) {
            Some(span) => Members::Near { first, words: vec![0; span / 64 + 1] },
            None => Members::Far(SocketSet::with_capacity_and_hasher(about, RandomState::default())),
        };
        Self { members, len: 0 }
    }

    /// The set of these numbers.
    pub(crate) fn of(numbers: &[u64]) -> Self {
        let mut set = Self::for_numbers(numbers.iter().copied());
        for number in numbers {
            set.insert(*number);
        }
        set
    }

    /// An empty set for those of these numbers that come.
    pub(crate) fn for_numbers(numbers: impl Iterator<Item = u64>) -> Self {
        let (mut first, mut last, mut count) = (u64::MAX, 0, 0);
        // One pass: of the cookies of all sockets it takes a millisecond.
        numbers.for_each(|number| {
            (first, last, count) = (first.min(number), last.max(number), count + 1);
        });
        Self::between(first, last, count)
    }

    /// An empty set for members of this one.
    pub(crate) fn for_members(&self) -> Self {
        let members = match &self.members {
            Members::Near { first, words } => Members::Near { first: *first, words: vec![0; words.len()] },
            Members::Far(members) => {
                Members::Far(SocketSet::with_capacity_and_hasher(members.len(), RandomState::default()))
            }
        };
        Self { members, len: 0 }
    }

    /// Adds a number, one of those that the set was made for. Returns whether it was not there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let is_new = match &mut self.members {
            Members::Near { first, words } => match place(*first, number) {
                (word, bit) if word < words.len() => {
                    let is_new = words[word] & bit == 0;
                    words[word] |= bit;
                    is_new
                }
                _ => false,
            },
            Members::Far(members) => members.insert(number),
        };
        self.len += usize::from(is_new);
        is_new
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, number: u64) -> bool {
        match &self.members {
            Members::Near { first, words } => {
                let (word, bit) = place(*first, number);
                words.get(word).is_some_and(|word| word & bit != 0)
            }
            Members::Far(members) => members.contains(&number),
        }
    }

    /// All of them, in no order.
    pub(crate) fn members(&self) -> Vec<u64> {
        match &self.members {
            Members::Near { first, words } => {
                let of_word = |(nth, word): (usize, &u64)| {
                    let (base, word) = (first + nth as u64 * 64, *word);
                    (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| base + bit)
                };
                words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(of_word).collect()
            }
            Members::Far(members) => members.iter().copied().collect(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl FromIterator<u64> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        Self::of(&numbers.into_iter().collect::<Vec<u64>>())
    }
}

/// The word and the bit of a number; a word that no set has for one before the first.
fn place(first: u64, number: u64) -> (usize, u64) {
    let nth = number.wrapping_sub(first);
    (usize::try_from(nth / 64).unwrap_or(usize::MAX), 1 << (nth % 64))
}

/// The span of the numbers, when they are near each other.
fn is_near(first: u64, last: u64, count: usize, numbers_each: u64) -> Option<usize> {
    let span = last.checked_sub(first)?;
    (span / numbers_each <= count as u64).then(|| usize::try_from(span).ok()).flatten()
}

/// Where in a list the entries of each number are: each knows where the next of the same number is, so that the list needs
/// no order.
#[derive(Debug)]
pub(crate) struct Chains {
    heads: Heads,
    next: Vec<u32>,
}

/// Where the first entry of each number is.
#[derive(Debug)]
enum Heads {
    /// By the distance from the first; [`NOWHERE`] for numbers that are not there.
    Near {
        first: u64,
        places: Vec<u32>,
    },
    Far(SocketMap<u64, u32>),
}

const NOWHERE: u32 = u32::MAX;

impl Chains {
    /// Of a list of numbers, of which those past the first four thousand million are not looked at.
    pub(crate) fn of(numbers: impl ExactSizeIterator<Item = u64> + DoubleEndedIterator + Clone) -> Self {
        let first = numbers.clone().min().unwrap_or_default();
        let last = numbers.clone().max().unwrap_or_default();
        let mut next = vec![NOWHERE; numbers.len()];
        let indexed = numbers.clone().enumerate().rev();
        let indexed = indexed.filter_map(|(index, number)| Some((u32::try_from(index).ok()?, number)));
        let heads = match is_near(first, last, numbers.len(), NUMBERS_PER_KEY) {
            Some(span) => {
                let mut places = vec![NOWHERE; span + 1];
                for (index, number) in indexed {
                    let head = &mut places[(number - first) as usize];
                    next[index as usize] = std::mem::replace(head, index);
                }
                Heads::Near { first, places }
            }
            None => {
                let mut heads = SocketMap::with_capacity_and_hasher(numbers.len(), RandomState::default());
                for (index, number) in indexed {
                    next[index as usize] = heads.insert(number, index).unwrap_or(NOWHERE);
                }
                Heads::Far(heads)
            }
        };
        Self { heads, next }
    }

    /// The places of this number, ascending.
    pub(crate) fn places_of(&self, number: u64) -> impl Iterator<Item = usize> + '_ {
        let head = match &self.heads {
            Heads::Near { first, places } => {
                usize::try_from(number.wrapping_sub(*first)).ok().and_then(|nth| places.get(nth)).copied()
            }
            Heads::Far(heads) => heads.get(&number).copied(),
        };
        let is_there = |place: &u32| *place != NOWHERE;
        let next = move |place: &u32| self.next.get(*place as usize).copied().filter(is_there);
        std::iter::successors(head.filter(is_there), next).map(|place| place as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Numbers near each other, or far apart, at either end of what there is.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let base = prop_oneof![Just(0), Just(u64::MAX - 10_000), Just(1 << 40)];
        let span = prop_oneof![1_u64..200, Just(10_000)];
        (base, span, 0_usize..300).prop_flat_map(|(base, span, count)| {
            prop::collection::vec((0..=span).prop_map(move |nth| base + nth), count)
        })
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_set_is(numbers in numbers(), others in numbers()) {
            let set: NumberSet = numbers.iter().copied().collect();
            let plain: BTreeSet<u64> = numbers.iter().copied().collect();
            prop_assert_eq!(set.len(), plain.len());
            prop_assert_eq!(&set.members().into_iter().collect::<BTreeSet<_>>(), &plain);
            for number in numbers.iter().chain(&others).flat_map(|number| [*number, number.wrapping_sub(1), number ^ 64]) {
                prop_assert_eq!(set.contains(number), plain.contains(&number));
            }
            let mut again = set.for_members();
            let mut seen = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(again.insert(number), seen.insert(number));
            }
        }

        #[test]
        fn chains_lead_to_every_place(numbers in numbers(), others in numbers()) {
            let chains = Chains::of(numbers.iter().copied());
            for number in numbers.iter().chain(&others).flat_map(|number| [*number, number.wrapping_sub(1)]) {
                let places: Vec<usize> = (0..numbers.len()).filter(|place| numbers[*place] == number).collect();
                prop_assert_eq!(chains.places_of(number).collect::<Vec<_>>(), places);
            }
        }
    }
}
