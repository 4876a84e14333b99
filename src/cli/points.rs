//! Points in latent space as typed: seeds, rows of files of latents, and images, which the model's
//! encoder encodes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use crate::data::open_image;
use crate::error::{Error, Result};
use crate::human::plural;
use crate::model::{Encoder, ModelFile, Networks, Truncation, seeded_latents};

use super::latents::{ModelFlags, check_rows, has_ending, note_of_fit, read_rows};
use super::seeds::Seeds;

/// `3,17,42`, `0-8`, `faces.npy` (all its rows), `faces.npy:2` (one of them, from 0), `face.png`, in
/// the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Points {
    parts: Vec<Part>,
    /// As they were typed.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Seeds(Seeds),
    Rows(PathBuf, Option<usize>),
    Image(PathBuf),
}

/// Truncation of the latents of seeds.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct TruncationFlag {
    /// Draw entries of the latents of seeds again while their absolute value exceeds T, as dcgan
    /// sample does
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    truncation: Option<Truncation>,
}

impl TruncationFlag {
    /// What a figure says of the model and its latents.
    pub(super) fn describe(&self, model: String) -> String {
        match self.truncation {
            Some(truncation) => format!("{model}, latents truncated at {truncation}"),
            None => model,
        }
    }
}

/// Loads points for a model, whose encoder is compiled when the first image is requested.
pub(super) struct Locator<'a> {
    flags: &'a ModelFlags,
    model: &'a ModelFile,
    encoder: Option<Encoder>,
    /// Of the latents of seeds.
    truncation: Option<Truncation>,
}

impl<'a> Locator<'a> {
    pub(super) fn new(flags: &'a ModelFlags, model: &'a ModelFile) -> Self {
        Self { flags, model, encoder: None, truncation: None }
    }

    /// The same, for truncated latents of seeds.
    pub(super) fn truncated(self, flag: TruncationFlag) -> Self {
        Self { truncation: flag.truncation, ..self }
    }

    fn seeded(&self, seed: u64) -> Point {
        let Networks { nz, latent_distribution, .. } = self.model.networks;
        let z = match self.truncation {
            Some(truncation) => truncation.latents(&[seed], nz, latent_distribution),
            None => seeded_latents(&[seed], nz, latent_distribution),
        };
        Point { name: format!("seed {seed}"), key: seed.to_string(), z: z.f32s().to_vec() }
    }

    /// The latent of an image, which is made to fit as images were for training.
    fn encode(&mut self, path: &Path) -> Result<Point> {
        let model = self.model;
        model.encoder()?;
        let image = open_image(path)?;
        note_of_fit(path, &image, &model.networks);
        // A random crop is taken from the middle.
        let bytes = model.prepare.apply(image, 1 << 31);
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let device = self.flags.device.open(false)?;
                Encoder::new(model, &device, self.flags.weights(), 1)?
            }
        };
        let latents = self.encoder.insert(encoder).latents(&bytes)?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Point { name, key: path.display().to_string(), z: latents.f32s().to_vec() })
    }
}

/// A latent and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// `seed 3`, `faces.npy:2`.
    pub(super) name: String,
    /// The same as it can be typed: `3`, `latents/faces.npy:2`.
    pub(super) key: String,
    pub(super) z: Vec<f32>,
}

impl Point {
    /// Its seed, if it has one.
    pub(super) fn seed(&self) -> Option<u64> {
        self.key.parse().ok()
    }
}

/// Endings of the names of images.
const IMAGES: [&str; 11] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff"];

impl FromStr for Points {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let part = |part: &str| {
            let part = part.trim();
            let (file, row) = match part.rsplit_once(':') {
                Some((file, row)) if row.bytes().all(|b| b.is_ascii_digit()) => (file, Some(row)),
                _ => (part, None),
            };
            if !has_ending(file.as_ref(), "npy") {
                if IMAGES.iter().any(|ending| has_ending(part.as_ref(), ending)) {
                    return Ok(Part::Image(part.into()));
                }
                let seeds = part.parse().map_err(|e| {
                    format!(
                        "{e}, rows of a file of latents such as z.npy or z.npy:2, or, for a model with \
                         an encoder, images such as face.png"
                    )
                })?;
                return Ok(Part::Seeds(seeds));
            }
            let row =
                row.map(|row| row.parse().map_err(|_| format!("{row:?} is not a row of {file}")));
            Ok(Part::Rows(file.into(), row.transpose()?))
        };
        let parts = text.split(',').map(part).collect::<std::result::Result<_, String>>()?;
        Ok(Self { parts, text: text.replace(' ', "").replace(',', ", ") })
    }
}

impl Points {
    /// The latents for a model; `flag` is the flag that was given them.
    ///
    /// # Errors
    /// [`Error::File`] where a file cannot be read, holds latents of another model, or has no such
    /// row; or where there are images and the model has no encoder.
    pub(super) fn load(&self, locator: &mut Locator<'_>, flag: &str) -> Result<Vec<Point>> {
        let nz = locator.model.networks.nz;
        let mut points = Vec::new();
        for part in &self.parts {
            match part {
                Part::Seeds(Seeds(seeds)) => {
                    points.extend(seeds.iter().map(|&seed| locator.seeded(seed)));
                }
                Part::Rows(path, row) => {
                    let latents = read_rows(path, nz, flag)?;
                    let count = latents.shape()[0];
                    let rows = match *row {
                        Some(row) if row >= count => {
                            let rows = plural(count as u64, "row");
                            let what = format!("has {rows}, counted from 0, and not row {row}");
                            return Err(Error::file(path, what));
                        }
                        Some(row) => row..row + 1,
                        None => 0..count,
                    };
                    check_rows(path, &latents, rows.clone())?;
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    points.extend(rows.map(|row| Point {
                        name: format!("{file}:{row}"),
                        key: format!("{}:{row}", path.display()),
                        z: latents.f32s()[row * nz..(row + 1) * nz].to_vec(),
                    }));
                }
                Part::Image(path) => points.push(locator.encode(path)?),
            }
        }
        Ok(points)
    }
}

/// The latents of points, one after another.
pub(super) fn rows(points: &[Point]) -> Vec<f32> {
    points.iter().flat_map(|point| point.z.iter().copied()).collect()
}

/// A range of two numbers as typed: `-2..2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range(pub(super) [f32; 2]);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let ends = text.split_once("..").and_then(|(low, high)| {
            let end = |s: &str| s.trim().parse::<f32>().ok().filter(|x| x.is_finite());
            Some([end(low)?, end(high.trim_start_matches('='))?])
        });
        match ends {
            Some([low, high]) if low < high => Ok(Self([low, high])),
            Some(_) => Err("a range goes from a smaller number to a larger one, as -2..2".into()),
            None => Err("a range is two numbers such as -2..2".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::cli::flags::DeviceFlag;
    use crate::cli::latents::{VectorsFlag, write_npy};
    use crate::model::save_imported;
    use crate::models::Size;
    use crate::models::{Architecture, LatentDistribution, ModelConfig};
    use crate::tensor::Tensor;

    #[test]
    fn seeds_and_rows_of_files_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("two.npy");
        let z = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        write_npy(&file, &z).unwrap();
        let size = Size { height: 16, width: 16 };
        let model = ModelConfig {
            network: Architecture::Paper,
            size,
            channels: 3,
            nz: 3,
            ngf: 4,
            ndf: 4,
            ..ModelConfig::default()
        };
        let networks = model.networks().unwrap();
        let path = dir.path().join("model.safetensors");
        let tensors = networks.params().into_iter().map(|param| {
            let value = param.layout.to_file(&param.initial(0)).unwrap();
            (param.name, value)
        });
        save_imported(&path, &networks, &tensors.collect(), "a test").unwrap();
        let device = DeviceFlag { selection: Some("cpu".into()) };
        let vectors = VectorsFlag::default();
        let flags = ModelFlags { path, raw: false, class: None, text: None, vectors, device };
        let model = flags.load().unwrap();
        let load = |text: &str| {
            let points = text.parse::<Points>().unwrap();
            points.load(&mut Locator::new(&flags, &model), "--seeds")
        };
        let names = |text: &str| -> Vec<String> {
            load(text).unwrap().into_iter().map(|p| p.name).collect()
        };

        let file = file.display();
        assert_eq!(names("9,2-3"), ["seed 9", "seed 2", "seed 3"]);
        assert_eq!(names(&format!("{file}, 7")), ["two.npy:0", "two.npy:1", "seed 7"]);
        let one = load(&format!("{file}:1")).unwrap();
        let key = format!("{file}:1");
        assert_eq!(one, [Point { name: "two.npy:1".into(), key, z: vec![4.0, 5.0, 6.0] }]);
        assert_eq!(load("9").unwrap()[0].key, "9");
        let seeded = seeded_latents(&[9], 3, LatentDistribution::Uniform);
        assert_eq!(rows(&load("9").unwrap()), seeded.f32s());

        let error = load(&format!("{file}:2")).unwrap_err().to_string();
        assert!(error.ends_with("has 2 rows, counted from 0, and not row 2"), "{error}");
        let error = load("face.png").unwrap_err().to_string();
        assert!(error.contains("has no encoder"), "{error}");
        for bad in ["", "a", "3,", "z.png:1", "z.npy:-1", "two.npy:99999999999999999999"] {
            assert!(bad.parse::<Points>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        let range = |text: &str| text.parse::<Range>().map(|r| r.0);
        assert_eq!(range("-2..2"), Ok([-2.0, 2.0]));
        assert_eq!(range("-0.5..=1.5"), Ok([-0.5, 1.5]));
        for bad in ["2..-2", "1..1", "1", "..", "a..b", "0..inf"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
