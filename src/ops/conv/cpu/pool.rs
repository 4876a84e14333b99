//! Scratch memory cut into areas, and into pieces that tasks borrow.

use std::sync::Mutex;

/// Scratch memory that tasks borrow one piece of at a time.
///
/// A task must not wait for other tasks while it holds its piece: its thread could be given one
/// that needs another piece.
pub(super) struct Pool<'a>(Mutex<Vec<&'a mut [f32]>>);

impl<'a> Pool<'a> {
    /// Pieces of `each` floats, at least one for each thread.
    pub(super) fn new(memory: &'a mut [f32], each: usize) -> Self {
        Self(Mutex::new(memory.chunks_exact_mut(each.max(1)).collect()))
    }

    pub(super) fn with<T>(&self, task: impl FnOnce(&mut [f32]) -> T) -> T {
        let lock = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let memory = lock().pop().expect("there is a piece for every thread");
        let result = task(memory);
        lock().push(memory);
        result
    }
}

/// Cuts scratch memory into areas of these sizes.
pub(super) fn areas<const N: usize>(mut memory: &mut [f32], sizes: [usize; N]) -> [&mut [f32]; N] {
    sizes.map(|size| {
        let (area, rest) = std::mem::take(&mut memory).split_at_mut(size);
        memory = rest;
        area
    })
}
