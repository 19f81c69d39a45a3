//! The points of a number over time: three months of a host are two hundred thousand of them, and every check has them all.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::past::Point;

/// The points of one number, oldest first.
///
/// They take a fifth of the memory of as many [`Point`]s, and say the same: a check pays more for a page that it is the first
/// to touch than for what it does there.
#[derive(Clone, Default)]
pub struct Points {
    /// The moments of the steps, in seconds since 1970: numbers that were counted together share them.
    moments: Arc<[f64]>,
    stretches: Vec<Stretch>,
    used: Amounts,
    leaked: Amounts,
}

/// What stays the same from point to point as a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Under {
    /// [`Point::run`].
    pub run: u64,
    /// [`Point::limit`].
    pub limit: Option<f64>,
}

/// Points of which each is one step behind the one before.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The place of its first point, and the step of that.
    place: usize,
    step: u32,
    under: Under,
}

/// Counts are whole and fit into four bytes. Whatever else comes is kept as exactly.
#[derive(Debug, Clone)]
enum Amounts {
    Counts(Vec<u32>),
    Any(Vec<f64>),
}

impl Points {
    /// None yet, with room for so many.
    #[must_use]
    pub fn with_room(points: usize) -> Self {
        let amounts = || Amounts::Counts(Vec::with_capacity(points));
        Self { used: amounts(), leaked: amounts(), ..Self::default() }
    }

    /// Adds a point that is told by its step, to be read when [`Points::at`] has said when the steps were.
    #[inline]
    pub fn push(&mut self, step: u32, under: Under, (used, leaked): (u64, u64)) {
        self.begin(step, under);
        self.used.push(used);
        self.leaked.push(leaked);
    }

    /// The same of as many points as both amounts have, each a step behind the one before.
    pub fn extend<U, L>(&mut self, step: u32, under: Under, (used, leaked): (U, L))
    where
        U: Iterator<Item = u64> + Clone,
        L: Iterator<Item = u64> + Clone,
    {
        self.begin(step, under);
        self.used.extend(used);
        self.leaked.extend(leaked);
    }

    /// Begins a stretch, where the point to come does not continue the last one.
    #[inline]
    fn begin(&mut self, step: u32, under: Under) {
        let place = self.len();
        let continues =
            |last: &Stretch| last.step.wrapping_add((place - last.place) as u32) == step && last.under == under;
        if !self.stretches.last().is_some_and(continues) {
            self.stretches.push(Stretch { place, step, under });
        }
    }

    /// The same points at the moments of their steps, in seconds since 1970. A step that has none is at the last of them.
    #[must_use]
    pub fn at(self, moments: Arc<[f64]>) -> Self {
        Self { moments, ..self }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<Point> {
        self.iter().next_back()
    }

    /// Each of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Point> + ExactSizeIterator + '_ {
        self.walk().map(|(step, under, (used, leaked))| Point {
            at: self.moments.get(step as usize).or(self.moments.last()).copied().unwrap_or(0.0),
            used,
            leaked,
            limit: under.limit,
            run: under.run,
        })
    }

    /// Each of them with its step, and its amounts: used and leaked.
    pub fn walk(&self) -> impl DoubleEndedIterator<Item = (u32, Under, (f64, f64))> + ExactSizeIterator + '_ {
        Walk { points: self, places: 0..self.len(), first: 0, last: self.stretches.len().saturating_sub(1) }
    }

    /// What the points stand under, each time that it may have changed.
    pub fn unders(&self) -> impl Iterator<Item = Under> + '_ {
        self.stretches.iter().map(|stretch| stretch.under)
    }
}

impl FromIterator<Point> for Points {
    fn from_iter<I: IntoIterator<Item = Point>>(all: I) -> Self {
        let mut points = Self::default();
        let mut moments = Vec::new();
        for (Point { at, used, leaked, limit, run }, step) in all.into_iter().zip(0..) {
            points.begin(step, Under { run, limit });
            points.used.push_any(used);
            points.leaked.push_any(leaked);
            moments.push(at);
        }
        points.at(moments.into())
    }
}

/// How they are stored is of no account.
impl PartialEq for Points {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

struct Walk<'a> {
    points: &'a Points,
    /// The places that are to come.
    places: Range<usize>,
    /// The stretches that the first and the last of these lie in, or lay before.
    first: usize,
    last: usize,
}

impl Walk<'_> {
    #[inline]
    fn told(&self, place: usize, stretch: usize) -> (u32, Under, (f64, f64)) {
        let Stretch { place: begin, step, under } = self.points.stretches[stretch];
        let amounts = (self.points.used.at(place), self.points.leaked.at(place));
        (step.wrapping_add((place - begin) as u32), under, amounts)
    }
}

impl Iterator for Walk<'_> {
    type Item = (u32, Under, (f64, f64));

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let place = self.places.next()?;
        while self.points.stretches.get(self.first + 1).is_some_and(|next| next.place <= place) {
            self.first += 1;
        }
        Some(self.told(place, self.first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl DoubleEndedIterator for Walk<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let place = self.places.next_back()?;
        while self.points.stretches[self.last].place > place {
            self.last -= 1;
        }
        Some(self.told(place, self.last))
    }
}

impl ExactSizeIterator for Walk<'_> {}

impl Default for Amounts {
    fn default() -> Self {
        Self::Counts(Vec::new())
    }
}

impl Amounts {
    fn len(&self) -> usize {
        match self {
            Self::Counts(counts) => counts.len(),
            Self::Any(amounts) => amounts.len(),
        }
    }

    #[inline]
    fn at(&self, place: usize) -> f64 {
        match self {
            Self::Counts(counts) => f64::from(counts[place]),
            Self::Any(amounts) => amounts[place],
        }
    }

    #[inline]
    fn push(&mut self, amount: u64) {
        match (self, u32::try_from(amount)) {
            (Self::Counts(counts), Ok(count)) => counts.push(count),
            (amounts, _) => amounts.push_any(amount as f64),
        }
    }

    fn push_any(&mut self, amount: f64) {
        // A zero with a sign is no count: it would lose that.
        let count = (amount as u32, f64::from(amount as u32).to_bits() == amount.to_bits());
        match (&mut *self, count) {
            (Self::Counts(counts), (count, true)) => counts.push(count),
            (Self::Counts(counts), _) => {
                let known = counts.iter().map(|count| f64::from(*count));
                *self = Self::Any(known.chain([amount]).collect());
            }
            (Self::Any(amounts), _) => amounts.push(amount),
        }
    }

    fn extend(&mut self, amounts: impl Iterator<Item = u64> + Clone) {
        match self {
            Self::Counts(counts) if amounts.clone().fold(0, |all, amount| all | amount) <= u64::from(u32::MAX) => {
                counts.extend(amounts.map(|amount| amount as u32));
            }
            _ => amounts.for_each(|amount| self.push(amount)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: f64, used: f64, run: u64) -> Point {
        Point { at, used, leaked: used / 2.0, limit: (run > 1).then_some(used), run }
    }

    #[test]
    fn points_come_back_as_they_were() {
        let whole: Vec<Point> = (0..40_u32).map(|nth| point(f64::from(nth), f64::from(nth * 2), 1)).collect();
        let mut all = whole.clone();
        all.extend((40..60_u32).map(|nth| point(f64::from(nth), f64::from(nth) * 1e9 + 0.5, u64::from(nth / 7))));
        all.extend([f64::INFINITY, -0.0, -3.0, u64::MAX as f64].map(|used| point(99.0, used, 3)));
        for expected in [whole, all, Vec::new()] {
            let points: Points = expected.iter().copied().collect();
            let bits = |point: &Point| (point.at, point.used.to_bits(), point.leaked.to_bits(), point.limit, point.run);
            assert!(points.iter().map(|point| bits(&point)).eq(expected.iter().map(bits)));
            assert!(points.iter().rev().map(|point| bits(&point)).eq(expected.iter().rev().map(bits)));
            assert_eq!((points.len(), points.last()), (expected.len(), expected.last().copied()));
            assert_eq!(points.clone(), points);
        }
    }

    #[test]
    fn steps_may_be_left_out_and_have_moments_of_their_own() {
        let under = |run| Under { run, limit: Some(9.0) };
        let mut points = Points::with_room(8);
        points.push(1, under(5), (u64::MAX, 1));
        points.extend(2, under(5), ([3, 4].into_iter(), [1, 2].into_iter()));
        points.extend(6, under(5), ([5, 1 << 40].into_iter(), [0, 0].into_iter()));
        points.push(8, under(7), (6, 1));
        let steps: Vec<u32> = points.walk().map(|(step, ..)| step).collect();
        assert_eq!(steps, [1, 2, 3, 6, 7, 8]);
        assert_eq!(points.unders().map(|under| under.run).collect::<Vec<_>>(), [5, 5, 7]);
        let points = points.at((0..9).map(|step| f64::from(step) * 60.0).collect());
        let told = |point: Point| (point.at, point.used, point.leaked, point.run);
        let expected = [
            (60.0, u64::MAX as f64, 1.0, 5),
            (120.0, 3.0, 1.0, 5),
            (180.0, 4.0, 2.0, 5),
            (360.0, 5.0, 0.0, 5),
            (420.0, (1_u64 << 40) as f64, 0.0, 5),
            (480.0, 6.0, 1.0, 7),
        ];
        assert_eq!(points.iter().map(told).collect::<Vec<_>>(), expected);
        let mut both = points.iter();
        assert_eq!(both.next_back().map(told), Some(expected[5]));
        assert_eq!(both.next().map(told), Some(expected[0]));
        assert_eq!(both.len(), 4);
        assert!(both.map(told).eq(expected[1..5].iter().copied()));
    }
}
