//! Layers one after another.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::{Layer, Param};

/// Whether batch norm uses the batch's statistics (and updates the running ones) or the running
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch; running statistics are updated.
    Train,
    /// Running statistics: one picture does not depend on its neighbours.
    Eval,
}

/// Layers one after another, named `main.0`, `main.1`, … as PyTorch's `nn.Sequential` does: layers
/// without parameters count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Sequential {
    /// All tensors of the network called `prefix`.
    #[must_use]
    pub fn params(&self, prefix: &str) -> Vec<Param> {
        let mut params = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            layer.params(&format!("{prefix}.main.{i}"), &mut params);
        }
        params
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer.
    pub fn forward(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Var> {
        Ok(self.trace(t, prefix, x, mode)?.last().copied().unwrap_or(x))
    }

    /// Records the network called `prefix` on `x` `[n, h, w, c]` and returns what every layer
    /// gives, in order.
    ///
    /// # Errors
    /// [`crate::error::Error::Shape`] where `x` does not fit the first layer;
    /// [`crate::error::Error::Tensor`] where the network has to be told classes.
    pub fn trace(&self, t: &mut Tape, prefix: &str, x: Var, mode: Mode) -> Result<Vec<Var>> {
        self.trace_labelled(t, prefix, x, None, mode)
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
    /// As [`Sequential::trace`], where there are no `labels`; [`crate::error::Error::Shape`] where
    /// they are of other pictures or of other classes.
    pub fn trace_labelled(
        &self,
        t: &mut Tape,
        prefix: &str,
        x: Var,
        labels: Option<Var>,
        mode: Mode,
    ) -> Result<Vec<Var>> {
        let mut x = x;
        let mut outputs = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.record(t, &format!("{prefix}.main.{i}"), x, labels, mode)?;
            outputs.push(x);
        }
        Ok(outputs)
    }

    /// The picture `[h, w, c]` that each layer gives for one of `input`; the size of what is
    /// computed on the way is checked, so that a description out of a file can be trusted after it.
    ///
    /// # Errors
    /// A sentence where a layer does not fit the one before it, or is larger than anything that is
    /// in use.
    pub fn sizes(&self, input: [usize; 3]) -> Result<Vec<[usize; 3]>, String> {
        let mut at = input;
        let mut all = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            at = layer.size(at).map_err(|what| format!("layer main.{i}: {what}"))?;
            all.push(at);
        }
        Ok(all)
    }
}
