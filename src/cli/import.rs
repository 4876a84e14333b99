//! `dcgan import`: converts networks of other programs to a model file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::human;
use crate::model;
use crate::model::{Networks, Pixels, save_imported};
use crate::models::LatentDistribution;
use crate::nn::{BatchNorm, Conv, ConvTranspose, Layer, Sequential, Statistics};
use crate::shell::quoted;
use crate::weights::{self, Assumptions, Imported, Role, Said, Spelled};

use super::output::print;

/// The output activation of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Tanh: black is -1.
    Tanh,
    /// A sigmoid: black is 0.
    Sigmoid,
}

const EXAMPLES: &str = "\
Examples:
  dcgan import netG_epoch_24.pth netD_epoch_24.pth --out model.safetensors
  dcgan import checkpoint.tar --out model.safetensors   # with \"netG_state_dict\" or the like in it
  dcgan import svhn-authors/ --out svhn.safetensors     # the .npy files of DCGAN's authors
  dcgan import generator.onnx --out model.safetensors   # says every layer
  dcgan import g.pth --out model.safetensors --g-layers \\
    linear,norm,upsample,conv,norm:0.8,leaky:0.2,upsample,conv,norm:0.8,leaky:0.2,conv,tanh
  dcgan sample model.safetensors --grid grid.png";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(super) struct Import {
    /// A generator, a discriminator, or both: PyTorch state dicts (.safetensors, or .pth, .pt or
    /// .tar of torch.save, whose code is not executed); or ONNX graphs, which describe every layer;
    /// or the .npy files of DCGAN's authors, or their folder
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The model file to write
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Prefix of the generator's tensor names in a file [default: detected from names and
    /// shapes]
    #[arg(long, value_name = "NAME")]
    generator: Option<String>,
    /// The same for the discriminator
    #[arg(long, value_name = "NAME")]
    discriminator: Option<String>,
    #[command(flatten)]
    unsaid: Unsaid,
}

/// Options that shapes do not determine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Not determined by shapes")]
struct Unsaid {
    /// Latent distribution: normal, or uniform in [-1, 1]
    #[arg(
        long,
        alias = "latent-law",
        value_enum,
        default_value_t = LatentDistribution::Normal,
        hide_possible_values = true,
        value_name = "normal|uniform"
    )]
    latent_distribution: LatentDistribution,
    /// Slope of the negative half of the generator's activations; 0 is ReLU
    #[arg(
        long,
        default_value_t = 0.0,
        value_parser = slope,
        value_name = "SLOPE"
    )]
    g_slope: f32,
    /// The same for the discriminator's leaky ReLU
    #[arg(
        long,
        default_value_t = 0.2,
        value_parser = slope,
        value_name = "SLOPE"
    )]
    d_slope: f32,
    /// Output activation of the generator: tanh (black is -1) or sigmoid (black is 0)
    #[arg(
        long,
        value_enum,
        default_value_t = Output::Tanh,
        hide_possible_values = true,
        value_name = "tanh|sigmoid"
    )]
    output: Output,
    /// Batch norm's epsilon [default: 1e-5; the authors' files: 1e-8]
    #[arg(
        long,
        value_parser = slope,
        value_name = "NUMBER"
    )]
    eps: Option<f32>,
    /// Statistics used by batch norm: running, or always those of the current batch
    /// [default: running; the authors' files: batch]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "running|batch")]
    statistics: Option<Statistics>,
    /// The generator's layers in the order of its source: linear, conv, deconv (a
    /// transposed convolution), norm, relu, leaky:SLOPE, tanh, sigmoid, upsample (nearest, twice the
    /// size), dropout, reshape; conv:STRIDE:PADDING, deconv:STRIDE:PADDING:OUTPUT_PADDING and norm:EPS
    /// add details, conv=NAME names the layer in the file [default: from names and shapes]
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    g_layers: Vec<Spelled>,
    /// The same for the discriminator, with pool for the mean of 2x2 pixels
    #[arg(long, value_delimiter = ',', value_name = "LAYERS")]
    d_layers: Vec<Spelled>,
    /// The generator's feature map sizes after each convolution, such as 4,8,16,32 or 6x4,12x8
    /// [default: the first kernel's, then doubled by each transposed convolution whose kernel is even]
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = side,
        value_name = "SIZES"
    )]
    g_sides: Vec<[usize; 2]>,
    /// The discriminator's feature map sizes, from input to logit, such as 32,16,8,4,1 [default:
    /// halved by each convolution down to the last one's kernel]
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = side,
        value_name = "SIZES"
    )]
    d_sides: Vec<[usize; 2]>,
}

/// A number that is not negative.
fn slope(text: &str) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number that is not negative is needed".into()),
    }
}

/// `4`, or height x width.
fn side(text: &str) -> std::result::Result<[usize; 2], String> {
    let number = |s: &str| s.trim().parse::<usize>().ok().filter(|s| (1..=4096).contains(s));
    let side = match text.split_once(['x', 'X', '×']) {
        Some((h, w)) => number(h).zip(number(w)),
        None => number(text).map(|s| (s, s)),
    };
    side.map(Into::into).ok_or_else(|| format!("{text:?} is not a size such as 8 or 12x8"))
}

impl Unsaid {
    fn assumptions(&self) -> Assumptions {
        Assumptions {
            latent_distribution: self.latent_distribution,
            g_slope: self.g_slope,
            d_slope: self.d_slope,
            eps: self.eps,
            statistics: self.statistics,
            pixels: match self.output {
                Output::Tanh => Pixels::Signed,
                Output::Sigmoid => Pixels::Unit,
            },
            g_layers: self.g_layers.clone(),
            d_layers: self.d_layers.clone(),
            g_sides: self.g_sides.clone(),
            d_sides: self.d_sides.clone(),
        }
    }
}

impl Import {
    pub(super) fn run(&self) -> Result<()> {
        if !self.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors")) {
            let what =
                format!("{} is not a model's name such as model.safetensors", self.out.display());
            return Err(Error::flag("--out", what));
        }
        if let Some(file) = self.files.iter().find(|file| same_file(file, &self.out)) {
            let what = format!("{} is also an input; give the model another name", file.display());
            return Err(Error::flag("--out", what));
        }
        let assumptions = self.unsaid.assumptions();
        let keys = [
            (Role::Generator, self.generator.as_deref()),
            (Role::Discriminator, self.discriminator.as_deref()),
        ];
        let keys: Vec<_> = keys.into_iter().filter_map(|(role, key)| Some((role, key?))).collect();
        let imported = weights::import(&self.files, &keys, &assumptions)?;
        let source = imported.sources.join("; ");
        save_imported(&self.out, &imported.networks, &imported.tensors, &source)?;
        print(&report(&imported, &assumptions))?;
        let path = self.out.display();
        print(&match imported.networks.has(model::Role::Generator) {
            true => {
                let model = quoted(&self.out);
                format!("wrote {path}; make images with: dcgan sample {model}\n")
            }
            false => format!("wrote {path}, a discriminator alone\n"),
        })
    }
}

fn same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What was found, and what was assumed.
fn report(imported: &Imported, assumptions: &Assumptions) -> String {
    let Networks { nz, size, channels, .. } = imported.networks;
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (name, net) in imported.networks.iter() {
        let latents = net.role.takes_latents();
        let input = if latents { [1, 1, nz] } else { [size.height, size.width, channels] };
        lines.push((name, summary(&net.network, input, name)));
    }
    lines.extend(imported.sources.iter().map(|source| ("source", source.clone())));
    lines.extend(imported.left_out.iter().map(|part| ("left out", part.clone())));
    let assumed = assumed(imported, assumptions);
    lines.push(match (imported.said, assumed.is_empty()) {
        (Said::Everything, _) => ("assumed", "nothing: the file describes its network".into()),
        (_, true) => ("assumed", "nothing".into()),
        (_, false) => ("assumed", assumed.join(", ")),
    });
    lines.into_iter().map(|(what, text)| format!("{what:<14} {text}\n")).collect()
}

/// What was assumed, with the flags that change it.
fn assumed(imported: &Imported, assumptions: &Assumptions) -> Vec<String> {
    let Networks { latent_distribution, pixels, .. } = &imported.networks;
    let has = |role| imported.networks.has(role);
    let mut assumed = Vec::new();
    if has(model::Role::Generator) {
        assumed.push(format!("{latent_distribution} latents (--latent-distribution)"));
    }
    if imported.said != Said::Shapes {
        return assumed;
    }
    let guessed = [
        has(model::Role::Generator) && assumptions.g_layers.is_empty(),
        has(model::Role::Discriminator) && assumptions.d_layers.is_empty(),
    ];
    if guessed[0] {
        assumed.push(match assumptions.g_slope {
            0.0 => "ReLU in the generator (--g-slope)".into(),
            slope => format!("leaky ReLU {slope} in the generator (--g-slope)"),
        });
        assumed.push(match pixels {
            Pixels::Signed => "tanh at its end (--output)".into(),
            Pixels::Unit => "a sigmoid at its end (--output)".into(),
        });
    }
    if guessed[1] {
        let slope = assumptions.d_slope;
        assumed.push(format!("leaky ReLU {slope} in the discriminator (--d-slope)"));
    }
    if let Some((eps, _)) = norms(&imported.networks).next() {
        assumed.push(format!("batch norm's epsilon {eps:e} (--eps)"));
    }
    let sides = [
        (guessed[0] && assumptions.g_sides.is_empty()).then_some("--g-sides, --g-layers"),
        (guessed[1] && assumptions.d_sides.is_empty()).then_some("--d-sides, --d-layers"),
    ];
    let sides: Vec<&str> = sides.into_iter().flatten().collect();
    if !sides.is_empty() {
        assumed.push(format!("the usual strides and paddings ({})", sides.join(", ")));
    }
    assumed.extend(imported.assumed.iter().cloned());
    assumed
}

/// ε and statistics of all batch norms.
fn norms(networks: &Networks) -> impl Iterator<Item = (f32, Statistics)> {
    networks.iter().flat_map(|(_, net)| &net.network.layers).filter_map(|layer| match *layer {
        Layer::BatchNorm(BatchNorm { eps, statistics, .. }) => Some((eps, statistics)),
        _ => None,
    })
}

/// `100 → 4x4x512 → …`, and what its layers are like.
fn summary(network: &Sequential, input: [usize; 3], name: &str) -> String {
    let show = |[h, w, c]: [usize; 3]| match [h, w] {
        [1, 1] => c.to_string(),
        _ => format!("{h}x{w}x{c}"),
    };
    let mut images = vec![show(input)];
    let mut kernels = Vec::new();
    let mut extras = Vec::new();
    let mut extra = |text: &str| {
        if !extras.iter().any(|known| known == text) {
            extras.push(text.to_owned());
        }
    };
    // Checked when it was built: an inconsistent network has no sizes to show.
    let sizes = network.sizes(input).unwrap_or_default();
    for (layer, &size) in network.layers.iter().zip(&sizes) {
        match *layer {
            Layer::Conv(Conv { spec, bias, .. })
            | Layer::ConvTranspose(ConvTranspose { spec, bias, .. }) => {
                images.push(show(size));
                let [h, w] = spec.kernel;
                let kernel = if h == w { h.to_string() } else { format!("{h}x{w}") };
                if kernels.last() != Some(&kernel) {
                    kernels.push(kernel);
                }
                if bias {
                    extra("biases");
                }
            }
            Layer::BatchNorm(BatchNorm { statistics: Statistics::Running, .. }) => {
                extra("batch norm");
            }
            Layer::BatchNorm(BatchNorm { statistics: Statistics::Batch, .. }) => {
                extra("batch norm by each batch's own statistics");
            }
            _ => {}
        }
    }
    let params = network.params(name);
    let numbers = params.iter().filter(|p| p.learned).map(|p| p.shape.iter().product::<usize>());
    let extras: String = extras.iter().map(|extra| format!(", {extra}")).collect();
    format!(
        "{}; kernels {}{extras}; {} parameters",
        images.join(" → "),
        kernels.join(", "),
        human::count(numbers.sum::<usize>() as u64)
    )
}
