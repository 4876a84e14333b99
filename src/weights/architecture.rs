//! From a chain of layers to a network: sizes of pictures, activations, numbering.
//!
//! What the shapes say is taken from them: the widths, `nz`, the pictures' channels, kernels,
//! biases, which layers are normalised, and, from the numbers of a `Sequential`, whether the norm
//! stands before or after the activation. What they do not say is in [`Assumptions`].

use std::collections::BTreeMap;

use crate::models::{LatentLaw, Pixels};
use crate::nn::{BATCH_NORM_EPS, Layer, Layout, Sequential, Start, Statistics, Weight};
use crate::ops::conv::ConvSpec;
use crate::tensor::Tensor;

use super::chain::{Block, side};
use super::modules::{Kind, Module};
use super::roles::Role;

/// What shapes cannot say.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The law of latents.
    pub latent_law: LatentLaw,
    /// The slope of the generator's activations' negative half; 0 for ReLU.
    pub g_slope: f32,
    /// The same of the discriminator's.
    pub d_slope: f32,
    /// Batch norm's ε; none for what is usual where the weights come from.
    pub eps: Option<f32>,
    /// What batch norm normalises by; none for running statistics where there are any.
    pub statistics: Option<Statistics>,
    /// What the generator's last activation makes: [`Pixels::Signed`] is tanh.
    pub pixels: Pixels,
    /// Height and width of the generator's pictures after each convolution; empty for the usual.
    pub g_sides: Vec<[usize; 2]>,
    /// Height and width of the discriminator's pictures, from its input to its logit; empty for the
    /// usual.
    pub d_sides: Vec<[usize; 2]>,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            latent_law: LatentLaw::Normal,
            g_slope: 0.0,
            d_slope: 0.2,
            eps: None,
            statistics: None,
            pixels: Pixels::Signed,
            g_sides: Vec::new(),
            d_sides: Vec::new(),
        }
    }
}

/// A network with its tensors, named as in files but for the network's own name.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) network: Sequential,
    /// What it takes: `[1, 1, nz]`, or the picture.
    pub(super) input: [usize; 3],
    /// What it gives.
    pub(super) output: [usize; 3],
    pub(super) tensors: BTreeMap<String, Tensor>,
}

/// Makes a network of a chain. `picture` is the size that a discriminator's pictures should have,
/// where it is known.
///
/// # Errors
/// A sentence that names what would decide, where the shapes leave something open.
pub(super) fn build(
    blocks: Vec<Block>,
    role: Role,
    assumptions: &Assumptions,
    picture: Option<[usize; 2]>,
) -> Result<Built, String> {
    let sides = match role {
        Role::Generator => generator_sides(&blocks, &assumptions.g_sides)?,
        Role::Discriminator => discriminator_sides(&blocks, &assumptions.d_sides, picture)?,
    };
    let flag = match role {
        Role::Generator => "--g-sides",
        Role::Discriminator => "--d-sides",
    };
    let places = Places::of(&blocks);
    let slope = match role {
        Role::Generator => assumptions.g_slope,
        Role::Discriminator => assumptions.d_slope,
    };
    let channels = blocks[0].from;
    let last = blocks.len() - 1;
    let mut layers: Vec<Layer> = Vec::new();
    let mut tensors = BTreeMap::new();
    for (i, block) in blocks.into_iter().enumerate() {
        places.skip_to(&mut layers, places.of_block(i));
        let mut put = |layers: &[Layer], own: &str, tensor: Tensor| {
            tensors.insert(format!("main.{}.{own}", layers.len()), tensor);
        };
        let (large, small) =
            if block.up { (sides[i + 1], sides[i]) } else { (sides[i], sides[i + 1]) };
        let kernel = block.kernel().unwrap_or(large);
        let spec = between(large, small, kernel).map_err(|what| {
            format!("{}: {what}; {flag} says which sizes its pictures have", block.key)
        })?;
        let layout = match (block.linear, role) {
            (false, _) => Layout::Conv,
            (true, Role::Generator) => Layout::Project,
            (true, Role::Discriminator) => Layout::Flatten,
        };
        let bias = block.bias.is_some();
        put(&layers, "weight", block.weight);
        if let Some(bias) = block.bias {
            put(&layers, "bias", bias);
        }
        let (weight, start) = (Weight::Plain, Start::default());
        layers.push(if block.up {
            let (large, small) = (block.to, block.from);
            Layer::ConvTranspose { spec, large, small, layout, bias, weight, start }
        } else {
            let (large, small) = (block.from, block.to);
            Layer::Conv { spec, large, small, layout, bias, weight, start }
        });
        let activation = Layer::LeakyRelu { slope };
        let Some(norm) = block.norm else {
            if i < last && places.room(&layers, places.of_block(i + 1)) {
                layers.push(activation);
            }
            continue;
        };
        let (norm_at, next) = (places.of_norm(i), places.of_block(i + 1));
        let late = places.norm_is_late(i);
        if late {
            layers.push(activation.clone());
        }
        places.skip_to(&mut layers, norm_at);
        let (layer, parts) = batch_norm(norm, block.to, sides[i + 1], assumptions)?;
        for (own, tensor) in parts {
            put(&layers, own, tensor);
        }
        layers.push(layer);
        if !late && places.room(&layers, next) {
            layers.push(activation);
        }
    }
    if role == Role::Generator {
        layers.push(match assumptions.pixels {
            Pixels::Signed => Layer::Tanh,
            Pixels::Unit => Layer::Sigmoid,
        });
    }
    let network = Sequential { layers };
    let input = [sides[0][0], sides[0][1], channels];
    let output = network.sizes(input)?.last().copied().unwrap_or(input);
    Ok(Built { network, input, output, tensors })
}

/// A layer's tensors by their own names.
type Parts = Vec<(&'static str, Tensor)>;

/// The layer of a norm and its tensors.
fn batch_norm(
    norm: Module,
    channels: usize,
    cells: [usize; 2],
    assumptions: &Assumptions,
) -> Result<(Layer, Parts), String> {
    let len = norm.norm_len();
    let Kind::Norm { affine, running } = norm.kind else { return Err("is no norm".into()) };
    let statistics = match (assumptions.statistics, &running) {
        (Some(Statistics::Batch), _) => Statistics::Batch,
        (_, Some(_)) => Statistics::Running,
        (Some(Statistics::Running), None) => {
            return Err(format!("{} has no running statistics to use", norm.key));
        }
        (None, None) => {
            return Err(format!(
                "{} has no running statistics: if it is a batch norm that always uses those of the \
                 batch, give --statistics batch",
                norm.key
            ));
        }
    };
    let [weight, bias] =
        affine.unwrap_or_else(|| [Tensor::full([len], 1.0), Tensor::full([len], 0.0)]);
    let mut parts = vec![("weight", weight), ("bias", bias)];
    if let (Some([mean, var]), Statistics::Running) = (running, statistics) {
        parts.extend([("running_mean", mean), ("running_var", var)]);
    }
    let cells = if len == channels { [1, 1] } else { cells };
    let eps = assumptions.eps.unwrap_or(BATCH_NORM_EPS);
    Ok((Layer::BatchNorm { channels, cells, eps, statistics }, parts))
}

/// Where layers stand in the file's own numbering.
struct Places {
    /// The number of each block's convolution and norm; empty where the names are no numbers, or
    /// activations have none.
    numbers: Vec<(usize, Option<usize>)>,
    /// Whether it is a linear layer, before which a picture is flattened.
    linear: Vec<bool>,
}

impl Places {
    fn of(blocks: &[Block]) -> Self {
        let number = |key: &str| {
            let (prefix, last) = key.rsplit_once('.').unwrap_or(("", key));
            Some((prefix.to_owned(), last.parse::<usize>().ok()?))
        };
        let mut numbers = Vec::new();
        let mut prefixes = Vec::new();
        for block in blocks {
            let Some((prefix, own)) = number(&block.key) else { return Self::none() };
            prefixes.push(prefix);
            let norm = match &block.norm {
                None => None,
                Some(norm) => match number(&norm.key) {
                    Some((prefix, at)) => {
                        prefixes.push(prefix);
                        Some(at)
                    }
                    None => return Self::none(),
                },
            };
            numbers.push((own, norm));
        }
        let all: Vec<usize> =
            numbers.iter().flat_map(|&(own, norm)| [Some(own), norm]).flatten().collect();
        let one = prefixes.windows(2).all(|pair| pair[0] == pair[1]);
        let rising = all.windows(2).all(|pair| pair[0] < pair[1]);
        // Numbers without a gap count no activations; large ones are no places.
        let gaps = all.windows(2).any(|pair| pair[1] > pair[0] + 1);
        let near = all.last().is_some_and(|&last| last < 16 * (all.len() + 1));
        let linear = blocks.iter().map(|block| block.linear).collect();
        if one && rising && gaps && near { Self { numbers, linear } } else { Self::none() }
    }

    const fn none() -> Self {
        Self { numbers: Vec::new(), linear: Vec::new() }
    }

    fn of_block(&self, i: usize) -> Option<usize> {
        self.numbers.get(i).map(|&(own, _)| own)
    }

    fn of_norm(&self, i: usize) -> Option<usize> {
        self.numbers.get(i).and_then(|&(_, norm)| norm)
    }

    /// Whether a layer without tensors stands between the convolution and its norm, and none
    /// between the norm and the next convolution, but what flattens: then it is the activation.
    fn norm_is_late(&self, i: usize) -> bool {
        match (self.numbers.get(i), self.of_block(i + 1)) {
            (Some(&(own, Some(norm))), Some(next)) => {
                norm > own + 1 && next - norm <= 1 + usize::from(self.linear[i + 1])
            }
            _ => false,
        }
    }

    /// Fills up to a place with layers that do nothing, such as dropout after training.
    fn skip_to(&self, layers: &mut Vec<Layer>, place: Option<usize>) {
        if let Some(place) = place {
            layers.resize(place.max(layers.len()), Layer::Identity);
        }
    }

    /// Whether an activation stands before `next`.
    fn room(&self, layers: &[Layer], next: Option<usize>) -> bool {
        next.is_none_or(|next| layers.len() < next)
    }
}

/// The sizes of a generator's pictures, from `[1, 1]` on.
fn generator_sides(blocks: &[Block], given: &[[usize; 2]]) -> Result<Vec<[usize; 2]>, String> {
    let mut sides = vec![[1, 1]];
    if !given.is_empty() {
        if given.len() != blocks.len() {
            return Err(format!(
                "has {} convolutions, so --g-sides wants as many sizes, not {}",
                blocks.len(),
                given.len()
            ));
        }
        sides.extend(given);
        return Ok(sides);
    }
    for (i, block) in blocks.iter().enumerate() {
        let before = sides[i];
        sides.push(match block.kernel() {
            None => {
                let pixels = block.weight.shape()[0] / block.to;
                let side = side(pixels).ok_or_else(|| {
                    format!(
                        "{} gives {pixels} pixels, which are no square: --g-sides says which \
                         sizes its pictures have",
                        block.key
                    )
                })?;
                [side, side]
            }
            Some(kernel) if i == 0 => kernel,
            Some(kernel) if block.up => kernel_steps(before, kernel, |k| k > 1),
            Some(kernel) => kernel_steps(before, kernel, |_| false),
        });
    }
    Ok(sides)
}

/// The sizes of a discriminator's pictures, the logit's last.
fn discriminator_sides(
    blocks: &[Block],
    given: &[[usize; 2]],
    picture: Option<[usize; 2]>,
) -> Result<Vec<[usize; 2]>, String> {
    if !given.is_empty() {
        if given.len() != blocks.len() + 1 {
            return Err(format!(
                "has {} convolutions, so --d-sides wants {} sizes, from the picture to the logit, \
                 not {}",
                blocks.len(),
                blocks.len() + 1,
                given.len()
            ));
        }
        return Ok(given.to_vec());
    }
    let (last, hidden) = match blocks.split_last() {
        Some(parts) => parts,
        None => return Err("holds no convolution".into()),
    };
    let base = match last.kernel() {
        Some(kernel) => kernel,
        None => {
            let pixels = last.weight.shape()[1] / last.from;
            let side = side(pixels).ok_or_else(|| {
                format!(
                    "{} takes {pixels} pixels, which are no square: --d-sides says which sizes its \
                     pictures have",
                    last.key
                )
            })?;
            [side, side]
        }
    };
    // A kernel of 3 keeps the size where others halve it; where all have 3, they halve it.
    let all_three = hidden.iter().all(|block| block.kernel() == Some([3, 3]));
    let walk = |three: bool| {
        let mut sides = vec![[1, 1], base];
        for block in hidden.iter().rev() {
            let at = sides[sides.len() - 1];
            let kernel = block.kernel().unwrap_or([1, 1]);
            sides.push(kernel_steps(at, kernel, |k| k > 1 && (k != 3 || three)));
        }
        sides.reverse();
        sides
    };
    let usual = walk(all_three);
    let other = walk(!all_three);
    Ok(if picture == Some(other[0]) { other } else { usual })
}

/// The size after a step along each axis: doubled, or kept.
fn kernel_steps(
    from: [usize; 2],
    kernel: [usize; 2],
    doubles: impl Fn(usize) -> bool,
) -> [usize; 2] {
    [0, 1].map(|axis| from[axis].saturating_mul(if doubles(kernel[axis]) { 2 } else { 1 }))
}

/// The convolution from pictures of size `large` to `small` with the least padding, and the least
/// of PyTorch's `output_padding`, that there is.
fn between(large: [usize; 2], small: [usize; 2], kernel: [usize; 2]) -> Result<ConvSpec, String> {
    let mut stride = [1; 2];
    let mut pad = [0; 2];
    for axis in 0..2 {
        let (l, s, k) = (large[axis], small[axis], kernel[axis]);
        let fail = || format!("no kernel of {k} goes from {l} to {s} pixels");
        let in_use = |x: usize| (1..=1 << 12).contains(&x);
        if !(in_use(l) && in_use(s) && in_use(k)) || s > l {
            return Err(fail());
        }
        // One output needs no stride; others as much as the sizes' ratio, rounded.
        let step = if s == 1 { 1 } else { (2 * l + s) / (2 * s) };
        let covered = (s - 1) * step + k;
        // l + 2 p − k = (s − 1) step + rest, 0 ≤ rest < step
        let found = (0..step).find_map(|rest| {
            let twice = (covered + rest).checked_sub(l)?;
            (twice % 2 == 0 && twice / 2 < k).then_some(twice / 2)
        });
        stride[axis] = step;
        pad[axis] = found.ok_or_else(fail)?;
    }
    let spec = ConvSpec::down(large, kernel, stride, pad)?;
    if spec.small == small { Ok(spec) } else { Err(format!("{large:?} does not become {small:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_decide_stride_and_padding() {
        let cases = [
            // large, small, kernel, stride, pad
            (64, 32, 4, 2, 1),
            (64, 32, 5, 2, 2),
            (64, 32, 3, 2, 1),
            (64, 32, 2, 2, 0),
            (64, 32, 6, 2, 2),
            (64, 32, 1, 2, 0),
            (4, 1, 4, 1, 0),
            (7, 1, 7, 1, 0),
            (7, 4, 3, 2, 1),
            (14, 14, 3, 1, 1),
            (14, 14, 5, 1, 2),
            (9, 4, 3, 2, 0),
            (30, 10, 5, 3, 1),
        ];
        for (large, small, k, stride, pad) in cases {
            let spec = between([large; 2], [small; 2], [k; 2]).expect("a usual convolution");
            assert_eq!((spec.stride, spec.pad), ([stride; 2], [pad; 2]), "{large} {small} {k}");
        }
        for (large, small, k) in [(64, 65, 3), (14, 14, 4), (0, 0, 3), (9, 0, 3)] {
            assert!(between([large; 2], [small; 2], [k; 2]).is_err(), "{large} {small} {k}");
        }
    }
}
