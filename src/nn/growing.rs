//! Layers of networks that grow (Karras, Aila, Laine and Lehtinen, arXiv 1710.10196, section 2 and
//! figure 2).
//!
//! Between these layers an image `[h, w, k]` travels with its features `[h, w, c]`, behind them in the
//! channels. Every size has its own convolution of 1×1 from features to an image in the generator, and
//! from an image to features in the discriminator. A layer that doubles or halves the size has a state
//! `share` from 0 to 1, which says how far the network has grown into it:
//!
//! ```text
//! generator       f′ = block(f)    x′ = (1 − share) up(x) + share image(f′)
//! discriminator   x′ = mean of 2×2 of x    f′ = (1 − share) features(x′) + share block(f)
//! ```
//!
//! With 0 the network is the smaller one, bit for bit, between a nearest-neighbor upsampling and a mean
//! of pixels; with 1 it is the whole. Training sets `share`; networks that were never grown start at 1.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Tensor};

use super::onnx::Graph;
use super::param::{ONE, Owned, plain};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{self, Around, Misfit, takes};
use super::{BatchDependence, Layer, LayerRole, Reach, sequential};

/// The state that says how far a network has grown into a layer.
pub const SHARE: &str = "share";

/// Appends the image that is made of the features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithImage {
    /// From features to an image.
    pub image: Vec<Layer>,
}

/// Puts the features of an image before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithFeatures {
    /// From an image to features.
    pub features: Vec<Layer>,
}

/// Doubles the size of features `f` and image `x` (Karras et al., arXiv 1710.10196, figure 2):
///
/// ```text
/// f′ = block(f)    x′ = (1 − share) up(x) + share image(f′)
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grow {
    /// Channels of the image.
    pub channels: usize,
    /// From features to those of twice the size.
    pub block: Vec<Layer>,
    /// From these to an image.
    pub image: Vec<Layer>,
}

/// Halves the size of features `f` and image `x` (Karras et al., arXiv 1710.10196, figure 2):
///
/// ```text
/// x′ = mean of 2×2 pixels of x    f′ = (1 − share) features(x′) + share block(f)
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shrink {
    /// Channels of the image.
    pub channels: usize,
    /// From features to those of half the size.
    pub block: Vec<Layer>,
    /// From an image of half the size to its features.
    pub features: Vec<Layer>,
}

/// Keeps some of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// The first one kept.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// Channels `first` to `first + count` of `x` `[n, h, w, c]`.
fn channels(t: &mut Tape, x: Var, first: usize, count: usize) -> Result<Var> {
    let &[n, h, w, _] = t.shape(x) else {
        return Err(Error::Tensor { name: "images".into(), what: "are not [n, h, w, c]".into() });
    };
    t.slice(x, &[0, 0, 0, first], &[n, h, w, count])
}

/// Features and image, of which the latter has so many channels.
fn split(t: &mut Tape, x: Var, image: usize) -> Result<[Var; 2]> {
    let features = t.shape(x)[3] - image;
    Ok([channels(t, x, 0, features)?, channels(t, x, features, image)?])
}

/// `(1 − share) a + share b`, exactly `a` or `b` at the ends.
fn mix(t: &mut Tape, scope: &str, a: Var, b: Var) -> Result<Var> {
    let share = t.read(&format!("{scope}.{SHARE}"), &[], DType::F32)?;
    let rest = t.affine(share, -1.0, 1.0)?;
    let (a, b) = (t.mul(a, rest)?, t.mul(b, share)?);
    t.add(a, b)
}

/// The size of the features of images of size `at` with their features.
fn own([h, w, c]: [usize; 3], image: usize) -> [usize; 3] {
    [h, w, c - image]
}

/// [`split`] in a graph.
fn split_graph(graph: &mut dyn Graph, x: &str, at: [usize; 3], image: usize) -> [String; 2] {
    let features = at[2] - image;
    [graph.channels(x, 0, features), graph.channels(x, features, image)]
}

/// [`mix`] in a graph; where the share is 1, `b`.
fn mix_graph(graph: &mut dyn Graph, scope: &str, a: String, b: String) -> Result<String> {
    let share = graph.tensor(&format!("{scope}.{SHARE}"))?.f32s()[0];
    if share == 1.0 {
        return Ok(b);
    }
    let [a, b] = [(a, 1.0 - share), (b, share)].map(|(x, share)| {
        let share = graph.constant("share", &Tensor::full([1], share));
        graph.node("Mul", &[x, share], &[])
    });
    Ok(graph.node("Add", &[a, b], &[]))
}

/// Of an image with features, the size of the features.
fn features([h, w, c]: [usize; 3], image: usize) -> Result<[usize; 3], Misfit> {
    match c.checked_sub(image) {
        Some(features) if features > 0 && image > 0 => Ok([h, w, features]),
        _ => Err(format!("takes features and an image of {image} channels, not {c} in all").into()),
    }
}

impl LayerRule for WithImage {
    fn kind(&self) -> &'static str {
        "features with their image"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let [h, w, k] = size::part(("image", &self.image), at, around)?;
        takes([h, w, at[2]], at)?;
        Ok([h, w, at[2] + k])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("image", |owned| sequential::params(&self.image, owned));
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let image = sequential::part(t, scope, ("image", &self.image), x, walk)?;
        t.concat(&[x, image], 3)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        let (image, _) =
            sequential::onnx_part(graph, scope, ("image", &self.image), x.clone(), at)?;
        Ok(graph.concat(x, image))
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("image", &self.image)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.image]
    }
}

impl LayerRule for WithFeatures {
    fn kind(&self) -> &'static str {
        "an image with its features"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Block
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let [h, w, c] = size::part(("features", &self.features), at, around)?;
        takes([h, w, at[2]], at)?;
        Ok([h, w, c + at[2]])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("features", |owned| sequential::params(&self.features, owned));
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let features = sequential::part(t, scope, ("features", &self.features), x, walk)?;
        t.concat(&[features, x], 3)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        let (features, _) =
            sequential::onnx_part(graph, scope, ("features", &self.features), x.clone(), at)?;
        Ok(graph.concat(features, x))
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("features", &self.features)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.features]
    }
}

impl LayerRule for Grow {
    fn kind(&self) -> &'static str {
        "a layer that a generator grows by"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Block
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let own = features(at, self.channels)?;
        let large = size::part(("block", &self.block), own, around)?;
        takes([large[0] / 2, large[1] / 2, at[2]], at)?;
        let image = size::part(("image", &self.image), large, around)?;
        if image != [large[0], large[1], self.channels] {
            return Err(format!("makes an image of {image:?} of features of {large:?}").into());
        }
        Ok([large[0], large[1], large[2] + self.channels])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("block", |owned| sequential::params(&self.block, owned));
        owned.part("image", |owned| sequential::params(&self.image, owned));
        owned.kept(SHARE, plain(&[]), ONE);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let [features, image] = split(t, x, self.channels)?;
        let features = sequential::part(t, scope, ("block", &self.block), features, walk)?;
        let old = Layer::Upsample.rule().record(t, scope, image, walk)?;
        let new = sequential::part(t, scope, ("image", &self.image), features, walk)?;
        let image = mix(t, scope, old, new)?;
        t.concat(&[features, image], 3)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        let [features, image] = split_graph(graph, &x, at, self.channels);
        let (features, size) = sequential::onnx_part(
            graph,
            scope,
            ("block", &self.block),
            features,
            own(at, self.channels),
        )?;
        let old = Layer::Upsample.rule().onnx(graph, scope, image, at)?;
        let (new, _) =
            sequential::onnx_part(graph, scope, ("image", &self.image), features.clone(), size)?;
        let image = mix_graph(graph, scope, old, new)?;
        Ok(graph.concat(features, image))
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("block", &self.block), ("image", &self.image)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.block, &mut self.image]
    }
}

impl LayerRule for Shrink {
    fn kind(&self) -> &'static str {
        "a layer that a discriminator grows by"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Block
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let own = features(at, self.channels)?;
        let small = size::part(("block", &self.block), own, around)?;
        takes([2 * small[0], 2 * small[1], at[2]], at)?;
        let image = [small[0], small[1], self.channels];
        let other = size::part(("features", &self.features), image, around)?;
        if other != small {
            return Err(format!("has features of {other:?} beside those of {small:?}").into());
        }
        Ok([small[0], small[1], small[2] + self.channels])
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("block", |owned| sequential::params(&self.block, owned));
        owned.part("features", |owned| sequential::params(&self.features, owned));
        owned.kept(SHARE, plain(&[]), ONE);
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let [features, image] = split(t, x, self.channels)?;
        let new = sequential::part(t, scope, ("block", &self.block), features, walk)?;
        let image = Layer::AveragePool.rule().record(t, scope, image, walk)?;
        let old = sequential::part(t, scope, ("features", &self.features), image, walk)?;
        let features = mix(t, scope, old, new)?;
        t.concat(&[features, image], 3)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        let [features, image] = split_graph(graph, &x, at, self.channels);
        let (new, small) = sequential::onnx_part(
            graph,
            scope,
            ("block", &self.block),
            features,
            own(at, self.channels),
        )?;
        let image = Layer::AveragePool.rule().onnx(graph, scope, image, at)?;
        let size = [small[0], small[1], self.channels];
        let (old, _) =
            sequential::onnx_part(graph, scope, ("features", &self.features), image.clone(), size)?;
        let features = mix_graph(graph, scope, old, new)?;
        Ok(graph.concat(features, image))
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("block", &self.block), ("features", &self.features)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.block, &mut self.features]
    }
}

impl LayerRule for Channels {
    fn kind(&self) -> &'static str {
        "a choice of channels"
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

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let Self { first, count } = *self;
        match count > 0 && first.checked_add(count).is_some_and(|end| end <= c) {
            true => Ok([h, w, count]),
            false => Err(format!("keeps {count} channels from {first} on, of {c}").into()),
        }
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        channels(t, x, self.first, self.count)
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        Ok(graph.channels(&x, self.first, self.count))
    }
}
