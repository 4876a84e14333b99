//! The projection discriminator's last layer (Miyato and Koyama, arXiv 1802.05637).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::{Owned, ZERO, plain};
use super::parametrization::Kernel;
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Parametrization, Reach, WeightInit};

/// `y = w · x + b + ⟨e(label), x⟩`. Parameters `linear.weight` `[1, features]`, `linear.bias` and
/// `embed.weight` `[classes, features]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Channels of the input, which is one pixel.
    pub features: usize,
    /// Number of classes.
    pub classes: usize,
    /// As a convolution's, for both weights.
    #[serde(default, skip_serializing_if = "Parametrization::is_plain")]
    pub weight: Parametrization,
    /// As a convolution's, for both weights.
    #[serde(default, skip_serializing_if = "WeightInit::is_default")]
    pub start: WeightInit,
}

impl Projection {
    /// With plain weights.
    #[must_use]
    pub fn new(features: usize, classes: usize) -> Self {
        Self { features, classes, weight: Parametrization::Plain, start: WeightInit::default() }
    }

    /// The weights `linear` `[features, 1]` and `embed` `[classes, features]` by name.
    const fn tables(&self) -> [(&'static str, Kernel); 2] {
        let Self { features, classes, weight, start } = *self;
        [
            ("linear", Kernel::linear(features, 1, weight, start)),
            ("embed", Kernel::embedding(classes, features, weight, start)),
        ]
    }
}

impl LayerRule for Projection {
    fn kind(&self) -> &'static str {
        "a projection"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Weights
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        takes([1, 1, self.features], at)?;
        Ok([1, 1, 1])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        let [(linear, of_linear), (embed, of_embed)] = self.tables();
        owned.part(linear, |owned| {
            of_linear.params(owned);
            owned.learned("bias", plain(&[1]), ZERO);
        });
        owned.part(embed, |owned| of_embed.params(owned));
    }

    /// `y = w · h + b + ⟨e(label), h⟩` for `h` `[n, 1, 1, features]`: `[n, 1, 1, 1]`.
    fn record(&self, t: &mut Tape, scope: &str, h: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let Self { features, classes, .. } = *self;
        let [(linear, of_linear), (embed, of_embed)] = self.tables();
        let labels = walk.labels(t, scope, classes)?;
        let n = t.shape(labels)[0];
        let h = t.reshape(h, &[n, features])?;
        let w = of_linear.record(t, &format!("{scope}.{linear}"))?;
        let w = t.reshape(w, &[features, 1])?;
        let y = t.matmul(h, w)?;
        let b = t.read(&format!("{scope}.{linear}.bias"), &[1], DType::F32)?;
        let y = t.add(y, b)?;
        let e = of_embed.record(t, &format!("{scope}.{embed}"))?;
        let e = t.reshape(e, &[classes, features])?;
        let e = t.matmul(labels, e)?;
        let product = t.mul(e, h)?;
        let product = t.sum(product, &[1])?;
        let product = t.reshape(product, &[n, 1])?;
        let y = t.add(y, product)?;
        t.reshape(y, &[n, 1, 1, 1])
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes)
    }

    fn kernels(&self) -> Vec<(&'static str, Kernel)> {
        self.tables().into()
    }

    fn weights_mut(&mut self) -> Option<(&mut Parametrization, &mut WeightInit)> {
        Some((&mut self.weight, &mut self.start))
    }
}
