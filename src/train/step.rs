//! One training step as a tape: a discriminator's step on a batch of real pictures and one of
//! generated ones, then a generator's step on the same generated pictures.

use crate::error::Result;
use crate::models::{Dcgan, LatentLaw, Pixels};
use crate::nn::{Mode, Param, Sequential};
use crate::objectives::bce_with_logits;
use crate::optim::{Adam, moving_average};
use crate::rng::Stream;
use crate::tape::{Tape, Var};
use crate::tensor::{DType, Data, Tensor};

/// The state that holds the key of the device's random numbers: seed (low, high half), step, 0.
pub const KEY: &str = "key";

/// The prefix of the averaged generator's states.
pub const AVERAGE: &str = "ema";

/// What a step is made from.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// The networks.
    pub model: Dcgan,
    /// Pictures in a batch.
    pub batch: usize,
    /// The optimiser of both networks.
    pub adam: Adam,
    /// One-sided label smoothing (Salimans et al., arXiv 1606.03498, section 3.4): real pictures
    /// are called real with probability `1 − smooth`.
    pub smooth: f32,
    /// Keep a moving average of the generator.
    pub average: bool,
    /// Take the latents from the feed `z` `[batch, nz]` rather than from the device's generator.
    pub feed_latents: bool,
    /// Also fetch every gradient, as `grad.<parameter>`, and the generated pictures, as `fake`.
    pub fetch_gradients: bool,
}

/// The numbers that the feed `schedule` holds, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The discriminator's step size (see [`Adam::schedule`]).
    pub rate_d: f32,
    /// The generator's step size.
    pub rate_g: f32,
    /// Adam's factor of the root.
    pub root: f32,
    /// Weight of the new generator in the average.
    pub average: f32,
}

impl Schedule {
    /// The feed.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        let numbers = vec![self.rate_d, self.rate_g, self.root, self.average];
        Tensor::new([4], numbers).expect("four numbers")
    }
}

/// Records a training step. Feeds: `pictures` (bytes, `[batch, h, w, c]`), `schedule` (see
/// [`Schedule`]), `labels` (`[batch, classes]`, see [`Tensor::one_hot`]) where the networks are told
/// classes, and `z` where asked for. Fetches: `loss_d`, `loss_real`, `loss_fake`, `loss_g`,
/// `d_real`, `d_fake`, `d_fake_g` (means of the sigmoid of logits), `grad_norm_d`, `grad_norm_g`.
///
/// The order is PyTorch's example's: D's losses on real and on generated pictures, each batch
/// normalised by itself; D's update; G's loss by the updated D on the same pictures; G's update.
/// The two halves of D's gradient are made one after the other, so that only one set of D's
/// activations is alive at a time.
///
/// Generated pictures are of the classes of the real ones beside them, as in the authors' MNIST
/// code: both halves of a batch then have the same classes, and classes come as often as they do in
/// the data.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
pub fn record(t: &mut Tape, options: &StepOptions) -> Result<()> {
    let Dcgan { size, channels, nz, classes, .. } = options.model;
    let n = options.batch;
    let generator = options.model.generator()?;
    let discriminator = options.model.discriminator()?;

    let pictures = t.feed("pictures", &[n, size.height, size.width, channels], DType::U8)?;
    let schedule = t.feed("schedule", &[4], DType::F32)?;
    let scalar = |t: &mut Tape, i: usize| t.range(schedule, i, 1);
    let (rate_d, rate_g) = (scalar(t, 0)?, scalar(t, 1)?);
    let (root, weight) = (scalar(t, 2)?, scalar(t, 3)?);
    let labels = match classes {
        0 => None,
        classes => Some(t.feed("labels", &[n, classes], DType::F32)?),
    };
    let z = if options.feed_latents {
        t.feed("z", &[n, nz], DType::F32)?
    } else {
        let key = t.read(KEY, &[4], DType::U32)?;
        let z = latents(t, key, options.model.preset.latent_law(), &[n, nz])?;
        let next = t.advance(key)?;
        t.assign(KEY, next)?;
        z
    };

    let z = t.reshape(z, &[n, 1, 1, nz])?;
    let fake = generator.forward_labelled(t, "generator", z, labels, Mode::Train)?;
    let real = t.from_u8(pictures)?;
    let real = match options.model.preset.pixels() {
        Pixels::Signed => real,
        Pixels::Unit => t.affine(real, 0.5, 0.5)?,
    };

    let names = learnt(&discriminator, "discriminator");
    let weights = read_all(t, &names)?;
    let judge = |t: &mut Tape, x: Var| {
        discriminator.forward_labelled(t, "discriminator", x, labels, Mode::Train)
    };
    let logits_real = judge(t, real)?;
    let loss_real = bce_with_logits(t, logits_real, 1.0 - options.smooth)?;
    let grads_real = t.grad(loss_real, &weights)?;
    let logits_fake = judge(t, fake)?;
    let loss_fake = bce_with_logits(t, logits_fake, 0.0)?;
    let grads_fake = t.grad(loss_fake, &weights)?;
    let mut grads = Vec::new();
    for (real, fake) in grads_real.into_iter().zip(grads_fake) {
        grads.push(t.add(real, fake)?);
    }
    update(t, options, &names, &grads, [rate_d, root], "grad_norm_d")?;

    let names = learnt(&generator, "generator");
    let weights = read_all(t, &names)?;
    let logits_g = judge(t, fake)?;
    let loss_g = bce_with_logits(t, logits_g, 1.0)?;
    let grads = t.grad(loss_g, &weights)?;
    update(t, options, &names, &grads, [rate_g, root], "grad_norm_g")?;
    if options.average {
        for param in generator.params("generator") {
            let average = averaged(&param.name);
            moving_average(t, &average, &param.name, &param.shape, weight)?;
        }
    }

    if options.fetch_gradients {
        t.fetch("fake", fake);
    }
    let loss_d = t.add(loss_real, loss_fake)?;
    for (name, loss) in
        [("loss_d", loss_d), ("loss_real", loss_real), ("loss_fake", loss_fake), ("loss_g", loss_g)]
    {
        t.fetch(name, loss);
    }
    for (name, logits) in [("d_real", logits_real), ("d_fake", logits_fake), ("d_fake_g", logits_g)]
    {
        let probability = t.sigmoid(logits)?;
        let mean = t.mean_all(probability)?;
        t.fetch(name, mean);
    }
    Ok(())
}

/// The name of the averaged twin of a generator's state.
#[must_use]
pub fn averaged(name: &str) -> String {
    format!("{AVERAGE}.{name}")
}

/// Latents of `shape` on the device, from the stream `z`.
///
/// # Errors
/// As recording may fail.
pub fn latents(t: &mut Tape, key: Var, law: LatentLaw, shape: &[usize]) -> Result<Var> {
    match law {
        LatentLaw::Normal => t.random_normal(key, "z", shape),
        LatentLaw::Uniform => {
            let uniform = t.random_uniform(key, "z", shape)?;
            t.affine(uniform, 2.0, -1.0)
        }
    }
}

/// Latents `[seeds, nz]` on the host, one row for each seed: the same whatever stands beside it.
#[must_use]
pub fn seeded_latents(seeds: &[u64], nz: usize, law: LatentLaw) -> Tensor {
    let mut z = vec![0.0; seeds.len() * nz];
    for (&seed, row) in seeds.iter().zip(z.chunks_mut(nz)) {
        law.fill(&Stream::new(seed, "latent", 0), row);
    }
    Tensor::new([seeds.len(), nz], z).expect("the data was made for the shape")
}

/// Every state of a training, in the order in which they are made: the networks' tensors, the
/// optimiser's moments, the averaged generator.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
pub fn params(model: &Dcgan, average: bool) -> Result<Vec<Param>> {
    let networks = model.params()?;
    let mut all = networks.clone();
    for param in networks.iter().filter(|p| p.learnt) {
        let zero = crate::nn::Init::Constant(0.0);
        for name in Adam::moments(&param.name) {
            all.push(Param { name, init: zero, learnt: false, ..param.clone() });
        }
    }
    if average {
        for param in networks.iter().filter(|p| p.name.starts_with("generator.")) {
            all.push(Param { name: averaged(&param.name), learnt: false, ..param.clone() });
        }
    }
    Ok(all)
}

/// The values of all states before the first step: a function of the seed.
///
/// # Errors
/// [`crate::error::Error::Flag`] where the options make no network.
pub fn initial_state(model: &Dcgan, average: bool, seed: u64) -> Result<Vec<(String, Tensor)>> {
    let mut state: Vec<(String, Tensor)> = Vec::new();
    for param in params(model, average)? {
        let plain = param.name.strip_prefix("ema.");
        // The average starts at the network itself, whose numbers hang on its name.
        let source = Param { name: plain.unwrap_or(&param.name).into(), ..param.clone() };
        state.push((param.name, source.initial(seed)));
    }
    let key = vec![seed as u32, (seed >> 32) as u32, 0, 0];
    state.push((KEY.into(), Tensor::with_data([4], Data::U32(key))?));
    Ok(state)
}

fn learnt(network: &Sequential, prefix: &str) -> Vec<Param> {
    network.params(prefix).into_iter().filter(|p| p.learnt).collect()
}

fn read_all(t: &mut Tape, params: &[Param]) -> Result<Vec<Var>> {
    params.iter().map(|p| t.read(&p.name, &p.shape, DType::F32)).collect()
}

/// Updates the parameters by their gradients and fetches the gradients' Euclidean norm.
fn update(
    t: &mut Tape,
    options: &StepOptions,
    params: &[Param],
    grads: &[Var],
    [rate, root]: [Var; 2],
    norm: &str,
) -> Result<()> {
    let mut total = None;
    for (param, &g) in params.iter().zip(grads) {
        let square = t.mul(g, g)?;
        let square = t.sum_all(square)?;
        total = Some(match total {
            Some(total) => t.add(total, square)?,
            None => square,
        });
        options.adam.update(t, &param.name, g, rate, root)?;
        if options.fetch_gradients {
            t.fetch(&format!("grad.{}", param.name), g);
        }
    }
    if let Some(total) = total {
        let root = t.sqrt(total)?;
        t.fetch(norm, root);
    }
    Ok(())
}
