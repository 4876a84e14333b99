//! Memory that all threads together may spend on decoding: each takes its share before it decodes
//! and gives it back when the pixels are gone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A shared number of bytes. Requests wait, in order, until there is enough: a large image is not
/// delayed forever by small ones.
#[derive(Debug)]
pub(crate) struct Budget {
    capacity: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u64,
    /// The number that the next one to ask gets, and the one whose turn it is.
    next: u64,
    turn: u64,
}

/// A share of a [`Budget`]; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: &'static Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) const fn new(capacity: u64) -> Self {
        Self {
            capacity,
            state: Mutex::new(State { free: capacity, next: 0, turn: 0 }),
            changed: Condvar::new(),
        }
    }

    /// The total.
    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that are added and subtracted under the lock are whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `bytes` (at most the capacity). A thread that holds a share must not wait for
    /// another of the same budget: two such threads would deadlock.
    pub(crate) fn take(&'static self, bytes: u64) -> Share {
        let bytes = bytes.min(self.capacity);
        let mut state = self.state();
        let mine = state.next;
        state.next += 1;
        while state.turn != mine || state.free < bytes {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= bytes;
        state.turn += 1;
        drop(state);
        self.changed.notify_all();
        Share { budget: self, bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.state().free += self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn the_sum_of_shares_never_exceeds_the_capacity_and_everyone_gets_a_turn() {
        static BUDGET: Budget = Budget::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for worker in 0..8_u64 {
                let (now, most) = (&now, &most);
                scope.spawn(move || {
                    for round in 0..200 {
                        // Now and then more than there is: all of it.
                        let bytes = [7, 30, 55, 1000][((worker + round) % 4) as usize];
                        let share = BUDGET.take(bytes);
                        let held = bytes.min(100);
                        let sum = now.fetch_add(held, Ordering::SeqCst) + held;
                        most.fetch_max(sum, Ordering::SeqCst);
                        thread::yield_now();
                        now.fetch_sub(held, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 100);
        assert_eq!(BUDGET.state().free, 100);
    }
}
