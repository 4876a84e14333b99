//! How commands lay out what they print.

use crate::human::printable;
pub(super) use crate::terminal::{print, print_json, println, tell};

/// The alignment of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Cells in columns as wide as their widest cell, two spaces apart; the first row is the head.
///
/// A cell is one line of its displayed width, whatever a name in it contains.
pub(super) fn table(align: &[Align], rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| printable(cell).replace('\n', "\\n").replace('\t', "\\t");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
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
        let text = table(&[Align::Left, Align::Right], &[row("a\nb\u{1b}", "1"), row("a", "2")]);
        assert_eq!(text, "a\\nb\\u{1b}  1\na           2\n");
    }
}
