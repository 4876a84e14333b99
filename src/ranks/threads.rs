//! Ranks that are threads of one process.

use std::sync::{Arc, Barrier, Mutex, PoisonError};

use super::World;

/// One of several threads that are ranks to one another: for tests without MPI, and for several devices in
/// one process.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    /// What each has to give.
    given: Vec<Mutex<Vec<f32>>>,
    barrier: Barrier,
}

impl Threads {
    /// The ranks `0` to `size − 1`, one for each thread.
    ///
    /// # Panics
    /// If `size` is 0.
    #[must_use]
    pub fn group(size: usize) -> Vec<Arc<dyn World>> {
        assert!(size > 0, "there is at least one rank");
        let given = (0..size).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { given, barrier: Barrier::new(size) });
        let rank = |rank| Arc::new(Self { rank, shared: Arc::clone(&shared) }) as Arc<dyn World>;
        (0..size).map(rank).collect()
    }

    /// Runs `work` on `size` threads that are ranks to one another; what they return, in order.
    ///
    /// # Panics
    /// If one of them does.
    pub fn run<T: Send>(size: usize, work: impl Fn(Arc<dyn World>) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let start = |world| scope.spawn(|| work(world));
            let threads: Vec<_> = Self::group(size).into_iter().map(start).collect();
            let end = |thread: std::thread::ScopedJoinHandle<'_, T>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(end).collect()
        })
    }

    /// Gives `own`, and takes from what each rank gave, in order.
    fn exchange(&self, own: &[f32], mut take: impl FnMut(usize, &[f32])) {
        let lock =
            |rank: usize| self.shared.given[rank].lock().unwrap_or_else(PoisonError::into_inner);
        *lock(self.rank) = own.to_vec();
        self.shared.barrier.wait();
        for rank in 0..self.size() {
            take(rank, &lock(rank));
        }
        // Nobody gives anything new before all have taken this.
        self.shared.barrier.wait();
    }
}

impl World for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.given.len()
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) {
        let len = own.len();
        self.exchange(own, |rank, given| all[rank * len..][..len].copy_from_slice(given));
    }

    fn all_to_all(&self, own: &[f32], all: &mut [f32]) {
        let len = own.len() / self.size();
        let start = self.rank * len;
        self.exchange(own, |rank, given| {
            all[rank * len..][..len].copy_from_slice(&given[start..][..len]);
        });
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
