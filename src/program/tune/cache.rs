//! What was measured before: one readable JSON file for each adapter.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Effort;
use crate::device::gpu::Gpu;
use crate::error::{Error, Result};
use crate::files;
use crate::shaders;

/// The version of the format. Files of another one are written anew.
const FORMAT: u32 = 1;

/// Settings that a file remembers; the oldest go first.
const KEPT: usize = 8;

/// An adapter's file.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    adapter: String,
    backend: String,
    settings: Vec<Section>,
}

/// What was found out under some settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    #[serde(flatten)]
    settings: Settings,
    kernels: BTreeMap<String, Entry>,
}

/// All that times depend on beside the kernel and the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    /// This program's version.
    program: String,
    /// A check sum of the kernels' templates, for those who change them.
    templates: String,
    driver: String,
    /// Whether kernels keep the compiler's checks.
    checked: bool,
    /// The size of subgroups, where kernels may use them.
    subgroup: Option<u32>,
    /// Whether the adapter is taken for a CPU that plays GPU.
    software: bool,
}

/// What was found out about one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The variant to take.
    pub(super) variant: String,
    /// With which effort it was found.
    pub(super) effort: Effort,
    /// Milliseconds of every variant, as far as it was measured; none for those that are wrong.
    pub(super) ms: BTreeMap<String, Option<f64>>,
}

/// An adapter's measurements.
#[derive(Debug)]
pub(super) struct Cache {
    path: Option<PathBuf>,
    head: (String, String),
    settings: Settings,
    known: BTreeMap<String, Entry>,
    new: BTreeMap<String, Entry>,
}

impl Cache {
    /// Reads the file of `gpu` in `folder`, and says what is wrong with it, if something is. Without
    /// a folder nothing is kept.
    pub(super) fn load(folder: Option<&Path>, gpu: &Gpu) -> (Self, Option<String>) {
        let caps = gpu.caps();
        let settings = Settings {
            program: env!("CARGO_PKG_VERSION").into(),
            templates: templates(),
            driver: caps.driver.clone(),
            checked: gpu.is_checked(),
            subgroup: caps.subgroup,
            software: caps.software,
        };
        let head = (caps.name.clone(), caps.backend.to_owned());
        let path = folder.map(|folder| folder.join(file_name(&head)));
        let (contents, warning) = match path.as_deref().map(read) {
            Some(Ok(contents)) => (contents, None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let sections = contents.map(|c| c.settings).unwrap_or_default();
        let known = sections.into_iter().find(|s| s.settings == settings);
        let known = known.map(|s| s.kernels).unwrap_or_default();
        (Self { path, head, settings, known, new: BTreeMap::new() }, warning)
    }

    /// What is known of a kernel.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.known.get(key)
    }

    /// Adds what was found out about a kernel.
    pub(super) fn add(&mut self, key: &str, entry: Entry) {
        self.known.insert(key.into(), entry.clone());
        self.new.insert(key.into(), entry);
    }

    /// Writes what was added into the file, beside what other processes wrote meanwhile.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub(super) fn save(&mut self) -> Result<()> {
        let Some(path) = self.path.as_deref().filter(|_| !self.new.is_empty()) else {
            return Ok(());
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, files::cannot("be made a folder", &e)))?;
        let mut sections =
            read(path).ok().flatten().map(|contents| contents.settings).unwrap_or_default();
        let at = sections.iter().position(|s| s.settings == self.settings);
        let fresh = || Section { settings: self.settings.clone(), kernels: BTreeMap::new() };
        let mut own = at.map_or_else(fresh, |at| sections.remove(at));
        own.kernels.extend(self.new.clone());
        sections.push(own);
        let (adapter, backend) = self.head.clone();
        let settings = sections.split_off(sections.len().saturating_sub(KEPT));
        let contents = Contents { format: FORMAT, adapter, backend, settings };
        files::write_atomic(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &contents)?;
            out.write_all(b"\n")
        })?;
        self.new.clear();
        Ok(())
    }
}

/// Reads a file; there is none where it is missing or of another format.
fn read(path: &Path) -> Result<Option<Contents>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path, files::cannot("be read", &error))),
    };
    let damaged =
        |_| Error::file(path, "is damaged: kernels are measured anew, and it is written anew");
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    if value
        .get("format")
        .and_then(serde_json::Value::as_u64)
        .is_some_and(|f| f != u64::from(FORMAT))
    {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(damaged)
}

/// The name of an adapter's file.
fn file_name((adapter, backend): &(String, String)) -> String {
    let name = format!("{adapter}-{backend}").to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    format!("kernels-{}.json", words.collect::<Vec<_>>().join("-"))
}

/// A check sum of all templates: FNV-1a.
fn templates() -> String {
    let bytes = shaders::FILES.iter().flat_map(|(_, text)| text.bytes());
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain() {
        let head = ("llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(), "vulkan".to_owned());
        assert_eq!(file_name(&head), "kernels-llvmpipe-llvm-15-0-6-256-bits-vulkan.json");
    }
}
