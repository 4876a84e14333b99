//! Layers of the GAN family, where PyTorch's numbers say nothing: what is random, what is shared by
//! passes, what does not depend on what, and what cannot be.

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::error::Error;
use dcgan::features;
use dcgan::model::{Networks, Pipeline, Pixels, Role};
use dcgan::models::{Architecture, LatentDistribution, ModelConfig, Size};
use dcgan::nn::{
    Attention, ConditionalBatchNorm, Dropout, GroupNorm, Heads, Label, Layer,
    MinibatchDiscrimination, MinibatchStd, Mode, Noise, Param, Parametrization, Pass, PixelNorm,
    Projection, Reference, Residual, Sequential, VirtualBatchNorm, WeightInit,
};
use dcgan::ops::conv::ConvSpec;
use dcgan::optim::Sgd;
use dcgan::program::{Fetched, Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::testing;

use super::support;

mod checked;
mod described;
mod formulas;
mod sides;
mod start;

/// A convolution of 3×3 on images of 4×4.
fn conv(from: usize, to: usize) -> Layer {
    Layer::conv(ConvSpec::down([4; 2], [3; 2], [1; 2], [1; 2]).unwrap(), from, to, true)
}

fn critic(weight: Parametrization) -> Sequential {
    let dense = Layer::conv(ConvSpec::dense([4; 2]), 6, 1, true);
    let layers = [conv(3, 6), Layer::leaky_relu(0.1), conv(6, 6), Layer::Softplus, dense];
    Sequential { layers: layers.map(|layer| layer.weighted(weight)).into() }
}

/// The network's tensors before training.
fn begun(device: &Device, params: &[Param]) -> State {
    let mut state = State::new(device);
    for param in params {
        state.set(&param.name, &param.initial(5)).unwrap();
    }
    state
}

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    let mut x = vec![0.0; shape.iter().product()];
    Stream::new(seed, "x", 0).fill_normal(&mut x);
    Tensor::new(shape, x).unwrap()
}

fn call(tape: &Tape, state: &mut State, feeds: &[(&str, &Tensor)]) -> Fetched {
    let mut program = Program::compile(tape, state, &Options::default()).unwrap();
    program.call(state, feeds).unwrap()
}

fn count(tape: &Tape, op: &str, shape: &[usize]) -> usize {
    tape.nodes().iter().filter(|n| n.op.name() == op && n.shape == shape).count()
}

#[test]
fn noise_and_dropout_draw_anew_in_every_pass_of_a_step() {
    let network = Sequential {
        layers: vec![Layer::Noise(Noise { std: 0.5 }), Layer::Dropout(Dropout::new(0.25))],
    };
    let shape = [3, 4, 5, 2];
    let x = drawn(&shape, 1);
    let mut tape = Tape::new();
    let vx = tape.feed("x", &shape, DType::F32).unwrap();
    let key = tape.feed("key", &[4], DType::U32).unwrap();
    for name in ["real", "fake"] {
        let pass = Pass::new(Mode::Train).random(Some(key), name);
        let y = network.record(&mut tape, "d", vx, &pass).unwrap();
        tape.fetch(&format!("{name} noise"), y.each()[0]).unwrap();
        tape.fetch(name, y.each()[1]).unwrap();
    }
    let y = network.record(&mut tape, "d", vx, &Pass::new(Mode::Eval)).unwrap().last();
    assert_eq!(y, vx, "after training it does nothing");
    let key = Tensor::with_data([4], Data::U32(vec![7, 8, 9, 0])).unwrap();
    for device in support::devices() {
        let got = call(&tape, &mut State::new(&device), &[("x", &x), ("key", &key)]);
        for name in ["real", "fake"] {
            let stream = |layer: usize| {
                let id = dcgan::rng::stream_id(&format!("d.main.{layer}.{name}"));
                Stream::with_key([7, 8], id, 9)
            };
            let (mut noise, mut chance) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            stream(0).fill_normal(&mut noise);
            stream(1).fill_uniform(&mut chance);
            let noisy = got[&format!("{name} noise")].f32s();
            for i in 0..x.len() {
                let want = x.f32s()[i] + 0.5 * noise[i];
                assert!((noisy[i] - want).abs() < 1e-5, "{name} {i}: {} {want}", noisy[i]);
                let kept = if chance[i] < 0.25 { 0.0 } else { noisy[i] / 0.75 };
                assert!((got[name].f32s()[i] - kept).abs() < 1e-5, "{name} {i}");
            }
            let dropped = got[name].f32s().iter().filter(|&&y| y == 0.0).count();
            assert!((15..=45).contains(&dropped), "{dropped} of 120 are dropped");
        }
        assert_ne!(got["real noise"], got["fake noise"]);
    }
    for layer in network.layers {
        let alone = Sequential { layers: vec![layer] };
        match alone.record(&mut tape, "d", vx, &Pass::new(Mode::Train)) {
            Err(Error::Tensor { name, what }) => {
                assert_eq!(name, "d.main.0");
                assert!(what.contains("random numbers"), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn passes_of_a_step_share_normalized_weights_and_vectors_are_leaves() {
    let network = critic(Parametrization::Spectral);
    let mut tape = Tape::new();
    let images = ["real", "fake"].map(|name| tape.feed(name, &[2, 4, 4, 3], DType::F32).unwrap());
    let first = tape.read("d.main.0.weight_u", &[6], DType::F32).unwrap();
    let w = tape.read("d.main.0.weight_orig", &[3, 3, 3, 6], DType::F32).unwrap();
    network.power_iteration(&mut tape, "d").unwrap();
    let u = tape.read("d.main.0.weight_u", &[6], DType::F32).unwrap();
    let mut scores =
        images.map(|x| network.record(&mut tape, "d", x, &Pass::new(Mode::Train)).unwrap().last());
    assert_eq!(count(&tape, "div", &[3, 3, 3, 6]), 1, "one W / σ for two passes");
    scores[0] = tape.mul(scores[0], scores[1]).unwrap();
    let loss = tape.mean_all(scores[0]).unwrap();
    let grads = tape.grad(loss, &[first, w, u]).unwrap();
    let op = |v: Var| tape.node(v).op.name();
    assert_eq!(op(grads[0]), "fill", "no gradient flows into what the vectors were made from");
    assert_ne!(op(grads[1]), "fill");
    // After an iteration more, the same weights are used by another σ.
    let before = count(&tape, "div", &[3, 3, 3, 6]);
    network.power_iteration(&mut tape, "d").unwrap();
    network.record(&mut tape, "d", images[0], &Pass::new(Mode::Train)).unwrap();
    assert_eq!(count(&tape, "div", &[3, 3, 3, 6]), before + 1);
}

/// One iteration before and one after each update follow the weights.
#[test]
fn spectral_norms_stay_at_one_while_weights_change() {
    let mut network = critic(Parametrization::Spectral);
    network.layers.insert(
        4,
        Layer::Attention(Attention {
            channels: 8,
            weight: Parametrization::Spectral,
            start: WeightInit::default(),
        }),
    );
    network.layers[2] = conv(6, 8).weighted(Parametrization::Spectral);
    network.layers[5] =
        Layer::conv(ConvSpec::dense([4; 2]), 8, 1, true).weighted(Parametrization::Spectral);
    let network = Sequential {
        layers: network
            .layers
            .into_iter()
            .map(|l| l.initialized(WeightInit::Orthogonal { gain: 0.7 }))
            .collect(),
    };
    network.sizes([4, 4, 3]).unwrap();
    let params = network.params("d");
    let mut tape = Tape::new();
    let x = tape.feed("x", &[8, 4, 4, 3], DType::F32).unwrap();
    let rate = tape.feed("rate", &[], DType::F32).unwrap();
    network.power_iteration(&mut tape, "d").unwrap();
    let y = network.record(&mut tape, "d", x, &Pass::new(Mode::Train)).unwrap().last();
    let squares = tape.mul(y, y).unwrap();
    let loss = tape.mean_all(squares).unwrap();
    let learned: Vec<&Param> = params.iter().filter(|p| p.learned).collect();
    let vars: Vec<Var> =
        learned.iter().map(|p| tape.read(&p.name, &p.shape, DType::F32).unwrap()).collect();
    let grads = tape.grad(loss, &vars).unwrap();
    for (param, g) in learned.iter().zip(grads) {
        Sgd { momentum: 0.0 }.update(&mut tape, &param.name, g, rate).unwrap();
    }
    network.power_iteration(&mut tape, "d").unwrap();
    tape.fetch("loss", loss).unwrap();
    let mut state = begun(&Device::Cpu, &params);
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let rate = Tensor::full([], 0.02);
    let values =
        |state: &State| testing::singular_values(&network, "d", |name| state.get(name)).unwrap();
    assert_eq!(values(&state).len(), 7);
    assert!(values(&state).iter().any(|(_, value)| (value - 1.0).abs() > 0.5), "not at the start");
    for step in 0..60 {
        program.call(&mut state, &[("x", &drawn(&[8, 4, 4, 3], step)), ("rate", &rate)]).unwrap();
    }
    for (name, value) in values(&state) {
        assert!((value - 1.0).abs() < 0.02, "{name}: {value}");
    }
}

#[test]
fn tensors_start_as_their_layers_say() {
    let network = critic(Parametrization::Spectral);
    for param in network.params("d") {
        let own = param.name.rsplit('.').next().unwrap();
        let vector = own == "weight_u" || own == "weight_v";
        assert_eq!((param.learned, param.averaged), (!vector, !vector), "{}", param.name);
        let length: f64 = support::wide(&param.initial(1)).iter().map(|x| x * x).sum();
        assert!(!vector || (length - 1.0).abs() < 1e-5, "{}: {length}", param.name);
        assert_eq!(param.initial(1), param.initial(1));
        let drawn = own != "bias" && param.initial(1).len() > 1;
        assert!(!drawn || param.initial(1) != param.initial(2), "{}", param.name);
    }
    // Rows are about as long as weight norm says.
    let start = WeightInit::He { gain: 1.0, uniform: true };
    let wide = Layer::linear(400, 3, false).weighted(Parametrization::Norm).initialized(start);
    let params = Sequential { layers: vec![wide] }.params("d");
    let [g, v] = [&params[0], &params[1]].map(|p| p.initial(1));
    assert_eq!((g.shape(), v.shape()), (&[1, 1, 1, 3][..], &[1, 1, 400, 3][..]));
    let length = v.f32s().iter().step_by(3).map(|x| x * x).sum::<f32>().sqrt();
    assert!((g.f32s()[0] / length - 1.0).abs() < 0.1, "{} {length}", g.f32s()[0]);
    assert!((g.f32s()[0] - 1.0).abs() < 1e-5);
}

fn virtual_generator() -> Sequential {
    let norm = |channels| Layer::VirtualBatchNorm(VirtualBatchNorm { channels, eps: 1e-5 });
    let up = ConvSpec::up([2; 2], [4; 2], [4; 2], [2; 2], [1; 2]).unwrap();
    Sequential {
        layers: vec![
            Layer::Reference(Reference { count: 5, size: [1, 1, 6], uniform: true }),
            Layer::project([2, 2], 4, 6, false),
            norm(4),
            Layer::relu(),
            Layer::conv_transpose(up, 3, 4, true),
            norm(3),
            Layer::Tanh,
        ],
    }
}

#[test]
fn virtual_batch_norm_makes_samples_depend_on_the_reference_batch_alone() {
    let network = virtual_generator();
    assert_eq!(network.sizes([1, 1, 6]).unwrap()[6], [4, 4, 3]);
    assert!(!network.needs_batch());
    let params = network.params("g");
    assert_eq!(params[0].name, "g.main.0.reference");
    assert_eq!((params[0].learned, params[0].averaged), (false, false));
    assert!(params[0].initial(3).f32s().iter().all(|x| x.abs() <= 1.0));
    let run = |state: &mut State, z: &Tensor| {
        let mut tape = Tape::new();
        let x = tape.feed("z", z.shape(), DType::F32).unwrap();
        let outputs = network.record(&mut tape, "g", x, &Pass::new(Mode::Eval)).unwrap();
        // What layers give is without the reference batch.
        assert!(outputs.each().iter().all(|&y| tape.shape(y)[0] == z.shape()[0]));
        tape.fetch("y", outputs.last()).unwrap();
        call(&tape, state, &[("z", z)])["y"].f32s().to_vec()
    };
    for device in support::devices() {
        let mut state = begun(&device, &params);
        let z = drawn(&[4, 1, 1, 6], 9);
        let all = run(&mut state, &z);
        for i in 0..4 {
            let one = Tensor::new([1, 1, 1, 6], z.f32s()[6 * i..][..6].to_vec()).unwrap();
            let alone = run(&mut state, &one);
            let beside = &all[48 * i..][..48];
            let far = alone.iter().zip(beside).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-5, "sample {i} by itself: {far}");
        }
        state.set("g.main.0.reference", &drawn(&[5, 1, 1, 6], 10)).unwrap();
        let other = run(&mut state, &z);
        let far = other.iter().zip(&all).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far > 0.01, "another reference batch: {far}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_the_name_of_the_layer() {
    let group = |groups, channels| Layer::GroupNorm(GroupNorm { groups, channels, eps: 1e-5 });
    let label = Layer::Label(Label { classes: 3 });
    let residual =
        |main: Vec<Layer>, shortcut: Vec<Layer>| Layer::Residual(Residual { main, shortcut });
    let attention = Layer::Attention(Attention {
        channels: 12,
        weight: Parametrization::Plain,
        start: WeightInit::default(),
    });
    let reference = Layer::Reference(Reference { count: 2, size: [4, 4, 3], uniform: false });
    let vbn = Layer::VirtualBatchNorm(VirtualBatchNorm { channels: 3, eps: 1e-5 });
    let table: Vec<(Vec<Layer>, &str)> = vec![
        (vec![group(2, 3)], "layer main.0: 3 channels cannot be cut into 2 groups"),
        (vec![group(0, 3)], "cannot be cut into 0 groups"),
        (vec![group(2, 4)], "takes images of [4, 4, 4]"),
        (vec![Layer::PixelNorm(PixelNorm { eps: 0.0 })], "layer main.0: its epsilon is 0"),
        (vec![Layer::Noise(Noise { std: f32::NAN })], "its standard deviation is NaN"),
        (vec![Layer::Dropout(Dropout::new(1.0))], "drops with probability 1"),
        (vec![conv(3, 12), attention], "layer main.1: has 12 channels, and needs a multiple of 8"),
        (vec![vbn.clone()], "layer main.0: there is no reference batch"),
        (vec![Layer::Tanh, reference.clone()], "layer main.1: a reference batch can only be"),
        (vec![reference.clone(), label], "layer main.1: a network with a reference batch cannot"),
        (vec![reference.clone(), residual(vec![reference], vec![])], "layer main.1.main.0: a ref"),
        (
            vec![residual(vec![Layer::Tanh, conv(3, 5)], vec![])],
            "layer main.0: its main path makes images of [4, 4, 5] (height, width, channels), \
             and its shortcut of [4, 4, 3]",
        ),
        (
            vec![residual(vec![residual(vec![], vec![Layer::Softplus, group(2, 3)])], vec![])],
            "layer main.0.main.0.shortcut.1: 3 channels",
        ),
        (vec![residual(vec![vbn], vec![])], "layer main.0.main.0: there is no reference"),
        (vec![Layer::MinibatchStd(MinibatchStd { group: 1 })], "groups of 1 image"),
        (
            vec![Layer::MinibatchDiscrimination(MinibatchDiscrimination {
                features: 48,
                kernels: 5,
                dims: 0,
            })],
            "by 5 kernels of 0 dimensions",
        ),
        (
            vec![Layer::MinibatchDiscrimination(MinibatchDiscrimination {
                features: 48,
                kernels: 5,
                dims: 2,
            })],
            "takes images of [1, 1, 48]",
        ),
        (
            vec![Layer::SumPool, Layer::AveragePool],
            "layer main.1: takes images of [0, 0, 3] (height, width, channels) and gets [1, 1, 3]",
        ),
        (
            vec![Layer::ConditionalBatchNorm(ConditionalBatchNorm {
                channels: 3,
                classes: 0,
                eps: 1e-5,
            })],
            "there are no classes",
        ),
    ];
    for (layers, wanted) in table {
        let error = Sequential { layers: layers.clone() }.sizes([4, 4, 3]).expect_err(wanted);
        assert!(error.contains(wanted), "{layers:?}: {error}, not {wanted}");
    }
    let network = Sequential { layers: vec![Layer::MinibatchStd(MinibatchStd { group: 4 })] };
    let mut tape = Tape::new();
    let x = tape.feed("x", &[6, 1, 1, 2], DType::F32).unwrap();
    let error =
        network.record(&mut tape, "d", x, &Pass::new(Mode::Train)).expect_err("6 is no multiple");
    assert!(error.to_string().contains("\"d.main.0\": compares groups of 4"), "{error}");
    let network = Sequential {
        layers: vec![Layer::ConditionalBatchNorm(ConditionalBatchNorm {
            channels: 2,
            classes: 3,
            eps: 1e-5,
        })],
    };
    let error = network.record(&mut tape, "d", x, &Pass::new(Mode::Train)).expect_err("no labels");
    assert!(error.to_string().contains("which of its 3 classes"), "{error}");
}

/// A model of the ResNet kind, with a conditional discriminator.
fn resnet() -> Networks {
    let at = |side: usize, from, to| {
        Layer::conv(ConvSpec::down([side; 2], [3; 2], [1; 2], [1; 2]).unwrap(), from, to, true)
    };
    let relu = || Layer::relu();
    let up = |side: usize, from| {
        Layer::Residual(Residual {
            main: vec![
                Layer::ConditionalBatchNorm(ConditionalBatchNorm {
                    channels: from,
                    classes: 2,
                    eps: 1e-5,
                }),
                relu(),
                Layer::Upsample,
                at(2 * side, from, 8),
            ],
            shortcut: vec![Layer::Upsample, at(2 * side, from, 8)],
        })
    };
    let down = |side: usize, from| {
        Layer::Residual(Residual {
            main: vec![relu(), at(side, from, 8), Layer::AveragePool],
            shortcut: vec![Layer::AveragePool, at(side / 2, from, 8)],
        })
    };
    let attention = Layer::Attention(Attention {
        channels: 8,
        weight: Parametrization::Plain,
        start: WeightInit::default(),
    });
    let generator = vec![
        Layer::project([4, 4], 8, 5, true),
        up(4, 8),
        attention.clone(),
        up(8, 8),
        Layer::batch_norm(8),
        relu(),
        at(16, 8, 3),
        Layer::Tanh,
    ];
    let discriminator = vec![
        down(16, 3),
        attention,
        down(8, 8),
        relu(),
        Layer::SumPool,
        Layer::Projection(Projection {
            features: 8,
            classes: 2,
            weight: Parametrization::Plain,
            start: WeightInit::default(),
        }),
    ];
    let spectral = |layers: Vec<Layer>| {
        let layers = layers.into_iter().map(|l| l.weighted(Parametrization::Spectral)).collect();
        Some(Sequential { layers })
    };
    Networks {
        size: Size { height: 16, width: 16 },
        channels: 3,
        nz: 5,
        heads: 0,
        latent_distribution: LatentDistribution::Normal,
        pixels: Pixels::Signed,
        classes: vec!["a".into(), "b".into()],
        text: dcgan::text::TextEncoder::default(),
        by_name: Networks::usual([
            (Role::Generator, spectral(generator)),
            (Role::Discriminator, spectral(discriminator)),
        ]),
        pipeline: Pipeline::default(),
        parts: Heads::default(),
    }
}

#[test]
fn residual_networks_hold_together_and_their_files_say_all_of_them() {
    let networks = resnet();
    networks.check().unwrap();
    let json = serde_json::to_string(&networks).unwrap();
    assert_eq!(serde_json::from_str::<Networks>(&json).unwrap(), networks);
    let fewer = Networks { classes: vec!["a".into()], ..networks.clone() };
    assert!(fewer.check().expect_err("a class is missing").contains("takes 2 classes"));

    let params: BTreeMap<String, Vec<usize>> = networks
        .params()
        .into_iter()
        .map(|p| (p.name.clone(), p.layout.file_shape(&p.shape)))
        .collect();
    for (name, shape) in [
        ("generator.main.0.weight_orig", &[128, 5][..]),
        ("generator.main.0.weight_u", &[128]),
        ("generator.main.0.weight_v", &[5]),
        ("generator.main.1.main.0.gamma.weight", &[2, 8]),
        ("generator.main.1.main.3.weight_v", &[72]),
        ("generator.main.1.shortcut.1.bias", &[8]),
        ("generator.main.2.theta.weight_orig", &[1, 8, 1, 1]),
        ("generator.main.2.gamma", &[]),
        ("discriminator.main.5.embed.weight_orig", &[2, 8]),
        ("discriminator.main.5.linear.weight_u", &[1]),
        ("discriminator.main.5.linear.bias", &[1]),
    ] {
        assert_eq!(params.get(name).map(Vec::as_slice), Some(shape), "{name}");
    }

    // A fake goes through both, and gradients come back to every parameter.
    let mut tape = Tape::new();
    let z = tape.feed("z", &[3, 1, 1, 5], DType::F32).unwrap();
    let labels = tape.feed("labels", &[3, 2], DType::F32).unwrap();
    let (g, d) = (networks.generator().unwrap(), networks.discriminator().unwrap());
    assert!(g.is_spectral() && !critic(Parametrization::Norm).is_spectral());
    for _ in 0..3 {
        g.power_iteration(&mut tape, "generator").unwrap();
        d.power_iteration(&mut tape, "discriminator").unwrap();
    }
    let pass = Pass::new(Mode::Train).labels(Some(labels));
    let fake = g.record(&mut tape, "generator", z, &pass).unwrap().last();
    let score = d.record(&mut tape, "discriminator", fake, &pass).unwrap().last();
    assert_eq!(tape.shape(score), [3, 1, 1, 1]);
    let loss = tape.mean_all(score).unwrap();
    let learned: Vec<Param> = networks.params().into_iter().filter(|p| p.learned).collect();
    let vars: Vec<Var> =
        learned.iter().map(|p| tape.read(&p.name, &p.shape, DType::F32).unwrap()).collect();
    let grads = tape.grad(loss, &vars).unwrap();
    for (param, g) in learned.iter().zip(grads) {
        tape.fetch(&param.name, g).unwrap();
    }
    for device in support::devices() {
        let mut state = begun(&device, &networks.params());
        for (name, value) in params.keys().filter(|n| n.ends_with("gamma")).map(|n| (n, 0.5)) {
            state.set(name, &Tensor::full([], value)).unwrap();
        }
        let labels = Tensor::one_hot(&[0, 1, 1], 2).unwrap();
        let got = call(&tape, &mut state, &[("z", &drawn(&[3, 1, 1, 5], 2)), ("labels", &labels)]);
        for (name, g) in got {
            assert!(g.f32s().iter().all(|x| x.is_finite()), "{name} on {}", device.name());
            // Biases in front of a batch norm, and the keys' biases, change nothing.
            let moves = g.f32s().iter().any(|x| x.abs() > 1e-9);
            assert!(moves || name.ends_with("bias"), "{name} on {}", device.name());
        }
    }
}

#[test]
fn features_are_those_of_residual_blocks_and_end_where_images_are_compared() {
    let networks = resnet();
    let places = |networks: &Networks| -> Vec<[usize; 2]> {
        features::feature_layers(networks).unwrap().iter().map(|l| [l.conv, l.output]).collect()
    };
    assert_eq!(places(&networks), [[0, 1], [2, 3]]);
    let mut compares = networks.clone();
    let layers = &mut compares.get_mut(Role::Discriminator).unwrap().layers;
    let spec = ConvSpec::down([8; 2], [1; 2], [1; 2], [0; 2]).unwrap();
    layers.splice(
        2..2,
        [Layer::MinibatchStd(MinibatchStd { group: 0 }), Layer::conv(spec, 9, 8, true)],
    );
    assert_eq!(places(&compares), [[0, 1]]);

    let size = Size { height: 16, width: 16 };
    let network = Architecture::Dcgan;
    let model =
        ModelConfig { network, size, channels: 3, nz: 5, ngf: 4, ndf: 4, ..ModelConfig::default() };
    let mut plain = model.networks().unwrap();
    let wanted = |networks: &Networks| {
        let level = features::feature_layers(networks).unwrap()[1];
        vec![dcgan::experiments::filters::Wanted { level, filters: vec![0] }]
    };
    let observe = |networks: &Networks| {
        let state = begun(&Device::Cpu, &networks.params());
        dcgan::experiments::filters::Observer::new(networks, state, wanted(networks), 2).map(|_| ())
    };
    observe(&plain).unwrap();
    plain.get_mut(Role::Discriminator).unwrap().layers[3] = Layer::layer_norm(8);
    let error = observe(&plain).expect_err("a group norm looks at the whole image");
    assert!(error.to_string().contains("discriminator.main.3\": is a group norm"), "{error}");
    let generator = plain.get_mut(Role::Generator).unwrap();
    generator.layers[3] = generator.layers[3].clone().weighted(Parametrization::Norm);
    let error = dcgan::experiments::forget::levels(&plain).expect_err("weights are normalized");
    assert!(error.to_string().contains("generator.main.3\": has normalized weights"), "{error}");
}
