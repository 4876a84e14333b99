//! Layers one after another.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::param::Owned;
use super::pass::Walk;
use super::{Layer, Mode, Param, Pass, Statistics, record, size, virtual_batch};

/// Layers one after another, named `main.0`, `main.1`, … as PyTorch's `nn.Sequential` does: layers
/// without parameters count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Sequential {
    /// All layers, those within others too, with their names in the network: `main.3`,
    /// `main.3.shortcut.0`. A layer stands before what is within it.
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

    /// Shows `f` all layers, those within others too.
    pub fn each_mut(&mut self, mut f: impl FnMut(&mut Layer)) {
        self.layers.iter_mut().for_each(|layer| layer.each_mut(&mut f));
    }

    /// Whether a norm makes results depend on what else is in the batch, even after training.
    #[must_use]
    pub fn needs_batch(&self) -> bool {
        let batch =
            |layer: &Layer| matches!(layer, Layer::BatchNorm { statistics: Statistics::Batch, .. });
        self.each().iter().any(|(_, layer)| batch(layer))
    }

    /// All tensors of the network called `prefix`.
    #[must_use]
    pub fn params(&self, prefix: &str) -> Vec<Param> {
        let mut list = Vec::new();
        let scope = format!("{prefix}.main");
        record::params(&self.layers, &mut Owned { scope: &scope, list: &mut list });
        list
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]`.
    ///
    /// # Errors
    /// As [`Sequential::trace`].
    pub fn forward(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Var> {
        Ok(self.trace(t, prefix, x, mode)?.last().copied().unwrap_or(x))
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]` and returns what every layer
    /// gives, in order.
    ///
    /// # Errors
    /// As [`Sequential::trace_pass`], where the network has to be told classes or draws random
    /// numbers in training.
    pub fn trace(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Vec<Var>> {
        self.trace_pass(t, prefix, x, Pass::new(mode))
    }

    /// [`Sequential::forward`] of a network that may be told the classes of `x`: `labels`
    /// `[n, classes]`, each row 1 at its class and else 0.
    ///
    /// # Errors
    /// As [`Sequential::trace_labelled`].
    pub fn forward_labelled(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Var> {
        Ok(self.trace_labelled(t, prefix, x, labels, mode)?.last().copied().unwrap_or(x))
    }

    /// [`Sequential::trace`] of a network that may be told the classes of `x`: `labels`
    /// `[n, classes]`, each row 1 at its class and else 0.
    ///
    /// # Errors
    /// As [`Sequential::trace_pass`].
    pub fn trace_labelled(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Vec<Var>> {
        self.trace_pass(t, prefix, x, Pass { labels, ..Pass::new(mode) })
    }

    /// [`Sequential::forward`] with all that a pass may need.
    ///
    /// # Errors
    /// As [`Sequential::trace_pass`].
    pub fn forward_pass(&self, t: &mut Tape, prefix: &str, x: Var, pass: Pass<'_>) -> Result<Var> {
        Ok(self.trace_pass(t, prefix, x, pass)?.last().copied().unwrap_or(x))
    }

    /// [`Sequential::trace`] with all that a pass may need.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer, or the labels are of
    /// other pictures or of other classes; [`crate::error::Error::Tensor`] where a layer needs labels
    /// or random numbers, and the pass has none.
    pub fn trace_pass(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        pass: Pass<'_>,
    ) -> Result<Vec<Var>> {
        let mut walk = Walk { pass, reference: 0 };
        let outputs = record::all(&self.layers, t, &format!("{prefix}.main"), x, &mut walk)?;
        let without = |x| virtual_batch::without_reference(t, x, &walk);
        if walk.reference == 0 { Ok(outputs) } else { outputs.into_iter().map(without).collect() }
    }

    /// The picture `[h, w, c]` that each layer gives for one of `input`; the size of what is
    /// computed on the way is checked, so that a description out of a file can be trusted after it.
    ///
    /// # Errors
    /// A sentence where a layer does not fit the one before it, or is larger than anything that is
    /// in use.
    pub fn sizes(&self, input: [usize; 3]) -> Result<Vec<[usize; 3]>, String> {
        size::all(&self.layers, "main", input, &mut false)
    }
}
