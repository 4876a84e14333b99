//! Sets whose images lie as raw pixels in a few large files: the IDX files of MNIST and its kin,
//! and the binary batches of CIFAR-10.
//!
//! - IDX (Y. LeCun): big-endian magic `00 00 08 dd`, dd sizes of 4 bytes each, then bytes, last
//!   index fastest. Images have dd = 3 (n, h, w) or 4 (n, h, w, channels), labels dd = 1.
//! - CIFAR-10 (A. Krizhevsky), "binary version": records of 1 label byte and 3072 pixel bytes, a
//!   plane of 32 x 32 for red, then green, then blue.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};

use super::MAX_PIXELS;
use super::arrays::Holder;
use super::classes::numbered;
use super::room;
use super::store::Store;
use crate::error::{Error, Result};

/// The largest unpacked size of a packed file that is read.
pub(crate) const MAX_PACKED: u64 = 8 << 30;

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
    Array(Holder),
}

impl Format {
    /// What it is called.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Idx => "IDX",
            Self::Cifar10 => "CIFAR-10",
            Self::Array(holder) => holder.words(),
        }
    }
}

/// All images of a packed set, in memory.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) format: Format,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// The class of each image, as the files number them.
    raw_labels: Option<Vec<u32>>,
    /// The files and how many images each gave, in order.
    pub(crate) files: Vec<(String, usize)>,
    pixels: Vec<u8>,
}

impl Packed {
    /// Images of `shape`: height, width and channels, in this order and the last fastest.
    pub(super) fn new(
        format: Format,
        [height, width, channels]: [usize; 3],
        raw_labels: Option<Vec<u32>>,
        file: (String, usize),
        pixels: Vec<u8>,
    ) -> Self {
        Self { format, height, width, channels, raw_labels, files: vec![file], pixels }
    }

    /// Its images and those of another file behind them.
    ///
    /// # Errors
    /// Where they are of another size: a sentence that begins with that file.
    pub(super) fn with(mut self, more: Self) -> Result<Self, String> {
        let shape = |set: &Self| [set.height, set.width, set.channels];
        if shape(&self) != shape(&more) {
            return Err(format!(
                "{} holds images of another size than {}: {:?} and {:?}; give one of the two, by \
                 `part` or by its name",
                more.files[0].0,
                self.files[0].0,
                shape(&more),
                shape(&self)
            ));
        }
        self.raw_labels = match (self.raw_labels.take(), more.raw_labels) {
            (Some(mut a), Some(b)) => {
                a.extend(b);
                Some(a)
            }
            _ => None,
        };
        self.files.extend(more.files);
        self.pixels.extend(more.pixels);
        Ok(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(|(_, count)| count).sum()
    }

    /// All of them, one after another, in the files' order.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The class of each image, the names of the classes, and a note on them. `before`: as in
    /// earlier versions, where every number up to the largest label was a class.
    pub(crate) fn classes(&self, before: bool) -> (Option<Vec<u32>>, Vec<String>, Option<String>) {
        let Some(raw) = &self.raw_labels else { return (None, Vec::new(), None) };
        let labels = raw.clone();
        let name = |label: u32| match self.format {
            Format::Idx | Format::Array(_) => label.to_string(),
            Format::Cifar10 => CIFAR_CLASSES[label as usize].to_owned(),
        };
        if before {
            let top = labels.iter().max().map_or(0, |&top| top + 1);
            let all = if self.format == Format::Cifar10 { CIFAR_CLASSES.len() as u32 } else { top };
            return (Some(labels), (0..all).map(name).collect(), None);
        }
        let (labels, names, note) = numbered(&labels, name);
        (Some(labels), names, note)
    }

    /// The file of an image and its place in it.
    pub(crate) fn name(&self, mut index: usize) -> String {
        for (file, count) in &self.files {
            if index < *count {
                return format!("{file}[{index}]");
            }
            index -= count;
        }
        format!("[{index}]")
    }

    pub(crate) fn image(&self, index: usize) -> DynamicImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let size = self.height * self.width * self.channels;
        let pixels = &self.pixels[index * size..(index + 1) * size];
        let pixels = match self.format {
            Format::Idx | Format::Array(_) => pixels.to_vec(),
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
        .expect("the slice was cut to the size of one image")
    }

    /// The files of the set with the images `items` alone, by name: CIFAR-10 batches, IDX files
    /// of images, each with one of labels where there are any, or the arrays of a `.npz`.
    pub(crate) fn subset(&self, items: &[u32]) -> Vec<(String, Vec<u8>)> {
        if let Format::Array(_) = self.format {
            return self.arrays(items);
        }
        let size = self.height * self.width * self.channels;
        let pixels = |item: u32| &self.pixels[item as usize * size..][..size];
        let label = |item: u32| self.raw_labels.as_ref().map(|labels| labels[item as usize]);
        let idx = |sizes: &[usize]| {
            let mut bytes = vec![0, 0, 8, sizes.len() as u8];
            bytes.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
            bytes
        };
        let mut first = 0;
        let mut files = Vec::new();
        for (name, count) in &self.files {
            let range = first..first + *count as u32;
            first = range.end;
            let items: Vec<u32> = items.iter().copied().filter(|i| range.contains(i)).collect();
            // A file without images would be refused when it is read.
            if items.is_empty() {
                continue;
            }
            if self.format == Format::Cifar10 {
                let mut bytes = Vec::with_capacity(items.len() * CIFAR_RECORD);
                for &item in &items {
                    bytes.extend(label(item).map(|label| label as u8));
                    bytes.extend_from_slice(pixels(item));
                }
                files.push((name.clone(), bytes));
                continue;
            }
            let mut sizes = vec![items.len(), self.height, self.width];
            if self.channels > 1 {
                sizes.push(self.channels);
            }
            let mut images = idx(&sizes);
            items.iter().for_each(|&item| images.extend_from_slice(pixels(item)));
            let file = name.rsplit('/').next().unwrap_or(name);
            let file = file.strip_suffix(".gz").unwrap_or(file).to_owned();
            if self.raw_labels.is_some() {
                let mut bytes = idx(&[items.len()]);
                bytes.extend(items.iter().filter_map(|&item| label(item)).map(|label| label as u8));
                files.push((label_names(&file).swap_remove(0), bytes));
            }
            files.push((file, images));
        }
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        files
    }

    /// Two files of NumPy, as a `.npz` has them.
    fn arrays(&self, items: &[u32]) -> Vec<(String, Vec<u8>)> {
        let size = self.height * self.width * self.channels;
        let mut shape = vec![items.len(), self.height, self.width];
        if self.channels > 1 {
            shape.push(self.channels);
        }
        let pixels = items.iter().flat_map(|&item| &self.pixels[item as usize * size..][..size]);
        let mut files = vec![("images.npy".to_owned(), npy("|u1", &shape, pixels.copied()))];
        if let Some(labels) = &self.raw_labels {
            let labels = items.iter().flat_map(|&item| labels[item as usize].to_le_bytes());
            files.push(("labels.npy".to_owned(), npy("<u4", &[items.len()], labels)));
        }
        files
    }

    /// Reads IDX files of images, each with the index of its file of labels where there is one. All
    /// must hold images of one size, and all or none have labels.
    pub(crate) fn idx(
        data: &Path,
        store: &Store,
        files: &[(usize, Option<usize>)],
    ) -> Result<Self> {
        let fail = |name: &str, what: String| Error::file(data, format!("{name} {what}"));
        let mut all: Option<Self> = None;
        for &(images, labels) in files {
            let one = Self::one_idx(store, images, labels)
                .map_err(|(index, what)| fail(&store.names()[index], what))?;
            all = Some(match all {
                None => one,
                Some(all) => all.with(one).map_err(|what| Error::file(data, what))?,
            });
        }
        all.ok_or_else(|| Error::file(data, "DATA holds no IDX file of images"))
    }

    /// Reads one; an error comes with the index of its file.
    fn one_idx(
        store: &Store,
        images: usize,
        labels: Option<usize>,
    ) -> Result<Self, (usize, String)> {
        let fail = |what: String| (images, what);
        let (sizes, pixels) = read_idx(store, images).map_err(fail)?;
        let (&[count, height, width], channels) = (match sizes.as_slice() {
            [rest @ .., channels] if rest.len() == 3 => (rest, *channels),
            rest => (rest, 1),
        }) else {
            return Err(fail(
                "is an IDX file, but not of images; give the one whose name says images".into(),
            ));
        };
        if ![1, 3, 4].contains(&channels) || height == 0 || width == 0 {
            return Err(fail(format!("holds {height} x {width} x {channels}, no images")));
        }
        if count == 0 {
            return Err(fail("holds no images".into()));
        }
        if height as u64 * width as u64 > MAX_PIXELS {
            return Err(fail(format!("holds images that are too large: {height} x {width}")));
        }
        let raw_labels = match labels {
            None => None,
            Some(file) => {
                let (sizes, labels) = read_idx(store, file).map_err(|what| (file, what))?;
                if sizes != [count] {
                    let what = format!(
                        "has {sizes:?} labels for {}; it belongs to another set, or one of the two is \
                         damaged",
                        super::count(count, "image")
                    );
                    return Err((file, what));
                }
                Some(labels.into_iter().map(u32::from).collect())
            }
        };
        Ok(Self {
            format: Format::Idx,
            height,
            width,
            channels,
            raw_labels,
            files: vec![(store.names()[images].clone(), count)],
            pixels,
        })
    }

    /// Reads CIFAR-10 batches, in the order given.
    pub(crate) fn cifar10(data: &Path, store: &Store, batches: &[usize]) -> Result<Self> {
        let name = |batch: usize| &store.names()[batch];
        let fail = |batch, what: String| Error::file(data, format!("{} {what}", name(batch)));
        let mut total = 0_u64;
        for &batch in batches {
            let size = store.size(batch).unwrap_or(0);
            if size == 0 || !size.is_multiple_of(CIFAR_RECORD as u64) {
                let what = format!(
                    "has {size} bytes, which is no whole number of CIFAR-10 records of {CIFAR_RECORD} \
                     bytes; it is truncated or something else"
                );
                return Err(fail(batch, what));
            }
            total = total.saturating_add(size);
            let room = if total > MAX_PACKED {
                Err(too_large())
            } else {
                room::check(total, room::free())
            };
            room.map_err(|what| fail(batch, what))?;
        }
        let mut files = Vec::new();
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for &batch in batches {
            let before = labels.len();
            let read = store.with_reader(batch, |reader, size| {
                let mut reader = BufReader::with_capacity(1 << 16, reader);
                let mut record = [0; CIFAR_RECORD];
                for _ in 0..size / CIFAR_RECORD as u64 {
                    reader.read_exact(&mut record).map_err(|e| short(&e))?;
                    if usize::from(record[0]) >= CIFAR_CLASSES.len() {
                        return Err(format!(
                            "has the label {}, where CIFAR-10 has 0 to 9; it is something else",
                            record[0]
                        ));
                    }
                    labels.push(u32::from(record[0]));
                    pixels.extend_from_slice(&record[1..]);
                }
                Ok(())
            });
            read.map_err(|what| fail(batch, what))?;
            files.push((name(batch).clone(), labels.len() - before));
        }
        Ok(Self {
            format: Format::Cifar10,
            height: CIFAR_SIDE,
            width: CIFAR_SIDE,
            channels: 3,
            raw_labels: Some(labels),
            files,
            pixels,
        })
    }
}

/// The possible names of the label file of an IDX file of images.
pub(crate) fn label_names(images: &str) -> Vec<String> {
    let (folder, file) = images.rsplit_once('/').unwrap_or(("", images));
    let labels = file
        .replace("images", "labels")
        .replace("Images", "Labels")
        .replace("idx3", "idx1")
        .replace("idx4", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    [plain.to_owned(), format!("{plain}.gz")]
        .map(|file| if folder.is_empty() { file } else { format!("{folder}/{file}") })
        .to_vec()
}

/// A file of NumPy: an array of elements of a type, in C's order.
fn npy(descr: &str, shape: &[usize], bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The values begin at a multiple of 64 bytes, behind an end of line.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(length - header.len() - 1));
    header.push('\n');
    let head = [b"\x93NUMPY\x01\0", &(length as u16).to_le_bytes()[..], header.as_bytes()];
    head.concat().into_iter().chain(bytes).collect()
}

fn too_large() -> String {
    format!("unpacks to more than {}; give a part of it", crate::human::bytes(MAX_PACKED))
}

fn short(error: &std::io::Error) -> String {
    format!("is truncated or damaged ({error}); download it again")
}

/// The number of dimensions of an IDX file of bytes that begins with `head`, gzipped or not.
pub(crate) fn idx_dimensions(head: &[u8]) -> Option<u8> {
    let mut magic = [0; 4];
    if head.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(head).read_exact(&mut magic).ok()?;
    } else {
        magic.copy_from_slice(head.get(..4)?);
    }
    match magic {
        [0, 0, 8, dimensions @ (1 | 3 | 4)] => Some(dimensions),
        _ => None,
    }
}

/// The name of an IDX file of other numbers than bytes that begins with `head`, gzipped or not.
pub(crate) fn other_idx(head: &[u8]) -> Option<&'static str> {
    let mut magic = [0; 4];
    if head.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(head).read_exact(&mut magic).ok()?;
    } else {
        magic.copy_from_slice(head.get(..4)?);
    }
    let [0, 0, kind, 1..=4] = magic else { return None };
    match kind {
        0x09 => Some("an IDX file of signed bytes"),
        0x0b => Some("an IDX file of 16-bit integers"),
        0x0c => Some("an IDX file of 32-bit integers"),
        0x0d => Some("an IDX file of floats"),
        0x0e => Some("an IDX file of doubles"),
        _ => None,
    }
}

/// Reads an IDX file of bytes, gzipped or not: its sizes and its content.
fn read_idx(store: &Store, index: usize) -> Result<(Vec<usize>, Vec<u8>), String> {
    store.with_reader(index, |reader, size| {
        let mut reader = BufReader::new(reader);
        let head = reader.fill_buf().map_err(|e| short(&e))?;
        if head.starts_with(&[0x1f, 0x8b]) {
            parse_idx(MultiGzDecoder::new(reader), None, room::free())
        } else {
            parse_idx(reader, Some(size), room::free())
        }
    })
}

/// Reads what an IDX file holds, of which `size` bytes are there as far as that is known, into no more
/// than `free` bytes of memory.
fn parse_idx(
    mut reader: impl Read,
    size: Option<u64>,
    free: u64,
) -> Result<(Vec<usize>, Vec<u8>), String> {
    let mut word = [0; 4];
    reader.read_exact(&mut word).map_err(|e| short(&e))?;
    let mut sizes = Vec::new();
    for _ in 0..word[3] {
        let mut word = [0; 4];
        reader.read_exact(&mut word).map_err(|e| short(&e))?;
        sizes.push(u32::from_be_bytes(word) as usize);
    }
    let expected = sizes
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .filter(|&product| product <= MAX_PACKED)
        .ok_or_else(|| format!("claims to hold {sizes:?} bytes; it is damaged"))?;
    let truncated = |there: u64| {
        format!(
            "is truncated: {there} of the {expected} bytes that its header promises are there; \
             download it again"
        )
    };
    let header = 4 * (1 + sizes.len() as u64);
    if let Some(there) = size.map(|size| size.saturating_sub(header))
        && there < expected
    {
        return Err(truncated(there));
    }
    room::check(expected, free)?;
    // Grows with the actual content, not with what the header claims.
    let mut content = Vec::new();
    reader.by_ref().take(expected).read_to_end(&mut content).map_err(|e| short(&e))?;
    if content.len() as u64 != expected {
        return Err(truncated(content.len() as u64));
    }
    // Up to the end of a gzipped file, where its checksum is.
    if reader.read(&mut word).map_err(|e| short(&e))? > 0 {
        return Err(format!(
            "holds more than the {expected} bytes that its header promises; it is damaged, or something \
             else"
        ));
    }
    Ok((sizes, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_believed_no_further_than_memory_reaches() {
        let mut file = vec![0, 0, 8, 3];
        for size in [1 << 16, 32, 32_u32] {
            file.extend(size.to_be_bytes());
        }
        let read = |size, free| parse_idx(file.as_slice(), size, free);
        // If gzipped, the size is not known in advance.
        let what = read(None, 1 << 20);
        assert!(what.is_err_and(|what| what.contains("64.0 MiB") && what.contains("1.0 MiB")));
        let what = read(None, u64::MAX);
        assert!(what.is_err_and(|what| what.contains("0 of the 67108864 bytes")));
        let what = read(Some(16), 0);
        assert!(what.is_err_and(|what| what.contains("0 of the 67108864 bytes")));
    }
}
