//! `dcgan sample`: images from a trained generator.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use npyz::WriterBuilder;
use rayon::prelude::*;

use crate::device::Device;
use crate::device::host::afford;
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use crate::human::plural;
use crate::images::Grid;
use crate::images::figure::{Cell, Figure, Panel};
use crate::model::sampler::BATCH;
use crate::model::{Generator, Inputs, ModelFile, Networks, Truncation, Weights};
use crate::nn::NORMALS;
use crate::program::Precision;
use crate::program::tune::Effort;
use crate::tensor::Tensor;
use crate::text::TextEncoder;
use crate::{files, images};

use super::flags::DeviceFlag;
use super::latents::{
    VectorsFlag, check_text, describe, named_classes, note_of_batch, open_images, read_latents,
    warn_of_batches,
};
use super::output::println;
use super::seeds::Seeds;
use super::tuning;

/// How images are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One PNG for each seed, seed0004.png.
    Png,
    /// One samples.npy: float32 [n, h, w, c] in [-1, 1].
    Npy,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dcgan sample runs/00000-fast-avatars-64 --seeds 0-63 --grid 8x8 \
                        faces.png\n  dcgan sample runs/00001-cgan-mnist-28 --class 3,8 --seeds 0-9 \
                        --grid digits.png\n  dcgan sample runs/00000-fast-avatars-64 --truncation 1.5 \
                        --grid 8x8 typical.png\n  dcgan sample runs/00002-int-cls-captioned-64 --text \"a person with red hair \
                        in a blue shirt\" --text \"long gray hair and sunglasses\" --seeds 0-7 --grid \
                        texts.png"
)]
pub(super) struct Sample {
    /// A run's folder (its newest checkpoint), a checkpoint, an imported model, or avatars, the bundled
    /// one
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Seeds of the images: a seed always gives the same image [default: as many as --grid has
    /// places, from 0 on, else 0-63, or 0-7 with --text]
    #[arg(long, value_name = "LIST", conflicts_with = "latents", allow_hyphen_values = true)]
    seeds: Option<Seeds>,
    /// Latents from a file instead of seeds: float32 [n, nz]
    #[arg(long, value_name = "FILE.npy")]
    latents: Option<PathBuf>,
    /// Draw entries of latents again while their absolute value exceeds T: the smaller, the more
    /// typical and the more alike are the images, and paler if the model does not bear it; 2 is
    /// little for normal latents, 0.7 much. Uniform latents then come from -T to T
    #[arg(long, value_name = "T", conflicts_with = "latents", allow_hyphen_values = true)]
    truncation: Option<Truncation>,
    /// Classes of a conditional model, by name or number; every seed is drawn in each class; all
    /// for all classes [default: one class per seed, in turn: seed 0 the first]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    class: Vec<String>,
    /// Text to draw, for a model trained on texts; may be given several times: every seed is then
    /// drawn on each text [default: captions of the training, one per seed, in turn]
    #[arg(long, value_name = "TEXT", conflicts_with = "class")]
    text: Vec<String>,
    #[command(flatten)]
    vectors: VectorsFlag,
    /// Folder for the images
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "samples",
        default_value_if("grid", clap::builder::ArgPredicate::IsPresent, None)
    )]
    out: Option<PathBuf>,
    /// File format of --out
    #[arg(long, value_enum, default_value_t = Format::Png)]
    format: Format,
    /// Write all images as one PNG (and, without --out, nothing else). Without a layout, each class
    /// or text is a row with its name
    #[arg(long, num_args = 1..=2, value_names = ["COLSxROWS", "FILE.png"])]
    grid: Option<Vec<OsString>>,
    /// Write the seed, and the class or text, below each image of --grid
    #[arg(long, requires = "grid")]
    captions: bool,
    /// Draw the normals of each image above it, for a model of images with normals (ss-gan)
    #[arg(long)]
    normals: bool,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    device: DeviceFlag,
    /// Measure which kernels are fastest on a GPU: not at all, for at most 5 seconds, or all of
    /// them [default: on the GPU that the model was trained on, the training's kernels; else off]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|quick|full")]
    tune: Option<Effort>,
}

/// A layout: columns and rows.
fn layout(text: &OsStr) -> Result<(usize, usize)> {
    let text = text.to_string_lossy();
    let parts = text.split_once(['x', 'X', '×']);
    let parts = parts.and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    parts.filter(|&(c, r)| c > 0 && r > 0).ok_or_else(|| {
        Error::flag("--grid", format!("{text:?} is not a layout such as 8x8 (columns x rows)"))
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
            let what = match layout(file.as_os_str()) {
                Ok(_) => format!("{0} needs a file after it: --grid {0} grid.png", file.display()),
                Err(_) => {
                    format!("{} is not the name of a PNG file such as grid.png", file.display())
                }
            };
            return Err(Error::flag("--grid", what));
        }
        let model = self.vectors.added(open_images(&self.model)?)?;
        if self.normals {
            has_normals(&model)?;
        }
        warn_of_batches(&model)?;
        let every = classes(&self.class, &model.networks)?;
        let texts = texts(&self.text, &model.networks)?;
        let rows = every.len().max(texts.len());
        let places =
            grid.as_ref().and_then(|(layout, _)| *layout).map(|(c, r)| c.saturating_mul(r));
        let latents = match (&self.latents, &self.seeds) {
            (Some(file), _) => {
                Inputs::latents(read_latents(file, model.networks.nz, "--latents")?)?
            }
            (None, Some(Seeds(seeds))) => Inputs::seeds(seeds.iter().copied()),
            (None, None) => {
                let usual = if texts.is_empty() { USUAL } else { PER_TEXT };
                let count = places.map_or(usual, |places| (places / rows.max(1)).max(1));
                if count > MOST {
                    let what = format!("more than {MOST} images are surely a typo");
                    return Err(Error::flag("--grid", what));
                }
                Inputs::seeds(0..count as u64)
            }
        };
        let latents = match self.truncation {
            Some(truncation) => latents.truncated(truncation),
            None => latents,
        };
        let inputs = match model.networks.has_text() {
            true => latents.of_every_text(texts.clone()),
            false => latents.of_every_class(every.clone()),
        };
        let (classes, encoder) = (model.networks.classes.clone(), model.networks.text.clone());
        let wanted = Wanted { inputs, every, texts, classes, encoder };
        let n = wanted.inputs.len();
        if let (Some((Some((columns, rows)), _)), Some(places)) = (&grid, places)
            && places != n
        {
            let what = format!(
                "{columns}x{rows} has {} for {}; change --seeds or the layout{}",
                plural(places as u64, "place"),
                plural(n as u64, "image"),
                match rows {
                    0 | 1 => "",
                    _ if wanted.texts.is_empty() => ", for all classes together",
                    _ => ", for all texts together",
                }
            );
            return Err(Error::flag("--grid", what));
        }
        if self.captions && n > LABELLED {
            let what = format!("{n} images are too many: up to {LABELLED} can have captions");
            return Err(Error::flag("--captions", what));
        }

        let device = self.device.open(false)?;
        // Before the work, so that an unwritable output fails at once.
        if let Some(out) = &self.out {
            make_folder(out)?;
        }
        let mut generator = self.generator(&model, &device)?;
        let Networks { size, channels: c, .. } = *generator.networks();
        let [h, w] = [generator.height(), size.width];
        let by_class = wanted.has_rows() && n <= LABELLED;
        if grid.is_some() {
            let bytes = (n as u64).saturating_mul((h * w * c.max(3)) as u64);
            afford(bytes, &format!("{n} images of {w}x{h} in one grid"))?;
        }
        let layout = grid.as_ref().and_then(|(layout, _)| *layout);
        let columns = layout.map_or_else(|| images::columns(n), |(columns, _)| columns);
        let mut cells = Vec::new();
        let mut sheet = match &grid {
            Some((None, _)) if by_class => None,
            Some(_) if self.captions => None,
            Some(_) => Some(Grid::new(n, [h, w, c], columns)?),
            None => None,
        };
        // Batch by batch, so that any number of images takes the memory of one batch, plus the
        // bytes of a grid.
        let mut each = |write: &mut dyn FnMut(usize, &Tensor) -> Result<()>| {
            generator.each(&wanted.inputs, |first, batch| {
                match &mut sheet {
                    Some(sheet) => sheet.put(first, batch.f32s(), shape_of(batch))?,
                    None if grid.is_some() => {
                        cells.extend(Cell::all(batch.f32s(), shape_of(batch))?);
                    }
                    None => {}
                }
                write(first, batch)
            })
        };
        match (&self.out, self.format) {
            (None, _) => each(&mut |_, _| Ok(()))?,
            (Some(out), Format::Png) => each(&mut |first, batch| {
                (0..batch.shape()[0]).into_par_iter().try_for_each(|i| {
                    let image = images::single(batch.f32s(), shape_of(batch), i)?;
                    images::save_png(&out.join(wanted.file(first + i)), &image)
                })
            })?,
            (Some(out), Format::Npy) => write_npy(&out.join("samples.npy"), [n, h, w, c], each)?,
        }
        let count = plural(n as u64, "image");
        if let Some((_, file)) = grid {
            let model = match self.truncation {
                Some(truncation) => {
                    format!("{}, latents truncated at {truncation}", describe(&self.model, &model))
                }
                None => describe(&self.model, &model),
            };
            let rows = match sheet {
                Some(sheet) => {
                    images::save_png(&file, &sheet.into_image())?;
                    true
                }
                None if by_class && layout.is_none() => {
                    wanted.figure(cells, model).save(&file)?;
                    false
                }
                None => {
                    wanted.captioned(cells, columns, model).save(&file)?;
                    true
                }
            };
            let rows = if rows { format!(", in rows of {columns}") } else { String::new() };
            println(&format!("{count} in {}: {wanted}{rows}", file.display()))?;
        }
        if let Some(out) = &self.out {
            println(&format!("{count} in {}", out.display()))?;
        }
        Ok(())
    }

    /// The generator. Without `--tune`, on the training's device, it runs the training's kernels.
    fn generator(&self, model: &ModelFile, device: &Device) -> Result<Generator> {
        let weights = Weights::raw(self.raw);
        let above = self.normals.then_some(NORMALS);
        let generator = Generator::below(model, device, weights, above, |tape| match self.tune {
            None if model.choices.device == device.name() => {
                Ok(tuning::choose_again(&[(tape, Precision::F32)], device, &model.choices))
            }
            effort => {
                tuning::choose(&[(tape, Precision::F32)], device, effort.unwrap_or(Effort::Off))
            }
        })?;
        note_of_batch(generator.batch(), BATCH);
        Ok(generator)
    }
}

/// Images that are drawn in a labeled figure; more go into a plain grid.
const LABELLED: usize = 2000;

/// The default number of seeds without a layout, and the most that a layout may have.
const USUAL: usize = 64;
const MOST: usize = 1_000_000;

/// Refuses a model that makes no normals, or none that its images could stand below.
fn has_normals(model: &ModelFile) -> Result<()> {
    let networks = &model.networks;
    let what =
        match (networks.pipeline.0.iter().any(|call| call.output == NORMALS), networks.channels) {
            (true, 3) => return Ok(()),
            (true, _) => "needs a model of RGB images, as normals are drawn as colors",
            (false, _) => "needs a model that makes normals first (dcgan train --preset ss-gan)",
        };
    Err(Error::flag("--normals", what))
}

/// The classes of `list` in typed order, without duplicates.
fn classes(list: &[String], networks: &Networks) -> Result<Vec<u32>> {
    let mut every = named_classes("--class", list, networks)?;
    let mut seen = BTreeSet::new();
    every.retain(|&class| seen.insert(class));
    Ok(every)
}

/// The seeds that each text is drawn on without `--seeds`.
const PER_TEXT: usize = 8;

/// The texts of `list` in typed order, without duplicates.
fn texts(list: &[String], networks: &Networks) -> Result<Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
    for text in list.iter().map(|text| text.trim().to_owned()) {
        check_text("--text", &text, networks)?;
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// The requested images and their names.
struct Wanted {
    inputs: Inputs,
    /// The classes that every latent is drawn in, in order; empty if each latent is drawn in one
    /// class, or there are no classes.
    every: Vec<u32>,
    /// The texts that every latent is drawn on, in order; empty if each is drawn on one, or there
    /// are no texts.
    texts: Vec<String>,
    /// The names of the model's classes.
    classes: Vec<String>,
    /// The model's texts.
    encoder: TextEncoder,
}

impl std::fmt::Display for Wanted {
    /// `seeds 0-63`, `seeds 0-63, truncated at 0.7`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.inputs.all_seeds() {
            Some(seeds) => write!(f, "seeds {}", Seeds(seeds.to_vec()))?,
            None => write!(f, "{}", plural(self.inputs.count() as u64, "latent"))?,
        }
        match self.inputs.truncation() {
            Some(truncation) => write!(f, ", truncated at {truncation}"),
            None => Ok(()),
        }
    }
}

impl Wanted {
    /// Whether a grid has rows with names.
    fn has_rows(&self) -> bool {
        !self.classes.is_empty() || !self.texts.is_empty()
    }

    /// An image's text.
    fn text(&self, at: usize) -> Option<&str> {
        self.inputs.text(at, &self.encoder)
    }

    /// An image's class.
    fn label(&self, at: usize) -> Option<u32> {
        self.inputs.class(at, self.classes.len())
    }

    /// The display name of a latent.
    fn name(&self, latent: usize) -> String {
        match self.inputs.seed(latent) {
            Some(seed) => format!("seed {seed}"),
            None => format!("latent {latent}"),
        }
    }

    /// The name of an image's file: `seed0004.png`, or `seed0004-2-truck.png`.
    fn file(&self, at: usize) -> String {
        let latent = self.inputs.latent(at);
        let stem = match self.inputs.seed(latent) {
            Some(seed) => format!("seed{seed:04}"),
            None => format!("latent{latent:04}"),
        };
        if !self.texts.is_empty() {
            return format!("{stem}-text{}.png", at / self.inputs.count().max(1));
        }
        let Some(label) = self.label(at) else { return stem + ".png" };
        let plain = |c: char| if c.is_alphanumeric() || c == '_' { c } else { '-' };
        let name: String = self.classes[label as usize].chars().take(40).map(plain).collect();
        match name == label.to_string() {
            true => format!("{stem}-{label}.png"),
            false => format!("{stem}-{label}-{name}.png"),
        }
    }

    /// All images in rows of `columns`, each with its seed and, if any, its class.
    fn captioned(&self, cells: Vec<Cell>, columns: usize, model: String) -> Figure {
        let caption = |(at, cell): (usize, Cell)| {
            let name = self.name(self.inputs.latent(at));
            match (self.label(at), self.text(at)) {
                (Some(label), _) => {
                    cell.caption(format!("{name}\n{}", self.classes[label as usize]))
                }
                (None, Some(text)) => cell.caption(format!("{name}\n{text}")),
                (None, None) => cell.caption(name),
            }
        };
        let mut cells = cells.into_iter().enumerate().map(caption).peekable();
        let mut panel = Panel::new("");
        while cells.peek().is_some() {
            panel = panel.row("", cells.by_ref().take(columns));
        }
        Figure::new("Samples").note(model).panel(panel)
    }

    /// All images, a row for each class or text.
    fn figure(&self, cells: Vec<Cell>, model: String) -> Figure {
        if !self.texts.is_empty() {
            let count = self.inputs.count();
            let mut panel = Panel::new("").columns((0..count).map(|at| self.name(at)));
            let mut cells = cells.into_iter();
            for text in &self.texts {
                panel = panel.row(text.clone(), cells.by_ref().take(count));
            }
            return Figure::new("Samples by text").note(model).panel(panel);
        }
        let mut rows: BTreeMap<usize, (u32, Vec<Cell>)> = BTreeMap::new();
        for (at, cell) in cells.into_iter().enumerate() {
            let label = self.label(at).unwrap_or_default();
            // In the order of the list, or of the classes.
            let place = self.every.iter().position(|&c| c == label).unwrap_or(label as usize);
            let cell = match self.every.len() {
                0 => cell.caption(self.name(self.inputs.latent(at))),
                _ => cell,
            };
            rows.entry(place).or_insert_with(|| (label, Vec::new())).1.push(cell);
        }
        let mut panel = Panel::new("");
        if !self.every.is_empty() {
            panel = panel.columns((0..self.inputs.count()).map(|at| self.name(at)));
        }
        for (label, cells) in rows.into_values() {
            panel = panel.row(self.classes[label as usize].clone(), cells);
        }
        Figure::new("Samples by class").note(model).panel(panel)
    }
}

/// The shape of a batch of images.
fn shape_of(batch: &Tensor) -> [usize; 4] {
    batch.shape().try_into().expect("a sampler gives images")
}

fn make_folder(path: &Path) -> Result<()> {
    if path.is_file() {
        return Err(Error::file(path, "is a file; --out wants a folder, which it creates"));
    }
    std::fs::create_dir_all(path)
        .map_err(|e| Error::file(path, files::cannot("be created as the folder of --out", &e)))
}

/// Images of `shape`, batch by batch as `each` gives them, as a float32 NumPy file.
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
