//! The encoder of a model: its vocabulary, and some captions that it was trained on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::rng::{Stream, stream_id};

use super::vectors::TextVectors;
use super::vocabulary::{frequent, words};

/// Captions in which a word must occur.
const LEAST: usize = 2;
/// Most words of a vocabulary.
const MOST_WORDS: usize = 4096;
/// Fewest and most bins of pairs of words.
const BINS: std::ops::RangeInclusive<usize> = 64..=2048;
/// Captions that a model keeps as examples.
const EXAMPLES: usize = 64;

/// Makes vectors of captions: see [`crate::text`]. The default has no words, for models without
/// text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoder {
    /// The words, sorted.
    pub words: Vec<String>,
    /// Bins that pairs of neighboring words are hashed into.
    pub bins: usize,
    /// Some captions of the training set.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Identifies all captions of the training set.
    #[serde(default)]
    pub checksum: u32,
    /// Vectors of another program, instead of words and bins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<TextVectors>,
}

/// Some of the captions, drawn by `seed`, each once.
fn examples(captions: &[&str], seed: u64) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let order = Stream::new(seed, "examples", 0).permutation(captions.len());
    let each = order.into_iter().map(|i| captions[i as usize]);
    each.filter(|caption| seen.insert(*caption)).take(EXAMPLES).map(str::to_owned).collect()
}

/// The entries of a vector that are set.
fn bin(first: &str, second: &str, bins: usize) -> usize {
    stream_id(&format!("{first} {second}")) as usize % bins
}

impl TextEncoder {
    /// The encoder of a set with these captions, with examples drawn by `seed`.
    #[must_use]
    pub fn of(captions: &[&str], checksum: u32, seed: u64) -> Self {
        let found = frequent(captions.iter().copied(), LEAST, MOST_WORDS);
        let mut encoder = Self { words: found, bins: 1, checksum, ..Self::default() };
        let mut pairs = BTreeSet::new();
        for caption in captions {
            let known = encoder.known(caption);
            pairs.extend(known.windows(2).map(|pair| (pair[0], pair[1])));
        }
        // Twice as many bins as pairs: few share one.
        let bins = (2 * pairs.len()).next_power_of_two();
        encoder.bins = bins.clamp(*BINS.start(), *BINS.end());
        encoder.examples = examples(captions, seed);
        encoder
    }

    /// The encoder of a set with these captions by the vectors of another program. It keeps those of the
    /// captions' words and of the examples.
    ///
    /// # Errors
    /// The end of a sentence that begins with the file, if a caption has no vector.
    pub fn by_vectors(
        captions: &[&str],
        checksum: u32,
        seed: u64,
        vectors: &TextVectors,
    ) -> Result<Self, String> {
        let has_none = |text: &&&str| vectors.encode(text).iter().all(|&x| x == 0.0);
        if let Some(first) = captions.iter().find(has_none) {
            let count = captions.iter().filter(has_none).count();
            return Err(format!(
                "has no vector for {count} of {} captions, nor for any of their words (the first: \
                 {first:?})",
                captions.len()
            ));
        }
        let examples = examples(captions, seed);
        let kept = vectors.of_texts(captions, &examples);
        Ok(Self { examples, checksum, vectors: Some(kept), ..Self::default() })
    }

    /// The same with more vectors, for texts that the model does not know.
    ///
    /// # Errors
    /// The end of a sentence that begins with their file, if they do not suit the model.
    pub fn with_vectors(self, more: &TextVectors) -> Result<Self, String> {
        match self.vectors {
            Some(own) => Ok(Self { vectors: Some(own.with(more)?), ..self }),
            None => Err("cannot be used: the model learned words of its own".into()),
        }
    }

    /// The words or names that are known, sorted.
    #[must_use]
    pub fn known_names(&self) -> Vec<&str> {
        match &self.vectors {
            Some(vectors) => vectors.names().collect(),
            None => self.words.iter().map(String::as_str).collect(),
        }
    }

    /// An encoder of words without meaning, with vectors of this length, for measurements.
    #[must_use]
    pub fn of_width(width: usize) -> Self {
        let bins = if width > 2 * *BINS.start() { *BINS.start() } else { 1 };
        let words: Vec<String> =
            (0..width.saturating_sub(bins).max(1)).map(|i| format!("w{i:06}")).collect();
        Self { examples: words[..1].to_vec(), words, bins, ..Self::default() }
    }

    /// Whether there are no words: the encoder of a model without text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.vectors.is_none()
    }

    /// Length of a vector; 0 without words.
    #[must_use]
    pub fn width(&self) -> usize {
        match &self.vectors {
            Some(vectors) => vectors.width(),
            None if self.is_empty() => 0,
            None => self.words.len() + self.bins,
        }
    }

    fn find(&self, word: &str) -> Option<usize> {
        self.words.binary_search_by(|own| own.as_str().cmp(word)).ok()
    }

    /// The numbers of the caption's words that are known, in order.
    fn known(&self, caption: &str) -> Vec<usize> {
        words(caption).filter_map(|word| self.find(&word)).collect()
    }

    /// The caption's words that are unknown, each once.
    #[must_use]
    pub fn unknown(&self, caption: &str) -> Vec<String> {
        if let Some(vectors) = &self.vectors {
            return vectors.unknown(caption);
        }
        let mut unknown = Vec::new();
        for word in words(caption).filter(|word| self.find(word).is_none()) {
            if !unknown.contains(&word) {
                unknown.push(word);
            }
        }
        unknown
    }

    /// The vector `φ` of a caption; zeros if no word is known.
    #[must_use]
    pub fn encode(&self, caption: &str) -> Vec<f32> {
        if let Some(vectors) = &self.vectors {
            return vectors.encode(caption);
        }
        let known = self.known(caption);
        let pair = |pair: &[usize]| {
            self.words.len() + bin(&self.words[pair[0]], &self.words[pair[1]], self.bins)
        };
        let set: BTreeSet<usize> =
            known.iter().copied().chain(known.windows(2).map(pair)).collect();
        let mut vector = vec![0.0; self.width()];
        let value = (self.width() as f32 / set.len().max(1) as f32).sqrt();
        for at in set {
            vector[at] = value;
        }
        vector
    }

    /// Checks an encoder that was read from a file.
    ///
    /// # Errors
    /// A message, if it cannot encode.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.vectors.is_some() {
            return match self.words.is_empty() {
                true => Ok(()),
                false => Err("a vocabulary beside vectors of texts".into()),
            };
        }
        let is_sorted = self.words.windows(2).all(|pair| pair[0] < pair[1]);
        match self.is_empty() || (is_sorted && self.bins > 0 && self.bins <= *BINS.end()) {
            true if self.words.len() <= MOST_WORDS => Ok(()),
            _ => Err("a vocabulary that is not sorted, or without bins".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 6] = [
        "a person with red hair and a blue shirt",
        "a person with blue hair and a red shirt",
        "someone with red hair in a red shirt",
        "someone with blue hair, blue shirt",
        "red hair and hat",
        "blue hair and hat",
    ];

    fn encoder() -> TextEncoder {
        TextEncoder::of(&CAPTIONS, 7, 3)
    }

    #[test]
    fn which_word_belongs_to_which_matters() {
        let encoder = encoder();
        let [a, b] = ["red hair, blue shirt", "blue hair, red shirt"].map(|t| encoder.encode(t));
        assert_ne!(a, b);
        let words = encoder.words.len();
        let used = |v: &[f32]| v.iter().map(|&x| x > 0.0).collect::<Vec<_>>();
        assert_eq!(used(&a[..words]), used(&b[..words]), "the same words");
        assert_eq!(a, encoder.encode("RED hair - blue SHIRT."));
    }

    #[test]
    fn vectors_have_mean_square_one_and_unknown_words_are_named() {
        let encoder = encoder();
        assert!(encoder.words.iter().all(|word| word != "in"), "it occurs once");
        for text in CAPTIONS.iter().chain(&["red purple hair", "hat"]) {
            let v = encoder.encode(text);
            assert_eq!(v.len(), encoder.width());
            let square = v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
            assert!((square - 1.0).abs() < 1e-5, "{text}: {square}");
        }
        assert_eq!(encoder.encode("red purple hair"), encoder.encode("red hair"));
        let unknown = encoder.unknown("purple red purple zebra");
        assert_eq!(unknown, ["purple", "zebra"]);
        assert!(encoder.encode("zebra").iter().all(|&x| x == 0.0));
    }

    #[test]
    fn an_encoder_is_a_function_of_the_captions() {
        assert_eq!(encoder(), encoder());
        assert_eq!(encoder().check(), Ok(()));
        assert_eq!(encoder().examples.len(), CAPTIONS.len());
        assert_eq!(TextEncoder::of(&CAPTIONS, 7, 4).words, encoder().words);
        assert_eq!((encoder().bins, TextEncoder::default().width()), (64, 0));
        let json = serde_json::to_string(&encoder()).expect("plain data");
        assert_eq!(serde_json::from_str::<TextEncoder>(&json).expect("as written"), encoder());
        let mut odd = encoder();
        odd.words.reverse();
        assert!(odd.check().is_err());
        assert!(TextEncoder { bins: 0, ..encoder() }.check().is_err());
    }
}
