//! What commands write to standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::files;

/// Writes `text` to standard output. A reader that has closed it, as `head` does, has all it wants:
/// that is no error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    settle(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// [`print`], with the end of a line.
pub(super) fn println(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// A value as JSON on standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::file("standard output", format!("cannot be written as JSON: {e}")))?;
    println(&text)
}

fn settle(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::file("standard output", files::cannot("be written", &e)))
        }
        _ => Ok(()),
    }
}

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Cells in columns as wide as their widest cell, two spaces apart; the first row is the head.
pub(super) fn table(align: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..align.len()).map(width).collect();
    rows.iter().map(|row| line(align, &widths, row) + "\n").collect()
}

/// One row of a table whose columns have these widths.
pub(super) fn line(align: &[Align], widths: &[usize], cells: &[String]) -> String {
    let cells = cells.iter().zip(align).zip(widths).map(|((cell, align), width)| match align {
        Align::Left => format!("{cell:<width$}"),
        Align::Right => format!("{cell:>width$}"),
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let rows = [row("op", "ms"), row("matmul ×", "1.25"), row("add", "100.00")];
        let text = table(&[Align::Left, Align::Right], &rows);
        assert_eq!(text, "op            ms\nmatmul ×    1.25\nadd       100.00\n");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert!(settle(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        let full = settle(Err(io::ErrorKind::StorageFull.into()));
        let text = full.map_err(|e| e.to_string());
        assert_eq!(
            text,
            Err("standard output: cannot be written: the disk is full, so make room on it first"
                .into())
        );
    }
}
