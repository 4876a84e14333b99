//! A nearest-neighbor classifier as the measure of a conditional generator (paper, supplementary
//! material; `lib/metrics.py` of the authors' code): how often is the nearest generated image of
//! another class than the real one? A generator that reproduces the whole distribution of each
//! class is worth as much to the classifier as real images.
//!
//! ```text
//! label(x) = label of the example e with the least |x − e|²
//! ```

use rayon::prelude::*;

use crate::data::Order;
use crate::distances::each_block;
use crate::error::{Error, Result};

/// Images to classify, with the nearest example of each so far.
#[derive(Debug)]
pub struct OneNn {
    /// `[n, width]`.
    images: Vec<f32>,
    width: usize,
    /// The squared distance of the nearest example, and its label.
    nearest: Vec<(f32, u32)>,
    /// Examples so far.
    examples: usize,
}

impl OneNn {
    /// A classifier without examples, for images `[n, width]`.
    ///
    /// # Errors
    /// [`Error::Length`] if they are not whole images.
    pub fn new(images: Vec<f32>, width: usize) -> Result<Self> {
        let n = images.len() / width.max(1);
        if width == 0 || !images.len().is_multiple_of(width) {
            return Err(Error::Length { shape: vec![n, width], len: images.len() });
        }
        let nearest = vec![(f32::INFINITY, u32::MAX); n];
        Ok(Self { images, width, nearest, examples: 0 })
    }

    /// The number of examples so far.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Adds examples `[labels, width]`. Of equally near ones the first counts.
    ///
    /// # Errors
    /// [`Error::Length`] if the numbers of images and labels differ.
    pub fn learn(&mut self, examples: &[f32], labels: &[u32]) -> Result<()> {
        let width = self.width;
        if examples.len() != labels.len() * width {
            let shape = vec![labels.len(), width];
            return Err(Error::Length { shape, len: examples.len() });
        }
        let nearest = &mut self.nearest;
        each_block(&self.images, examples, width, |rows, columns, distances| {
            let labels = &labels[columns];
            let each = nearest[rows].par_iter_mut().zip(distances.par_chunks(labels.len()));
            each.for_each(|(nearest, distances)| {
                for (&distance, &label) in distances.iter().zip(labels) {
                    if distance < nearest.0 {
                        *nearest = (distance, label);
                    }
                }
            });
        });
        self.examples += labels.len();
        Ok(())
    }

    /// For every class the number of images, and of those assigned to another class, where `truth`
    /// holds their labels, below `classes`.
    #[must_use]
    pub fn errors(&self, truth: &[u32], classes: usize) -> Errors {
        let mut errors = Errors { images: vec![0; classes], wrong: vec![0; classes] };
        for (&truth, &(_, label)) in truth.iter().zip(&self.nearest) {
            errors.images[truth as usize] += 1;
            errors.wrong[truth as usize] += usize::from(label != truth);
        }
        errors
    }
}

/// Errors of a classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// Images of every class.
    pub images: Vec<usize>,
    /// Misclassified images of every class.
    pub wrong: Vec<usize>,
}

impl Errors {
    /// The error rate over all images.
    #[must_use]
    pub fn share(&self) -> f64 {
        share(self.wrong.iter().sum(), self.images.iter().sum())
    }

    /// The error rate of one class.
    #[must_use]
    pub fn of_class(&self, class: usize) -> f64 {
        share(self.wrong[class], self.images[class])
    }
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of.max(1) as f64
}

/// Milestones for measuring the errors, in examples of each class: 100 and powers of ten times
/// that, below `most`, and `most`.
#[must_use]
pub fn milestones(most: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(100_usize), |n| n.checked_mul(10));
    powers.take_while(|&n| n < most).chain([most]).collect()
}

/// Real examples in the order in which they are added: shuffled by `seed`, with as many of each
/// class as the generator's up to each of `milestones`, as far as available. One list for each.
#[must_use]
pub fn draw(labels: &[u32], classes: usize, milestones: &[usize], seed: u64) -> Vec<Vec<u32>> {
    let mut lists = vec![Vec::new(); milestones.len()];
    let mut drawn = vec![0; classes];
    for item in (Order { seed, count: labels.len(), batch: 1 }).shuffled(0) {
        let drawn = &mut drawn[labels[item as usize] as usize];
        if let Some(stage) = milestones.iter().position(|&most| *drawn < most) {
            lists[stage].push(item);
        }
        *drawn += 1;
    }
    lists
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::rng::Stream;

    fn noise(n: usize, stream: u32) -> Vec<f32> {
        let mut x = vec![0.0; n];
        Stream::new(3, "noise", stream).fill_uniform(&mut x);
        x
    }

    /// Compared with single distances.
    #[test]
    fn the_nearest_example_gives_the_label() {
        let (width, n, examples, classes) = (7, 900, 300, 4);
        let (x, e) = (noise(n * width, 0), noise(examples * width, 1));
        let labels: Vec<u32> = (0..examples as u32).map(|i| i % classes).collect();
        let near = |x: &[f32]| {
            let distance = |e: &[f32]| -> f64 {
                x.iter().zip(e).map(|(&x, &e)| (f64::from(x) - f64::from(e)).powi(2)).sum()
            };
            let all = e.chunks(width).map(distance).zip(labels.iter().copied());
            all.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1
        };
        let truth: Vec<u32> = x.chunks(width).map(near).collect();
        let mut whole = OneNn::new(x.clone(), width).unwrap();
        whole.learn(&e, &labels).unwrap();
        let mut parts = OneNn::new(x, width).unwrap();
        for (e, labels) in e.chunks(100 * width).zip(labels.chunks(100)) {
            parts.learn(e, labels).unwrap();
        }
        for nn in [whole, parts] {
            assert_eq!(nn.examples(), examples);
            // Two examples may be equally near up to rounding.
            let errors = nn.errors(&truth, 4);
            assert!(errors.share() < 2e-3, "{errors:?}");
            assert_eq!(errors.images.iter().sum::<usize>(), n);
            let shifted: Vec<u32> = truth.iter().map(|t| (t + 1) % 4).collect();
            assert!(nn.errors(&shifted, 4).of_class(2) > 0.99);
        }
    }

    #[test]
    fn of_equally_near_examples_the_first_counts() {
        let mut nn = OneNn::new(vec![0.5, 0.5], 2).unwrap();
        nn.learn(&[0.0, 0.0, 1.0, 1.0], &[7, 8]).unwrap();
        nn.learn(&[0.0, 1.0], &[9]).unwrap();
        assert_eq!(nn.nearest[0].1, 7);
        assert!(nn.learn(&[0.0, 1.0], &[1, 2]).is_err());
        assert!(OneNn::new(vec![0.0; 5], 2).is_err());
    }

    #[test]
    fn real_examples_are_drawn_class_by_class() {
        assert_eq!(milestones(5000), [100, 1000, 5000]);
        assert_eq!(milestones(100), [100]);
        assert_eq!(milestones(7), [7]);
        // 40 of class 0, 10 of class 1.
        let labels: Vec<u32> = (0..50).map(|i| u32::from(i % 5 == 0)).collect();
        let lists = draw(&labels, 2, &[3, 20], 1);
        let count =
            |list: &[u32], class| list.iter().filter(|&&i| labels[i as usize] == class).count();
        assert_eq!([count(&lists[0], 0), count(&lists[0], 1)], [3, 3]);
        assert_eq!([count(&lists[1], 0), count(&lists[1], 1)], [17, 7]);
        assert_eq!(lists, draw(&labels, 2, &[3, 20], 1));
        assert_ne!(lists, draw(&labels, 2, &[3, 20], 2));
    }
}
