//! A gate at which one thread waits for another.

use std::sync::{Condvar, Mutex, PoisonError};

/// Closed at first, and open for good once its [`Opener`] is gone.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

/// Opens the gate when it is dropped, also by a panic: nobody is left waiting.
#[derive(Debug)]
pub(crate) struct Opener<'a>(&'a Gate);

impl Gate {
    /// What keeps the gate closed.
    pub(crate) fn opener(&self) -> Opener<'_> {
        Opener(self)
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_while(is_open, |is_open| !*is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        *self.0.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.opened.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whoever_waits_sees_what_was_done_before() {
        let (gate, done) = (Gate::default(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.wait();
                done.lock().expect("not poisoned").push("waited");
            });
            let opener = gate.opener();
            done.lock().expect("not poisoned").push("opened");
            drop(opener);
        });
        assert_eq!(done.into_inner().expect("not poisoned"), ["opened", "waited"]);
    }

    #[test]
    fn a_panic_opens_it() {
        let gate = Gate::default();
        let outcome = std::panic::catch_unwind(|| {
            let _opener = gate.opener();
            panic!("on purpose");
        });
        assert!(outcome.is_err());
        gate.wait();
    }
}
