//! Twenty steps of the mode regularized GANs against PyTorch's in float64
//! (`assets/reference/mrgan.py`), and which loss reaches which network.

use clap::ValueEnum as _;
use dcgan::device::{Device, State};
use dcgan::gan::families;
use dcgan::gan::objective::Family;
use dcgan::gan::{Recording, System};
use dcgan::models::{ModelConfig, Size};
use dcgan::program::{Fetched, Options, Program};
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Tensors, bytes, row, worst};
use crate::support;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
}

/// A step in training.
struct Training<'a> {
    reference: &'a Reference,
    system: System,
    state: State,
    program: Program,
    /// What the learning rates are multiplied by: of the discriminators, of the others.
    rates: [f32; 2],
}

impl Reference {
    fn load(name: &str) -> Self {
        let (tensors, about) = support::reference(name);
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let side = number("size");
        let model = ModelConfig {
            size: Size { height: side, width: side },
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            ..ModelConfig::default()
        };
        let weight = |key: &str| how[key].as_f64().unwrap() as f32;
        let objective = ObjectiveConfig {
            family: Family::from_str(how["family"].as_str().unwrap(), false).unwrap(),
            distance_weight: weight("distance_weight"),
            mode_weight: weight("mode_weight"),
            ..ObjectiveConfig::default()
        };
        let config =
            TrainConfig { batch: number("batch"), objective, ema: 0, ..TrainConfig::new(model) };
        Self { tensors, about, config }
    }

    fn start(&self, objective: ObjectiveConfig, device: &Device) -> Training<'_> {
        let config = TrainConfig { objective, ..self.config.clone() };
        // Without the check of bounds, which a flipped sign would not pass.
        let system = families::system(&config, config.networks().unwrap()).unwrap();
        let state = compare::state(&system, &self.tensors, &["adam.", "updates."], device);
        let tape = system.tape(Recording::COMPARED).unwrap();
        let program = Program::compile(&tape, &state, &Options::default()).unwrap();
        Training { reference: self, system, state, program, rates: [1.0; 2] }
    }
}

impl Training<'_> {
    /// Step `i`, from 0, on the latents of step `z`.
    fn call(&mut self, i: usize, z: usize) -> Fetched {
        let images = bytes(&row(&self.reference.tensors["reals"], i));
        let lr = self.reference.about["method"]["lr"].as_f64().unwrap() as f32;
        let of = |name: &str| lr * self.rates[usize::from(name != "lr_d")];
        let schedule = self.system.first().schedule_of(of);
        let z = row(&self.reference.tensors["z"], z);
        let feeds = [("images", &images), ("schedule", &schedule), ("z", &z)];
        self.program.call(&mut self.state, &feeds).unwrap()
    }
}

fn check(name: &str, device: &Device) {
    let reference = Reference::load(name);
    let mut training = reference.start(reference.config.objective, device);
    let what = format!("{name} on {}", device.name());
    let all = reference.about["losses"].as_array().unwrap();
    assert_eq!(all.len(), 20);

    let (mut drift, mut gradients) = (vec![0.0_f64; 20], 0.0_f32);
    for (i, theirs) in all.iter().enumerate() {
        let fetched = training.call(i, i);
        for (metric, theirs) in theirs.as_object().unwrap() {
            let off = compare::off(&fetched, metric, theirs);
            let limit = if i == 0 { 2e-6 } else { 5e-5 };
            assert!(off <= limit, "{what}: {metric} of step {}: {off:e}", i + 1);
            drift[i] = drift[i].max(off);
        }
        if i > 0 {
            continue;
        }
        for made in ["fake", "near"] {
            let theirs = &reference.tensors[&format!("step1.{made}")];
            let off = worst(fetched[made].f32s(), theirs.f32s());
            // The latents of both have been through an update of G in MDGAN.
            assert!(off <= 2e-5, "{what}: {made}: {off:e}");
        }
        (_, gradients) = compare::gradients(&training.system, &fetched, &reference.tensors, &what);
    }
    println!(
        "{what}: gradients within {gradients:.1e}, losses within {:.1e}, {:.1e} and {:.1e} in steps \
         1, 5 and 20",
        drift[0], drift[4], drift[19]
    );
}

#[test]
fn twenty_steps_of_reg_gan_as_pytorch() {
    support::devices().iter().for_each(|device| check("family_mrgan", device));
}

#[test]
fn twenty_steps_of_manifold_diffusion_gan_as_pytorch() {
    support::devices().iter().for_each(|device| check("family_mdgan", device));
}

/// The largest difference of the gradients of a network, as a share of the largest in `b`.
fn apart(a: &Fetched, b: &Fetched, network: &str) -> f32 {
    let start = format!("grad.{network}.");
    let of = |all: &Fetched| -> Vec<f32> {
        let own = all.iter().filter(|(name, _)| name.starts_with(&start));
        own.flat_map(|(_, grad)| grad.f32s().to_vec()).collect()
    };
    let (a, b) = (of(a), of(b));
    assert!(!b.is_empty(), "{network}");
    worst(&a, &b) / b.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()))
}

/// The discriminator learns from real and generated images alone, as in a GAN; so do the generator's
/// running statistics, since its two batches are normalized apart.
#[test]
fn reconstructions_leave_the_discriminator_and_running_statistics_alone() {
    let reference = Reference::load("family_mrgan");
    let objective = reference.config.objective;
    let plain = ObjectiveConfig { family: Family::Gan, ..objective };
    let [mut ours, mut gan] = [objective, plain].map(|m| reference.start(m, &Device::Cpu));
    let (a, b) = (ours.call(0, 0), gan.call(0, 0));
    assert!(apart(&a, &b, "discriminator") < 1e-5);
    assert!(worst(a["fake"].f32s(), b["fake"].f32s()) < 1e-6);
    assert!(apart(&a, &b, "generator") > 0.01, "the regularizer reaches the generator");
    let mut statistics = 0;
    for param in gan.system.model.params_of("generator").iter().filter(|param| !param.learned) {
        let [a, b] = [&ours, &gan].map(|t| t.state.get(&param.name).unwrap());
        assert!(worst(a.f32s(), b.f32s()) < 1e-6, "{}", param.name);
        let before = &reference.tensors[&param.name];
        assert!(worst(a.f32s(), before.f32s()) > 1e-3, "{}", param.name);
        statistics += 1;
    }
    assert_eq!(statistics, 4);
}

/// Without its regularizer Reg-GAN is a GAN, beside an encoder that learns nothing.
#[test]
fn the_encoder_learns_by_the_regularizer_alone() {
    let reference = Reference::load("family_mrgan");
    let objective =
        ObjectiveConfig { distance_weight: 0.0, mode_weight: 0.0, ..reference.config.objective };
    let a = reference.start(objective, &Device::Cpu).call(0, 0);
    let plain = ObjectiveConfig { family: Family::Gan, ..objective };
    let b = reference.start(plain, &Device::Cpu).call(0, 0);
    assert!(apart(&a, &b, "generator") < 1e-5);
    let encoder = a.iter().filter(|(name, _)| name.starts_with("grad.encoder."));
    let encoder: Vec<f32> = encoder.flat_map(|(_, grad)| grad.f32s().to_vec()).collect();
    assert!(!encoder.is_empty() && encoder.iter().all(|&g| g == 0.0));
}

/// In MDGAN the manifold step sees no latents of the distribution: another `z` changes nothing for the
/// first discriminator and the encoder, and everything for the second and the generator.
#[test]
fn the_manifold_step_sees_no_latents() {
    let reference = Reference::load("family_mdgan");
    let objective = reference.config.objective;
    let first = |z| reference.start(objective, &Device::Cpu).call(0, z);
    let (a, b) = (first(0), first(1));
    for network in ["discriminator", "encoder"] {
        assert_eq!(apart(&a, &b, network), 0.0, "{network}");
    }
    for network in ["diffusion_discriminator", "generator"] {
        assert!(apart(&a, &b, network) > 0.01, "{network}");
    }
}

/// Against a discriminator that stays as it is, reconstructions come to be taken for real; with the sign
/// that the paper prints, for generated.
#[test]
fn reconstructions_come_to_be_taken_for_real() {
    for name in ["family_mrgan", "family_mdgan"] {
        let reference = Reference::load(name);
        for mode_weight in [40.0, -40.0] {
            let objective =
                ObjectiveConfig { mode_weight, distance_weight: 0.0, ..reference.config.objective };
            let mut training = reference.start(objective, &Device::Cpu);
            training.rates = [0.0, 10.0];
            let metric = if name == "family_mrgan" { "d_near" } else { "d_fake" };
            let mut of = |i: usize| training.call(3 * i, 0)[metric].f32s()[0];
            let first = of(0);
            let last = (1..20).map(of).last().unwrap();
            let rose = last - first;
            assert!(rose * mode_weight.signum() > 0.02, "{name}, {mode_weight}: {first} to {last}");
        }
    }
}
