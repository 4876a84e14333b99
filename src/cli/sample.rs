//! `dcgan sample`: pictures from a trained generator.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use npyz::WriterBuilder;
use rayon::prelude::*;

use crate::device::{Device, State};
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use crate::models::Networks;
use crate::models::dcgan::LatentLaw;
use crate::pictures::Grid;
use crate::program::tune::Effort;
use crate::sample::{BATCH, Sampler};
use crate::tensor::Tensor;
use crate::train::folder;
use crate::train::model_file::ModelFile;
use crate::train::step::seeded_latents;
use crate::{files, pictures};

use super::flags::DeviceFlag;
use super::latents::read_latents;
use super::seeds::Seeds;
use super::tuning;

/// How pictures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One PNG for each seed, seed0004.png.
    Png,
    /// One samples.npy: float32 [n, h, w, c] in [-1, 1].
    Npy,
}

#[derive(Debug, Args)]
pub(super) struct Sample {
    /// A run's folder (its newest checkpoint is taken), a checkpoint, or an imported model
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Which pictures: a seed always makes the same one
    #[arg(
        long,
        default_value = "0-63",
        value_name = "LIST",
        conflicts_with = "latents",
        allow_hyphen_values = true
    )]
    seeds: Seeds,
    /// Latents from a file instead of seeds: float32 [n, nz]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
    /// Folder for the pictures
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "samples",
        default_value_if("grid", clap::builder::ArgPredicate::IsPresent, None)
    )]
    out: Option<PathBuf>,
    /// How pictures are written to --out
    #[arg(long, value_enum, default_value_t = Format::Png)]
    format: Format,
    /// All pictures as one PNG (and, without --out, nothing else); the layout is optional
    #[arg(long, num_args = 1..=2, value_names = ["COLSxROWS] [FILE.png"])]
    grid: Option<Vec<String>>,
    /// The generator's weights as they are, rather than their moving average
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    device: DeviceFlag,
    /// Measure which kernels are the fastest on a GPU: not at all; for 5 seconds at most; all of
    /// them [default: on the GPU that the model was trained on, the training's kernels; else off]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|quick|full")]
    tune: Option<Effort>,
}

/// A layout: columns and rows.
fn layout(text: &str) -> Result<(usize, usize)> {
    let parts = text.split_once(['x', 'X', '×']);
    let parts = parts.and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    parts.filter(|&(c, r)| c > 0 && r > 0).ok_or_else(|| {
        Error::flag("--grid", format!("{text:?} is no layout such as 8x8 (columns x rows)"))
    })
}

impl Sample {
    pub(super) fn run(&self) -> Result<()> {
        let grid = match self.grid.as_deref() {
            Some([file]) => Some((None, PathBuf::from(file))),
            Some([size, file]) => Some((Some(layout(size)?), PathBuf::from(file))),
            _ => None,
        };
        if let Some((_, file)) = &grid
            && !file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
        {
            let what = format!("{} is no name of a PNG file such as grid.png", file.display());
            return Err(Error::flag("--grid", what));
        }
        let path = folder::resolve(&self.model)?;
        let model = ModelFile::load(&path)?;
        if model.generator()?.needs_batch() {
            eprintln!(
                "note: the batch norm of this generator uses the statistics of each {BATCH} \
                 pictures: a picture also depends on the others asked for"
            );
        }
        let &Networks { nz, latent_law: law, .. } = &model.networks;
        let latents = match &self.latents {
            Some(file) => Latents::Rows(read_latents(file, nz, "--latents")?),
            None => Latents::Seeds { seeds: self.seeds.0.clone(), nz, law },
        };
        let n = latents.len();
        if let Some((Some((columns, rows)), _)) = grid
            && columns * rows != n
        {
            let what = format!(
                "{columns}x{rows} has {} places for {n} pictures; give --seeds that many",
                columns * rows
            );
            return Err(Error::flag("--grid", what));
        }

        let device = self.device.open(false)?;
        // Before the work: what cannot be written should not be waited for.
        if let Some(out) = &self.out {
            make_folder(out)?;
        }
        let generator = Generator::new(&model, self.raw, &device, self.tune)?;
        let [h, w, c] = generator.shape;
        let mut sheet = match &grid {
            Some((layout, _)) => {
                let columns = layout.map_or_else(|| pictures::columns(n), |(columns, _)| columns);
                Some(Grid::new(n, [h, w, c], columns)?)
            }
            None => None,
        };
        // Batch by batch, so that any number of pictures takes the memory of one batch; of a grid
        // the bytes.
        let each = |write: &mut dyn FnMut(usize, &Tensor) -> Result<()>| {
            generator.each(&latents, |first, batch| {
                if let Some(sheet) = &mut sheet {
                    sheet.put(first, batch.f32s(), shape_of(batch))?;
                }
                write(first, batch)
            })
        };
        match (&self.out, self.format) {
            (None, _) => each(&mut |_, _| Ok(()))?,
            (Some(out), Format::Png) => each(&mut |first, batch| {
                (0..batch.shape()[0]).into_par_iter().try_for_each(|i| {
                    let picture = pictures::single(batch.f32s(), shape_of(batch), i)?;
                    pictures::save_png(&out.join(latents.name(first + i)), &picture)
                })
            })?,
            (Some(out), Format::Npy) => write_npy(&out.join("samples.npy"), [n, h, w, c], each)?,
        }
        if let (Some((_, file)), Some(sheet)) = (grid, sheet) {
            pictures::save_png(&file, &sheet.into_picture())?;
            println!("{n} pictures in {}", file.display());
        }
        if let Some(out) = &self.out {
            println!("{n} pictures in {}", out.display());
        }
        Ok(())
    }
}

/// What pictures are asked for.
enum Latents {
    /// Those of seeds, made when they are needed.
    Seeds { seeds: Vec<u64>, nz: usize, law: LatentLaw },
    /// Float32 `[n, nz]`.
    Rows(Tensor),
}

impl Latents {
    fn len(&self) -> usize {
        match self {
            Self::Seeds { seeds, .. } => seeds.len(),
            Self::Rows(rows) => rows.shape()[0],
        }
    }

    /// Latents `[range.len(), nz]`.
    fn get(&self, range: Range<usize>) -> Result<Tensor> {
        match self {
            Self::Seeds { seeds, nz, law } => Ok(seeded_latents(&seeds[range], *nz, *law)),
            Self::Rows(rows) => {
                let nz = rows.shape()[1];
                let numbers = &rows.f32s()[range.start * nz..range.end * nz];
                Tensor::new([range.len(), nz], numbers.to_vec())
            }
        }
    }

    /// The name of a picture's file.
    fn name(&self, at: usize) -> String {
        match self {
            Self::Seeds { seeds, .. } => format!("seed{:04}.png", seeds[at]),
            Self::Rows(_) => format!("latent{at:04}.png"),
        }
    }
}

/// A generator on a device.
struct Generator {
    state: State,
    sampler: Sampler,
    /// Of its pictures: `[h, w, c]`.
    shape: [usize; 3],
}

impl Generator {
    /// Without a `tune`, on the device of the training, its kernels are run.
    fn new(model: &ModelFile, raw: bool, device: &Device, tune: Option<Effort>) -> Result<Self> {
        let mut state = State::new(device);
        let prefix = model.load_generator(&mut state, raw)?;
        let networks = &model.networks;
        let tape = Sampler::tape(networks, prefix, BATCH)?;
        let choices = match tune {
            None if model.choices.device == device.name() => {
                tuning::choose_again(&[&tape], device, &model.choices)
            }
            effort => tuning::choose(&[&tape], device, effort.unwrap_or(Effort::Off))?,
        };
        let sampler = Sampler::new(networks, &state, prefix, BATCH, &choices)?;
        let shape = [networks.size.height, networks.size.width, networks.channels];
        Ok(Self { state, sampler, shape })
    }

    /// Makes all pictures, and gives each batch `[n, h, w, c]` with its first one's number to `take`.
    fn each(
        mut self,
        latents: &Latents,
        mut take: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let n = latents.len();
        (0..n).step_by(BATCH).try_for_each(|first| {
            let latents = latents.get(first..n.min(first + BATCH))?;
            take(first, &self.sampler.sample(&mut self.state, &latents)?)
        })
    }
}

/// The shape of a batch of pictures.
fn shape_of(batch: &Tensor) -> [usize; 4] {
    batch.shape().try_into().expect("a sampler gives pictures")
}

fn make_folder(path: &Path) -> Result<()> {
    if path.is_file() {
        return Err(Error::file(path, "is a file; --out wants a folder, which it makes"));
    }
    std::fs::create_dir_all(path)
        .map_err(|e| Error::file(path, files::cannot("be made the folder of --out", &e)))
}

/// Pictures of `shape`, batch by batch as `each` gives them, as a float32 NumPy file.
fn write_npy(
    path: &Path,
    shape: [usize; 4],
    each: impl FnOnce(&mut dyn FnMut(usize, &Tensor) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let failed = |error: io::Error| Error::file(path, files::cannot("be written", &error));
    let mut file = AtomicFile::create(path).map_err(failed)?;
    let options = npyz::WriteOptions::new().default_dtype();
    let shape = shape.map(|size| size as u64);
    let mut npy = options.shape(&shape).writer(&mut file).begin_nd().map_err(failed)?;
    each(&mut |_, batch| npy.extend(batch.f32s().iter().copied()).map_err(failed))?;
    npy.finish().map_err(failed)?;
    file.finish().map_err(failed)
}
