//! Twenty steps of each stage of StackGAN against PyTorch's in float64
//! (`assets/reference/stackgan.py`), which network each loss reaches, and what stage 2 leaves alone.

use dcgan::device::{Device, State};
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System};
use dcgan::models::{ModelConfig, Size};
use dcgan::program::{Fetched, Options, Program};
use dcgan::tensor::Tensor;
use dcgan::text::TextEncoder;
use dcgan::train::{Batch, ObjectiveConfig, TrainConfig, Trainer};
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
    system: System,
    state: State,
    program: Program,
}

impl Reference {
    fn load() -> Self {
        let (tensors, about) = support::reference("family_stackgan");
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let side = number("size");
        let width = tensors["text"].shape()[2];
        let model = ModelConfig {
            size: Size { height: side, width: side },
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            text: width,
            text_augment: number("drawn"),
            ..ModelConfig::default()
        };
        let weight = |key: &str| how[key].as_f64().unwrap() as f32;
        let objective = ObjectiveConfig {
            family: Family::StackGan,
            mismatch: weight("mismatch"),
            kl_weight: weight("kl_weight"),
            ..ObjectiveConfig::default()
        };
        let config = TrainConfig {
            batch: number("batch"),
            objective,
            ema: 0,
            text: TextEncoder::of_width(width),
            ..TrainConfig::new(model)
        };
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

    /// The feeds of step `i`, from 0, but for its latents.
    fn feeds(&self, i: usize) -> [(&'static str, Tensor); 3] {
        let images = |name: &str| bytes(&row(&self.tensors[name], i));
        [
            ("images", images("reals")),
            ("wrong", images("wrong")),
            ("text", row(&self.tensors["text"], i)),
        ]
    }
}

impl Training<'_> {
    /// Step `i`, from 0.
    fn call(&mut self, i: usize) -> Fetched {
        let Reference { tensors, about, .. } = self.reference;
        let lr = about["method"]["lr"].as_f64().unwrap() as f32;
        let schedule = self.system.first().schedule_of(|_| lr);
        let [z, z_g] = ["z", "z.g"].map(|name| row(&tensors[name], i));
        let given = self.reference.feeds(i);
        let mut feeds: Vec<_> = given.iter().map(|(name, value)| (*name, value)).collect();
        feeds.extend([("schedule", &schedule), ("z", &z), ("z.g", &z_g)]);
        self.program.call(&mut self.state, &feeds).unwrap()
    }
}

fn check(reference: &Reference, stage: &str, device: &Device) {
    let mut training = reference.start(stage, reference.config.objective, device);
    let what = format!("{stage} on {}", device.name());
    let params = training.system.model.params();
    let limits =
        Limits { metric: |i| if i == 0 { 2e-6 } else { 5e-5 }, value: 2e-5, gradients: 15 };
    let theirs = (&reference.tensors, &reference.about);
    compare::stage((&what, stage), theirs, &params, &limits, |i| training.call(i));
}

#[test]
fn twenty_steps_of_each_stage_as_pytorch() {
    let reference = Reference::load();
    for device in support::devices() {
        for stage in ["stage1", "stage2"] {
            check(&reference, stage, &device);
        }
    }
}

/// The gradients of a network in a step; none if it is not updated.
fn gradients(fetched: &Fetched, network: &str) -> Vec<f32> {
    let start = format!("grad.{network}.");
    let own = fetched.iter().filter(|(name, _)| name.starts_with(&start));
    own.flat_map(|(_, grad)| grad.f32s().to_vec()).collect()
}

#[test]
fn each_loss_reaches_the_networks_that_it_is_for() {
    let reference = Reference::load();
    let usual = reference.config.objective;
    let step = |stage, objective| reference.start(stage, objective, &Device::Cpu).call(0);
    for (stage, [g, d], others) in [
        ("stage1", ["stage1_generator", "stage1_discriminator"], ["generator", "discriminator"]),
        ("stage2", ["generator", "discriminator"], ["stage1_generator", "stage1_discriminator"]),
    ] {
        let first = step(stage, usual);
        assert!(others.iter().all(|other| gradients(&first, other).is_empty()));
        // The divergence is the generator's; the share of wrong images the discriminator's.
        let undrawn = step(stage, ObjectiveConfig { kl_weight: 0.0, ..usual });
        assert!(gradients(&undrawn, d) == gradients(&first, d), "{stage}");
        assert!(gradients(&undrawn, g) != gradients(&first, g), "{stage}");
        let matched = step(stage, ObjectiveConfig { mismatch: 0.1, ..usual });
        assert!(gradients(&matched, d) != gradients(&first, d), "{stage}");
    }
}

/// Stage 2 reads what samplers read, the moving average of stage 1, and moves none of its tensors:
/// neither weights nor the running statistics of batch norm.
#[test]
fn stage_2_changes_nothing_of_stage_1() {
    let reference = Reference::load();
    let config = TrainConfig {
        ema: 100,
        stage_images: "stage1=12,stage2=100".parse().unwrap(),
        ..reference.config.clone()
    };
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let mut at = [3, 5].map(|steps| {
        while trainer.steps() < steps {
            let [images, wrong, text] = reference.feeds(trainer.steps() as usize).map(|(_, x)| x);
            let batch =
                Batch::from(images.bytes().to_vec()).feed("wrong", wrong).feed("text", text);
            trainer.step(batch).unwrap();
        }
        (trainer.stage().name.clone(), trainer.tensors().unwrap())
    });
    let of_first = |name: &str| name.contains("stage1_") && !name.starts_with("adam.");
    let [(before, old), (after, new)] = &mut at;
    assert_eq!((before.as_str(), after.as_str()), ("stage1", "stage2"));
    old.retain(|name, _| of_first(name));
    let statistic = "ema.stage1_generator.main.2.running_mean";
    assert!(old.contains_key(statistic) && old[statistic].f32s().iter().any(|&x| x != 0.0));
    for (name, value) in old.iter() {
        assert_eq!(&new[name], value, "{name}");
    }
    assert!(new["generator.main.3.running_mean"].f32s().iter().any(|&x| x != 0.0));
    // Another average is another step; other raw weights are not.
    let loss = |network: Option<&str>| {
        let mut trainer = {
            let stage = "stage2".parse().unwrap();
            let config = TrainConfig { stage, ..trainer.config().clone() };
            Trainer::new(config, &Device::Cpu, &Options::default()).unwrap()
        };
        if let Some(network) = network {
            let name = format!("{network}.main.1.weight");
            let old = trainer.state(&name).unwrap();
            let values = old.f32s().iter().map(|x| 5.0 * x).collect();
            let new = Tensor::new(old.shape(), values).unwrap();
            // Averages begin anew with the raw weights.
            let is_raw = !name.starts_with("ema.");
            let average = is_raw.then(|| (format!("ema.{name}"), old));
            trainer.set_states([(name, new)]).unwrap();
            trainer.set_states(average).unwrap();
        }
        let [images, wrong, text] = reference.feeds(0).map(|(_, x)| x);
        let batch = Batch::from(images.bytes().to_vec()).feed("wrong", wrong).feed("text", text);
        trainer.step(batch).unwrap();
        trainer.finish().unwrap()[0].value("loss_g")
    };
    let usual = loss(None);
    assert_eq!(loss(Some("stage1_generator")), usual);
    assert_ne!(loss(Some("ema.stage1_generator")), usual);
}
