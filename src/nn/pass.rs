//! What one pass through a network needs beside its input.

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

/// Whether a network is being trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm normalises by the batch's statistics and updates the running ones; noise is added
    /// and numbers are dropped.
    Train,
    /// Once, before the first step of a training, on real pictures: as in training, but that each
    /// layer with weight norm and a bias first sets its lengths and its bias so that its outputs have
    /// mean 0 and variance 1 over the batch (Salimans and Kingma, arXiv 1602.07868, section 3), and
    /// running statistics stay as they are.
    Start,
    /// Running statistics, and nothing random: one picture does not depend on its neighbours.
    Eval,
}

/// One pass through a network.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The classes of the pictures, `[n, classes]`, each row 1 at its class and else 0: for networks
    /// that are told them.
    pub labels: Option<Var>,
    /// Whether the network is being trained.
    pub mode: Mode,
    /// The key of the random numbers that are drawn on the device, `[4]` (see
    /// [`Tape::random_normal`]): for networks that draw some while they are trained.
    pub key: Option<Var>,
    /// What sets its random numbers apart from those of other passes through the same network in the
    /// same step, such as `real` and `fake`.
    pub name: &'a str,
}

impl Pass<'_> {
    /// A pass without labels or random numbers.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self { labels: None, mode, key: None, name: "" }
    }
}

/// A pass on its way through the layers.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) pass: Pass<'a>,
    /// Pictures of the reference batch that stand in front of those asked for.
    pub(super) reference: usize,
}

impl Walk<'_> {
    pub(super) fn is_training(&self) -> bool {
        self.pass.mode != Mode::Eval
    }

    pub(super) fn is_starting(&self) -> bool {
        self.pass.mode == Mode::Start
    }

    /// The labels, for the layer `scope` that is told `classes`.
    pub(super) fn labels(&self, t: &Tape, scope: &str, classes: usize) -> Result<Var> {
        let labels = self.pass.labels.ok_or_else(|| Error::Tensor {
            name: scope.into(),
            what: format!(
                "is conditional: it has to be told which of its {classes} classes a picture is of, \
                 which this use of it does not"
            ),
        })?;
        let told = t.shape(labels);
        if told.len() != 2 || told[1] != classes {
            let what = format!("the network knows {classes} classes");
            return Err(Error::Shape { op: "label", what, shapes: vec![told.to_vec()] });
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
