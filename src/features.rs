//! The convolutional features of a discriminator, as the DCGAN paper uses them for classification
//! (arXiv 1511.06434, section 5.1).
//!
//! The feature maps of every hidden convolution, after its activation, are max-pooled to a grid of
//! 4×4 (or less, if they are smaller), flattened in PyTorch's order (channel, row, column) and
//! concatenated, from the first layer to the last: 28,672 numbers for the paper's ImageNet network,
//! 7,168 for its SVHN network.
//!
//! The features of an image do not depend on other images: batch norm uses running statistics. A
//! discriminator without any, like the authors' own, is first calibrated on the images
//! ([`Extractor::calibrate`]), as the authors do.

use crate::data::{Order, Prepare, Source, sweep};
use crate::device::State;
use crate::error::{Error, Result};
use crate::model::{Networks, Role};
use crate::nn::{
    BATCH_NORM_MOMENTUM, BatchDependence, LATENT, Layer, LayerRole, Mode, NORMALS, Param, Pass,
    Sequential,
};
use crate::program::{Options, Program, fitting};
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

/// Rows and columns after pooling of every layer.
pub const GRID: usize = 4;

/// The name of a discriminator's states.
pub const DISCRIMINATOR: &str = "discriminator";

/// One hidden convolution of a discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureLayer {
    /// The convolution's index among the layers: PyTorch's `main.<layer>`.
    pub conv: usize,
    /// The index of the activation whose output is the feature.
    pub output: usize,
    /// Height, width and channels of that output.
    pub size: [usize; 3],
}

impl FeatureLayer {
    /// Rows and columns after pooling.
    #[must_use]
    pub fn grid(&self) -> [usize; 2] {
        [self.size[0].min(GRID), self.size[1].min(GRID)]
    }

    /// Number of values after pooling.
    #[must_use]
    pub fn width(&self) -> usize {
        self.grid()[0] * self.grid()[1] * self.size[2]
    }
}

/// What the discriminator compares images with, if it takes pairs: `a latent`, `its normals`.
#[must_use]
pub fn paired(networks: &Networks) -> Option<&'static str> {
    let sides = networks.get(Role::Discriminator)?.side_inputs();
    let kinds = [(LATENT, "a latent"), (NORMALS, "its normals")];
    kinds.into_iter().find(|(side, _)| sides.contains(side)).map(|(_, what)| what)
}

/// The part of a model that extracts features from images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum By {
    /// The hidden layers of the discriminator.
    Discriminator,
    /// The hidden layers of the encoder: its convolutions, or where it has none its dense layers.
    Encoder,
    /// The encoder's output: latents, or the means of distributions.
    Latents,
}

impl By {
    /// The discriminator of a model, or the encoder if the discriminator's input is more than an
    /// image.
    #[must_use]
    pub fn of(networks: &Networks) -> Self {
        if paired(networks).is_some() { Self::Encoder } else { Self::Discriminator }
    }

    /// The network.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Discriminator => Role::Discriminator,
            Self::Encoder | Self::Latents => Role::Encoder,
        }
    }

    /// The features of an image, after the last activation of each layer.
    fn layers(self, networks: &Networks) -> Result<Vec<FeatureLayer>> {
        match self {
            Self::Discriminator => feature_layers(networks),
            Self::Encoder => {
                let hidden = hidden(networks, Role::Encoder)?;
                let is_map = |layer: &&FeatureLayer| layer.size[..2] != [1, 1];
                let maps: Vec<FeatureLayer> = hidden.iter().filter(is_map).copied().collect();
                match (maps.is_empty(), hidden.is_empty()) {
                    (false, _) => Ok(maps),
                    (true, false) => Ok(hidden),
                    (true, true) => Err(Error::Tensor {
                        name: Role::Encoder.name().into(),
                        what: "has no hidden layer".into(),
                    }),
                }
            }
            Self::Latents => {
                let output = networks.encoder()?.layers.len().saturating_sub(1);
                Ok(vec![FeatureLayer { conv: output, output, size: [1, 1, networks.nz] }])
            }
        }
    }
}

/// The hidden convolutions of a discriminator, from the image to the logit; a residual block counts
/// as one. The last one, which outputs the logit, is not included, nor is a projection to one
/// pixel, nor anything after a layer that compares the images of a batch. A feature is taken after
/// the first activation that follows the convolution, or, if there is none, right before the next
/// convolution.
///
/// # Errors
/// [`Error::Tensor`] if there is no discriminator, none of its convolutions is hidden, or it takes
/// pairs.
pub fn feature_layers(networks: &Networks) -> Result<Vec<FeatureLayer>> {
    let fail = |what: &str| Err(Error::Tensor { name: DISCRIMINATOR.into(), what: what.into() });
    if let Some(other) = paired(networks) {
        return fail(&format!(
            "compares pairs of an image and {other}, so it has no features of an image alone"
        ));
    }
    let mut layers = hidden(networks, Role::Discriminator)?;
    layers.retain(|layer| layer.size[..2] != [1, 1]);
    match layers.is_empty() {
        true => fail("has no convolution before the one that outputs its logit"),
        false => Ok(layers),
    }
}

/// The hidden layers with weights of a role's network, including dense layers and projections to
/// one pixel: see [`feature_layers`].
fn hidden(networks: &Networks, role: Role) -> Result<Vec<FeatureLayer>> {
    let network = networks.of(role)?;
    let image = [networks.size.height, networks.size.width, networks.channels];
    let sizes = network.sizes(image);
    let sizes = sizes.map_err(|what| Error::Tensor { name: role.name().into(), what })?;
    let layers = &network.layers;
    let is_hidden = |&i: &usize| [LayerRole::Weights, LayerRole::Block].contains(&layers[i].role());
    let weights: Vec<usize> = (0..layers.len()).filter(is_hidden).collect();
    // Layers that compare images, or follow such layers, have no features of one image.
    let compares = |layer: &Layer| layer.batch() == BatchDependence::Compares;
    let alone = layers.iter().position(compares).unwrap_or(layers.len());
    let layers = weights.windows(2).filter(|pair| pair[0] < alone).map(|pair| {
        let bends = |&i: &usize| layers[i].role() == LayerRole::Activation;
        let end = pair[1].min(alone);
        let output = (pair[0]..end).find(bends).unwrap_or(end - 1);
        FeatureLayer { conv: pair[0], output, size: sizes[output] }
    });
    Ok(layers.collect())
}

/// The index of the layer whose input is the discriminator's representation of an image before its
/// last weights, for feature matching. Noise before these weights is left out: on features it would
/// only blur their means.
#[must_use]
pub fn matched(discriminator: &Sequential) -> usize {
    let layers = &discriminator.layers;
    let role = |wanted: LayerRole| move |layer: &Layer| layer.role() == wanted;
    let last = layers.iter().rposition(role(LayerRole::Weights)).unwrap_or(0);
    let blurs = |layer: &&Layer| role(LayerRole::Disturbance)(layer);
    last - layers[..last].iter().rev().take_while(blurs).count()
}

/// The number of features of one image.
///
/// # Errors
/// Those of [`feature_layers`].
pub fn width(networks: &Networks) -> Result<usize> {
    Ok(feature_layers(networks)?.iter().map(FeatureLayer::width).sum())
}

/// Converts bytes `[n, h, w, c]` to the value range of a model's networks.
///
/// # Errors
/// Errors of recording the ops.
pub fn pixels(t: &mut Tape, networks: &Networks, bytes: Var) -> Result<Var> {
    networks.pixels.of_bytes(t, bytes)
}

/// Records `discriminator`, which is that of `networks` or one of the same layers, on images `x`
/// `[n, h, w, c]`, and returns the pooled features `[n, rows, columns, channels]` of every layer.
///
/// # Errors
/// Those of [`feature_layers`]; [`Error::Shape`] if `x` does not fit.
pub fn record(
    t: &mut Tape,
    networks: &Networks,
    discriminator: &Sequential,
    x: Var,
    mode: Mode,
) -> Result<Vec<Var>> {
    pooled(t, (DISCRIMINATOR, discriminator), &feature_layers(networks)?, x, mode)
}

/// The same for any network on images, whose states have this prefix.
fn pooled(
    t: &mut Tape,
    (name, network): (&str, &Sequential),
    feature_layers: &[FeatureLayer],
    x: Var,
    mode: Mode,
) -> Result<Vec<Var>> {
    let outputs = network.record(t, name, x, &Pass::new(mode))?;
    let n = t.shape(x)[0];
    let pooled = |layer: &FeatureLayer| {
        let output = outputs.each()[layer.output];
        match (layer.size, t.shape(output)) {
            // Vectors: the first values of a distribution, which are its mean.
            ([1, 1, c], shape) => {
                let width = shape.iter().skip(1).product();
                let row = t.reshape(output, &[n, width])?;
                let row = t.slice(row, &[0, 0], &[n, c])?;
                t.reshape(row, &[n, 1, 1, c])
            }
            _ => t.max_pool(output, layer.grid()),
        }
    };
    feature_layers.iter().map(pooled).collect()
}

/// A compiled discriminator or encoder that outputs features. Its name prefixes its states.
#[derive(Debug)]
pub struct Extractor {
    networks: Networks,
    by: By,
    /// The network's name.
    name: String,
    /// The network, with running statistics.
    network: Sequential,
    feature_layers: Vec<FeatureLayer>,
    program: Program,
    batch: usize,
}

/// Images to calibrate the statistics of a discriminator without any, and their batch size.
const SETTLING: usize = 4096;
const SETTLING_BATCH: usize = 128;

impl Extractor {
    /// Compiles the discriminator's features of `batch` images at a time. `state` must hold its
    /// tensors; if its batch norm uses batch statistics, running ones are added, which are
    /// uninitialized until [`Extractor::calibrate`]. If the device's memory is too small, the batch is
    /// smaller ([`Extractor::batch`]).
    ///
    /// # Errors
    /// Those of [`feature_layers`]; [`Error::Tensor`] if `state` lacks a tensor, [`Error::Memory`] if the
    /// device is full.
    pub fn new(networks: &Networks, state: &mut State, batch: usize) -> Result<Self> {
        Self::by(networks, By::Discriminator, state, batch)
    }

    /// The same for the network that [`By`] selects: `state` must hold its tensors, by its name.
    ///
    /// # Errors
    /// Those of [`Extractor::new`].
    pub fn by(networks: &Networks, by: By, state: &mut State, batch: usize) -> Result<Self> {
        let feature_layers = by.layers(networks)?;
        let own = networks.of(by.role())?;
        let name = networks.find(by.role()).map_or("", |(name, _)| name).to_owned();
        let network = own.with_running_statistics();
        if own.lacks_statistics() {
            for param in statistics(&name, &network) {
                state.set(&param.name, &Tensor::full(param.shape, 0.0))?;
            }
        }
        let tape = |batch| -> Result<Tape> {
            let mut tape = Tape::new();
            let x = feed(&mut tape, networks, batch)?;
            let maps = pooled(&mut tape, (&name, &network), &feature_layers, x, Mode::Eval)?;
            for (i, map) in maps.into_iter().enumerate() {
                tape.fetch(&fetch_name(i), map)?;
            }
            Ok(tape)
        };
        let batch = fitting(batch, state.device(), state.bytes(), tape)?;
        let tape = tape(batch)?;
        let program = Program::compile(&tape, state, &Options::default())?;
        let networks = networks.clone();
        Ok(Self { networks, by, name, network, feature_layers, program, batch })
    }

    /// Whether [`Extractor::calibrate`] must be called first, as there are no running statistics.
    #[must_use]
    pub fn needs_calibration(&self) -> bool {
        self.networks.get(self.by.role()).is_some_and(Sequential::lacks_statistics)
    }

    /// Replaces the running statistics with those of up to 4,096 images of `source`: [`calibrate`].
    ///
    /// # Errors
    /// Those of [`calibrate`].
    pub fn calibrate(&self, state: &mut State, source: &Source, prepare: &Prepare) -> Result<()> {
        calibrate(&self.networks, (&self.name, &self.network), state, source, prepare)
    }

    /// The number of features of one image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.feature_layers.iter().map(FeatureLayer::width).sum()
    }

    /// Images at a time: as requested, or as many as fit.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Features `[n, width]` of images `[n, h, w, c]`, for any `n`.
    ///
    /// # Errors
    /// [`Error::Length`] if the bytes are not whole images; [`Error::Diverged`] if a feature is not
    /// finite; [`Error::Lost`] if the device fails.
    pub fn features(&mut self, state: &mut State, images: &[u8]) -> Result<Vec<f32>> {
        let Networks { size, channels, .. } = self.networks;
        let image = size.height * size.width * channels;
        let (n, width) = (images.len() / image, self.width());
        if n * image != images.len() {
            let shape = vec![n + 1, size.height, size.width, channels];
            return Err(Error::Length { shape, len: images.len() });
        }
        let mut features = vec![0.0; n * width];
        let rows = features.chunks_mut((self.batch * width).max(1));
        for (bytes, rows) in images.chunks(self.batch * image).zip(rows) {
            let mut bytes = bytes.to_vec();
            bytes.resize(self.batch * image, 0);
            let bytes = bytes_of(&self.networks, self.batch, bytes)?;
            let fetched = self.program.call(state, &[("images", &bytes)])?;
            let mut at = 0;
            for (i, layer) in self.feature_layers.iter().enumerate() {
                let maps = fetched[&fetch_name(i)].f32s();
                for (row, map) in rows.chunks_mut(width).zip(maps.chunks(layer.width())) {
                    channels_first(map, layer.size[2], &mut row[at..at + layer.width()]);
                }
                at += layer.width();
            }
        }
        if features.iter().any(|x| !x.is_finite()) {
            let what = "the discriminator's features of some images are not finite: its weights are \
                        too large to compute with";
            return Err(Error::Diverged(what.into()));
        }
        Ok(features)
    }
}

/// Calibrates a network on images, whose tensors `state` holds under this name: replaces the
/// running statistics with those of up to 4,096 images of `source`, always the same ones, as
/// averages over batches, weighted as in training.
///
/// # Errors
/// Those of [`sweep`]; [`Error::File`] if there are fewer than two images; [`Error::Lost`] if the
/// device fails.
pub fn calibrate(
    networks: &Networks,
    (name, network): (&str, &Sequential),
    state: &mut State,
    source: &Source,
    prepare: &Prepare,
) -> Result<()> {
    let all: Vec<Param> = statistics(name, network).collect();
    if all.is_empty() {
        return Ok(());
    }
    // Without noise and dropout, as when the statistics are used. Layers are named by their places.
    let rests = |layer: &Layer| layer.role() == LayerRole::Disturbance;
    let layers = network.layers.iter();
    let layers = layers.map(|l| if rests(l) { Layer::Identity } else { l.clone() }).collect();
    let network = &Sequential { layers };
    // From zeros, so that the added part is known.
    for param in all {
        state.set(&param.name, &Tensor::full(param.shape, 0.0))?;
    }
    let order = Order { seed: 0, count: source.len(), batch: 1 };
    let mut items = order.shuffled(0);
    items.truncate(SETTLING);
    let batch = SETTLING_BATCH.min(items.len());
    if batch < 2 {
        let what = "holds one image, but batch norm needs two for statistics";
        return Err(Error::file(source.origin(), what));
    }
    // Adds the statistics of a batch of this size to the running ones.
    let program = |state: &State, batch| -> Result<Program> {
        let mut tape = Tape::new();
        let x = feed(&mut tape, networks, batch)?;
        let y = network.record(&mut tape, name, x, &Pass::new(Mode::Train))?;
        // A run needs a fetch; the statistics are assigned on the way.
        tape.fetch("outputs", y.last())?;
        Program::compile(&tape, state, &Options::default())
    };
    let mut settling = program(state, batch)?;
    let mut kept = 1.0_f64;
    let mut waiting = Vec::new();
    let image = prepare.len();
    sweep(source, prepare, &items, batch, |chunk| {
        waiting.extend_from_slice(&chunk.images);
        while waiting.len() >= batch * image {
            let rest = waiting.split_off(batch * image);
            let now = std::mem::replace(&mut waiting, rest);
            settling.call(state, &[("images", &bytes_of(networks, batch, now)?)])?;
            kept *= 1.0 - f64::from(BATCH_NORM_MOMENTUM);
        }
        Ok(())
    })?;
    if kept == 1.0 {
        // A small set with unreadable images: the readable ones form one batch.
        let readable = waiting.len() / image;
        if readable < 2 {
            let what = "has one readable image or none, and batch norm needs two to have \
                        statistics";
            return Err(Error::file(source.origin(), what));
        }
        let waiting = bytes_of(networks, readable, waiting)?;
        program(state, readable)?.call(state, &[("images", &waiting)])?;
        kept *= 1.0 - f64::from(BATCH_NORM_MOMENTUM);
    }
    // The remaining share of the zeros: the averages lack as much.
    for param in statistics(name, network) {
        let sum = state.get(&param.name)?;
        let scale = (1.0 / (1.0 - kept)) as f32;
        let mean = sum.f32s().iter().map(|x| x * scale).collect();
        state.set(&param.name, &Tensor::new(param.shape, mean)?)?;
    }
    Ok(())
}

/// Bytes of `batch` images of a model.
fn bytes_of(networks: &Networks, batch: usize, bytes: Vec<u8>) -> Result<Tensor> {
    let Networks { size, channels, .. } = *networks;
    Tensor::with_data([batch, size.height, size.width, channels], Data::U8(bytes))
}

/// The name of layer `i`'s fetch.
fn fetch_name(i: usize) -> String {
    format!("layer{i}")
}

/// The feed `images` of bytes, in the networks' value range.
pub(crate) fn feed(t: &mut Tape, networks: &Networks, batch: usize) -> Result<Var> {
    let shape = [batch, networks.size.height, networks.size.width, networks.channels];
    let bytes = t.feed("images", &shape, DType::U8)?;
    pixels(t, networks, bytes)
}

/// The running statistics.
fn statistics(name: &str, network: &Sequential) -> impl Iterator<Item = Param> + use<> {
    network.params(name).into_iter().filter(|p| !p.learned && p.averaged)
}

/// `[rows · columns, channels]` as `[channels, rows · columns]`.
fn channels_first(map: &[f32], channels: usize, to: &mut [f32]) {
    let cells = map.len() / channels;
    for (cell, numbers) in map.chunks(channels).enumerate() {
        for (channel, &x) in numbers.iter().enumerate() {
            to[channel * cells + cell] = x;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use image::{Rgb, RgbImage};

    use super::*;
    use crate::device::Device;
    use crate::models::{Architecture, ModelConfig, Size};
    use crate::nn::{BatchNorm, Statistics};
    use crate::ops::conv::ConvSpec;

    fn model(size: usize, network: Architecture, ndf: usize) -> Networks {
        let size = Size { height: size, width: size };
        ModelConfig { network, size, channels: 3, nz: 4, ngf: 4, ndf, ..ModelConfig::default() }
            .networks()
            .unwrap()
    }

    /// Random weights, and running statistics that differ from those of an untrained network.
    fn state(networks: &Networks) -> State {
        let mut state = State::new(&Device::Cpu);
        for param in networks.params() {
            let value =
                if param.learned { param.initial(1) } else { Tensor::full(param.shape, 0.5) };
            state.set(&param.name, &value).unwrap();
        }
        state
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| ((i * 2_654_435_761) >> 9) as u8).collect()
    }

    #[test]
    fn the_papers_networks_have_as_many_features_as_it_says() {
        let svhn = model(32, Architecture::Paper, 64);
        assert_eq!(width(&svhn).unwrap(), 7168);
        // `imagenet_gan_pretrain_128f_relu_lrelu_7l_3x3_256z` of the authors' code.
        let mut layers = Vec::new();
        let (mut side, mut channels) = (32, 3);
        for (small, stride) in [(128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)] {
            let spec = ConvSpec::down([side; 2], [3; 2], [stride; 2], [1; 2]).unwrap();
            layers.push(Layer::conv(spec, channels, small, false));
            layers.extend([Layer::batch_norm(small), Layer::leaky_relu(0.2)]);
            (side, channels) = (spec.small[0], small);
        }
        layers.push(Layer::conv(ConvSpec::dense([4; 2]), 512, 1, false));
        let imagenet = svhn.with(Role::Discriminator, Sequential { layers });
        imagenet.check().unwrap();
        assert_eq!(width(&imagenet).unwrap(), 28_672);
    }

    #[test]
    fn features_are_taken_after_the_activation() {
        let networks = model(64, Architecture::Dcgan, 8);
        let found: Vec<_> =
            feature_layers(&networks).unwrap().iter().map(|l| (l.conv, l.output)).collect();
        assert_eq!(found, [(0, 1), (2, 4), (5, 7), (8, 10)]);
        let none = networks.without(Role::Discriminator);
        assert!(feature_layers(&none).is_err());
    }

    /// Compared with the unpooled maps, pooled and ordered here by plain loops: 28 pixels make maps
    /// of 14 and 7, whose windows overlap.
    #[test]
    fn features_are_pooled_maps_in_pytorchs_order() {
        let networks = model(28, Architecture::Dcgan, 5);
        let mut state = state(&networks);
        let bytes = noise(5 * 28 * 28 * 3);
        let mut tape = Tape::new();
        let x = feed(&mut tape, &networks, 5).unwrap();
        let discriminator = networks.discriminator().unwrap();
        let pass = Pass::new(Mode::Eval);
        let maps = discriminator.record(&mut tape, DISCRIMINATOR, x, &pass).unwrap();
        for layer in feature_layers(&networks).unwrap() {
            tape.fetch(&layer.output.to_string(), maps.each()[layer.output]).unwrap();
        }
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        let fed = Tensor::with_data([5, 28, 28, 3], Data::U8(bytes.clone())).unwrap();
        let fetched = program.call(&mut state, &[("images", &fed)]).unwrap();
        let mut want = Vec::new();
        for n in 0..5 {
            for (name, side, channels) in [("1", 14, 5), ("4", 7, 10)] {
                let map = fetched[name].f32s();
                for c in 0..channels {
                    for window in 0..16 {
                        let edges = |i: usize| (i * side / 4, ((i + 1) * side).div_ceil(4));
                        let (top, bottom) = edges(window / 4);
                        let (left, right) = edges(window % 4);
                        let mut largest = f32::NEG_INFINITY;
                        for r in top..bottom {
                            for s in left..right {
                                let at = ((n * side + r) * side + s) * channels + c;
                                largest = largest.max(map[at]);
                            }
                        }
                        want.push(largest);
                    }
                }
            }
        }
        // Two at a time: the last batch is half empty.
        for batch in [5, 2] {
            let mut extractor = Extractor::new(&networks, &mut state, batch).unwrap();
            assert_eq!(extractor.width(), 16 * 15);
            assert!(!extractor.needs_calibration());
            let got = extractor.features(&mut state, &bytes).unwrap();
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(got.len() == want.len() && worst < 1e-5, "batch {batch}: {worst}");
        }
    }

    #[test]
    fn settling_gives_the_statistics_of_the_images() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..6 {
            let image = RgbImage::from_fn(16, 16, |x, y| {
                Rgb([(x * 16) as u8, (y * i * 7) as u8, ((x ^ y) * 9 + i) as u8])
            });
            image.save(folder.path().join(format!("{i}.png"))).unwrap();
        }
        let source = Source::open(Some(folder.path())).unwrap();
        let mut networks = model(16, Architecture::Paper, 4);
        let discriminator = networks.get_mut(Role::Discriminator).unwrap();
        for layer in &mut discriminator.layers {
            if let Layer::BatchNorm(BatchNorm { statistics, .. }) = layer {
                *statistics = Statistics::Batch;
            }
        }
        let prepare = Prepare { height: 16, width: 16, ..Prepare::default() };
        let mut state = state(&networks);
        let mut extractor = Extractor::new(&networks, &mut state, 3).unwrap();
        assert!(extractor.needs_calibration());
        extractor.calibrate(&mut state, &source, &prepare).unwrap();

        // All six form one batch: the network with batch statistics outputs the same maps, except
        // for the variance, as the running one is unbiased.
        let images: Vec<u8> = (0..6).flat_map(|i| source.prepared(i, &prepare).unwrap()).collect();
        let got = extractor.features(&mut state, &images).unwrap();
        let mut tape = Tape::new();
        let x = feed(&mut tape, &networks, 6).unwrap();
        let discriminator = networks.discriminator().unwrap();
        let maps = record(&mut tape, &networks, discriminator, x, Mode::Eval).unwrap();
        tape.fetch("last", *maps.last().unwrap()).unwrap();
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        let fed = Tensor::with_data([6, 16, 16, 3], Data::U8(images)).unwrap();
        let want = program.call(&mut state, &[("images", &fed)]).unwrap();
        let layer = *feature_layers(&networks).unwrap().last().unwrap();
        let mut last = vec![0.0; layer.width()];
        for (row, map) in got.chunks(extractor.width()).zip(want["last"].f32s().chunks(last.len()))
        {
            channels_first(map, layer.size[2], &mut last);
            for (got, want) in row[extractor.width() - last.len()..].iter().zip(&last) {
                assert!((got - want).abs() < 0.03 * (1.0 + want.abs()), "{got} {want}");
            }
        }
    }
}
