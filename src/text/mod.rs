//! Captions as numbers: a bag of words and of hashed pairs of words.
//!
//! ```text
//! words(caption)   runs of letters and digits in lower case, those of the vocabulary
//! n                how many of the V = words + bins entries are set
//! φ [V]            √(V / n) where a word, or the bin of two neighboring words, occurs; else 0
//! ```
//!
//! `φ` has mean square 1, like a latent. A network's first dense layer on it is a table with a row
//! for each word, learned with the network. Words alone would not distinguish "red hair and a blue
//! shirt" from "blue hair and a red shirt": pairs do.
//!
//! Instead of these, `φ` can be a vector that another program made: [`TextVectors`].

mod encoder;
mod vectors;
mod vocabulary;

pub use encoder::TextEncoder;
pub use vectors::TextVectors;
pub use vocabulary::words;
