//! Twenty steps of the VAE and of VAE/GAN against PyTorch's in float64 (`assets/reference/vae_gan.py`),
//! which updates are skipped in them, and which loss reaches which network.

use clap::ValueEnum as _;
use dcgan::device::{Device, State};
use dcgan::gan::objective::{Family, OptimizerKind};
use dcgan::gan::{Recording, System};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::objectives::Loss;
use dcgan::program::{Fetched, Options, Program};
use dcgan::train::{ObjectiveConfig, TrainConfig};
use serde_json::Value;

use super::compare::{self, Tensors, bytes, row, worst};
use crate::support;

const STEPS: usize = 20;

struct Reference {
    tensors: Tensors,
    about: Value,
    config: TrainConfig,
}

impl Reference {
    fn load(name: &str) -> Self {
        let (tensors, about) = support::reference(name);
        let (sizes, how) = (&about["options"], &about["method"]);
        let number = |key: &str| sizes[key].as_u64().unwrap() as usize;
        let (side, is_gan) = (number("size"), how["gan"].as_bool().unwrap());
        let size = Size { height: side, width: side };
        let model = ModelConfig {
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            ..ModelConfig::usual(Architecture::VaeGan, Some(size))
        };
        let objective = ObjectiveConfig {
            family: if is_gan { Family::VaeGan } else { Family::Vae },
            loss: match is_gan {
                true => Loss::from_str(how["loss"].as_str().unwrap(), false).unwrap(),
                false => Loss::default(),
            },
            gamma: how["gamma"].as_f64().unwrap() as f32,
            optimizer: OptimizerKind::Rmsprop,
            beta2: how["alpha"].as_f64().unwrap(),
            epsilon: how["eps"].as_f64().unwrap() as f32,
            ..ObjectiveConfig::default()
        };
        let config =
            TrainConfig { batch: number("batch"), objective, ema: 0, ..TrainConfig::new(model) };
        Self { tensors, about, config }
    }

    fn state(&self, system: &System, device: &Device) -> State {
        compare::state(system, &self.tensors, &["rmsprop.", "updates."], device)
    }

    /// Calls the step `i`, from 0, of `system`, which may be that of another method.
    fn call(&self, program: &mut Program, state: &mut State, system: &System, i: usize) -> Fetched {
        let images = bytes(&row(&self.tensors["reals"], i));
        let lr = self.about["method"]["lr"].as_f64().unwrap() as f32;
        let schedule = system.first().schedule_of(|_| lr);
        let epsilon = row(&self.tensors["epsilon"], i);
        let z = self.tensors.get("z").map(|z| row(z, i));
        let mut feeds = vec![("images", &images), ("schedule", &schedule), ("epsilon", &epsilon)];
        feeds.extend(z.as_ref().map(|z| ("z", z)));
        program.call(state, &feeds).unwrap()
    }

    /// What the first step of `objective` fetches.
    fn first_step(&self, objective: ObjectiveConfig) -> Fetched {
        let system = TrainConfig { objective, ..self.config.clone() }.system().unwrap();
        let tape = system.tape(Recording::COMPARED).unwrap();
        let mut state = self.state(&system, &Device::Cpu);
        let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
        self.call(&mut program, &mut state, &system, 0)
    }
}

fn check(name: &str, device: &Device) {
    let reference = Reference::load(name);
    let system = reference.config.system().unwrap();
    let tape = system.tape(Recording::COMPARED).unwrap();
    let mut state = reference.state(&system, device);
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let what = format!("{name} on {}", device.name());

    let (mut drift, mut gradients) = ([0.0_f64; STEPS], 0.0_f32);
    for (i, drift) in drift.iter_mut().enumerate() {
        let fetched = reference.call(&mut program, &mut state, &system, i);
        let theirs = reference.about["losses"][i].as_object().unwrap();
        // What the masks follow from is no metric.
        for (metric, theirs) in
            theirs.iter().filter(|(metric, _)| !["a", "b"].contains(&&metric[..]))
        {
            let off = compare::off(&fetched, metric, theirs);
            // RMSprop divides by the root of gradients' squares: where those are next to nothing, another
            // device's rounding moves a weight by as much as a gradient would.
            let later = if device.is_cpu() { 5e-5 } else { 2e-2 };
            let limit = if i == 0 { 2e-6 } else { later };
            assert!(off <= limit, "{what}: {metric} of step {}: {off:e}", i + 1);
            *drift = drift.max(off);
        }
        if i > 0 {
            continue;
        }
        let made =
            worst(fetched["reconstructed"].f32s(), reference.tensors["step1.reconstructed"].f32s());
        assert!(made <= 1e-5, "{what}: reconstructions: {made:e}");
        (_, gradients) = compare::gradients(&system, &fetched, &reference.tensors, &what);
    }
    // Skipped updates are not counted.
    for (metric, network) in [("updated_d", "discriminator"), ("updated_g", "generator")] {
        let made = |i: usize| reference.about["losses"][i][metric].as_u64();
        if let Some(made) = (0..STEPS).map(made).sum::<Option<u64>>() {
            let counted = state.get(&format!("updates.{network}")).unwrap();
            assert_eq!(counted.f32s(), [made as f32], "{what}");
        }
    }
    println!(
        "{what}: gradients within {gradients:.1e}, losses within {:.1e}, {:.1e} and {:.1e} in steps \
         1, 5 and 20",
        drift[0], drift[4], drift[19]
    );
}

#[test]
fn twenty_steps_of_a_vae_as_pytorch() {
    support::devices().iter().for_each(|device| check("family_vae", device));
}

#[test]
fn twenty_steps_of_vae_gan_as_pytorch() {
    for device in support::devices() {
        check("family_vae_gan", &device);
        check("family_vae_gan_non_saturating", &device);
    }
}

/// Whether all gradients of a network are the same in two steps.
fn same(a: &Fetched, b: &Fetched, network: &str) -> bool {
    let start = format!("grad.{network}.");
    let own = a.iter().filter(|(name, _)| name.starts_with(&start));
    let equal: Vec<bool> = own.map(|(name, a)| a.bytes() == b[name].bytes()).collect();
    assert!(!equal.is_empty());
    equal.iter().all(|&equal| equal)
}

#[test]
fn each_loss_reaches_the_networks_that_it_is_for() {
    let reference = Reference::load("family_vae_gan");
    let of = |loss, gamma| {
        reference.first_step(ObjectiveConfig { loss, gamma, ..reference.config.objective })
    };
    let (saturating, other) = (of(Loss::Saturating, 0.5), of(Loss::NonSaturating, 0.5));
    // Neither the adversarial loss nor its weight reaches the encoder or the discriminator …
    for changed in [&other, &of(Loss::Saturating, 0.1)] {
        assert!(same(&saturating, changed, "encoder"));
        assert!(same(&saturating, changed, "discriminator"));
        assert!(!same(&saturating, changed, "generator"));
    }
    // … and at γ = 1 not the generator either.
    let pure = [Loss::Saturating, Loss::NonSaturating].map(|loss| of(loss, 1.0));
    assert!(same(&pure[0], &pure[1], "generator"));
}

#[test]
fn a_training_brings_reconstructions_nearer() {
    for family in [Family::Vae, Family::VaeGan] {
        let size = Size { height: 16, width: 16 };
        let usual = ModelConfig::usual(Architecture::Dcgan, Some(size));
        let model = ModelConfig { channels: 1, nz: 4, ngf: 8, ndf: 8, ..usual };
        let objective = ObjectiveConfig { family, gamma: 0.1, ..ObjectiveConfig::default() };
        let config = TrainConfig { batch: 16, objective, lr_g: 1e-3, ..TrainConfig::new(model) };
        let options = Options::default();
        let mut trainer = dcgan::train::Trainer::new(config, &Device::Cpu, &options).unwrap();
        // A bright square somewhere.
        let image = |i: usize| {
            let (top, left) = (i * 5 % 11, i * 3 % 11);
            let is_in = move |at: usize, from: usize| (from..from + 5).contains(&at);
            (0..256).map(move |p| if is_in(p / 16, top) && is_in(p % 16, left) { 250 } else { 5 })
        };
        let mut metrics = Vec::new();
        for step in 0..60 {
            let batch: Vec<u8> = (0..16).flat_map(|i| image(step * 16 + i)).collect();
            metrics.extend(trainer.step(batch).unwrap());
        }
        metrics.extend(trainer.finish().unwrap());
        let distance = |i: usize| metrics[i].value("reconstruction");
        let (first, last) = (distance(0), distance(metrics.len() - 1));
        let names: Vec<&str> = metrics[0].iter().map(|(name, _)| name).collect();
        if family == Family::Vae {
            let all = ["loss_e", "kl", "reconstruction", "grad_norm_e", "grad_norm_g"];
            assert_eq!(names, all);
            assert!(last < 0.7 * first, "{first} and {last}");
        } else {
            assert!(names.contains(&"updated_d") && names.contains(&"updated_g"), "{names:?}");
        }
        assert!(metrics.iter().all(|m| m.non_finite().is_none() && m.value("kl") >= 0.0));
    }
}
