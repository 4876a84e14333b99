//! Features of image sets, kept so that the real images of a score are looked at once.
//!
//! A file's name is the SHA-256 of everything that its content depends on: the images, the network's
//! file, and how images are resized. Files are written completely or not at all; one that is damaged,
//! or is not what its name says, is computed again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint;
use crate::program::tune::cache_folder;
use crate::tensor::Tensor;

use super::super::{Features, ImageSet};
use super::{FeatureNetwork, Outputs, Progress, hexadecimal};

/// To be raised whenever a network's outputs change.
const FORMAT: u32 = 1;

/// The metadata key of what a file holds the features of.
const KEY: &str = "dcgan.features";

/// The folder in the user's cache.
const FOLDER: &str = "features";

/// The ending of its files.
const ENDING: &str = "safetensors";

/// Bytes that all files may take together; those not written for longest are removed.
const KEPT: u64 = 1 << 30;

/// A folder of features.
#[derive(Clone, Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    kept: u64,
}

/// Outputs and where they came from.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The outputs.
    pub outputs: Outputs,
    /// Whether they were read from the cache.
    pub found: bool,
    /// Why they could not be stored, or what was wrong with the file that was replaced.
    pub warning: Option<String>,
}

/// The features of images by a network: from the user's cache, or computed, and kept there where there
/// is one.
///
/// # Errors
/// Those of [`FeatureNetwork::features`] and of `progress`.
pub fn cached_features(
    network: &mut FeatureNetwork,
    images: &ImageSet,
    progress: Progress<'_>,
) -> Result<Cached> {
    match FeatureCache::of_user() {
        Some(cache) => cache.features(network, images, progress),
        None => {
            let outputs = network.features(images, progress)?;
            Ok(Cached { outputs, found: false, warning: None })
        }
    }
}

impl FeatureCache {
    /// The cache in a folder, which is made when it is first needed.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), kept: KEPT }
    }

    /// The cache beside the user's other ones ([`cache_folder`]); `None` without such a folder.
    #[must_use]
    pub fn of_user() -> Option<Self> {
        Some(Self::new(&cache_folder()?.join(FOLDER)))
    }

    /// What identifies the features of `images` by `network`.
    fn key(network: &FeatureNetwork, images: &ImageSet) -> String {
        let mut hash = Sha256::new();
        let [height, width, channels] = images.size;
        let about = format!(
            "{FORMAT} {} {} {} {height} {width} {channels} {}\n",
            network.name(),
            network.hash(),
            network.resize().name(),
            images.count()
        );
        hash.update(about);
        hash.update(&images.bytes);
        hexadecimal(&hash.finalize())
    }

    /// What `network` makes of `images`: from this cache, or computed and stored.
    ///
    /// # Errors
    /// Those of [`FeatureNetwork::features`]. Trouble with the cache is only a warning.
    pub fn features(
        &self,
        network: &mut FeatureNetwork,
        images: &ImageSet,
        progress: Progress<'_>,
    ) -> Result<Cached> {
        let key = Self::key(network, images);
        let path = self.folder.join(&key).with_extension(ENDING);
        let warning = match read(&path, &key, images.count(), network.kind.widths()) {
            Ok(Some(outputs)) => return Ok(Cached { outputs, found: true, warning: None }),
            Ok(None) => None,
            Err(error) => Some(format!("{error}; the features are computed again")),
        };
        let outputs = network.features(images, progress)?;
        let stored = self.store(&path, &key, &outputs);
        let warning = stored.err().map(|error| error.to_string()).or(warning);
        Ok(Cached { outputs, found: false, warning })
    }

    fn store(&self, path: &Path, key: &str, outputs: &Outputs) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .map_err(|e| Error::file(&self.folder, files::cannot("be made a folder", &e)))?;
        let tensor = |features: &Features| {
            Tensor::new([features.count(), features.width], features.values.clone())
        };
        let tensors = BTreeMap::from([
            ("features".to_owned(), tensor(&outputs.features)?),
            ("logits".to_owned(), tensor(&outputs.logits)?),
        ]);
        let metadata = BTreeMap::from([(KEY.to_owned(), key.to_owned())]);
        checkpoint::save(path, &tensors, &metadata)?;
        self.prune(path);
        Ok(())
    }

    /// Removes the oldest files beyond the limit, but not the newest one. A file that is already gone
    /// is no matter.
    fn prune(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let about = path.metadata().ok()?;
                let own = path.extension().is_some_and(|e| e == ENDING) && path != newest;
                own.then_some((about.modified().ok()?, about.len(), path))
            })
            .collect();
        files.sort();
        let mut total = newest.metadata().map_or(0, |about| about.len());
        for (_, len, path) in files.into_iter().rev() {
            total += len;
            if total > self.kept {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The outputs in a file; `None` if there is no file.
fn read(path: &Path, key: &str, count: usize, widths: [usize; 2]) -> Result<Option<Outputs>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = checkpoint::load(path)?;
    if file.metadata.get(KEY).map(String::as_str) != Some(key) {
        return Err(Error::damaged(path, "does not hold what its name says"));
    }
    let mut take = |name: &str, width: usize| -> Result<Features> {
        match file.tensors.remove(name) {
            Some(tensor) if tensor.shape() == [count, width] && tensor.is_finite() => {
                Features::new(width, tensor.try_f32s()?.to_vec())
            }
            _ => Err(Error::damaged(path, format!("does not hold the {name} of {count} images"))),
        }
    };
    let features = take("features", widths[0])?;
    let logits = take("logits", widths[1])?;
    Ok(Some(Outputs { features, logits }))
}
