//! Starts threads where the system limits them, as with `ulimit -u` or a container's process limit.
//!
//! Parallel computation runs on rayon's threads, which all start at first use; if one of them
//! cannot start, rayon panics. So the program starts as many as it can, and lets rayon use them.
//! All other threads are started by [`std::thread::Builder`], whose errors are handled.

use std::num::NonZero;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::{ThreadBuilder, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::ranks::launched_here;

/// Threads left to others (those that load images and write files) if there are not enough for all.
const OTHERS: usize = 4;

/// Starts the threads for arithmetic: one per core, or the number in `RAYON_NUM_THREADS`, or fewer
/// if the system allows no more. Does nothing if they are already running.
///
/// # Errors
/// [`Error::Device`] if the system allows none.
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
    // On an error rayon's threads are already running, which is just as good.
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

/// An upper limit for the number of threads: more than this, and than twice the cores, is a slip,
/// and takes all memory.
const MANY: usize = 64;

/// The cores that this process may run on, but no more than its share of the machine's if it is one of
/// `together` that a launcher started there.
fn share(allowed: usize, machine: usize, together: usize) -> usize {
    allowed.min((machine / together.max(1)).max(1))
}

/// The machine's cores, at least those that this process may run on.
fn machine(allowed: usize) -> usize {
    #[cfg(unix)]
    {
        // SAFETY: it only returns a number.
        let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        usize::try_from(online).unwrap_or(0).max(allowed)
    }
    #[cfg(not(unix))]
    allowed
}

/// The number that rayon would use, up to a sensible limit.
fn wanted() -> usize {
    let allowed = thread::available_parallelism().map_or(1, NonZero::get);
    let cores = share(allowed, machine(allowed), launched_here());
    let typed = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    typed.filter(|&n| n > 0).map_or(cores, |n: usize| n.min(MANY.max(2 * cores)))
}

/// A thread's main function.
type Run = Box<dyn FnOnce() + Send>;

/// A thread that waits for its job; it ends when dropped.
type Waiting = SyncSender<ThreadBuilder>;

/// As many threads as `spawn` starts, up to `wanted`, and [`OTHERS`] fewer if it cannot start all.
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
    fn processes_of_a_launcher_share_the_cores() {
        // Alone; two and three on a machine of 16; more than there are cores.
        assert_eq!([1, 2, 3, 40].map(|together| share(16, 16, together)), [16, 8, 5, 1]);
        // Bound to fewer by the launcher.
        assert_eq!([share(1, 16, 2), share(8, 16, 4)], [1, 4]);
    }

    #[test]
    fn fewer_threads_are_taken_where_the_system_gives_fewer() {
        let taken = |wanted: usize, given: usize| {
            let left = Cell::new(given);
            gather(wanted, &|_| left.replace(left.get().saturating_sub(1)) > 0).len()
        };
        assert_eq!([taken(8, 100), taken(8, 8), taken(1, 1)], [8, 8, 1]);
        // Some are left for loading and writing.
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
