//! Panics of decoders: caught, and not printed.
//!
//! A panic's message is written by a hook of the whole process before anyone catches it. So a hook is
//! put in front of the one that was there, which keeps quiet on threads that are decoding.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Set while it lives; holds what was set before.
struct Decoding(bool);

impl Decoding {
    fn start() -> Self {
        Self(DECODING.replace(true))
    }
}

impl Drop for Decoding {
    fn drop(&mut self) {
        DECODING.set(self.0);
    }
}

/// What `f` returns; `None`, without printing, if it panics.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !DECODING.try_with(Cell::get).unwrap_or(false) {
                before(info);
            }
        }));
    });
    let _decoding = Decoding::start();
    catch_unwind(AssertUnwindSafe(f)).ok()
}
