//! Dropping maps against a masked forward pass; learning from boxes with a known answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use super::*;
use crate::data::Prepare;
use crate::device::{Device, State};
use crate::model::{Generator, Inputs, Weights};
use crate::models::{Architecture, ModelConfig};
use crate::nn::{Mode, Pass};
use crate::program::{Choices, Options, Program};
use crate::tape::Tape;
use crate::tensor::DType;

fn networks(network: Architecture) -> Networks {
    let size = Size { height: 32, width: 16 };
    ModelConfig { network, size, channels: 3, nz: 6, ngf: 4, ndf: 4, ..ModelConfig::default() }
        .networks()
        .unwrap()
}

/// A model with an average that has other weights.
fn model(network: Architecture) -> ModelFile {
    let networks = networks(network);
    let mut tensors = BTreeMap::new();
    for param in networks.params() {
        for (seed, name) in [(1, param.name.clone()), (2, averaged(&param.name))] {
            let value = param.initial(seed);
            let larger = value.f32s().iter().map(|x| if x.abs() < 0.5 { x * 10.0 } else { *x });
            let value = Tensor::new(param.shape.clone(), larger.collect()).unwrap();
            tensors.insert(name, param.layout.to_file(&value).unwrap());
        }
    }
    ModelFile {
        path: "model.safetensors".into(),
        networks,
        config: None,
        position: None,
        step: 0,
        seconds: 0.0,
        prepare: Prepare::default(),
        choices: Choices::default(),
        tensors,
    }
}

fn latents(n: usize) -> Vec<f32> {
    let mut z = vec![0.0; n * 6];
    Stream::new(4, "z", 0).fill_normal(&mut z);
    z
}

fn images(model: &ModelFile, raw: bool, z: &[f32]) -> Tensor {
    let mut generator = Generator::new(model, &Device::Cpu, Weights::raw(raw)).unwrap();
    let z = Tensor::new([z.len() / 6, 6], z.to_vec()).unwrap();
    generator.images(&Inputs::latents(z).unwrap()).unwrap()
}

/// The layers after `level` on maps `[n, h, w, c]`.
fn rest(model: &ModelFile, raw: bool, level: &FeatureLayer, maps: &Tensor) -> Tensor {
    let generator = model.generator().unwrap();
    let layers = generator.layers[level.output + 1..].to_vec();
    let network = Sequential { layers };
    let mut state = State::new(&Device::Cpu);
    for param in generator.params("generator") {
        let (layer, name) = param.name["generator.main.".len()..].split_once('.').unwrap();
        let Some(layer) = layer.parse::<usize>().unwrap().checked_sub(level.output + 1) else {
            continue;
        };
        let file = if raw { param.name.clone() } else { averaged(&param.name) };
        let value = param.layout.from_file(&file, &model.tensors[&file], &param.shape).unwrap();
        state.set(&format!("rest.main.{layer}.{name}"), &value).unwrap();
    }
    let mut tape = Tape::new();
    let x = tape.feed("maps", maps.shape(), DType::F32).unwrap();
    let y = network.record(&mut tape, "rest", x, &Pass::new(Mode::Eval)).unwrap().last();
    tape.fetch("images", y).unwrap();
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    program.call(&mut state, &[("maps", maps)]).unwrap()["images"].clone()
}

fn worst(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.f32s().iter().zip(b.f32s()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn dropped_maps_are_zero_at_every_position() {
    for network in [Architecture::Dcgan, Architecture::Paper] {
        let model = model(network);
        let levels = levels(&model.networks).unwrap();
        assert_eq!(levels.iter().map(|l| l.size).collect::<Vec<_>>(), [[8, 4, 8], [16, 8, 4]]);
        let z = latents(3);
        for (level, dropped) in [(levels[0], vec![6, 1, 2]), (levels[1], vec![0, 3])] {
            for raw in [false, true] {
                let maps = images(&maps_of(&model, &level).unwrap(), raw, &z);
                assert_eq!(maps.shape(), [&[3][..], &level.size].concat());
                let before = images(&model, raw, &z);
                assert!(worst(&rest(&model, raw, &level, &maps), &before) < 1e-6);
                let mut masked = maps.f32s().to_vec();
                for cell in masked.chunks_mut(level.size[2]) {
                    dropped.iter().for_each(|&map| cell[map] = 0.0);
                }
                let masked = Tensor::new(maps.shape(), masked).unwrap();
                let wanted = rest(&model, raw, &level, &masked);
                let after = without(&model, &level, &dropped).unwrap();
                let after = images(&after, raw, &z);
                assert!(worst(&after, &wanted) < 1e-6, "{}", worst(&after, &wanted));
                assert!(worst(&after, &before) > 0.01, "nothing is forgotten");
            }
        }
    }
}

/// Maps of four images of 6x6 positions: the third is larger inside, the first smaller, the second
/// noise, the last constant.
fn examples(boxes: &[&[Rect]]) -> Examples {
    let mut noise = vec![0.0_f32; boxes.len() * 36 * 3];
    Stream::new(1, "noise", 0).fill_normal(&mut noise);
    let inside: Vec<bool> =
        boxes.iter().flat_map(|boxes| marks::inside(boxes, [12, 12], [6, 6])).collect();
    let rows = noise.chunks(3).zip(&inside).flat_map(|(noise, &inside)| {
        let side = if inside { 1.5 } else { 0.0 };
        [5.0 - side + 0.7 * noise[0], 100.0 * noise[1], 0.01 * (side + 0.3 * noise[2]), 7.0]
    });
    let maps = Tensor::new([boxes.len(), 6, 6, 4], rows.collect()).unwrap();
    Examples::new(&maps, [12, 12], boxes).unwrap()
}

const BOXES: [&[Rect]; 6] = [
    &[[0.0, 0.0, 4.0, 6.0]],
    &[[2.0, 3.0, 4.0, 3.0], [8.0, 8.0, 2.0, 4.0]],
    &[],
    &[[5.0, 5.0, 7.0, 6.0]],
    &[[0.0, 6.0, 6.0, 2.0]],
    &[[6.0, 0.0, 2.0, 9.0]],
];

#[test]
fn the_maps_of_what_is_marked_are_found() {
    let examples = examples(&BOXES);
    let [inside, all] = examples.counts();
    assert_eq!(all, 6 * 36);
    assert!((20..100).contains(&inside), "{inside}");
    let found = examples.fit(0.01);
    let w = &found.weights;
    assert!(w[2] > 1.0 && w[0] < -0.2 && w[1].abs() < 0.3 && w[3] == 0.0, "{w:?}");
    let right = examples.right(&examples.probabilities(&found));
    assert!(right.iter().all(|&r| r > 0.9), "{right:?}");
    let held_out = examples.right(&examples.held_out(0.01).unwrap());
    assert!(held_out.iter().all(|&r| r > 0.85), "{held_out:?}");

    assert_eq!(chosen(w, 0.5, None), [2]);
    assert_eq!(chosen(&[0.5, -1.0, 2.0, 0.5, 0.0], 0.0, None), [2, 0, 3]);
    assert_eq!(chosen(&[0.5, -1.0, 2.0, 0.5, 0.0], 0.0, Some(2)), [2, 0]);
    assert_eq!(chosen(&[0.5, -1.0, 2.0], -2.0, None), [2, 0, 1]);
    assert_eq!(chosen(&[0.5, -1.0], 0.5, None), [0; 0]);
}

#[test]
fn samples_held_out_judge_what_was_learned() {
    // One sample, or all boxes on one: no other to learn from.
    assert_eq!(examples(&BOXES[..1]).held_out(0.01), None);
    assert_eq!(examples(&[BOXES[0], &[], &[]]).held_out(0.01), None);
    // Boxes unrelated to the maps: memorized, they do not generalize.
    let mut noise = vec![0.0; 4 * 36 * 60];
    Stream::new(3, "noise", 0).fill_normal(&mut noise);
    let maps = Tensor::new([4, 6, 6, 60], noise).unwrap();
    let boxes: [&[Rect]; 4] = [BOXES[0], BOXES[1], BOXES[3], BOXES[4]];
    let examples = Examples::new(&maps, [12, 12], &boxes).unwrap();
    let balanced = |p: &[f64]| examples.right(p).iter().sum::<f64>() / 2.0;
    let learned = balanced(&examples.probabilities(&examples.fit(1e-4)));
    let held_out = balanced(&examples.held_out(1e-4).unwrap());
    assert!(learned > 0.85 && held_out < 0.65, "{learned} {held_out}");
}

#[test]
fn the_control_is_drawn_by_its_seed() {
    let maps = drawn(40, 15, 3);
    assert_eq!(maps.len(), 15);
    assert_eq!(drawn(40, 15, 3), maps);
    assert_ne!(drawn(40, 15, 4), maps);
    let mut each = maps;
    each.sort_unstable();
    each.dedup();
    assert!(each.len() == 15 && each.iter().all(|&map| map < 40));
}

#[test]
fn changes_are_counted_inside_and_outside() {
    let before = Tensor::full([2, 2, 2, 1], -1.0);
    let mut after = before.f32s().to_vec();
    // 255 levels at the first pixel, 51 at the last of the second image.
    after[0] = 1.0;
    after[7] = -0.6;
    let after = Tensor::new([2, 2, 2, 1], after).unwrap();
    let boxes: [&[Rect]; 2] = [&[[0.0, 0.0, 2.0, 1.0]], &[]];
    let [outside, inside] = change(&before, &after, &boxes);
    assert!((inside - 127.5).abs() < 1e-3 && (outside - 51.0 / 6.0).abs() < 1e-3);
}
