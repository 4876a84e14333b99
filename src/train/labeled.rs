//! The few labeled images of semi-supervised training.

use crate::data::{Prepare, Source, count};
use crate::error::{Error, Result};
use crate::rng::Stream;

/// A fixed number of images of each class, drawn once, and batches of them.
#[derive(Clone, Debug)]
pub struct Labeled {
    /// Prepared images, one after another.
    images: Vec<u8>,
    labels: Vec<u32>,
    seed: u64,
}

impl Labeled {
    /// Draws `per_class` images of each class, deterministic in the images and the seed.
    ///
    /// # Errors
    /// [`Error::Config`] if a class has fewer readable images, or there are no labels.
    pub fn draw(source: &Source, prepare: &Prepare, per_class: usize, seed: u64) -> Result<Self> {
        let field = "labels_per_class";
        let Some(labels) = source.labels() else {
            let what = format!("{} {}", source.origin().display(), source.why_no_classes());
            return Err(Error::config(field, what));
        };
        let mut drawn = Self { images: Vec::new(), labels: Vec::new(), seed };
        let mut missing = vec![per_class; source.classes().len()];
        // Without flips or random crops, which the training's own batches have.
        let plain = Prepare { flip: false, ..prepare.clone() };
        for item in Stream::new(seed, "labelled", 0).permutation(labels.len()) {
            let label = labels[item as usize];
            if missing[label as usize] == 0 {
                continue;
            }
            let Ok(image) = source.prepared(item as usize, &plain) else { continue };
            missing[label as usize] -= 1;
            drawn.images.extend(image);
            drawn.labels.push(label);
        }
        match missing.iter().position(|&m| m > 0) {
            None => Ok(drawn),
            Some(class) => {
                let what = format!(
                    "the class {:?} has only {} that can be read",
                    source.classes()[class],
                    count(per_class - missing[class], "image")
                );
                Err(Error::config(field, what))
            }
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The images and labels of step `step`, from 0: all equally often, in an order reshuffled
    /// every epoch.
    #[must_use]
    pub fn batch(&self, step: u64, n: usize) -> (Vec<u8>, Vec<u32>) {
        let count = self.len();
        let size = self.images.len() / count.max(1);
        let (mut images, mut labels) = (Vec::with_capacity(n * size), Vec::with_capacity(n));
        let mut round = (u64::MAX, Vec::new());
        for at in step * n as u64..(step + 1) * n as u64 {
            let now = at / count as u64;
            if round.0 != now {
                round = (now, Stream::new(self.seed, "labels", now as u32).permutation(count));
            }
            let item = round.1[(at % count as u64) as usize] as usize;
            images.extend(&self.images[item * size..(item + 1) * size]);
            labels.push(self.labels[item]);
        }
        (images, labels)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn all_come_equally_often_with_their_own_labels() {
        let labeled = Labeled { images: (0..10).collect(), labels: vec![0, 1, 2, 3, 4], seed: 7 };
        let mut seen = [0; 5];
        let mut orders = Vec::new();
        for step in 0..15 {
            let (images, labels) = labeled.batch(step, 4);
            assert_eq!((images.len(), labels.len()), (8, 4));
            for (image, &label) in images.chunks(2).zip(&labels) {
                assert_eq!(image, [2 * label as u8, 2 * label as u8 + 1]);
                seen[label as usize] += 1;
            }
            orders.push(labels);
        }
        assert_eq!(seen, [12; 5]);
        assert_ne!(orders[0], orders[5]);
        assert_eq!(labeled.batch(3, 4), labeled.batch(3, 4));
    }

    #[test]
    fn so_many_of_each_class_are_drawn_or_the_class_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (class, count) in [("left", 5), ("right", 3)] {
            std::fs::create_dir(dir.path().join(class)).unwrap();
            for i in 0..count {
                let image = image::RgbImage::from_pixel(8, 8, image::Rgb([40 * i, 9, 7]));
                image.save(dir.path().join(class).join(format!("{i}.png"))).unwrap();
            }
        }
        let source = Source::open(Some(dir.path())).unwrap();
        let prepare = Prepare { height: 8, width: 8, channels: 1, ..Prepare::default() };
        let drawn = Labeled::draw(&source, &prepare, 3, 1).unwrap();
        assert_eq!((drawn.len(), drawn.images.len()), (6, 6 * 64));
        assert_eq!(drawn.labels.iter().filter(|&&l| l == 0).count(), 3);
        let again = Labeled::draw(&source, &prepare, 3, 1).unwrap();
        assert_eq!((again.labels, again.images), (drawn.labels, drawn.images));
        let error = Labeled::draw(&source, &prepare, 4, 1).unwrap_err().to_string();
        assert!(error.contains("\"right\" has only 3 images that"), "{error}");
    }
}
