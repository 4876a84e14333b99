//! Arrays in NumPy's files, by themselves or in a `.npz`, which is a zip of them.

use super::Array;
use super::pixels::{Element, Number};
use crate::data::store::Store;
use crate::npy::{Flaw, Npy};

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// A type as NumPy writes it: `<f4`, `|u1`, `>i8`.
fn element(descr: &str) -> Option<Element> {
    let (order, rest) = descr.split_at_checked(1)?;
    let (kind, size) = rest.split_at_checked(1)?;
    let number = match kind {
        "b" => Number::Bool,
        "u" => Number::Unsigned,
        "i" => Number::Signed,
        "f" => Number::Float,
        _ => return None,
    };
    let size: usize = size.parse().ok()?;
    let is_known = match number {
        Number::Bool => size == 1,
        Number::Float => matches!(size, 2 | 4 | 8),
        _ => matches!(size, 1 | 2 | 4 | 8),
    };
    let big_endian = order == ">" || (order == "=" && cfg!(target_endian = "big"));
    is_known.then_some(Element { number, size, big_endian })
}

fn why(flaw: &Flaw) -> String {
    match flaw {
        Flaw::Io(e) => e.to_string(),
        _ => "begins like NumPy but is damaged or truncated".into(),
    }
}

/// The array of a file.
///
/// # Errors
/// The end of a sentence that begins with the file.
pub(super) fn open(store: &Store, file: usize) -> Result<Array<'_>, String> {
    let name = store.names()[file].clone();
    let header = store.with_reader(file, |reader, _| {
        Npy::new(reader).map(|npy| npy.header).map_err(|flaw| why(&flaw))
    })?;
    // Of other types than numbers, it is listed as what it is: neither images nor labels.
    let (element, shape) = match header.descr.as_deref().and_then(element) {
        Some(element) => (element, header.shape),
        None => (Element::BYTE, Vec::new()),
    };
    let called = name.rsplit('/').next().unwrap_or(&name);
    let called = called.rsplit_once('.').map_or(called, |(stem, _)| stem).to_owned();
    let read = move |take: super::Take<'_>| {
        store.with_reader(file, |reader, _| {
            let mut values = Npy::new(reader).map_err(|flaw| why(&flaw))?.into_values();
            super::pieces(&mut values, PIECE, take)
        })
    };
    let fortran = header.fortran;
    Ok(Array { name, called, shape, element, fortran, image_last: false, read: Box::new(read) })
}
