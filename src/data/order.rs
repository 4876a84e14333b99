//! The order of images, their crops, flips and captions: pure functions of seed, epoch and image, so that a
//! run that resumes at batch k continues exactly like one that never stopped.

use crate::rng::Stream;

/// The order of a set under a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The run's seed.
    pub seed: u64,
    /// Images in the set, unreadable ones included.
    pub count: usize,
    /// Images in a batch.
    pub batch: usize,
}

impl Order {
    /// Batches in an epoch. The images beyond the last whole batch wait for another epoch, in
    /// another order.
    #[must_use]
    pub fn batches(&self) -> u64 {
        (self.count / self.batch) as u64
    }

    /// The epoch of a batch, counted from the start of the run, and where in the epoch's order its
    /// first image stands.
    #[must_use]
    pub fn place(&self, index: u64) -> (u64, usize) {
        let batches = self.batches();
        (index / batches, (index % batches) as usize * self.batch)
    }

    /// All images in the order of an epoch.
    #[must_use]
    pub fn shuffled(&self, epoch: u64) -> Vec<u32> {
        Stream::new(self.seed, "shuffle", epoch as u32).permutation(self.count)
    }

    /// Whether an image is mirrored in an epoch: with probability 1/2.
    #[must_use]
    pub fn is_flipped(&self, epoch: u64, item: u32) -> bool {
        Stream::new(self.seed, "flip", epoch as u32).block(u64::from(item))[0] >> 31 == 1
    }

    /// The random number that chooses one of an image's captions in an epoch.
    #[must_use]
    pub fn caption_chance(&self, epoch: u64, item: u32) -> u32 {
        Stream::new(self.seed, "caption", epoch as u32).block(u64::from(item))[0]
    }

    /// The random numbers that choose an image whose captions differ from those of `item`.
    #[must_use]
    pub fn companion(&self, epoch: u64, item: u32) -> Stream {
        let stream = format!("companion {epoch}");
        Stream::new(self.seed, &stream, item)
    }

    /// The random number that places an image's crop in an epoch.
    #[must_use]
    pub fn crop_chance(&self, epoch: u64, item: u32) -> u32 {
        Stream::new(self.seed, "crop", epoch as u32).block(u64::from(item))[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_whole_batches_only() {
        let order = Order { seed: 1, count: 10, batch: 3 };
        assert_eq!(order.batches(), 3);
        let places: Vec<_> = (0..5).map(|i| order.place(i)).collect();
        assert_eq!(places, [(0, 0), (0, 3), (0, 6), (1, 0), (1, 3)]);
    }

    #[test]
    fn epochs_seeds_and_streams_differ() {
        let order = Order { seed: 1, count: 100, batch: 10 };
        assert_ne!(order.shuffled(0), order.shuffled(1));
        assert_ne!(order.shuffled(0), Order { seed: 2, ..order }.shuffled(0));
        assert_ne!(order.crop_chance(0, 5), order.crop_chance(1, 5));
        assert_ne!(order.crop_chance(0, 5), order.crop_chance(0, 6));

        let flips = |epoch| (0..1000).filter(move |&item| order.is_flipped(epoch, item)).count();
        assert!((400..600).contains(&flips(0)), "{} of 1000 flipped", flips(0));
        assert!((0..1000).any(|i| order.is_flipped(0, i) != order.is_flipped(1, i)));
    }
}
