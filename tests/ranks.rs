//! Several processes train one model: as threads of one, without MPI.

use std::collections::BTreeMap;

use dcgan::device::Device;
use dcgan::gan::{Family, ObjectiveConfig, TrainConfig};
use dcgan::models::{Architecture, Conditioning, ModelConfig, Norm, Size};
use dcgan::objectives::{Loss, Penalty};
use dcgan::program::Options;
use dcgan::ranks::Threads;
use dcgan::tensor::Tensor;
use dcgan::train::{Batch, Metrics, Trainer};

use crate::support;

const BATCH: usize = 16;
const MICRO: usize = 4;
const STEPS: u64 = 6;

/// A small configuration whose batches have four micro-batches.
fn config(change: impl Fn(&mut ModelConfig, &mut ObjectiveConfig)) -> TrainConfig {
    let size = Size { height: 16, width: 16 };
    let mut model =
        ModelConfig { size, nz: 6, ngf: 4, ndf: 4, channels: 1, ..ModelConfig::default() };
    let mut objective = ObjectiveConfig { micro_batch: MICRO, ..ObjectiveConfig::default() };
    change(&mut model, &mut objective);
    let classes = (0..model.classes).map(|i| format!("class {i}")).collect();
    TrainConfig { batch: BATCH, objective, classes, ..TrainConfig::new(model) }
}

fn cases() -> Vec<(&'static str, TrainConfig)> {
    let plain = |_: &mut ModelConfig, _: &mut ObjectiveConfig| ();
    vec![
        ("dcgan", config(plain)),
        (
            "wgan-gp",
            config(|model, objective| {
                model.norm_d = Norm::None;
                (objective.loss, objective.penalty) = (Loss::Wasserstein, Penalty::Gp);
                (objective.penalty_weight, objective.n_critic) = (10.0, 2);
            }),
        ),
        (
            "conditional, adaptive augmentation, clipped",
            config(|model, objective| {
                (model.classes, model.conditioning) = (3, Conditioning::Concat);
                (objective.augment, objective.ada) = (dcgan::augment::Augment::ALL, 0.6);
                objective.clip_gradients = 0.5;
            }),
        ),
        (
            "residual, projection, hinge",
            config(|model, objective| {
                (model.network, model.norm_d) = (Architecture::Resnet, Norm::None);
                (model.classes, model.conditioning) = (3, Conditioning::Projection);
                objective.loss = Loss::Hinge;
            }),
        ),
    ]
}

/// Images and labels of a step, of which a rank takes those at `places`.
fn batch(config: &TrainConfig, step: u64, places: Option<&[usize]>) -> Batch {
    let all: Vec<usize> = (0..BATCH * config.objective.n_critic).collect();
    let places = places.unwrap_or(&all);
    let image =
        |&i: &usize| (0..256).map(move |p| (i as u64 * 7919 + step * 104_729 + p * p * 31) as u8);
    let labels: Vec<u32> = places.iter().map(|&i| (i as u64 + step) as u32 % 3).collect();
    let images: Vec<u8> = places.iter().flat_map(image).collect();
    Batch::from(images).labels(&labels)
}

/// All states after some steps, and the metrics of each.
type Trained = (BTreeMap<String, Tensor>, Vec<Metrics>);

fn train(config: &TrainConfig, device: &Device, options: &Options) -> Trained {
    let mut trainer = Trainer::new(config.clone(), device, options).unwrap();
    let mut metrics = Vec::new();
    for step in 0..STEPS {
        let batch = batch(config, step, trainer.places().as_deref());
        metrics.extend(trainer.step(batch).unwrap());
    }
    metrics.extend(trainer.finish().unwrap());
    trainer.confirm().unwrap();
    (trainer.tensors().unwrap(), metrics)
}

/// Whether so many ranks compute what one process does, to the last bit.
fn compare(name: &str, config: &TrainConfig, ranks: usize, device: impl Fn() -> Device + Sync) {
    let (wanted, measured) = train(config, &device(), &Options::default());
    let all = Threads::run(ranks, |world| {
        train(config, &device(), &Options { world, ..Options::default() })
    });
    for (rank, (tensors, metrics)) in all.into_iter().enumerate() {
        for (tensor, wanted) in &wanted {
            assert_eq!(&tensors[tensor], wanted, "{name}: {tensor} of rank {rank} of {ranks}");
        }
        assert_eq!(metrics, measured, "{name}: rank {rank} of {ranks}");
    }
}

/// Other micro-batches add up in another order, which shows in the last bits: what is compared is sensitive
/// to that.
#[test]
fn bits_depend_on_the_micro_batches() {
    let (_, whole) = cases().swap_remove(1);
    let mut other = whole.clone();
    other.objective.micro_batch = 2 * MICRO;
    let [whole, other] =
        [whole, other].map(|config| train(&config, &Device::Cpu, &Options::default()).0);
    assert!(whole.iter().any(|(name, tensor)| other[name] != *tensor));
}

#[test]
fn a_gpu_exchanges_through_the_host() {
    if support::gpu().is_none() {
        return;
    }
    let gpu = || Device::Gpu(support::gpu().unwrap());
    for (name, config) in cases().into_iter().take(2) {
        compare(name, &config, 2, gpu);
    }
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let refused = |config: &TrainConfig, ranks: usize| {
        Threads::run(ranks, |world| {
            let options = Options { world, ..Options::default() };
            Trainer::new(config.clone(), &Device::Cpu, &options).unwrap_err().to_string()
        })
        .swap_remove(0)
    };
    let (_, plain) = cases().swap_remove(0);
    let error = refused(&plain, 3);
    assert!(error.contains("4 micro-batches of 4 images") && error.contains("multiple of 3"));
    let mut other = plain;
    other.objective.family = Family::Bigan;
    let error = refused(&other, 2);
    assert!(error.contains("bigan cannot be trained by several processes"), "{error}");
}

/// A process whose networks differ is noticed by all.
#[test]
fn networks_that_part_are_noticed() {
    let (_, config) = cases().swap_remove(0);
    let errors = Threads::run(2, |world| {
        let config = TrainConfig { seed: world.rank() as u64, ..config.clone() };
        let options = Options { world, ..Options::default() };
        let trainer = Trainer::new(config, &Device::Cpu, &options).unwrap();
        trainer.confirm().unwrap_err().to_string()
    });
    assert!(errors.iter().all(|error| error.contains("no longer have the same networks")));
}

#[test]
fn any_number_of_ranks_computes_what_one_process_does() {
    for (name, config) in cases() {
        for ranks in [2, 4] {
            compare(name, &config, ranks, || Device::Cpu);
        }
    }
}
