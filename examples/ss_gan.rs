//! Whether generated images are images of their normals (SS-GAN, arXiv 1603.05631): a table for each
//! model, beside that of real images with their normal maps, made by the example `shapes`.
//!
//! ```text
//! cargo run --release --example ss_gan -- shapes.zip MODEL [MODEL …]
//! ```
//!
//! A model is a run's folder or a checkpoint of the preset ss-gan. For each set of 256 images, real ones,
//! those generated from the same normals, and those of generated normals:
//!
//! - **R²** of a fit of each image's colors by the nine spherical harmonics of order 2 of its normals (which
//!   explain a matt surface in distant light), on its own normals and on those of another image;
//! - **light**: how much the fitted direction of the light, the coefficients of x and y as a share of that of
//!   the constant, varies over 16 styles of the same normals;
//! - **‖n‖**: the largest difference of a normal's length from 1;
//! - **reading**: angles in degrees between the normals and those that the model's classifier reads in the
//!   images, at half their size: mean, median, and the shares below 11.25, 22.5 and 30.

use std::path::Path;

use dcgan::data::{Prepare, Source};
use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::features::pixels;
use dcgan::model::{ModelFile, Networks, Pipeline, Weights, seeded_latents};
use dcgan::nn::{LATENT, Mode, NORMALS, Pass};
use dcgan::program::{Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};

const COUNT: usize = 256;
const STYLES: usize = 16;
const TERMS: usize = 9;

/// Images in the networks' range with their normals, and the normals that C reads in them.
struct Set {
    images: Vec<f32>,
    normals: Vec<f32>,
    read: Vec<f32>,
    side: usize,
    channels: usize,
}

/// The spherical harmonics of a normal up to order 2, without their factors.
fn harmonics(n: &[f32]) -> [f64; TERMS] {
    let [x, y, z] = [n[0], n[1], n[2]].map(f64::from);
    [1.0, x, y, z, x * y, y * z, 3.0 * z * z - 1.0, x * z, x * x - y * y]
}

/// The least-squares solution of the normal equations, by elimination with a little of the identity.
fn solve(mut a: [[f64; TERMS]; TERMS], mut b: [f64; TERMS]) -> [f64; TERMS] {
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += 1e-6;
    }
    for i in 0..TERMS {
        let pivot = a[i];
        for j in i + 1..TERMS {
            let factor = a[j][i] / pivot[i];
            for (x, p) in a[j].iter_mut().zip(pivot) {
                *x -= factor * p;
            }
            b[j] -= factor * b[i];
        }
    }
    for i in (0..TERMS).rev() {
        let known: f64 = (i + 1..TERMS).map(|j| a[i][j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

/// R² of an image's channels together, and the coefficients of the first.
fn fit(image: &[f32], normals: &[f32], channels: usize) -> (f64, [f64; TERMS]) {
    let terms: Vec<[f64; TERMS]> = normals.chunks(3).map(harmonics).collect();
    let mut a = [[0.0; TERMS]; TERMS];
    for t in &terms {
        for (row, x) in a.iter_mut().zip(t) {
            row.iter_mut().zip(t).for_each(|(sum, y)| *sum += x * y);
        }
    }
    let (mut rest, mut total, mut first) = (0.0, 0.0, [0.0; TERMS]);
    for channel in 0..channels {
        let values: Vec<f64> =
            image.iter().skip(channel).step_by(channels).map(|&x| f64::from(x + 1.0)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut b = [0.0; TERMS];
        for (t, v) in terms.iter().zip(&values) {
            b.iter_mut().zip(t).for_each(|(sum, x)| *sum += x * v);
        }
        let found = solve(a, b);
        if channel == 0 {
            first = found;
        }
        for (t, v) in terms.iter().zip(&values) {
            let guess: f64 = t.iter().zip(found).map(|(x, c)| x * c).sum();
            rest += (v - guess).powi(2);
            total += (v - mean).powi(2);
        }
    }
    (1.0 - rest / total.max(1e-9), first)
}

impl Set {
    fn image(&self, i: usize) -> &[f32] {
        let len = self.side * self.side * self.channels;
        &self.images[i * len..(i + 1) * len]
    }

    fn map(&self, i: usize) -> &[f32] {
        let len = self.side * self.side * 3;
        &self.normals[i * len..(i + 1) * len]
    }

    /// The mean R² on the normals of the image `shift` places on.
    fn explained(&self, shift: usize) -> f64 {
        let of = |i| fit(self.image(i), self.map((i + shift) % COUNT), self.channels).0;
        (0..COUNT).map(of).sum::<f64>() / COUNT as f64
    }

    /// Degrees between normals and what is read, by pixel of half the size, sorted.
    fn angles(&self) -> Vec<f64> {
        let half = self.side / 2;
        let mut all = Vec::with_capacity(COUNT * half * half);
        for i in 0..COUNT {
            let map = self.map(i);
            for (y, x) in (0..half).flat_map(|y| (0..half).map(move |x| (y, x))) {
                let at = |dy, dx, c| map[((2 * y + dy) * self.side + 2 * x + dx) * 3 + c];
                let n = [0, 1, 2].map(|c| at(0, 0, c) + at(0, 1, c) + at(1, 0, c) + at(1, 1, c));
                let read = &self.read[((i * half + y) * half + x) * 3..][..3];
                let dot: f32 = n.iter().zip(read).map(|(a, b)| a * b).sum();
                let length = n.iter().map(|x| x * x).sum::<f32>().sqrt();
                all.push(f64::from((dot / length).clamp(-1.0, 1.0)).acos().to_degrees());
            }
        }
        all.sort_by(f64::total_cmp);
        all
    }

    fn print(&self, name: &str, light: f64) {
        let angles = self.angles();
        let below =
            |limit| 100.0 * angles.partition_point(|&a| a < limit) as f64 / angles.len() as f64;
        let off = |n: &[f32]| (n.iter().map(|x| x * x).sum::<f32>().sqrt() - 1.0).abs();
        println!(
            "{name:<34} {:>6.3} {:>8.3} {light:>6.2} {:>8.0e} {:>6.1} {:>7.1} {:>7.1} {:>6.1} {:>6.1}",
            self.explained(0),
            self.explained(1),
            self.normals.chunks(3).map(off).fold(0.0, f32::max),
            angles.iter().sum::<f64>() / angles.len() as f64,
            angles[angles.len() / 2],
            below(11.25),
            below(22.5),
            below(30.0),
        );
    }
}

/// Fetches images, their normals, and what C reads in them.
fn classify(
    t: &mut Tape,
    model: &Networks,
    [images, normals]: [dcgan::tape::Var; 2],
) -> Result<()> {
    let net = &model.by_name["classifier"].network;
    let read = net.record(t, "classifier", images, &Pass::new(Mode::Eval))?.last();
    t.fetch("images", images)?;
    t.fetch("normals", normals)?;
    t.fetch("read", read)
}

fn set(model: &Networks) -> Set {
    let (side, channels) = (model.size.height, model.channels);
    Set { images: Vec::new(), normals: Vec::new(), read: Vec::new(), side, channels }
}

/// Images of latents `[n, nz]`, of their own normals or of those of `given`.
fn generated(file: &ModelFile, latents: &Tensor, given: Option<&Set>) -> Result<Set> {
    let model = &file.networks;
    let mut state = State::new(&Device::Cpu);
    let weights = file.load_generator(&mut state, Weights::default())?;
    model.load(&mut state, &file.tensors)?;
    let n = latents.shape()[0];
    let mut t = Tape::new();
    let z = t.feed("z", &[n, model.nz], DType::F32)?;
    let z = t.reshape(z, &[n, 1, 1, model.nz])?;
    let mut pipeline = Pipeline::of(model)?;
    let (mut known, mut feeds) = (vec![(LATENT, z)], vec![("z", latents)]);
    let shape = [n, model.size.height, model.size.width, 3];
    let normals = Tensor::new(
        shape,
        given.map_or(vec![0.0; shape.iter().product()], |set| set.normals.clone()),
    )?;
    if given.is_some() {
        pipeline.0.retain(|call| call.output != NORMALS);
        known.push((NORMALS, t.feed("n", &shape, DType::F32)?));
        feeds.push(("n", &normals));
    }
    let values = pipeline.values(&mut t, model, weights, &known)?;
    classify(&mut t, model, [values["images"], values[NORMALS]])?;
    let mut program = Program::compile(&t, &state, &Options::default())?;
    let fetched = program.call(&mut state, &feeds)?;
    let [images, normals, read] =
        ["images", "normals", "read"].map(|name| fetched[name].f32s().to_vec());
    Ok(Set { images, normals, read, ..set(model) })
}

/// The last images of a set with their normal maps.
fn real(file: &ModelFile, source: &Source) -> Result<Set> {
    let model = &file.networks;
    let (height, width, channels) = (model.size.height, model.size.width, model.channels);
    let prepare = Prepare { height, width, channels, ..Prepare::default() };
    let (mut images, mut normals) = (Vec::new(), Vec::new());
    for item in source.len() - COUNT..source.len() {
        let both = source.with_normals(item, &prepare, 0).expect("the set is whole");
        images.extend_from_slice(&both[..prepare.len()]);
        normals.extend_from_slice(&both[prepare.len()..]);
    }
    let mut state = State::new(&Device::Cpu);
    model.load(&mut state, &file.tensors)?;
    let mut t = Tape::new();
    let shapes = [[COUNT, height, width, channels], [COUNT, height, width, 3]];
    let x = t.feed("x", &shapes[0], DType::U8)?;
    let n = t.feed("n", &shapes[1], DType::U8)?;
    let x = pixels(&mut t, model, x)?;
    let n = model.pixels.of_bytes(&mut t, n)?;
    let n = t.unit_length(n)?;
    classify(&mut t, model, [x, n])?;
    let mut program = Program::compile(&t, &state, &Options::default())?;
    let x = Tensor::with_data(shapes[0], Data::U8(images))?;
    let n = Tensor::with_data(shapes[1], Data::U8(normals))?;
    let fetched = program.call(&mut state, &[("x", &x), ("n", &n)])?;
    let [images, normals, read] =
        ["images", "normals", "read"].map(|name| fetched[name].f32s().to_vec());
    Ok(Set { images, normals, read, ..set(model) })
}

/// The mean over normals of the standard deviation over styles of the light's direction.
fn variation(directions: &[[f64; 2]]) -> f64 {
    let of = |styles: &[[f64; 2]]| {
        let n = styles.len() as f64;
        let mean = |i: usize| styles.iter().map(|d| d[i]).sum::<f64>() / n;
        let spread = |i: usize| styles.iter().map(|d| (d[i] - mean(i)).powi(2)).sum::<f64>() / n;
        (spread(0) + spread(1)).sqrt()
    };
    let all: Vec<f64> = directions.chunks(STYLES).map(of).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

/// The light of an image: its fitted x and y as shares of the constant.
fn direction(set: &Set, i: usize) -> [f64; 2] {
    let (_, c) = fit(set.image(i), set.map(i), set.channels);
    [c[1] / c[0].abs().max(0.05), c[2] / c[0].abs().max(0.05)].map(|x| x.clamp(-3.0, 3.0))
}

fn main() -> Result<()> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let [data, models @ ..] = &typed[..] else { panic!("usage: ss_gan DATA MODEL [MODEL …]") };
    let source = Source::open(Some(Path::new(data)))?;
    source.check_normals()?;
    println!(
        "{:<34} {:>6} {:>8} {:>6} {:>8} {:>6} {:>7} {:>7} {:>6} {:>6}",
        "", "R² own", "shuffled", "light", "|‖n‖−1|", "mean°", "median°", "<11.25", "<22.5", "<30"
    );
    for path in models {
        let (file, _) = ModelFile::open(Path::new(path))?;
        let model = &file.networks;
        let real = real(&file, &source)?;
        let lights: Vec<[f64; 2]> = (0..COUNT).map(|i| direction(&real, i)).collect();
        println!("{path}");
        real.print("  real images", variation(&lights));
        let seeds: Vec<u64> = (0..COUNT as u64).collect();
        let latents = seeded_latents(&seeds, model.nz, model.latent_distribution);
        // The same normals in each group of styles.
        let mut held = latents.f32s().to_vec();
        let range = model.parts.range("structure").expect("a model of SS-GAN");
        for group in held.chunks_mut(STYLES * model.nz) {
            let first = group[range.clone()].to_vec();
            group.chunks_mut(model.nz).for_each(|z| z[range.clone()].copy_from_slice(&first));
        }
        let held = generated(&file, &Tensor::new([COUNT, model.nz], held)?, None)?;
        let lights: Vec<[f64; 2]> = (0..COUNT).map(|i| direction(&held, i)).collect();
        let light = variation(&lights);
        generated(&file, &latents, Some(&real))?.print("  generated from real normals", light);
        generated(&file, &latents, None)?.print("  generated from generated normals", light);
    }
    Ok(())
}
