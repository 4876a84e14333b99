//! Files that are either written completely or not touched.
//!
//! A file is written beside its final place under a temporary name, synced, and renamed: whoever
//! reads it sees the old content or the new, never a mix. A killed process leaves at most a
//! temporary file, which [`remove_leftovers`] recognizes by its name.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{Builder, TempDir, TempPath};

use crate::error::{Error, Result};

/// Prefix and suffix of temporary names; the middle cannot be guessed.
const TEMPORARY: (&str, &str) = (".dcgan-", ".tmp");

/// The file that marks a folder as a run, which may be a stranger's.
pub const RUN: &str = "options.json";

/// The file of a run that names its newest checkpoint.
pub const LATEST: &str = "latest";

/// The file that a process locks while it writes a run.
pub const LOCK: &str = "lock";

/// Whether `folder` is a run's. [`RUN`] alone may belong to any program.
#[must_use]
pub fn is_run(folder: &Path) -> bool {
    folder.join(RUN).is_file() && [LATEST, LOCK].iter().any(|name| folder.join(name).is_file())
}

/// Writes a file with `write`: afterwards `path` has its old content or all of the new.
///
/// Folders must exist. Anything but a regular file (a pipe, `/dev/stdout`) is written directly,
/// since renaming would replace it. A link is followed, except in a run's folder: whoever made that
/// folder chose the link's target, so it is replaced.
///
/// # Errors
/// [`Error::File`] with the cause; then `path` is unchanged, and no temporary file is left.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_or_clean(path, write).map_err(|error| Error::file(path, cannot("be written", &error)))
}

/// [`write_atomic`] for bytes in memory.
///
/// # Errors
/// Those of [`write_atomic`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |out| out.write_all(bytes))
}

fn write_or_clean(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    write(&mut file)?;
    file.finish()
}

/// A file being written: [`write_atomic`] for content that comes in pieces. Dropped before
/// [`AtomicFile::finish`], it leaves the old content and no temporary file.
#[derive(Debug)]
pub struct AtomicFile {
    /// Declared before the temporary name, so that it is closed before that is removed.
    out: BufWriter<File>,
    temporary: Option<(TempPath, Unfinished)>,
    place: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will become `path`.
    ///
    /// # Errors
    /// The system's, if nothing can be written there; [`cannot`] turns it into words.
    pub fn create(path: &Path) -> io::Result<Self> {
        // A stranger's link leads to files that must not be touched, so it counts as missing.
        let is_foreign = path.is_symlink() && folder_of(path).join(RUN).exists();
        let existing = match fs::metadata(path) {
            _ if is_foreign => None,
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let is_link = path.is_symlink() && !is_foreign;
        let linked = if is_link { fs::canonicalize(path).ok() } else { None };
        let place = linked.unwrap_or_else(|| path.to_owned());
        let (file, temporary) = if existing.is_some_and(|m| !m.is_file()) {
            (File::options().write(true).open(path)?, None)
        } else {
            place.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
            let folder = folder_of(&place);
            let make = || temporary(0o666).tempfile_in(folder);
            let (file, unfinished) = Unfinished::create(make, |file| file.path())?;
            let (file, name) = file.into_parts();
            (file, Some((name, unfinished)))
        };
        Ok(Self { out: BufWriter::with_capacity(1 << 16, file), temporary, place })
    }

    /// Moves the written content to the path.
    ///
    /// # Errors
    /// The system's; then the path is unchanged.
    pub fn finish(self) -> io::Result<()> {
        let Self { out, temporary, place } = self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let Some((name, _unfinished)) = temporary else { return Ok(()) };
        file.sync_all()?;
        drop(file);
        name.persist(&place)?;
        sync_folder(&place);
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

/// A builder for temporary names, with the permissions of `mode` and the user's umask.
fn temporary(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1).rand_bytes(16);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// A folder being written, beside its final place; removed when dropped, unless finished.
#[derive(Debug)]
pub struct DraftFolder {
    folder: TempDir,
    _unfinished: Unfinished,
}

impl DraftFolder {
    /// Creates a folder that will become `path`.
    ///
    /// # Errors
    /// The system's, if no folder can be created there.
    pub fn create(path: &Path) -> io::Result<Self> {
        let make = || temporary(0o777).tempdir_in(folder_of(path));
        let (folder, unfinished) = Unfinished::create(make, |folder| folder.path())?;
        Ok(Self { folder, _unfinished: unfinished })
    }

    /// Its current place, which nobody else knows, so that no link can wait in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Renames it to `path`, which must not exist or be an empty folder.
    ///
    /// # Errors
    /// The system's; then nothing is left.
    pub fn finish(self, path: &Path) -> io::Result<()> {
        // On other systems than Unix a rename fails on an empty folder.
        let _ = fs::remove_dir(path);
        fs::rename(self.path(), path)?;
        let _renamed = self.folder.keep();
        Ok(())
    }
}

/// Files and folders that are being written.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// An entry in [`UNFINISHED`] while this exists.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Unfinished {
    /// Creates a file or a folder, at the path that `place` says, and its entry in one: an exit finds
    /// both or neither.
    fn create<T>(
        make: impl FnOnce() -> io::Result<T>,
        place: impl FnOnce(&T) -> &Path,
    ) -> io::Result<(T, Self)> {
        let mut all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        let made = make()?;
        let path = place(&made);
        // The process may change its working directory.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        all.insert(path.clone());
        Ok((made, Self(path)))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Removes unfinished files, for a process that exits right after it: no thread can create others.
pub fn remove_unfinished() {
    let all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().for_each(|path| remove_one(path));
    std::mem::forget(all);
}

fn remove_one(path: &Path) {
    // A leftover only takes space.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Opens a file to be changed in place, which must not be shared outside of its folder: no link,
/// and no other name of a file elsewhere.
///
/// # Errors
/// [`Error::File`] if it is shared, or cannot be opened.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let shared = || {
        let what = "leads to a file elsewhere, which would be changed: delete this link first";
        Error::file(path, what)
    };
    if path.is_symlink() {
        return Err(shared());
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW);
    let file = options.open(path).map_err(|e| Error::file(path, cannot("be written", &e)))?;
    #[cfg(unix)]
    if file.metadata().is_ok_and(|m| std::os::unix::fs::MetadataExt::nlink(&m) > 1) {
        return Err(shared());
    }
    Ok(file)
}

/// Makes the rename itself durable. Some network file systems refuse to sync a folder, and the data
/// is safe by then, so a refusal is not an error.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder_of(path))
    {
        let _ = folder.sync_all();
    }
}

/// The folder that holds `path`: `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes the temporary files that killed processes left in `folder`. Only for the one process
/// that may write there: another's unfinished file looks the same.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) {
            // A leftover only takes space.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `cannot be read: <cause>`, without the operating system's error number.
#[must_use]
pub fn cannot(verb: &str, error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::NotFound => "the file or its folder does not exist".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder, where a file is needed".to_owned(),
        io::ErrorKind::NotADirectory => "a part of its path is a file, not a folder".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full, so make room on it first".to_owned(),
        io::ErrorKind::FileTooLarge => {
            "it is larger than this process may make files (ulimit -f), so raise that limit"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    };
    format!("cannot {verb}: {cause}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_bytes(&path, b"old").unwrap();
        let error = write_atomic(&path, |out| {
            out.write_all(&[0; 200_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let text = error.unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "{}: cannot be written: the disk is full, so make room on it first",
                path.display()
            )
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.txt"]);

        let mut dropped = AtomicFile::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        drop(dropped);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.txt"]);

        write_bytes(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn the_old_content_stays_visible_until_all_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_bytes(&path, b"old").unwrap();
        write_atomic(&path, |out| {
            out.write_all(&[1; 200_000])?;
            assert_eq!(fs::read(&path)?, b"old");
            assert_eq!(names(dir.path()).len(), 2);
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 200_000);
    }

    #[test]
    fn impossible_places_are_named_with_their_cause() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        write_bytes(&file, b"x").unwrap();
        let text = |path: &Path| write_bytes(path, b"x").unwrap_err().to_string();
        assert!(text(&file.join("below")).ends_with("a part of its path is a file, not a folder"));
        assert!(text(&dir.path().join("no/such")).ends_with("its folder does not exist"));
        assert!(text(dir.path()).ends_with("it is a folder, where a file is needed"));
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".dcgan-Zk9.tmp", "a.tmp", ".hidden", ".notes.tmp", "a.png"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()), [".hidden", ".notes.tmp", "a.png", "a.tmp"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_really_full_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        // The device is only opened: as the target of a bug here it would be replaced.
        let result =
            write_atomic(&path, |_| File::options().write(true).open("/dev/full")?.write_all(b"x"));
        let text = result.unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "{}: cannot be written: the disk is full, so make room on it first",
                path.display()
            )
        );
        assert!(names(dir.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn pipes_are_written_to_and_links_followed() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Open for both, so that neither end waits for the other.
        let mut reader = File::options().read(true).write(true).open(&pipe).unwrap();
        write_bytes(&pipe, b"through").unwrap();
        assert!(!fs::metadata(&pipe).unwrap().is_file(), "the pipe was replaced");
        let mut bytes = [0; 7];
        io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert_eq!(&bytes, b"through");

        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_bytes(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    /// A run's folder with a link `name` to a file outside of it.
    #[cfg(unix)]
    fn linked(name: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (run, target) = (dir.path().join("run"), dir.path().join("target"));
        fs::create_dir(&run).unwrap();
        fs::write(run.join(RUN), "{}").unwrap();
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink("../target", run.join(name)).unwrap();
        (dir, run.join(name), target)
    }

    #[cfg(unix)]
    #[test]
    fn links_in_the_folder_of_a_run_are_replaced_whatever_they_lead_to() {
        let (dir, link, target) = linked("losses.png");
        write_bytes(&link, b"new").unwrap();
        assert!(!link.is_symlink() && fs::read(&link).unwrap() == b"new");
        assert_eq!(fs::read(&target).unwrap(), b"old");

        // Links to a pipe, which would be written directly if followed, and to a missing file.
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (name, to) in [("a.png", "../pipe"), ("b.png", "../nothing")] {
            let link = link.with_file_name(name);
            std::os::unix::fs::symlink(to, &link).unwrap();
            write_bytes(&link, b"new").unwrap();
            assert!(!link.is_symlink() && fs::read(&link).unwrap() == b"new");
        }
        assert!(!dir.path().join("nothing").exists());
        assert_eq!(names(link.parent().unwrap()), ["a.png", "b.png", "losses.png", RUN]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_changed_in_place_is_shared_with_nothing() {
        let (_dir, link, target) = linked("lock");
        let open = |path: &Path| open_own(path, File::options().append(true).create(true));
        let text = open(&link).unwrap_err().to_string();
        assert!(text.ends_with("delete this link first"), "{text}");
        fs::remove_file(&link).unwrap();
        fs::hard_link(&target, &link).unwrap();
        let text = open(&link).unwrap_err().to_string();
        assert!(text.ends_with("delete this link first"), "{text}");
        fs::remove_file(&link).unwrap();
        open(&link).unwrap().write_all(b"1").unwrap();
        open(&link).unwrap().write_all(b"2").unwrap();
        assert_eq!(
            (fs::read(&link).unwrap(), fs::read(&target).unwrap()),
            (b"12".into(), b"old".into())
        );
    }

    #[cfg(unix)]
    #[test]
    fn new_files_have_the_permissions_of_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mode =
            |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(dir.path().join("plain"), b"x").unwrap();
        write_bytes(&dir.path().join("ours"), b"x").unwrap();
        assert_eq!(mode("ours"), mode("plain"));
        fs::create_dir(dir.path().join("folder")).unwrap();
        let draft = DraftFolder::create(&dir.path().join("kept")).unwrap();
        let name = draft.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(mode(name), mode("folder"));
    }

    #[test]
    fn the_longest_name_that_a_file_may_have_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(251) + ".png");
        write_bytes(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn what_a_signal_interrupts_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write_bytes(&dir.path().join("old.zip"), b"x").unwrap();
        let file = AtomicFile::create(&dir.path().join("old.zip")).unwrap();
        let folder = DraftFolder::create(&dir.path().join("kept")).unwrap();
        fs::write(folder.path().join("1.png"), b"x").unwrap();
        assert_eq!(names(dir.path()).len(), 3);
        // Those of this test alone: others run in parallel.
        let mine: Vec<PathBuf> = {
            let all = UNFINISHED.lock().unwrap();
            all.iter().filter(|path| path.starts_with(dir.path())).cloned().collect()
        };
        assert_eq!(mine.len(), 2);
        for path in mine {
            remove_one(&path);
        }
        assert_eq!(names(dir.path()), ["old.zip"]);
        drop((file, folder));
        let all = UNFINISHED.lock().unwrap();
        assert!(!all.iter().any(|path| path.starts_with(dir.path())));
    }

    /// Someone else with write access to the folder could put a link in place of a name.
    #[test]
    fn temporary_names_cannot_be_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let one = || {
            let _file = AtomicFile::create(&dir.path().join("a.png")).unwrap();
            names(dir.path()).pop().unwrap()
        };
        let (first, second) = (one(), one());
        assert!(first.len() >= 24 && first != second, "{first} and {second}");
        assert!(!first.contains(&std::process::id().to_string()), "{first}");
    }
}
