//! `dcgan sample`: pictures from a trained generator.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::device::State;
use crate::error::{Error, Result};
use crate::models::Networks;
use crate::sample::{BATCH, Sampler};
use crate::train::folder;
use crate::train::model_file::ModelFile;
use crate::train::step::seeded_latents;
use crate::{files, pictures};

use super::flags::DeviceFlag;
use super::latents::{read_latents, write_npy};
use super::seeds::Seeds;

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
    /// A run's folder (its newest checkpoint is taken) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
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
        let latents = match &self.latents {
            Some(file) => read_latents(file, model.networks.nz, "--latents")?,
            None => {
                let Networks { nz, latent_law, .. } = model.networks;
                seeded_latents(&self.seeds.0, nz, latent_law)
            }
        };
        let names: Vec<String> = match &self.latents {
            Some(_) => (0..latents.shape()[0]).map(|i| format!("latent{i:04}.png")).collect(),
            None => self.seeds.0.iter().map(|seed| format!("seed{seed:04}.png")).collect(),
        };
        if let Some((Some((columns, rows)), _)) = grid
            && columns * rows != names.len()
        {
            let what = format!(
                "{columns}x{rows} has {} places for {} pictures; give --seeds that many",
                columns * rows,
                names.len()
            );
            return Err(Error::flag("--grid", what));
        }

        let device = self.device.open(false)?;
        // Before the work: what cannot be written should not be waited for.
        if let Some(out) = &self.out {
            make_folder(out)?;
        }
        let mut state = State::new(&device);
        let prefix = model.load_generator(&mut state, self.raw)?;
        let mut sampler = Sampler::new(&model.networks, &state, prefix, BATCH)?;
        let samples = sampler.sample(&mut state, &latents)?;
        let &[n, h, w, c] = samples.shape() else { unreachable!("a sampler gives pictures") };

        if let Some((layout, file)) = grid {
            let columns = layout.map_or_else(|| pictures::columns(n), |(columns, _)| columns);
            let picture = pictures::grid_of(samples.f32s(), [n, h, w, c], columns)?;
            pictures::save_png(&file, &picture)?;
            println!("{} pictures in {}", n, file.display());
        }
        if let Some(out) = &self.out {
            match self.format {
                Format::Png => {
                    for (i, name) in names.iter().enumerate() {
                        let picture = pictures::single(samples.f32s(), [n, h, w, c], i)?;
                        pictures::save_png(&out.join(name), &picture)?;
                    }
                }
                Format::Npy => write_npy(&out.join("samples.npy"), &samples)?,
            }
            println!("{n} pictures in {}", out.display());
        }
        Ok(())
    }
}

fn make_folder(path: &Path) -> Result<()> {
    if path.is_file() {
        return Err(Error::file(path, "is a file; --out wants a folder, which it makes"));
    }
    std::fs::create_dir_all(path)
        .map_err(|e| Error::file(path, files::cannot("be made the folder of --out", &e)))
}
