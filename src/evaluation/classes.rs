//! Scores by a classifier of the set's own classes: whether images are of the class that was asked for.

use super::Features;
use super::metric::Measured;

/// What a classifier predicts of images, and their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// Logits, `[count, classes]`.
    pub logits: Features,
    /// The class of each image: of a generated one the class that it was drawn in, of a real one its
    /// own. `None` for images without classes.
    pub labels: Option<Vec<u32>>,
}

impl Classified {
    /// The images of these indices, in this order.
    #[must_use]
    pub fn select(&self, items: &[u32]) -> Self {
        let of = |labels: &Vec<u32>| items.iter().map(|&i| labels[i as usize]).collect();
        Self { logits: self.logits.select(items), labels: self.labels.as_ref().map(of) }
    }

    /// The share of images that are predicted to be of their class, if they have classes.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let labels = self.labels.as_ref()?;
        let hits = labels.iter().enumerate().filter(|&(i, &label)| self.predicted(i) == label);
        Some(hits.count() as f64 / labels.len().max(1) as f64)
    }

    /// The class with the largest logit, the first one of several.
    fn predicted(&self, i: usize) -> u32 {
        let row = self.logits.row(i);
        let best = (1..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        best as u32
    }

    /// The mean over classes, and each class with images in `names`.
    pub(super) fn measured(&self, names: &[String]) -> Option<Measured> {
        let labels = self.labels.as_ref()?;
        let share = |class: usize| {
            let own = (0..labels.len()).filter(|&i| labels[i] as usize == class);
            let (hits, all) = own.fold((0_usize, 0_usize), |(hits, all), i| {
                (hits + usize::from(self.predicted(i) == labels[i]), all + 1)
            });
            (all > 0).then(|| hits as f64 / all as f64)
        };
        let parts = names.iter().enumerate();
        let parts = parts.filter_map(|(class, name)| Some((name.clone(), share(class)?))).collect();
        Some(Measured { parts, ..Measured::of(self.accuracy()?) })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn images_count_if_their_own_class_is_the_likeliest() {
        let values = vec![2.0, 1.0, 0.0, 0.0, 1.0, 1.0, -3.0, -2.0, -1.0, 0.0, 5.0, 0.0];
        let logits = Features::new(3, values).unwrap();
        let classified = |labels| Classified { logits: logits.clone(), labels };
        let all = classified(Some(vec![0, 1, 2, 0]));
        // Of equal logits the first counts.
        assert_eq!(all.accuracy(), Some(0.75));
        assert_eq!(all.select(&[3, 0]).accuracy(), Some(0.5));
        assert_eq!(classified(Some(vec![1, 2, 0, 2])).accuracy(), Some(0.0));
        assert_eq!(classified(None).accuracy(), None);
        let names = ["a", "b", "c", "d"].map(String::from);
        let parts = all.measured(&names).unwrap().parts;
        assert_eq!(parts, [("a".into(), 0.5), ("b".into(), 1.0), ("c".into(), 1.0)]);
    }
}
