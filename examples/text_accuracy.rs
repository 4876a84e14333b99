//! Whether images are what their texts say: colors of skin, hair and clothes, read off the pixels of
//! avatars, for pairs of colors of hair and clothes that the bundled captions have and for those that
//! they never have.
//!
//! `cargo run --release --example text_accuracy -- MODEL [SEEDS [BEFORE]]`, with a model of
//!
//! ```text
//! dcgan train --preset int-cls --size 32
//! dcgan train --preset stackgan --size 32
//! ```
//!
//! For a StackGAN, BEFORE is the model that its first stage ended with, `RUN/stage-stage1.safetensors`:
//! its images, enlarged bilinearly, are measured beside those of the second stage. Distances are sliced
//! Wasserstein distances (`swd-raw`) of the finest level, of images of captions to real images.
//!
//! A color counts if it is the nearest of the palette and within 40 levels: a blend of several is
//! wrong. Diversity is the standard deviation of a pixel over images of one text, relative to that
//! over real images with the same colors.

use std::collections::BTreeMap;
use std::path::Path;

use dcgan::data::{CAPTIONED, Prepare, Reading, Source};
use dcgan::device::Device;
use dcgan::error::Result;
use dcgan::evaluation::ImageSet;
use dcgan::evaluation::metric::Context;
use dcgan::evaluation::swd::{Variant, swd};
use dcgan::images;
use dcgan::model::{Generator, Inputs, ModelFile, Weights};
use dcgan::tensor::Tensor;
use image::RgbImage;
use image::imageops::{FilterType, resize};

type Palette = &'static [(&'static str, [u8; 3])];

/// An attribute: its words with their colors, the noun behind it, and a pixel where it is seen in
/// images of 64x64 (column, row).
struct Attribute {
    name: &'static str,
    palette: Palette,
    nouns: &'static [&'static str],
    at: [usize; 2],
}

const SKIN: Attribute = Attribute {
    name: "skin",
    palette: &[
        ("dark", [0x61, 0x43, 0x35]),
        ("brown", [0xae, 0x5d, 0x29]),
        ("tan", [0xed, 0xb9, 0x8a]),
        ("pale", [0xff, 0xdb, 0xb4]),
        ("yellow", [0xf8, 0xd2, 0x5c]),
    ],
    nouns: &["skin"],
    at: [34, 47],
};

const HAIR: Attribute = Attribute {
    name: "hair",
    palette: &[
        ("black", [0x2c, 0x1b, 0x18]),
        ("brown", [0x72, 0x41, 0x33]),
        ("blond", [0xd6, 0xb3, 0x70]),
        ("red", [0xc9, 0x33, 0x05]),
        ("pink", [0xf5, 0x97, 0x97]),
        ("gray", [0xe8, 0xe1, 0xe1]),
    ],
    nouns: &["hair"],
    at: [33, 8],
};

const CLOTHES: Attribute = Attribute {
    name: "clothes",
    palette: &[
        ("black", [0x26, 0x2e, 0x33]),
        ("blue", [0x51, 0x99, 0xe4]),
        ("gray", [0x92, 0x95, 0x98]),
        ("green", [0xa7, 0xff, 0xc4]),
        ("red", [0xff, 0x5c, 0x5c]),
        ("white", [0xff, 0xff, 0xff]),
        ("yellow", [0xff, 0xff, 0xb1]),
        ("pink", [0xff, 0x48, 0x8e]),
    ],
    nouns: &["shirt", "hoodie"],
    at: [52, 63],
};

const ATTRIBUTES: [Attribute; 3] = [SKIN, HAIR, CLOTHES];

/// The largest distance of a color to that of its name.
const NEAR: f64 = 40.0;

impl Attribute {
    /// What a caption says of it, as a place in the palette.
    fn said(&self, caption: &str) -> Option<usize> {
        let words: Vec<&str> = caption.split(|c: char| !c.is_alphanumeric()).collect();
        let word = words.windows(2).find(|pair| self.nouns.contains(&pair[1]))?[0];
        self.palette.iter().position(|(name, _)| *name == word)
    }

    /// What an image `[side, side, 3]` shows: the medians of the pixels around the place of the
    /// attribute.
    fn seen(&self, image: &[u8], side: usize) -> Option<usize> {
        let [x, y] = self.at.map(|at| at * side / 64);
        let around = |at: usize| at.saturating_sub(1)..(at + 2).min(side);
        let median = |channel: usize| {
            let levels = around(y).flat_map(|y| around(x).map(move |x| (y * side + x) * 3));
            let mut levels: Vec<u8> = levels.map(|at| image[at + channel]).collect();
            levels.sort_unstable();
            f64::from(levels[levels.len() / 2])
        };
        let color = [0, 1, 2].map(median);
        let distance = |own: &[u8; 3]| {
            let square = |(a, &b): (&f64, &u8)| (a - f64::from(b)).powi(2);
            color.iter().zip(own).map(square).sum::<f64>().sqrt()
        };
        let each = self.palette.iter().map(|(_, own)| distance(own)).enumerate();
        let nearest = each.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (nearest.1 <= NEAR).then_some(nearest.0)
    }
}

/// Whether a pair of colors of hair and clothes is in no caption of the bundled set: see
/// `assets/captioned/make.mjs`.
fn is_held_out(hair: usize, clothes: usize) -> bool {
    (hair + 2 * clothes).is_multiple_of(6)
}

/// The standard deviation of a pixel over images, averaged over pixels.
fn spread(images: &[&[u8]]) -> f64 {
    let n = images.len() as f64;
    let numbers = images[0].len();
    let of = |i: usize| {
        let levels = || images.iter().map(|image| f64::from(image[i]));
        let mean = levels().sum::<f64>() / n;
        (levels().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    };
    (0..numbers).map(of).sum::<f64>() / numbers as f64
}

/// The mean spread of groups of two images or more.
fn mean_spread<'a>(groups: impl IntoIterator<Item = Vec<&'a [u8]>>) -> f64 {
    let spreads: Vec<f64> =
        groups.into_iter().filter(|group| group.len() > 1).map(|group| spread(&group)).collect();
    spreads.iter().sum::<f64>() / spreads.len().max(1) as f64
}

/// A model's generator, as far as the model has been trained.
fn open(path: &str) -> Result<Generator> {
    let (model, _) = ModelFile::open(Path::new(path))?;
    Generator::new(&model.as_trained(), &Device::Cpu, Weights::default())
}

/// Images as bytes, enlarged to this side.
fn draw(generator: &mut Generator, inputs: &Inputs, side: usize) -> Result<Vec<u8>> {
    let bytes = images::bytes(generator.images(inputs)?.f32s());
    let own = generator.networks().size.height;
    if own == side {
        return Ok(bytes);
    }
    let mut all = Vec::new();
    for image in bytes.chunks(own * own * 3) {
        let image = RgbImage::from_raw(own as u32, own as u32, image.to_vec());
        let image = image.expect("as many bytes as pixels");
        all.extend(resize(&image, side as u32, side as u32, FilterType::Triangle).into_raw());
    }
    Ok(all)
}

/// Hits and images by attribute, and spreads, for pairs that were seen and for those held out.
#[derive(Default)]
struct Measured {
    counts: [[[f64; 2]; 3]; 2],
    spreads: [Vec<f64>; 2],
}

/// Measures images of every pair of hair and clothes, with every skin.
fn measure(generator: &mut Generator, seeds: u64, side: usize) -> Result<Measured> {
    let mut measured = Measured::default();
    for (hair, (hair_color, _)) in HAIR.palette.iter().enumerate() {
        for (clothes, (color, _)) in CLOTHES.palette.iter().enumerate() {
            let group = usize::from(is_held_out(hair, clothes));
            for (skin, (skin_color, _)) in SKIN.palette.iter().enumerate() {
                let text = format!(
                    "a person with short {hair_color} hair and {skin_color} skin in a {color} shirt"
                );
                let inputs = Inputs::seeds(0..seeds).of_every_text(vec![text]);
                let bytes = draw(generator, &inputs, side)?;
                let made: Vec<&[u8]> = bytes.chunks(side * side * 3).collect();
                for image in &made {
                    let wanted = [skin, hair, clothes];
                    let each = ATTRIBUTES.iter().zip(wanted).zip(&mut measured.counts[group]);
                    for ((attribute, wanted), [hits, all]) in each {
                        let is_hit = attribute.seen(image, side) == Some(wanted);
                        *hits += f64::from(u8::from(is_hit));
                        *all += 1.0;
                    }
                }
                measured.spreads[group].push(spread(&made));
            }
        }
    }
    Ok(measured)
}

/// The distance of two sets of images at the finest level.
fn distance(side: usize, [a, b]: [&[u8]; 2]) -> Result<f64> {
    let [a, b] = [a, b].map(|bytes| ImageSet::new([side, side, 3], bytes.to_vec()));
    let context = Context { metric: "swd-raw", seed: 1, progress: &|_| () };
    Ok(swd(Variant::Raw, &a?, &b?, &context)?.parts[0].1)
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "runs/00000-int-cls-captioned-32".into());
    let seeds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut models = vec![("", open(&model)?)];
    if let Some(before) = args.next() {
        models = vec![("stage 1, enlarged", open(&before)?), ("stage 2", open(&model)?)];
    }
    let side = models[models.len() - 1].1.networks().size.height;

    // The reader on real images.
    let source = Source::open_as(Some(Path::new(CAPTIONED)), &Reading::default())?;
    let captions = source.captions()?;
    let prepare = Prepare { height: side, width: side, ..Prepare::default() };
    let mut right = [[0.0; 2]; 3];
    let mut reals: BTreeMap<[Option<usize>; 3], Vec<Vec<u8>>> = BTreeMap::new();
    let mut halves = [Vec::new(), Vec::new()];
    for item in 0..source.len() {
        let Ok(image) = source.prepared(item, &prepare) else { continue };
        let said = ATTRIBUTES.each_ref().map(|a| a.said(&captions.of(item)[0]));
        for ((attribute, said), [hits, all]) in ATTRIBUTES.iter().zip(said).zip(&mut right) {
            if said.is_some() {
                *hits += f64::from(u8::from(attribute.seen(&image, side) == said));
                *all += 1.0;
            }
        }
        halves[item % 2].extend_from_slice(&image);
        reals.entry(said).or_default().push(image);
    }
    let ceiling = right.map(|[hits, all]| 100.0 * hits / all);
    let real_spread =
        mean_spread(reals.values().map(|group| group.iter().map(Vec::as_slice).collect()));
    let floor = distance(side, [&halves[1], &halves[0]])?;

    for (name, generator) in &mut models {
        let Measured { counts, spreads } = measure(generator, seeds, side)?;
        println!("{name:<18}{:>8}{:>10}{:>10}{:>8}", "seen", "held out", "real", "chance");
        for (i, attribute) in ATTRIBUTES.iter().enumerate() {
            let [seen, held_out] = counts.map(|group| 100.0 * group[i][0] / group[i][1]);
            let chance = 100.0 / attribute.palette.len() as f64;
            println!(
                "{:<18}{seen:>7.1}%{held_out:>9.1}%{:>9.1}%{chance:>7.1}%",
                attribute.name, ceiling[i]
            );
        }
        let [seen, held_out] =
            spreads.map(|group| group.iter().sum::<f64>() / group.len() as f64 / real_spread);
        println!("{:<18}{seen:>8.2}{held_out:>10.2}{:>10.2}", "diversity", 1.0);
        // As many images as in a half of the real ones, on the captions of the other half.
        let text = &generator.networks().text;
        let items = (0..source.len()).filter(|item| item % 2 == 1);
        let rows: Vec<Vec<f32>> = items.map(|item| text.encode(&captions.of(item)[0])).collect();
        let shape = [rows.len(), text.width()];
        let inputs =
            Inputs::seeds(0..rows.len() as u64).of_vectors(Tensor::new(shape, rows.concat())?);
        let made = draw(generator, &inputs, side)?;
        let swd = distance(side, [&made, &halves[0]])?;
        println!("{:<18}{swd:>8.1}{:>10}{floor:>10.1}", "distance", "");
    }
    Ok(())
}
