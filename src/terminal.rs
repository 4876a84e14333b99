//! The only access to standard output and standard error in this program.
//!
//! Text from files (names of classes, tensors, models and files) may hold escape codes, which
//! recolor a terminal, set its title or write to its clipboard, and bidirectional marks, which let
//! one name look like another. Everything printed here is made [`printable`] first; colors are
//! added afterwards. `clippy.toml` forbids all other ways to print.
//!
//! Standard output is for results: failing to write it is an error, unless its reader has closed it
//! and thus has all it wants. Standard error is for messages: nobody has to read them, and no work
//! ends because they cannot be written.
#![expect(clippy::disallowed_methods, reason = "this is the door")]

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;
use crate::human::{escaped, printable};

/// Prefixes of messages, and their colors on a terminal.
const KINDS: [(&str, Style); 2] = [
    ("error:", AnsiColor::Red.on_default().bold()),
    ("warning:", AnsiColor::Yellow.on_default().bold()),
];

/// Writes `text` to standard output. It is not an error if a reader such as `head` has closed it.
///
/// # Errors
/// [`Error::File`] if it cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    write_out(&printable(text))
}

/// [`print()`] with a newline.
///
/// # Errors
/// Those of [`print()`].
pub fn println(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Prints a value as JSON on standard output.
///
/// # Errors
/// Those of [`print()`].
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::file("standard output", format!("cannot be written as JSON: {e}")))?;
    // JSON needs escapes only inside of strings, and these are its escapes.
    let json =
        |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
    write_out(&(escaped(&text, json) + "\n"))
}

/// Writes bytes for another program, unchanged.
///
/// # Errors
/// Those of [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    without_broken_pipe(out.write_all(bytes).and_then(|()| out.flush()))
}

fn write_out(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

fn without_broken_pipe(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", files::cannot("be written", &e)))
        }
        _ => Ok(()),
    }
}

/// Whether messages are left out.
static MUTE: AtomicBool = AtomicBool::new(false);

/// Leaves out all messages from here on, or no longer: of several processes that say the same, one does.
pub fn mute(mute: bool) {
    MUTE.store(mute, Ordering::Relaxed);
}

/// Writes a message and a newline to standard error, if it is open. The prefixes `error:` and
/// `warning:` are colored on a terminal.
pub fn message(text: impl Display) {
    if MUTE.load(Ordering::Relaxed) {
        return;
    }
    let mut err = anstream::AutoStream::auto(io::stderr().lock());
    // In one write, so that messages of two threads or programs do not mix.
    let line = format!("{}\n", colored(&text.to_string()));
    // Nobody has to read it.
    let _ = err.write_all(line.as_bytes()).and_then(|()| err.flush());
}

/// [`message`] with the arguments of `format!`.
macro_rules! tell {
    ($($arguments:tt)*) => {
        $crate::terminal::message(format_args!($($arguments)*))
    };
}
pub(crate) use tell;

/// [`message`], printed above an active progress bar.
pub fn message_above(bar: &ProgressBar, text: &str) {
    // A hidden bar would swallow it.
    if bar.is_hidden() { message(text) } else { bar.println(colored(text)) }
}

/// Sets the message of a bar.
pub fn set_message(bar: &ProgressBar, message: &str) {
    bar.set_message(printable(message).into_owned());
}

/// Sets the prefix of a bar.
pub fn set_prefix(bar: &ProgressBar, prefix: &str) {
    bar.set_prefix(printable(prefix).into_owned());
}

/// Columns of the terminal on standard error.
#[must_use]
pub fn columns() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0.into())
}

/// Whether standard error is a terminal, so that progress can be drawn there.
#[must_use]
pub fn is_watched() -> bool {
    !MUTE.load(Ordering::Relaxed) && io::stderr().is_terminal()
}

/// `text` made safe for a terminal, its prefix in color where wanted.
fn colored(text: &str) -> String {
    let wants = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    paint(text, wants)
}

fn paint(text: &str, wants: bool) -> String {
    let safe = printable(text);
    for (kind, style) in KINDS {
        if let (true, Some(rest)) = (wants, safe.strip_prefix(kind)) {
            return format!("{style}{kind}{style:#}{rest}");
        }
    }
    safe.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert!(without_broken_pipe(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        let full = without_broken_pipe(Err(io::ErrorKind::StorageFull.into()));
        let text = full.map_err(|e| e.to_string());
        assert_eq!(
            text,
            Err("standard output: cannot be written: the disk is full, so make room on it first"
                .into())
        );
    }

    #[test]
    fn kinds_are_colored_and_the_text_is_not_trusted() {
        let text = "error: \u{1b}[2Jno class \u{202e}x";
        assert_eq!(paint(text, false), "error: \\u{1b}[2Jno class \\u{202e}x");
        let shown = paint(text, true);
        assert!(shown.ends_with(" \\u{1b}[2Jno class \\u{202e}x"), "{shown:?}");
        assert!(shown.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{shown:?}");
        assert!(paint("warning: x", true).contains("[33m"));
        assert_eq!(paint("no warning: x", true), "no warning: x");
    }
}
