//! Layers with all that is known about them, to build a network from: the common result of shapes
//! and names ([`super::places`]), of layers specified by the user ([`super::spelled`]) and of
//! graphs ([`super::graph`]).

use std::collections::BTreeMap;

use crate::model::Pixels;
use crate::nn::{
    BATCH_NORM_EPS, BatchNorm, Conv, ConvTranspose, Layer, Layout, Parametrization, Sequential,
    Statistics, WeightInit,
};
use crate::tensor::Tensor;

use super::architecture::Assumptions;
use super::chain::Block;
use super::modules::{Kind, Module};
use super::roles::Role;
use super::sizes::{self, Sizes};

/// A layer.
#[derive(Debug)]
pub(super) enum Item {
    /// A convolution or linear layer.
    Weights(Box<Block>),
    /// A batch norm of the output before it.
    Norm(Norm),
    /// A layer without tensors.
    Plain(Layer),
}

/// A batch norm.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) module: Module,
    /// Added to the variance; `None` for the assumed value.
    pub(super) eps: Option<f32>,
    /// What it normalizes by; `None` for the assumed choice.
    pub(super) statistics: Option<Statistics>,
}

impl Norm {
    pub(super) fn of(module: Module) -> Self {
        Self { module, eps: None, statistics: None }
    }
}

/// A network with its tensors, named as in files but without the network's own name.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) network: Sequential,
    /// Its input: `[1, 1, nz]`, or the image.
    pub(super) input: [usize; 3],
    /// Its output.
    pub(super) output: [usize; 3],
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// What was assumed that names and shapes do not show, as text.
    pub(super) assumed: Vec<String>,
}

/// What is known of a network besides its layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) role: Role,
    pub(super) assumptions: &'a Assumptions,
    /// Height and width of a discriminator's input images, if known.
    pub(super) image: Option<[usize; 2]>,
    /// Whether the weights are the authors', whose convolutions all double or halve.
    pub(super) authors: bool,
}

impl Context<'_> {
    /// The flag for the sizes of images.
    pub(super) fn sides_flag(&self) -> &'static str {
        match self.role {
            Role::Generator => "--g-sides",
            Role::Discriminator => "--d-sides",
        }
    }

    /// The flag for the layers.
    pub(super) fn layers_flag(&self) -> &'static str {
        match self.role {
            Role::Generator => "--g-layers",
            Role::Discriminator => "--d-layers",
        }
    }
}

/// Builds a network from layers.
///
/// # Errors
/// A message that names the flag that decides, if something is ambiguous.
pub(super) fn build(items: Vec<Item>, context: Context<'_>) -> Result<Built, String> {
    let Context { role, assumptions, .. } = context;
    let Sizes { input: cells, around, specs } = sizes::resolve(&items, context)?;
    let first = items.iter().find_map(|item| match item {
        Item::Weights(block) => Some(block.from),
        _ => None,
    });
    let mut channels = first.ok_or("holds no convolution")?;
    let input = [cells[0], cells[1], channels];
    let mut layers: Vec<Layer> = Vec::new();
    let mut tensors = BTreeMap::new();
    let mut put = |at: usize, own: &str, tensor: Tensor| {
        tensors.insert(format!("main.{at}.{own}"), tensor);
    };
    for ((item, [_, after]), spec) in items.into_iter().zip(around).zip(specs) {
        let at = layers.len();
        layers.push(match item {
            Item::Weights(block) => {
                let layout = match (block.linear, role) {
                    (false, _) => Layout::Conv,
                    (true, Role::Generator) => Layout::Project,
                    (true, Role::Discriminator) => Layout::Flatten,
                };
                let (weight, start) = (Parametrization::Plain, WeightInit::default());
                let bias = block.bias.is_some();
                put(at, "weight", block.weight);
                if let Some(bias) = block.bias {
                    put(at, "bias", bias);
                }
                channels = block.to;
                let spec = spec.ok_or("has a convolution without a size")?;
                if block.up {
                    let (large, small) = (block.to, block.from);
                    Layer::ConvTranspose(ConvTranspose {
                        spec,
                        large,
                        small,
                        layout,
                        bias,
                        weight,
                        start,
                    })
                } else {
                    let (large, small) = (block.from, block.to);
                    Layer::Conv(Conv { spec, large, small, layout, bias, weight, start })
                }
            }
            Item::Norm(norm) => {
                let (layer, parts) = batch_norm(norm, channels, after, assumptions)?;
                for (own, tensor) in parts {
                    put(at, own, tensor);
                }
                layer
            }
            Item::Plain(layer) => layer,
        });
    }
    let ends = matches!(layers.last(), Some(Layer::Tanh | Layer::Sigmoid));
    if role == Role::Generator && !ends {
        layers.push(match assumptions.pixels {
            Pixels::Signed => Layer::Tanh,
            Pixels::Unit => Layer::Sigmoid,
        });
    }
    let network = Sequential { layers };
    let output = network.sizes(input)?.last().copied().unwrap_or(input);
    for param in network.params("") {
        let name = param.name.trim_start_matches('.');
        let wanted = param.layout.file_shape(&param.shape);
        let has = tensors.get(name).map(Tensor::shape);
        if has != Some(&wanted) {
            return Err(format!(
                "{name} has shape {:?}, and images of these sizes need {wanted:?}; {} says which \
                 they have",
                has.unwrap_or_default(),
                context.sides_flag()
            ));
        }
    }
    Ok(Built { network, input, output, tensors, assumed: Vec::new() })
}

/// A layer's tensors, by their names within the layer.
type Parts = Vec<(&'static str, Tensor)>;

/// The layer of a norm and its tensors, for inputs of `channels` and `cells`.
fn batch_norm(
    norm: Norm,
    channels: usize,
    cells: [usize; 2],
    assumptions: &Assumptions,
) -> Result<(Layer, Parts), String> {
    let Norm { module, eps, statistics } = norm;
    let len = module.norm_len();
    let key = module.key;
    let Kind::Norm { affine, running } = module.kind else { return Err("is not a norm".into()) };
    let cells_len = cells[0].checked_mul(cells[1]).and_then(|cells| cells.checked_mul(channels));
    if len != channels && Some(len) != cells_len {
        return Err(format!(
            "{key} normalizes {len} channels, and the layer before it gives {channels}"
        ));
    }
    let statistics = match (statistics.or(assumptions.statistics), &running) {
        (Some(Statistics::Batch), _) => Statistics::Batch,
        (_, Some(_)) => Statistics::Running,
        (Some(Statistics::Running), None) => {
            return Err(format!("{key} has no running statistics to use"));
        }
        (None, None) => {
            return Err(format!(
                "{key} has no running statistics: if it is a batch norm that always uses those of \
                 the batch, give --statistics batch"
            ));
        }
    };
    let [weight, bias] =
        affine.unwrap_or_else(|| [Tensor::full([len], 1.0), Tensor::full([len], 0.0)]);
    let mut parts = vec![("weight", weight), ("bias", bias)];
    if let (Some([mean, var]), Statistics::Running) = (running, statistics) {
        if let Some(i) = var.f32s().iter().position(|&x| x < 0.0) {
            return Err(format!(
                "number {i} of the running variance of {key} is negative: the network is unusable"
            ));
        }
        parts.extend([("running_mean", mean), ("running_var", var)]);
    }
    let cells = if len == channels { [1, 1] } else { cells };
    let eps = eps.or(assumptions.eps).unwrap_or(BATCH_NORM_EPS);
    Ok((Layer::BatchNorm(BatchNorm { channels, cells, eps, statistics, affine: true }), parts))
}
