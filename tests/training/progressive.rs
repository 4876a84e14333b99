//! Twenty steps in the middle of each fade-in of networks that grow against PyTorch's in float64
//! (`assets/reference/progressive.py`).

use dcgan::device::{Device, State};
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::objectives::{Loss, Penalty};
use dcgan::program::{Fetched, Options, Program};
use dcgan::tensor::Tensor;
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Limits, Tensors, bytes, row};
use crate::support;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
}

/// A stage in training.
struct Training<'a> {
    reference: &'a Reference,
    stage: &'a str,
    system: System,
    state: State,
    program: Program,
}

impl Reference {
    fn load() -> Self {
        let (tensors, about) = support::reference("family_progressive");
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let float = |key: &str| how[key].as_f64().unwrap();
        let size = Size { height: number("size"), width: number("size") };
        let model = ModelConfig {
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            ..ModelConfig::usual(Architecture::Progressive, Some(size))
        };
        let beta = |i: usize| how["betas"][i].as_f64().unwrap();
        let objective = ObjectiveConfig {
            family: Family::Progressive,
            loss: Loss::Wasserstein,
            penalty: Penalty::Gp,
            penalty_weight: float("gp") as f32,
            drift: float("drift") as f32,
            beta1: beta(0),
            beta2: beta(1),
            ..ObjectiveConfig::default()
        };
        // A fade-in is the first half of a stage.
        let images = 2 * how["fade"].as_u64().unwrap();
        let config = TrainConfig {
            batch: number("batch"),
            objective,
            ema: 0,
            lr_d: float("lr"),
            lr_g: float("lr"),
            stage_images: format!("8={images},16={images}").parse().unwrap(),
            ..TrainConfig::new(model)
        };
        Self { tensors, about, config }
    }

    fn start<'a>(&'a self, stage: &'a str, device: &Device) -> Training<'a> {
        let config = TrainConfig { stage: stage.parse().unwrap(), ..self.config.clone() };
        let system = config.system().unwrap();
        let state = compare::state(&system, &self.tensors, &["adam.", "updates."], device);
        let tape = system.tape(Recording::COMPARED).unwrap();
        let program = Program::compile(&tape, &state, &Options::default()).unwrap();
        Training { reference: self, stage, system, state, program }
    }
}

impl Training<'_> {
    /// Step `i`, from 0.
    fn call(&mut self, i: usize) -> Fetched {
        let Reference { tensors, about, config } = self.reference;
        let of = |name: &str| row(&tensors[&format!("{}/{name}", self.stage)], i);
        let seen = about["method"]["seen"].as_u64().unwrap() + (i * config.batch) as u64;
        let schedule = self.system.first().schedule(seen);
        let (images, z) = (bytes(&of("reals")), of("z"));
        let mix = Tensor::new([config.batch, 1, 1, 1], of("mix").f32s().to_vec()).unwrap();
        let feeds = [("images", &images), ("schedule", &schedule), ("z", &z), ("mix", &mix)];
        self.program.call(&mut self.state, &feeds).unwrap()
    }
}

fn check(reference: &Reference, stage: &str, device: &Device) {
    let mut training = reference.start(stage, device);
    let what = format!("stage {stage} on {}", device.name());
    let params = training.system.model.params();
    let limits =
        Limits { metric: |i| if i == 0 { 2e-6 } else { 5e-5 }, value: 1e-5, gradients: 26 };
    let theirs = (&reference.tensors, &reference.about);
    compare::stage((&what, stage), theirs, &params, &limits, |i| {
        let fetched = training.call(i);
        for (name, gradient) in &fetched {
            // Smaller images are not made of their features any more.
            let is_compared = reference.tensors.contains_key(&format!("{stage}/{name}"));
            if name.starts_with("grad.") && !is_compared {
                assert!(gradient.f32s().iter().all(|x| *x == 0.0), "{what}: {name}");
            }
        }
        fetched
    });
}

#[test]
fn twenty_steps_of_every_fade_in_as_pytorch() {
    let reference = Reference::load();
    for device in support::devices() {
        for stage in ["8", "16"] {
            check(&reference, stage, &device);
        }
    }
}
