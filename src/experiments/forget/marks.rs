//! Boxes on samples: a person's marks, as JSON.
//!
//! ```json
//! { "boxes": { "3": [[10, 4, 12, 16], [40, 8, 9, 9]], "17": [], "z.npy:2": [[0, 0, 8, 20]] } }
//! ```
//!
//! A sample is named by its seed, or by a row of a file of latents; its boxes are `[x, y, width,
//! height]` in pixels from its upper left corner. A sample without boxes shows no such object.
//! `"model"` (as text) and `"size"` (`[width, height]` of a sample) may be given beside `"boxes"`;
//! the size is checked.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// `[x, y, width, height]` in pixels.
pub type Rect = [f64; 4];

/// Boxes on samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// A description of the samples' model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Width and height of a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// By the sample's name.
    pub boxes: BTreeMap<String, Vec<Rect>>,
}

/// An example of a file of marks, for errors.
const LOOKS: &str = "marks look like {\"boxes\": {\"3\": [[10, 4, 12, 16]], \"17\": []}}, by seed \
                     the [x, y, width, height] of each box in pixels";

impl Marks {
    /// Reads the marks of samples of `size` (width, height) and checks that the boxes fit.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, is not such JSON, has no box, or has one that
    /// leaves its sample.
    pub fn load(path: &Path, size: [usize; 2]) -> Result<Self> {
        let fail = |what: String| Err(Error::file(path, what));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => return fail(files::cannot("be read", &e)),
        };
        let marks: Self = match serde_json::from_str(&text) {
            Ok(marks) => marks,
            Err(e) => {
                let place = format!("line {}, column {}", e.line(), e.column());
                return fail(format!("holds no marks ({place}); {LOOKS}"));
            }
        };
        let [width, height] = size;
        if let Some([w, h]) = marks.size.filter(|&said| said != size) {
            return fail(format!(
                "holds boxes on samples of {w}x{h} pixels, and this model draws {width}x{height}: \
                 they are of another model"
            ));
        }
        for (name, boxes) in &marks.boxes {
            for (i, &[x, y, w, h]) in boxes.iter().enumerate() {
                let is = format!("box {} of sample {name}, [{x}, {y}, {w}, {h}],", i + 1);
                if w <= 0.0 || h <= 0.0 {
                    return fail(format!("{is} has no area; a box is [x, y, width, height]"));
                }
                let fits = x >= 0.0 && y >= 0.0 && x + w <= width as f64 && y + h <= height as f64;
                if !fits {
                    return fail(format!(
                        "{is} leaves the sample, which has {width}x{height} pixels; a box is \
                         [x, y, width, height]"
                    ));
                }
            }
        }
        if marks.boxes.values().all(Vec::is_empty) {
            return fail(format!("holds no box: nothing is marked; {LOOKS}"));
        }
        Ok(marks)
    }
}

/// Whether each position of a grid (rows, columns) over an image of `size` (width, height) is
/// inside a box: whether its center is. A box that contains no center counts for the position that
/// contains its own center.
#[must_use]
pub fn inside(boxes: &[Rect], size: [usize; 2], grid: [usize; 2]) -> Vec<bool> {
    let [rows, columns] = grid;
    let cell = [size[0] as f64 / columns as f64, size[1] as f64 / rows as f64];
    let mut all = vec![false; rows * columns];
    for &[x, y, w, h] in boxes {
        let centers = |from: f64, length: f64, cell: f64, count: usize| {
            let holds = move |&i: &usize| {
                let center = (i as f64 + 0.5) * cell;
                from <= center && center < from + length
            };
            let held: Vec<usize> = (0..count).filter(holds).collect();
            if held.is_empty() {
                let own = ((from + length / 2.0) / cell) as usize;
                vec![own.min(count.saturating_sub(1))]
            } else {
                held
            }
        };
        for row in centers(y, h, cell[1], rows) {
            for column in centers(x, w, cell[0], columns) {
                all[row * columns + column] = true;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn positions_are_inside_where_their_centre_is() {
        // Cells of 4x2 pixels: 3 rows, 2 columns.
        let inside = |boxes: &[Rect]| inside(boxes, [8, 6], [3, 2]);
        assert_eq!(inside(&[]), [false; 6]);
        assert_eq!(inside(&[[0.0, 0.0, 8.0, 6.0]]), [true; 6]);
        // Centers are at x = 2 and 6, y = 1, 3 and 5.
        assert_eq!(inside(&[[2.0, 0.0, 4.0, 3.0]]), [true, false, false, false, false, false]);
        assert_eq!(inside(&[[2.0, 0.0, 4.1, 3.1]]), [true, true, true, true, false, false]);
        // A small box between the centers counts for its position.
        assert_eq!(inside(&[[7.0, 1.5, 0.5, 0.5]]), [false, true, false, false, false, false]);
        let two = [[0.0, 4.0, 3.0, 2.0], [5.0, 0.0, 3.0, 2.0]];
        assert_eq!(inside(&two), [false, true, false, false, true, false]);
    }

    #[test]
    fn marks_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks.json");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Marks::load(&path, [32, 24]).map_err(|e| e.to_string())
        };
        let marks =
            load(r#"{"boxes": {"3": [[0, 0, 32, 24]], "z.npy:2": [[1.5, 2, 3, 4]], "4": []}}"#);
        let marks = marks.unwrap();
        assert_eq!(marks.boxes["z.npy:2"], [[1.5, 2.0, 3.0, 4.0]]);
        assert_eq!(marks.boxes.len(), 3);
        let text = serde_json::to_string(&marks).unwrap();
        assert_eq!(load(&text).unwrap(), marks);
        for (bad, words) in [
            (r#"{"boxes": {"3": [[0, 0, 33, 2]]}}"#, "leaves the sample, which has 32x24 pixels"),
            (r#"{"boxes": {"3": [[0, 23, 2, 2]]}}"#, "box 1 of sample 3, [0, 23, 2, 2], leaves"),
            (r#"{"boxes": {"3": [[-1, 0, 2, 2]]}}"#, "leaves the sample"),
            (r#"{"boxes": {"3": [[1, 1, 0, 2]]}}"#, "has no area"),
            (r#"{"boxes": {"3": []}}"#, "holds no box"),
            (r#"{"boxes": {}}"#, "holds no box"),
            (r#"{"size": [64, 64], "boxes": {"3": [[0, 0, 2, 2]]}}"#, "samples of 64x64 pixels"),
            (r#"{"boxes": {"3": [[0, 0, 2]]}}"#, "holds no marks (line 1"),
            (r#"{"boxes": {"3": [[0, 0, "2", 3]]}}"#, "holds no marks"),
            (r#"{"box": {}}"#, "holds no marks"),
            ("", "marks look like"),
        ] {
            let error = load(bad).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
        assert!(Marks::load(&dir.path().join("none"), [8, 8]).is_err());
    }
}
