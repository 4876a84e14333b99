//! The channels of a network's last layer.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

/// The outputs of a network by name, in the order of its last layer's channels, with the number of
/// channels of each: `score` 1, `classes` 10; or `mean` 64, `log_std` 64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heads(Vec<(String, usize)>);

impl Heads {
    /// Heads by name and width; those of width 0 are left out.
    #[must_use]
    pub fn new<'a>(heads: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let some = heads.into_iter().filter(|(_, width)| *width > 0);
        Self(some.map(|(name, width)| (name.to_owned(), width)).collect())
    }

    /// Their names and widths, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, width)| (&**name, *width))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The required channels of the last layer.
    #[must_use]
    pub fn width(&self) -> usize {
        self.iter().map(|(_, width)| width).fold(0, usize::saturating_add)
    }

    /// The channels of the head of this name, if any.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<Range<usize>> {
        let mut at = 0_usize;
        self.iter().find_map(|(own, width)| {
            let range = at..at.saturating_add(width);
            at = range.end;
            (own == name).then_some(range)
        })
    }

    /// Splits `y`, the output of a network with these heads, in order. One pixel `[n, 1, 1, c]`
    /// becomes vectors, `[n, width]` each, and images `[n, h, w, c]` become images with fewer
    /// channels.
    ///
    /// # Errors
    /// [`Error::Shape`] if `y` has another number of channels.
    pub fn split(&self, t: &mut Tape, y: Var) -> Result<Vec<(&str, Var)>> {
        let mut shape = t.shape(y).to_vec();
        let width = self.width();
        let channels = shape.last().copied();
        if channels != Some(width) {
            let what = format!("the network's outputs have {width} channels");
            return Err(Error::Shape { op: "heads", what, shapes: vec![shape] });
        }
        if let [n, 1, 1, c] = shape[..] {
            shape = vec![n, c];
        }
        let y = t.reshape(y, &shape)?;
        let last = shape.len() - 1;
        let mut start = vec![0; shape.len()];
        let mut heads = Vec::with_capacity(self.0.len());
        for (name, width) in self.iter() {
            shape[last] = width;
            heads.push((name, t.slice(y, &start, &shape)?));
            start[last] += width;
        }
        Ok(heads)
    }
}
