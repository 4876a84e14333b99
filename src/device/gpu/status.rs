//! Asynchronous GPU errors: wgpu reports them to callbacks, not to callers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::error::Error;

/// The first error; every later call on the device reports it.
#[derive(Debug, Default)]
pub(super) struct Status {
    first: Mutex<Option<Failure>>,
}

/// The kind of error.
#[derive(Clone, Debug)]
enum Failure {
    /// The driver dropped the device, or it did not answer.
    Lost(String),
    /// It ran out of memory.
    Memory,
    /// wgpu rejected a command: a bug of this program or of a driver.
    Rejected(String),
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        // A value behind this lock is always valid.
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, failure: Failure) {
        self.lock().get_or_insert(failure);
    }

    /// Records the loss of the device, and why.
    pub(super) fn lost(&self, why: impl Into<String>) {
        self.set(Failure::Lost(why.into()));
    }

    /// wgpu reported an error outside any error scope.
    pub(super) fn uncaptured(&self, error: wgpu::Error) {
        self.set(match error {
            wgpu::Error::OutOfMemory { .. } => Failure::Memory,
            other => Failure::Rejected(other.to_string()),
        });
    }

    /// The error to report, if any.
    pub(super) fn error(&self, device: &str) -> Option<Error> {
        let failure = self.lock().clone()?;
        Some(match failure {
            Failure::Lost(why) => Error::Lost(format!(
                "the GPU {device} was lost: {}. The last checkpoint is intact: resume from it, \
                 with a smaller `batch` or another `device` if it happens again",
                why.trim().trim_end_matches('.')
            )),
            Failure::Memory => Error::Memory(format!(
                "the GPU {device} ran out of memory: use a smaller `batch`, or close other \
                 programs that use it. The last checkpoint is intact"
            )),
            Failure::Rejected(what) => Error::Lost(format!(
                "the GPU {device} rejected a command, which is a bug of this program or of its \
                 driver: {}. The last checkpoint is intact; another `device` may work",
                what.trim()
            )),
        })
    }
}

thread_local! {
    /// Whether this thread's panics are expected and caught.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Silences the reports of panics that [`without_panic`] catches.
pub(super) fn quiet_expected_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                usual(info);
            }
        }));
    });
}

/// Runs `f`, and returns the message of a panic instead of unwinding: wgpu 30's `Device::poll`
/// panics when the device turns out to be lost (`handle_error_fatal` in its backend/wgpu_core.rs).
pub(super) fn without_panic<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    EXPECTED.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    EXPECTED.set(false);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()))
            .unwrap_or_else(|| "the driver failed".to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_first_failure_stays() {
        let status = Status::default();
        assert!(status.error("card").is_none());
        status.lost("driver reset.");
        status.set(Failure::Memory);
        let error = status.error("card").unwrap();
        assert!(matches!(error, Error::Lost(_)));
        assert!(error.to_string().contains("card was lost: driver reset. The last"), "{error}");
    }

    #[test]
    fn panics_become_messages() {
        quiet_expected_panics();
        assert_eq!(without_panic(|| 7), Ok(7));
        let panic: Result<(), String> = without_panic(|| panic!("lost {}", 1));
        assert_eq!(panic.unwrap_err(), "lost 1");
        let panic: Result<(), String> = without_panic(|| panic!("plain"));
        assert_eq!(panic.unwrap_err(), "plain");
    }
}
