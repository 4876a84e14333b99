//! Vectors of words and of whole texts that another program made.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::vocabulary::words;
use crate::error::{Error, Result};
use crate::files;

/// The longest vector.
const WIDEST: usize = 1 << 14;

/// A vector for each name: a word, or a text. Names are compared by their words, in lower case.
///
/// ```text
/// φ(text)   the vector of that name, or the mean of those of the text's words, with mean square 1
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct TextVectors {
    width: usize,
    /// Identifies the file that they are from.
    checksum: u32,
    by_name: BTreeMap<String, Vec<f32>>,
}

/// As in model files: the values in base64, one name after the other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    width: usize,
    checksum: u32,
    names: Vec<String>,
    values: String,
}

impl From<TextVectors> for Form {
    fn from(vectors: TextVectors) -> Self {
        let TextVectors { width, checksum, by_name } = vectors;
        let bytes: Vec<u8> = by_name.values().flatten().flat_map(|x| x.to_le_bytes()).collect();
        Self {
            width,
            checksum,
            names: by_name.into_keys().collect(),
            values: STANDARD.encode(bytes),
        }
    }
}

impl TryFrom<Form> for TextVectors {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let Form { width, checksum, names, values } = form;
        let bytes = STANDARD.decode(values).map_err(|_| "vectors of texts that are no base64")?;
        let is_whole = names.len().checked_mul(4 * width) == Some(bytes.len());
        if !is_whole || width == 0 || width > WIDEST {
            return Err("vectors of texts that are too few or too many numbers".into());
        }
        let rows = bytes.chunks(4 * width).map(|row| {
            let each = row.chunks(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
            each.collect::<Vec<f32>>()
        });
        let by_name: BTreeMap<_, _> = names.into_iter().zip(rows).collect();
        match by_name.values().flatten().all(|x| x.is_finite()) {
            true => Ok(Self { width, checksum, by_name }),
            false => Err("vectors of texts that are not finite".into()),
        }
    }
}

/// A name as it is compared: its words.
fn key(name: &str) -> String {
    words(name).collect::<Vec<_>>().join(" ")
}

/// The numbers of a tensor of floats.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&x| f64::from_le_bytes(x) as f32).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).into()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&x| bf16::from_le_bytes(x).into()).collect(),
        _ => return None,
    })
}

impl TextVectors {
    /// Reads a safetensors file with a tensor of floats for each word or text.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, or a tensor is not such a vector.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .map_err(|error| Error::file(path, files::cannot("be read", &error)))?;
        Self::read(&bytes).map_err(|what| Error::file(path, what))
    }

    /// The same from the file's bytes.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let what = "is no safetensors file with a tensor for each word or text";
        let file = SafeTensors::deserialize(bytes).map_err(|error| format!("{what} ({error})"))?;
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut vectors = Self { checksum: crc.sum(), ..Self::default() };
        let mut tensors = file.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, view) in tensors {
            let values = floats(&view)
                .filter(|_| view.shape().iter().filter(|&&size| size != 1).count() <= 1)
                .ok_or_else(|| {
                    let (kind, shape) = (view.dtype(), view.shape());
                    format!("has {name:?} of type {kind:?} and shape {shape:?}, which is no vector of floats")
                })?;
            if values.iter().any(|x| !x.is_finite()) {
                return Err(format!("has a number that is not finite in {name:?}"));
            }
            if vectors.width == 0 {
                vectors.width = values.len();
            }
            if values.len() != vectors.width {
                let (has, first) = (values.len(), vectors.width);
                return Err(format!("has {has} numbers in {name:?}, and {first} in others"));
            }
            // Lists of words have some of punctuation marks too.
            let name = key(&name);
            if !name.is_empty() {
                vectors.by_name.entry(name).or_insert(values);
            }
        }
        match vectors.width {
            0 => Err("has no vectors".into()),
            _ if vectors.by_name.is_empty() => Err("has no vector of a word".into()),
            1..=WIDEST => Ok(vectors),
            more => Err(format!("has vectors of {more} numbers; at most {WIDEST} can be used")),
        }
    }

    /// Length of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Identifies the file that they are from.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The words of a text that have no vector, each once; none if the text itself has one.
    pub(super) fn unknown(&self, text: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        if self.by_name.contains_key(&key(text)) {
            return unknown;
        }
        for word in words(text).filter(|word| !self.by_name.contains_key(word)) {
            if !unknown.contains(&word) {
                unknown.push(word);
            }
        }
        unknown
    }

    /// All names, which are words in lower case with blanks between them, and their vectors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.by_name.iter().map(|(name, vector)| (name.as_str(), vector.as_slice()))
    }

    /// The vector `φ` of a text; zeros if it has none.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0; self.width];
        let mut add = |name: &str| {
            let found = self.by_name.get(name);
            for (sum, x) in sum.iter_mut().zip(found.into_iter().flatten()) {
                *sum += x;
            }
            found.is_some()
        };
        if !add(&key(text)) {
            for word in words(text) {
                add(&word);
            }
        }
        let square = sum.iter().map(|x| x * x).sum::<f32>() / self.width.max(1) as f32;
        if square > 0.0 {
            let scale = square.sqrt().recip();
            sum.iter_mut().for_each(|x| *x *= scale);
        }
        sum
    }

    /// Those of single words of these texts, and of the texts `whole`.
    #[must_use]
    pub(super) fn of_texts(&self, texts: &[&str], whole: &[String]) -> Self {
        let single = texts.iter().flat_map(|text| words(text));
        let by_name = single.chain(whole.iter().map(|text| key(text)));
        let pair = |name: String| self.by_name.get(&name).map(|vector| (name, vector.clone()));
        Self { by_name: by_name.filter_map(pair).collect(), ..*self }
    }

    /// The same with more vectors, which replace those of the same name.
    ///
    /// # Errors
    /// A message if they have another length.
    pub(super) fn with(mut self, more: &Self) -> Result<Self, String> {
        if more.width != self.width {
            return Err(format!(
                "has vectors of {} numbers, and the model takes {}",
                more.width, self.width
            ));
        }
        self.by_name.extend(more.by_name.clone());
        Ok(self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// A file with these vectors.
    pub(in crate::text) fn file(vectors: &[(&str, &[f32])]) -> Vec<u8> {
        let bytes: Vec<(&str, Vec<u8>, usize)> = vectors
            .iter()
            .map(|(name, x)| (*name, x.iter().flat_map(|x| x.to_le_bytes()).collect(), x.len()))
            .collect();
        let views = bytes.iter().map(|(name, bytes, len)| {
            (*name, TensorView::new(Dtype::F32, vec![*len], bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn vectors() -> TextVectors {
        TextVectors::read(&file(&[
            ("red", &[3.0, 0.0]),
            ("Blue", &[0.0, 1.0]),
            ("A blue hat!", &[-1.0, -1.0]),
            (",", &[5.0, 5.0]),
        ]))
        .unwrap()
    }

    #[test]
    fn a_text_has_its_vector_or_the_mean_of_its_words() {
        let vectors = vectors();
        assert_eq!(vectors.names().collect::<Vec<_>>(), ["a blue hat", "blue", "red"]);
        let close = |text: &str, wanted: [f32; 2]| {
            let found = vectors.encode(text);
            assert!(
                found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6),
                "{text} {found:?}"
            );
        };
        let root = 2.0_f32.sqrt();
        close("RED", [root, 0.0]);
        close("a blue, hat", [-1.0, -1.0]);
        // 3 : 1, of mean square 1.
        close("red and blue", [3.0 / 5.0_f32.sqrt(), 1.0 / 5.0_f32.sqrt()]);
        close("green", [0.0, 0.0]);
        close("!", [0.0, 0.0]);
        assert_eq!(vectors.unknown("red green hat green"), ["green", "hat"]);
        assert!(vectors.unknown("A blue hat").is_empty());
    }

    #[test]
    fn what_a_model_keeps_comes_back_from_its_file() {
        let kept = vectors().of_texts(&["red shoes"], &["a blue hat".into()]);
        assert_eq!(kept.names().collect::<Vec<_>>(), ["a blue hat", "red"]);
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<TextVectors>(&json).unwrap(), kept);
        assert_eq!(kept.checksum(), vectors().checksum());
        let damaged = json.replace("\"width\":2", "\"width\":3");
        assert!(serde_json::from_str::<TextVectors>(&damaged).is_err());
        assert_eq!(kept.clone().with(&vectors()).unwrap(), vectors());
        let wider = TextVectors::read(&file(&[("red", &[1.0; 3])])).unwrap();
        assert!(kept.with(&wider).unwrap_err().contains("3 numbers, and the model takes 2"));
    }

    #[test]
    fn files_of_other_things_are_refused() {
        let error = |bytes: &[u8]| TextVectors::read(bytes).unwrap_err();
        assert!(error(b"no file").contains("is no safetensors file"));
        assert!(error(&file(&[])).contains("has no vectors"));
        let uneven = file(&[("a", &[1.0]), ("b", &[1.0, 2.0])]);
        assert!(error(&uneven).contains("2 numbers in \"b\", and 1 in others"));
        assert!(error(&file(&[("a", &[f32::NAN])])).contains("not finite in \"a\""));
        let zeros = [0_u8; 16];
        let table = TensorView::new(Dtype::F32, vec![2, 2], &zeros).unwrap();
        let table = safetensors::serialize([("all", table)], None).unwrap();
        assert!(error(&table).contains("[2, 2], which is no vector"));
        let whole = TensorView::new(Dtype::I64, vec![2], &zeros).unwrap();
        assert!(error(&safetensors::serialize([("a", whole)], None).unwrap()).contains("I64"));
    }
}
