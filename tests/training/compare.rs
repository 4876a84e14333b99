//! How a training is compared with the same one in PyTorch: a state before step 1, batches, and
//! differences of losses and gradients.

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::gan::System;
use dcgan::nn::Param;
use dcgan::program::Fetched;
use dcgan::tensor::{Data, Tensor};
use serde_json::Value;

/// Tensors of a reference by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// Largest absolute difference; NaN where any number is.
pub(super) fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m: f32, d| if d <= m || m.is_nan() { m } else { d })
}

/// Largest difference of `ours` to `theirs`, as a share of the largest value of `theirs`.
pub(super) fn share(ours: &Tensor, theirs: &Tensor, name: &str) -> f32 {
    assert_eq!(ours.shape(), theirs.shape(), "{name}");
    let largest = theirs.f32s().iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    worst(ours.f32s(), theirs.f32s()) / largest
}

/// Difference of a fetched metric to PyTorch's: relative where that is above 1.
pub(super) fn off(fetched: &Fetched, metric: &str, theirs: &Value) -> f64 {
    let theirs = theirs.as_f64().unwrap();
    (f64::from(fetched[metric].f32s()[0]) - theirs).abs() / theirs.abs().max(1.0)
}

/// The state of `system` with the reference's tensors, which are all but those with names that begin
/// with one of `own`.
pub(super) fn state(system: &System, tensors: &Tensors, own: &[&str], device: &Device) -> State {
    let mut state = State::new(device);
    for (name, value) in system.initial_state(0).unwrap() {
        state.set(&name, &value).unwrap();
    }
    for param in system.states() {
        let Some(tensor) = tensors.get(&param.name) else {
            let is_own = own.iter().any(|own| param.name.starts_with(own));
            assert!(is_own, "{} is in no reference", param.name);
            continue;
        };
        let value = param.layout.from_file(&param.name, tensor, &param.shape).unwrap();
        state.set(&param.name, &value).unwrap();
    }
    state
}

/// Row `i` of the first axis, of which there may be fewer than steps.
pub(super) fn row(all: &Tensor, i: usize) -> Tensor {
    let (count, shape) = (all.shape()[0], &all.shape()[1..]);
    let len = all.len() / count;
    let first = (i % count) * len;
    Tensor::new(shape, all.f32s()[first..first + len].to_vec()).unwrap()
}

/// Images in [−1, 1] as bytes.
pub(super) fn bytes(images: &Tensor) -> Tensor {
    let bytes = images.f32s().iter().map(|x| ((x + 1.0) * 127.5).round() as u8).collect();
    Tensor::with_data(images.shape(), Data::U8(bytes)).unwrap()
}

/// Images in [0, 1] as bytes.
pub(super) fn bytes_of_unit(images: &Tensor) -> Tensor {
    let bytes = images.f32s().iter().map(|x| (x * 255.0).round() as u8).collect();
    Tensor::with_data(images.shape(), Data::U8(bytes)).unwrap()
}

/// Compares the gradients of all learned parameters with the reference's: how many there are, and
/// the largest [`share`], which is at most 1e-4.
pub(super) fn gradients(
    system: &System,
    fetched: &Fetched,
    tensors: &Tensors,
    what: &str,
) -> (usize, f32) {
    let learned = system.model.params().into_iter().filter(|param| param.learned);
    learned.fold((0, 0.0), |(count, largest), param| {
        let grad = format!("grad.{}", param.name);
        let ours = param.layout.to_file(&fetched[&grad]).unwrap();
        let share = share(&ours, &tensors[&grad], &grad);
        assert!(share <= 1e-4, "{what}: {grad}: {share:e}");
        (count + 1, share.max(largest))
    })
}

/// The steps that a reference has.
pub(super) const STEPS: usize = 20;

/// How far a stage may be from PyTorch's.
pub(super) struct Limits {
    /// Of a metric, in step `i` from 0: see [`off`].
    pub(super) metric: fn(usize) -> f64,
    /// Of generated values in the first step: see [`worst`].
    pub(super) value: f32,
    /// The gradients that there are at least.
    pub(super) gradients: usize,
}

/// Compares the steps of a stage, of which `call` makes the `i`-th from 0, with PyTorch's: all metrics, and
/// in the first step gradients and generated values, whose names in the reference begin with the stage's.
pub(super) fn stage(
    (what, stage): (&str, &str),
    (tensors, about): (&Tensors, &Value),
    params: &[Param],
    limits: &Limits,
    mut call: impl FnMut(usize) -> Fetched,
) {
    let (mut drift, mut largest) = ([0.0_f64; STEPS], 0.0_f32);
    for (i, drift) in drift.iter_mut().enumerate() {
        let fetched = call(i);
        for (metric, theirs) in about["losses"][stage][i].as_object().unwrap() {
            let off = off(&fetched, metric, theirs);
            assert!(off <= (limits.metric)(i), "{what}: {metric} of step {}: {off:e}", i + 1);
            *drift = drift.max(off);
        }
        if i > 0 {
            continue;
        }
        let mut compared = 0;
        for (name, theirs) in tensors {
            let Some(name) = name.strip_prefix(&format!("{stage}/")) else { continue };
            let Some(of) = name.strip_prefix("grad.") else {
                let off = worst(fetched[name].f32s(), theirs.f32s());
                assert!(off <= limits.value, "{what}: {name}: {off:e}");
                continue;
            };
            let param = params.iter().find(|param| param.name == of).unwrap();
            let ours = param.layout.to_file(&fetched[name]).unwrap();
            let off = share(&ours, theirs, name);
            assert!(off <= 1e-4, "{what}: {name}: {off:e}");
            largest = largest.max(off);
            compared += 1;
        }
        assert!(compared >= limits.gradients, "{what}: {compared} gradients");
    }
    println!(
        "{what}: gradients within {largest:.1e}, losses within {:.1e}, {:.1e} and {:.1e} in steps 1, 5 \
         and 20",
        drift[0], drift[4], drift[19]
    );
}
