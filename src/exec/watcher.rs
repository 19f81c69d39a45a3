//! Looking again and again while something else goes on.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use super::family::Family;
use super::ledger::Ledger;
use super::{ExecPlan, Look, Sought};

/// Of its time the watcher rests so many parts for each part that it looks: it takes a fifth of one processor at most,
/// however slow a look is.
const REST_FOR_EACH_LOOK: u32 = 4;

/// Who looks, and at what.
pub(super) struct Watcher<'a> {
    pub(super) plan: &'a ExecPlan,
    pub(super) look: Look<'a>,
    pub(super) family: &'a Family,
}

/// What was seen in all looks together.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The sockets.
    pub(super) ledger: Ledger,
    /// How many looks there were.
    pub(super) n_looks: u64,
    /// How many of them failed, and why the last of these did.
    pub(super) failed: Option<(u64, String)>,
    /// How many processes of the command ran on when it had ended.
    pub(super) n_left_behind: u64,
}

impl Watcher<'_> {
    /// Looks until `act` has returned, and once more then.
    pub(super) fn watch_during<T>(&self, act: impl FnOnce() -> T) -> (T, Kept) {
        let (ended, end) = mpsc::channel();
        thread::scope(|scope| {
            let watching =
                thread::Builder::new().name("watcher".to_owned()).spawn_scoped(scope, move || self.watch(&end));
            let done = act();
            // The watcher listens until this comes.
            let _ = ended.send(());
            match watching {
                Ok(watching) => (done, watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
                Err(error) => (done, Kept { failed: Some((1, error.to_string())), ..Kept::default() }),
            }
        })
    }

    fn watch(&self, end: &Receiver<()>) -> Kept {
        let mut kept = Kept::default();
        let began_at = Instant::now();
        loop {
            let look_began_at = Instant::now();
            self.look_once(&mut kept, began_at);
            let rest = self.plan.interval.max(look_began_at.elapsed() * REST_FOR_EACH_LOOK);
            if end.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                kept.n_left_behind = self.look_once(&mut kept, began_at);
                return kept;
            }
        }
    }

    /// One look at every member of the family; how many there are.
    fn look_once(&self, kept: &mut Kept, began_at: Instant) -> u64 {
        let households = self.family.members();
        let mut n_members = 0;
        kept.n_looks += 1;
        kept.ledger.begin(began_at.elapsed());
        for household in households {
            n_members += household.pids.len() as u64;
            let through = if household.at_home { None } else { household.pids.first().copied() };
            match (self.look)(&Sought { pids: household.pids, through }) {
                Ok(snapshot) => kept.ledger.add(&snapshot, &self.family.inherited),
                Err(why) => {
                    let count = kept.failed.as_ref().map_or(0, |(count, _)| *count);
                    kept.failed = Some((count + 1, why));
                }
            }
        }
        kept.ledger.forget_what_is_gone(self.plan.grace);
        n_members
    }
}
