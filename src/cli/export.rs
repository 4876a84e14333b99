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
  dcgan export runs/00000-dcgan-avatars-64 --to safetensors --out netG.safetensors
  dcgan export model.safetensors --network discriminator --to pth --out netD.pth
  dcgan export model.safetensors --to onnx --out generator.onnx

In Python, with the classes of PyTorch's DCGAN example:
  netG.load_state_dict(safetensors.torch.load_file(\"netG.safetensors\"))
  netD.load_state_dict(torch.load(\"netD.pth\"))";

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
    /// A run's folder (its newest checkpoint), a checkpoint, or an imported model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// safetensors and pth: a state dict with PyTorch's names and layouts; onnx: a self-contained
    /// graph (operator set 13)
    #[arg(long, value_enum, hide_possible_values = true, value_name = "safetensors|pth|onnx")]
    to: Format,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which network; in ONNX, a discriminator outputs a logit and the paper's features, an
    /// encoder a latent, or its mean and log-variance
    #[arg(
        long,
        value_enum,
        default_value_t = Network::Generator,
        hide_possible_values = true,
        value_name = "generator|discriminator|encoder"
    )]
    network: Network,
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
        let role = match self.network {
            Network::Generator => Role::Generator,
            Network::Discriminator => Role::Discriminator,
            Network::Encoder => Role::Encoder,
        };
        export::Export::of(&model, role, Weights::raw(self.raw))?.save(&self.out, self.to)?;
        println(&format!(
            "wrote the {} of {} to {}",
            role.name(),
            path.display(),
            self.out.display()
        ))
    }
}
