//! Earlier measurements: one readable JSON file for all adapters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Effort;
use crate::device::gpu::Gpu;
use crate::error::{Error, Result};
use crate::files;
use crate::shaders;

/// The version of the format. Files of another version are replaced.
const FORMAT: u32 = 1;

/// Settings that the file stores; the oldest are removed first.
const KEPT: usize = 16;

/// The file's name in its folder.
const NAME: &str = "kernels.json";

/// A lock file, held while writing.
const LOCK: &str = "kernels.lock";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    settings: Vec<Section>,
}

/// The results under some settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    #[serde(flatten)]
    settings: Settings,
    kernels: BTreeMap<String, Entry>,
}

/// Everything that times depend on besides the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    adapter: String,
    backend: String,
    driver: String,
    /// This program's version.
    program: String,
    /// A checksum of the kernels' templates, for those who change them.
    templates: String,
    /// Whether kernels keep the compiler's checks.
    checked: bool,
    /// The size of subgroups, where kernels may use them.
    subgroup: Option<u32>,
    /// Whether the adapter is treated as a software adapter.
    software: bool,
}

impl Settings {
    /// The settings under which `gpu` is measured.
    pub(super) fn of(gpu: &Gpu) -> Self {
        let caps = gpu.caps();
        Self {
            adapter: caps.name.clone(),
            backend: caps.backend.to_owned(),
            driver: caps.driver.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            templates: templates(),
            checked: gpu.is_checked(),
            subgroup: caps.subgroup,
            software: caps.software,
        }
    }
}

/// The result for one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The best variant.
    pub(super) variant: String,
    /// The effort that found it.
    pub(super) effort: Effort,
    /// Milliseconds of every variant, if measured; `None` for wrong ones.
    pub(super) ms: BTreeMap<String, Option<f64>>,
}

/// The measurements under some settings.
#[derive(Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    settings: Settings,
    known: BTreeMap<String, Entry>,
    new: BTreeMap<String, Entry>,
}

impl Cache {
    /// Reads the file in `folder`, and reports what is wrong with it, if anything. Without a folder
    /// nothing is stored.
    pub(super) fn load(folder: Option<PathBuf>, settings: Settings) -> (Self, Option<String>) {
        let (sections, warning) = match folder.as_deref().map(read) {
            Some(Ok(sections)) => (sections, None),
            Some(Err(error)) => (Vec::new(), Some(error.to_string())),
            None => (Vec::new(), None),
        };
        let known = sections.into_iter().find(|s| s.settings == settings);
        let known = known.map(|s| s.kernels).unwrap_or_default();
        (Self { folder, settings, known, new: BTreeMap::new() }, warning)
    }

    /// The known result for a kernel.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.known.get(key)
    }

    /// Adds the result for a kernel.
    pub(super) fn add(&mut self, key: &str, entry: Entry) {
        self.known.insert(key.into(), entry.clone());
        self.new.insert(key.into(), entry);
    }

    /// Writes new results to the file, merged with what other processes wrote meanwhile.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub(super) fn save(&mut self) -> Result<()> {
        let Some(folder) = self.folder.as_deref().filter(|_| !self.new.is_empty()) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, files::cannot("be made a folder", &e)))?;
        // Held until the file is written. Without locks, as on some network drives, two
        // simultaneous writers lose the earlier one's measurements, but nothing else.
        let path = folder.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|e| Error::file(&path, files::cannot("be written", &e)))?;
        let _ = lock.lock();

        // Problems with the file were reported when it was loaded.
        let mut settings = read(folder).unwrap_or_default();
        let at = settings.iter().position(|s| s.settings == self.settings);
        let fresh = || Section { settings: self.settings.clone(), kernels: BTreeMap::new() };
        let mut own = at.map_or_else(fresh, |at| settings.remove(at));
        own.kernels.extend(self.new.clone());
        settings.push(own);
        settings.drain(..settings.len().saturating_sub(KEPT));
        files::write_atomic(&folder.join(NAME), |out| {
            serde_json::to_writer_pretty(&mut *out, &Contents { format: FORMAT, settings })?;
            out.write_all(b"\n")
        })?;
        self.new.clear();
        Ok(())
    }
}

/// Reads the file in a folder; empty if it is missing or in another format.
fn read(folder: &Path) -> Result<Vec<Section>> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let path = &folder.join(NAME);
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(path, files::cannot("be read", &error))),
    };
    let damaged =
        |_| Error::file(path, "is damaged: kernels are measured again, and it is rewritten");
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format != FORMAT {
        return Ok(Vec::new());
    }
    let contents: Contents = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(contents.settings)
}

/// A checksum of all templates: FNV-1a.
fn templates() -> String {
    let bytes = shaders::files().flat_map(|(_, text)| text.bytes());
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Barrier;

    use super::*;

    fn settings(adapter: &str) -> Settings {
        Settings {
            adapter: adapter.into(),
            backend: "vulkan".into(),
            driver: "1.0".into(),
            program: "0.1".into(),
            templates: templates(),
            checked: false,
            subgroup: Some(8),
            software: true,
        }
    }

    fn entry(variant: &str) -> Entry {
        Entry { variant: variant.into(), effort: Effort::Quick, ms: BTreeMap::new() }
    }

    /// Like processes, the writers share nothing but the folder.
    #[test]
    fn those_that_write_at_one_moment_lose_nothing() {
        const WRITERS: usize = 8;
        const KERNELS: usize = 12;
        let folder = tempfile::tempdir().unwrap();
        let load = |i: usize| {
            let settings = settings(["one", "two"][i % 2]);
            let (cache, warning) = Cache::load(Some(folder.path().into()), settings);
            assert_eq!(warning, None);
            cache
        };
        let start = Barrier::new(WRITERS);
        std::thread::scope(|scope| {
            for i in 0..WRITERS {
                let (start, load) = (&start, &load);
                scope.spawn(move || {
                    let mut cache = load(i);
                    start.wait();
                    for kernel in 0..KERNELS {
                        cache.add(&format!("{i} {kernel}"), entry(&i.to_string()));
                        cache.save().unwrap();
                    }
                });
            }
        });
        for i in 0..WRITERS {
            let cache = load(i);
            assert_eq!(cache.known.len(), WRITERS / 2 * KERNELS);
            let of = |kernel| cache.get(&format!("{i} {kernel}")).map(|e| e.variant.clone());
            assert!((0..KERNELS).all(|kernel| of(kernel) == Some(i.to_string())));
        }
    }

    #[test]
    fn the_oldest_settings_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let load = |i: usize| Cache::load(Some(folder.path().into()), settings(&i.to_string())).0;
        for i in 0..=KEPT {
            let mut cache = load(i);
            cache.add("kernel", entry("wide"));
            cache.save().unwrap();
        }
        assert_eq!(load(0).get("kernel"), None);
        assert!((1..=KEPT).all(|i| load(i).get("kernel") == Some(&entry("wide"))));
    }
}
