//! Augmentations by their draws: how often, to which images, and how their probability moves.

use dcgan::augment::{Adaptive, Augment, PROBABILITY};
use dcgan::device::{Device, State};
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::objectives::Loss;
use dcgan::program::{Options, Program};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig};

use clap::ValueEnum as _;

use super::support;

const N: usize = 2048;
const KINDS: [&str; 5] = ["brightness", "saturation", "contrast", "translation", "cutout"];

/// `N` images [4, 4, 3] without a symmetry, and without a zero.
fn images() -> Tensor {
    let numbers = (0..N * 48).map(|i| ((i * 37 + i / 48 * 11) % 97) as f32 / 97.0 - 0.6);
    Tensor::new([N, 4, 4, 3], numbers.collect()).unwrap()
}

/// The images, each of `lists` done to all of them, by the same draws of the device's generator.
fn augmented(device: &Device, lists: &[&str], p: Option<f32>) -> Vec<Vec<f32>> {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[N, 4, 4, 3], DType::F32).unwrap();
    let key = tape.feed("key", &[4], DType::U32).unwrap();
    let probability = p.map(|_| tape.feed("p", &[], DType::F32).unwrap());
    let mut uniform =
        |t: &mut Tape, name: &str, shape: &[usize]| t.random_uniform(key, name, shape);
    for list in lists {
        let augment: Augment = list.parse().unwrap();
        let y = augment.record(&mut tape, x, probability, &mut uniform).unwrap();
        tape.fetch(list, y).unwrap();
    }
    let key = Tensor::with_data([4], dcgan::tensor::Data::U32(vec![5, 0, 3, 0])).unwrap();
    let mut feeds = vec![("x".to_string(), images()), ("key".into(), key)];
    feeds.extend(p.map(|p| ("p".into(), Tensor::full([], p))));
    let got = support::run(&tape, device, &Options::default(), &feeds);
    lists.iter().map(|&list| got[list].f32s().to_vec()).collect()
}

/// Which images differ from those that were given.
fn changed(y: &[f32]) -> Vec<bool> {
    let x = images();
    y.chunks_exact(48).zip(x.f32s().chunks_exact(48)).map(|(y, x)| y != x).collect()
}

/// Whether `count` of `N` is what a chance of `p` gives: within five standard deviations.
fn is_chance(count: usize, p: f64) -> bool {
    let n = N as f64;
    (count as f64 - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt()
}

#[test]
fn each_image_is_augmented_with_its_probability() {
    for device in support::devices() {
        for (p, y) in [0.3_f32, 0.8].map(|p| (p, augmented(&device, &KINDS, Some(p)))) {
            for (kind, y) in KINDS.iter().zip(&y) {
                // No shift at all is one of nine.
                let seen = if *kind == "translation" { 8.0 / 9.0 } else { 1.0 };
                let count = changed(y).iter().filter(|&&c| c).count();
                let name = device.name();
                assert!(is_chance(count, f64::from(p) * seen), "{kind} at {p}: {count}, {name}");
            }
        }
    }
}

#[test]
fn at_0_nothing_changes_and_at_1_everything() {
    let lists = [&KINDS[..], &["color,translation,cutout"]].concat();
    for device in support::devices() {
        let never = augmented(&device, &lists, Some(0.0));
        let always = augmented(&device, &lists, Some(1.0));
        // The first rows of the draws are the same with and without those that decide.
        let plain = augmented(&device, &lists, None);
        let x = images();
        for (list, y) in lists.iter().zip(&never) {
            assert_eq!(y, x.f32s(), "{list} on {}", device.name());
        }
        for (list, (a, b)) in lists.iter().zip(always.iter().zip(&plain)) {
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{list} on {}: {worst}", device.name());
            assert!(changed(a).iter().filter(|&&c| c).count() > N * 8 / 10, "{list}");
        }
    }
}

/// Of both at once: an image of one value shows its brightness, and where it was cut.
#[test]
fn augmentations_are_drawn_independently() {
    let mut tape = Tape::new();
    let x = tape.fill(&[N, 4, 4, 3], 2.0).unwrap();
    let key = tape.feed("key", &[4], DType::U32).unwrap();
    let p = tape.fill(&[], 0.5).unwrap();
    let mut uniform =
        |t: &mut Tape, name: &str, shape: &[usize]| t.random_uniform(key, name, shape);
    let both: Augment = "brightness,cutout".parse().unwrap();
    let y = both.record(&mut tape, x, Some(p), &mut uniform).unwrap();
    tape.fetch("y", y).unwrap();
    let key = Tensor::with_data([4], dcgan::tensor::Data::U32(vec![6, 0, 0, 0])).unwrap();
    for device in support::devices() {
        let feeds = [("key".to_string(), key.clone())];
        let y = support::run(&tape, &device, &Options::default(), &feeds).remove("y").unwrap();
        let mut counts = [[0; 2]; 2];
        let mut levels = Vec::new();
        let mut corners = [0; 4];
        for image in y.f32s().chunks_exact(48) {
            let level = image.iter().copied().find(|&v| v != 0.0).unwrap();
            let cut = image.contains(&0.0);
            counts[usize::from(level != 2.0)][usize::from(cut)] += 1;
            if level != 2.0 {
                levels.push(level - 2.0);
            }
            for (count, at) in corners.iter_mut().zip([0, 9, 36, 45]) {
                *count += usize::from(image[at] == 0.0);
            }
        }
        assert!(counts.iter().flatten().all(|&count| is_chance(count, 0.25)), "{counts:?}");
        // Uniform in [-½, ½): mean 0, mean square 1/12.
        let n = levels.len() as f32;
        let mean = levels.iter().sum::<f32>() / n;
        let square = levels.iter().map(|l| l * l).sum::<f32>() / n;
        assert!(mean.abs() < 0.04 && (square * 12.0 - 1.0).abs() < 0.1, "{mean} {square}");
        assert!(levels.iter().all(|l| (-0.5..=0.5).contains(l)));
        // A square of two pixels has five places along a side, and two of them hold the corner.
        assert!(corners.iter().all(|&c| is_chance(c, 0.5 * 4.0 / 25.0)), "{corners:?}");
    }
}

#[test]
fn the_probability_follows_the_discriminators_certainty() {
    let rule = Adaptive { target: 0.6, images: 100.0 };
    // Scores of ten real images, what is undecided, r, and the change of p: 10 / 100.
    let scores = |positive: usize| -> Vec<f32> {
        (0..10).map(|i| if i < positive { 0.7 } else { -3.0 }).collect()
    };
    let cases = [
        (scores(10), 0.0, 1.0, 0.1),
        (scores(9), 0.0, 0.8, 0.1),
        (scores(7), 0.0, 0.4, -0.1),
        (scores(0), 0.0, -1.0, -0.1),
        // Not one of them is above 1.
        (scores(10), 1.0, -1.0, -0.1),
    ];
    for device in support::devices() {
        for (scores, undecided, r, change) in &cases {
            let mut tape = Tape::new();
            let x = tape.feed("scores", &[10, 1, 1, 1], DType::F32).unwrap();
            let p = Adaptive::probability(&mut tape).unwrap();
            let certain = rule.follow(&mut tape, x, *undecided).unwrap();
            tape.fetch("p", p).unwrap();
            tape.fetch("r", certain).unwrap();
            let mut state = State::new(&device);
            for before in [0.0_f32, 0.05, 0.5, 0.95, 1.0] {
                state.set(PROBABILITY, &Tensor::full([], before)).unwrap();
                let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
                let scores = Tensor::new([10, 1, 1, 1], scores.clone()).unwrap();
                let got = program.call(&mut state, &[("scores", &scores)]).unwrap();
                assert_eq!(got["p"].f32s(), [before], "the step's own is the old one");
                assert!((got["r"].f32s()[0] - r).abs() < 1e-6);
                let after = state.get(PROBABILITY).unwrap().f32s()[0];
                let wanted = (before + change).clamp(0.0, 1.0);
                assert!((after - wanted).abs() < 1e-6, "{before} by {r}: {after}, not {wanted}");
            }
        }
    }
}

/// Where real and generated images have the same scores, the best score is the undecided one.
#[test]
fn an_undecided_discriminator_has_nowhere_to_go() {
    for &loss in Loss::value_variants() {
        let Some(undecided) = loss.undecided() else {
            assert_eq!(loss, Loss::Wasserstein);
            continue;
        };
        let slope = |at: f32| {
            let mut tape = Tape::new();
            let v = tape.feed("v", &[1], DType::F32).unwrap();
            let real = loss.real(&mut tape, v, 0.0).unwrap();
            let fake = loss.fake(&mut tape, v).unwrap();
            let both = tape.add(real, fake).unwrap();
            let slope = tape.grad(both, &[v]).unwrap()[0];
            tape.fetch("slope", slope).unwrap();
            let feeds = [("v".to_string(), Tensor::full([1], at))];
            support::run(&tape, &Device::Cpu, &Options::default(), &feeds)["slope"].f32s()[0]
        };
        assert!(slope(undecided).abs() < 1e-6, "{loss}: {}", slope(undecided));
        assert!(slope(undecided - 1.5) < -0.1 && slope(undecided + 1.5) > 0.1, "{loss}");
    }
}

/// Changes are meant for numbers in [−1, 1]: images in [0, 1] are brought there and back.
#[test]
fn images_from_0_to_1_are_changed_as_others_are() {
    let size = Size { height: 16, width: 16 };
    for (network, there) in [(Architecture::Mlp, true), (Architecture::Dcgan, false)] {
        let model_config =
            ModelConfig { ngf: 4, ndf: 4, nz: 4, ..ModelConfig::usual(network, Some(size)) };
        let objective = ObjectiveConfig {
            augment: "translation".parse().unwrap(),
            ..ObjectiveConfig::default()
        };
        let config = TrainConfig { batch: 4, objective, ..TrainConfig::new(model_config) };
        let tape = config.tape().unwrap();
        let op = |var: Var| format!("{:?}", tape.node(var).op);
        let shifted: Vec<Var> =
            tape.nodes().iter().filter(|n| n.op.name() == "shift").map(|n| n.inputs[0]).collect();
        // Both ways through D in its update and one in G's; there and back again in the gradient.
        assert_eq!(shifted.len(), 4, "{network}");
        for &x in &shifted[..2] {
            assert_eq!(op(x).contains("scale: 2.0, shift: -1.0"), there, "{network}: {}", op(x));
        }
    }
}
