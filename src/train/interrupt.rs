//! Ctrl-C: the first asks training to end well, the second ends it at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What shells report for a program ended by Ctrl-C: 128 and the signal's number.
const EXIT_CODE: i32 = 130;

/// From here on Ctrl-C (and the signals by which a system ends programs) only sets what
/// [`interrupted`] tells; a second one exits at once. Further calls do nothing.
///
/// # Errors
/// [`Error::Device`] where the system refuses the handler.
pub fn install() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| ctrlc::set_handler(signal).map_err(|e| e.to_string()));
    installed.clone().map_err(|what| Error::Device(format!("Ctrl-C cannot be handled: {what}")))
}

/// Whether training was asked to end.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Runs in a thread of its own, not in the signal handler: it may print.
fn signal() {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        std::process::exit(EXIT_CODE);
    }
    eprintln!("\nfinishing this step and saving; press Ctrl-C again to quit at once");
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    const CHILD: &str = "DCGAN_TEST_INTERRUPT_CHILD";

    /// The process that is interrupted: this test alone, started by the next one.
    #[test]
    fn interrupted_child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        install().unwrap();
        install().unwrap();
        assert!(!interrupted());
        eprintln!("ready");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if interrupted() {
                eprintln!("saw it");
                // As a training that takes long to save.
                std::thread::sleep(Duration::from_secs(60));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "train::interrupt::tests::interrupted_child", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        let interrupt = || Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")), "the child never got ready");
        interrupt();
        // In either order: two threads print.
        let mut missing = vec!["saw it", "finishing this step and saving; press Ctrl-C again"];
        while !missing.is_empty() {
            let line = lines.next().expect("the child ended by itself").unwrap();
            missing.retain(|text| !line.contains(text));
        }
        assert!(child.try_wait().unwrap().is_none(), "the first signal ended it");
        interrupt();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}
