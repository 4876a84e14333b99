//! Files that are either wholly written or not touched.
//!
//! A file is written beside its final place under a temporary name, synced, and renamed: whoever
//! reads the name sees the old content or the new, never a half. A process killed on the way
//! leaves at most a temporary file, which [`remove_leftovers`] knows by its name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// The ending of temporary names, which are hidden: `.NAME.PID-COUNT.tmp`.
const TEMPORARY: &str = ".tmp";

/// Writes a file through `write`, so that `path` has its old content or all of the new.
///
/// Folders must exist. A link is followed, and what is no regular file (a pipe, `/dev/stdout`) is
/// written directly, since renaming over it would replace it.
///
/// # Errors
/// [`Error::File`] with the cause; `path` then is as it was, and no temporary file is left.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write_or_clean(path, write).map_err(|error| Error::file(path, cannot("be written", &error)))
}

/// [`write_atomic`] of bytes that are already there.
///
/// # Errors
/// As [`write_atomic`].
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

/// A file in the making: [`write_atomic`] for content that comes piece by piece. Dropped before
/// [`AtomicFile::finish`], it leaves the old content and no temporary file.
#[derive(Debug)]
pub struct AtomicFile {
    /// Declared before the temporary name, to be closed before that is removed.
    out: BufWriter<File>,
    temporary: Option<Temporary>,
    place: PathBuf,
}

/// A temporary name; dropped, there is no file of it, unless it has been renamed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After an error that one is to be reported; after the rename nothing is there.
        let _ = fs::remove_file(&self.0);
    }
}

impl AtomicFile {
    /// Starts a file that will be `path`.
    ///
    /// # Errors
    /// The system's, where nothing can be written there; [`cannot`] puts it in words.
    pub fn create(path: &Path) -> io::Result<Self> {
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let linked = if path.is_symlink() { fs::canonicalize(path).ok() } else { None };
        let place = linked.unwrap_or_else(|| path.to_owned());
        let (file, temporary) = if existing.is_some_and(|m| !m.is_file()) {
            (File::options().write(true).open(path)?, None)
        } else {
            let name = temporary_name(&place)?;
            (File::create(&name)?, Some(Temporary(name)))
        };
        Ok(Self { out: BufWriter::with_capacity(1 << 16, file), temporary, place })
    }

    /// Makes what was written the content of the path.
    ///
    /// # Errors
    /// The system's; the path then is as it was.
    pub fn finish(self) -> io::Result<()> {
        let Self { out, temporary, place } = self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let Some(temporary) = temporary else { return Ok(()) };
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary.0, &place)?;
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

/// Makes the rename itself durable. Some network file systems refuse to sync a folder, and the
/// data is safe by then, so a refusal is no error.
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

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.{}-{count}{TEMPORARY}", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(name))
}

/// Removes the temporary files that killed processes left in `folder`. Only for the one process
/// that may write there: another's unfinished file looks the same.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY) {
            // One that stays only takes space.
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
        for name in [".a.png.77-0.tmp", "a.tmp", ".hidden", "a.png"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        remove_leftovers(dir.path());
        assert_eq!(names(dir.path()), [".hidden", "a.png", "a.tmp"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_really_full_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        // The device is only ever opened: were it the target, a mistake here would replace it.
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
}
