//! Twenty steps of BiGAN against PyTorch's in float64 (`assets/reference/bigan.py`), and what reaches
//! which network.

use dcgan::device::Device;
use dcgan::gan::Recording;
use dcgan::gan::objective::Family;
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::program::{Options, Program};
use dcgan::tensor::Tensor;
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, bytes_of_unit, row, share};
use crate::support;

fn config(about: &Value) -> TrainConfig {
    let number = |key: &str| about["options"][key].as_u64().unwrap() as usize;
    let how = |key: &str| about["method"][key].as_f64().unwrap();
    let side = number("size");
    let size = Size { height: side, width: side };
    let model = ModelConfig {
        channels: number("nc"),
        nz: number("nz"),
        ngf: number("ngf"),
        ndf: number("ndf"),
        ..ModelConfig::usual(Architecture::BiganMnist, Some(size))
    };
    let weight_decay = how("weight_decay") as f32;
    let objective =
        ObjectiveConfig { family: Family::Bigan, weight_decay, ..ObjectiveConfig::default() };
    let lr = how("lr");
    TrainConfig {
        batch: number("batch"),
        objective,
        lr_d: lr,
        lr_g: lr,
        ema: 0,
        ..TrainConfig::new(model)
    }
}

fn check(device: &Device) {
    let (tensors, about) = support::reference("family_bigan");
    let config = config(&about);
    let system = config.system().unwrap();
    let tape = system.tape(Recording::COMPARED).unwrap();
    let mut state = compare::state(&system, &tensors, &["adam.", "updates."], device);
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let what = device.name();
    let schedule = system.first().schedule(0);
    for (i, theirs) in about["losses"].as_array().unwrap().iter().enumerate() {
        let z = row(&tensors["z"], i);
        let images = bytes_of_unit(&row(&tensors["reals"], i));
        let feeds = [("images", &images), ("z", &z), ("schedule", &schedule)];
        let fetched = program.call(&mut state, &feeds).unwrap();
        for (loss, theirs) in theirs.as_object().unwrap() {
            let off = compare::off(&fetched, loss, theirs);
            let limit = if i == 0 { 2e-6 } else { 2e-5 };
            assert!(off <= limit, "{what}: {loss} of step {}: {off:e}", i + 1);
        }
        if i > 0 {
            continue;
        }
        for name in ["fake", "encoded"] {
            let theirs = &tensors[&format!("step1.{name}")];
            // Latents are `[n, 1, 1, nz]` there.
            let ours = Tensor::new(theirs.shape(), fetched[name].f32s().to_vec()).unwrap();
            let off = share(&ours, theirs, name);
            assert!(off <= 1e-5, "{what}: {name}: {off:e}");
        }
        let (compared, _) = compare::gradients(&system, &fetched, &tensors, &what);
        assert_eq!(compared, 9, "all weights of three networks");
    }
}

#[test]
fn twenty_steps_of_bigan_as_pytorch() {
    support::devices().iter().for_each(check);
}

/// `log 2` before anything is learned, as the authors' program prints at first.
#[test]
fn losses_begin_at_log_2() {
    let model = ModelConfig {
        nz: 8,
        ngf: 32,
        ndf: 32,
        ..ModelConfig::usual(Architecture::BiganMnist, None)
    };
    let model = ModelConfig { channels: 1, ..model };
    let objective = ObjectiveConfig { family: Family::Bigan, ..ObjectiveConfig::default() };
    let config = TrainConfig { batch: 16, objective, ..TrainConfig::new(model) };
    let mut trainer =
        dcgan::train::Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let images: Vec<u8> = (0..16 * 28 * 28).map(|i| (i * 37 % 251) as u8).collect();
    trainer.step(images).unwrap();
    let metrics = trainer.finish().unwrap().pop().unwrap();
    for loss in ["loss_d", "loss_e", "loss_g"] {
        let value = metrics.value(loss);
        assert!((value - std::f32::consts::LN_2).abs() < 0.02, "{loss}: {value}");
    }
}
