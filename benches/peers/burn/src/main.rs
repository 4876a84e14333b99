//! The DCGAN-64 of PyTorch's tutorial in Burn: trains or samples on random data and prints one line
//! of JSON. What `benches/peers/run` compares; see the README beside it.
//!
//! Arguments: `DEVICE WORK BATCH STEPS MAX_SECONDS`, with DEVICE `flex`, `wgpu` (the default adapter)
//! or `wgpu-cpu` (a software adapter such as llvmpipe), and WORK `train` or `sample`.

use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{leaky_relu, log_sigmoid, relu};
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};

const NZ: usize = 100;
const WIDTH: usize = 64;
const RATE: f64 = 2e-4;

/// Steps before the timed ones.
const WARM_UP: usize = 2;

/// Seconds that a timed block of steps takes at least, so that waiting for the device after each
/// block costs a fast one nothing.
const BLOCK: f64 = 0.2;

const NORMAL: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

/// z `[n, 100, 1, 1]` to images `[n, 3, 64, 64]`.
#[derive(Module, Debug)]
struct Generator {
    convs: Vec<ConvTranspose2d>,
    norms: Vec<BatchNorm>,
}

impl Generator {
    fn new(device: &Device) -> Self {
        let channels = [NZ, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH, 3];
        let conv = |i: usize| {
            let (stride, padding) = if i == 0 { (1, 0) } else { (2, 1) };
            ConvTranspose2dConfig::new([channels[i], channels[i + 1]], [4, 4])
                .with_stride([stride; 2])
                .with_padding([padding; 2])
                .with_bias(false)
                .with_initializer(NORMAL)
                .init(device)
        };
        Self {
            convs: (0..5).map(conv).collect(),
            norms: (1..5).map(|i| BatchNormConfig::new(channels[i]).init(device)).collect(),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for (conv, norm) in self.convs.iter().zip(&self.norms) {
            x = relu(norm.forward(conv.forward(x)));
        }
        self.convs[4].forward(x).tanh()
    }
}

/// Images `[n, 3, 64, 64]` to logits `[n, 1, 1, 1]`.
#[derive(Module, Debug)]
struct Discriminator {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
}

impl Discriminator {
    fn new(device: &Device) -> Self {
        let channels = [3, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH, 1];
        let conv = |i: usize| {
            let (stride, p) = if i == 4 { (1, 0) } else { (2, 1) };
            Conv2dConfig::new([channels[i], channels[i + 1]], [4, 4])
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(p, p, p, p))
                .with_bias(false)
                .with_initializer(NORMAL)
                .init(device)
        };
        Self {
            convs: (0..5).map(conv).collect(),
            norms: (2..5).map(|i| BatchNormConfig::new(channels[i]).init(device)).collect(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = leaky_relu(self.convs[0].forward(x), 0.2);
        for (conv, norm) in self.convs[1..].iter().zip(&self.norms) {
            x = leaky_relu(norm.forward(conv.forward(x)), 0.2);
        }
        self.convs[4].forward(x)
    }
}

/// Binary cross-entropy with logits against a constant target: -log σ(x) for real, -log σ(-x) for
/// fake.
fn loss(logits: Tensor<4>, real: bool) -> Tensor<1> {
    log_sigmoid(if real { logits } else { logits.neg() }).mean().neg()
}

/// Running means and variances, which Burn counts as parameters though they are not trained.
fn running(norms: &[BatchNorm]) -> usize {
    norms.iter().map(|norm| 2 * norm.gamma.shape().num_elements()).sum()
}

struct Training {
    device: Device,
    batch: usize,
    g: Generator,
    d: Discriminator,
    adam_g: ModuleOptimizer,
    adam_d: ModuleOptimizer,
    reals: Tensor<4>,
    /// The losses of D and G in the newest step.
    losses: Option<(Tensor<1>, Tensor<1>)>,
}

impl Training {
    fn new(device: &Device, batch: usize) -> Self {
        let adam =
            || AdamConfig::new().with_beta_1(0.5).with_beta_2(0.999).with_epsilon(1e-8).init();
        Self {
            device: device.clone(),
            batch,
            g: Generator::new(device),
            d: Discriminator::new(device),
            adam_g: adam(),
            adam_d: adam(),
            reals: Tensor::random([batch, 3, 64, 64], Distribution::Uniform(-1.0, 1.0), device),
            losses: None,
        }
    }

    fn latents(&self) -> Tensor<4> {
        Tensor::random([self.batch, NZ, 1, 1], Distribution::Normal(0.0, 1.0), &self.device)
    }

    fn step(&mut self) {
        let fakes = self.g.forward(self.latents());
        let on_reals = loss(self.d.forward(self.reals.clone()), true);
        let on_fakes = loss(self.d.forward(fakes.clone().detach()), false);
        let loss_d = on_reals + on_fakes;
        let grads = GradientsParams::from_grads(loss_d.backward(), &self.d);
        self.d = self.adam_d.step(RATE, self.d.clone(), grads);

        // D's own gradients are not wanted here: a copy without them saves computing them.
        let loss_g = loss(self.d.clone().no_grad().forward(fakes), true);
        let grads = GradientsParams::from_grads(loss_g.backward(), &self.g);
        self.g = self.adam_g.step(RATE, self.g.clone(), grads);
        self.losses = Some((loss_d.detach(), loss_g.detach()));
    }
}

/// Fills [`BLOCK`] seconds with steps: `step` is run and timed, `wait` waits for the device.
/// Returns the seconds per step of every block, at least three blocks.
fn time(steps: usize, max_seconds: f64, mut step: impl FnMut(), wait: impl Fn()) -> Vec<f64> {
    let mut block = 1;
    let mut times = Vec::new();
    let all = Instant::now();
    let mut done = 0;
    while times.len() < 3 || (done < steps && all.elapsed().as_secs_f64() < max_seconds) {
        let start = Instant::now();
        for _ in 0..block {
            step();
        }
        wait();
        let seconds = start.elapsed().as_secs_f64();
        if seconds < BLOCK && done == 0 && block < 1 << 12 {
            block *= 2;
            continue;
        }
        times.push(seconds / block as f64);
        done += block;
    }
    times
}

fn main() {
    let started = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, work, batch, steps, max_seconds] = arguments.as_slice() else {
        panic!("arguments: flex|wgpu|wgpu-cpu train|sample BATCH STEPS MAX_SECONDS");
    };
    let batch: usize = batch.parse().expect("BATCH is a number");
    let steps: usize = steps.parse().expect("STEPS is a number");
    let max_seconds: f64 = max_seconds.parse().expect("MAX_SECONDS is a number");
    let device = match device.as_str() {
        "flex" => Device::flex(),
        "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
        "wgpu-cpu" => Device::wgpu(DeviceKind::Cpu),
        other => panic!("unknown device {other}: choose flex, wgpu or wgpu-cpu"),
    };
    device.seed(0);
    let wait = || device.sync().expect("the device did its work");

    let training_device = device.clone().autodiff();
    let (params_g, params_d, first, times, check);
    match work.as_str() {
        "train" => {
            let mut training = Training::new(&training_device, batch);
            params_g = training.g.num_params() - running(&training.g.norms);
            params_d = training.d.num_params() - running(&training.d.norms);
            training.step();
            wait();
            first = started.elapsed().as_secs_f64();
            for _ in 1..WARM_UP {
                training.step();
            }
            wait();
            times = time(steps, max_seconds, || training.step(), wait);
            let (d, g) = training.losses.expect("steps were done");
            check = [d, g].map(|loss| loss.into_scalar::<f32>());
        }
        "sample" => {
            let g = Generator::new(&training_device).valid();
            params_g = g.num_params() - running(&g.norms);
            params_d = 0;
            let latents =
                Tensor::<4>::random([batch, NZ, 1, 1], Distribution::Normal(0.0, 1.0), &device);
            let mut images = Vec::new();
            let mut sample = || {
                let data = g.forward(latents.clone()).into_data();
                images = data.try_to_vec::<f32>().expect("images are f32");
            };
            sample();
            first = started.elapsed().as_secs_f64();
            for _ in 1..WARM_UP {
                sample();
            }
            times = time(steps, max_seconds, &mut sample, wait);
            assert_eq!(images.len(), batch * 3 * 64 * 64, "images are 64x64x3");
            let mean = images.iter().sum::<f32>() / images.len() as f32;
            let most = images.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
            check = [mean, most];
        }
        other => panic!("unknown work {other}: choose train or sample"),
    }
    println!(
        "{}",
        serde_json::json!({
            "version": "burn 0.22.1",
            "device": format!("{device:?}"),
            "batch": batch,
            "params_g": params_g,
            "params_d": params_d,
            "first_step_seconds": first,
            "seconds": times,
            "check": check,
        })
    );
}
