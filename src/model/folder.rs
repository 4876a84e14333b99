//! The layout of a run's folder, and how to find a checkpoint in it.
//!
//! Everything here only reads: a run that another process is writing can be inspected.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;

/// The file with all options of a run; it marks a folder as a run.
pub const OPTIONS: &str = files::RUN;

const LATEST: &str = files::LATEST;
const CHECKPOINT: (&str, &str) = ("checkpoint-", ".safetensors");
const FAKES: (&str, &str) = ("fakes-", ".png");

/// Attempts to list a folder in which another process creates and deletes checkpoints.
const TRIES: usize = 16;

/// A run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The run in `path`.
    ///
    /// # Errors
    /// [`Error::File`] if there is no folder, or it is not a run's.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::file(path, "there is no such run folder"));
        }
        if !path.is_dir() {
            return Err(Error::file(path, "is a file, where a run folder is needed"));
        }
        if !path.join(OPTIONS).is_file() {
            let what = match fs::read_dir(path).is_ok_and(|mut entries| {
                entries.any(|e| e.is_ok_and(|e| e.path().join(OPTIONS).is_file()))
            }) {
                true => {
                    "holds runs but is not one itself; name one of the folders in it".to_owned()
                }
                false => {
                    let weights = [".npy", ".pth", ".pt", ".onnx"];
                    let is_weights = |name: &str| weights.iter().any(|end| name.ends_with(end));
                    let hint = match fs::read_dir(path).is_ok_and(|mut entries| {
                        entries.any(|e| {
                            e.is_ok_and(|e| e.file_name().to_str().is_some_and(is_weights))
                        })
                    }) {
                        true => "; dcgan import makes a model of weights from elsewhere",
                        false => "",
                    };
                    format!("is not a run folder (it has no {OPTIONS}){hint}")
                }
            };
            return Err(Error::file(path, what));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// A folder that is about to become a run.
    pub(crate) fn fresh(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `options.json`.
    #[must_use]
    pub fn options_path(&self) -> PathBuf {
        self.path.join(OPTIONS)
    }

    /// `log.jsonl`.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// The grid of real images, `reals.png`.
    #[must_use]
    pub fn reals_path(&self) -> PathBuf {
        self.path.join("reals.png")
    }

    /// The plot of the log, `losses.png`.
    #[must_use]
    pub fn losses_path(&self) -> PathBuf {
        self.path.join("losses.png")
    }

    /// `timelapse.gif`.
    #[must_use]
    pub fn timelapse_path(&self) -> PathBuf {
        self.path.join("timelapse.gif")
    }

    /// The page to watch the training by, `report.html`.
    #[must_use]
    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The scores of its checkpoints, `scores.json`.
    #[must_use]
    pub fn scores_path(&self) -> PathBuf {
        self.path.join("scores.json")
    }

    /// The checkpoint with the best score, `best.safetensors`.
    #[must_use]
    pub fn best_path(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// What the scores in the log are held against, `floors.json`.
    #[must_use]
    pub fn floors_path(&self) -> PathBuf {
        self.path.join("floors.json")
    }

    /// The list of data files that could not be used, `skipped.txt`.
    #[must_use]
    pub fn skipped_path(&self) -> PathBuf {
        self.path.join("skipped.txt")
    }

    /// The checkpoint after `images` images seen: `checkpoint-000065536.safetensors`.
    #[must_use]
    pub fn checkpoint_path(&self, images: u64) -> PathBuf {
        self.path.join(numbered(CHECKPOINT, images))
    }

    /// The model at the end of a stage: `stage-encoder.safetensors`.
    #[must_use]
    pub fn stage_path(&self, stage: &str) -> PathBuf {
        self.path.join(format!("stage-{stage}.safetensors"))
    }

    /// The preview after `images` images seen: `fakes-000065536.png`.
    #[must_use]
    pub fn fakes_path(&self, images: u64) -> PathBuf {
        self.path.join(numbered(FAKES, images))
    }

    /// The small file that names the newest checkpoint.
    pub(crate) fn latest_path(&self) -> PathBuf {
        self.path.join(LATEST)
    }

    /// The options, as written.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read or do not parse.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T> {
        let path = self.options_path();
        let text = fs::read(&path)
            .map_err(|error| Error::file(&path, files::cannot("be read", &error)))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::file(&path, format!("does not hold a run's options: {error}")))
    }

    /// All checkpoints with the number of images seen, oldest first.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>> {
        self.numbered_files(CHECKPOINT)
    }

    /// All previews with the number of images seen, oldest first.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read.
    pub fn fakes(&self) -> Result<Vec<(u64, PathBuf)>> {
        self.numbered_files(FAKES)
    }

    fn numbered_files(&self, kind: (&str, &str)) -> Result<Vec<(u64, PathBuf)>> {
        let unreadable =
            |error: io::Error| Error::file(&self.path, files::cannot("be read", &error));
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if let Some(images) = entry.file_name().to_str().and_then(|name| number(kind, name)) {
                found.push((images, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The checkpoint that `latest` names, if it exists.
    ///
    /// Only a checkpoint's name counts, never a path to somewhere else.
    #[must_use]
    pub fn latest(&self) -> Option<PathBuf> {
        let name = fs::read_to_string(self.latest_path()).ok()?;
        let name = name.trim();
        number(CHECKPOINT, name)?;
        let path = self.path.join(name);
        path.is_file().then_some(path)
    }

    /// The result of `read` for the newest intact checkpoint, and why newer ones were skipped. The
    /// newest is the one that `latest` names; if that is missing, the last one.
    ///
    /// # Errors
    /// [`Error::File`] if the run has no checkpoint; the error of `read` for the newest, if all are
    /// damaged, or for the first that fails for another reason.
    pub fn newest<T>(&self, read: impl Fn(&Path) -> Result<T>) -> Result<(T, Vec<Error>)> {
        let mut passed = Vec::new();
        for _ in 0..TRIES {
            let mut gone = false;
            passed.clear();
            for path in self.by_age()? {
                match read(&path) {
                    Ok(found) => return Ok((found, passed)),
                    Err(error @ (Error::Damaged { .. } | Error::Changed { .. })) => {
                        passed.push(error);
                    }
                    Err(_) if !path.exists() => gone = true,
                    Err(error) => return Err(error),
                }
            }
            if !gone {
                break;
            }
        }
        Err(match passed.into_iter().next() {
            Some(error) => error,
            None => Error::file(
                &self.path,
                "the run has no checkpoint yet, as it was stopped before it saved its first; start \
                 a new run",
            ),
        })
    }

    /// The checkpoints, newest first; those newer than the one that `latest` names come last.
    fn by_age(&self) -> Result<Vec<PathBuf>> {
        let mut all: Vec<PathBuf> = self.checkpoints()?.into_iter().map(|(_, path)| path).collect();
        all.reverse();
        let latest = self.latest().and_then(|path| all.iter().position(|other| *other == path));
        all.rotate_left(latest.unwrap_or(0));
        Ok(all)
    }

    /// The newest intact checkpoint.
    #[cfg(test)]
    pub(crate) fn newest_checkpoint(&self) -> Result<PathBuf> {
        Ok(self.newest(|path| super::checkpoint::load(path).map(|_| path.to_owned()))?.0)
    }
}

fn numbered((prefix, suffix): (&str, &str), images: u64) -> String {
    format!("{prefix}{images:09}{suffix}")
}

/// The number in such a name, which must be written exactly so.
fn number(kind: (&str, &str), name: &str) -> Option<u64> {
    let images = name.strip_prefix(kind.0)?.strip_suffix(kind.1)?.parse().ok()?;
    (numbered(kind, images) == name).then_some(images)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::checkpoint;

    fn run() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(OPTIONS), "{\"batch\": 64}").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn checkpoint(folder: &Folder, images: u64) -> PathBuf {
        let path = folder.checkpoint_path(images);
        checkpoint::save(&path, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        path
    }

    #[test]
    fn names_are_nine_digits_and_sort_by_number() {
        let (_dir, folder) = run();
        let name = |p: PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name(folder.checkpoint_path(65_536)), "checkpoint-000065536.safetensors");
        assert_eq!(name(folder.fakes_path(0)), "fakes-000000000.png");
        for images in [12_000_000_000, 64, 128] {
            fs::write(folder.fakes_path(images), "").unwrap();
        }
        for other in ["fakes-64.png", "fakes-.png", "fakes-000000001.png.bak", ".fakes.tmp"] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        let found: Vec<u64> = folder.fakes().unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(found, [64, 128, 12_000_000_000]);
    }

    #[test]
    fn the_newest_checkpoint_is_what_latest_says_or_the_one_before() {
        let (_dir, folder) = run();
        let newest = || folder.newest_checkpoint();
        let text = newest().unwrap_err().to_string();
        assert!(text.contains("the run has no checkpoint yet"), "{text}");

        let old = checkpoint(&folder, 64);
        let new = checkpoint(&folder, 128);
        fs::write(folder.latest_path(), "checkpoint-000000064.safetensors\n").unwrap();
        assert_eq!(newest().unwrap(), old, "the latest is what `latest` says");

        for lost in ["checkpoint-000000256.safetensors", "", "../../etc/passwd", OPTIONS] {
            fs::write(folder.latest_path(), lost).unwrap();
            assert_eq!(newest().unwrap(), new, "{lost:?}");
        }
        let bytes = fs::read(&new).unwrap();
        let half = &bytes[..bytes.len() / 2];
        let mut turned = bytes.clone();
        let at = bytes.iter().rposition(|&b| b == b'1').unwrap();
        turned[at] = b'3';
        for named in [true, false] {
            match named {
                true => {
                    fs::write(folder.latest_path(), "checkpoint-000000128.safetensors").unwrap();
                }
                false => fs::remove_file(folder.latest_path()).unwrap(),
            }
            // Truncated, empty, overwritten, with a digit changed.
            for damaged in [half, b"", b"a text", &turned] {
                fs::write(&new, damaged).unwrap();
                let read = |path: &Path| checkpoint::load(path).map(|_| path.to_owned());
                let (found, passed) = folder.newest(read).unwrap();
                assert_eq!((found, passed.len()), (old.clone(), 1), "the newest that is whole");
                let text = passed[0].to_string();
                assert!(text.contains("000000128.safetensors: "), "{text}");
            }
        }
        // A file of a newer version is no reason to fall back to an older one.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let newer = text.replace("dcgan.version\":\"1", "dcgan.version\":\"2");
        let newer = newer.replace("dcgan.crc32", "dcgan.xxx32");
        fs::write(&new, newer).unwrap();
        assert!(newest().unwrap_err().to_string().contains("update dcgan"));
        fs::write(&new, half).unwrap();
        fs::write(&old, &bytes[..20]).unwrap();
        let text = newest().unwrap_err().to_string();
        assert!(text.contains("000000128.safetensors: is cut short"), "{text}");
    }

    #[test]
    fn what_is_no_run_is_said_to_be_none() {
        let (dir, folder) = run();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let said = |path: &Path| Folder::open(path).unwrap_err().to_string();
        assert!(said(&file).ends_with("is a file, where a run folder is needed"));
        assert!(said(&dir.path().join("x")).ends_with("there is no such run folder"));

        let outer = tempfile::tempdir().unwrap();
        assert!(said(outer.path()).ends_with("is not a run folder (it has no options.json)"));
        let inner = outer.path().join("00000-a");
        fs::create_dir(&inner).unwrap();
        fs::write(outer.path().join("gen_params_0.npy"), "").unwrap();
        assert!(
            said(outer.path()).ends_with("dcgan import makes a model of weights from elsewhere")
        );
        fs::copy(folder.options_path(), inner.join(OPTIONS)).unwrap();
        assert!(said(outer.path()).ends_with("name one of the folders in it"));
    }

    #[test]
    fn options_are_read_or_the_file_is_named() {
        #[derive(serde::Deserialize)]
        struct Options {
            batch: u32,
        }
        let (_dir, folder) = run();
        assert_eq!(folder.options::<Options>().unwrap().batch, 64);
        fs::write(folder.options_path(), "{\"batch\": ").unwrap();
        let text = folder.options::<Options>().err().unwrap().to_string();
        assert!(text.contains("options.json: does not hold a run's options: EOF"), "{text}");
    }
}
