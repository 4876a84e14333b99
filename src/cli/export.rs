//! `dcgan export`: a network of a model, for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::model::{Role, Weights};
use crate::weights::export::{self, Format};

use super::latents::open_model;
use super::output::println;

const EXAMPLES: &str = "\
Examples:
  dcgan export runs/00000-fast-avatars-64 --to model --out avatars.safetensors
  dcgan export runs/00000-fast-avatars-64 --to safetensors --out netG.safetensors
  dcgan export model.safetensors --network discriminator --to pth --out netD.pth
  dcgan export model.safetensors --to onnx --out generator.onnx

In Python, with the classes of PyTorch's DCGAN example:
  netG.load_state_dict(safetensors.torch.load_file(\"netG.safetensors\"))
  netD.load_state_dict(torch.load(\"netD.pth\"))";

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    Model,
    Safetensors,
    Pth,
    Onnx,
}

/// Which network to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    Generator,
    Discriminator,
    Encoder,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// model: all networks, weights in 16 bits, for this program, a tenth of the size of a
    /// checkpoint; safetensors and pth: a state dict with PyTorch's names and layouts; onnx: a
    /// self-contained graph (operator set 13), of all networks that make images, with classes or texts as
    /// a second input
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "model|safetensors|pth|onnx"
    )]
    to: Target,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which network; in ONNX, a discriminator outputs a logit and the paper's features, an
    /// encoder a latent, or its mean and log-variance [default: generator]
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "generator|discriminator|encoder"
    )]
    network: Option<Network>,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        let model = open_model(&self.model)?;
        let path = &model.path;
        if path.canonicalize().is_ok_and(|path| Ok(path) == self.out.canonicalize().map_err(drop)) {
            let what = format!("{} is the model itself; give another name", self.out.display());
            return Err(Error::flag("--out", what));
        }
        let wanted = Weights::raw(self.raw);
        let format = match self.to {
            Target::Safetensors => Format::Safetensors,
            Target::Pth => Format::Pth,
            Target::Onnx => Format::Onnx,
            Target::Model if self.network.is_some() => {
                let what = "a model file has all networks: leave it out with --to model";
                return Err(Error::flag("--network", what));
            }
            Target::Model => {
                model.save_compact(&self.out, wanted)?;
                return println(&format!(
                    "wrote the networks of {} to {}",
                    path.display(),
                    self.out.display()
                ));
            }
        };
        let role = match self.network.unwrap_or(Network::Generator) {
            Network::Generator => Role::Generator,
            Network::Discriminator => Role::Discriminator,
            Network::Encoder => Role::Encoder,
        };
        if format == Format::Onnx && role == Role::Generator && export::has_pipeline(&model) {
            export::save_pipeline(&model, wanted, &self.out)?;
        } else {
            export::Export::of(&model, role, wanted)?.save(&self.out, format)?;
        }
        println(&format!(
            "wrote the {} of {} to {}",
            role.name(),
            path.display(),
            self.out.display()
        ))
    }
}
