//! Random recipes: networks, losses, penalties, norms, codes and schedules drawn by seed, one training
//! step of each. Fused against unfused, resumed against continued, and a GPU against the CPU; every
//! plan is proved as it is made.
//!
//! `DCGAN_TEST_SEEDS=0-1000 cargo test --release random_steps` draws others, and more of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use clap::ValueEnum;
use dcgan::augment::Augment;
use dcgan::device::gpu::GpuOptions;
use dcgan::device::{Device, State};
use dcgan::gan::objective::{ObjectiveConfig, OptimizerKind};
use dcgan::gan::{Recording, System};
use dcgan::models::{Architecture, Codes, Conditioning, Minibatch, ModelConfig, Norm, Size};
use dcgan::nn::Parametrization;
use dcgan::objectives::{Loss, Penalty};
use dcgan::ops::Caps;
use dcgan::program::{Options, Program, kernels};
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::train::TrainConfig;

use super::naive;
use super::support::{fusion, gpu_with, wide};

/// The seeds to draw from: `DCGAN_TEST_SEEDS`, or these.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(named) = std::env::var("DCGAN_TEST_SEEDS") else { return usual };
    let (from, to) = named.split_once('-').expect("DCGAN_TEST_SEEDS=FROM-TO");
    from.parse().unwrap()..to.parse().unwrap()
}

struct Dice(Stream);

impl Dice {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u32) as usize]
    }

    /// Once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.0.below(n) == 0
    }
}

fn model(d: &mut Dice) -> ModelConfig {
    let sides = [8_usize, 10, 12, 14, 16];
    let height = d.pick(&sides);
    let width = if d.once_in(3) { d.pick(&sides) } else { height };
    let weights = [
        Parametrization::Plain,
        Parametrization::Plain,
        Parametrization::Spectral,
        Parametrization::Norm,
        Parametrization::NormFixed,
    ];
    let codes = Codes { categories: d.pick(&[0, 3]), numbers: d.pick(&[1, 2]) };
    ModelConfig {
        bias: dcgan::models::Bias::Auto,
        network: d.pick(Architecture::value_variants()),
        size: Size { height, width },
        channels: d.pick(&[1, 3, 4]),
        nz: d.pick(&[7, 12, 16]),
        ngf: d.pick(&[4, 5, 8, 16]),
        ndf: d.pick(&[4, 6, 8, 16]),
        classes: d.pick(&[0, 0, 3, 5]),
        text: 0,
        text_augment: 0,
        upscale: 2,
        conditioning: d.pick(&[
            Conditioning::Concat,
            Conditioning::Auxiliary,
            Conditioning::Projection,
            Conditioning::Semi,
        ]),
        norm_g: d.pick(&[
            Norm::Batch,
            Norm::Batch,
            Norm::Layer,
            Norm::Instance,
            Norm::Group,
            Norm::Pixel,
            Norm::Virtual,
            Norm::Conditional,
            Norm::None,
        ]),
        norm_d: d.pick(&[
            Norm::Batch,
            Norm::Layer,
            Norm::Instance,
            Norm::Group,
            Norm::Pixel,
            Norm::None,
            Norm::None,
        ]),
        weight_g: d.pick(&weights),
        weight_d: d.pick(&weights),
        attention: if d.once_in(4) { d.pick(&[4, 8]) } else { 0 },
        codes: if d.once_in(4) { codes } else { Codes::default() },
        minibatch: d.pick(&[
            Minibatch::None,
            Minibatch::None,
            Minibatch::Discrimination,
            Minibatch::Deviation,
        ]),
    }
}

fn objective(d: &mut Dice) -> ObjectiveConfig {
    let loss = d.pick(Loss::value_variants());
    let penalty = match d.once_in(3) {
        true => Penalty::None,
        false => d.pick(Penalty::value_variants()),
    };
    let augment = match d.once_in(3) {
        true => d.pick(&["color,translation,cutout", "translation", "saturation,cutout"]),
        false => "none",
    };
    let augment: Augment = augment.parse().unwrap();
    let adaptive = !augment.is_none() && d.once_in(2);
    let mut sometimes = |n: u32, value: f32| if d.once_in(n) { value } else { 0.0 };
    ObjectiveConfig {
        loss,
        smooth: if loss.has_labels() { sometimes(2, 0.1) } else { 0.0 },
        feature_matching: sometimes(6, 1.0) > 0.0,
        penalty,
        penalty_weight: if penalty == Penalty::None { 0.0 } else { 5.0 },
        augment,
        augment_p: if adaptive || augment.is_none() { 1.0 } else { 1.0 - sometimes(2, 0.5) },
        ada: if adaptive { 0.6 } else { 0.0 },
        clip_weights: sometimes(6, 0.05),
        orthogonal: sometimes(6, 1e-3),
        historical: sometimes(6, 1e-2),
        weight_decay: sometimes(6, 1e-2),
        clip_gradients: sometimes(6, 0.5),
        micro_batch: if sometimes(4, 1.0) > 0.0 { 2 } else { 0 },
        n_critic: d.pick(&[1, 1, 2]),
        optimizer: d.pick(&[OptimizerKind::Adam, OptimizerKind::Adam, OptimizerKind::Rmsprop]),
        ..ObjectiveConfig::default()
    }
}

/// A recipe, and the tape of its step.
struct Case {
    seed: u64,
    config: TrainConfig,
    system: System,
    tape: Tape,
}

/// The recipes of these seeds; those that make no network are left out.
fn cases(seeds: Range<u64>) -> impl Iterator<Item = Case> {
    seeds.filter_map(|seed| {
        let mut dice = Dice(Stream::new(seed, "random steps", 0));
        let (model, objective) = (model(&mut dice), objective(&mut dice));
        let batch = dice.pick(&[4, 6]);
        let ema = if dice.once_in(2) { 10_000 } else { 0 };
        let labels_per_class = u64::from(model.is_semi_supervised());
        let config =
            TrainConfig { batch, objective, ema, labels_per_class, ..TrainConfig::new(model) };
        let system = config.system().ok()?;
        let tape = system.tape(Recording::default()).ok()?;
        Some(Case { seed, config, system, tape })
    })
}

type Tensors = BTreeMap<String, Tensor>;

impl Case {
    fn start(&self) -> Tensors {
        self.system.initial_state(self.seed).unwrap().into_iter().collect()
    }

    /// The feeds of step `step`, from 1.
    fn feeds(&self, step: u32) -> Vec<(&'static str, Tensor)> {
        let TrainConfig { model, objective, batch, .. } = &self.config;
        let n = batch * objective.n_critic;
        let shape = [n, model.size.height, model.size.width, model.channels];
        let mut stream = Stream::new(self.seed, "images", step);
        let mut images = || {
            let bytes = (0..shape.iter().product()).map(|_| stream.next_u32() as u8).collect();
            Tensor::with_data(shape, Data::U8(bytes)).unwrap()
        };
        let mut feeds = vec![("images", images())];
        let value = |name: &str| if name == "average" { 0.3 } else { 2e-4 };
        feeds.push(("schedule", self.system.first().schedule_of(value)));
        if model.classes > 0 {
            let label = |i: usize| ((i * 7 + step as usize) % model.classes) as u32;
            let labels: Vec<u32> = (0..n).map(label).collect();
            feeds.push(("labels", Tensor::one_hot(&labels, model.classes).unwrap()));
        }
        if model.is_semi_supervised() {
            feeds.push(("labelled", images()));
        }
        feeds
    }

    /// Runs steps from the states `from`: the fetches of each step, and the states at the end.
    fn run(
        &self,
        device: &Device,
        options: &Options,
        from: &Tensors,
        steps: std::ops::RangeInclusive<u32>,
    ) -> (Vec<Tensors>, Tensors) {
        let mut state = State::new(device);
        for (name, value) in from {
            state.set(name, value).unwrap();
        }
        let mut program = Program::compile(&self.tape, &state, options).unwrap();
        let mut fetched = Vec::new();
        for step in steps {
            let feeds = self.feeds(step);
            let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (*name, tensor)).collect();
            fetched.push(program.call(&mut state, &feeds).unwrap());
        }
        let names: Vec<String> = state.names().map(String::from).collect();
        let states = names.into_iter().map(|name| {
            let value = state.get(&name).unwrap();
            (name, value)
        });
        (fetched, states.collect())
    }
}

/// The names of tensors that differ in any bit.
fn differing(a: &Tensors, b: &Tensors) -> Vec<String> {
    assert!(a.keys().eq(b.keys()));
    let differs = |name: &&String| a[*name].bytes() != b[*name].bytes();
    a.keys().filter(differs).cloned().collect()
}

/// Each plan is held against its tape as it is made, in debug builds.
#[test]
fn plans_of_random_steps_are_proved() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut planned = 0;
    for case in cases(seeds(0..120)) {
        for (software, immediates) in [(false, 0), (true, 128)] {
            let caps = Caps { software, immediates, ..Caps::portable() };
            let plan = || kernels(&case.tape, &caps, &fusion(true)).unwrap();
            let planned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(plan));
            assert!(planned.is_ok(), "seed {}: {:?}", case.seed, case.config);
        }
        planned += 1;
    }
    assert!(planned > 30, "only {planned} of the recipes make networks");
}

#[test]
fn random_steps_are_the_same_fused_and_resumed() {
    for case in cases(seeds(0..40)) {
        let (start, cpu) = (case.start(), Device::Cpu);
        let (fetched, fused) = case.run(&cpu, &fusion(true), &start, 1..=2);
        let (_, unfused) = case.run(&cpu, &fusion(false), &start, 1..=2);
        let about = || format!("seed {}: {:?}", case.seed, case.config);
        assert_eq!(differing(&fused, &unfused), [""; 0], "unfused, {}", about());
        let (_, one) = case.run(&cpu, &fusion(true), &start, 1..=1);
        let (_, resumed) = case.run(&cpu, &fusion(true), &one, 2..=2);
        assert_eq!(differing(&fused, &resumed), [""; 0], "resumed, {}", about());
        let finite = |tensor: &Tensor| tensor.f32s().iter().all(|x| x.is_finite());
        assert!(fetched.iter().flat_map(Tensors::values).all(finite), "{}", about());
    }
}

/// How far two tensors are apart: the norm of their difference as a share of that of `b`; infinite where
/// one of them holds NaN.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    match difference {
        0.0 => 0.0,
        _ if difference.is_nan() => f64::INFINITY,
        _ => difference / norm(&mut b.iter().map(|&b| f64::from(b))),
    }
}

/// The states with every number moved by up to one unit in its last place.
fn shaken(states: &Tensors, round: u32) -> Tensors {
    let mut noise = Stream::new(5, "shake", round);
    let mut shake = |x: f32| match noise.next_u32() % 3 {
        0 if x != 0.0 => f32::from_bits(x.to_bits() + 1),
        1 if x != 0.0 => f32::from_bits(x.to_bits() - 1),
        _ => x,
    };
    let mut shake = |(name, tensor): (&String, &Tensor)| {
        let tensor = match tensor.dtype() {
            DType::F32 => {
                let numbers = tensor.f32s().iter().map(|&x| shake(x)).collect();
                Tensor::new(tensor.shape(), numbers).unwrap()
            }
            _ => tensor.clone(),
        };
        (name.clone(), tensor)
    };
    states.iter().map(&mut shake).collect()
}

/// What a step from `start` computes: its fetches, and how far each state moves.
fn results(case: &Case, device: &Device, start: &Tensors) -> BTreeMap<String, Vec<f32>> {
    let (fetched, after) = case.run(device, &fusion(true), start, 1..=1);
    let fetched = fetched[0].iter().map(|(name, x)| (format!("fetch {name}"), x.f32s().to_vec()));
    let floats = after.iter().filter(|(_, x)| x.dtype() == DType::F32);
    let moves = floats.map(|(name, x)| {
        let pairs = x.f32s().iter().zip(start[name].f32s());
        (format!("state {name}"), pairs.map(|(after, before)| after - before).collect())
    });
    fetched.chain(moves).collect()
}

/// The same in 64 bits, by the interpreter.
fn truth(case: &Case, start: &Tensors) -> BTreeMap<String, Vec<f64>> {
    let tensors = case.feeds(1).into_iter().map(|(name, x)| (name.to_owned(), x));
    let sources = tensors.chain(start.clone()).map(|(name, x)| (name, wide(&x))).collect();
    let fetched = case.tape.fetches().iter().map(|(name, &var)| (format!("fetch {name}"), var));
    let states = case.tape.states().iter().map(|(name, s)| (format!("state {name}"), s.after));
    let (names, vars): (Vec<String>, Vec<Var>) = fetched.chain(states).unzip();
    let values = naive::eval(&case.tape, &sources, &vars);
    let moved = |(name, mut value): (String, Vec<f64>)| {
        if let Some(before) = name.strip_prefix("state ").map(|name| &sources[name]) {
            value.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
        }
        (name, value)
    };
    names.into_iter().zip(values).map(moved).collect()
}

/// Devices round otherwise. How far that may take a result shows on the CPU, from states that are moved
/// by a unit in the last place, and from how far the CPU itself is from the numbers in 64 bits:
/// gradients that are nothing but rounding move by as much as they are.
#[test]
fn random_steps_on_a_gpu_are_those_of_the_cpu() {
    let Some(device) = gpu_with(GpuOptions::default()).map(Device::Gpu) else { return };
    let mut wrong = String::new();
    for case in cases(seeds(0..8)) {
        let start = case.start();
        let want = results(&case, &Device::Cpu, &start);
        let others = [0, 1, 2, 3].map(|i| results(&case, &Device::Cpu, &shaken(&start, i)));
        let mut exact = None;
        for (name, got) in results(&case, &device, &start) {
            let want = &want[&name];
            let shaken = others.iter().map(|other| apart(&other[&name], want)).fold(0.0, f64::max);
            if apart(&got, want) <= f64::max(1e-3, 30.0 * shaken) {
                continue;
            }
            let exact = &exact.get_or_insert_with(|| truth(&case, &start))[&name];
            let exact: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
            let [ours, cpu] = [&got, want].map(|x| apart(x, &exact));
            if ours > f64::max(1e-3, 4.0 * cpu) {
                let seed = case.seed;
                writeln!(
                    wrong,
                    "seed {seed}: {name} is off by {ours:.1e}, the CPU by {cpu:.1e}, and by \
                     {shaken:.1e} where states move by a unit in the last place"
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
