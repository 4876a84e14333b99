//! The thread that writes a run's files, so that training does not wait for encoders or disks.
//!
//! One thread, in order: whenever the process dies, the folder is as if everything up to some
//! moment had been written. The first failed job ends it; later ones are dropped. Optional files
//! are extra jobs, whose failures are only reported.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{Error, Result};
use crate::files;

/// Jobs that may wait behind the current one: those of two previews, an image, a plot and a page
/// each. A job's data stays in memory until it is done, so further senders block.
const WAITING: usize = 6;

/// A job and its completion signal.
type Job = (Box<dyn FnOnce() -> Result<()> + Send>, Sender<()>);

/// Runs jobs in the background, in order. Dropping it waits for them.
#[derive(Debug)]
pub struct Writer {
    /// `None` after [`Writer::finish`] or a drop: no more jobs can come.
    jobs: Option<SyncSender<Job>>,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<()>>>,
    /// Failures of extra jobs.
    failures: (Sender<Error>, Receiver<Error>),
}

/// A submitted job.
#[derive(Debug)]
pub struct Pending(Receiver<()>);

impl Pending {
    /// Waits until the job is done or dropped (after a failed one).
    pub fn wait(self) {
        // Nothing is ever sent: completion closes the channel.
        let _ = self.0.recv();
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Device`] if the system cannot start a thread.
    pub fn start() -> Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(WAITING);
        let work = move || queue.into_iter().try_for_each(|(job, _done)| job());
        let thread = thread::Builder::new().name("writer".into()).spawn(work).map_err(|e| {
            Error::Device(format!("the thread that writes files {}", files::cannot("start", &e)))
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), failures: channel() })
    }

    /// Submits a job; blocks if too many are waiting.
    ///
    /// # Errors
    /// That of an earlier failed job, once; this job and all later ones are then dropped.
    pub fn hand_over(
        &mut self,
        job: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Pending> {
        let (done, pending) = channel();
        let job: Job = (Box::new(job), done);
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            self.join()?;
        }
        Ok(Pending(pending))
    }

    /// Submits an optional job: [`Self::failures`] reports its errors.
    ///
    /// # Errors
    /// See [`Self::hand_over`].
    pub fn hand_over_extra(
        &mut self,
        job: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let failures = self.failures.0.clone();
        let extra = move || {
            // The job holds no training state that a panic could leave half changed.
            let done = catch_unwind(AssertUnwindSafe(job));
            let bug = |_| Err(Error::Device("an image could not be made: this is a bug".into()));
            if let Err(error) = done.unwrap_or_else(bug) {
                // Whoever asks holds the receiver.
                let _ = failures.send(error);
            }
            Ok(())
        };
        self.hand_over(extra).map(drop)
    }

    /// Errors of optional jobs since the last call.
    pub fn failures(&self) -> impl Iterator<Item = Error> {
        self.failures.1.try_iter()
    }

    /// Checks for errors so far. Does not block.
    ///
    /// # Errors
    /// That of a failed job, once.
    pub fn check(&mut self) -> Result<()> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) { self.join() } else { Ok(()) }
    }

    /// Waits until all submitted jobs are done.
    ///
    /// # Errors
    /// That of a failed job, unless it was already reported.
    pub fn finish(&mut self) -> Result<()> {
        self.jobs = None;
        self.join()
    }

    /// Joins the thread and returns its error.
    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            // A job's panic is a bug; resume it in the submitting thread.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The error was not asked for; a panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// A job that records its number.
    fn note(list: &Arc<Mutex<Vec<u32>>>, number: u32) -> impl FnOnce() -> Result<()> + use<> {
        let list = Arc::clone(list);
        move || {
            list.lock().unwrap().push(number);
            Ok(())
        }
    }

    #[test]
    fn jobs_are_done_in_order_and_all_of_them() {
        let list = Arc::default();
        let mut writer = Writer::start().unwrap();
        for number in 0..20 {
            writer.hand_over(note(&list, number)).unwrap();
        }
        writer.hand_over(note(&list, 20)).unwrap().wait();
        assert_eq!(*list.lock().unwrap(), Vec::from_iter(0..=20));
        writer.check().unwrap();
        writer.hand_over(note(&list, 21)).unwrap();
        writer.finish().unwrap();
        assert_eq!(list.lock().unwrap().len(), 22);

        let mut writer = Writer::start().unwrap();
        let slow = note(&list, 22);
        writer
            .hand_over(move || {
                thread::sleep(Duration::from_millis(50));
                slow()
            })
            .unwrap();
        writer.hand_over(note(&list, 23)).unwrap();
        drop(writer);
        assert_eq!(list.lock().unwrap().len(), 24, "dropping it lost a job");
    }

    #[test]
    fn the_first_error_comes_back_and_ends_it() {
        let list = Arc::default();
        // In each of the three ways it can be reported.
        for way in 0..3 {
            let (go, wait) = channel::<()>();
            let mut writer = Writer::start().unwrap();
            writer.hand_over(note(&list, way)).unwrap();
            let fails = move || {
                let _ = wait.recv();
                Err(Error::file("a.png", "is the first"))
            };
            writer.hand_over(fails).unwrap();
            let behind = writer.hand_over(|| Err(Error::file("a.png", "is the second"))).unwrap();
            writer.check().unwrap();
            drop(go);
            // A dropped job blocks no one.
            behind.wait();
            let error = match way {
                0 => loop {
                    if let Err(error) = writer.check() {
                        break error;
                    }
                },
                1 => writer.hand_over(note(&list, 99)).unwrap_err(),
                _ => writer.finish().unwrap_err(),
            };
            assert_eq!(error.to_string(), "a.png: is the first");
        }
        assert_eq!(*list.lock().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn an_extra_job_that_fails_is_reported_and_ends_nothing() {
        let list = Arc::default();
        let mut writer = Writer::start().unwrap();
        writer.hand_over_extra(|| Err(Error::file("a.png", "is full"))).unwrap();
        writer.hand_over_extra(|| panic!("this one is wanted")).unwrap();
        writer.hand_over_extra(note(&list, 1)).unwrap();
        writer.hand_over(note(&list, 2)).unwrap().wait();
        writer.check().unwrap();
        let error: Vec<String> = writer.failures().map(|error| error.to_string()).collect();
        assert_eq!(error, ["a.png: is full", "an image could not be made: this is a bug"]);
        assert_eq!(writer.failures().count(), 0);
        writer.finish().unwrap();
        assert_eq!(*list.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn only_so_many_jobs_wait() {
        let (go, wait) = channel::<()>();
        let mut writer = Writer::start().unwrap();
        let held = move || {
            let _ = wait.recv();
            Ok(())
        };
        writer.hand_over(held).unwrap();
        let handing = thread::spawn(move || {
            for _ in 0..=WAITING {
                writer.hand_over(|| Ok(())).unwrap();
            }
            writer
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!handing.is_finished(), "more than {WAITING} jobs wait");
        drop(go);
        handing.join().unwrap().finish().unwrap();
    }
}
