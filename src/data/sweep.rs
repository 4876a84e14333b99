//! Every image once, in a given order, decoded ahead on threads: for analysis of a whole set
//! rather than training.

use std::sync::mpsc::sync_channel;
use std::thread;

use rayon::prelude::*;

use super::loader::{Skipped, is_too_many};
use super::messages::count;
use super::prepare::Prepare;
use super::source::Source;
use crate::error::{Error, Result};

/// Decoded chunks that wait.
const AHEAD: usize = 2;

/// A few prepared images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Where the chunk begins in the order that was asked for.
    pub start: usize,
    /// How much of that order it covers, unreadable images included.
    pub len: usize,
    /// The places in the order of its readable images, counted from `start`.
    pub places: Vec<usize>,
    /// The readable images, `[places.len(), h, w, c]`.
    pub images: Vec<u8>,
}

/// Passes the images `items` of `source` to `take`, `chunk` at a time, in order, and returns those
/// that could not be read. Memory is bounded: at most three chunks are decoded.
///
/// # Errors
/// [`Error::Config`] for a target that cannot be made, [`Error::File`] where more than a tenth of the
/// images is unreadable, and whatever `take` returns.
pub fn sweep(
    source: &Source,
    prepare: &Prepare,
    items: &[u32],
    chunk: usize,
    take: impl FnMut(Chunk) -> Result<()>,
) -> Result<Vec<Skipped>> {
    prepare.check()?;
    sweep_by(source, |item| source.prepared(item, prepare), items, chunk, take)
}

/// The same with `read` decoding and preparing an image, or saying why it cannot be read.
pub(crate) fn sweep_by(
    source: &Source,
    read: impl Fn(usize) -> Result<Vec<u8>, String> + Sync,
    items: &[u32],
    chunk: usize,
    mut take: impl FnMut(Chunk) -> Result<()>,
) -> Result<Vec<Skipped>> {
    let chunk = chunk.max(1);
    let mut skipped = Vec::new();
    let read = &read;
    let decode =
        |items: &[u32]| -> Vec<_> { items.par_iter().map(|&i| read(i as usize)).collect() };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let ahead = move || {
            for items in items.chunks(chunk) {
                // The receiver is gone after an error.
                if sender.send(decode(items)).is_err() {
                    return;
                }
            }
        };
        let decoded: Box<dyn Iterator<Item = _>> =
            match thread::Builder::new().spawn_scoped(scope, ahead) {
                Ok(_) => Box::new(receiver.into_iter()),
                // If no thread can be started, one chunk after the other.
                Err(_) => Box::new(items.chunks(chunk).map(decode)),
            };
        let mut start = 0;
        for decoded in decoded {
            let mut now = Chunk { start, len: decoded.len(), ..Chunk::default() };
            for (place, image) in decoded.into_iter().enumerate() {
                match image {
                    Ok(image) => {
                        now.places.push(place);
                        now.images.extend_from_slice(&image);
                    }
                    Err(reason) => {
                        let name = source.item_name(items[start + place] as usize);
                        skipped.push(Skipped { name, reason });
                    }
                }
            }
            if is_too_many(skipped.len(), items.len()) {
                let what = format!(
                    "{} or more of {} are unreadable, which is more than a tenth; replace or \
                     remove them (the first: {})",
                    skipped.len(),
                    count(items.len(), "image"),
                    skipped[0]
                );
                return Err(Error::file(source.origin(), what));
            }
            start += now.len;
            take(now)?;
        }
        Ok(())
    })?;
    Ok(skipped)
}
