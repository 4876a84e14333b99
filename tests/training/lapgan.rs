//! Twenty steps of each level of a Laplacian pyramid against PyTorch's in float64
//! (`assets/reference/lapgan.py`): of two classes, by SGD with a momentum that rises.

use dcgan::device::Device;
use dcgan::gan::objective::{Family, OptimizerKind};
use dcgan::gan::{Recording, System};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::nn::Layer;
use dcgan::program::{Options, Program};
use dcgan::tensor::Tensor;
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Tensors, bytes, row, share};
use crate::support;

const STEPS: usize = 20;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
}

impl Reference {
    fn load() -> Self {
        let (tensors, about) = support::reference("family_lapgan");
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
            ..ModelConfig::usual(Architecture::Lapgan, Some(size))
        };
        let momentum = |i: usize| how["momentum"][i].as_f64().unwrap();
        let objective = ObjectiveConfig {
            family: Family::Lapgan,
            optimizer: OptimizerKind::Sgd,
            beta1: momentum(0),
            ..ObjectiveConfig::default()
        };
        let lr = how["lr"].as_f64().unwrap();
        let config = TrainConfig {
            batch: number("batch"),
            objective,
            ema: 0,
            lr_d: lr,
            lr_g: lr,
            momentum_to: momentum(1),
            momentum_rise: how["momentum_rise"].as_u64().unwrap(),
            ..TrainConfig::new(model)
        };
        Self { tensors, about, config }
    }

    /// The system of one level, without dropout: fed draws are of latents alone.
    fn system(&self, level: &str) -> System {
        let stage = level.parse().unwrap();
        let mut system = TrainConfig { stage, ..self.config.clone() }.system().unwrap();
        let layers = system.model.by_name.values_mut().flat_map(|net| &mut net.network.layers);
        for layer in layers {
            if let Layer::Dropout(_) = layer {
                *layer = Layer::Identity;
            }
        }
        system
    }
}

fn check(reference: &Reference, level: &str, device: &Device) {
    let Reference { tensors, about, config } = reference;
    let system = reference.system(level);
    let mut state = compare::state(&system, tensors, &["sgd.", "updates."], device);
    let tape = system.tape(Recording::COMPARED).unwrap();
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let what = format!("level {level} on {}", device.name());
    let of = |name: &str| &tensors[&format!("{level}/{name}")];
    let (mut drift, mut largest, mut compared) = ([0.0_f64; STEPS], 0.0_f32, 0);
    for (i, drift) in drift.iter_mut().enumerate() {
        let images = bytes(&row(&tensors["reals"], i));
        let labels = row(&tensors["labels"], i);
        let labels: Vec<u32> = labels.f32s().iter().map(|&label| label as u32).collect();
        let labels = Tensor::one_hot(&labels, config.model.classes).unwrap();
        let schedule = system.first().schedule((i * config.batch) as u64);
        let (z, z_g) = (row(of("z"), i), row(of("z.g"), i));
        let feeds = [
            ("images", &images),
            ("labels", &labels),
            ("schedule", &schedule),
            ("z", &z),
            ("z.g", &z_g),
        ];
        let fetched = program.call(&mut state, &feeds).unwrap();
        for (metric, theirs) in about["losses"][level][i].as_object().unwrap() {
            let off = compare::off(&fetched, metric, theirs);
            let limit = if i == 0 { 2e-6 } else { 5e-5 };
            assert!(off <= limit, "{what}: {metric} of step {}: {off:e}", i + 1);
            *drift = drift.max(off);
        }
        if i > 0 {
            continue;
        }
        let off = compare::worst(fetched["fake"].f32s(), of("fake").f32s());
        assert!(off <= 1e-5, "{what}: fake: {off:e}");
        for param in system.model.params() {
            let name = format!("grad.{}", param.name);
            let Some(theirs) = tensors.get(&format!("{level}/{name}")) else { continue };
            let ours = param.layout.to_file(&fetched[&name]).unwrap();
            let off = share(&ours, theirs, &name);
            assert!(off <= 1e-4, "{what}: {name}: {off:e}");
            largest = largest.max(off);
            compared += 1;
        }
    }
    let gradients = tensors.keys().filter(|name| name.starts_with(&format!("{level}/grad.")));
    assert_eq!(compared, gradients.count(), "{what}");
    println!(
        "{what}: gradients within {largest:.1e}, losses within {:.1e}, {:.1e} and {:.1e} in steps 1, 5 \
         and 20",
        drift[0], drift[4], drift[19]
    );
}

#[test]
fn twenty_steps_of_every_level_as_pytorch() {
    let reference = Reference::load();
    for device in support::devices() {
        for level in ["8", "16"] {
            check(&reference, level, &device);
        }
    }
}
