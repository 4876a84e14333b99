//! Twenty steps of GAN-INT-CLS against PyTorch's in float64 (`assets/reference/int_cls.py`), and
//! what wrong images are for.

use dcgan::device::Device;
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System};
use dcgan::models::{ModelConfig, Size};
use dcgan::program::{Fetched, Options, Program};
use dcgan::text::TextEncoder;
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Tensors, bytes, row, worst};
use crate::support;

fn config(about: &Value, width: usize, mismatch: f32) -> TrainConfig {
    let number = |key: &str| about["options"][key].as_u64().unwrap() as usize;
    let side = number("size");
    let model = ModelConfig {
        size: Size { height: side, width: side },
        channels: number("nc"),
        nz: number("nz"),
        ngf: number("ngf"),
        ndf: number("ndf"),
        text: width,
        ..ModelConfig::default()
    };
    let objective =
        ObjectiveConfig { family: Family::IntCls, mismatch, ..ObjectiveConfig::default() };
    TrainConfig {
        batch: number("batch"),
        objective,
        ema: 0,
        text: TextEncoder::of_width(width),
        ..TrainConfig::new(model)
    }
}

/// The steps `steps`, with the images of `wrong` as those that texts are wrong for.
fn steps(
    tensors: &Tensors,
    about: &Value,
    (mismatch, wrong): (f32, &str),
    device: &Device,
    count: usize,
) -> (System, Vec<Fetched>) {
    let config = config(about, tensors["text"].shape()[2], mismatch);
    let system = config.system().unwrap();
    let mut state = compare::state(&system, tensors, &["adam.", "updates."], device);
    let tape = system.tape(Recording::COMPARED).unwrap();
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let lr = about["method"]["lr"].as_f64().unwrap() as f32;
    let schedule = system.first().schedule_of(|_| lr);
    let fetched = (0..count).map(|i| {
        let (images, wrong) = (bytes(&row(&tensors["reals"], i)), bytes(&row(&tensors[wrong], i)));
        let [text, z, z_g] = ["text", "z", "z.g"].map(|name| row(&tensors[name], i));
        let mut feeds = vec![("images", &images), ("schedule", &schedule)];
        feeds.extend([("text", &text), ("z", &z), ("z.g", &z_g)]);
        if mismatch > 0.0 {
            feeds.push(("wrong", &wrong));
        }
        program.call(&mut state, &feeds).unwrap()
    });
    let fetched = fetched.collect();
    (system, fetched)
}

fn check(device: &Device) {
    let (tensors, about) = support::reference("family_int_cls");
    let what = format!("int-cls on {}", device.name());
    let mismatch = about["method"]["mismatch"].as_f64().unwrap() as f32;
    let all = about["losses"].as_array().unwrap();
    assert_eq!(all.len(), 20);
    let (system, fetched) = steps(&tensors, &about, (mismatch, "wrong"), device, 20);
    for (i, (theirs, fetched)) in all.iter().zip(&fetched).enumerate() {
        for (metric, theirs) in theirs.as_object().unwrap() {
            let off = compare::off(fetched, metric, theirs);
            let limit = if i == 0 { 2e-6 } else { 5e-5 };
            assert!(off <= limit, "{what}: {metric} of step {}: {off:e}", i + 1);
        }
    }
    let off = worst(fetched[0]["fake"].f32s(), tensors["step1.fake"].f32s());
    assert!(off <= 2e-5, "{what}: {off:e}");
    let (count, _) = compare::gradients(&system, &fetched[0], &tensors, &what);
    assert!(count > 10, "{count}");
}

#[test]
fn twenty_steps_of_gan_int_cls_as_pytorch() {
    support::devices().iter().for_each(check);
}

/// Wrong images reach the discriminator alone, and only if they have a share.
#[test]
fn wrong_images_are_for_the_discriminator() {
    let (tensors, about) = support::reference("family_int_cls");
    let loss = |mismatch, wrong, metric: &str| {
        let (_, fetched) = steps(&tensors, &about, (mismatch, wrong), &Device::Cpu, 1);
        fetched[0][metric].f32s()[0]
    };
    assert_ne!(loss(0.4, "wrong", "loss_d"), loss(0.4, "reals", "loss_d"));
    assert_eq!(loss(0.4, "wrong", "d_fake"), loss(0.4, "reals", "d_fake"));
    assert_ne!(loss(0.0, "wrong", "loss_d"), loss(0.4, "wrong", "loss_d"));
    // The same images with the same texts are scored the same in both passes.
    assert_eq!(loss(0.4, "reals", "d_wrong"), loss(0.4, "reals", "d_real"));
}
