//! The words of captions.

use std::collections::BTreeMap;

/// The words of a text: runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty()).map(str::to_lowercase)
}

/// The words that occur in at least `least` of the `captions`, sorted; the most frequent `most` of
/// them if there are more.
pub(super) fn frequent<'a>(
    captions: impl IntoIterator<Item = &'a str>,
    least: usize,
    most: usize,
) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for caption in captions {
        let mut own: Vec<String> = words(caption).collect();
        own.sort_unstable();
        own.dedup();
        for word in own {
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut found: Vec<(String, usize)> =
        counts.into_iter().filter(|&(_, count)| count >= least).collect();
    // Stable: of equally frequent words the first in the alphabet.
    found.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    found.truncate(most);
    let mut found: Vec<String> = found.into_iter().map(|(word, _)| word).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let of = |text| words(text).collect::<Vec<_>>();
        assert_eq!(of("A red-haired  person, no. 7!"), ["a", "red", "haired", "person", "no", "7"]);
        assert_eq!(of("Über ÉTÉ"), ["über", "été"]);
        assert!(of(" ,.\t").is_empty());
    }

    #[test]
    fn words_count_once_a_caption_and_the_most_frequent_are_kept() {
        let captions = ["red red red", "blue hat", "blue hat", "a hat"];
        assert_eq!(frequent(captions, 2, 10), ["blue", "hat"]);
        assert_eq!(frequent(captions, 1, 2), ["blue", "hat"]);
        assert_eq!(frequent(captions, 1, 10), ["a", "blue", "hat", "red"]);
    }
}
