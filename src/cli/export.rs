//! `dcgan export`: a network of a model, for other programs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::data::{Crop, Source};
use crate::error::{Error, Result};
use crate::files;
use crate::human;
use crate::model::{BUNDLED, Folder, ModelFile, Role, Weights};
use crate::train::options::RunOptions;
use crate::web::{self, Direction, Encoding, MOST_IMAGE_BYTES, Page, TrainingPage, TrainingSet};
use crate::weights::export::{self, Format};

use super::latents::{open_images, open_model, read_latents};
use super::output::println;
use super::train::Train;

const EXAMPLES: &str = "\
Examples:
  dcgan export runs/00000-fast-avatars-64 --to model --out avatars.safetensors
  dcgan export runs/00000-fast-avatars-64 --to safetensors --out netG.safetensors
  dcgan export model.safetensors --network discriminator --to pth --out netD.pth
  dcgan export model.safetensors --to onnx --out generator.onnx
  dcgan export avatars --to html --out avatars.html
  dcgan export model.safetensors --to html --out faces.html --title Faces --direction smile=smile.npy

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
    Html,
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
    /// one; with --train a run's folder, whose training the page does from its beginning
    #[arg(value_name = "MODEL", required_unless_present = "train")]
    model: Option<PathBuf>,
    /// model: all networks, weights in 16 bits, for this program, a tenth of the size of a
    /// checkpoint; safetensors and pth: a state dict with PyTorch's names and layouts; onnx: a
    /// self-contained graph (operator set 13), of all networks that make images, with classes or texts as
    /// a second input; html: a web page of one file, on which anyone can make images by WebGPU or on
    /// the CPU
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "model|safetensors|pth|onnx|html"
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
    /// The heading of a page [default: the size of its images]
    #[arg(long, value_name = "TEXT", help_heading = "Pages")]
    title: Option<String>,
    /// How a page stores weights: f16 changes one byte in seventy of an image by one level; i8 halves the
    /// page, and is a few levels off; f32 doubles it [default: f16]
    #[arg(
        long = "weights",
        value_enum,
        value_name = "f32|f16|i8",
        hide_possible_values = true,
        help_heading = "Pages"
    )]
    encoding: Option<Encoding>,
    /// A slider of a page: a name, and a NumPy file with the latent that a step of one adds, such as a
    /// result of dcgan arithmetic. Repeat it for more; principal directions follow
    #[arg(long, value_name = "NAME=FILE", help_heading = "Pages")]
    direction: Vec<String>,
    /// A page that trains, in place of one that makes images: on the images of DATA, or those of the run
    /// MODEL, or bundled avatars. Options of dcgan train follow after -- (without MODEL), such as
    /// -- --preset acgan --size 48 [default: --size 32]
    #[arg(long, value_name = "DATA", num_args = 0..=1, help_heading = "Pages")]
    train: Option<Option<PathBuf>>,
    /// Images that a page trains on: the first COUNT of the set [default: all, at most 100 MB of pixels]
    #[arg(long, value_name = "COUNT", requires = "train", help_heading = "Pages",
          value_parser = crate::human::parse_count)]
    train_images: Option<u64>,
    /// Options of dcgan train
    #[arg(last = true, value_name = "OPTIONS", requires = "train", help_heading = "Pages")]
    options: Vec<String>,
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        self.check_page()?;
        if let Some(data) = &self.train {
            return self.training_page(data.as_deref());
        }
        let path = self.model.as_deref().unwrap_or(Path::new(BUNDLED));
        let model = match self.to {
            Target::Onnx | Target::Html => open_images(path)?,
            _ => open_model(path)?,
        };
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
            Target::Html => return self.page(&model, wanted),
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

    /// Refuses flags of pages for other formats, and the reverse.
    fn check_page(&self) -> Result<()> {
        let of_pages = [
            ("--title", self.title.is_some()),
            ("--weights", self.encoding.is_some()),
            ("--direction", !self.direction.is_empty()),
            ("--train", self.train.is_some()),
        ];
        let given = of_pages.into_iter().find(|(_, given)| *given);
        match (self.to, given) {
            (Target::Html, _) if self.network.is_some() => {
                let what = "a page has all networks that make images: leave it out with --to html";
                Err(Error::flag("--network", what))
            }
            (Target::Html, _) | (_, None) => Ok(()),
            (_, Some((flag, _))) => Err(Error::flag(flag, "is for pages: add --to html")),
        }
    }

    /// Writes a page that trains.
    fn training_page(&self, data: Option<&Path>) -> Result<()> {
        let of_images = [
            ("--weights", self.encoding.is_some()),
            ("--direction", !self.direction.is_empty()),
            ("--raw", self.raw),
        ];
        if let Some((flag, _)) = of_images.into_iter().find(|(_, given)| *given) {
            let what = "is for pages that make images of a model: leave it out with --train";
            return Err(Error::flag(flag, what));
        }
        let (options, source) = match &self.model {
            Some(_) if !self.options.is_empty() => {
                let what = "has its own options: leave out those after --, or MODEL";
                return Err(Error::flag("MODEL", what));
            }
            Some(run) => {
                if !run.is_dir() {
                    let what = "is no run's folder, whose options the page would train by: leave it \
                                out, and give options of dcgan train after --";
                    return Err(Error::file(run, what));
                }
                let options: RunOptions = Folder::open(run)?.options()?;
                let data = data.map(Path::to_owned).or_else(|| options.data.clone());
                let source = Source::open_as(data.as_deref(), &options.data_reading)?;
                (options, Arc::new(source))
            }
            None => {
                let mut words = self.options.clone();
                if !words.iter().any(|word| word == "--size" || word.starts_with("--size=")) {
                    words.extend(["--size".into(), "32".into()]);
                }
                Train::planned(data, &words)?
            }
        };
        let set = training_set(&options, &source, self.train_images)?;
        let html = TrainingPage::of(&options.config, &set, self.title.as_deref())?.html()?;
        let count = human::counted(set.len(&options.config) as u64, "image");
        self.write_page(&html, &format!("trains on {count}"))
    }

    /// Writes a page that makes images.
    fn page(&self, model: &ModelFile, weights: Weights) -> Result<()> {
        let directions = self.direction.iter().map(|text| named_direction(text, model.networks.nz));
        let options = web::Options {
            title: self.title.clone(),
            encoding: self.encoding.unwrap_or_default(),
            weights,
            directions: directions.collect::<Result<_>>()?,
        };
        let html = Page::of(model, &options)?.html()?;
        self.write_page(&html, &format!("makes images of {}", model.path.display()))
    }

    fn write_page(&self, html: &str, does: &str) -> Result<()> {
        files::write_bytes(&self.out, html.as_bytes())?;
        let (out, size) = (self.out.display(), human::bytes(html.len() as u64));
        println(&format!("wrote a page that {does} to {out} ({size})"))
    }
}

/// The images that a page trains on: the first `most` of the set, prepared.
fn training_set(options: &RunOptions, source: &Source, most: Option<u64>) -> Result<TrainingSet> {
    let RunOptions { prepare, config, .. } = options;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let count = source.len().min(most);
    let bytes = count.saturating_mul(prepare.len());
    if bytes > MOST_IMAGE_BYTES {
        let fits = MOST_IMAGE_BYTES / prepare.len().max(1);
        let what = format!("a page holds at most {fits} of these images: --train-images {fits}");
        return Err(Error::flag("--train", what));
    }
    if prepare.crop == Crop::Random {
        let what = "random would crop each image once and for all: a page takes center or none";
        return Err(Error::flag("--crop", what));
    }
    let mut images = Vec::with_capacity(bytes);
    let mut labels = Vec::new();
    for item in 0..count {
        let read = source.prepared(item, prepare).map_err(|what| {
            Error::file(source.origin(), format!("{} {what}", source.item_name(item)))
        })?;
        images.extend(read);
        if config.model.classes > 0 {
            labels.extend(source.labels().map(|labels| labels[item]));
        }
    }
    Ok(TrainingSet { images, labels, flip: prepare.flip })
}

/// A direction as typed: `NAME=FILE`.
fn named_direction(text: &str, nz: usize) -> Result<Direction> {
    let fail = |what: String| Error::flag("--direction", what);
    let (name, file) = match text.split_once('=') {
        Some((name, file)) if !name.trim().is_empty() && !file.is_empty() => (name.trim(), file),
        _ => return Err(fail(format!("{text:?} is no NAME=FILE, such as smile=smile.npy"))),
    };
    let rows = read_latents(file.as_ref(), nz, "--direction")?;
    match rows.shape() {
        [1, _] => Ok(Direction { name: name.to_owned(), vector: rows.f32s().to_vec() }),
        shape => Err(fail(format!("{file} has {} latents, and a direction is one", shape[0]))),
    }
}
