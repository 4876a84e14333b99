//! Twenty steps of ALI against PyTorch's in float64 (`assets/reference/ali.py`), and which update lowers
//! which loss.

use clap::ValueEnum;
use dcgan::device::{Device, State};
use dcgan::gan::{Family, Recording, System, families};
use dcgan::model::{Role, Spread};
use dcgan::models::{Architecture, LatentDistribution, ModelConfig, Norm, Size};
use dcgan::nn::Layer;
use dcgan::program::{Fetched, Options, Program};
use dcgan::train::{ObjectiveConfig, TrainConfig, Trainer};

use super::compare::{self, Tensors, bytes_of_unit, row, share};
use crate::support;

/// One of the two references on a device: its system, without dropout, and its state before step 1.
struct Training {
    tensors: Tensors,
    about: serde_json::Value,
    config: TrainConfig,
    system: System,
    program: Program,
    state: State,
}

impl Training {
    fn start(file: &str, device: &Device) -> Self {
        let (tensors, about) = support::reference(file);
        let number = |key: &str| about["options"][key].as_u64().unwrap() as usize;
        let network = Architecture::from_str(about["network"].as_str().unwrap(), false).unwrap();
        let size = Size { height: number("size"), width: number("size") };
        let model = ModelConfig {
            channels: number("nc"),
            nz: number("nz"),
            ngf: number("ngf"),
            ndf: number("ndf"),
            ..ModelConfig::usual(network, Some(size))
        };
        let objective = ObjectiveConfig { family: Family::Ali, ..ObjectiveConfig::default() };
        let lr = about["method"]["lr"].as_f64().unwrap();
        let batch = number("batch");
        let config =
            TrainConfig { batch, objective, lr_d: lr, lr_g: lr, ema: 0, ..TrainConfig::new(model) };
        let mut networks = config.networks().unwrap();
        let d = networks.get_mut(Role::Discriminator).unwrap();
        without_dropout(&mut d.layers);
        let system = families::system(&config, networks).unwrap();
        let state = compare::state(&system, &tensors, &["adam.", "updates."], device);
        let tape = system.tape(Recording::COMPARED).unwrap();
        let program = Program::compile(&tape, &state, &Options::default()).unwrap();
        Self { tensors, about, config, system, program, state }
    }

    /// Step `i`, from 0, at these learning rates.
    fn step(&mut self, i: usize, [lr_d, lr_g]: [f32; 2]) -> Fetched {
        let images = bytes_of_unit(&row(&self.tensors["reals"], i));
        let [z, epsilon] = ["z", "epsilon"].map(|name| row(&self.tensors[name], i));
        let schedule =
            self.system.first().schedule_of(|name| if name == "lr_d" { lr_d } else { lr_g });
        let feeds =
            [("images", &images), ("z", &z), ("epsilon", &epsilon), ("schedule", &schedule)];
        self.program.call(&mut self.state, &feeds).unwrap()
    }

    /// The weights of each network.
    fn weights(&self) -> [Vec<f32>; 3] {
        ["discriminator", "encoder", "generator"].map(|network| {
            let params = self.system.model.params_of(network);
            let learned = params.iter().filter(|param| param.learned);
            learned.flat_map(|p| self.state.get(&p.name).unwrap().f32s().to_vec()).collect()
        })
    }
}

/// Fed draws are of latents alone. The names of layers stay.
fn without_dropout(layers: &mut [Layer]) {
    for layer in layers {
        match layer {
            Layer::Dropout(_) => *layer = Layer::Identity,
            Layer::Join(join) => without_dropout(&mut join.layers),
            _ => {}
        }
    }
}

const FILES: [(&str, usize); 2] = [("family_ali_ali", 40), ("family_ali_bigan_mnist", 9)];

#[test]
fn twenty_steps_of_ali_as_pytorch() {
    for (device, (file, tensors)) in
        support::devices().iter().flat_map(|device| FILES.map(|file| (device, file)))
    {
        let mut ours = Training::start(file, device);
        let what = format!("{file} on {}", device.name());
        let rates = [ours.config.lr_d as f32; 2];
        let all = ours.about["losses"].as_array().unwrap().clone();
        assert_eq!(all.len(), 20);
        for (i, theirs) in all.iter().enumerate() {
            let fetched = ours.step(i, rates);
            for (name, theirs) in theirs.as_object().unwrap() {
                let off = compare::off(&fetched, name, theirs);
                let limit = if i == 0 { 2e-6 } else { 2e-5 };
                assert!(off <= limit, "{what}: {name} of step {}: {off:e}", i + 1);
            }
            if i > 0 {
                continue;
            }
            for name in ["fake", "encoded"] {
                let theirs = &ours.tensors[&format!("step1.{name}")];
                let off = share(&fetched[name], theirs, name);
                assert!(off <= 1e-5, "{what}: {name}: {off:e}");
            }
            let (compared, _) = compare::gradients(&ours.system, &fetched, &ours.tensors, &what);
            assert_eq!(compared, tensors, "all weights of three networks");
        }
    }
}

/// D's update lowers its loss and moves D alone; that of E and G lowers theirs and moves these two. Each
/// loss is seen again on the same images and draws.
#[test]
fn each_update_lowers_its_own_loss() {
    for (file, _) in FILES {
        for (rates, loss, moved) in [
            ([1e-3, 0.0], "loss_d", [true, false, false]),
            ([0.0, 1e-3], "loss_g", [false, true, true]),
        ] {
            let mut training = Training::start(file, &Device::Cpu);
            let before = training.weights();
            let first = training.step(0, rates)[loss].f32s()[0];
            let after = training.weights();
            let changed: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a != b).collect();
            assert_eq!(changed, moved, "{file}: {loss}");
            let second = training.step(0, rates)[loss].f32s()[0];
            assert!(second < first - 1e-4, "{file}: {loss}: {first}, then {second}");
        }
    }
}

/// Twice `log 2`, and a standard deviation of 1, before anything is learned; E and G together lose as
/// much as D.
#[test]
fn ali_begins_at_chance() {
    let size = Size { height: 16, width: 16 };
    let model =
        ModelConfig { nz: 8, ngf: 8, ndf: 8, ..ModelConfig::usual(Architecture::Ali, Some(size)) };
    let objective = ObjectiveConfig { family: Family::Ali, ..ObjectiveConfig::default() };
    let config = TrainConfig { batch: 8, objective, ..TrainConfig::new(model) };
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    trainer.step((0..8 * 256 * 3).map(|i| (i * 37 % 251) as u8).collect::<Vec<u8>>()).unwrap();
    let metrics = trainer.finish().unwrap().pop().unwrap();
    let chance = 2.0 * std::f32::consts::LN_2;
    for (name, wanted) in
        [("loss_d", chance), ("loss_g", chance), ("d_real", 0.5), ("d_fake", 0.5), ("sigma", 1.0)]
    {
        let value = metrics.value(name);
        assert!((value - wanted).abs() < 0.1, "{name}: {value}");
    }
}

/// What E outputs has no bounds, so latents have none, with networks whose own are uniform too.
#[test]
fn latents_are_normal_with_every_network() {
    for network in Architecture::value_variants() {
        let side = if *network == Architecture::Ali { 8 } else { 16 };
        let size = Size { height: side, width: side };
        let small =
            ModelConfig { nz: 4, ngf: 4, ndf: 4, ..ModelConfig::usual(*network, Some(size)) };
        let norm_g = if *network == Architecture::Paper { Norm::Virtual } else { small.norm_g };
        let objective = ObjectiveConfig { family: Family::Ali, ..ObjectiveConfig::default() };
        let config = TrainConfig {
            batch: 4,
            objective,
            ..TrainConfig::new(ModelConfig { norm_g, ..small })
        };
        config.tape().unwrap();
        let networks = config.networks().unwrap();
        assert_eq!(networks.latent_distribution, LatentDistribution::Normal);
        assert_eq!(networks.by_name["encoder"].spread, Spread::LogDeviation);
        assert_eq!(networks.check(), Ok(()));
        let (e, image) = (networks.encoder().unwrap(), [side, side, small.channels]);
        assert_eq!(e.sizes(image).unwrap().last(), Some(&[1, 1, 8]), "{network}");
        let reference = |layer: &Layer| match layer {
            Layer::Reference(reference) => Some(reference.uniform),
            _ => None,
        };
        let drawn = networks.generator().unwrap().layers.iter().find_map(reference);
        assert_eq!(drawn, (norm_g == Norm::Virtual).then_some(false), "{network}");
    }
}
