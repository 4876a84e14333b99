//! The program as a user runs it: started, watched, stopped, and asked what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dcgan::train::{ModelFile, checkpoint};
use image::{ImageFormat, Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use crate::data_formats::encode;
use crate::data_sources::put;

/// A training that takes milliseconds a step, on the bundled images.
pub(crate) const TINY: &[&str] = &["--size", "16", "--ngf", "8", "--ndf", "8", "--nz", "8"];

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// It must have gone well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It must have failed with `code` and one sentence that has all of `words`; returns that.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> String {
        let errors: Vec<_> =
            self.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!((self.code, errors.len()), (Some(code), 1), "{self:#?}");
        let text = errors[0].to_owned();
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        assert!(!text.contains(". "), "more than one sentence: {text}");
        // Words of the standard library and of crates, which tell a user nothing.
        for word in ["os error", "invalid digit", "Some(", "None", "Error", "..="] {
            assert!(!text.contains(word), "{word:?} in: {text}");
        }
        for word in words {
            assert!(text.contains(word), "no {word:?} in: {text}");
        }
        text
    }
}

/// A folder of its own for a test, in which the program runs.
pub(crate) struct Place {
    dir: TempDir,
}

/// Has a command heed signals that whoever started the tests may ignore, as `nohup` and `&` do.
#[cfg(unix)]
fn heeding_signals(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGTERM] {
            // SAFETY: `signal` may be called between fork and exec, and installs no handler of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: `heed` neither allocates nor takes locks.
    unsafe { command.pre_exec(heed) };
}

#[cfg(not(unix))]
fn heeding_signals(_: &mut Command) {}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&[&str]]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dcgan"));
        command.args(words.concat());
        self.settled(command)
    }

    /// A command that runs in this folder and nowhere else.
    fn settled(&self, mut command: Command) -> Command {
        command.current_dir(self.dir.path());
        // Mesa complains on stderr where it has no such folder.
        command.env("XDG_RUNTIME_DIR", self.dir.path());
        // What is measured here is nobody else's.
        command.env("DCGAN_CACHE", self.dir.path().join("cache"));
        heeding_signals(&mut command);
        command
    }

    /// What a shell is to run; in `script` the program is called `dcgan`.
    #[cfg(unix)]
    fn script(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let program = env!("CARGO_BIN_EXE_dcgan");
        command.args(["-c", &format!("dcgan() {{ '{program}' \"$@\"; }}\n{script}")]);
        self.settled(command)
    }

    /// Runs another program to its end.
    pub(crate) fn run(&self, program: &str, words: &[&[&str]]) -> Outcome {
        let mut command = Command::new(program);
        command.args(words.concat());
        Outcome::of(&self.settled(command).output().unwrap())
    }

    /// Starts another program and leaves it running.
    pub(crate) fn start_other(&self, program: &str, words: &[&[&str]]) -> Running {
        let mut command = Command::new(program);
        command.args(words.concat());
        self.started(self.settled(command))
    }

    /// Runs the program to its end.
    pub(crate) fn dcgan(&self, words: &[&[&str]]) -> Outcome {
        Outcome::of(&self.command(words).output().unwrap())
    }

    /// Runs a script of bash to its end: see [`Self::script`].
    #[cfg(unix)]
    pub(crate) fn shell(&self, script: &str) -> Outcome {
        Outcome::of(&self.script(script).output().unwrap())
    }

    /// Trains to the end into the folder of runs `out` and returns the run's folder.
    #[track_caller]
    pub(crate) fn train(&self, out: &str, words: &[&[&str]]) -> PathBuf {
        let train = ["train", "--out", out];
        let words = [&[&train[..], TINY], words].concat();
        self.dcgan(&words).ok();
        self.only_run(out)
    }

    /// Starts the program and leaves it running.
    pub(crate) fn start(&self, words: &[&[&str]]) -> Running {
        self.started(self.command(words))
    }

    /// The same after a shell has run `setup`, which the program takes over.
    #[cfg(unix)]
    pub(crate) fn start_after(&self, setup: &str, words: &[&[&str]]) -> Running {
        let mut command = self.script(&format!("{setup}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_dcgan")).args(words.concat());
        self.started(command)
    }

    fn started(&self, mut command: Command) -> Running {
        let stderr = fs::File::create(self.path("stderr.txt")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Running { child, stderr: self.path("stderr.txt") }
    }

    /// The one run in the folder of runs `out`.
    #[track_caller]
    pub(crate) fn only_run(&self, out: &str) -> PathBuf {
        let runs: Vec<_> = self.runs(out);
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// All runs in the folder of runs `out`.
    pub(crate) fn runs(&self, out: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(out)).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut runs: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        runs.sort();
        runs
    }

    /// A folder of images of 24 x 20, none like another nor like its own mirror image.
    pub(crate) fn images(&self, name: &str, count: u8) {
        for i in 0..count {
            let image = RgbImage::from_fn(24, 20, |x, y| {
                Rgb([i.wrapping_mul(37), (x * 10) as u8, (y * 12) as u8 ^ i])
            });
            let bytes = encode(&image.into(), ImageFormat::Png);
            put(&self.path(name), &format!("{i:03}.png"), &bytes);
        }
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stderr: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `seen` gives something; the program must not end before.
    #[track_caller]
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(120) {
            if let Some(found) = seen() {
                return found;
            }
            assert!(self.runs(), "it ended before {what}: {}", self.said());
            std::thread::sleep(Duration::from_micros(300));
        }
        panic!("{what} did not come: {}", self.said());
    }

    /// Waits until it has written so many lines of its log in a run below `out`, and returns the
    /// run's folder.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, place: &Place, out: &str, lines: usize) -> PathBuf {
        self.wait_for("the log", || {
            let run = place.runs(out).pop()?;
            let log = fs::read_to_string(run.join("log.jsonl")).ok()?;
            (log.lines().count() >= lines).then_some(run)
        })
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let code = self.child.wait().unwrap().code();
        Outcome { code, stdout: String::new(), stderr: self.said() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The checkpoint that a run's `latest` names.
#[track_caller]
pub(crate) fn latest(run: &Path) -> PathBuf {
    let name = fs::read_to_string(run.join("latest")).unwrap();
    run.join(name.trim())
}

/// Fails unless two checkpoints hold the same bits; all but the seconds that they took.
#[track_caller]
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (one, two) = (checkpoint::load(a).unwrap(), checkpoint::load(b).unwrap());
    assert!(one.tensors.keys().eq(two.tensors.keys()), "{} and {}", a.display(), b.display());
    for (name, tensor) in &one.tensors {
        let other = &two.tensors[name];
        assert_eq!(tensor.shape(), other.shape(), "{name}");
        let differ = tensor.bytes().iter().zip(other.bytes()).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "bytes of {name} in {} and {}", a.display(), b.display());
    }
    let (one, two) = (ModelFile::load(a).unwrap(), ModelFile::load(b).unwrap());
    assert_eq!((one.step, one.config), (two.step, two.config));
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file below a folder with its bytes: to see that nothing was touched.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder)
        .into_iter()
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}
