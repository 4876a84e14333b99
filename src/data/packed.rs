//! Sets whose pictures lie as raw pixels in a few large files: the IDX files of MNIST and its kin,
//! and the binary batches of CIFAR-10.
//!
//! - IDX (Y. LeCun): big-endian magic `00 00 08 dd`, dd sizes of 4 bytes each, then bytes, last
//!   index fastest. Pictures have dd = 3 (n, h, w) or 4 (n, h, w, channels), labels dd = 1.
//! - CIFAR-10 (A. Krizhevsky), "binary version": records of 1 label byte and 3072 pixel bytes, a
//!   plane of 32 x 32 for red, then green, then blue.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};

use super::look::label_names;
use super::store::Store;
use crate::error::{Error, Result};

/// The largest packed file that is read, unpacked.
const MAX_PACKED: u64 = 8 << 30;

const CIFAR_SIDE: usize = 32;
const CIFAR_PIXELS: usize = 3 * CIFAR_SIDE * CIFAR_SIDE;

/// One label byte and the pixels.
pub(crate) const CIFAR_RECORD: usize = 1 + CIFAR_PIXELS;

/// The classes of CIFAR-10 in the order of their labels, as its `batches.meta.txt` has them.
const CIFAR_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The kinds of packed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Idx,
    Cifar10,
}

/// All pictures of a packed set, in memory.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) format: Format,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) labels: Option<Vec<u32>>,
    pub(crate) classes: Vec<String>,
    /// The files and how many pictures each gave, in order.
    pub(crate) files: Vec<(String, usize)>,
    pixels: Vec<u8>,
}

impl Packed {
    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(|(_, count)| count).sum()
    }

    /// The file of a picture and its place in it.
    pub(crate) fn name(&self, mut index: usize) -> String {
        for (file, count) in &self.files {
            if index < *count {
                return format!("{file}[{index}]");
            }
            index -= count;
        }
        format!("[{index}]")
    }

    pub(crate) fn picture(&self, index: usize) -> DynamicImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let size = self.height * self.width * self.channels;
        let pixels = &self.pixels[index * size..(index + 1) * size];
        let pixels = match self.format {
            Format::Idx => pixels.to_vec(),
            Format::Cifar10 => {
                let plane = size / 3;
                let mut out = Vec::with_capacity(size);
                for i in 0..plane {
                    out.extend([pixels[i], pixels[plane + i], pixels[2 * plane + i]]);
                }
                out
            }
        };
        match self.channels {
            1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
            3 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
            _ => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
        }
        .expect("the slice was cut to the size of one picture")
    }

    /// The files of the set with the pictures `items` alone, by name: CIFAR-10 batches, or an IDX
    /// file of pictures and one of `labels` where there are any.
    pub(crate) fn subset(&self, items: &[u32], labels: Option<&[u32]>) -> Vec<(String, Vec<u8>)> {
        let size = self.height * self.width * self.channels;
        let pixels = |item: u32| &self.pixels[item as usize * size..][..size];
        let label = |item: u32| labels.map(|labels| labels[item as usize] as u8);
        if self.format == Format::Cifar10 {
            let mut first = 0;
            let batch = |(name, count): &(String, usize)| {
                let batch = first..first + *count as u32;
                first = batch.end;
                let mut bytes = Vec::new();
                for &item in items.iter().filter(|item| batch.contains(item)) {
                    bytes.extend(label(item));
                    bytes.extend_from_slice(pixels(item));
                }
                (name.clone(), bytes)
            };
            // A batch without records would be refused when it is read.
            return self.files.iter().map(batch).filter(|(_, bytes)| !bytes.is_empty()).collect();
        }
        let idx = |sizes: &[usize]| {
            let mut bytes = vec![0, 0, 8, sizes.len() as u8];
            bytes.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
            bytes
        };
        let mut sizes = vec![items.len(), self.height, self.width];
        if self.channels > 1 {
            sizes.push(self.channels);
        }
        let mut pictures = idx(&sizes);
        items.iter().for_each(|&item| pictures.extend_from_slice(pixels(item)));
        let (file, _) = &self.files[0];
        let file = file.rsplit('/').next().unwrap_or(file);
        let mut files = vec![(file.strip_suffix(".gz").unwrap_or(file).to_owned(), pictures)];
        if labels.is_some() {
            let mut bytes = idx(&[items.len()]);
            bytes.extend(items.iter().filter_map(|&item| label(item)));
            files.push((label_names(&files[0].0).swap_remove(0), bytes));
        }
        files
    }

    /// Reads an IDX file of pictures and, where there is one, its file of labels.
    pub(crate) fn idx(
        data: &Path,
        store: &Store,
        pictures: usize,
        labels: Option<usize>,
    ) -> Result<Self> {
        let name = &store.names()[pictures];
        let fail = |name: &str, what: String| Error::file(data, format!("{name} {what}"));
        let (sizes, pixels) = read_idx(store, pictures).map_err(|what| fail(name, what))?;
        let (&[count, height, width], channels) = (match sizes.as_slice() {
            [rest @ .., channels] if rest.len() == 3 => (rest, *channels),
            rest => (rest, 1),
        }) else {
            return Err(fail(
                name,
                "is an IDX file, but not of pictures; give the one whose name says images".into(),
            ));
        };
        if ![1, 3, 4].contains(&channels) || height == 0 || width == 0 {
            return Err(fail(name, format!("holds {height} x {width} x {channels}, no pictures")));
        }
        let labels = match labels {
            None => None,
            Some(file) => {
                let name = &store.names()[file];
                let (sizes, labels) = read_idx(store, file).map_err(|what| fail(name, what))?;
                if sizes != [count] {
                    return Err(fail(
                        name,
                        format!(
                            "has {sizes:?} labels for {count} pictures; it belongs to another \
                             set, or one of the two is damaged"
                        ),
                    ));
                }
                Some(labels.into_iter().map(u32::from).collect::<Vec<_>>())
            }
        };
        let top = labels.as_ref().and_then(|labels| labels.iter().max()).map_or(0, |&max| max + 1);
        Ok(Self {
            format: Format::Idx,
            height,
            width,
            channels,
            labels,
            classes: (0..top).map(|class| class.to_string()).collect(),
            files: vec![(name.clone(), count)],
            pixels,
        })
    }

    /// Reads CIFAR-10 batches, in the order given.
    pub(crate) fn cifar10(data: &Path, store: &Store, batches: &[usize]) -> Result<Self> {
        let mut files = Vec::new();
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for &batch in batches {
            let name = &store.names()[batch];
            let fail = |what: String| Error::file(data, format!("{name} {what}"));
            let bytes = store.read(batch, MAX_PACKED).map_err(fail)?;
            if bytes.is_empty() || !bytes.len().is_multiple_of(CIFAR_RECORD) {
                return Err(fail(format!(
                    "has {} bytes, which is no whole number of CIFAR-10 records of {CIFAR_RECORD} \
                     bytes; it is truncated or something else",
                    bytes.len()
                )));
            }
            for record in bytes.chunks_exact(CIFAR_RECORD) {
                if usize::from(record[0]) >= CIFAR_CLASSES.len() {
                    return Err(fail(format!(
                        "has the label {}, where CIFAR-10 has 0 to 9; it is something else",
                        record[0]
                    )));
                }
                labels.push(u32::from(record[0]));
                pixels.extend_from_slice(&record[1..]);
            }
            files.push((name.clone(), bytes.len() / CIFAR_RECORD));
        }
        Ok(Self {
            format: Format::Cifar10,
            height: CIFAR_SIDE,
            width: CIFAR_SIDE,
            channels: 3,
            labels: Some(labels),
            classes: CIFAR_CLASSES.map(str::to_owned).to_vec(),
            files,
            pixels,
        })
    }
}

/// The number of dimensions of an IDX file of bytes that begins with `head`, gzipped or not.
pub(crate) fn idx_dimensions(head: &[u8]) -> Option<u8> {
    let mut magic = [0; 4];
    if head.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(head).read_exact(&mut magic).ok()?;
    } else {
        magic.copy_from_slice(head.get(..4)?);
    }
    match magic {
        [0, 0, 8, dimensions @ (1 | 3 | 4)] => Some(dimensions),
        _ => None,
    }
}

/// Reads an IDX file of bytes: its sizes and its content.
fn read_idx(store: &Store, index: usize) -> Result<(Vec<usize>, Vec<u8>), String> {
    let bytes = store.read(index, MAX_PACKED)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        parse_idx(GzDecoder::new(bytes.as_slice()))
    } else {
        parse_idx(bytes.as_slice())
    }
}

fn parse_idx(mut reader: impl Read) -> Result<(Vec<usize>, Vec<u8>), String> {
    let short = |e: std::io::Error| format!("is truncated or damaged ({e}); download it again");
    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(short)?;
    let mut sizes = Vec::new();
    for _ in 0..word[3] {
        reader.read_exact(&mut word).map_err(short)?;
        sizes.push(u32::from_be_bytes(word) as usize);
    }
    let expected = sizes
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .filter(|&product| product <= MAX_PACKED)
        .ok_or_else(|| format!("claims to hold {sizes:?} bytes; it is damaged"))?;
    // Grows with what is there, not with what the header claims.
    let mut content = Vec::new();
    reader.take(expected).read_to_end(&mut content).map_err(short)?;
    if content.len() as u64 != expected {
        return Err(format!(
            "is truncated: {} of the {expected} bytes that its header promises are there; \
             download it again",
            content.len()
        ));
    }
    Ok((sizes, content))
}
