//! Threads where the system gives few, as under `ulimit -u` or a container's limit of processes.
//!
//! What computes in parallel runs on rayon's threads, which are all started at the first use; where
//! one of them cannot be, rayon panics. So the program starts as many as it gets, and has rayon take
//! those. All other threads are started by [`std::thread::Builder`], whose errors are handled.

use std::num::NonZero;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::{ThreadBuilder, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Threads that are left to others (those that load images and write files) where there are not
/// enough for all.
const OTHERS: usize = 4;

/// Starts the threads on which arithmetic runs: one for each core, or as many as `RAYON_NUM_THREADS`
/// says, or fewer where the system gives no more. Does nothing where they run already.
///
/// # Errors
/// [`Error::Device`] where the system gives none.
pub fn start() -> Result<()> {
    let spawn = |run| thread::Builder::new().name("arithmetic".into()).spawn(run).is_ok();
    let waiting = gather(wanted(), &spawn);
    if waiting.is_empty() {
        let what = "the system gives this process no thread: raise its limit (ulimit -u, or the \
                    container's limit of processes)";
        return Err(Error::Device(what.into()));
    }
    let count = waiting.len();
    let waiting = Mutex::new(waiting);
    // An error says that rayon's threads run already, which is as good.
    let _ = ThreadPoolBuilder::new()
        .num_threads(count)
        .spawn_handler(|builder| {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            next.and_then(|thread| thread.send(builder).ok())
                .ok_or_else(|| std::io::Error::other("a thread has ended"))
        })
        .build_global();
    Ok(())
}

/// As many threads as are of use wherever the program runs: a larger number than this, and than twice
/// the cores, is a slip, and takes all memory.
const MANY: usize = 64;

/// As rayon counts them, up to a number that makes sense.
fn wanted() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let typed = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    typed.filter(|&n| n > 0).map_or(cores, |n: usize| n.min(MANY.max(2 * cores)))
}

/// What a thread does.
type Run = Box<dyn FnOnce() + Send>;

/// A thread that waits for what it is to do; dropped, it ends.
type Waiting = SyncSender<ThreadBuilder>;

/// As many threads as `spawn` starts, `wanted` at most, and [`OTHERS`] fewer where those are not all.
fn gather(wanted: usize, spawn: &dyn Fn(Run) -> bool) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    while waiting.len() < wanted {
        let (sender, receiver) = sync_channel::<ThreadBuilder>(1);
        let run = move || receiver.recv().map_or((), ThreadBuilder::run);
        if !spawn(Box::new(run)) {
            let kept = waiting.len().saturating_sub(OTHERS).max(1);
            waiting.truncate(kept);
            break;
        }
        waiting.push(sender);
    }
    waiting
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn fewer_threads_are_taken_where_the_system_gives_fewer() {
        let taken = |wanted: usize, given: usize| {
            let left = Cell::new(given);
            gather(wanted, &|_| left.replace(left.get().saturating_sub(1)) > 0).len()
        };
        assert_eq!([taken(8, 100), taken(8, 8), taken(1, 1)], [8, 8, 1]);
        // Some are left to those that load and write.
        assert_eq!([taken(8, 7), taken(8, 5), taken(8, 2), taken(8, 1)], [3, 1, 1, 1]);
        assert_eq!(taken(8, 0), 0);
    }

    #[test]
    fn a_thread_that_is_not_needed_ends() {
        let (ended, end) = sync_channel(1);
        let spawn = move |run: Run| {
            let ended = ended.clone();
            thread::spawn(move || {
                run();
                ended.send(())
            });
            true
        };
        drop(gather(1, &spawn));
        end.recv().expect("it ends when what it waits for is dropped");
    }
}
