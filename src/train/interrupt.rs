//! Signals that ask the program to end. Most commands exit at once and leave no partial files.
//! Training saves first, and evaluation keeps the scores that it has:
//!
//! | signal | who sends it | what a training leaves |
//! | --- | --- | --- |
//! | SIGINT | Ctrl-C | a checkpoint, the last preview, and the film where that is quick |
//! | SIGTERM | schedulers, `docker stop`, `kill` | a checkpoint |
//! | SIGHUP | a terminal that closes | a checkpoint |
//!
//! SIGXFSZ, sent when a file exceeds a size limit (`ulimit -f`), is ignored: writing that file then
//! fails with an error, as on a full disk.
//!
//! A signal that was ignored at startup, as `nohup` does with SIGHUP, stays ignored. On Windows
//! Ctrl-C and the end of a session both count as SIGINT.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Error, Result};
use crate::files;
use crate::ranks::World;
use crate::terminal::tell;

/// The last signal; 0 for none.
static LAST: AtomicI32 = AtomicI32::new(0);

/// Signal numbers, the same on every Unix.
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// A signal that asks a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// Whether a person sent it, who can wait a little; schedulers kill the process after some
    /// seconds.
    #[must_use]
    pub fn is_patient(self) -> bool {
        self.0 == SIGINT
    }

    /// The exit code that shells report for a program ended by this signal: 128 plus its number.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        128 + self.0 as u8
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            SIGHUP => "SIGHUP",
            SIGTERM => "SIGTERM",
            _ => "Ctrl-C",
        })
    }
}

/// What is finished first, if anything: `this step and saving`.
static FINISHES: OnceLock<&'static str> = OnceLock::new();

/// From here on such signals end the program and remove partial files. Further calls do nothing.
///
/// # Errors
/// [`Error::Device`] if the system refuses; signals then end the program as usual.
pub fn listen() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(system::listen);
    installed.clone().map_err(|what| Error::Device(format!("Ctrl-C {what}")))
}

/// From here on such signals only set what [`interrupted`] returns; a second Ctrl-C exits at once.
/// `what` is finished first, as the message says: `this step and saving`.
///
/// # Errors
/// See [`listen`].
pub fn finish_first(what: &'static str) -> Result<()> {
    let _ = FINISHES.set(what);
    listen()
}

/// The last signal that asked training to end, if any.
#[must_use]
pub fn interrupted() -> Option<Signal> {
    Some(LAST.load(Ordering::Relaxed)).filter(|&signal| signal != 0).map(Signal)
}

/// The last signal that asked any of the processes of a training to end, if any: the same answer for all.
#[must_use]
pub fn interrupted_any(world: &dyn World) -> Option<Signal> {
    if world.is_solo() {
        return interrupted();
    }
    let own = interrupted().map_or(0, |signal| signal.0 as u16);
    Some(world.largest(own)).filter(|&signal| signal != 0).map(|signal| Signal(i32::from(signal)))
}

/// Handles a signal. Runs in its own thread, not in the signal handler, so it may print.
fn take(signal: i32) {
    let before = LAST.swap(signal, Ordering::Relaxed);
    let Some(what) = FINISHES.get().filter(|_| signal != SIGINT || before == 0) else {
        files::remove_unfinished();
        return system::exit(Signal(signal));
    };
    if signal == SIGINT {
        tell!("\nfinishing {what}; press Ctrl-C again to quit at once");
    } else if signal != before {
        // A closing terminal may signal twice, and a scheduler both a process and its group.
        tell!("\n{}: finishing {what}", Signal(signal));
    }
}

#[cfg(unix)]
mod system {
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::mpsc::sync_channel;

    use signal_hook::iterator::Signals;

    use super::{SIGHUP, SIGINT, SIGTERM, Signal, take};
    use crate::files;

    pub(super) fn listen() -> Result<(), String> {
        // SAFETY: ignoring a signal installs no handler, and the number is that of a signal.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let heard: Vec<i32> =
            [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| is_heard(signal)).collect();
        let (sender, listens) = sync_channel(1);
        // In the thread, so that no signal is caught before someone listens.
        let listen = move || match Signals::new(heard) {
            Ok(mut signals) => {
                let _ = sender.send(Ok(()));
                signals.forever().for_each(take);
            }
            Err(error) => _ = sender.send(Err(error)),
        };
        let started = std::thread::Builder::new().name("signals".into()).spawn(listen);
        let heard = started.and_then(|_| listens.recv().map_err(std::io::Error::other)?);
        heard.map_err(|error| files::cannot("be handled", &error))
    }

    /// Immediate: exit handlers may wait for work in progress.
    pub(super) fn exit(signal: Signal) {
        signal_hook::low_level::exit(i32::from(signal.exit_code()));
    }

    /// Whether a signal was not ignored when the program began.
    ///
    /// A shell that runs a script starts background jobs (`&`) with SIGINT and SIGQUIT ignored, so
    /// that Ctrl-C does not reach them. That was not aimed at this program, and a SIGINT that still
    /// arrives was sent by `kill`: it is handled.
    fn is_heard(signal: i32) -> bool {
        !is_ignored(signal) || (signal == SIGINT && is_ignored(libc::SIGQUIT))
    }

    pub(super) fn is_ignored(signal: i32) -> bool {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: with a null pointer for the new action, sigaction changes nothing and only writes
        // the present one into `action`, which is large enough by its type.
        let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        // SAFETY: all zeros are a valid value, and what the system writes is one, too.
        result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
mod system {
    use super::{SIGINT, Signal, take};

    pub(super) fn listen() -> Result<(), String> {
        ctrlc::set_handler(|| take(SIGINT)).map_err(|error| format!("cannot be handled: {error}"))
    }

    pub(super) fn exit(signal: Signal) {
        std::process::exit(i32::from(signal.exit_code()));
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::io::{BufRead as _, BufReader, Lines};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, ChildStderr, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    const CHILD: &str = "DCGAN_TEST_INTERRUPT_CHILD";

    /// The process that gets signals: this test alone, started by the others.
    #[test]
    fn interrupted_child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        listen().unwrap();
        if std::env::var(CHILD).unwrap() == "finishes" {
            finish_first("this step and saving").unwrap();
        }
        assert_eq!(interrupted(), None);
        eprintln!("ready");
        let start = Instant::now();
        let mut seen = None;
        while start.elapsed() < Duration::from_secs(60) {
            let now = interrupted();
            if now != seen {
                eprintln!("saw {}", now.unwrap());
                seen = now;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// That process and its lines; `setup` is what the shell does before it.
    struct Started(Child, Lines<BufReader<ChildStderr>>);

    impl Started {
        fn new(setup: &str) -> Self {
            Self::of(setup, "finishes")
        }

        fn of(setup: &str, kind: &str) -> Self {
            let program = std::env::current_exe().unwrap();
            let test = "train::interrupt::tests::interrupted_child";
            let script = format!("{setup} exec \"$0\" --exact {test} --nocapture");
            let mut child = Command::new("sh");
            // Whatever started the tests, only `setup` ignores signals.
            let heed = || {
                for signal in [SIGINT, SIGHUP, SIGTERM, libc::SIGQUIT] {
                    // SAFETY: `signal` may be called between fork and exec, and installs no handler.
                    unsafe { libc::signal(signal, libc::SIG_DFL) };
                }
                Ok(())
            };
            // SAFETY: `heed` neither allocates nor takes locks.
            unsafe { child.pre_exec(heed) };
            let mut child = child
                .args(["-c".as_ref(), script.as_ref(), program.as_os_str()])
                .env(CHILD, kind)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut started = Self(child, lines);
            started.wait_for(&["ready"]);
            started
        }

        fn signal(&self, name: &str) {
            let pid = self.0.id().to_string();
            assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        }

        /// Waits for lines in any order, as two threads print, and returns everything up to then.
        fn wait_for(&mut self, texts: &[&str]) -> String {
            let mut missing = texts.to_vec();
            let mut all = String::new();
            while !missing.is_empty() {
                let line = self.1.next().expect("the child ended by itself").unwrap();
                missing.retain(|text| !line.contains(text));
                all += &line;
            }
            all
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_first_ctrl_c_asks_and_the_second_ends() {
        let mut child = Started::new("");
        child.signal("-INT");
        child.wait_for(&["saw Ctrl-C", "finishing this step and saving; press Ctrl-C again"]);
        assert!(child.0.try_wait().unwrap().is_none(), "the first signal ended it");
        child.signal("-INT");
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
    }

    #[test]
    fn schedulers_may_repeat_themselves_and_hurry_what_ctrl_c_began() {
        let mut child = Started::new("");
        child.signal("-HUP");
        child.wait_for(&["saw SIGHUP"]);
        child.signal("-HUP");
        child.signal("-TERM");
        // Not what the loop saw: signals that come together are heard in any order, and it sees the last.
        child.wait_for(&["SIGTERM: finishing"]);
        assert!(child.0.try_wait().unwrap().is_none(), "a second signal ended it");
        child.signal("-INT");
        assert_eq!(child.0.wait().unwrap().code(), Some(130));
    }

    #[test]
    fn what_was_ignored_stays_ignored() {
        for (ignored, name) in [("HUP", "SIGHUP"), ("INT", "Ctrl-C")] {
            let mut child = Started::new(&format!("trap '' {ignored};"));
            child.signal(&format!("-{ignored}"));
            std::thread::sleep(Duration::from_millis(100));
            child.signal("-TERM");
            let said = child.wait_for(&["saw SIGTERM", "SIGTERM: finishing"]);
            assert!(!said.contains(name), "{said}");
        }
    }

    #[test]
    fn what_a_script_starts_beside_itself_still_hears_ctrl_c() {
        let mut child = Started::new("trap '' INT QUIT;");
        child.signal("-INT");
        child.wait_for(&["saw Ctrl-C"]);
    }

    #[test]
    fn what_has_nothing_to_save_ends_at_once() {
        let mut child = Started::of("", "");
        child.signal("-TERM");
        assert_eq!(child.0.wait().unwrap().code(), Some(143));
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        let codes = [SIGHUP, SIGINT, SIGTERM].map(|signal| Signal(signal).exit_code());
        assert_eq!(codes, [129, 130, 143]);
    }
}
