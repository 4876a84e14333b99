//! The projection discriminator's last layer (Miyato and Koyama, arXiv 1802.05637).

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

use super::param::Owned;
use super::pass::Walk;
use super::weight::Kernel;
use super::{Init, Layout, Start, Weight};

/// The weights `linear` `[features, 1]` and `embed` `[classes, features]` by name.
pub(super) const fn kernels(
    features: usize,
    classes: usize,
    weight: Weight,
    start: Start,
) -> [(&'static str, Kernel); 2] {
    [
        ("linear", Kernel::linear(features, 1, weight, start)),
        ("embed", Kernel::embedding(classes, features, weight, start)),
    ]
}

pub(super) fn params(
    [(linear, of_linear), (embed, of_embed)]: [(&'static str, Kernel); 2],
    owned: &mut Owned<'_>,
) {
    owned.part(linear, |owned| {
        of_linear.params(owned);
        owned.learnt("bias", (vec![1], Layout::Plain), Init::Constant(0.0));
    });
    owned.part(embed, |owned| of_embed.params(owned));
}

/// `y = w · h + b + ⟨e(label), h⟩` for `h` `[n, 1, 1, features]`: `[n, 1, 1, 1]`.
pub(super) fn projection(
    t: &mut Tape,
    scope: &str,
    h: Var,
    [features, classes]: [usize; 2],
    [(linear, of_linear), (embed, of_embed)]: [(&'static str, Kernel); 2],
    walk: &Walk<'_>,
) -> Result<Var> {
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
