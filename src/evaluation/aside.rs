//! Scores computed by a thread of their own, so that whoever waits for them can stop waiting at any moment.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::memorization::Seen;
use super::report::{Classes, Network, evaluate_sets};
use super::{ImageSet, Metric, Options, Score, Sets};
use crate::error::{Error, Result};
use crate::files;

/// How often it is asked whether to stop.
const EVERY: Duration = Duration::from_millis(50);

/// [`Sets`] that a thread can keep.
#[derive(Clone, Debug)]
pub struct OwnedSets {
    /// The generated images.
    pub fakes: ImageSet,
    /// Real images, in random order.
    pub reals: Arc<ImageSet>,
    /// Training and held-out images.
    pub seen: Option<Seen>,
    /// Features by a network.
    pub network: Option<Network>,
    /// Predictions of a classifier.
    pub classes: Option<Classes>,
}

impl OwnedSets {
    /// The same, borrowed.
    #[must_use]
    pub fn sets(&self) -> Sets<'_> {
        Sets {
            fakes: &self.fakes,
            reals: &self.reals,
            seen: self.seen.as_ref(),
            network: self.network.as_ref(),
            classes: self.classes.as_ref(),
        }
    }
}

/// What the thread reports.
enum News {
    /// How much is done, from 0 to 1.
    Progress(f64),
    /// The scores of a metric.
    Scores(Vec<Score>),
    Done(Result<()>),
}

/// [`evaluate_sets`] until `stop` says to stop; returns whether all scores were computed. A metric that
/// is not done by then is abandoned at once: its thread ends with that metric or the process, and its
/// result is dropped.
///
/// # Errors
/// Those of [`evaluate_sets`]; [`Error::Device`] if the system cannot start a thread.
pub fn evaluate_aside(
    sets: OwnedSets,
    metrics: Vec<&'static Metric>,
    options: Options,
    progress: impl Fn(f64),
    mut take: impl FnMut(Vec<Score>),
    stop: impl Fn() -> bool,
) -> Result<bool> {
    let (sender, news) = channel();
    let work = move || {
        // Nobody listens any more once the work is abandoned.
        let tell = |share| _ = sender.send(News::Progress(share));
        let keep = |scores| sender.send(News::Scores(scores)).is_ok();
        let done = evaluate_sets(&sets.sets(), &metrics, &options, &tell, keep);
        _ = sender.send(News::Done(done));
    };
    let thread = thread::Builder::new().name("scores".into()).spawn(work).map_err(|e| {
        Error::Device(format!("the thread that computes scores {}", files::cannot("start", &e)))
    })?;
    loop {
        match news.recv_timeout(EVERY) {
            Ok(News::Progress(share)) => progress(share),
            Ok(News::Scores(scores)) => take(scores),
            Ok(News::Done(result)) => return result.map(|()| true),
            Err(RecvTimeoutError::Timeout) => {}
            // It panicked, which is a bug.
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => return Ok(false),
            },
        }
        if stop() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::cell::Cell;

    use super::super::metric;
    use super::*;

    fn sets(count: usize) -> OwnedSets {
        let noise = |n: usize, by: usize| (0..n * 3072).map(|i| (i * i % by) as u8).collect();
        let set = |by| ImageSet::new([32, 32, 3], noise(count, by)).unwrap();
        OwnedSets {
            fakes: set(251),
            reals: Arc::new(set(241)),
            seen: None,
            network: None,
            classes: None,
        }
    }

    const OPTIONS: Options = Options { seed: 0, splits: 1, images: String::new() };

    #[test]
    fn scores_are_those_of_the_same_thread() {
        let metrics = vec![metric("swd-raw").unwrap(), metric("colors").unwrap()];
        let (mut here, mut there) = (Vec::new(), Vec::new());
        evaluate_sets(&sets(8).sets(), &metrics, &OPTIONS, &|_| (), |some| {
            here.extend(some);
            true
        })
        .unwrap();
        let take = |some| there.extend(some);
        let all = evaluate_aside(sets(8), metrics, OPTIONS, |_| (), take, || false).unwrap();
        assert!(all && here.len() == 2);
        assert_eq!(here, there);
        let few = vec![metric("prdc-pixels").unwrap()];
        let refused = evaluate_aside(sets(2), few, OPTIONS, |_| (), |_| (), || false);
        assert!(refused.unwrap_err().to_string().contains("2 real images are too few"));
    }

    #[test]
    fn a_metric_is_abandoned_in_its_midst_and_what_came_before_is_kept() {
        let metrics = vec![metric("colors").unwrap(), metric("swd-nvidia").unwrap()];
        let (kept, share) = (Cell::new(0), Cell::new(0.0));
        let take = |some: Vec<Score>| kept.set(kept.get() + some.len());
        let stop = || share.get() > 0.6;
        let all = evaluate_aside(sets(64), metrics, OPTIONS, |now| share.set(now), take, stop);
        assert!(!all.unwrap());
        assert_eq!(kept.get(), 1);
        assert!(share.get() < 0.99, "{share:?}");
    }
}
