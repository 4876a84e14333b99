//! Twenty steps of each stage of a stacked GAN against PyTorch's in float64
//! (`assets/reference/stacked.py`), and which loss reaches which network.

use dcgan::device::{Device, State};
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::program::{Fetched, Options, Program};
use dcgan::tensor::Tensor;
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Limits, Tensors, bytes_of_unit, row};
use crate::support;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
}

/// A stage in training.
struct Training<'a> {
    reference: &'a Reference,
    system: System,
    state: State,
    program: Program,
}

impl Reference {
    fn load() -> Self {
        let (tensors, about) = support::reference("family_stacked");
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let side = number("size");
        let size = Size { height: side, width: side };
        let model = ModelConfig {
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            classes: number("classes"),
            ..ModelConfig::usual(Architecture::Stacked, Some(size))
        };
        let weight = |key: &str| how[key].as_f64().unwrap() as f32;
        let objective = ObjectiveConfig {
            family: Family::Stacked,
            condition_weight: weight("condition_weight"),
            entropy_weight: weight("entropy_weight"),
            ..ObjectiveConfig::default()
        };
        let config =
            TrainConfig { batch: number("batch"), objective, ema: 0, ..TrainConfig::new(model) };
        Self { tensors, about, config }
    }

    fn start(&self, stage: &str, objective: ObjectiveConfig, device: &Device) -> Training<'_> {
        let stage = stage.parse().unwrap();
        let system = TrainConfig { objective, stage, ..self.config.clone() }.system().unwrap();
        let state = compare::state(&system, &self.tensors, &["adam.", "updates."], device);
        let tape = system.tape(Recording::COMPARED).unwrap();
        let program = Program::compile(&tape, &state, &Options::default()).unwrap();
        Training { reference: self, system, state, program }
    }
}

impl Training<'_> {
    /// Step `i`, from 0.
    fn call(&mut self, i: usize) -> Fetched {
        let Reference { tensors, about, config } = self.reference;
        let images = bytes_of_unit(&row(&tensors["reals"], i));
        let labels: Vec<u32> =
            row(&tensors["labels"], i).f32s().iter().map(|&label| label as u32).collect();
        let labels = Tensor::one_hot(&labels, config.model.classes).unwrap();
        let lr = about["method"]["lr"].as_f64().unwrap() as f32;
        let schedule = self.system.first().schedule_of(|_| lr);
        let (z, z_g) = (row(&tensors["z"], i), row(&tensors["z.g"], i));
        let mut feeds = vec![("images", &images), ("schedule", &schedule), ("labels", &labels)];
        if self.system.stages[0].name != "encoder" {
            feeds.extend([("z", &z), ("z.g", &z_g)]);
        }
        self.program.call(&mut self.state, &feeds).unwrap()
    }
}

fn check(reference: &Reference, stage: &str, device: &Device) {
    let mut training = reference.start(stage, reference.config.objective, device);
    let what = format!("{stage} on {}", device.name());
    let params = training.system.model.params();
    let limits = Limits { metric: |i| if i == 0 { 2e-6 } else { 5e-5 }, value: 1e-5, gradients: 6 };
    let theirs = (&reference.tensors, &reference.about);
    compare::stage((&what, stage), theirs, &params, &limits, |i| training.call(i));
}

#[test]
fn twenty_steps_of_every_stage_as_pytorch() {
    let reference = Reference::load();
    for device in support::devices() {
        for stage in ["encoder", "g1", "g0", "joint"] {
            check(&reference, stage, &device);
        }
    }
}

/// The gradients of a network in a step.
fn gradients(fetched: &Fetched, network: &str) -> Vec<f32> {
    let start = format!("grad.{network}.");
    let own = fetched.iter().filter(|(name, _)| name.starts_with(&start));
    let all: Vec<f32> = own.flat_map(|(_, grad)| grad.f32s().to_vec()).collect();
    assert!(!all.is_empty(), "{network}");
    all
}

#[test]
fn each_loss_reaches_the_networks_that_it_is_for() {
    let reference = Reference::load();
    let usual = reference.config.objective;
    let step = |stage, objective| reference.start(stage, objective, &Device::Cpu).call(0);
    let joint = step("joint", usual);
    // Level 0 sends no gradient to level 1.
    let alone = step("g1", usual);
    for network in ["feature_generator", "feature_discriminator"] {
        assert!(gradients(&joint, network) == gradients(&alone, network), "{network}");
    }
    assert!(gradients(&joint, "generator") != gradients(&step("g0", usual), "generator"));
    // The weights are those of the generators' losses.
    for objective in [
        ObjectiveConfig { entropy_weight: 0.0, ..usual },
        ObjectiveConfig { condition_weight: 0.0, ..usual },
    ] {
        let other = step("joint", objective);
        for (network, same) in [
            ("generator", false),
            ("feature_generator", false),
            ("discriminator", true),
            ("feature_discriminator", true),
        ] {
            let is_same = gradients(&joint, network) == gradients(&other, network);
            assert_eq!(is_same, same, "{network}");
        }
    }
}
