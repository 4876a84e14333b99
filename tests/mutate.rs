//! Damaged files, by the thousand: valid ones changed by a seeded generator, so that every run of a
//! test sees the same. A test of a reader is two functions:
//!
//! ```ignore
//! #[test]
//! fn no_file_makes_the_reader_panic() {
//!     mutate::in_child("module::every_file", 2048, Duration::from_secs(60));
//! }
//!
//! #[test]
//! #[ignore = "run by the test above, in a process of its own"]
//! fn every_file() {
//!     mutate::each(7, &[valid()], 2000, |bytes| drop(read(bytes)));
//! }
//! ```
//!
//! The child has a limit of memory and of time, so that a reader that trusts a size in a file, or
//! never ends, fails the test and nothing else.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Numbers at which sizes and counts go wrong.
const AWKWARD: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// The generator: splitmix64.
#[derive(Debug)]
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A place in a file: of three times twice in its head, where the sizes are.
    fn place(&mut self, len: usize) -> usize {
        let head = if self.below(3) > 0 { len.min(160) } else { len };
        self.below(head)
    }

    /// `file` with one to four changes.
    pub(crate) fn mutate(&mut self, file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            bytes.extend(self.next().to_le_bytes());
            return;
        }
        let at = self.place(len);
        match self.below(12) {
            0..=2 => bytes[at] ^= 1 << self.below(8),
            3 => bytes[at] = self.next() as u8,
            4..=7 => {
                // A number of 1, 2, 4 or 8 bytes in either order, awkward in itself or by the length.
                let number = match self.below(4) {
                    0 => (len as u64).wrapping_add(self.below(3) as u64).wrapping_sub(1),
                    _ => AWKWARD[self.below(AWKWARD.len())],
                };
                let width = 1 << self.below(4);
                let word = match self.below(2) {
                    0 => number.to_le_bytes()[..width].to_vec(),
                    _ => number.to_be_bytes()[8 - width..].to_vec(),
                };
                let end = (at + width).min(len);
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
            8 => bytes.truncate(at),
            9 => {
                let end = (at + 1 + self.below(64)).min(len);
                bytes.drain(at..end);
            }
            10 => {
                let end = (at + 1 + self.below(64)).min(len);
                let piece = bytes[at..end].to_vec();
                let to = self.place(len);
                bytes.splice(to..to, piece);
            }
            _ => {
                let piece: Vec<u8> = (0..=self.below(16)).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Calls `check` with `count` files made from the valid ones in turn. Where it panics, the panic
/// goes on after a line that names the file by seed and number.
pub(crate) fn each(seed: u64, valid: &[Vec<u8>], count: usize, mut check: impl FnMut(&[u8])) {
    let mut mutator = Mutator::new(seed);
    for number in 0..count {
        let bytes = mutator.mutate(&valid[number % valid.len()]);
        let start = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
            eprintln!("file {number} of seed {seed}, {} bytes: {:02x?}", bytes.len(), head(&bytes));
            resume_unwind(panic);
        }
        let time = start.elapsed();
        assert!(time < Duration::from_secs(10), "file {number} of seed {seed} took {time:?}");
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(256)]
}

/// Runs the ignored test `test` (with its modules, as `cargo test` names it) in a process of its own
/// and fails where it fails, takes longer than `time`, or, on Linux, more than `mebibytes` of address
/// space. Returns what it wrote to standard error.
pub(crate) fn in_child(test: &str, mebibytes: u64, time: Duration) -> String {
    let binary = std::env::current_exe().unwrap();
    let mut command = if cfg!(target_os = "linux") {
        let mut shell = Command::new("sh");
        let limit = format!("ulimit -v {} && exec \"$0\" \"$@\"", mebibytes << 10);
        shell.arg("-c").arg(limit).arg(binary);
        shell
    } else {
        Command::new(binary)
    };
    let mut child = command
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Both pipes are emptied while the child runs: a full one would stop it.
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > time {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let ok = status.is_some_and(|status| status.success()) && stdout.contains("1 passed");
    assert!(
        ok,
        "{test}: {}\n{stdout}\n{stderr}",
        status.map_or(format!("not done after {time:?}"), |s| s.to_string())
    );
    stderr
}

#[test]
fn a_child_that_panics_eats_memory_or_hangs_fails() {
    let fails = |test: &str| {
        let run = || in_child(test, 1024, Duration::from_secs(2));
        let panic = catch_unwind(run).expect_err(test);
        panic.downcast_ref::<String>().unwrap().clone()
    };
    assert!(fails("mutate::panics").contains("file 3 of seed 1, "));
    assert!(fails("mutate::hangs").contains("not done after 2s"));
    if cfg!(target_os = "linux") {
        assert!(fails("mutate::eats").contains("allocation of"));
    }
    assert!(fails("mutate::no_such_test").contains("0 passed"));
    in_child("mutate::is_well", 1024, Duration::from_secs(20));
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn panics() {
    let mut calls = 0;
    each(1, &[vec![7; 20]], 10, |_| {
        calls += 1;
        assert!(calls < 4);
    });
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn hangs() {
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn eats() {
    std::hint::black_box(vec![0_u8; 2 << 30]);
}

#[test]
#[ignore = "run by a test above, in a process of its own"]
fn is_well() {
    let mut different = std::collections::HashSet::new();
    each(1, &[(0..255).collect()], 200, |bytes| {
        different.insert(bytes.to_vec());
    });
    assert!(different.len() > 180, "{} of 200 files differ", different.len());
}
