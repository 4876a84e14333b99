//! Twenty steps of BiGAN against PyTorch's in float64 (`assets/reference/bigan.py`), and what reaches
//! which network.

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::gan::Recording;
use dcgan::gan::method::Family;
use dcgan::models::{ModelConfig, Network, Size};
use dcgan::program::{Options, Program};
use dcgan::tensor::{Data, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::worst;
use crate::support;

fn recipe(about: &Value) -> TrainConfig {
    let number = |key: &str| about["options"][key].as_u64().unwrap() as usize;
    let how = |key: &str| about["method"][key].as_f64().unwrap();
    let side = number("size");
    let size = Size { height: side, width: side };
    let model = ModelConfig {
        channels: number("nc"),
        nz: number("nz"),
        ngf: number("ngf"),
        ndf: number("ndf"),
        ..ModelConfig::usual(Network::BiganMnist, Some(size))
    };
    let weight_decay = how("weight_decay") as f32;
    let method =
        ObjectiveConfig { family: Family::Bigan, weight_decay, ..ObjectiveConfig::default() };
    let lr = how("lr");
    TrainConfig {
        batch: number("batch"),
        method,
        lr_d: lr,
        lr_g: lr,
        ema: 0,
        ..TrainConfig::new(model)
    }
}

fn bytes(reals: &Tensor, batch: usize) -> Tensor {
    let len = reals.len() / reals.shape()[0];
    let rows = &reals.f32s()[batch * len..(batch + 1) * len];
    let bytes = rows.iter().map(|x| (x * 255.0).round() as u8).collect();
    Tensor::with_data(&reals.shape()[1..], Data::U8(bytes)).unwrap()
}

fn check(device: &Device) {
    let (tensors, about) = support::reference("family_bigan");
    let recipe = recipe(&about);
    let system = recipe.system().unwrap();
    let tape = system.tape(Recording::COMPARED).unwrap();
    let params: BTreeMap<_, _> =
        system.states().into_iter().map(|param| (param.name.clone(), param)).collect();
    let mut state = State::new(device);
    for (name, value) in system.initial_state(0).unwrap() {
        let value = match (tensors.get(&name), params.get(&name)) {
            (Some(tensor), Some(param)) => {
                param.layout.from_file(&name, tensor, &param.shape).unwrap()
            }
            _ => {
                let own = ["adam.", "updates.", "key"].iter().any(|start| name.starts_with(start));
                assert!(own, "{name} is in no reference");
                value
            }
        };
        state.set(&name, &value).unwrap();
    }
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let share = |name: &str, ours: &Tensor| {
        let theirs = tensors[name].f32s();
        let largest = theirs.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        worst(ours.f32s(), theirs) / largest
    };
    let what = device.name();
    let schedule = system.first().schedule(0);
    let (z, n) = (&tensors["z"], recipe.batch);
    for (i, theirs) in about["losses"].as_array().unwrap().iter().enumerate() {
        let nz = recipe.model.nz;
        let z = Tensor::new([n, nz], z.f32s()[i * n * nz..(i + 1) * n * nz].to_vec()).unwrap();
        let images = bytes(&tensors["reals"], i % tensors["reals"].shape()[0]);
        let feeds = [("images", &images), ("z", &z), ("schedule", &schedule)];
        let fetched = program.call(&mut state, &feeds).unwrap();
        for (loss, theirs) in theirs.as_object().unwrap() {
            let theirs = theirs.as_f64().unwrap();
            let off = (f64::from(fetched[loss].f32s()[0]) - theirs).abs() / theirs.abs().max(1.0);
            let limit = if i == 0 { 2e-6 } else { 2e-5 };
            assert!(off <= limit, "{what}: {loss} of step {}: {off:e}", i + 1);
        }
        if i > 0 {
            continue;
        }
        for name in ["fake", "encoded"] {
            let off = share(&format!("step1.{name}"), &fetched[name]);
            assert!(off <= 1e-5, "{what}: {name}: {off:e}");
        }
        let mut compared = 0;
        for (name, param) in &params {
            let grad = format!("grad.{name}");
            if tensors.contains_key(&grad) {
                let ours = param.layout.to_file(&fetched[&grad]).unwrap();
                let off = share(&grad, &ours);
                assert!(off <= 1e-4, "{what}: {grad}: {off:e}");
                compared += 1;
            }
        }
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
    let model =
        ModelConfig { nz: 8, ngf: 32, ndf: 32, ..ModelConfig::usual(Network::BiganMnist, None) };
    let model = ModelConfig { channels: 1, ..model };
    let method = ObjectiveConfig { family: Family::Bigan, ..ObjectiveConfig::default() };
    let recipe = TrainConfig { batch: 16, method, ..TrainConfig::new(model) };
    let mut trainer =
        dcgan::train::Trainer::new(recipe, &Device::Cpu, &Options::default()).unwrap();
    let images: Vec<u8> = (0..16 * 28 * 28).map(|i| (i * 37 % 251) as u8).collect();
    trainer.step(images).unwrap();
    let metrics = trainer.finish().unwrap().pop().unwrap();
    for loss in ["loss_d", "loss_e", "loss_g"] {
        let value = metrics.value(loss);
        assert!((value - std::f32::consts::LN_2).abs() < 0.02, "{loss}: {value}");
    }
}
