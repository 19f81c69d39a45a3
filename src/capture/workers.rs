//! One list of work for all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Deadline;

/// What came of a list of work.
#[derive(Debug)]
pub(super) struct Spread<R> {
    /// What each worker gathered.
    pub(super) gathered: Vec<R>,
    /// How many items, counted from the front, were worked on; the deadline passed before the others.
    pub(super) n_done: usize,
}

/// How far a list of work is worked off.
#[derive(Debug, Default)]
pub(super) struct Pile {
    next: AtomicUsize,
    n_done: AtomicUsize,
}

/// Works through the items on as many threads as there are cores. Each worker takes the next item when it is free, so
/// the largest should come first, and gathers what it finds in a value of its own.
///
/// The calling thread works too: on a host where no more threads can be made it does all the work.
pub(super) fn spread<'a, T: Sync, R: Send>(
    items: &'a [T],
    deadline: Deadline,
    start: impl Fn() -> R + Sync,
    work: impl Fn(&mut R, &'a T) + Sync,
) -> Spread<R> {
    spread_over(processors(), items, deadline, (start, work))
}

/// How many processors this program may use.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The same on at most so many threads: how to start a worker's gathering, and what to do with an item.
pub(super) fn spread_over<'a, T: Sync, R: Send>(
    n_threads: usize,
    items: &'a [T],
    deadline: Deadline,
    job: (impl Fn() -> R + Sync, impl Fn(&mut R, &'a T) + Sync),
) -> Spread<R> {
    let pile = Pile::default();
    let gathered = pile.work_off(n_threads, items, deadline, job);
    Spread { gathered, n_done: pile.n_done() }
}

impl Pile {
    /// Works off what is left of the items, which are always the same for one pile, on so many threads, the calling one among
    /// them; others may do the same meanwhile.
    pub(super) fn work_off<'a, T: Sync, R: Send>(
        &self,
        n_threads: usize,
        items: &'a [T],
        deadline: Deadline,
        (start, work): (impl Fn() -> R + Sync, impl Fn(&mut R, &'a T) + Sync),
    ) -> Vec<R> {
        let run = || {
            let mut gathered = start();
            while !deadline.has_passed() {
                let Some(item) = items.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
                self.n_done.fetch_add(1, Ordering::Relaxed);
                work(&mut gathered, item);
            }
            gathered
        };
        thread::scope(|scope| {
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
            let helpers: Vec<_> = (1..n_threads.min(items.len())).filter_map(spawn).collect();
            let mut gathered = vec![run()];
            for helper in helpers {
                gathered.push(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            gathered
        })
    }

    /// How many items, counted from the front, were taken.
    pub(super) fn n_done(&self) -> usize {
        self.n_done.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<u64> = (0..10_000).collect();
        let spread = spread(&items, Deadline::never(), Vec::new, |seen, item| seen.push(*item));
        let mut seen = spread.gathered.concat();
        seen.sort_unstable();
        assert_eq!((seen, spread.n_done), (items, 10_000));
    }

    #[test]
    fn nothing_is_begun_past_the_deadline() {
        let spread = spread(&[1, 2, 3], Deadline::after(Duration::ZERO), || 0, |sum, item| *sum += item);
        assert_eq!((spread.gathered.iter().sum::<i32>(), spread.n_done), (0, 0));
    }
}
