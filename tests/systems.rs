//! Systems of networks in phases: what a phase change does, what a frozen network allows, and what a
//! masked update leaves alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use dcgan::data::{LoaderOptions, Prepare, Source};
use dcgan::device::Device;
use dcgan::error::Error;
use dcgan::gan::families::mdgan::DIFFUSION;
use dcgan::gan::families::{self, DISCRIMINATOR, ENCODER, GENERATOR};
use dcgan::gan::{Curve, Edit, Family, Phase, Recorder, Recording, Scalar, Stage, Step, System};
use dcgan::models::progressive::places;
use dcgan::models::{Architecture, ModelConfig, Size};
use dcgan::objectives::{Loss, Penalty, bce_with_logits};
use dcgan::program::Options;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::Tensor;
use dcgan::train::{Batch, Feed, Images, ObjectiveConfig, Position, TrainConfig, Trainer};

use crate::cli::Place;

const BATCH: usize = 4;

fn config() -> TrainConfig {
    let size = Size { height: 8, width: 8 };
    let model = ModelConfig {
        size,
        channels: 1,
        nz: 3,
        ngf: 4,
        ndf: 4,
        ..ModelConfig::usual(Architecture::Dcgan, Some(size))
    };
    TrainConfig { batch: BATCH, seed: 5, ema: 100, ..TrainConfig::new(model) }
}

/// D's loss on generated images alone.
fn loss_of_fakes(t: &mut Tape, step: &Step<'_>) -> Result<Var, Error> {
    let z = step.latents(t, "z", BATCH)?;
    let fake = step.forward(t, GENERATOR, z, step.pass("fake", None))?.last();
    let scores = step.forward(t, DISCRIMINATOR, fake, step.pass("", None))?.last();
    bce_with_logits(t, scores, 0.0)
}

/// A phase that updates D and only reads G.
fn second(first: &Phase) -> Phase {
    Phase {
        name: "discriminator alone".into(),
        frozen: vec![GENERATOR.into()],
        images: None,
        scalars: vec![Scalar::new("rate", Curve::Rate { base: 1e-3, warm_up: 0, decay: 0 })],
        enter: vec![Edit::ResetOptimizer(DISCRIMINATOR.into())],
        record: Recorder::new(|t, step| {
            let mut d = step.update(t, DISCRIMINATOR, "rate")?;
            let loss = loss_of_fakes(t, step)?;
            d.minimize(t, loss)?;
            d.report("loss_of_fakes", loss);
            step.apply(t, [d])
        }),
        ..first.clone()
    }
}

/// The usual GAN for 12 images, then D alone.
fn system() -> System {
    let mut system = config().system().unwrap();
    let phases = &mut system.stages[0].phases;
    phases[0].images = Some(3 * BATCH as u64);
    let next = second(&phases[0]);
    phases.push(next);
    system
}

fn trainer(system: System) -> Trainer {
    let options = Options::default();
    Trainer::with_system(config(), system, Recording::default(), &Device::Cpu, &options).unwrap()
}

fn images(step: usize) -> Vec<u8> {
    (0..BATCH * 64).map(|i| (i * 31 + step * 17) as u8).collect()
}

fn run(trainer: &mut Trainer, steps: std::ops::Range<usize>) -> Vec<Vec<String>> {
    let mut metrics = Vec::new();
    for step in steps {
        metrics.extend(trainer.step(images(step)).unwrap());
    }
    metrics.extend(trainer.finish().unwrap());
    metrics.iter().map(|m| m.iter().map(|(name, _)| name.to_owned()).collect()).collect()
}

type Tensors = BTreeMap<String, Tensor>;

/// The names of the tensors that differ, by the first word of their names.
fn changed(a: &Tensors, b: &Tensors, start: &str) -> usize {
    let own = a.iter().filter(|(name, _)| name.starts_with(start));
    own.filter(|(name, value)| b[*name].bytes() != value.bytes()).count()
}

#[test]
fn a_phase_follows_another_when_its_images_were_seen() {
    let mut trainer = trainer(system());
    let names = run(&mut trainer, 0..3);
    assert!(names.iter().all(|names| names.iter().any(|name| name == "loss_g")), "{names:?}");
    let at_end = trainer.tensors().unwrap();
    assert_eq!(at_end["updates.discriminator"].f32s(), [3.0]);
    let position = trainer.position();
    assert_eq!((position.phase, position.phase_images, position.images), (0, 12, 12));

    let names = run(&mut trainer, 3..5);
    assert_eq!(names, vec![vec!["loss_of_fakes".to_owned(), "grad_norm_d".into()]; 2]);
    let position = trainer.position();
    assert_eq!((position.phase, position.phase_images, position.images), (1, 8, 20));
    let after = trainer.tensors().unwrap();
    // Reset on entry, then two updates.
    assert_eq!(after["updates.discriminator"].f32s(), [2.0]);
    assert!(changed(&at_end, &after, "discriminator.") > 0);
    for frozen in ["generator.", "ema.generator.", "adam.m.generator.", "updates.generator"] {
        assert_eq!(changed(&at_end, &after, frozen), 0, "{frozen}");
    }
}

/// The metrics of steps before a phase change are handed out too, under their own names.
#[test]
fn no_metrics_are_lost_between_phases() {
    let names = run(&mut trainer(system()), 0..5);
    let with = |name: &str| names.iter().filter(|names| names.iter().any(|n| n == name)).count();
    assert_eq!((names.len(), with("loss_g"), with("loss_of_fakes")), (5, 3, 2));
}

#[test]
fn a_resumed_training_goes_on_within_its_phase() {
    for resumed_after in [2, 3, 4] {
        let mut whole = trainer(system());
        run(&mut whole, 0..6);
        let mut first = trainer(system());
        run(&mut first, 0..resumed_after);
        let json = serde_json::to_string(&first.position()).unwrap();
        let position: Position = serde_json::from_str(&json).unwrap();
        let parts = (config(), system(), Recording::default());
        let tensors = first.tensors().unwrap();
        let options = Options::default();
        let resume = Trainer::resume_system(parts, &Device::Cpu, &options, &tensors, position);
        let mut second = resume.unwrap();
        run(&mut second, resumed_after..6);
        assert_eq!(second.position(), whole.position());
        assert_eq!(second.tensors().unwrap(), whole.tensors().unwrap(), "{resumed_after}");
    }
}

#[test]
fn the_checkpoint_of_another_system_is_an_error() {
    let mut first = trainer(system());
    run(&mut first, 0..4);
    let (tensors, position) = (first.tensors().unwrap(), first.position());
    let error = Trainer::resume(config(), &Device::Cpu, &Options::default(), &tensors, position);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("no stage 0 with a phase 1"), "{text}");
}

/// Records a step in which G is frozen.
fn record_frozen(
    record: impl Fn(&mut Tape, &mut Step<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> Result<Tape, Error> {
    let mut system = system();
    let phase = Phase { record: Recorder::new(record), ..system.stages[0].phases.remove(1) };
    system.stages[0].phases[0] = phase;
    system.tape(Recording::default())
}

#[test]
fn a_frozen_network_is_read_only() {
    let update = record_frozen(|t, step| step.update(t, GENERATOR, "rate").map(drop));
    let text = update.unwrap_err().to_string();
    assert!(text.contains("generator") && text.contains("frozen in phase"), "{text}");
    // Past the update too: running statistics, or a weight by name.
    let name = "generator.main.0.weight";
    let assign = record_frozen(move |t, step| {
        let params = step.system.network(GENERATOR)?.network.params(GENERATOR);
        let param = params.iter().find(|p| p.name == name).unwrap();
        let w = t.read(name, &param.shape, dcgan::tensor::DType::F32)?;
        let w = t.affine(w, 0.5, 0.0)?;
        t.assign(name, w)
    });
    let text = assign.unwrap_err().to_string();
    assert!(text.contains(name) && text.contains("is frozen in phase"), "{text}");
    assert!(record_frozen(|t, step| loss_of_fakes(t, step).map(drop)).is_ok());
}

/// The control of BiGAN's experiment: D and G learn, E stays, and has no loss.
#[test]
fn bigan_trains_without_its_encoder_where_that_is_frozen() {
    let mut config = config();
    config.objective.family = Family::Bigan;
    let mut system = config.system().unwrap();
    system.stages[0].phases[0].frozen.push(ENCODER.into());
    let (recording, options) = (Recording::default(), Options::default());
    let mut trainer =
        Trainer::with_system(config, system, recording, &Device::Cpu, &options).unwrap();
    let before = trainer.tensors().unwrap();
    let metrics = run(&mut trainer, 0..2);
    let after = trainer.tensors().unwrap();
    assert_eq!(changed(&before, &after, ENCODER), 0);
    assert!(changed(&before, &after, GENERATOR) > 0);
    assert!(changed(&before, &after, DISCRIMINATOR) > 0);
    let has = |name: &str| metrics[1].iter().any(|metric| metric == name);
    assert!(has("loss_g") && has("loss_d") && !has("loss_e"), "{metrics:?}");
}

#[test]
fn a_masked_update_leaves_weights_moments_and_count() {
    for made in [0.0, 1.0] {
        let mut system = system();
        let mut phase = system.stages[0].phases.remove(1);
        phase.record = Recorder::new(move |t, step| {
            let mask = t.fill(&[], made)?;
            let mut d = step.update(t, DISCRIMINATOR, "rate")?.masked(mask);
            let loss = loss_of_fakes(t, step)?;
            d.minimize(t, loss)?;
            step.apply(t, [d])
        });
        system.stages[0].phases[0] = phase;
        let mut trainer = trainer(system);
        let before = trainer.tensors().unwrap();
        run(&mut trainer, 0..2);
        let after = trainer.tensors().unwrap();
        let moved = |start| changed(&before, &after, start);
        let learned = ["adam.m.discriminator.", "updates.discriminator"].map(moved);
        assert_eq!(learned.map(|n| n > 0), [made > 0.0; 2], "{made}");
        // Running statistics follow the passes, not the updates.
        let weight = "discriminator.main.0.weight";
        assert_eq!(before[weight].bytes() != after[weight].bytes(), made > 0.0);
    }
}

#[test]
fn a_network_starts_anew_or_as_another_when_a_phase_begins() {
    for (edit, same) in [
        (Edit::Initialize(DISCRIMINATOR.into()), true),
        (Edit::ResetOptimizer(DISCRIMINATOR.into()), false),
    ] {
        let fresh = trainer(system()).tensors().unwrap();
        let mut system = system();
        system.stages[0].phases[1].enter = vec![edit];
        // A rate of 0: what is seen after a step is what the phase began with.
        system.stages[0].phases[1].scalars[0].curve =
            Curve::Rate { base: 0.0, warm_up: 0, decay: 0 };
        let mut trainer = trainer(system);
        run(&mut trainer, 0..4);
        let after = trainer.tensors().unwrap();
        let weight = "discriminator.main.0.weight";
        assert_eq!(fresh[weight].bytes() == after[weight].bytes(), same);
    }
}

#[test]
fn a_network_is_copied_when_a_phase_begins() {
    let mut config = config();
    config.objective.family = Family::Mdgan;
    let mut system = config.system().unwrap();
    let phases = &mut system.stages[0].phases;
    phases[0].images = Some(3 * BATCH as u64);
    let enter = vec![Edit::Copy { from: DISCRIMINATOR.into(), to: DIFFUSION.into() }];
    // At rates of 0, as above.
    let scalar =
        |scalar: &Scalar| Scalar::new(&scalar.name, Curve::Line { from: 0.0, to: 0.0, images: 0 });
    let scalars = phases[0].scalars.iter().map(scalar).collect();
    phases.push(Phase { images: None, enter, scalars, ..phases[0].clone() });
    let mut trainer = trainer(system);
    let is_copy = |trainer: &Trainer| {
        let tensors = trainer.tensors().unwrap();
        let [from, to] = [DISCRIMINATOR, DIFFUSION].map(|name| format!("{name}.main.0.weight"));
        tensors[&from].bytes() == tensors[&to].bytes()
    };
    run(&mut trainer, 0..3);
    assert!(!is_copy(&trainer));
    run(&mut trainer, 3..4);
    assert!(is_copy(&trainer));
}

#[test]
fn scalars_follow_the_images_of_their_phase() {
    let mut system = system();
    let phase = &mut system.stages[0].phases[1];
    phase.scalars[0].curve = Curve::Line { from: 0.0, to: 1.0, images: 4 * BATCH as u64 };
    phase.record = Recorder::new(|t, step| {
        let rate = step.scalar("rate")?;
        step.report(t, "rate", rate);
        Ok(())
    });
    let mut trainer = trainer(system);
    let mut metrics = Vec::new();
    for step in 0..6 {
        metrics.extend(trainer.step(images(step)).unwrap());
    }
    metrics.extend(trainer.finish().unwrap());
    let rates: Vec<f32> = metrics[3..].iter().map(|metrics| metrics.value("rate")).collect();
    assert_eq!(rates, [0.0, 0.25, 0.5]);
}

/// Weights by PyTorch's names, float images and latents from outside: a training from parts.
#[test]
fn a_training_takes_weights_images_and_latents_from_outside() {
    let system = config().system().unwrap();
    let g = system.network(GENERATOR).unwrap().network.clone();
    let recording = Recording { feed_draws: true, float_images: true, ..Recording::default() };
    let mut trainer =
        Trainer::with_system(config(), system, recording, &Device::Cpu, &Options::default())
            .unwrap();
    let fresh = trainer.tensors().unwrap();
    let params = g.params("net");
    let initial = |name: &str| Ok(params.iter().find(|p| p.name == name).unwrap().initial(99));
    let weights = g.state_dict("net", initial).unwrap();
    trainer.set_states(g.load_state_dict(GENERATOR, &weights).unwrap()).unwrap();
    let begun = trainer.tensors().unwrap();
    for (name, tensor) in &weights {
        assert_eq!(&begun[&format!("generator.{name}")], tensor, "{name}");
        assert_eq!(&begun[&format!("ema.generator.{name}")], tensor, "{name}");
    }
    assert_ne!(begun["generator.main.0.weight"], fresh["generator.main.0.weight"]);
    assert_eq!(changed(&fresh, &begun, "discriminator."), 0);
    assert_eq!(g.state_dict(GENERATOR, |name| trainer.state(name)).unwrap(), weights);

    let floats = Images::Floats((0..BATCH * 64).map(|i| (i as f32).sin()).collect());
    let batch = Batch::from(floats).feed("z", Tensor::full([BATCH, 3], 0.5));
    assert!(trainer.step(batch.clone()).unwrap().is_none());
    assert!(trainer.finish().unwrap()[0].value("loss_g").is_finite());
    assert!(changed(&begun, &trainer.tensors().unwrap(), "generator.") > 0);

    let lacking = Batch { feeds: Vec::new(), ..batch };
    let error = trainer.step(lacking).unwrap_err().to_string();
    assert!(error.contains("\"z\""), "{error}");
    let mut set = |name: &str| {
        let value = Tensor::full([2], 1.0);
        trainer.set_states([(name.to_owned(), value)]).unwrap_err().to_string()
    };
    assert!(set("generator.main.0.weight").contains("not [2]"));
    assert!(set("generator.main.99.weight").contains("main.99.weight"));
}

/// A phase of `batch` images of `side` that reports their mean.
fn looking(system: &System, name: &str, batch: usize, side: usize, images: Option<u64>) -> Phase {
    Phase {
        name: name.into(),
        image: [side, side, 1],
        batch,
        images,
        frozen: system.model.by_name.keys().cloned().collect(),
        scalars: Vec::new(),
        record: Recorder::new(|t, step| {
            let mean = t.mean_all(step.images)?;
            step.report(t, "mean", mean);
            Ok(())
        }),
        ..system.first().clone()
    }
}

/// Three stages: two of one size and batch, one of another.
fn growing() -> System {
    let mut system = config().system().unwrap();
    let of = |name: &str, batch, side, images| {
        Stage::new(name, vec![looking(&system, name, batch, side, images)])
    };
    system.stages =
        vec![of("small", 4, 8, Some(12)), of("same", 4, 8, Some(8)), of("large", 3, 16, None)];
    system.average = false;
    system
}

/// Trains on a folder's images from the trainer's position to `images`; the means by step.
fn looked_at(trainer: &mut Trainer, source: &Arc<Source>, images: u64) -> Vec<f32> {
    let prepare = Prepare { height: 8, width: 8, channels: 1, ..Prepare::default() };
    let options = LoaderOptions { workers: 2, ..LoaderOptions::default() };
    let mut feed = Feed::start(Arc::clone(source), prepare, options, trainer).unwrap();
    let mut metrics = Vec::new();
    while trainer.images() < images {
        trainer.enter_phases().unwrap();
        let batch = feed.next_batch(trainer).unwrap();
        metrics.extend(trainer.step(Batch::from(Images::Bytes(batch.images))).unwrap());
    }
    metrics.extend(trainer.finish().unwrap());
    metrics.iter().map(|metrics| metrics.value("mean")).collect()
}

#[test]
fn images_follow_the_size_and_the_batch_of_their_phase() {
    let place = Place::new();
    place.images("set", 14);
    let source = Arc::new(Source::open(Some(&place.path("set"))).unwrap());
    let mut whole = trainer(growing());
    let means = looked_at(&mut whole, &source, 35);
    // 3 steps of 4, 2 of 4, and 5 of 3.
    assert_eq!((means.len(), whole.position().stage), (10, 2));
    let mut different = means.clone();
    different.sort_by(f32::total_cmp);
    different.dedup();
    assert_eq!(different.len(), 10, "{means:?}");
    // The same batch and size go on as one phase of both.
    let mut system = growing();
    system.stages.truncate(1);
    let mut one = trainer(system.open_ended());
    assert_eq!(looked_at(&mut one, &source, 20), means[..5]);
    // In the middle of a stage, at an end, across ends.
    for stop in [4, 12, 16, 20, 26] {
        let mut first = trainer(growing());
        let mut seen = looked_at(&mut first, &source, stop);
        let parts = (config(), growing(), Recording::default());
        let tensors = first.tensors().unwrap();
        let options = Options::default();
        let position = first.position();
        let resume = Trainer::resume_system(parts, &Device::Cpu, &options, &tensors, position);
        seen.extend(looked_at(&mut resume.unwrap(), &source, 35));
        assert_eq!(seen, means, "{stop}");
    }
}

fn stacked(stage: &str) -> TrainConfig {
    let size = Size { height: 16, width: 16 };
    let model = ModelConfig {
        channels: 1,
        nz: 4,
        ngf: 2,
        ndf: 2,
        classes: 2,
        ..ModelConfig::usual(Architecture::Stacked, Some(size))
    };
    let mut config = TrainConfig { batch: BATCH, ema: 100, ..TrainConfig::new(model) };
    config.objective.family = Family::Stacked;
    config.stage = stage.parse().unwrap();
    config.stage_images = "encoder=8,g1=8,g0=8,joint=8".parse().unwrap();
    config
}

/// Trains `config` for its steps; the trainer and the metrics' names by step.
fn run_stacked(config: TrainConfig, steps: usize) -> (Trainer, Vec<Vec<String>>) {
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let mut metrics = Vec::new();
    for step in 0..steps {
        let images = (0..BATCH * 256).map(|i| (i * 31 + step * 17) as u8).collect::<Vec<u8>>();
        metrics.extend(trainer.step(Batch::from(images).labels(&[0, 1, 1, 1])).unwrap());
    }
    metrics.extend(trainer.finish().unwrap());
    let names = metrics.iter().map(|m| m.iter().map(|(name, _)| name.to_owned()).collect());
    (trainer, names.collect())
}

#[test]
fn each_stage_of_a_stacked_gan_changes_its_own_networks() {
    let names = [
        "classifier.",
        "feature_generator.",
        "feature_discriminator.",
        "generator.",
        "discriminator.",
    ];
    for (stage, own) in [
        ("encoder", [true, false, false, false, false]),
        ("g1", [false, true, true, false, false]),
        ("g0", [false, false, false, true, true]),
        ("joint", [false, true, true, true, true]),
    ] {
        let (before, _) = run_stacked(stacked(stage), 0);
        let (after, metrics) = run_stacked(stacked(stage), 2);
        let (before, after) = (before.tensors().unwrap(), after.tensors().unwrap());
        assert_eq!(names.map(|name| changed(&before, &after, name) > 0), own, "{stage}");
        let averages = ["ema.feature_generator.", "ema.generator."];
        assert_eq!(averages.map(|name| changed(&before, &after, name) > 0), [own[1], own[3]]);
        let has = |metric: &str| metrics[1].iter().any(|name| name == metric);
        assert_eq!(["accuracy", "loss_g1", "loss_g"].map(has), [own[0], own[1], own[3]], "{stage}");
    }
}

#[test]
fn the_stages_of_a_training_are_counted() {
    let (trainer, metrics) = run_stacked(stacked(""), 7);
    let stages = trainer.position().stages;
    let of = |name: &str| stages.get(name).map(|stage| (stage.images, stage.done));
    let all = ["encoder", "g1", "g0", "joint"].map(of);
    assert_eq!(all, [Some((8, true)), Some((8, true)), Some((8, true)), Some((4, false))]);
    assert_eq!(metrics.len(), 7);
    // The last one goes on for as long as the training.
    let (trainer, _) = run_stacked(stacked(""), 12);
    assert_eq!(trainer.position().stages["joint"].images, 24);
    // A family of one stage counts none.
    let mut trainer = self::trainer(config().system().unwrap());
    run(&mut trainer, 0..1);
    assert!(trainer.position().stages.is_empty());
    assert!(!serde_json::to_string(&trainer.position()).unwrap().contains("stages"));
}

fn progressive(stage: &str) -> TrainConfig {
    let size = Size { height: 16, width: 16 };
    let model = ModelConfig {
        channels: 1,
        nz: 4,
        ngf: 2,
        ndf: 2,
        ..ModelConfig::usual(Architecture::Progressive, Some(size))
    };
    let mut config = TrainConfig { batch: BATCH, ema: 100, ..TrainConfig::new(model) };
    config.objective = ObjectiveConfig {
        family: Family::Progressive,
        loss: Loss::Wasserstein,
        penalty: Penalty::Gp,
        penalty_weight: 10.0,
        drift: 1e-3,
        ..config.objective
    };
    config.stage = stage.parse().unwrap();
    config.stage_images = "4=8,8=16,16=16".parse().unwrap();
    config
}

/// The tensors after each of so many steps, on images of the size of the trainer's phase.
fn grown(trainer: &mut Trainer, steps: std::ops::Range<usize>) -> Vec<BTreeMap<String, Tensor>> {
    let one = |step: usize| {
        trainer.enter_phases().unwrap();
        let numbers = BATCH * trainer.phase().image.iter().product::<usize>();
        let images = (0..numbers).map(|i| (i * 31 + step * 17) as u8).collect::<Vec<u8>>();
        trainer.step(Batch::from(images)).unwrap();
        trainer.tensors().unwrap()
    };
    steps.map(one).collect()
}

#[test]
fn networks_grow_layer_by_layer() {
    let new = || Trainer::new(progressive(""), &Device::Cpu, &Options::default()).unwrap();
    let mut trainer = new();
    let start = trainer.tensors().unwrap();
    let all = grown(&mut trainer, 0..11);
    // Two steps of 4x4, two and two of 8x8, two and two of 16x16, and more.
    let system = progressive("").system().unwrap();
    let places = |network: &str| places(&system.model.by_name[network].network);
    let shares = |tensors: &BTreeMap<String, Tensor>, network: &str, prefix: &str| {
        let share = |place| tensors[&format!("{prefix}{network}.main.{place}.share")].f32s()[0];
        places(network).into_iter().map(share).collect::<Vec<f32>>()
    };
    let wanted = [
        [0.0, 0.0],
        [0.0, 0.0],
        [0.0, 0.0],
        [0.5, 0.0],
        [1.0, 0.0],
        [1.0, 0.0],
        [1.0, 0.0],
        [1.0, 0.5],
        [1.0, 1.0],
        [1.0, 1.0],
        [1.0, 1.0],
    ];
    for (step, (tensors, wanted)) in all.iter().zip(wanted).enumerate() {
        for (network, prefix) in [("generator", ""), ("discriminator", ""), ("generator", "ema.")] {
            assert_eq!(shares(tensors, network, prefix), wanted, "{prefix}{network}, step {step}");
        }
    }
    // Layers of larger images rest until then.
    let [first, second] = places("generator")[..] else { panic!("three sizes") };
    let block = |place| format!("generator.main.{place}.block.");
    assert_eq!(changed(&start, &all[1], &block(first)), 0);
    assert!(changed(&start, &all[3], &block(first)) > 0);
    assert_eq!(changed(&start, &all[5], &block(second)), 0);
    assert!(changed(&start, &all[7], &block(second)) > 0);

    // A stop in the middle of a fade, at its end, at a stage's end.
    for stop in [1, 3, 4, 6, 9] {
        let mut first = new();
        grown(&mut first, 0..stop);
        let config = progressive("");
        let parts = (config.clone(), config.system().unwrap(), Recording::default());
        let (tensors, position) = (first.tensors().unwrap(), first.position());
        let options = Options::default();
        let resumed = Trainer::resume_system(parts, &Device::Cpu, &options, &tensors, position);
        let rest = grown(&mut resumed.unwrap(), stop..11);
        assert!(rest[..] == all[stop..], "{stop}");
    }
}

fn lapgan(stage: &str) -> TrainConfig {
    let size = Size { height: 32, width: 32 };
    let model = ModelConfig {
        channels: 1,
        nz: 4,
        ngf: 2,
        ndf: 2,
        ..ModelConfig::usual(Architecture::Lapgan, Some(size))
    };
    let mut config = TrainConfig { batch: BATCH, ema: 100, ..TrainConfig::new(model) };
    config.objective.family = Family::Lapgan;
    config.stage = stage.parse().unwrap();
    config.stage_images = "8=8,16=12,32=8".parse().unwrap();
    config
}

/// The networks of each level of 32x32 pixels.
const LEVELS: [(&str, [&str; 2]); 3] = [
    ("8", ["generator_8.", "discriminator_8."]),
    ("16", ["generator_16.", "discriminator_16."]),
    ("32", ["generator.", "discriminator."]),
];

#[test]
fn each_level_of_a_pyramid_changes_its_own_networks() {
    let new = |config| Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let mut whole = new(lapgan(""));
    let start = whole.tensors().unwrap();
    for (stage, own) in LEVELS {
        let mut trainer = new(lapgan(stage));
        let after = grown(&mut trainer, 0..2).pop().unwrap();
        for (level, networks) in LEVELS {
            let changes = networks.map(|name| changed(&start, &after, name) > 0);
            assert_eq!(changes, [level == stage; 2], "{stage}: {level}");
        }
        assert!(changed(&start, &after, &format!("ema.{}", own[0])) > 0);
    }
    // In turn, and stopped in the middle of a level, at its end, and after it.
    let all = grown(&mut whole, 0..8);
    let stages = whole.position().stages;
    // Not those of larger images.
    assert_eq!(families::planned_images(&lapgan("")), Some(28));
    let seen: Vec<_> = LEVELS.map(|(name, _)| (stages[name].images, stages[name].done)).into();
    assert_eq!(seen, [(8, true), (12, true), (12, false)]);
    for stop in [1, 2, 3, 5, 6] {
        let mut first = new(lapgan(""));
        grown(&mut first, 0..stop);
        let config = lapgan("");
        let parts = (config.clone(), config.system().unwrap(), Recording::default());
        let (tensors, position) = (first.tensors().unwrap(), first.position());
        let options = Options::default();
        let resumed = Trainer::resume_system(parts, &Device::Cpu, &options, &tensors, position);
        let rest = grown(&mut resumed.unwrap(), stop..8);
        assert!(rest[..] == all[stop..], "{stop}");
    }
}

/// Previews show a level once those below it have been trained.
#[test]
fn a_level_is_shown_after_those_below_it() {
    let new = |stage| Trainer::new(lapgan(stage), &Device::Cpu, &Options::default()).unwrap();
    let has = |stage| new(stage).has_previews();
    assert_eq!(["", "8", "16", "32"].map(has), [true, true, false, false]);
    let mut whole = new("");
    let shown = |steps| {
        grown(&mut whole, steps);
        whole.has_previews()
    };
    assert_eq!([0..1, 1..3, 3..6].map(shown), [true; 3]);
}

/// Micro-batches have halves of their own, and the same number of images.
#[test]
fn a_level_is_trained_in_micro_batches() {
    let mut config = lapgan("16");
    config.objective.micro_batch = 2;
    let mut trainer = Trainer::new(config, &Device::Cpu, &Options::default()).unwrap();
    let start = trainer.tensors().unwrap();
    let after = grown(&mut trainer, 0..1).pop().unwrap();
    assert!(changed(&start, &after, "generator_16.") > 0);
    let mut odd = lapgan("16");
    (odd.batch, odd.objective.micro_batch) = (6, 3);
    let error = odd.validate().unwrap_err().to_string();
    assert!(error.contains("one half of 3 images"), "{error}");
}
