//! Checkpoints: all tensors of a training and its options in one safetensors file.
//!
//! The file is a header (8 bytes of length, then JSON) and raw little-endian data: nothing in it
//! executes. Its metadata holds [`VERSION_KEY`], [`CHECKSUM_KEY`] and the caller's strings. The
//! same content always gives the same bytes, and flipped bits are detected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use half::f16;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};

use crate::error::{Error, Result};
use crate::files;
use crate::tensor::{DType, Data, Tensor};

/// The metadata key that marks a file as a checkpoint of this program.
pub const VERSION_KEY: &str = "dcgan.version";

/// The metadata key of the checksum: CRC-32 over all other metadata and all tensors, computed the
/// same way by every version that writes this key.
pub const CHECKSUM_KEY: &str = "dcgan.crc32";

/// The format version that is written, and the newest that can be read.
pub const VERSION: u32 = 1;

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Every tensor by its name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The strings given to [`save`], without [`VERSION_KEY`] and [`CHECKSUM_KEY`].
    pub metadata: BTreeMap<String, String>,
}

/// One entry of the header.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Metadata(BTreeMap<&'a str, &'a str>),
    Tensor(TensorInfo),
}

/// Writes a checkpoint atomically.
///
/// # Errors
/// [`Error::File`] with the cause (a full disk, a folder that cannot be written); a previous file
/// of that name is then unchanged.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    files::write_atomic(path, |out| write(out, tensors, metadata, raw))
}

/// [`save`], with tensors of at least two dimensions, such as weights, in 16-bit floats: half the
/// size. Others, such as biases and batch norm's statistics, are few and stay in 32.
///
/// # Errors
/// See [`save`].
pub fn save_half(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    files::write_atomic(path, |out| write(out, tensors, metadata, raw_half))
}

fn write(
    out: &mut dyn Write,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
    raw: for<'a> fn(&str, &'a Tensor) -> Raw<'a>,
) -> io::Result<()> {
    let version = VERSION.to_string();
    let mut strings: BTreeMap<&str, &str> =
        metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    strings.insert(VERSION_KEY, &version);
    let tensors = tensors.iter().map(|(name, tensor)| raw(name, tensor));
    write_raw(out, &tensors.collect::<Vec<_>>(), &strings)
}

fn raw<'a>(name: &str, tensor: &'a Tensor) -> Raw<'a> {
    Raw {
        name: name.to_owned(),
        dtype: dtype(tensor),
        shape: tensor.shape().to_vec(),
        bytes: little_endian(tensor),
    }
}

/// The same in 16 bits, where the tensor has at least two dimensions and no value that overflows.
fn raw_half<'a>(name: &str, tensor: &'a Tensor) -> Raw<'a> {
    let fits = |x: &f32| x.abs() <= f16::MAX.to_f32();
    match tensor.data() {
        Data::F32(numbers) if tensor.shape().len() > 1 && numbers.iter().all(fits) => {
            let bytes = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes());
            let bytes = Cow::Owned(bytes.collect());
            Raw { dtype: Dtype::F16, bytes, ..raw(name, tensor) }
        }
        _ => raw(name, tensor),
    }
}

/// A tensor of a safetensors file.
#[derive(Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its elements, little-endian.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// Writes a safetensors file.
///
/// The header is written here, not by the crate, which keeps the metadata in a hash map: its order
/// would change from run to run.
pub(crate) fn write_raw(
    out: &mut dyn Write,
    tensors: &[Raw<'_>],
    metadata: &BTreeMap<&str, &str>,
) -> io::Result<()> {
    // Wider elements first, so that every tensor is aligned; among equals by name.
    let mut order: Vec<&Raw<'_>> = tensors.iter().collect();
    order.sort_by_key(|tensor| (std::cmp::Reverse(tensor.dtype.bitsize()), &tensor.name));
    let sum = checksum(
        metadata.iter().map(|(&key, &value)| (key, value)),
        order.iter().map(|t| (&*t.name, t.dtype, &t.shape[..], &*t.bytes)),
    );
    let mut metadata = metadata.clone();
    metadata.insert(CHECKSUM_KEY, &sum);
    let mut header = BTreeMap::from([("__metadata__", Entry::Metadata(metadata))]);
    let mut offset = 0;
    for Raw { name, dtype, shape, bytes } in &order {
        let end = offset + bytes.len();
        let info = TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (offset, end) };
        header.insert(name, Entry::Tensor(info));
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    order.iter().try_for_each(|tensor| out.write_all(&tensor.bytes))
}

/// The checksum of a file: CRC-32, in hexadecimal, over the header's content and the data.
/// `metadata` are sorted by key, without the checksum itself; `tensors` (name, type, shape, bytes)
/// by element width, widest first, then by name.
fn checksum<'a>(
    metadata: impl Iterator<Item = (&'a str, &'a str)>,
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>,
) -> String {
    let mut sum = flate2::Crc::new();
    // Each part is prefixed with its length, so that parts cannot run together.
    let mut add = |part: &[u8]| {
        sum.update(&(part.len() as u64).to_le_bytes());
        sum.update(part);
    };
    for (key, value) in metadata {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (name, dtype, shape, bytes) in tensors {
        add(name.as_bytes());
        add(format!("{dtype} {shape:?}").as_bytes());
        add(bytes);
    }
    format!("{:08x}", sum.sum())
}

/// Checks a safetensors file against its checksum, if it has one.
///
/// # Errors
/// A message if they differ.
pub(crate) fn verify(
    metadata: &BTreeMap<String, String>,
    file: &SafeTensors<'_>,
) -> Result<(), String> {
    let Some(wanted) = metadata.get(CHECKSUM_KEY) else { return Ok(()) };
    let mut order = file.iter().collect::<Vec<_>>();
    order.sort_by_key(|(name, view)| (std::cmp::Reverse(view.dtype().bitsize()), *name));
    let others = metadata.iter().filter(|(key, _)| *key != CHECKSUM_KEY);
    let sum = checksum(
        others.map(|(key, value)| (&**key, &**value)),
        order.iter().map(|(name, view)| (*name, view.dtype(), view.shape(), view.data())),
    );
    if sum == *wanted {
        return Ok(());
    }
    Err(format!(
        "is damaged: its content has changed since it was written (its checksum is {sum}, and \
         {CHECKSUM_KEY} says {wanted})"
    ))
}

fn dtype(tensor: &Tensor) -> Dtype {
    match tensor.dtype() {
        DType::F32 => Dtype::F32,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

pub(crate) fn little_endian(tensor: &Tensor) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(tensor.bytes());
    }
    Cow::Owned(match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Data::U32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Data::U8(v) => v.clone(),
    })
}

/// Reads a checkpoint.
///
/// # Errors
/// [`Error::File`] with a message if the file is missing or was written by a newer version;
/// [`Error::Damaged`] if it is something else (and what) or truncated; [`Error::Changed`] if it has
/// changed since it was written.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::file(path, "there is no such checkpoint"),
        io::ErrorKind::IsADirectory => {
            Error::file(path, "is a folder, where a checkpoint (.safetensors) is needed")
        }
        _ => Error::file(path, files::cannot("be read", &error)),
    })?;
    read(path, &bytes)
}

/// Reads a checkpoint from its content; errors name `path`.
///
/// # Errors
/// See [`load`].
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<Checkpoint> {
    parse(bytes).map_err(|flaw| match flaw {
        Flaw::Newer(what) => Error::file(path, what),
        Flaw::Damaged(what) => Error::damaged(path, what),
        Flaw::Changed(what) => Error::Changed { path: path.into(), what },
    })
}

/// Why a file cannot be read as a checkpoint.
enum Flaw {
    /// A newer version wrote it, with a message.
    Newer(String),
    /// It is not a checkpoint, or truncated.
    Damaged(String),
    /// Its content has changed since it was written.
    Changed(String),
}

impl From<String> for Flaw {
    fn from(what: String) -> Self {
        Self::Damaged(what)
    }
}

fn parse(bytes: &[u8]) -> Result<Checkpoint, Flaw> {
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| unreadable(bytes, &error))?;
    let mut metadata: BTreeMap<String, String> =
        header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let Some(version) = metadata.get(VERSION_KEY) else {
        return Err(Flaw::Damaged(format!(
            "is a safetensors file, but not a checkpoint of this program (it has no \
             {VERSION_KEY}); {IMPORT}"
        )));
    };
    match version.parse::<u32>() {
        Ok(VERSION) => {}
        Ok(newer) if newer > VERSION => {
            // Or has this number changed?
            if let Ok(views) = SafeTensors::deserialize(bytes) {
                verify(&metadata, &views).map_err(Flaw::Changed)?;
            }
            return Err(Flaw::Newer(format!(
                "was written by a newer version of dcgan (checkpoint format {newer}, this one \
                 reads up to {VERSION}); update dcgan to read it"
            )));
        }
        _ => return Err(format!("has the unknown checkpoint format {version:?}").into()),
    }

    let views = SafeTensors::deserialize(bytes).map_err(|error| unreadable(bytes, &error))?;
    verify(&metadata, &views).map_err(Flaw::Changed)?;
    metadata.remove(VERSION_KEY);
    metadata.remove(CHECKSUM_KEY);
    let mut tensors = BTreeMap::new();
    for (name, view) in views.iter() {
        let data = match view.dtype() {
            Dtype::F32 => Data::F32(words(view.data()).map(f32::from_le_bytes).collect()),
            Dtype::F16 => Data::F32(
                view.data().as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            ),
            Dtype::U32 => Data::U32(words(view.data()).map(u32::from_le_bytes).collect()),
            Dtype::U8 => Data::U8(view.data().to_vec()),
            other => {
                return Err(format!(
                    "holds tensor {name:?} of element type {other}; F32, F16, U32 and U8 can be read"
                )
                .into());
            }
        };
        let tensor = Tensor::with_data(view.shape(), data).map_err(|error| error.to_string())?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(Checkpoint { tensors, metadata })
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks().0.iter().copied()
}

/// How to import weights from elsewhere.
const IMPORT: &str =
    "dcgan import makes a model of such weights: dcgan import FILE --out model.safetensors";

/// Describes a file that the parser refused.
fn unreadable(bytes: &[u8], error: &SafeTensorError) -> String {
    if bytes.is_empty() {
        return format!("is empty, {NEEDED}");
    }
    // A safetensors file begins with the header's length and a brace.
    let header = bytes.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
    if bytes.get(8) == Some(&b'{') && header < 100_000_000 {
        return match error {
            SafeTensorError::InvalidHeaderLength => cut_short(bytes.len()),
            SafeTensorError::MetadataIncompleteBuffer => match data_end(bytes, header as usize) {
                Some(end) if end < bytes.len() => {
                    format!("is damaged: {} bytes follow its last tensor", bytes.len() - end)
                }
                _ => cut_short(bytes.len()),
            },
            _ => format!("is a damaged safetensors file: {error}"),
        };
    }
    match looks_like(bytes) {
        Some((kind, true)) => format!("looks like {kind}; {IMPORT}"),
        Some((kind, false)) => format!("looks like {kind}, {NEEDED}"),
        None => "is not a safetensors file, so it cannot be a checkpoint".to_owned(),
    }
}

const NEEDED: &str = "where a checkpoint (.safetensors) is needed";

fn cut_short(len: usize) -> String {
    format!("is cut short (only {len} bytes are left of it); use another checkpoint")
}

/// Where the last tensor ends, according to the header.
fn data_end(bytes: &[u8], header: usize) -> Option<usize> {
    let header_end = header.checked_add(8)?;
    let json: serde_json::Value = serde_json::from_slice(bytes.get(8..header_end)?).ok()?;
    let ends = json.as_object()?.values().filter_map(|v| v.get("data_offsets")?.get(1)?.as_u64());
    header_end.checked_add(ends.max().unwrap_or(0) as usize)
}

/// Guesses the file type by its first bytes, and whether `dcgan import` accepts it.
fn looks_like(bytes: &[u8]) -> Option<(&'static str, bool)> {
    let start = &bytes[..bytes.len().min(512)];
    let within = |word: &[u8]| start.windows(word.len()).any(|part| part == word);
    if bytes.starts_with(b"PK\x03\x04") && within(b"data.pkl") {
        return Some(("a PyTorch file (.pth)", true));
    }
    // The format version and the producer.
    if let [0x08, 1..32, 0x12, ..] = bytes {
        return Some(("an ONNX graph", true));
    }
    let kinds: [(&[u8], &str, bool); 10] = [
        (b"PK\x03\x04", "a zip archive", false),
        (b"\x80\x02", "a PyTorch file (.pth)", true),
        (b"\x93NUMPY", "a NumPy array", true),
        (b"\x89PNG", "a PNG image", false),
        (b"\xff\xd8\xff", "a JPEG image", false),
        (b"GIF8", "a GIF image", false),
        (b"RIFF", "a WebP image", false),
        (b"\x1f\x8b", "a gzip archive", false),
        (b"\x89HDF", "an HDF5 file", false),
        (b"GGUF", "a GGUF model", false),
    ];
    if let Some((_, kind, weights)) = kinds.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Some((kind, *weights));
    }
    let head = &bytes[..bytes.len().min(512)];
    // The cut may fall inside a character: that error is allowed.
    let text = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    (text && !head.iter().any(|b| b.is_ascii_control() && !b.is_ascii_whitespace()))
        .then_some(("a text file", false))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn sample() -> (BTreeMap<String, Tensor>, BTreeMap<String, String>) {
        let floats = [0.0, -0.0, 1.5, f32::MIN_POSITIVE / 2.0, f32::INFINITY, -3e38];
        let tensors = BTreeMap::from([
            ("discriminator.0.weight".into(), Tensor::new([2, 3], floats.to_vec()).unwrap()),
            ("step".into(), Tensor::with_data([1], Data::U32(vec![0xDEAD_BEEF])).unwrap()),
            ("a.bytes".into(), Tensor::with_data([3], Data::U8(vec![0, 128, 255])).unwrap()),
            ("empty".into(), Tensor::new([0, 4], vec![]).unwrap()),
            ("scalar".into(), Tensor::new([], vec![f32::from_bits(0x7fc0_1234)]).unwrap()),
        ]);
        let metadata = (0..20).map(|i| (format!("key{i}"), format!("value \"ü\" {i}\n"))).collect();
        (tensors, metadata)
    }

    fn saved(dir: &tempfile::TempDir) -> (PathBuf, Vec<u8>) {
        let (tensors, metadata) = sample();
        let path = dir.path().join("a.safetensors");
        save(&path, &tensors, &metadata).unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    }

    /// The message of `load` for a file of these bytes, without the path.
    fn complaint(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, bytes).unwrap();
        let text = load(&path).unwrap_err().to_string();
        text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
    }

    #[test]
    fn what_is_saved_is_loaded_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = saved(&dir);
        let loaded = load(&path).unwrap();
        let (tensors, metadata) = sample();
        assert_eq!(loaded.metadata, metadata);
        assert!(tensors.keys().eq(loaded.tensors.keys()));
        for (name, tensor) in &tensors {
            let other = &loaded.tensors[name];
            // Bytewise: a NaN equals itself there.
            assert_eq!((tensor.shape(), tensor.dtype()), (other.shape(), other.dtype()), "{name}");
            assert_eq!(tensor.bytes(), other.bytes(), "{name}");
        }
    }

    #[test]
    fn the_same_content_gives_the_same_bytes_and_the_crate_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let (_, first) = saved(&dir);
        let (_, second) = saved(&dir);
        assert_eq!(first, second);
        let (header, info) = SafeTensors::read_metadata(&first).unwrap();
        assert_eq!(header % 8, 0);
        assert_eq!(info.metadata().as_ref().unwrap()[VERSION_KEY], "1");
        // Metadata sorted by key, whatever the hash map's order.
        let text = String::from_utf8_lossy(&first[8..8 + header]).into_owned();
        assert!(text.find("\"key1\"").unwrap() < text.find("\"key10\"").unwrap());
        for (name, info) in info.tensors() {
            let width = info.dtype.bitsize() / 8;
            assert_eq!(info.data_offsets.0 % width, 0, "{name} is not aligned");
        }
    }

    #[test]
    fn files_that_are_no_checkpoint_are_called_what_they_are() {
        let needed = "where a checkpoint (.safetensors) is needed";
        for (bytes, kind) in [
            (&b"epoch: 3\nloss: 0.4\n"[..], "looks like a text file"),
            ("größer als ASCII".as_bytes(), "looks like a text file"),
            (b"hi", "looks like a text file"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "looks like a PNG image"),
            (b"PK\x03\x04\0\0\x08\x08images/1.png", "looks like a zip archive"),
            (b"", "is empty"),
        ] {
            let text = complaint(bytes);
            assert!(text.starts_with(kind) && text.ends_with(needed), "{text}");
        }
        for (bytes, kind) in [
            (&b"PK\x03\x04\0\0\x08\x08archive/data.pkl"[..], "looks like a PyTorch file (.pth)"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "looks like a PyTorch file (.pth)"),
            (b"\x93NUMPY\x01\0v\0{'descr'", "looks like a NumPy array"),
            (b"\x08\x07\x12\x05dcgan:\x04Conv", "looks like an ONNX graph"),
        ] {
            let text = complaint(bytes);
            let wanted = format!("{kind}; dcgan import makes a model of such weights: ");
            assert!(text.starts_with(&wanted), "{text}");
        }
        assert_eq!(
            complaint(&[7; 100]),
            "is not a safetensors file, so it cannot be a checkpoint",
            "control characters are no text"
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_said_to_be_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes) = saved(&dir);
        for len in [9, 20, 200, bytes.len() / 2, bytes.len() - 1] {
            let text = complaint(&bytes[..len]);
            assert!(text.starts_with("is cut short"), "{len} bytes: {text}");
        }
        let longer = [&bytes[..], b"xyz"].concat();
        assert_eq!(complaint(&longer), "is damaged: 3 bytes follow its last tensor");
        let mut damaged = bytes.clone();
        damaged[8..].iter_mut().take(40).for_each(|b| *b = b'{');
        assert!(complaint(&damaged).starts_with("is a damaged safetensors file: invalid JSON"));
    }

    /// Every bit of the data, and every character of the header but those of the checksum's key.
    #[test]
    fn a_bit_that_turned_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = saved(&dir);
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert!(header < bytes.len() - 30);
        let turned = |at: usize, bit: u32| {
            let mut turned = bytes.clone();
            turned[at] ^= 1 << bit;
            parse(&turned)
        };
        for at in header..bytes.len() {
            for bit in 0..8 {
                let Err(Flaw::Changed(what)) = turned(at, bit) else { panic!("byte {at}: read") };
                assert!(what.contains("changed since it was written"), "byte {at}: {what}");
            }
        }
        let text = String::from_utf8_lossy(&bytes[8..header]).into_owned();
        let key = 8 + text.find(CHECKSUM_KEY).unwrap();
        for at in (8..header).filter(|at| !(key..key + CHECKSUM_KEY.len()).contains(at)) {
            assert!(turned(at, 0).is_err(), "byte {at}");
        }
        // A file from before there was a checksum can still be read.
        let (start, end) = text.split_once("\"dcgan.crc32\":\"").unwrap();
        let (sum, rest) = end.split_once("\",").unwrap();
        let old = format!("{start}{rest}{}", " ".repeat(text.len() - start.len() - rest.len()));
        let old = [&bytes[..8], old.as_bytes(), &bytes[header..]].concat();
        assert_eq!(sum.len(), 8);
        assert!(parse(&old).is_ok_and(|read| read.metadata == load(&path).unwrap().metadata));
    }

    #[test]
    fn other_versions_and_other_programs_are_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes) = saved(&dir);
        let with = |from: &str, to: &str| {
            let replaced = |bytes: &[u8], from: &str, to: &str| {
                let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
                let mut changed = bytes.to_vec();
                changed[at..at + to.len()].copy_from_slice(to.as_bytes());
                changed
            };
            // A newer version would write a different checksum.
            complaint(&replaced(&replaced(&bytes, from, to), CHECKSUM_KEY, "dcgan.crc33"))
        };
        let (one, key) = ("\"dcgan.version\":\"1\"", "\"dcgan.version\":\"");
        assert!(with(one, &format!("{key}2\"")).starts_with(
            "was written by a newer version of dcgan (checkpoint format 2, this one reads up to 1)"
        ));
        assert_eq!(with(one, &format!("{key}x\"")), "has the unknown checkpoint format \"x\"");
        assert_eq!(with(one, &format!("{key}0\"")), "has the unknown checkpoint format \"0\"");
        let text = with(key, "\"other.version\":\"");
        assert!(text.starts_with("is a safetensors file, but not a"), "{text}");
        assert!(text.contains("dcgan import FILE"), "{text}");

        let half = TensorInfo { dtype: Dtype::I16, shape: vec![1], data_offsets: (0, 2) };
        let header = serde_json::json!({"__metadata__": {VERSION_KEY: "1"}, "half": half});
        let header = header.to_string();
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0, 0]].concat();
        assert_eq!(
            complaint(&file),
            "holds tensor \"half\" of element type I16; F32, F16, U32 and U8 can be read"
        );
    }

    #[test]
    fn missing_files_and_folders_are_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let text = load(&dir.path().join("no.safetensors")).unwrap_err().to_string();
        assert!(text.ends_with("no.safetensors: there is no such checkpoint"), "{text}");
        if cfg!(unix) {
            let text = load(dir.path()).unwrap_err().to_string();
            assert!(text.ends_with(": is a folder, where a checkpoint (.safetensors) is needed"));
        }
    }

    #[test]
    fn a_save_that_fails_keeps_the_previous_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = saved(&dir);
        let (tensors, metadata) = sample();
        // The disk fills after the first 300 bytes.
        let text = files::write_atomic(&path, |out| {
            let mut half = Vec::new();
            write(&mut half, &tensors, &metadata, raw)?;
            out.write_all(&half[..300])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(text.unwrap_err().to_string().contains("cannot be written: the disk is full"));
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a temporary file is left");

        let below_a_file = path.join("b.safetensors");
        let text = save(&below_a_file, &tensors, &metadata).unwrap_err().to_string();
        assert!(text.ends_with("a part of its path is a file, not a folder"), "{text}");
        #[cfg(target_os = "linux")]
        {
            let mut full = fs::File::options().write(true).open("/dev/full").unwrap();
            let error = write(&mut full, &tensors, &metadata, raw).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
