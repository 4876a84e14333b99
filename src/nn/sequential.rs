//! Layers in sequence.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

use super::onnx::Graph;
use super::param::Owned;
use super::pass::Walk;
use super::size::{self, Around};
use super::{BatchDependence, Layer, Outputs, Param, Pass, virtual_batch};

/// Layers in sequence, named `main.0`, `main.1`, … as in PyTorch's `nn.Sequential`: layers without
/// parameters count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// Records the layers of a part called `name` of the layer `scope`; returns the last one's output.
pub(super) fn part(
    t: &mut Tape,
    scope: &str,
    (name, layers): (&str, &[Layer]),
    x: Var,
    walk: &mut Walk<'_>,
) -> Result<Var> {
    let outputs = record(layers, t, &format!("{scope}.{name}"), x, walk)?;
    Ok(outputs.last().copied().unwrap_or(x))
}

/// Records the layers called `scope.0`, `scope.1`, … on `x`, and their outputs.
pub(super) fn record(
    layers: &[Layer],
    t: &mut Tape,
    scope: &str,
    x: Var,
    walk: &mut Walk<'_>,
) -> Result<Vec<Var>> {
    let mut x = x;
    let mut outputs = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let name = format!("{scope}.{i}");
        x = layer.rule().record(t, &name, x, walk)?;
        walk.taps.push((name, x));
        outputs.push(x);
    }
    Ok(outputs)
}

/// The tensors of the layers called `scope.0`, `scope.1`, …
pub(super) fn params(layers: &[Layer], owned: &mut Owned<'_>) {
    for (i, layer) in layers.iter().enumerate() {
        owned.part(&i.to_string(), |owned| layer.rule().params(owned));
    }
}

/// Adds the layers called `scope.0`, … to an ONNX graph, on `x`, images of size `at`; returns the
/// name of their output, and its size.
pub(super) fn onnx(
    layers: &[Layer],
    graph: &mut dyn Graph,
    scope: &str,
    x: String,
    at: [usize; 3],
) -> Result<(String, [usize; 3])> {
    let known = graph.sides().to_vec();
    let sides: Vec<_> = known.iter().map(|side| (&*side.name, side.size)).collect();
    let mut around = Around { name: String::new(), reference: false, sides: &sides };
    let sizes = size::all(layers, scope, at, &mut around)
        .map_err(|misfit| Error::Tensor { name: scope.into(), what: misfit.into() })?;
    let (mut x, mut at) = (x, at);
    for (i, (layer, size)) in layers.iter().zip(sizes).enumerate() {
        x = layer.rule().onnx(graph, &format!("{scope}.{i}"), x, at)?;
        at = size;
    }
    Ok((x, at))
}

/// [`onnx`] of a part called `name` of the layer called `scope`.
pub(super) fn onnx_part(
    graph: &mut dyn Graph,
    scope: &str,
    (name, layers): (&str, &[Layer]),
    x: String,
    at: [usize; 3],
) -> Result<(String, [usize; 3])> {
    onnx(layers, graph, &format!("{scope}.{name}"), x, at)
}

impl Sequential {
    /// All layers, including nested ones, with their names in the network: `main.3`,
    /// `main.3.shortcut.0`. A layer precedes its nested layers.
    #[must_use]
    pub fn each(&self) -> Vec<(String, &Layer)> {
        fn add<'a>(layers: &'a [Layer], scope: &str, all: &mut Vec<(String, &'a Layer)>) {
            for (i, layer) in layers.iter().enumerate() {
                let name = format!("{scope}.{i}");
                all.push((name.clone(), layer));
                for (part, layers) in layer.parts() {
                    add(layers, &format!("{name}.{part}"), all);
                }
            }
        }
        let mut all = Vec::new();
        add(&self.layers, "main", &mut all);
        all
    }

    /// The same layers, with batch statistics replaced by running ones after training.
    #[must_use]
    pub fn with_running_statistics(&self) -> Self {
        let mut network = self.clone();
        network.layers.iter_mut().for_each(Layer::use_running_statistics);
        network
    }

    fn any_batch(&self, asked: &[BatchDependence]) -> bool {
        self.each().iter().any(|(_, layer)| asked.contains(&layer.batch()))
    }

    /// Whether results depend on the rest of the batch, even after training: see
    /// [`BatchDependence`].
    #[must_use]
    pub fn needs_batch(&self) -> bool {
        self.any_batch(&[BatchDependence::Always, BatchDependence::Compares])
    }

    /// Whether some layer has no statistics to normalize a single image: see [`BatchDependence`].
    #[must_use]
    pub fn lacks_statistics(&self) -> bool {
        self.any_batch(&[BatchDependence::Always])
    }

    /// Whether in training every output depends on the statistics of the whole batch, so that there
    /// is no gradient at one image to penalize: see [`BatchDependence`].
    #[must_use]
    pub fn normalizes_by_batch(&self) -> bool {
        self.any_batch(&[BatchDependence::Training, BatchDependence::Always])
    }

    /// The names of the side inputs that a [`Pass`] must provide, each once, in the order of the
    /// layers that take them.
    #[must_use]
    pub fn side_inputs(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.each().into_iter().filter_map(|(_, layer)| layer.side_input()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// All tensors of the network called `prefix`.
    #[must_use]
    pub fn params(&self, prefix: &str) -> Vec<Param> {
        let mut list = Vec::new();
        let scope = format!("{prefix}.main");
        params(&self.layers, &mut Owned { scope: &scope, list: &mut list });
        list
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]`: its tensors are the states
    /// `<prefix>.main.0.weight` and so on.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] if `x` does not fit the first layer, or side inputs have
    /// another batch size or width; [`crate::error::Error::Tensor`] if a layer needs a side input
    /// or random numbers, and the pass has none.
    pub fn record(&self, t: &mut Tape, prefix: &str, x: Var, pass: &Pass<'_>) -> Result<Outputs> {
        let mut walk = Walk::new(pass);
        let mut layers = record(&self.layers, t, &format!("{prefix}.main"), x, &mut walk)?;
        let Walk { mut taps, reference, .. } = walk;
        if reference > 0 {
            let all = layers.iter_mut().chain(taps.iter_mut().map(|(_, x)| x));
            for x in all {
                *x = virtual_batch::without_reference(t, *x, reference)?;
            }
        }
        for (name, _) in &mut taps {
            name.drain(..=prefix.len());
        }
        Ok(Outputs { input: x, layers, taps })
    }

    /// The output size `[h, w, c]` of each layer for an image of size `input`, for a network
    /// without side inputs other than labels; intermediate sizes are checked, so that a description
    /// from a file can be trusted afterwards.
    ///
    /// # Errors
    /// A message if a layer does not fit the one before it, or is unreasonably large.
    pub fn sizes(&self, input: [usize; 3]) -> Result<Vec<[usize; 3]>, String> {
        self.sizes_beside(input, &[])
    }

    /// Adds its layers to an ONNX graph, on `x`, images of size `at`; returns the name of their output.
    pub(crate) fn onnx(&self, graph: &mut dyn Graph, x: String, at: [usize; 3]) -> Result<String> {
        Ok(onnx(&self.layers, graph, "main", x, at)?.0)
    }

    /// [`Sequential::sizes`] of a network with side inputs of these sizes, `[h, w, c]`, or `[1, 1,
    /// c]` for vectors.
    ///
    /// # Errors
    /// As for [`Sequential::sizes`]; also if a layer takes a side input that is missing or has
    /// another size.
    pub fn sizes_beside(
        &self,
        input: [usize; 3],
        sides: &[(&str, [usize; 3])],
    ) -> Result<Vec<[usize; 3]>, String> {
        let mut around = Around { name: String::new(), reference: false, sides };
        Ok(size::all(&self.layers, "main", input, &mut around)?)
    }
}
