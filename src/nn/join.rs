//! Side inputs: appended to a network's channels on the way. The simplest is a class label.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::onnx::{Graph, Side};
use super::param::Owned;
use super::pass::{LABELS, Walk};
use super::rule::LayerRule;
use super::size::{self, Around, Misfit};
use super::{BatchDependence, Layer, LayerRole, Reach, sequential};

/// A side input appended to the channels of every pixel, after passing through its own layers: for
/// `x` `[n, h, w, c]` and the layers' output, `[n, h, w, d]` or one pixel `[n, 1, 1, d]` (a vector,
/// repeated for every pixel), the output is `[n, h, w, c + d]`.
///
/// Its layers are named `join.0`, `join.1`, … within it; without layers the side input is appended
/// unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The name of the side input, among those of a [`Pass`](super::Pass).
    pub input: String,
    /// The layers applied to the side input first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// The image's one-hot class appended to the channels of every pixel. It is a [`Join`] of the side
/// input [`LABELS`] without layers and with known width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Number of classes.
    pub classes: usize,
}

/// The size of images `at` after appending images or one pixel of size `side`.
fn joined(at: [usize; 3], side: [usize; 3]) -> Result<[usize; 3], String> {
    let ([h, w, c], [side_h, side_w, d]) = (at, side);
    if [side_h, side_w] != [1, 1] && [side_h, side_w] != [h, w] {
        return Err(format!(
            "appends images of {side:?} (height, width, channels) to those of {at:?}; they need the \
             same height and width, or one pixel"
        ));
    }
    Ok([h, w, c.saturating_add(d)])
}

/// `side`, `[n, d]`, `[n, 1, 1, d]` or `[n, h, w, d]`, appended to the channels of `x` `[n, h, w,
/// c]`.
fn append(t: &mut Tape, x: Var, side: Var) -> Result<Var> {
    match *t.shape(side) {
        [n, 1, 1, d] => {
            let side = t.reshape(side, &[n, d])?;
            t.append(x, side)
        }
        [_, _] => t.append(x, side),
        _ => t.concat(&[x, side], 3),
    }
}

/// The side input called `name` appended, after `layers`, to `x` of size `at` in a graph.
fn appended(
    graph: &mut dyn Graph,
    (scope, name): (&str, &str),
    layers: &[Layer],
    x: String,
    [h, w, _]: [usize; 3],
) -> Result<String> {
    let Side { value, size, .. } = graph.side(scope, name)?;
    let (mut side, size) = sequential::onnx_part(graph, scope, ("join", layers), value, size)?;
    if size[..2] != [h, w] {
        let shape = graph.shape(&[1, size[2], h, w]);
        side = graph.node("Expand", &[side, shape], &[]);
    }
    Ok(graph.concat(x, side))
}

impl LayerRule for Join {
    fn kind(&self) -> &'static str {
        "a join of a side input"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    /// Its layers are asked separately.
    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    /// From the main input, whose pixels are meant.
    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let side = around.side(&self.input)?;
        let scope = format!("{}.join", around.name);
        let sizes = size::all(&self.layers, &scope, side, around)?;
        Ok(joined(at, sizes.last().copied().unwrap_or(side))?)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("join", |owned| sequential::params(&self.layers, owned));
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let mut side = walk.side(t, scope, &self.input)?;
        if let ([n, d], false) = (t.shape(side), self.layers.is_empty()) {
            let pixel = [*n, 1, 1, *d];
            side = t.reshape(side, &pixel)?;
        }
        let outputs = sequential::record(&self.layers, t, &format!("{scope}.join"), side, walk)?;
        append(t, x, outputs.last().copied().unwrap_or(side))
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        appended(graph, (scope, &self.input), &self.layers, x, at)
    }

    fn side_input(&self) -> Option<&str> {
        Some(&self.input)
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("join", &self.layers)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.layers]
    }
}

impl LayerRule for Label {
    fn kind(&self) -> &'static str {
        "a label"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Pixel
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        Ok(joined(at, [1, 1, self.classes])?)
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let labels = walk.labels(t, scope, self.classes)?;
        append(t, x, labels)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        appended(graph, (scope, LABELS), &[], x, at)
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }

    fn side_input(&self) -> Option<&str> {
        Some(LABELS)
    }
}
