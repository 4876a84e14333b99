//! Reads the files of `torch.save`: a zip archive of one pickle, which describes the tensors, and
//! one file of raw data for each storage; or, from before PyTorch 1.6, a few pickles one after
//! another, and then the storages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::rc::Rc;

use zip::{CompressionMethod, ZipArchive};

use crate::tensor::Tensor;

use super::Named;
use super::element::Element;
use super::pickle::{Unpickled, unpickle, unpickle_first};

/// The format before PyTorch 1.6 begins with a pickle of this number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Tensors take at most this many times the file's memory, as bytes of the file's element types:
/// the same storage may have several names.
const SHARED: usize = 4;

/// Whether a file is in the format before PyTorch 1.6.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(LEGACY)
}

/// The error for PyTorch files that cannot be read; `None` for other files.
pub(super) fn old_format(bytes: &[u8]) -> Option<String> {
    (bytes.get(257..262) == Some(b"ustar")).then(|| {
        "is a tar archive, as PyTorch wrote them before version 0.1.10, which only Python can read; \
         save it again with: import torch; torch.save(torch.load(FILE, map_location=\"cpu\"), \
         \"new.pth\")"
            .into()
    })
}

/// The content of an archive.
#[derive(Debug)]
pub(super) struct Archived {
    /// All floating-point tensors in file order, named by the keys that lead to them.
    pub(super) tensors: Vec<Named>,
    /// The names of the layers that its state dicts list, also those without tensors.
    pub(super) modules: Vec<String>,
    /// Descriptions of integer tensors that are not a norm's counter.
    pub(super) others: Vec<String>,
}

/// Reads an archive.
///
/// # Errors
/// A message if the archive is damaged or holds anything but plain data and tensors.
pub(super) fn read(bytes: &[u8]) -> Result<Archived, String> {
    let damaged = |_| "is damaged or cut short: it is not a complete zip archive".to_owned();
    let mut archive = Archive {
        zip: ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?,
        left: bytes.len() as u64,
    };
    let names: Vec<String> =
        archive.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let pickle = names
        .iter()
        .find(|name| name.ends_with("data.pkl"))
        .ok_or("is a zip archive, but not one of PyTorch's (it has no data.pkl)")?;
    let folder = &pickle[..pickle.len() - "data.pkl".len()];
    if names.iter().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
        return Err("is a TorchScript program; write it as an ONNX graph, which has every layer, \
                    with torch.onnx.export(torch.jit.load(FILE), (z,), \"new.onnx\", dynamo=False), \
                    or its weights alone, with torch.save(torch.jit.load(FILE).state_dict(), \
                    \"new.pth\")"
            .into());
    }
    archive.check_layout()?;
    if let Some(name) = names.iter().find(|name| name.strip_prefix(folder) == Some("byteorder"))
        && archive.file(name)? != b"little"
    {
        return Err("was written by a big-endian machine, which is not supported".into());
    }

    let unpickled = unpickle(&archive.file(pickle)?)?;
    collect(&unpickled, bytes.len(), |key| {
        archive.file(&format!("{folder}data/{key}")).map(Cow::Owned)
    })
}

/// Reads a file in the format before PyTorch 1.6: the pickles of a magic number, of the format's
/// version, of the machine, of the tensors and of the storages' keys; then, in the order of the
/// keys, each storage's number of elements (8 bytes) and its data.
///
/// # Errors
/// A message if the file is damaged or holds anything but plain data and tensors.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Archived, String> {
    let mut rest = bytes;
    let mut next = || -> Result<Unpickled, String> {
        let (unpickled, after) = unpickle_first(rest)?;
        rest = after;
        Ok(unpickled)
    };
    let (_magic, _version, _machine) = (next()?, next()?, next()?);
    let (unpickled, keys) = (next()?, next()?);
    let keys = keys.texts().ok_or("is damaged: the list of its storages cannot be read")?;
    let elements = unpickled.storages();
    let mut storages: HashMap<Rc<str>, &[u8]> = HashMap::new();
    for key in keys {
        let element = elements.get(&key).ok_or("is damaged: it holds a storage of no tensor")?;
        let (count, data) = rest.split_first_chunk().ok_or("is cut short")?;
        let len = usize::try_from(u64::from_le_bytes(*count)).ok();
        let len = len.and_then(|count| count.checked_mul(element.size()));
        let len = len.filter(|&len| len <= data.len()).ok_or("is cut short")?;
        storages.insert(key, &data[..len]);
        rest = &data[len..];
    }
    collect(&unpickled, bytes.len(), |key| match storages.get(key) {
        Some(storage) => Ok(Cow::Borrowed(*storage)),
        None => Err("is damaged: a tensor's storage is missing".into()),
    })
}

/// The tensors that a pickle describes, with the bytes of each storage by `storage`; `len` are the
/// file's bytes.
fn collect<'a>(
    unpickled: &Unpickled,
    len: usize,
    mut storage: impl FnMut(&str) -> Result<Cow<'a, [u8]>, String>,
) -> Result<Archived, String> {
    let mut storages: HashMap<Rc<str>, Cow<'_, [u8]>> = HashMap::new();
    let mut left = len.saturating_mul(SHARED);
    let (mut tensors, mut others) = (Vec::new(), Vec::new());
    let found = unpickled.found()?;
    for (name, view) in found.tensors {
        let element = view.storage.element;
        // Counters and the like are skipped: they are never weights.
        if matches!(element, Element::Other(_)) {
            if !name.ends_with("num_batches_tracked") {
                others.push(format!("{name}, whole numbers"));
            }
            continue;
        }
        let len = view.shape.iter().try_fold(element.size(), |n, &s| n.checked_mul(s));
        left = len.and_then(|len| left.checked_sub(len)).ok_or_else(|| {
            format!("is damaged: {name} and those before it are larger than the whole file")
        })?;
        let key = &view.storage.key;
        if !storages.contains_key(key) {
            storages.insert(key.clone(), storage(key)?);
        }
        let values = element
            .view(&storages[key], view.offset, &view.shape, &view.strides)
            .ok_or_else(|| format!("is damaged: {name} reaches beyond its storage"))?;
        let tensor = Tensor::new(view.shape.clone(), values).map_err(|e| e.to_string())?;
        tensors.push(Named { name, tensor });
    }
    Ok(Archived { tensors, modules: found.modules, others })
}

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that may still be read: uncompressed parts cannot exceed the file's size.
    left: u64,
}

impl Archive<'_> {
    /// Refuses overlapping parts, which only malicious archives have.
    fn check_layout(&mut self) -> Result<(), String> {
        let mut places = Vec::new();
        for i in 0..self.zip.len() {
            let file = self.zip.by_index_raw(i).map_err(|_| {
                "is damaged: one of its parts is missing or cannot be read".to_owned()
            })?;
            let start = file.data_start().unwrap_or_default();
            places.push((file.header_start(), start.saturating_add(file.compressed_size())));
        }
        places.sort_unstable();
        match places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            true => Err("is damaged: its parts overlap".into()),
            false => Ok(()),
        }
    }

    /// Reads a file of the archive and verifies its checksum.
    fn file(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let mut file = self
            .zip
            .by_name(name)
            .map_err(|_| format!("is damaged: its part {name:?} is missing or cannot be read"))?;
        if file.compression() != CompressionMethod::Stored || file.compressed_size() != file.size()
        {
            return Err(format!(
                "is not a file as PyTorch writes it: its part {name:?} is compressed; save it \
                 again with torch.save"
            ));
        }
        self.left = self
            .left
            .checked_sub(file.size())
            .ok_or("is damaged: its parts are larger than the whole file")?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|_| format!("is damaged: the checksum of its part {name:?} is wrong"))?;
        Ok(bytes)
    }
}
