//! Whole training steps on one device against another.

use std::collections::{BTreeMap, BTreeSet};

use crate::augment::Augment;
use crate::device::{Device, State};
use crate::error::Result;
use crate::gan::Family;
use crate::gan::families::int_cls::WRONG;
use crate::gan::{Recording, StageName, scale};
use crate::model::names::{AVERAGE, KEY, averaged_from};
use crate::models::{Architecture, Conditioning, ModelConfig, Norm, Size};
use crate::nn::{NORMALS, Parametrization, TEXT};
use crate::objectives::{Loss, Penalty};
use crate::program::{Fetched, Options, Precision, Program};
use crate::rng::Stream;
use crate::tensor::{Data, Tensor};
use crate::text::TextEncoder;
use crate::train::{ObjectiveConfig, TrainConfig};

use super::{Difference, Outcome, SEED, largest, share, wide};

/// A training step to check.
#[derive(Clone, Copy, Debug)]
pub struct StepCase {
    /// The networks.
    pub model: ModelConfig,
    /// Images in a batch.
    pub batch: usize,
    /// How they are trained.
    pub objective: ObjectiveConfig,
    /// How a GPU keeps activations; the CPU reference keeps all bits.
    pub precision: Precision,
    /// What distinguishes it, in a few words; else empty.
    pub what: &'static str,
    /// The stage that it is a step of; empty for the first.
    pub stage: &'static str,
}

/// What a step checks, in the order of [`StepOutcome::groups`].
pub const GROUPS: [&str; 5] = ["losses", "gradients", "statistics", "weights", "latents' key"];

/// The outcome of a step's checks, one for each of [`GROUPS`].
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// The outcomes.
    pub groups: [Outcome; GROUPS.len()],
    /// The tensor that is furthest off, if any.
    pub worst: [String; GROUPS.len()],
}

impl StepOutcome {
    pub(super) fn failed(what: &str) -> Self {
        Self {
            groups: std::array::from_fn(|_| Outcome::Failed(what.into())),
            worst: std::array::from_fn(|_| String::new()),
        }
    }
}

/// The steps to check: every network on small and uneven sizes, with the parts that the GAN family
/// adds, one whose layers have the shapes of DCGAN-64, and one in 16 bits if the device supports
/// them (`halves`).
#[must_use]
pub fn step_cases(halves: bool) -> Vec<StepCase> {
    let model = |network, side: usize, channels, width| ModelConfig {
        channels,
        nz: if width < 64 { 10 } else { 100 },
        ngf: width,
        ndf: width,
        ..ModelConfig::usual(network, Some(Size { height: side, width: side }))
    };
    let objective = ObjectiveConfig { smooth: 0.1, ..ObjectiveConfig::default() };
    let plain = |model, batch| StepCase {
        model,
        batch,
        objective,
        precision: Precision::F32,
        what: "",
        stage: "",
    };
    let with_classes = |classes, model| ModelConfig { classes, ..model };
    let mut cases = vec![
        plain(model(Architecture::Dcgan, 32, 3, 8), 6),
        plain(model(Architecture::Paper, 16, 3, 8), 8),
        plain(model(Architecture::Dcgan, 28, 1, 5), 3),
        plain(with_classes(10, model(Architecture::Mnist, 28, 1, 4)), 6),
        plain(model(Architecture::Dcgan, 64, 3, 64), 2),
        StepCase {
            objective: ObjectiveConfig { loss: Loss::Hinge, ..ObjectiveConfig::default() },
            what: "hinge, spectral norm",
            ..plain(
                ModelConfig {
                    weight_d: Parametrization::Spectral,
                    ..model(Architecture::Cnn, 32, 3, 8)
                },
                4,
            )
        },
        StepCase {
            objective: ObjectiveConfig {
                loss: Loss::Wasserstein,
                penalty: Penalty::Gp,
                penalty_weight: 10.0,
                ..ObjectiveConfig::default()
            },
            what: "gradient penalty, projection",
            ..plain(
                ModelConfig {
                    classes: 3,
                    conditioning: Conditioning::Projection,
                    norm_d: Norm::None,
                    ..model(Architecture::Resnet, 32, 3, 6)
                },
                4,
            )
        },
        StepCase {
            objective: ObjectiveConfig { augment: Augment::ALL, ..objective },
            what: "attention, DiffAugment",
            ..plain(ModelConfig { attention: 16, ..model(Architecture::Dcgan, 32, 3, 8) }, 4)
        },
        StepCase {
            objective: ObjectiveConfig { family: Family::Ali, ..ObjectiveConfig::default() },
            what: "ALI",
            ..plain(model(Architecture::Ali, 16, 3, 8), 4)
        },
        StepCase {
            objective: ObjectiveConfig { feature_matching: true, ..objective },
            what: "feature matching",
            ..plain(
                ModelConfig {
                    weight_d: Parametrization::Norm,
                    ..model(Architecture::Mlp, 16, 1, 24)
                },
                6,
            )
        },
    ];
    for (family, what) in [(Family::Vae, "VAE"), (Family::VaeGan, "VAE/GAN")] {
        let objective = ObjectiveConfig { family, gamma: 1e-3, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, ..plain(model(Architecture::VaeGan, 16, 3, 6), 4) });
    }
    for (family, what) in [(Family::Mrgan, "Reg-GAN"), (Family::Mdgan, "manifold-diffusion GAN")] {
        let objective = ObjectiveConfig { family, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, ..plain(model(Architecture::Dcgan, 16, 3, 6), 4) });
    }
    let stacked = ModelConfig { classes: 3, ..model(Architecture::Stacked, 16, 1, 4) };
    for (stage, what) in
        [("encoder", "stacked GAN, encoder"), ("joint", "stacked GAN, both levels")]
    {
        let objective = ObjectiveConfig { family: Family::Stacked, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, stage, ..plain(stacked, 6) });
    }
    let growing = ObjectiveConfig {
        family: Family::Progressive,
        loss: Loss::Wasserstein,
        penalty: Penalty::Gp,
        penalty_weight: 10.0,
        drift: 1e-3,
        ..ObjectiveConfig::default()
    };
    let fading = plain(model(Architecture::Progressive, 16, 3, 6), 4);
    cases.push(StepCase { objective: growing, what: "progressive growing", stage: "16", ..fading });
    let pyramid = ModelConfig { classes: 3, ..model(Architecture::Lapgan, 16, 3, 6) };
    for (stage, what) in [("8", "LAPGAN, the base"), ("16", "LAPGAN, a level")] {
        let objective = ObjectiveConfig { family: Family::Lapgan, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, stage, ..plain(pyramid, 6) });
    }
    let model_on_text = ModelConfig { text: 24, ..model(Architecture::Dcgan, 16, 3, 6) };
    let objective = ObjectiveConfig { family: Family::IntCls, ..ObjectiveConfig::default() };
    cases.push(StepCase { objective, what: "GAN-INT-CLS", ..plain(model_on_text, 4) });
    let drawn = ModelConfig { text_augment: 6, ..model_on_text };
    for (stage, what) in [("stage1", "StackGAN, stage 1"), ("stage2", "StackGAN, stage 2")] {
        let objective = ObjectiveConfig { family: Family::StackGan, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, stage, ..plain(drawn, 4) });
    }
    let halved = ModelConfig { nz: 6, ..model(Architecture::SsGan, 16, 3, 4) };
    for (stage, what) in [("fcn", "SS-GAN, classifier"), ("joint", "SS-GAN, both levels")] {
        let objective = ObjectiveConfig { family: Family::SsGan, ..ObjectiveConfig::default() };
        cases.push(StepCase { objective, what, stage, ..plain(halved, 4) });
    }
    if halves {
        let precision = Precision::F16;
        cases.push(StepCase {
            precision,
            what: "16 bits",
            ..plain(model(Architecture::Dcgan, 32, 3, 16), 8)
        });
    }
    cases
}

/// The results of a training step.
pub(super) struct After {
    fetched: Fetched,
    state: BTreeMap<String, Tensor>,
}

/// The learning rate of the checked steps.
const RATE: f64 = 2e-4;

/// The scale of losses in steps in 16 bits.
const LOSS_SCALE: f32 = 1024.0;

/// The prefix of the names of the optimizer's first moments.
const MOMENT: &str = "adam.m.";

/// A tensor whose gradient is smaller than this share of the network's mean one may have a gradient
/// of rounding errors only.
const LEAST_GRADIENT: f64 = 1e-3;

/// How much larger the error of values kept in 16 bits may be.
const COARSER: f64 = 8.0;

impl StepCase {
    /// Runs one step from the same state on the same images.
    pub(super) fn run(&self, device: &Device) -> Result<After> {
        self.run_from(device, &|_, value| value)
    }

    /// Runs one step from the usual state modified by `start`.
    fn run_from(&self, device: &Device, start: &dyn Fn(&str, Tensor) -> Tensor) -> Result<After> {
        let precision = if device.has_half_floats() { self.precision } else { Precision::F32 };
        let config = TrainConfig {
            batch: self.batch,
            objective: self.objective,
            precision,
            stage: StageName(self.stage.into()),
            text: match self.model.text {
                0 => TextEncoder::default(),
                width => TextEncoder::of_width(width),
            },
            ..TrainConfig::new(self.model)
        };
        let system = config.system()?;
        // Gradients are read from the optimizer's moments: fetching them would take four times
        // their memory.
        let tape = system.tape(Recording::default())?;
        let mut state = State::new(device);
        for (name, value) in system.initial_state(SEED)? {
            state.set(&name, &start(&name, value))?;
        }
        if system.scaled {
            // Small enough that the first update is not skipped.
            state.set(scale::SCALE, &Tensor::full(Vec::new(), LOSS_SCALE))?;
        }
        let compile = Options { precision, ..Options::default() };
        let mut program = Program::compile(&tape, &state, &compile)?;
        let rate = |name: &str| if name == "average" { 0.3 } else { RATE as f32 };
        let schedule = system.first().schedule_of(rate);
        let channels = self.model.channels;
        let images = self.images("pictures", channels)?;
        let wrong = self.images(WRONG, channels)?;
        let normals = self.images(NORMALS, 3)?;
        let mut text = vec![0.0; self.batch * self.model.text];
        Stream::new(SEED, TEXT, 0).fill_normal(&mut text);
        let text = Tensor::new([self.batch, self.model.text], text)?;
        let classes = self.model.classes;
        let labels: Vec<u32> = (0..self.batch).map(|i| (i % classes.max(1)) as u32).collect();
        let labels = Tensor::one_hot(&labels, classes.max(1))?;
        let mut feeds = vec![("images", &images), ("schedule", &schedule)];
        if classes > 0 {
            feeds.push(("labels", &labels));
        }
        if self.model.text > 0 {
            feeds.extend([(TEXT, &text), (WRONG, &wrong)]);
        }
        if self.objective.family == Family::SsGan {
            feeds.push((NORMALS, &normals));
        }
        let fetched = program.call(&mut state, &feeds)?;
        let names: Vec<String> = state.names().map(String::from).collect();
        let mut after = BTreeMap::new();
        for name in names {
            let value = state.get(&name)?;
            after.insert(name, value);
        }
        Ok(After { fetched, state: after })
    }

    /// Noise, drawn under `name`.
    fn images(&self, name: &str, channels: usize) -> Result<Tensor> {
        let size = self.model.size;
        let shape = [self.batch, size.height, size.width, channels];
        let mut noise = Stream::new(SEED, name, 0);
        let bytes = (0..shape.iter().product()).map(|_| noise.next_u32() as u8).collect();
        Tensor::with_data(shape, Data::U8(bytes))
    }

    /// Compares one device's results of the step with another's.
    pub(super) fn compare(&self, got: &After, want: &After) -> StepOutcome {
        let worst = |all: &mut dyn Iterator<Item = (&str, Difference)>| {
            let mut worst = (String::new(), Difference::default());
            for (name, difference) in all {
                let both = worst.1.max(difference);
                if both.of_allowed > worst.1.of_allowed {
                    worst.0 = name.to_owned();
                }
                worst.1 = both;
            }
            worst
        };
        let pair = |name: &str| match (got.state.get(name), want.state.get(name)) {
            (Some(got), Some(want)) => (wide(got), wide(want)),
            // Different lengths: infinitely wrong.
            _ => (vec![f64::NAN], Vec::new()),
        };
        let names = || want.state.keys().map(String::as_str);
        let is_statistic = |name: &str| name.contains(".running_");
        let coarser = if self.precision == Precision::F16 { COARSER } else { 1.0 };

        let losses = worst(&mut want.fetched.iter().map(|(name, want)| {
            let got = got.fetched.get(name).map_or(vec![f64::NAN], wide);
            (name.as_str(), Difference::within(share(&got, &wide(want)), coarser * 2e-3))
        }));
        // After one step the first moment is a share of the gradient. A tensor's may be nothing but
        // rounding, such as that of a bias in front of a batch norm.
        let moments = || names().filter(|n| n.starts_with(MOMENT));
        let network =
            |name: &str| name.trim_start_matches(MOMENT).split('.').next().map(str::to_owned);
        let mean = |name: &str| {
            let of_network = moments().filter(|n| network(n) == network(name));
            let all: Vec<f64> = of_network.flat_map(|n| pair(n).1).collect();
            mean_size(&all)
        };
        // By the networks' own names: several may have one role.
        let own: BTreeSet<String> = moments().filter_map(network).collect();
        let means: BTreeMap<_, f64> =
            own.into_iter().map(|n| (Some(n.clone()), mean(&n))).collect();
        let least = |name: &str| LEAST_GRADIENT * means.get(&network(name)).copied().unwrap_or(0.0);
        let is_rounding = |name: &str| {
            let moment = format!("{MOMENT}{}", averaged_from(name).unwrap_or(name));
            want.state.get(&moment).is_some_and(|m| mean_size(&wide(m)) < least(&moment))
        };
        let gradients = on_average(
            &mut moments().map(|name| {
                let (got, want) = pair(name);
                (name, relative(&got, &want, least(name)), want.len())
            }),
            [coarser * 0.01, 0.3],
        );
        let statistics = worst(&mut names().filter(|n| is_statistic(n)).map(|name| {
            let (got, want) = pair(name);
            (name, Difference::within(share(&got, &want), coarser * 1e-3))
        }));
        let is_weight = |n: &&str| !n.starts_with("adam.") && !is_statistic(n) && *n != KEY;
        let weights = on_average(
            &mut names().filter(is_weight).map(|name| {
                let (got, want) = pair(name);
                let part = if name.starts_with(AVERAGE) { 0.3 } else { 1.0 };
                let apart = rates_apart(&got, &want, part);
                // Where signs are rounding errors, only the maximum step size can be checked.
                (name, if is_rounding(name) && apart.is_finite() { 0.0 } else { apart }, want.len())
            }),
            [coarser * 0.02, 0.3],
        );
        let (got_key, want_key) = pair(KEY);
        let key = (KEY.into(), Difference::within(share(&got_key, &want_key), 1e-12));
        let all = [losses, gradients, statistics, weights, key];
        StepOutcome {
            groups: all.each_ref().map(|(_, difference)| Outcome::of(*difference)),
            worst: all.map(|(name, _)| name),
        }
    }
}

/// The mean error over all values of some tensors, given as (name, mean error, count), and the
/// worst tensor. `allowed`: over all values, and over those of one tensor.
///
/// A step has hundreds of thousands of rectifiers. Where rounding crosses the kink of one of them,
/// gradients behind it change by up to a few hundredths, and Adam's first step moves a weight by
/// one learning rate along the sign of its gradient, whatever its size: no two devices agree much
/// better than that in every value of every step. On average they do; and the samples check each op
/// separately to its last digits.
fn on_average(
    tensors: &mut dyn Iterator<Item = (&str, f64, usize)>,
    allowed: [f64; 2],
) -> (String, Difference) {
    let (mut sum, mut count) = (0.0, 0);
    let mut worst = (String::new(), 0.0_f64);
    for (name, mean, len) in tensors {
        let mean = if mean.is_nan() { f64::INFINITY } else { mean };
        sum += mean * len.max(1) as f64;
        count += len.max(1);
        if mean > worst.1 {
            worst = (name.to_owned(), mean);
        }
    }
    let single = Difference { error: 0.0, of_allowed: worst.1 / allowed[1] };
    (worst.0, single.max(Difference::within(sum / count.max(1) as f64, allowed[0])))
}

/// The mean absolute value.
fn mean_size(numbers: &[f64]) -> f64 {
    numbers.iter().map(|x| x.abs()).sum::<f64>() / numbers.len().max(1) as f64
}

/// The mean difference as a share of the mean size, which is taken to be at least `least`.
fn relative(got: &[f64], want: &[f64], least: f64) -> f64 {
    let apart: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    let size = mean_size(want).max(least).max(f64::from(f32::MIN_POSITIVE));
    if got.len() == want.len() { mean_size(&apart) / size } else { f64::INFINITY }
}

/// The mean difference of new weights in learning rates, which contribute with the factor `part`.
/// Infinite where a weight is further off than a first step of Adam can take it.
fn rates_apart(got: &[f64], want: &[f64], part: f64) -> f64 {
    let apart = || got.iter().zip(want).map(|(g, w)| (g - w).abs() / (RATE * part));
    // Two learning rates, and the last digits of float32.
    if got.len() != want.len() || largest(apart()) > 2.05 {
        return f64::INFINITY;
    }
    apart().sum::<f64>() / got.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new([values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn a_wrong_step_is_seen_group_by_group() {
        let case = step_cases(false)[1];
        let want = case.run(&Device::Cpu).unwrap();
        let judge = |spoil: &dyn Fn(&mut After)| -> Vec<bool> {
            let mut got = case.run(&Device::Cpu).unwrap();
            spoil(&mut got);
            let outcome = case.compare(&got, &want);
            outcome.groups.iter().map(Outcome::is_passed).collect()
        };
        assert_eq!(judge(&|_| ()), [true; 5]);
        let scale = |name: &'static str, factor: f32| {
            move |after: &mut After| {
                let tensor = &after.state[name];
                let values = tensor.f32s().iter().map(|x| x * factor).collect();
                let spoiled = Tensor::new(tensor.shape(), values).unwrap();
                after.state.insert(name.into(), spoiled);
            }
        };
        let weight = "generator.main.0.weight";
        let moment = "adam.m.generator.main.0.weight";
        assert!(want.state.contains_key(weight) && want.state.contains_key(moment));
        assert_eq!(judge(&scale(weight, 1.1)), [true, true, true, false, true]);
        assert_eq!(judge(&scale(weight, f32::NAN)), [true, true, true, false, true]);
        assert_eq!(judge(&scale(moment, 1.5)), [true, false, true, true, true]);
        let statistic = want.state.keys().find(|n| n.ends_with("running_var")).unwrap().clone();
        let statistic: &'static str = statistic.leak();
        assert_eq!(judge(&scale(statistic, 1.003)), [true, true, false, true, true]);
        let loss = |after: &mut After| {
            after.fetched.insert("loss_g".into(), tensor(&[f32::NAN]));
        };
        assert_eq!(judge(&loss), [false, true, true, true, true]);
        let key = |after: &mut After| {
            after.state.remove(KEY);
        };
        assert_eq!(judge(&key), [true, true, true, true, false]);
    }

    /// Rounding alone, here of the initial weights, stays within the tolerance, though it moves
    /// values over the kinks of rectifiers.
    #[test]
    fn rounding_alone_is_allowed() {
        for case in &step_cases(false)[..3] {
            let want = case.run(&Device::Cpu).unwrap();
            for seed in 0..8 {
                let got =
                    case.run_from(&Device::Cpu, &|name, value| rounded(name, value, seed)).unwrap();
                let outcome = case.compare(&got, &want);
                eprintln!("{case:?} {seed}: {outcome:?}");
                assert!(outcome.groups.iter().all(Outcome::is_passed), "{outcome:?}");
            }
        }
    }

    /// `value` with a relative error of up to 3e-6.
    fn rounded(name: &str, value: Tensor, seed: u64) -> Tensor {
        if !name.ends_with("weight") || name.starts_with("adam") {
            return value;
        }
        let mut noise = vec![0.0; value.len()];
        Stream::new(seed, name, 0).fill_uniform(&mut noise);
        let moved = value.f32s().iter().zip(noise).map(|(v, u)| v * (1.0 + 6e-6 * (u - 0.5)));
        Tensor::new(value.shape(), moved.collect()).unwrap()
    }
}
