//! Forgetting to draw an object (paper, section 6.3 and figure 6): a logistic regression learns from
//! boxes on samples which of the generator's feature maps represent it, and those are dropped.
//!
//! Every position in a hidden layer's feature maps is an example: its features are the maps' values
//! there, and it is inside or outside of a box. Maps are standardized to mean 0 and deviation 1
//! over all examples, so that their weights can be compared; the two classes count the same,
//! however small the boxes are. Maps with positive weight are larger inside; dropped, they are zero
//! at all positions of all samples.
//!
//! A map is an input of the next convolution: the output of the layer before that, after norm and
//! activation. To drop it, the weights by which that convolution reads it are set to zero, which is
//! equivalent to the last bit and leaves an ordinary model.

use crate::error::{Error, Result};
use crate::features::FeatureLayer;
use crate::logistic::Logistic;
use crate::model::names::averaged;
use crate::model::{ModelFile, Networks, Pipeline, Pixels, Role, Size};
use crate::nn::{Heads, Layer, Sequential};
use crate::rng::Stream;
use crate::tensor::Tensor;

pub mod marks;

use marks::Rect;

/// The prefix of a generator's states.
const GENERATOR: &str = "generator";

/// The hidden convolutions of a generator, from the latent to the image; the last convolution
/// outputs the image and is not included. `output` is the layer right before the next convolution.
///
/// # Errors
/// [`Error::Tensor`] if there is no generator, none of its convolutions is hidden, or the weights
/// of one are normalized.
pub fn levels(networks: &Networks) -> Result<Vec<FeatureLayer>> {
    let generator = networks.generator()?;
    let fail = |what: String| Error::Tensor { name: GENERATOR.into(), what };
    let normalized = |i: &usize| {
        is_convolution(&generator.layers[*i]) && generator.layers[*i].has_normalized_weights()
    };
    if let Some(i) = (0..generator.layers.len()).find(normalized) {
        let what = "has normalized weights, all of which change where those of a map are dropped";
        return Err(Error::Tensor { name: format!("{GENERATOR}.main.{i}"), what: what.into() });
    }
    let sizes = generator.sizes([1, 1, networks.nz]).map_err(fail)?;
    let convs = convolutions(generator);
    let levels = convs.windows(2).map(|pair| {
        let output = pair[1] - 1;
        FeatureLayer { conv: pair[0], output, size: sizes[output] }
    });
    let levels: Vec<FeatureLayer> = levels.filter(|l| l.size[..2] != [1, 1]).collect();
    if levels.is_empty() {
        return Err(fail("has no convolution before the one that outputs its image".into()));
    }
    Ok(levels)
}

/// Whether its maps can be dropped: the kinds whose weight layout is known here.
fn is_convolution(layer: &Layer) -> bool {
    matches!(layer, Layer::ConvTranspose(_))
}

fn convolutions(network: &Sequential) -> Vec<usize> {
    (0..network.layers.len()).filter(|&i| is_convolution(&network.layers[i])).collect()
}

/// The model whose "images" are the feature maps of one of the generator's hidden layers: run like
/// any other, it outputs the features `[n, h, w, c]` of the samples.
///
/// # Errors
/// [`Error::File`] if the model has no generator.
pub fn maps_of(model: &ModelFile, level: &FeatureLayer) -> Result<ModelFile> {
    let [height, width, channels] = level.size;
    let layers = model.generator()?.layers[..=level.output].to_vec();
    let networks = Networks {
        size: Size { height, width },
        channels,
        // Its values, unchanged.
        pixels: Pixels::Signed,
        by_name: Networks::usual([(Role::Generator, Some(Sequential { layers }))]),
        pipeline: Pipeline::default(),
        parts: Heads::default(),
        ..model.networks.clone()
    };
    Ok(ModelFile { networks, ..model.clone() })
}

/// The model without the maps `dropped` of one of its generator's hidden layers, in its weights and
/// in their average.
///
/// # Errors
/// [`Error::File`] if the model has no generator; [`Error::Tensor`] if the layer is not one of its
/// [`levels`].
pub fn without(model: &ModelFile, level: &FeatureLayer, dropped: &[usize]) -> Result<ModelFile> {
    let generator = model.generator()?;
    let reader = convolutions(generator).into_iter().find(|&conv| conv > level.output);
    let name = format!("{GENERATOR}.main.{}.weight", reader.unwrap_or(level.output));
    let params = generator.params(GENERATOR);
    let Some(param) = params.iter().find(|p| p.name == name) else {
        return Err(Error::Tensor { name, what: "is not a weight of this generator".into() });
    };
    let mut model = model.clone();
    for name in [param.name.clone(), averaged(&param.name)] {
        let Some(tensor) = model.tensors.get(&name) else { continue };
        let tensor = param.layout.from_file(&name, tensor, &param.shape)?;
        // `[kh, kw, large, small]`: the input maps are the small side.
        let small = param.shape[3];
        let mut numbers = tensor.f32s().to_vec();
        for taps in numbers.chunks_mut(small) {
            for &map in dropped {
                taps[map] = 0.0;
            }
        }
        let tensor = Tensor::new(param.shape.clone(), numbers)?;
        model.tensors.insert(name, param.layout.to_file(&tensor)?);
    }
    Ok(model)
}

/// The training examples: maps at all positions of some images.
#[derive(Clone, Debug)]
pub struct Examples {
    /// `[images · positions, maps]`, standardized to mean 0 and deviation 1.
    x: Vec<f32>,
    maps: usize,
    /// Rows and columns of an image.
    grid: [usize; 2],
    /// Whether each position is inside a box.
    inside: Vec<bool>,
}

impl Examples {
    /// From maps `[n, h, w, c]` of samples of `size` (width, height), and the boxes on each.
    ///
    /// # Errors
    /// [`Error::Shape`] if their numbers differ.
    pub fn new(maps: &Tensor, size: [usize; 2], boxes: &[&[Rect]]) -> Result<Self> {
        let &[n, h, w, c] = maps.shape() else {
            return Err(shape_error(maps, boxes.len()));
        };
        if n != boxes.len() || c == 0 {
            return Err(shape_error(maps, boxes.len()));
        }
        let inside = boxes.iter().flat_map(|boxes| marks::inside(boxes, size, [h, w])).collect();
        let rows = (n * h * w) as f64;
        let mut x = maps.f32s().to_vec();
        let mut moments = vec![[0.0_f64; 2]; c];
        for row in x.chunks(c) {
            for (moments, &x) in moments.iter_mut().zip(row) {
                moments[0] += f64::from(x) / rows;
            }
        }
        for row in x.chunks(c) {
            for (moments, &x) in moments.iter_mut().zip(row) {
                moments[1] += (f64::from(x) - moments[0]).powi(2) / rows;
            }
        }
        for row in x.chunks_mut(c) {
            for (&[mean, variance], x) in moments.iter().zip(row) {
                // A constant map has no information.
                let factor = if variance > 1e-12 { variance.sqrt().recip() } else { 0.0 };
                *x = ((f64::from(*x) - mean) * factor) as f32;
            }
        }
        Ok(Self { x, maps: c, grid: [h, w], inside })
    }

    /// The number of positions inside boxes, and of all positions.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        [self.inside.iter().filter(|&&inside| inside).count(), self.inside.len()]
    }

    /// Fits the regression with the penalty `lambda` ([`Logistic`]); both kinds of positions must
    /// exist.
    #[must_use]
    pub fn fit(&self, lambda: f64) -> Logistic {
        Logistic::train(&self.x, self.maps, &self.inside, lambda)
    }

    /// The probability of each position to be inside a box.
    #[must_use]
    pub fn probabilities(&self, found: &Logistic) -> Vec<f64> {
        self.x.chunks(self.maps).map(|row| found.probability(row)).collect()
    }

    /// The shares of correctly classified positions outside and inside boxes.
    #[must_use]
    pub fn right(&self, probabilities: &[f64]) -> [f64; 2] {
        let (mut right, mut all) = ([0.0; 2], [0.0_f64; 2]);
        for (&inside, &p) in self.inside.iter().zip(probabilities) {
            all[usize::from(inside)] += 1.0;
            right[usize::from(inside)] += f64::from(u8::from((p > 0.5) == inside));
        }
        [0, 1].map(|i| right[i] / all[i].max(1.0))
    }

    /// The probability of each position to be inside a box, by regressions not trained on its
    /// image: the images are split into five parts, or fewer, and each part is predicted from the
    /// others. `None` if some part holds all positions of a class.
    #[must_use]
    pub fn held_out(&self, lambda: f64) -> Option<Vec<f64>> {
        let positions = self.grid[0] * self.grid[1];
        let images = self.inside.len() / positions;
        let parts = images.min(5);
        let mut probabilities = vec![0.0; self.inside.len()];
        for part in 0..parts {
            // Every fifth, so that a part is not one end of the list.
            let held = |position: usize| position / positions % parts == part;
            let (mut x, mut inside) = (Vec::new(), Vec::new());
            for (i, row) in self.x.chunks(self.maps).enumerate().filter(|&(i, _)| !held(i)) {
                x.extend_from_slice(row);
                inside.push(self.inside[i]);
            }
            if !(inside.contains(&true) && inside.contains(&false)) {
                return None;
            }
            let found = Logistic::train(&x, self.maps, &inside, lambda);
            for (i, row) in self.x.chunks(self.maps).enumerate().filter(|&(i, _)| held(i)) {
                probabilities[i] = found.probability(row);
            }
        }
        (parts > 1).then_some(probabilities)
    }
}

fn shape_error(maps: &Tensor, marked: usize) -> Error {
    Error::Shape {
        op: "forget",
        what: format!("maps of {marked} samples are needed"),
        shapes: vec![maps.shape().to_vec()],
    }
}

/// The maps whose weight is above `threshold`, largest weight first, `most` at most.
#[must_use]
pub fn chosen(weights: &[f64], threshold: f64, most: Option<usize>) -> Vec<usize> {
    let mut maps: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > threshold).collect();
    maps.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    maps.truncate(most.unwrap_or(maps.len()));
    maps
}

/// `count` of `maps` maps, drawn by a seed: the effect of dropping alone, for comparison.
#[must_use]
pub fn drawn(maps: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut order = Stream::new(seed, "forget", 0).permutation(maps);
    order.truncate(count);
    order.into_iter().map(|map| map as usize).collect()
}

/// The change of samples `[n, h, w, c]` in [−1, 1] outside and inside boxes: the mean absolute
/// difference of the pixels, in levels of 0 to 255.
#[must_use]
pub fn change(before: &Tensor, after: &Tensor, boxes: &[&[Rect]]) -> [f64; 2] {
    let &[_, h, w, c] = before.shape() else { return [0.0; 2] };
    let (mut sums, mut counts) = ([0.0_f64; 2], [0.0_f64; 2]);
    let images = before.f32s().chunks(h * w * c).zip(after.f32s().chunks(h * w * c));
    for ((before, after), boxes) in images.zip(boxes) {
        let inside = marks::inside(boxes, [w, h], [h, w]);
        for ((before, after), inside) in before.chunks(c).zip(after.chunks(c)).zip(inside) {
            for (a, b) in before.iter().zip(after) {
                sums[usize::from(inside)] += 127.5 * f64::from((a - b).abs());
                counts[usize::from(inside)] += 1.0;
            }
        }
    }
    [0, 1].map(|i| sums[i] / counts[i].max(1.0))
}

#[cfg(test)]
mod tests;
