//! The autoencoder whose hidden layer becomes the code: 3072-128-3072, ReLU, denoising and
//! regularized by dropout (DCGAN paper, section 4.1.1; Srivastava et al., JMLR 2014).
//!
//! ```text
//! x̂ = (x − mean) / (deviation + ε)       each image by itself: brightness and contrast go
//! h = relu(W₁ (x̂ moved + noise) + b₁)    moved by up to two pixels: small shifts change codes less
//! y = W₂ (dropout h) + b₂                loss: mean (y − x̂)²
//! ```

use crate::device::{Device, State};
use crate::error::Result;
use crate::optim::Adam;
use crate::program::{Options, Program};
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

use super::index::{BITS, Codes};
use super::{NUMBERS, REACH, SIDE, Search, Thumbnails};

/// Images of a training step.
const BATCH: usize = 128;
/// Images that are encoded at a time, each at every shift.
const ENCODED: usize = 128;
/// Rows and columns of an image with a margin for all shifts.
const WIDE: usize = SIDE + 2 * REACH as usize;
/// ε: eight gray levels, as lower contrast is noise.
const FLAT: f32 = 8.0 / 127.5;
/// Standard deviation of the noise, for images of deviation 1.
const NOISE: f32 = 0.3;
/// Dropout probability of the hidden units.
const DROPOUT: f32 = 0.5;
/// Adam's step size.
const RATE: f64 = 1e-3;
const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
/// Standard deviation of the initial weights.
const SPREAD: f32 = 0.02;

const KEY: &str = "key";
/// The encoder's weights at every shift, `[WIDE · WIDE · 3, shifts · BITS]`.
const SHIFTED: &str = "encoder.shifted";
/// The trained states and their shapes.
const PARAMS: [(&str, [usize; 2]); 4] = [
    ("encoder.weight", [NUMBERS, BITS]),
    ("encoder.bias", [1, BITS]),
    ("decoder.weight", [BITS, NUMBERS]),
    ("decoder.bias", [1, NUMBERS]),
];

/// A trained autoencoder on a device.
#[derive(Debug)]
pub struct Autoencoder {
    state: State,
    loss: f32,
}

impl Autoencoder {
    /// Trains one on images, for `search.steps` steps of 128; `done` receives the number of steps.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`] if the device is full; [`crate::error::Error::Lost`] if it
    /// fails.
    pub fn train(
        device: &Device,
        small: &Thumbnails,
        search: &Search,
        mut done: impl FnMut(usize),
    ) -> Result<Self> {
        let mut state = State::new(device);
        for (name, shape) in PARAMS {
            let mut first = vec![0.0; shape[0] * shape[1]];
            if name.ends_with("weight") {
                Stream::new(search.seed, name, 0).fill_normal(&mut first);
                first.iter_mut().for_each(|w| *w *= SPREAD);
            }
            state.set(name, &Tensor::new(shape, first)?)?;
            for moment in Adam::moments(name) {
                state.set(&moment, &Tensor::full(shape, 0.0))?;
            }
        }
        let key = vec![search.seed as u32, (search.seed >> 32) as u32, 0, 0];
        state.set(KEY, &Tensor::with_data([4], Data::U32(key))?)?;
        let mut tape = Tape::new();
        record_step(&mut tape)?;
        let mut program = Program::compile(&tape, &state, &Options::default())?;

        let (mut order, mut epoch) = (Vec::new(), 0);
        let mut loss = f32::NAN;
        for step in 0..search.steps {
            while order.len() < BATCH {
                let next = Stream::new(search.seed, "dedup order", epoch);
                order.extend(next.permutation(small.len()));
                epoch += 1;
            }
            let [mut plain, mut moved] = [Vec::new(), Vec::new()];
            let mut draw = Stream::new(search.seed, "dedup shift", step as u32);
            for place in order.drain(..BATCH) {
                let image = small.image(place as usize);
                plain.extend_from_slice(image);
                let by = [0, 1].map(|_| draw.below(2 * REACH as u32 + 1) as i32 - REACH);
                shifted(image, by, &mut moved);
            }
            let tensor = |bytes| Tensor::with_data([BATCH, NUMBERS], Data::U8(bytes));
            let (plain, moved) = (tensor(plain)?, tensor(moved)?);
            let schedule = Tensor::new([2], ADAM.schedule(RATE, step as u64 + 1).to_vec())?;
            let feeds = [("plain", &plain), ("moved", &moved), ("schedule", &schedule)];
            let ticket = program.run(&mut state, &feeds)?;
            if step + 1 == search.steps {
                loss = program.take(ticket)?["loss"].f32s()[0];
            }
            done(1);
        }
        Ok(Self { state, loss })
    }

    /// The loss of the last step.
    #[must_use]
    pub fn loss(&self) -> f32 {
        self.loss
    }

    /// The codes of images at shifts of up to [`REACH`] pixels, with repeated borders; `done`
    /// receives the number of encoded images.
    ///
    /// # Errors
    /// Those of [`Self::train`].
    pub fn encode(
        &self,
        small: &Thumbnails,
        shifts: &[[i32; 2]],
        mut done: impl FnMut(usize),
    ) -> Result<Codes> {
        // W (x − mean) / (deviation + ε) + b has the sign of W x − mean ΣW + b (deviation + ε), and
        // W of a shifted image is W shifted on the wider one: all shifts are one matrix product.
        let [weight, bias] = [PARAMS[0].0, PARAMS[1].0].map(|name| self.state.get(name));
        let (weight, bias) = (weight?, bias?);
        let columns = shifts.len() * BITS;
        let mut wide = vec![0.0; WIDE * WIDE * 3 * columns];
        let mut sums = vec![0.0_f64; BITS];
        for (i, row) in weight.f32s().chunks(BITS).enumerate() {
            let (y, x, c) = (i / 3 / SIDE, i / 3 % SIDE, i % 3);
            for (s, by) in shifts.iter().enumerate() {
                let at = |v: usize, axis: usize| (v as i32 + by[axis] + REACH) as usize;
                let to = 3 * (at(y, 0) * WIDE + at(x, 1)) + c;
                wide[to * columns + s * BITS..][..BITS].copy_from_slice(row);
            }
            sums.iter_mut().zip(row).for_each(|(sum, &w)| *sum += f64::from(w));
        }
        let mut state = State::new(self.state.device());
        state.set(SHIFTED, &Tensor::new([WIDE * WIDE * 3, columns], wide)?)?;
        let mut tape = Tape::new();
        record_products(&mut tape, columns)?;
        let mut program = Program::compile(&tape, &state, &Options::default())?;

        let mut codes = Vec::with_capacity(small.len() * shifts.len());
        let places: Vec<usize> = (0..small.len()).collect();
        for places in places.chunks(ENCODED) {
            let mut wide = Vec::with_capacity(ENCODED * WIDE * WIDE * 3);
            for &place in places {
                widened(small.image(place), &mut wide);
            }
            let levels: Vec<[f64; 2]> =
                wide.chunks(WIDE * WIDE * 3).flat_map(|wide| levels(wide, shifts)).collect();
            // The last batch is padded.
            wide.resize(ENCODED * WIDE * WIDE * 3, 0);
            let wide = Tensor::with_data([ENCODED, WIDE * WIDE * 3], Data::U8(wide))?;
            let products = program.call(&mut state, &[("wide", &wide)])?;
            let rows = products["products"].f32s().chunks(BITS).zip(levels);
            codes.extend(rows.map(|(products, [mean, deviation])| {
                let bit = |i: usize| {
                    let scale = deviation + f64::from(FLAT);
                    let shift = mean * sums[i] - f64::from(bias.f32s()[i]) * scale;
                    f64::from(products[i]) > shift
                };
                (0..BITS).fold(0, |code, i| code | u128::from(bit(i)) << i)
            }));
            done(places.len());
        }
        Ok(Codes { shifts: shifts.to_vec(), codes })
    }
}

/// Mean and deviation of a wide image's values in [−1, 1], for each shift.
fn levels<'a>(wide: &'a [u8], shifts: &'a [[i32; 2]]) -> impl Iterator<Item = [f64; 2]> + 'a {
    shifts.iter().map(|by| {
        let [y, x] = by.map(|by| (by + REACH) as usize);
        let [mut sum, mut square] = [0_u32; 2];
        for row in wide.chunks(WIDE * 3).skip(y).take(SIDE) {
            for &v in &row[3 * x..3 * (x + SIDE)] {
                sum += u32::from(v);
                square += u32::from(v) * u32::from(v);
            }
        }
        let [mean, square] = [sum, square].map(|sum| f64::from(sum) / NUMBERS as f64);
        [mean / 127.5 - 1.0, (square - mean * mean).max(0.0).sqrt() / 127.5]
    })
}

/// Appends an image shifted up and left by `by`; pixels beyond its border repeat the border.
fn shifted(image: &[u8], by: [i32; 2], out: &mut Vec<u8>) {
    let last = SIDE as i32 - 1;
    for y in 0..=last {
        let row = (y + by[0]).clamp(0, last) as usize * SIDE;
        for x in 0..=last {
            let at = 3 * (row + (x + by[1]).clamp(0, last) as usize);
            out.extend_from_slice(&image[at..at + 3]);
        }
    }
}

/// Appends an image with [`REACH`] more pixels on every side, which repeat its border.
fn widened(image: &[u8], out: &mut Vec<u8>) {
    let last = SIDE as i32 - 1;
    for y in -REACH..=last + REACH {
        let row = y.clamp(0, last) as usize * SIDE;
        for x in -REACH..=last + REACH {
            let at = 3 * (row + x.clamp(0, last) as usize);
            out.extend_from_slice(&image[at..at + 3]);
        }
    }
}

/// Rows `[n, NUMBERS]` standardized to mean 0 and deviation 1, unless flatter than [`FLAT`].
fn normalized(t: &mut Tape, x: Var) -> Result<Var> {
    let n = t.shape(x)[0];
    let mean = t.mean(x, &[1])?;
    let mean = t.reshape(mean, &[n, 1])?;
    let x = t.sub(x, mean)?;
    let square = t.mul(x, x)?;
    let variance = t.mean(square, &[1])?;
    let deviation = t.sqrt(variance)?;
    let deviation = t.affine(deviation, 1.0, FLAT)?;
    let deviation = t.reshape(deviation, &[n, 1])?;
    t.div(x, deviation)
}

/// The pre-activations of the hidden layer `[n, BITS]` for rows `[n, NUMBERS]`.
fn hidden(t: &mut Tape, x: Var) -> Result<Var> {
    let [(weight, shape), (bias, one), ..] = PARAMS;
    let weight = t.read(weight, &shape, DType::F32)?;
    let bias = t.read(bias, &one, DType::F32)?;
    let h = t.matmul(x, weight)?;
    t.add(h, bias)
}

/// Records one training step. Feeds: `plain` and `moved` (bytes `[BATCH, NUMBERS]`), `schedule`
/// (rate and root). Fetches: `loss`.
fn record_step(t: &mut Tape) -> Result<()> {
    let schedule = t.feed("schedule", &[2], DType::F32)?;
    let (rate, root) = (t.range(schedule, 0, 1)?, t.range(schedule, 1, 1)?);
    let key = t.read(KEY, &[4], DType::U32)?;
    let [plain, moved] = ["plain", "moved"].map(|name| {
        let bytes = t.feed(name, &[BATCH, NUMBERS], DType::U8)?;
        let x = t.from_u8(bytes)?;
        normalized(t, x)
    });
    let (plain, moved) = (plain?, moved?);

    let noise = t.random_normal(key, "dedup noise", &[BATCH, NUMBERS])?;
    let noise = t.affine(noise, NOISE, 0.0)?;
    let noisy = t.add(moved, noise)?;
    let h = hidden(t, noisy)?;
    let h = t.relu(h)?;
    // 0 or 1 / (1 − DROPOUT): the mean is preserved.
    let chance = t.random_uniform(key, "dedup dropout", &[BATCH, BITS])?;
    let above = t.affine(chance, 1.0, -DROPOUT)?;
    let sign = t.sign(above)?;
    let half = 0.5 / (1.0 - DROPOUT);
    let stays = t.affine(sign, half, half)?;
    let h = t.mul(h, stays)?;
    let [_, _, (weight, shape), (bias, one)] = PARAMS;
    let weight = t.read(weight, &shape, DType::F32)?;
    let bias = t.read(bias, &one, DType::F32)?;
    let y = t.matmul(h, weight)?;
    let y = t.add(y, bias)?;
    let left = t.sub(y, plain)?;
    let square = t.mul(left, left)?;
    let loss = t.mean_all(square)?;
    t.fetch("loss", loss)?;

    let mut params = Vec::new();
    for (name, shape) in PARAMS {
        params.push(t.read(name, &shape, DType::F32)?);
    }
    let gradients = t.grad(loss, &params)?;
    for ((name, _), gradient) in PARAMS.into_iter().zip(gradients) {
        ADAM.update(t, name, gradient, rate, root)?;
    }
    let next = t.advance(key)?;
    t.assign(KEY, next)
}

/// Records the products of wide images with the shifted weights. Feeds: `wide` (bytes
/// `[ENCODED, WIDE · WIDE · 3]`). Fetches: `products` `[ENCODED, columns]`.
fn record_products(t: &mut Tape, columns: usize) -> Result<()> {
    let numbers = WIDE * WIDE * 3;
    let wide = t.feed("wide", &[ENCODED, numbers], DType::U8)?;
    let wide = t.from_u8(wide)?;
    let weight = t.read(SHIFTED, &[numbers, columns], DType::F32)?;
    let products = t.matmul(wide, weight)?;
    t.fetch("products", products)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::shifts;
    use super::*;

    /// Images of smooth random waves.
    fn waves(n: usize) -> Thumbnails {
        let mut small = Thumbnails { items: (0..n as u32).collect(), ..Thumbnails::default() };
        for i in 0..n {
            let mut random = [0.0; 9];
            Stream::new(7, "waves", i as u32).fill_uniform(&mut random);
            for p in 0..SIDE * SIDE {
                let (y, x) = ((p / SIDE) as f32, (p % SIDE) as f32);
                for r in random.chunks(3) {
                    let wave = (0.3 * (r[0] - 0.5) * y + 0.3 * (r[1] - 0.5) * x + 6.3 * r[2]).sin();
                    small.images.push((128.0 + 100.0 * wave) as u8);
                }
            }
        }
        small
    }

    fn search(steps: usize, seed: u64) -> Search {
        Search { steps, seed, ..Search::default() }
    }

    #[test]
    fn it_learns_and_its_codes_are_those_of_the_moved_image() {
        let small = waves(140);
        let train = |steps, seed| {
            Autoencoder::train(&Device::Cpu, &small, &search(steps, seed), |_| ()).unwrap()
        };
        let (first, last) = (train(1, 3), train(30, 3));
        assert!(last.loss() < 0.8 * first.loss(), "{} {}", first.loss(), last.loss());

        let mut encoded = 0;
        let codes = last.encode(&small, &shifts(), |n| encoded += n).unwrap();
        assert_eq!((encoded, codes.len(), codes.codes.len()), (140, 140, 140 * 25));
        // The code at a shift is the plain code of the shifted image.
        for s in [0, 1, 7, 24] {
            let mut moved = Thumbnails { items: small.items.clone(), ..Thumbnails::default() };
            for place in 0..small.len() {
                shifted(small.image(place), codes.shifts[s], &mut moved.images);
            }
            let plain = last.encode(&moved, &[[0, 0]], |_| ()).unwrap();
            let differ = |i: usize| (codes.codes[25 * i + s] ^ plain.codes[i]).count_ones();
            // A unit near zero may fall on either side of it.
            let most = (0..small.len()).map(differ).max().unwrap();
            assert!(most <= 1, "{most} bits at {:?}", codes.shifts[s]);
        }
        // Brightness and contrast do not change a code much, another image does.
        let mut pale = small.clone();
        pale.images.iter_mut().for_each(|v| *v = *v / 2 + 90);
        let plain = |small: &Thumbnails, last: &Autoencoder| {
            last.encode(small, &[[0, 0]], |_| ()).unwrap().codes
        };
        let (a, b) = (plain(&small, &last), plain(&pale, &last));
        let far = |a: &[u128], b: &[u128]| {
            let bits: u32 = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum();
            bits as usize / a.len()
        };
        assert!(far(&a, &b) < 6 && far(&a[1..], &b) > 20, "{} {}", far(&a, &b), far(&a[1..], &b));

        // Determined by the seed alone.
        assert_eq!(plain(&small, &train(30, 3)), a);
        assert_ne!(plain(&small, &train(30, 4)), a);
    }
}
