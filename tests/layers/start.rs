//! The data-dependent start of weight norm: after one pass, what each layer gives has mean 0 and
//! variance 1.

use dcgan::device::Device;
use dcgan::gan::Family;
use dcgan::models::{Architecture, Conditioning, ModelConfig, Norm, Size};
use dcgan::nn::{Layer, Layout, Mode, Noise, Parametrization, Pass, Sequential, WeightInit};
use dcgan::ops::conv::ConvSpec;
use dcgan::program::Options;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::train::{Batch, ObjectiveConfig, TrainConfig, Trainer};

use super::{begun, call, conv, drawn};
use crate::support;

/// A convolution, a transposed one, one from a vector to an image and a linear one, with noise and
/// activations between them; a unit has the size of an image's cell or of the whole image.
fn network(weight: Parametrization) -> Sequential {
    let start = WeightInit::Normal { std: 0.3 };
    let up = ConvSpec::up([4; 2], [8; 2], [4; 2], [2; 2], [1; 2]).unwrap();
    let layers = [
        Layer::Noise(Noise { std: 0.3 }),
        conv(3, 6),
        Layer::leaky_relu(0.2),
        Layer::conv_transpose(up, 5, 6, true),
        Layer::Softplus,
        Layer::Flatten,
        Layer::Noise(Noise { std: 0.5 }),
        Layer::linear(8 * 8 * 5, 7, true),
        Layer::relu(),
        Layer::project([3, 2], 4, 7, true),
    ];
    Sequential { layers: layers.map(|layer| layer.weighted(weight).initialized(start)).into() }
}

/// Places of the layers with weights, and the numbers that each of their units gives for an image.
const PLACES: [(usize, usize, usize); 4] = [(1, 6, 16), (3, 5, 64), (7, 7, 1), (9, 24, 1)];

/// Mean and variance of each of `units`, the last axes of `y`.
fn moments(y: &Tensor, units: usize) -> Vec<[f64; 2]> {
    let rows: Vec<&[f32]> = y.f32s().chunks(units).collect();
    let mean =
        |f: &dyn Fn(&[f32]) -> f64| rows.iter().map(|row| f(row)).sum::<f64>() / rows.len() as f64;
    (0..units)
        .map(|i| {
            let m = mean(&|row| f64::from(row[i]));
            [m, mean(&|row| (f64::from(row[i]) - m).powi(2))]
        })
        .collect()
}

#[test]
fn weight_norm_starts_with_outputs_of_mean_0_and_variance_1() {
    let (shape, key) =
        ([30, 4, 4, 3], Tensor::with_data([4], Data::U32(vec![5, 6, 0, 0])).unwrap());
    // Far from what the layers would give anyway.
    let mut numbers = drawn(&shape, 3).f32s().to_vec();
    numbers.iter_mut().for_each(|x| *x = 4.0 + 3.0 * *x);
    let x = Tensor::new(shape, numbers).unwrap();
    let tape = |network: &Sequential, mode| {
        let mut tape = Tape::new();
        let vx = tape.feed("x", &shape, DType::F32).unwrap();
        let key = tape.feed("key", &[4], DType::U32).unwrap();
        let pass = Pass::new(mode).random(Some(key), "start");
        let outputs = network.record(&mut tape, "d", vx, &pass).unwrap();
        for (at, ..) in PLACES {
            tape.fetch(&at.to_string(), outputs.each()[at]).unwrap();
        }
        tape
    };
    for device in support::devices() {
        for weight in [Parametrization::Norm, Parametrization::NormFixed, Parametrization::Plain] {
            let network = network(weight);
            assert_eq!(network.starts_by_data(), weight != Parametrization::Plain);
            let mut state = begun(&device, &network.params("d"));
            let feeds = [("x", &x), ("key", &key)];
            let initial = call(&tape(&network, Mode::Initialize), &mut state, &feeds);
            // The same images and the same noise, by what the pass has left behind.
            let after = call(&tape(&network, Mode::Train), &mut state, &feeds);
            for (at, units, cells) in PLACES {
                let what = format!("{weight} layer {at} on {}", device.name());
                let (initial, after) = (&initial[&at.to_string()], &after[&at.to_string()]);
                assert_eq!(after.len(), 30 * units * cells, "{what}");
                let all = moments(after, units);
                let off = |[m, v]: &[f64; 2]| m.abs().max((v - 1.0).abs());
                if weight == Parametrization::Plain {
                    assert!(all.iter().all(|m| off(m) > 0.01), "{what}: {all:?}");
                } else {
                    assert!(all.iter().all(|m| off(m) < 2e-5), "{what}: {all:?}");
                }
                let pairs = initial.f32s().iter().zip(after.f32s());
                let far = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-4, "{what}: the pass itself gives the same: {far}");
            }
        }
    }
}

#[test]
fn what_does_not_vary_keeps_its_length_and_norms_keep_their_statistics() {
    let batch_norm = Layer::batch_norm(6);
    let bare = Layer::conv(ConvSpec::dense([4; 2]), 3, 6, false);
    let linear = Layer::linear(6, 4, true);
    let layers = [bare, batch_norm, linear].map(|layer| layer.weighted(Parametrization::NormFixed));
    let network = Sequential { layers: layers.into() };
    for device in support::devices() {
        // Twelve times the same image.
        let x = Tensor::new([12, 4, 4, 3], drawn(&[1, 4, 4, 3], 8).f32s().repeat(12)).unwrap();
        let params = network.params("d");
        let mut state = begun(&device, &params);
        state.set("d.main.1.bias", &drawn(&[6], 2)).unwrap();
        let mut tape = Tape::new();
        let vx = tape.feed("x", x.shape(), DType::F32).unwrap();
        let y = network.record(&mut tape, "d", vx, &Pass::new(Mode::Initialize)).unwrap().last();
        tape.fetch("y", y).unwrap();
        let before: Vec<Tensor> = params.iter().map(|p| state.get(&p.name).unwrap()).collect();
        let y = call(&tape, &mut state, &[("x", &x)]);
        assert!(y["y"].f32s().iter().all(|y| y.abs() < 1e-3), "{:?}", y["y"]);
        for (param, before) in params.iter().zip(before) {
            let changed = state.get(&param.name).unwrap() != before;
            assert_eq!(
                changed,
                param.name == "d.main.2.bias",
                "{} on {}",
                param.name,
                device.name()
            );
            assert_eq!(
                param.learned,
                !param.name.contains("running") && !param.name.ends_with("_g")
            );
        }
    }
}

fn trainer(device: &Device, seed: u64) -> Trainer {
    let model = ModelConfig {
        network: Architecture::Mlp,
        size: Size { height: 8, width: 8 },
        channels: 1,
        nz: 5,
        ngf: 6,
        ndf: 16,
        classes: 3,
        conditioning: Conditioning::Semi,
        weight_d: Parametrization::NormFixed,
        ..ModelConfig::usual(Architecture::Mlp, None)
    };
    let objective =
        ObjectiveConfig { feature_matching: true, historical: 0.1, ..ObjectiveConfig::default() };
    let (labels_per_class, lr) = (2, 3e-3);
    let config =
        TrainConfig { batch: 6, seed, objective, labels_per_class, ..TrainConfig::new(model) };
    let config = TrainConfig { lr_d: lr, lr_g: lr, ..config };
    Trainer::new(config, device, &Options::default()).unwrap()
}

/// The mean of all past values counts updates, however many of them a step has.
#[test]
fn historical_means_follow_every_update() {
    let model = ModelConfig {
        norm_d: Norm::None,
        size: Size { height: 8, width: 8 },
        nz: 5,
        ngf: 4,
        ndf: 4,
        ..ModelConfig::default()
    };
    let objective = ObjectiveConfig { historical: 1e-9, n_critic: 3, ..ObjectiveConfig::default() };
    let bytes = |step: usize| {
        (0..12 * 64 * 3).map(|i| ((i + step * 977) * 31 % 251) as u8).collect::<Vec<u8>>()
    };
    for device in support::devices() {
        let config = TrainConfig { batch: 4, objective, ..TrainConfig::new(model) };
        let mut trainer = Trainer::new(config, &device, &Options::default()).unwrap();
        let start = trainer.tensors().unwrap();
        trainer.step(bytes(0)).unwrap();
        trainer.finish().unwrap();
        let after = trainer.tensors().unwrap();
        assert_eq!(after["updates.discriminator"].f32s(), [3.0]);
        assert_eq!(after["updates.generator"].f32s(), [1.0]);
        // Adam moves a weight by about the learning rate in each update. The mean of the values before
        // the three updates is one such move from the start, if all have gone the same way.
        let name = "discriminator.main.0.weight";
        let (past, new) = (&after[&format!("history.{name}")], &after[name]);
        let moved = |x: &Tensor| -> f32 {
            let mut by: Vec<f32> =
                x.f32s().iter().zip(start[name].f32s()).map(|(a, b)| (a - b).abs()).collect();
            by.sort_by(f32::total_cmp);
            by[by.len() * 9 / 10] / 2e-4
        };
        assert!((2.5..3.1).contains(&moved(new)), "{}", moved(new));
        assert!((0.8..1.1).contains(&moved(past)), "{}", moved(past));
    }
}

#[test]
fn a_training_starts_on_real_images_and_keeps_the_lengths() {
    let bytes = |n: usize, k: usize| (0..n * 64).map(|i| (i * k % 251) as u8).collect::<Vec<u8>>();
    for device in support::devices() {
        let begin = |seed| {
            let mut trainer = trainer(&device, seed);
            assert_eq!(trainer.start_images(), 48);
            trainer.start_on(bytes(48, 37), &[0; 48]).unwrap();
            trainer
        };
        let mut trained = begin(1);
        let first = trained.tensors().unwrap();
        assert_eq!(first, begin(1).tensors().unwrap());
        assert_ne!(first, begin(2).tensors().unwrap());
        let own = |name: &&String| name.starts_with("discriminator.");
        assert!(first.keys().filter(own).count() > 12);
        for name in first.keys().filter(own) {
            assert_eq!(first[name], first[&format!("ema.{name}")], "{name}");
            if let Some(past) = first.get(&format!("history.{name}")) {
                assert_eq!(past, &first[name], "{name}");
            }
            let numbers = first[name].f32s();
            assert!(numbers.iter().all(|x| x.is_finite() && *x != 0.0), "{name}: {numbers:?}");
        }
        for step in 0..3 {
            let labels = [0, 1, 2, 0, 1, 2];
            let batch = Batch::from(bytes(6, 91 + step)).labels(&labels).labeled(bytes(6, 53));
            trained.step(batch).unwrap();
        }
        trained.finish().unwrap();
        let after = trained.tensors().unwrap();
        let lengths: Vec<&String> = first.keys().filter(|n| own(n) && n.ends_with("_g")).collect();
        assert_eq!(lengths.len(), 6);
        for name in lengths {
            // All but the last layer's.
            let last = first[name].len() == 3;
            assert_eq!(after[name] != first[name], last, "{name}");
            assert_eq!(first.contains_key(&format!("adam.m.{name}")), last, "{name}");
            let directions = name.replace("_g", "_v");
            assert_ne!(after[&directions], first[&directions], "{name}");
        }
    }
}

/// A training of a family with an encoder on images of 8×8, in batches of 3.
fn beside_an_encoder(model: ModelConfig, family: Family, device: &Device) -> Trainer {
    let size = Size { height: 8, width: 8 };
    let model = ModelConfig { size, channels: 1, nz: 5, ngf: 4, ndf: 4, ..model };
    let objective = ObjectiveConfig { family, ..ObjectiveConfig::default() };
    let config = TrainConfig { batch: 3, objective, ..TrainConfig::new(model) };
    Trainer::new(config, device, &Options::default()).unwrap()
}

/// Every tensor but that bias stays. Pixels that are always black or white have odds all the same.
#[test]
fn an_untied_bias_starts_at_the_log_odds_of_the_mean_image() {
    let bytes: Vec<u8> = (0..24 * 64)
        .map(|i| match i % 64 {
            0 => 0,
            1 => 255,
            pixel => (i / 64 * 7 + pixel * 3) as u8,
        })
        .collect();
    for device in support::devices() {
        let model = ModelConfig::usual(Architecture::Ali, None);
        let mut trainer = beside_an_encoder(model, Family::Ali, &device);
        let fresh = trainer.tensors().unwrap();
        assert_eq!(trainer.start_images(), 24);
        trainer.start_on(bytes.clone(), &[0; 24]).unwrap();
        let begun = trainer.tensors().unwrap();
        let params = trainer.system().model.params();
        let bias = &params.iter().find(|param| param.layout == Layout::Image).unwrap().name;
        for (pixel, odds) in begun[bias].f32s().iter().enumerate() {
            let own = bytes.iter().skip(pixel).step_by(64);
            let mean = own.map(|&byte| f64::from(byte) / 255.0).sum::<f64>() / 24.0;
            let clipped = mean.clamp(1e-7, 1.0 - 1e-7);
            let off = f64::from(*odds) - (clipped / (1.0 - clipped)).ln();
            // 1 − 10⁻⁷ is no number of 32 bits.
            assert!(off.abs() < if pixel < 2 { 0.3 } else { 1e-4 }, "{pixel}: {odds} {off}");
        }
        let own = [bias.clone(), format!("ema.{bias}")];
        for (name, value) in &fresh {
            assert_eq!(value.bytes() != begun[name].bytes(), own.contains(name), "{name}");
        }
        assert_eq!(begun[&own[0]].bytes(), begun[&own[1]].bytes());
    }
}

#[test]
fn a_discriminator_of_pairs_starts_beside_latents() {
    for family in [Family::Bigan, Family::Ali] {
        // Every convolution of it has a bias.
        let plain = ModelConfig::usual(Architecture::Cnn, None);
        let model = ModelConfig { weight_d: Parametrization::Norm, norm_d: Norm::None, ..plain };
        let mut trainer = beside_an_encoder(model, family, &Device::Cpu);
        let fresh = trainer.tensors().unwrap();
        assert_eq!(trainer.start_images(), 24, "{family}");
        let bytes: Vec<u8> = (0..24 * 64).map(|i| (i * 37 % 251) as u8).collect();
        trainer.start_on(bytes, &[0; 24]).unwrap();
        let begun = trainer.tensors().unwrap();
        let moved = |network: &str| {
            let own = fresh.iter().filter(|(name, _)| name.starts_with(network));
            own.filter(|(name, value)| value.bytes() != begun[*name].bytes()).count()
        };
        assert!(moved("discriminator.") > 1, "{family}");
        assert_eq!(["generator.", "encoder."].map(moved), [0, 0], "{family}");
    }
}
