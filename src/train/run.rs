//! A run being written: its folder, created or opened, and locked.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::tensor::Tensor;
use crate::train::checkpoint;
use crate::train::folder::Folder;
use crate::train::log;

/// The longest description in a folder's name, in bytes: with the number it stays well below the
/// 255 that file systems allow.
const LONGEST_DESCRIPTION: usize = 100;

/// A run's folder, locked for writing by this process.
///
/// The operating system's lock on the file `lock` ends with the process, however that ends; a
/// leftover file means nothing.
#[derive(Debug)]
pub struct Run {
    folder: Folder,
    /// Held open for its lock; `None` if the file system has no locks.
    _lock: Option<File>,
}

impl Deref for Run {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Run {
    /// Makes the folder of a new run in `out`: `00003-description`, with the next free number.
    ///
    /// # Errors
    /// [`Error::File`] if `out` cannot be made or written.
    pub fn create(out: &Path, description: &str) -> Result<Self> {
        let unwritable =
            |error: io::Error| Error::file(out, files::cannot("take a run folder", &error));
        if out.is_file() {
            return Err(Error::file(out, "is a file, where a folder for runs is needed"));
        }
        fs::create_dir_all(out).map_err(unwritable)?;

        // Held while the number is chosen: runs with different names would not collide in
        // `create_dir` and could get the same number.
        let turn = lock_file(&out.join(".lock"))?;
        match turn.lock() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(unwritable(error)),
        }
        let description = clean(description);
        let mut number = next_number(out).map_err(unwritable)?;
        loop {
            let name = match description.as_str() {
                "" => format!("{number:05}"),
                _ => format!("{number:05}-{description}"),
            };
            let path = out.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self::lock(Folder::fresh(path)),
                // Without locks another process may have been faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(unwritable(error)),
            }
        }
    }

    /// Opens a run to resume it, and removes what a killed process left unfinished.
    ///
    /// # Errors
    /// [`Error::File`] if it is not a run, or another process is writing it.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self::lock(Folder::open(path)?)?;
        files::remove_leftovers(run.path());
        Ok(run)
    }

    /// A run that another process of this training has opened: only to be read.
    ///
    /// # Errors
    /// See [`Folder::open`].
    pub fn open_beside(path: &Path) -> Result<Self> {
        Ok(Self { folder: Folder::open(path)?, _lock: None })
    }

    fn lock(folder: Folder) -> Result<Self> {
        let path = folder.path().join(files::LOCK);
        let failed = |error: &io::Error| Error::file(&path, files::cannot("be locked", error));
        let mut file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // If locks also block reading, the process stays unnamed.
                let pid = io::read_to_string(&mut file).unwrap_or_default();
                let who = match pid.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("another process ({pid})"),
                };
                return Err(Error::file(
                    folder.path(),
                    format!("{who} is writing this run; stop it or let it finish first"),
                ));
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(Self { folder, _lock: None });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        // Only informative, for the message above: a full disk must not stop here.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { folder, _lock: Some(file) })
    }

    /// Writes `options.json`, readable for people too.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn write_options<T: Serialize>(&self, options: &T) -> Result<()> {
        files::write_atomic(&self.options_path(), |out| {
            serde_json::to_writer_pretty(&mut *out, options)?;
            out.write_all(b"\n")
        })
    }

    /// Adds text to the log: whole lines, each with its end.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn append_log(&self, lines: &str) -> Result<()> {
        let path = self.log_path();
        let mut file = files::open_own(&path, File::options().append(true).create(true))?;
        // In one write, so that a reader sees whole lines.
        file.write_all(lines.as_bytes())
            .map_err(|error| Error::file(&path, files::cannot("be written", &error)))
    }

    /// Drops the lines of the log beyond `step`, where the run resumes.
    ///
    /// # Errors
    /// [`Error::File`] if the log cannot be read or written.
    pub fn truncate_log(&self, step: u64) -> Result<()> {
        log::truncate(&self.log_path(), step)
    }

    /// Saves a checkpoint and then names it in `latest`: if the process dies at any point, `latest`
    /// names a complete one.
    ///
    /// # Errors
    /// [`Error::File`] if either cannot be written; the previous checkpoint then stays latest.
    pub fn save_checkpoint(
        &self,
        images: u64,
        tensors: &BTreeMap<String, Tensor>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<PathBuf> {
        let path = self.checkpoint_path(images);
        checkpoint::save(&path, tensors, metadata)?;
        let name = path.file_name().expect("a checkpoint's path ends in its name");
        let line = format!("{}\n", name.to_string_lossy());
        files::write_bytes(&self.latest_path(), line.as_bytes())?;
        Ok(path)
    }

    /// Renames a damaged checkpoint, so that the run no longer uses it but it can still be
    /// inspected.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be renamed.
    pub fn set_aside(&self, checkpoint: &Path) -> Result<()> {
        let mut aside = checkpoint.as_os_str().to_owned();
        aside.push(".damaged");
        fs::rename(checkpoint, aside)
            .map_err(|error| Error::file(checkpoint, files::cannot("be renamed", &error)))
    }

    /// Deletes superfluous checkpoints and returns them.
    ///
    /// Keeps the newest `keep_newest`, the one that `latest` names, and, if `keep_every` is not 0,
    /// the first one at or after every multiple of `keep_every` images. That rule depends on
    /// images, not on positions in the list, so pruning after every save keeps the same ones as
    /// pruning once at the end.
    ///
    /// # Errors
    /// [`Error::File`] if one cannot be deleted.
    pub fn prune(&self, keep_newest: usize, keep_every: u64) -> Result<Vec<PathBuf>> {
        let all = self.checkpoints()?;
        let latest = self.latest();
        let newest = all.len().saturating_sub(keep_newest.max(1));
        let mut window = None;
        let mut removed = Vec::new();
        for (i, (images, path)) in all.into_iter().enumerate() {
            let its_window = images.checked_div(keep_every);
            let opens_window = its_window != window;
            window = its_window;
            if i >= newest || opens_window || latest.as_ref() == Some(&path) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::file(&path, files::cannot("be deleted", &error)));
                }
            }
        }
        Ok(removed)
    }
}

/// A file that exists only to be locked.
fn lock_file(path: &Path) -> Result<File> {
    files::open_own(path, File::options().read(true).write(true).create(true).truncate(false))
}

/// The number after the highest in `out`.
fn next_number(out: &Path) -> io::Result<u64> {
    let mut next = 0;
    for entry in fs::read_dir(out)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let digits = name.split('-').next().unwrap_or_default();
        if digits.len() >= 5
            && let Ok(number) = digits.parse::<u64>()
        {
            next = next.max(number.saturating_add(1));
        }
    }
    Ok(next)
}

/// A description as part of a file name: letters, digits, dots and underscores, the rest as `-`.
fn clean(description: &str) -> String {
    let mut name = String::new();
    for c in description.chars() {
        let c = if c.is_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
        if name.len() + c.len_utf8() > LONGEST_DESCRIPTION {
            break;
        }
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    // Windows drops a dot at the end.
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::train::LogLine;

    fn name(run: &Run) -> String {
        run.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn new() -> (tempfile::TempDir, Run) {
        let dir = tempfile::tempdir().unwrap();
        let run = Run::create(dir.path(), "test").unwrap();
        run.write_options(&serde_json::json!({"batch": 64})).unwrap();
        (dir, run)
    }

    fn save(run: &Run, images: u64) -> PathBuf {
        run.save_checkpoint(images, &BTreeMap::new(), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn runs_are_numbered_in_a_row() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("runs/of today");
        assert_eq!(name(&Run::create(&out, "fast avatars/64").unwrap()), "00000-fast-avatars-64");
        assert_eq!(name(&Run::create(&out, "..//").unwrap()), "00001");
        for other in ["00007-x", "123-y", "99999x", "notes"] {
            fs::create_dir(out.join(other)).unwrap();
        }
        assert_eq!(name(&Run::create(&out, "Füße.v2_猫").unwrap()), "00008-Füße.v2_猫");
        fs::create_dir(out.join("100000-many")).unwrap();
        let long = name(&Run::create(&out, &"ü".repeat(300)).unwrap());
        assert!(long.starts_with("100001-ü") && long.len() < 110, "{long}");
    }

    #[test]
    fn runs_made_at_once_get_different_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers: Vec<String> = std::thread::scope(|scope| {
            let make = |i: usize| {
                let out = dir.path();
                let description = if i.is_multiple_of(2) { "even" } else { "odd" };
                scope.spawn(move || name(&Run::create(out, description).unwrap())[..5].to_owned())
            };
            let threads: Vec<_> = (0..16).map(make).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        numbers.sort();
        let expected: Vec<String> = (0..16).map(|i| format!("{i:05}")).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn places_where_no_run_can_be_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let text = Run::create(&file, "x").unwrap_err().to_string();
        assert!(text.ends_with("file: is a file, where a folder for runs is needed"), "{text}");
        let text = Run::create(&file.join("runs"), "x").unwrap_err().to_string();
        let cause = "cannot take a run folder: a part of its path is a file, not a folder";
        assert!(text.ends_with(cause), "{text}");
    }

    #[test]
    fn one_process_at_a_time_writes_a_run() {
        let (_dir, run) = new();
        let path = run.path().to_owned();
        let text = Run::open(&path).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(text.contains(&format!("another process ({pid}) is writing this run")), "{text}");
        assert!(Folder::open(&path).is_ok(), "reading needs no lock");
        drop(run);
        assert!(path.join("lock").exists());
        fs::write(path.join(".dcgan-Xy12.tmp"), "half").unwrap();
        let run = Run::open(&path).unwrap();
        assert!(!path.join(".dcgan-Xy12.tmp").exists());
        assert_eq!(run.options::<serde_json::Value>().unwrap()["batch"], 64);
        assert_eq!(fs::read_to_string(run.options_path()).unwrap(), "{\n  \"batch\": 64\n}\n");
    }

    #[test]
    fn the_log_grows_and_is_cut_back() {
        let (_dir, run) = new();
        let line = |step| LogLine { step, ..LogLine::default() }.with("loss_d", 0.5);
        for step in 1..=4 {
            run.append_log(&line(step).to_json()).unwrap();
        }
        run.truncate_log(2).unwrap();
        run.append_log(&line(3).to_json()).unwrap();
        let steps: Vec<u64> = run.log().unwrap().iter().map(|l| l.step).collect();
        assert_eq!(steps, [1, 2, 3]);
    }

    #[test]
    fn a_save_that_fails_leaves_the_latest_checkpoint() {
        let (_dir, run) = new();
        let first = save(&run, 64);
        assert_eq!(run.newest_checkpoint().unwrap(), first);
        // A folder in the place of the next one: it cannot be written.
        fs::create_dir(run.checkpoint_path(128)).unwrap();
        let error = run.save_checkpoint(128, &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("checkpoint-000000128"), "{error}");
        assert_eq!(run.newest_checkpoint().unwrap(), first);
        checkpoint::load(&first).unwrap();
        assert_eq!(run.newest_checkpoint().unwrap(), first);
        assert_eq!(save(&run, 192), run.newest_checkpoint().unwrap());
    }

    const CHILD: &str = "DCGAN_TEST_KILLED_CHILD";

    /// The process that is killed: this test alone, started by the next one.
    #[test]
    fn killed_child() {
        let Some(path) = std::env::var_os(CHILD) else { return };
        let run = Run::open(Path::new(&path)).unwrap();
        let weights = Tensor::full([1 << 20], 0.5);
        let tensors = BTreeMap::from([("weight".to_owned(), weights)]);
        for i in 1..2000 {
            run.save_checkpoint(i, &tensors, &BTreeMap::new()).unwrap();
            run.prune(2, 0).unwrap();
        }
    }

    #[test]
    fn a_process_killed_at_any_time_leaves_a_run_to_go_on_with() {
        for i in 0..8 {
            let (_dir, run) = new();
            let path = run.path().to_owned();
            let first = save(&run, 0);
            drop(run);
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "train::run::tests::killed_child"])
                .env(CHILD, &path)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let folder = Folder::open(&path).unwrap();
            while folder.newest_checkpoint().unwrap() == first {
                assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            std::thread::sleep(std::time::Duration::from_millis(3 * i));
            child.kill().unwrap();
            child.wait().unwrap();

            let run = Run::open(&path).unwrap();
            let newest = run.newest_checkpoint().unwrap();
            assert_eq!(checkpoint::load(&newest).unwrap().tensors["weight"].len(), 1 << 20);
            for entry in fs::read_dir(&path).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.ends_with(".tmp"), "{name} is left");
            }
        }
    }

    #[test]
    fn pruning_after_every_save_keeps_what_pruning_at_the_end_keeps() {
        let kept = |run: &Run| -> Vec<u64> {
            run.checkpoints().unwrap().into_iter().map(|(images, _)| images).collect()
        };
        let (_dir, each) = new();
        let (_dir, end) = new();
        for i in 1..=12 {
            save(&each, i * 100);
            save(&end, i * 100);
            each.prune(2, 350).unwrap();
        }
        let removed = end.prune(2, 350).unwrap();
        assert_eq!(kept(&end), [100, 400, 700, 1100, 1200]);
        assert_eq!(removed.len(), 12 - 5);
        assert_eq!(kept(&each), kept(&end));

        fs::write(end.latest_path(), "checkpoint-000000400.safetensors").unwrap();
        end.prune(0, 0).unwrap();
        assert_eq!(kept(&end), [400, 1200], "the newest and the latest always stay");
    }
}
