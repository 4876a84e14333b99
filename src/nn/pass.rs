//! What one pass through a network needs besides its main input, and its results.

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

/// Whether a network is being trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm uses the batch's statistics and updates the running ones; noise and dropout are
    /// active.
    Train,
    /// Once, before the first training step, on real images: as in training, but each layer with
    /// weight norm and a bias first sets its lengths and its bias so that its outputs have mean 0
    /// and variance 1 over the batch (Salimans and Kingma, arXiv 1602.07868, section 3), and
    /// running statistics are unchanged.
    Initialize,
    /// Running statistics, no randomness: one image does not depend on its neighbors.
    Eval,
}

/// The side input of one-hot class labels, `[n, classes]`.
pub const LABELS: &str = "labels";

/// The side input of latents, `[n, nz]`, for discriminators of pairs, and for generators that use
/// their latent more than once.
pub const LATENT: &str = "latent";

/// The side input of texts, `[n, width]` as [`crate::text::TextEncoder`] makes them.
pub const TEXT: &str = "text";

/// The side input of real images `[n, h, w, c]`, for passes of [`Mode::Initialize`] through generators
/// with layers initialized from them.
pub const IMAGES: &str = "images";

/// The side input of normal maps `[n, h, w, 3]`, a unit vector at every pixel.
pub const NORMALS: &str = "normals";

/// One pass through a network.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// Whether the network is being trained.
    pub mode: Mode,
    /// Side inputs by name, images `[n, h, w, c]` or vectors `[n, c]`, with the main input's `n`,
    /// for networks with layers that take them ([`super::Join`], and those that take [`LABELS`]).
    /// Gradients flow back to them. Unused ones are ignored.
    pub sides: Vec<(&'a str, Var)>,
    /// The key of random numbers drawn on the device, `[4]` (see [`Tape::random_normal`]), for
    /// networks with randomness in training.
    pub key: Option<Var>,
    /// Separates its random numbers from those of other passes through the same network in the same
    /// step, such as `real` and `fake`.
    pub name: &'a str,
    /// Whether it updates running statistics in [`Mode::Train`]. These are used to generate images:
    /// a pass on other inputs than those must not change them.
    pub tracked: bool,
}

impl<'a> Pass<'a> {
    /// A pass without side inputs or random numbers.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { mode, sides: Vec::new(), key: None, name: "", tracked: true }
    }

    /// The pass with this side input, replacing another of that name.
    #[must_use]
    pub fn with(mut self, input: &'a str, x: Var) -> Self {
        self.sides.retain(|(name, _)| *name != input);
        self.sides.push((input, x));
        self
    }

    /// The pass with class labels, if any.
    #[must_use]
    pub fn labels(self, labels: Option<Var>) -> Self {
        match labels {
            Some(labels) => self.with(LABELS, labels),
            None => self,
        }
    }

    /// The pass with random numbers by this key, if any, separated by `name`.
    #[must_use]
    pub const fn random(mut self, key: Option<Var>, name: &'a str) -> Self {
        (self.key, self.name) = (key, name);
        self
    }

    /// The pass without updates of running statistics.
    #[must_use]
    pub const fn untracked(mut self) -> Self {
        self.tracked = false;
        self
    }
}

/// The outputs of a network's layers in one pass, without a reference batch.
#[derive(Clone, Debug)]
pub struct Outputs {
    pub(super) input: Var,
    /// Of the network's top-level layers, in order.
    pub(super) layers: Vec<Var>,
    /// Of all layers, by name in the network.
    pub(super) taps: Vec<(String, Var)>,
}

impl Outputs {
    /// The network's output: that of its last layer.
    #[must_use]
    pub fn last(&self) -> Var {
        self.layers.last().copied().unwrap_or(self.input)
    }

    /// The output of each top-level layer, in order.
    #[must_use]
    pub fn each(&self) -> &[Var] {
        &self.layers
    }

    /// The main input of layer `i`; for one past the last layer it is [`Outputs::last`].
    #[must_use]
    pub fn before(&self, i: usize) -> Var {
        i.checked_sub(1).and_then(|i| self.layers.get(i)).copied().unwrap_or(self.input)
    }

    /// The output of the layer of this name in the network, also of nested ones: `main.5`,
    /// `main.3.shortcut.0`, `main.3.join.1`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is no such layer.
    pub fn tap(&self, name: &str) -> Result<Var> {
        let tap = self.taps.iter().find(|(own, _)| own == name);
        tap.map(|(_, x)| *x).ok_or_else(|| Error::Tensor {
            name: name.into(),
            what: match self.layers.len() {
                0 => "is no layer of this network, which has none".into(),
                count => {
                    format!("is no layer of this network: it has main.0 to main.{}", count - 1)
                }
            },
        })
    }
}

/// A pass in progress through the layers.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(super) pass: &'a Pass<'a>,
    /// Images of the reference batch in front of the actual ones.
    pub(super) reference: usize,
    /// The output of each layer, by its full name.
    pub(super) taps: Vec<(String, Var)>,
}

impl<'a> Walk<'a> {
    pub(super) const fn new(pass: &'a Pass<'a>) -> Self {
        Self { pass, reference: 0, taps: Vec::new() }
    }

    pub(super) fn is_training(&self) -> bool {
        self.pass.mode != Mode::Eval
    }

    pub(super) fn is_starting(&self) -> bool {
        self.pass.mode == Mode::Initialize
    }

    /// Whether the pass updates running statistics.
    pub(super) fn is_tracked(&self) -> bool {
        self.pass.mode == Mode::Train && self.pass.tracked
    }

    fn find(&self, input: &str) -> Option<Var> {
        self.pass.sides.iter().find(|(name, _)| *name == input).map(|(_, x)| *x)
    }

    /// The side input called `input`, for the layer `scope`.
    pub(super) fn side(&self, t: &Tape, scope: &str, input: &str) -> Result<Var> {
        let x = self.find(input).ok_or_else(|| Error::Tensor {
            name: scope.into(),
            what: format!(
                "takes the side input {input:?}, and this use of the network gives it none"
            ),
        })?;
        if ![2, 4].contains(&t.shape(x).len()) {
            let what = format!("the side input {input:?} is neither vectors nor images");
            return Err(Error::Shape { op: "join", what, shapes: vec![t.shape(x).to_vec()] });
        }
        Ok(x)
    }

    /// The labels, for the layer `scope` conditioned on `classes`.
    pub(super) fn labels(&self, t: &Tape, scope: &str, classes: usize) -> Result<Var> {
        let labels = self.find(LABELS).ok_or_else(|| Error::Tensor {
            name: scope.into(),
            what: format!(
                "is conditional: it needs to know which of its {classes} classes an image is of, \
                 which this use of it does not"
            ),
        })?;
        let shape = t.shape(labels);
        if shape.len() != 2 || shape[1] != classes {
            let what = format!("the network knows {classes} classes");
            return Err(Error::Shape { op: "label", what, shapes: vec![shape.to_vec()] });
        }
        Ok(labels)
    }

    /// The key of the random numbers and the name of their stream, for the layer `scope`.
    pub(super) fn random(&self, scope: &str) -> Result<(Var, String)> {
        let key = self.pass.key.ok_or_else(|| Error::Tensor {
            name: scope.into(),
            what: "draws random numbers while the network is trained, and this use of it has none"
                .into(),
        })?;
        Ok((key, format!("{scope}.{}", self.pass.name)))
    }
}
