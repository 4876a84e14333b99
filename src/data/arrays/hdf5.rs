//! Arrays in HDF5 files: datasets, in groups or not.

use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, File, Group};

use super::Array;
use super::pixels::{Element, Number};
use crate::data::decode::caught;
use crate::data::store::Store;

/// How deep groups are looked into, and how many arrays are listed.
const DEEPEST: usize = 4;
const MOST: usize = 1000;

/// Bytes of rows that are read at once, about.
const PIECE: u64 = 1 << 20;

/// The most bytes of a chunk, which is unpacked in one piece.
const LARGEST: u64 = 256 << 20;

/// No packing makes more bytes of one.
const RATIO: u64 = 1100;

fn element(datatype: &Datatype) -> Option<Element> {
    let (number, size, order) = match datatype {
        Datatype::FixedPoint { size, byte_order, layout } => {
            let number = if layout.signed { Number::Signed } else { Number::Unsigned };
            (number, *size, byte_order)
        }
        Datatype::FloatingPoint { size, byte_order, .. } => (Number::Float, *size, byte_order),
        // h5py writes booleans so.
        Datatype::Enumeration { size: 1, members, .. } if members.len() == 2 => {
            return Some(Element { number: Number::Bool, size: 1, big_endian: false });
        }
        _ => return None,
    };
    let is_known = match number {
        Number::Float => matches!(size, 2 | 4 | 8),
        _ => matches!(size, 1 | 2 | 4 | 8),
    };
    let big_endian = match order {
        DatatypeByteOrder::LittleEndian => false,
        DatatypeByteOrder::BigEndian => true,
        DatatypeByteOrder::Vax => return None,
    };
    is_known.then_some(Element { number, size: size as usize, big_endian })
}

/// What `f` returns; its error, or that it panicked, as the end of a sentence.
fn guarded<T>(f: impl FnOnce() -> Result<T, hdf5_pure::Error>) -> Result<T, String> {
    match caught(f) {
        Some(Ok(value)) => Ok(value),
        Some(Err(e)) => Err(format!("cannot be read as HDF5 ({e})")),
        None => Err("is HDF5 that the decoder fails on".into()),
    }
}

/// Lists the datasets of a group and of those in it, under their paths.
fn list(
    group: &Group,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, Dataset)>,
) -> Result<(), hdf5_pure::Error> {
    for name in group.datasets()? {
        if found.len() < MOST {
            found.push((format!("{prefix}{name}"), group.dataset(&name)?));
        }
    }
    for name in group.groups()? {
        if depth < DEEPEST && found.len() < MOST {
            list(&group.group(&name)?, &format!("{prefix}{name}/"), depth + 1, found)?;
        }
    }
    Ok(())
}

/// Whether all chunks of a dataset lie in its file of `len` bytes: room for a chunk is made before it is
/// read.
fn check_chunks(dataset: &Dataset, len: u64) -> Result<(), String> {
    let lies_in = |chunk: &hdf5_pure::Chunk| {
        chunk.address.checked_add(chunk.storage_size).is_some_and(|end| end <= len)
    };
    match guarded(|| dataset.chunks())?.iter().all(lies_in) {
        true => Ok(()),
        false => Err("is damaged or truncated: a chunk lies beyond the end of the file".into()),
    }
}

/// The numeric datasets of a file.
///
/// # Errors
/// The end of a sentence that begins with the file.
pub(super) fn open(store: &Store, file: usize) -> Result<Vec<Array<'_>>, String> {
    let name = &store.names()[file];
    let Some(path) = store.path(file) else {
        return Err("is HDF5 in an archive, which is not read; unpack it".into());
    };
    let len = store.size(file).unwrap_or(0);
    let mut found = Vec::new();
    guarded(|| list(&File::open_streaming(path)?.root(), "", 0, &mut found))?;
    let mut arrays = Vec::new();
    for (called, dataset) in found {
        let (shape, element, chunk) = guarded(|| {
            Ok((dataset.shape()?, element(&dataset.datatype()?), dataset.chunk_shape()?))
        })?;
        let Some(element) = element else { continue };
        let bytes = |sizes: &[u64]| {
            sizes.iter().try_fold(element.size as u64, |product, &size| product.checked_mul(size))
        };
        let whole = bytes(&shape).filter(|&whole| whole <= len.saturating_mul(RATIO));
        let piece = bytes(chunk.as_deref().unwrap_or(shape.get(1..).unwrap_or(&[])));
        let row = bytes(shape.get(1..).unwrap_or(&[])).filter(|&row| row <= LARGEST);
        let fits = whole.is_some() && piece.is_some_and(|piece| piece <= LARGEST);
        let sizes: Vec<usize> =
            shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect();
        let (rows, shown) = (shape.first().copied().unwrap_or(0), sizes.clone());
        let read = move |take: super::Take<'_>| {
            let Some(row) = row.filter(|_| fits) else {
                return Err(format!(
                    "claims a shape of {shown:?}, more than its file can hold or than is read at once"
                ));
            };
            if chunk.is_some() {
                check_chunks(&dataset, len)?;
            }
            let step = (PIECE / row.max(1)).max(1);
            let mut at = 0;
            while at < rows {
                let n = step.min(rows - at);
                take(&guarded(|| dataset.read_raw_rows(at, n))?)?;
                at += n;
            }
            Ok(())
        };
        arrays.push(Array {
            name: format!("{name}, {called}"),
            called,
            shape: sizes,
            element,
            fortran: false,
            image_last: false,
            read: Box::new(read),
        });
    }
    Ok(arrays)
}
