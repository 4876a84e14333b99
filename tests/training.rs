//! Training steps against PyTorch's, in float64, from the same weights, latents and batches
//! (`assets/reference/make_reference.py`).

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::features::pixels;
use dcgan::gan::{Recording, System};
use dcgan::models::Size;
use dcgan::models::{Architecture, ModelConfig};
use dcgan::nn::{Mode, Param, Pass};
use dcgan::program::{Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use self::compare::{Tensors, bytes, row, share, worst};
use crate::support;

mod ali;
mod bigan;
mod compare;
mod family;
mod int_cls;
mod lapgan;
mod mrgan;
mod ss_gan;
mod stacked;
mod stackgan;
mod vae_gan;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
    system: System,
}

impl Reference {
    fn load(name: &str, network: Architecture) -> Self {
        let (tensors, about) = support::reference(name);
        let number = |key: &str| about["options"][key].as_u64().unwrap() as usize;
        let side = number("size");
        let model = ModelConfig {
            network,
            size: Size { height: side, width: side },
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            classes: about["options"]["classes"].as_u64().unwrap_or(0) as usize,
            ..ModelConfig::default()
        };
        let (batch, objective) = (number("batch"), ObjectiveConfig::default());
        let config = TrainConfig { batch, objective, ema: 0, ..TrainConfig::new(model) };
        let system = config.system().unwrap();
        Self { tensors, about, config, system }
    }

    fn params(&self) -> Vec<Param> {
        self.system.states()
    }

    fn state(&self, device: &Device) -> State {
        let mut state = State::new(device);
        for (name, value) in self.system.initial_state(0).unwrap() {
            state.set(&name, &value).unwrap();
        }
        for param in self.params() {
            if let Some(tensor) = self.tensors.get(&param.name) {
                let value = param.layout.from_file(&param.name, tensor, &param.shape).unwrap();
                state.set(&param.name, &value).unwrap();
            }
        }
        state
    }

    /// Batch `i` of the reals, as bytes.
    fn images(&self, i: usize) -> Tensor {
        bytes(&row(&self.tensors["reals"], i))
    }

    fn z(&self, i: usize) -> Tensor {
        row(&self.tensors["z"], i)
    }

    /// The classes of batch `i`, of conditional networks.
    fn labels(&self, i: usize) -> Option<Tensor> {
        let all = self.tensors.get("labels")?;
        let n = self.config.batch;
        let labels: Vec<u32> = all.f32s()[i * n..(i + 1) * n].iter().map(|&l| l as u32).collect();
        Some(Tensor::one_hot(&labels, self.config.model.classes).unwrap())
    }

    fn schedule(&self) -> Tensor {
        self.system.first().schedule_of(|_| 2e-4)
    }

    /// Largest difference to the reference tensor called `name`, as a share of its largest value.
    fn share(&self, name: &str, param: &Param, ours: &Tensor) -> f32 {
        share(&param.layout.to_file(ours).unwrap(), &self.tensors[name], name)
    }
}

fn check(name: &str, network: Architecture, device: &Device) {
    let reference = Reference::load(name, network);
    let tape = reference.system.tape(Recording::COMPARED).unwrap();
    let mut state = reference.state(device);
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let what = format!("{name} on {}", device.name());

    let mut drift = 0.0_f64;
    for i in 0..10 {
        let (images, z) = (reference.images(i), reference.z(i));
        let schedule = reference.schedule();
        let labels = reference.labels(i);
        let mut feeds = vec![("images", &images), ("z", &z), ("schedule", &schedule)];
        feeds.extend(labels.as_ref().map(|labels| ("labels", labels)));
        let fetched = program.call(&mut state, &feeds).unwrap();
        for loss in ["loss_d", "loss_real", "loss_fake", "loss_g"] {
            let theirs = reference.about["losses"][i][loss].as_f64().unwrap();
            let error = (f64::from(fetched[loss].f32s()[0]) - theirs).abs() / theirs;
            drift = drift.max(error);
            let limit = if i == 0 { 1e-5 } else { 1e-2 };
            assert!(error <= limit, "{what}: {loss} of step {}: {error:e}", i + 1);
        }
        if i == 0 {
            check_first_step(&reference, &state, &fetched, &what);
        }
    }
    println!("{what}: losses of ten steps within {drift:.1e}");
}

fn check_first_step(
    reference: &Reference,
    state: &State,
    fetched: &BTreeMap<String, Tensor>,
    what: &str,
) {
    let fake = worst(fetched["fake"].f32s(), reference.tensors["step1.fake"].f32s());
    assert!(fake <= 1e-5, "{what}: generated images: {fake:e}");
    let mut largest = 0.0_f32;
    let (mut sum, mut count) = (0.0, 0);
    for param in reference.params() {
        let grad = format!("grad.{}", param.name);
        if reference.tensors.contains_key(&grad) {
            let share = reference.share(&grad, &param, &fetched[&grad]);
            assert!(share <= 1e-4, "{what}: {grad}: {share:e}");
            largest = largest.max(share);
        }
        let after = format!("after1.{}", param.name);
        if let Some(theirs) = reference.tensors.get(&after) {
            let ours = param.layout.to_file(&state.get(&param.name).unwrap()).unwrap();
            for (a, b) in ours.f32s().iter().zip(theirs.f32s()) {
                sum += f64::from((a - b).abs());
                count += 1;
            }
        }
    }
    let mean = sum / f64::from(count);
    assert!(mean <= 1e-6, "{what}: weights after a step: {mean:e}");
    println!("{what}: gradients within {largest:.1e}, weights within {mean:.1e} on average");
}

#[test]
fn ten_steps_as_pytorch() {
    for device in support::devices() {
        check("training_pytorch", Architecture::Dcgan, &device);
        check("training_pytorch_32", Architecture::Dcgan, &device);
        check("training_paper", Architecture::Paper, &device);
    }
}

#[test]
fn ten_conditional_steps_as_pytorch() {
    for device in support::devices() {
        check("training_conditional", Architecture::Dcgan, &device);
        check("training_mnist", Architecture::Mnist, &device);
    }
}

#[test]
fn label_smoothing_as_pytorch() {
    for device in support::devices() {
        let reference = Reference::load("training_pytorch", Architecture::Dcgan);
        let mut config = reference.config.clone();
        config.objective.smooth = 0.1;
        let tape = config.system().unwrap().tape(Recording::COMPARED).unwrap();
        let mut state = reference.state(&device);
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        let (images, z, schedule) = (reference.images(0), reference.z(0), reference.schedule());
        let feeds = [("images", &images), ("z", &z), ("schedule", &schedule)];
        let fetched = program.call(&mut state, &feeds).unwrap();
        for loss in ["loss_d", "loss_real", "loss_fake", "loss_g"] {
            let theirs = reference.about["losses_label_0_9"][0][loss].as_f64().unwrap();
            let error = (f64::from(fetched[loss].f32s()[0]) - theirs).abs() / theirs;
            assert!(error <= 1e-5, "{loss}: {error:e}");
        }
    }
}

/// Evaluation with the running statistics after one step.
#[test]
fn evaluation_as_pytorch() {
    for (name, network) in [
        ("training_pytorch", Architecture::Dcgan),
        ("training_paper", Architecture::Paper),
        ("training_conditional", Architecture::Dcgan),
        ("training_mnist", Architecture::Mnist),
    ] {
        for device in support::devices() {
            let reference = Reference::load(name, network);
            let mut state = State::new(&device);
            for param in reference.params() {
                if let Some(tensor) = reference.tensors.get(&format!("after1.{}", param.name)) {
                    let value = param.layout.from_file(&param.name, tensor, &param.shape).unwrap();
                    state.set(&param.name, &value).unwrap();
                }
            }
            let model = reference.config.model;
            let (side, n) = (model.size.height, reference.config.batch);
            let mut t = Tape::new();
            let labels = reference.labels(0);
            let all =
                labels.as_ref().map(|labels| t.feed("labels", labels.shape(), DType::F32).unwrap());
            let one = all.map(|all| t.slice(all, &[0, 0], &[1, model.classes]).unwrap());
            let z = t.feed("z", &[1, 1, 1, model.nz], DType::F32).unwrap();
            let g = model.generator().unwrap();
            let fake = g
                .record(&mut t, "generator", z, &Pass::new(Mode::Eval).labels(one))
                .unwrap()
                .last();
            t.fetch("fake", fake).unwrap();
            let x = t.feed("x", &[n, side, side, model.channels], DType::U8).unwrap();
            let x = pixels(&mut t, &model.networks().unwrap(), x).unwrap();
            let d = model.discriminator().unwrap();
            let logits = d
                .record(&mut t, "discriminator", x, &Pass::new(Mode::Eval).labels(all))
                .unwrap()
                .last();
            t.fetch("logits", logits).unwrap();
            let mut program = Program::compile(&t, &state, &Options::default()).unwrap();
            let z = reference.z(0).f32s()[..model.nz].to_vec();
            let z = Tensor::new([1, 1, 1, model.nz], z).unwrap();
            let x = reference.images(0);
            let mut feeds = vec![("z", &z), ("x", &x)];
            feeds.extend(labels.as_ref().map(|labels| ("labels", labels)));
            let fetched = program.call(&mut state, &feeds).unwrap();
            for (ours, theirs) in [("fake", "eval1.fake"), ("logits", "eval1.logits")] {
                let error = worst(fetched[ours].f32s(), reference.tensors[theirs].f32s());
                assert!(error <= 1e-5, "{name} on {}: {ours}: {error:e}", device.name());
            }
        }
    }
}
