//! Twenty steps of each stage of SS-GAN against PyTorch's in float64 (`assets/reference/ss_gan.py`), and
//! which loss reaches which network.

use dcgan::device::{Device, State};
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System, families};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::nn::Layer;
use dcgan::program::{Fetched, Options, Program};
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
    system: System,
    state: State,
    program: Program,
}

impl Reference {
    fn load() -> Self {
        let (tensors, about) = support::reference("family_ss_gan");
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let size = Size { height: number("size"), width: number("size") };
        let model = ModelConfig {
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            ..ModelConfig::usual(Architecture::SsGan, Some(size))
        };
        let objective = ObjectiveConfig {
            family: Family::SsGan,
            normals_weight: how["normals_weight"].as_f64().unwrap() as f32,
            ..ObjectiveConfig::default()
        };
        let config =
            TrainConfig { batch: number("batch"), objective, ema: 0, ..TrainConfig::new(model) };
        Self { tensors, about, config }
    }

    fn start(&self, stage: &str, objective: ObjectiveConfig, device: &Device) -> Training<'_> {
        let stage = stage.parse().unwrap();
        let config = TrainConfig { objective, stage, ..self.config.clone() };
        let mut model = config.networks().unwrap();
        // Fed draws are of latents alone. The names of layers stay.
        for layer in model.by_name.values_mut().flat_map(|net| &mut net.network.layers) {
            if matches!(layer, Layer::Dropout(_)) {
                *layer = Layer::Identity;
            }
        }
        let system = families::system(&config, model).unwrap();
        let state = compare::state(&system, &self.tensors, &["adam.", "updates."], device);
        let tape = system.tape(Recording::COMPARED).unwrap();
        let program = Program::compile(&tape, &state, &Options::default()).unwrap();
        Training { reference: self, system, state, program }
    }
}

impl Training<'_> {
    /// Step `i`, from 0.
    fn call(&mut self, i: usize) -> Fetched {
        let Reference { tensors, about, .. } = self.reference;
        let [images, normals] = ["reals", "normals"].map(|name| bytes(&row(&tensors[name], i)));
        let lr = about["method"]["lr"].as_f64().unwrap() as f32;
        let slower = |name: &str| if name.ends_with('n') { 0.1 * lr } else { lr };
        let schedule = self.system.first().schedule_of(slower);
        let (z, z_g) = (row(&tensors["z"], i), row(&tensors["z.g"], i));
        let mut feeds = vec![("images", &images), ("schedule", &schedule), ("normals", &normals)];
        if self.system.stages[0].name != "fcn" {
            feeds.extend([("z", &z), ("z.g", &z_g)]);
        }
        self.program.call(&mut self.state, &feeds).unwrap()
    }
}

fn check(reference: &Reference, stage: &str, device: &Device) {
    let mut training = reference.start(stage, reference.config.objective, device);
    let what = format!("{stage} on {}", device.name());
    let params = training.system.model.params();
    let limits = Limits {
        // Later, a rounding error may decide whether a rectifier is open.
        metric: |i| [2e-6, 1e-4, 1e-3][usize::from(i > 0) + usize::from(i > 9)],
        // Divided by a short length, a rounding error is large.
        value: 5e-5,
        gradients: 14,
    };
    let theirs = (&reference.tensors, &reference.about);
    compare::stage((&what, stage), theirs, &params, &limits, |i| training.call(i));
}

#[test]
fn twenty_steps_of_every_stage_as_pytorch() {
    let reference = Reference::load();
    // Of each network, some updates are skipped.
    for stage in ["structure", "style", "joint"] {
        let steps = reference.about["losses"][stage].as_array().unwrap();
        let waits = steps.iter().flat_map(|step| step.as_object().unwrap());
        let made: Vec<bool> = waits
            .filter(|(name, _)| name.starts_with("updated_g"))
            .map(|(_, made)| made.as_f64() == Some(1.0))
            .collect();
        assert!(made.contains(&true) && made.contains(&false), "{stage}");
    }
    for device in support::devices() {
        for stage in ["structure", "fcn", "style", "joint"] {
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
    let (joint, alone) = (step("joint", usual), step("structure", usual));
    // The style's discriminator speaks to Gn, and not to Dn.
    assert!(
        gradients(&joint, "structure_discriminator")
            == gradients(&alone, "structure_discriminator")
    );
    assert!(gradients(&joint, "structure_generator") != gradients(&alone, "structure_generator"));
    // What the classifier reads is for Gs alone.
    for stage in ["style", "joint"] {
        let with = step(stage, usual);
        let without = step(stage, ObjectiveConfig { normals_weight: 0.0, ..usual });
        let networks: Vec<&str> = ["structure_generator", "discriminator", "generator"]
            .into_iter()
            .filter(|network| stage == "joint" || !network.starts_with("structure"))
            .collect();
        for network in networks {
            let is_same = gradients(&with, network) == gradients(&without, network);
            assert_eq!(is_same, network != "generator", "{stage}: {network}");
        }
    }
    // All generated normals have the length 1.
    for normal in joint["fake_normals"].f32s().chunks(3) {
        let length = normal.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-6, "{length}");
    }
}
