//! Captions of a set's images.
//!
//! | where | what |
//! | --- | --- |
//! | `captions.txt`, `captions.tsv` | a line `FILE<tab>caption` for each caption |
//! | `captions.json` | `{FILE: caption, FILE: [caption, …], …}` |
//! | `captions_train.json` and the like | COCO's `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}` |
//! | `x/0001.txt` for `x/0001.jpg`, or `text/x/0001.txt` for `images/x/0001.jpg` | a caption a line, as for CUB-200 |
//!
//! Files are named relative to the folder of the file that names them. Every image needs a caption,
//! and every caption an image; an image may have several captions.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use flate2::Crc;

use super::messages::count;
use super::source::Source;
use crate::error::{Error, Result};
use crate::rng::Stream;
use crate::text::words;

pub(super) use read::{is_captions, is_text};

/// The captions of a set's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captions {
    /// Those of each image, at least one.
    texts: Vec<Vec<String>>,
    /// The words of each caption that few images have.
    telling: Vec<Vec<Vec<u32>>>,
    /// All words of each image's captions, sorted.
    known: Vec<Vec<u32>>,
    /// The files that they are from, for messages.
    from: String,
    checksum: u32,
}

/// Draws of an image that a caption is wrong for, before all images are tried.
const DRAWS: usize = 32;

/// The end of the error for a set without captions.
const WHAT_WORKS: &str = "put a file captions.txt beside the images, with a line FILE<tab>caption for \
                          each of them, or captions.json, or a .txt file for each image";

impl Captions {
    /// Of images called `names`, each with its captions.
    fn new(names: &[String], texts: Vec<Vec<String>>, from: String) -> Self {
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut numbered = |text: &String| {
            let next = |word| {
                let next = numbers.len() as u32;
                *numbers.entry(word).or_insert(next)
            };
            words(text).map(next).collect::<BTreeSet<u32>>().into_iter().collect::<Vec<u32>>()
        };
        let each: Vec<Vec<Vec<u32>>> =
            texts.iter().map(|own| own.iter().map(&mut numbered).collect()).collect();
        let known: Vec<Vec<u32>> = each
            .iter()
            .map(|own| own.iter().flatten().copied().collect::<BTreeSet<u32>>())
            .map(|own| own.into_iter().collect())
            .collect();
        let mut images = vec![0_usize; numbers.len()];
        known.iter().flatten().for_each(|&word| images[word as usize] += 1);
        let is_telling = |word: &u32| 2 * images[*word as usize] <= texts.len();
        let telling = each
            .into_iter()
            .map(|own| own.into_iter().map(|w| w.into_iter().filter(is_telling).collect()))
            .map(Iterator::collect)
            .collect();
        let mut sum = Crc::new();
        for (name, own) in names.iter().zip(&texts) {
            for text in own {
                sum.update(name.as_bytes());
                sum.update(b"\t");
                sum.update(text.as_bytes());
                sum.update(b"\n");
            }
        }
        Self { texts, telling, known, from, checksum: sum.sum() }
    }

    /// The captions of an image, at least one.
    #[must_use]
    pub fn of(&self, item: usize) -> &[String] {
        &self.texts[item]
    }

    /// All captions, image by image.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().flatten().map(String::as_str)
    }

    /// Where they come from: `captions.txt`.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Identifies them, with the names of their images.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// The number of one of an image's captions, chosen by a random number.
    #[must_use]
    pub fn choose(&self, item: usize, chance: u32) -> usize {
        ((u64::from(chance) * self.texts[item].len() as u64) >> 32) as usize
    }

    /// Whether caption `caption` of image `item` is wrong for the image `other`: one of its words
    /// is in none of that image's captions. Words that most images have, such as "a", do not count.
    #[must_use]
    pub fn is_wrong(&self, item: usize, caption: usize, other: usize) -> bool {
        let known = &self.known[other];
        self.telling[item][caption].iter().any(|word| known.binary_search(word).is_err())
    }

    /// An image that this caption is wrong for ([`Captions::is_wrong`]), drawn from a stream; if it
    /// is right for all, any other image.
    #[must_use]
    pub fn draw_wrong(&self, item: usize, caption: usize, stream: &mut Stream) -> usize {
        let count = self.texts.len();
        if count < 2 {
            return item;
        }
        let mut draw = || stream.below(count as u32) as usize;
        for _ in 0..DRAWS {
            let other = draw();
            if self.is_wrong(item, caption, other) {
                return other;
            }
        }
        let start = draw();
        let after = || (0..count).map(|i| (start + i) % count);
        let wrong = after().find(|&other| self.is_wrong(item, caption, other));
        wrong.or_else(|| after().find(|&other| other != item)).unwrap_or(item)
    }
}

impl Source {
    /// The captions of its images.
    ///
    /// # Errors
    /// [`Error::File`] if there are none, one is empty, an image has none, or one has no image.
    pub fn captions(&self) -> Result<Captions> {
        let fail = |what: String| Error::file(self.origin(), format!("DATA {what}"));
        let Some((store, indices)) = self.image_files() else {
            return Err(fail(format!("has no captions, as it has no image files; {WHAT_WORKS}")));
        };
        let Some(mut found) = read::all(store, indices).map_err(fail)? else {
            return Err(fail(format!("has no captions; {WHAT_WORKS}")));
        };
        let names: Vec<String> = indices.iter().map(|&i| store.names()[i].clone()).collect();
        let texts: Vec<Vec<String>> =
            indices.iter().map(|index| found.by_index.remove(index).unwrap_or_default()).collect();
        let lacking = texts.iter().filter(|own| own.is_empty()).count();
        if let Some(first) = texts.iter().position(Vec::is_empty) {
            return Err(fail(format!(
                "has {lacking} of {} without a caption (the first: {}); give each at least one in {}",
                count(texts.len(), "image"),
                names[first],
                found.from
            )));
        }
        Ok(Captions::new(&names, texts, found.from))
    }

    /// A sentence on its captions, or on what is wrong with them; `None` if it has none.
    pub(super) fn captions_note(&self) -> Option<String> {
        match self.captions() {
            Ok(captions) => {
                let total = captions.texts.iter().map(Vec::len).sum();
                Some(format!("{} from {}", count(total, "caption"), captions.from))
            }
            Err(error) => {
                let (store, _) = self.image_files()?;
                let has_some = store.names().iter().any(|name| is_captions(name));
                has_some.then(|| error.to_string())
            }
        }
    }

    /// The file of captions of a copy of the set that has the images `items` alone, under `names`; `None`
    /// if the set has no captions that can be read.
    pub(super) fn captions_subset(
        &self,
        items: &[u32],
        names: &[String],
    ) -> Option<(String, Vec<u8>)> {
        let captions = self.captions().ok()?;
        let line = |(&item, name): (&u32, &String)| {
            let lines = captions.of(item as usize).iter();
            lines.map(|text| format!("{name}\t{text}\n")).collect::<String>()
        };
        Some((
            "captions.txt".into(),
            items.iter().zip(names).map(line).collect::<String>().into_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(texts: &[&[&str]]) -> Captions {
        let names: Vec<String> = (0..texts.len()).map(|i| format!("{i}.png")).collect();
        let texts = texts.iter().map(|own| own.iter().map(ToString::to_string).collect());
        Captions::new(&names, texts.collect(), "captions.txt".into())
    }

    #[test]
    fn a_caption_is_wrong_for_images_that_lack_one_of_its_words() {
        let all = captions(&[
            &["a face with red hair", "red hair, blue hat"],
            &["a face with red hair"],
            &["someone with black hair"],
            &["a person with black hair, a blue hat", "someone"],
            &["a face"],
        ]);
        // "someone" may be a face too, but one of "red" and "blue" is always named.
        assert!(!all.is_wrong(0, 0, 0) && !all.is_wrong(0, 0, 1));
        assert!(all.is_wrong(0, 0, 2) && all.is_wrong(0, 1, 1) && all.is_wrong(0, 1, 3));
        // "hair" and "a" are in most images.
        assert!(!all.is_wrong(4, 0, 0));
        let mut seen = BTreeSet::new();
        for step in 0..200 {
            let other = all.draw_wrong(0, 0, &mut Stream::new(1, "wrong", step));
            assert!(all.is_wrong(0, 0, other));
            assert_eq!(other, all.draw_wrong(0, 0, &mut Stream::new(1, "wrong", step)));
            seen.insert(other);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    }

    #[test]
    fn a_caption_that_is_right_for_all_gets_another_image() {
        let all = captions(&[&["a face"], &["a face"], &["a face"]]);
        for step in 0..20 {
            assert_ne!(all.draw_wrong(1, 0, &mut Stream::new(1, "wrong", step)), 1);
        }
        // One wrong image among many is found.
        let mut texts: Vec<&[&str]> = vec![&["red"]; 400];
        texts.push(&["blue"]);
        // "red" is in most images, so only "blue" tells.
        let all = captions(&texts);
        assert!(all.draw_wrong(400, 0, &mut Stream::new(1, "wrong", 0)) < 400);
    }

    #[test]
    fn every_caption_of_an_image_is_chosen() {
        let all = captions(&[&["a", "b", "c"], &["d"]]);
        let at = |chance| all.choose(0, chance);
        assert_eq!([at(0), at(u32::MAX / 2), at(u32::MAX)], [0, 1, 2]);
        assert_eq!(all.choose(1, u32::MAX), 0);
        assert_ne!(all.checksum(), captions(&[&["a", "b", "x"], &["d"]]).checksum());
    }
}
