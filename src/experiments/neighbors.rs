//! Checks whether a generator memorizes: finds the training images nearest to its samples (paper,
//! section 4), by pixels and by the discriminator's features.
//!
//! Training images give the scale of distances: some of them are looked up like the samples,
//! excluding themselves. Samples that are much nearer to the set than its own images are to one
//! another have been memorized.

use rayon::prelude::*;

use crate::data::{Order, Prepare, Skipped, Source, sweep};
use crate::device::State;
use crate::error::{Error, Result};
use crate::features::Extractor;

/// Training images that are looked up for comparison.
pub const PROBES: usize = 32;

/// An image of a set, with its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// By pixels: the root mean squared difference, in gray levels of 0 to 255. By features: the
    /// root mean squared difference of features.
    pub distance: f32,
    /// Its index in the set.
    pub item: u32,
}

/// The nearest images of one query, nearest first; equally near ones in the order of the set.
pub type Nearest = Vec<Near>;

/// Keeps the `count` nearest.
fn offer(nearest: &mut Nearest, count: usize, near: Near) {
    let order = |a: &Near| (a.distance, a.item);
    let at = nearest.partition_point(|a| order(a) <= order(&near));
    if at < count {
        nearest.insert(at, near);
        nearest.truncate(count);
    }
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its bytes `[h, w, c]`.
    pub image: Vec<u8>,
    /// Its own index if it is from the set itself: not counted as its neighbor.
    pub item: Option<u32>,
}

/// Training images for comparison: [`PROBES`] of the set, or all of a smaller one, always the same
/// for a seed; unreadable ones are left out.
#[must_use]
pub fn probes(source: &Source, prepare: &Prepare, seed: u64) -> Vec<Query> {
    let order = Order { seed, count: source.len(), batch: 1 }.shuffled(0);
    let query = |&item: &u32| {
        let image = source.prepared(item as usize, prepare).ok()?;
        Some(Query { image, item: Some(item) })
    };
    order.iter().take(PROBES).filter_map(query).collect()
}

/// The results of a search, for each query.
#[derive(Clone, Debug, Default)]
pub struct Neighbors {
    /// By pixels.
    pub by_pixels: Vec<Nearest>,
    /// By features; empty without a discriminator.
    pub by_features: Vec<Nearest>,
    /// Unreadable images.
    pub skipped: Vec<Skipped>,
}

/// Finds the `count` nearest images of `source` for every query, `chunk` images at a time: memory
/// does not grow with the set. `features` is a discriminator and its states. `done` receives the
/// number of images processed.
///
/// # Errors
/// Those of [`sweep`]; [`Error::Length`] if a query does not have the prepared size;
/// [`Error::Lost`] if the device fails.
pub fn find(
    source: &Source,
    prepare: &Prepare,
    queries: &[Query],
    count: usize,
    chunk: usize,
    mut features: Option<(&mut Extractor, &mut State)>,
    mut done: impl FnMut(usize),
) -> Result<Neighbors> {
    let numbers = prepare.len();
    if let Some(query) = queries.iter().find(|query| query.image.len() != numbers) {
        let shape = vec![prepare.height, prepare.width, prepare.channels];
        return Err(Error::Length { shape, len: query.image.len() });
    }
    let mut wanted = Vec::new();
    if let Some((extractor, state)) = &mut features {
        let images: Vec<u8> = queries.iter().flat_map(|q| q.image.iter().copied()).collect();
        wanted = extractor.features(state, &images)?;
    }
    let width = wanted.len() / queries.len().max(1);
    let mut by_pixels = vec![Nearest::new(); queries.len()];
    let mut by_features = vec![Nearest::new(); if width == 0 { 0 } else { queries.len() }];
    let items: Vec<u32> = (0..source.len() as u32).collect();
    let skipped = sweep(source, prepare, &items, chunk, |chunk| {
        let items: Vec<u32> = chunk.places.iter().map(|&p| (chunk.start + p) as u32).collect();
        by_pixels.par_iter_mut().zip(queries).for_each(|(nearest, query)| {
            for (&item, image) in items.iter().zip(chunk.images.chunks(numbers)) {
                let distance = rms_of_bytes(&query.image, image);
                if query.item != Some(item) {
                    offer(nearest, count, Near { distance, item });
                }
            }
        });
        if let Some((extractor, state)) = &mut features {
            let found = extractor.features(state, &chunk.images)?;
            by_features.par_iter_mut().zip(wanted.par_chunks(width)).zip(queries).for_each(
                |((nearest, wanted), query)| {
                    for (&item, found) in items.iter().zip(found.chunks(width)) {
                        let distance = rms(wanted, found);
                        if query.item != Some(item) {
                            offer(nearest, count, Near { distance, item });
                        }
                    }
                },
            );
        }
        done(chunk.len);
        Ok(())
    })?;
    Ok(Neighbors { by_pixels, by_features, skipped })
}

/// Root mean squared difference of bytes; exact up to the last rounding.
fn rms_of_bytes(a: &[u8], b: &[u8]) -> f32 {
    let square = |(&a, &b): (&u8, &u8)| u32::from(a.abs_diff(b)).pow(2);
    // 2¹⁶ squares of bytes fit into 32 bits.
    let blocks = a.chunks(1 << 16).zip(b.chunks(1 << 16));
    let sum: u64 = blocks.map(|(a, b)| u64::from(a.iter().zip(b).map(square).sum::<u32>())).sum();
    (sum as f64 / a.len().max(1) as f64).sqrt() as f32
}

/// Root mean squared difference.
fn rms(a: &[f32], b: &[f32]) -> f32 {
    // Eight partial sums: a single one could not be vectorized.
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    let sum: f64 = sums.iter().map(|&s| f64::from(s)).sum();
    (sum / a.len().max(1) as f64).sqrt() as f32
}

/// The median distance to the nearest image; `None` if no query has one.
#[must_use]
pub fn median_distance(nearest: &[Nearest]) -> Option<f32> {
    let mut distances: Vec<f32> =
        nearest.iter().filter_map(|n| Some(n.first()?.distance)).collect();
    distances.sort_by(f32::total_cmp);
    let last = distances.len().checked_sub(1)?;
    Some((distances[last / 2] + distances[last.div_ceil(2)]) / 2.0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use image::{Rgb, RgbImage};

    use super::*;
    use crate::data::{Crop, Filter};
    use crate::device::Device;
    use crate::models::Size;
    use crate::models::{Architecture, ModelConfig};

    const SIDE: usize = 16;

    const PREPARE: Prepare = Prepare {
        height: SIDE,
        width: SIDE,
        channels: 3,
        crop: Crop::Center,
        filter: Filter::Nearest,
        flip: false,
    };

    /// Images of a single gray each: 0, 10, 20…
    fn set(dir: &Path, n: u8) -> Source {
        for i in 0..n {
            let image = RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb([10 * i; 3]));
            image.save(dir.join(format!("{i:03}.png"))).unwrap();
        }
        Source::open(Some(dir)).unwrap()
    }

    fn gray(level: u8, item: Option<u32>) -> Query {
        Query { image: vec![level; PREPARE.len()], item }
    }

    fn near(nearest: &Nearest) -> Vec<(u32, f32)> {
        nearest.iter().map(|near| (near.item, near.distance)).collect()
    }

    #[test]
    fn the_nearest_come_first_and_oneself_never() {
        let dir = tempfile::tempdir().unwrap();
        let source = set(dir.path(), 20);
        let queries = [gray(52, None), gray(45, None), gray(0, Some(0)), gray(70, Some(7))];
        for chunk in [1, 6, 64] {
            let mut seen = 0;
            let found = find(&source, &PREPARE, &queries, 3, chunk, None, |n| seen += n).unwrap();
            assert_eq!(seen, 20);
            assert!(found.by_features.is_empty() && found.skipped.is_empty());
            let found: Vec<_> = found.by_pixels.iter().map(near).collect();
            assert_eq!(found[0], [(5, 2.0), (6, 8.0), (4, 12.0)]);
            // Equally near: in the order of the set.
            assert_eq!(found[1], [(4, 5.0), (5, 5.0), (3, 15.0)]);
            assert_eq!(found[2], [(1, 10.0), (2, 20.0), (3, 30.0)]);
            assert_eq!(found[3], [(6, 10.0), (8, 10.0), (5, 20.0)]);
        }
        let few = find(&source, &PREPARE, &queries[2..3], 99, 8, None, |_| ()).unwrap();
        assert_eq!(few.by_pixels[0].len(), 19);
        let small = Query { image: vec![0; 5], item: None };
        assert!(find(&source, &PREPARE, &[small], 3, 8, None, |_| ()).is_err());
    }

    #[test]
    fn features_find_the_same_image_and_batches_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let source = set(dir.path(), 12);
        let size = Size { height: SIDE, width: SIDE };
        let model = ModelConfig {
            network: Architecture::Dcgan,
            size,
            channels: 3,
            nz: 4,
            ngf: 4,
            ndf: 4,
            ..ModelConfig::default()
        };
        let networks = model.networks().unwrap();
        let mut state = State::new(&Device::Cpu);
        for param in networks.params() {
            state.set(&param.name, &param.initial(1)).unwrap();
        }
        let queries = [gray(50, None), gray(50, Some(5))];
        let mut find = |batch, chunk| {
            let mut extractor = Extractor::new(&networks, &mut state, batch).unwrap();
            let features = Some((&mut extractor, &mut state));
            find(&source, &PREPARE, &queries, 2, chunk, features, |_| ()).unwrap().by_features
        };
        let found = find(4, 12);
        assert!(found[0][0].item == 5 && found[0][0].distance < 1e-6, "{found:?}");
        assert!(found[1].iter().all(|near| near.item != 5 && near.distance > 0.0), "{found:?}");
        assert_eq!(found[0][1].item, found[1][0].item);
        let items =
            |found: &[Nearest]| -> Vec<u32> { found.iter().flatten().map(|n| n.item).collect() };
        assert_eq!(items(&find(4, 5)), items(&found));
    }

    #[test]
    fn distances_are_roots_of_mean_squares() {
        let mut a = vec![0_u8; 200_000];
        a[..100_000].fill(200);
        assert_eq!(rms_of_bytes(&a, &vec![0; 200_000]), 20_000_f32.sqrt());
        let a: Vec<f32> = (0..11).map(|i| i as f32).collect();
        // 0 + 1 + 4 + … + 100 = 385.
        assert!((rms(&a, &[0.0; 11]) - 35_f32.sqrt()).abs() < 1e-6);
        let near = |distance| vec![Near { distance, item: 0 }];
        assert_eq!(median_distance(&[near(3.0), near(1.0), near(10.0)]), Some(3.0));
        assert_eq!(median_distance(&[near(3.0), Vec::new(), near(1.0)]), Some(2.0));
        assert_eq!(median_distance(&[Vec::new()]), None);
    }

    #[test]
    fn probes_are_of_the_set_and_the_same_for_a_seed() {
        let dir = tempfile::tempdir().unwrap();
        let source = set(dir.path(), 20);
        std::fs::write(dir.path().join("000.png"), "no image any more").unwrap();
        let found = probes(&source, &PREPARE, 0);
        assert_eq!(found.len(), 19);
        for query in &found {
            let item = query.item.unwrap() as u8;
            assert!(item != 0 && query.image.iter().all(|&b| b == 10 * item));
        }
        let items =
            |seed| probes(&source, &PREPARE, seed).iter().map(|q| q.item).collect::<Vec<_>>();
        assert_eq!(items(0), items(0));
        assert_ne!(items(0), items(1));
    }
}
