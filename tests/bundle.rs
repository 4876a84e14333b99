//! Bundles: units of a GPU that do the same to different tensors run as one kernel, on states and
//! values that lie behind one another. Numbers and names stay as they are without.

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::gan::objective::OptimizerKind;
use dcgan::models::{Architecture, ModelConfig, Norm, Size};
use dcgan::nn::Parametrization;
use dcgan::objectives::Penalty;
use dcgan::ops::Caps;
use dcgan::optim::{Adam, moving_average};
use dcgan::program::{Options, Program, kernels, preflight};
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};
use dcgan::train::{ObjectiveConfig, TrainConfig, Trainer};

use super::support::{fusion, gpu, write_everywhere};

const ROWS: usize = 6;
const ADAM: Adam = Adam { beta1: 0.5, beta2: 0.999, eps: 1e-8 };
/// Columns of the weights: lengths that are and are not multiples of a vector, of what a part of a
/// buffer starts at, and of what one lane of a sum adds.
const COLUMNS: [usize; 6] = [3, 64, 1, 173, 700, 32];

fn weight(i: usize) -> String {
    format!("layer.{i}.weight")
}

/// How [`training`] trains.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// One update.
    Plain,
    /// Gradients are made shorter by their length, which is known before the update.
    Clipped,
    /// Two updates, the second on what the first has made.
    Twice,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Clipped, Kind::Twice];

/// Steps of Adam on weights `[ROWS, COLUMNS[i]]` and on biases `[COLUMNS[i]]` of as many small
/// regressions on the feed `x` `[4, ROWS]`, with an average of the weights and the gradient's norm.
/// Gradients of weights are made by kernels, those of every second bias by elementwise ops that
/// have more to do before the update.
fn training(kind: Kind) -> Tape {
    let mut t = Tape::new();
    let x = t.feed("x", &[4, ROWS], DType::F32).unwrap();
    let schedule = t.feed("schedule", &[3], DType::F32).unwrap();
    let [rate, root, weight_of_new] = [0, 1, 2].map(|i| t.range(schedule, i, 1).unwrap());
    for _ in 0..if kind == Kind::Twice { 2 } else { 1 } {
        update(&mut t, kind, x, [rate, root]);
    }
    for (i, columns) in COLUMNS.into_iter().enumerate() {
        let average = format!("ema.{i}");
        moving_average(&mut t, &average, &weight(i), &[ROWS, columns], weight_of_new).unwrap();
    }
    t
}

fn update(t: &mut Tape, kind: Kind, x: Var, [rate, root]: [Var; 2]) {
    let mut params: Vec<(String, Var)> = Vec::new();
    let mut loss = t.fill(&[], 0.0).unwrap();
    for (i, columns) in COLUMNS.into_iter().enumerate() {
        let w = t.read(&weight(i), &[ROWS, columns], DType::F32).unwrap();
        let b = t.read(&format!("layer.{i}.bias"), &[columns], DType::F32).unwrap();
        let y = t.matmul(x, w).unwrap();
        let y = t.add(y, b).unwrap();
        let y = t.tanh(y).unwrap();
        let mut mean = t.mean_all(y).unwrap();
        if i % 2 == 0 {
            let square = t.mul(b, b).unwrap();
            let decay = t.sum_all(square).unwrap();
            mean = t.add(mean, decay).unwrap();
        }
        loss = t.add(loss, mean).unwrap();
        params.push((weight(i), w));
        params.push((format!("layer.{i}.bias"), b));
    }
    let wrt: Vec<Var> = params.iter().map(|p| p.1).collect();
    let grads = t.grad(loss, &wrt).unwrap();
    let mut norm = t.fill(&[], 0.0).unwrap();
    for &g in &grads {
        let square = t.mul(g, g).unwrap();
        let square = t.sum_all(square).unwrap();
        norm = t.add(norm, square).unwrap();
    }
    let share = t.recip(norm).unwrap();
    for ((name, _), mut g) in params.into_iter().zip(grads) {
        if kind == Kind::Clipped {
            g = t.mul(g, share).unwrap();
        }
        ADAM.update(t, &name, g, rate, root).unwrap();
    }
    // There may be several networks on a tape.
    let suffix = match t.fetches().len() {
        0 => String::new(),
        before => format!(".{before}"),
    };
    t.fetch(&format!("loss{suffix}"), loss).unwrap();
    t.fetch(&format!("norm{suffix}"), norm).unwrap();
}

/// The states of [`training`].
fn states(tape: &Tape, device: &Device) -> State {
    let mut state = State::new(device);
    for (name, used) in tape.states() {
        let shape = tape.shape(used.before).to_vec();
        let mut numbers = vec![0.0; shape.iter().product()];
        if name.starts_with("layer.") {
            Stream::new(1, name, 0).fill_normal(&mut numbers);
        }
        state.set(name, &Tensor::new(shape, numbers).unwrap()).unwrap();
    }
    state
}

fn all(state: &State) -> BTreeMap<String, Vec<f32>> {
    let read = |name: &str| (name.to_owned(), state.get(name).unwrap().f32s().to_vec());
    state.names().map(read).collect()
}

/// Runs some steps; returns the fetches of each.
fn steps(program: &mut Program, state: &mut State, from: u64, count: u64) -> Vec<[f32; 2]> {
    let mut out = Vec::new();
    for step in from..from + count {
        let mut x = vec![0.0; 4 * ROWS];
        Stream::new(2, "x", step as u32).fill_normal(&mut x);
        let x = Tensor::new([4, ROWS], x).unwrap();
        let [rate, root] = ADAM.schedule(1e-2, step + 1);
        let schedule = Tensor::new([3], vec![rate, root, 0.25]).unwrap();
        let got = program.call(state, &[("x", &x), ("schedule", &schedule)]).unwrap();
        out.push(["loss", "norm"].map(|name| got[name].f32s()[0]));
    }
    out
}

/// A GPU that nobody has, on which parts of buffers of `max_binding` bytes can be seen.
fn caps(max_binding: u64, immediates: u32) -> Caps {
    Caps { max_binding, immediates, ..Caps::portable() }
}

/// How many kernels make a step of Adam, and how many sum.
fn count(kind: Kind, max_binding: u64, options: &Options) -> [usize; 2] {
    let kernels = kernels(&training(kind), &caps(max_binding, 0), options).unwrap();
    let updates = kernels.iter().filter(|one| {
        one.kernel == "elementwise"
            && one.source.contains("fn sqrt_")
            && one.source.contains("fn div_")
    });
    let sums = kernels.iter().filter(|one| one.kernel.starts_with("sum"));
    [updates.count(), sums.count()]
}

#[test]
fn one_kernel_updates_all_tensors() {
    // Weights have averages and biases have not: two bundles.
    for kind in [Kind::Plain, Kind::Clipped] {
        let [updates, sums] = count(kind, 1 << 27, &fusion(true));
        assert_eq!(updates, 2, "{kind:?}");
        // One by one, the squares take 1 + 2 + 1 + 2 + 3 + 2 sums for the weights and 1 + 1 + 0 + 2 +
        // 2 + 1 for the biases, of 64 numbers a lane; all at once, 3 and 2. The decay's two squares,
        // of one stage and of two, go together. The other sums stay.
        let [alone, many_sums] = count(kind, 1 << 27, &fusion(false));
        assert_eq!(alone, 0, "not fused, no kernel does both");
        assert_eq!(sums + 18 - 5 + 1, many_sums, "{kind:?}");
    }
    // Of two updates, the first has no averages yet. Biases that decay hand the second more than the
    // others do, and are apart from them in both.
    assert_eq!(count(Kind::Twice, 1 << 27, &fusion(true))[0], 2 + 3);
    // The weights are 18, 384, 6, 1038, 4200 and 192 numbers: in 20,000 bytes, the largest is alone
    // with the one behind it.
    assert_eq!(count(Kind::Plain, 20_000, &fusion(true))[0], 3);
}

#[test]
fn kernels_of_bundles_are_written_for_all_back_ends() {
    for kind in KINDS {
        for immediates in [0, 128] {
            let caps = caps(1 << 27, immediates);
            for one in kernels(&training(kind), &caps, &fusion(true)).unwrap() {
                write_everywhere(one.kernel, &one.source);
            }
        }
    }
}

#[test]
fn bundles_change_no_number() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu);
    for kind in KINDS {
        let tape = training(kind);
        let run = |device: &Device, held: bool| {
            let mut state = states(&tape, device);
            // A program that is bound to the states where they are keeps them there.
            let _bound = held.then(|| readers(&tape, &state));
            let mut program = Program::compile(&tape, &state, &fusion(true)).unwrap();
            let fetched = steps(&mut program, &mut state, 0, 3);
            (fetched, all(&state))
        };
        let (fetched, got) = run(&device, false);
        assert_eq!((fetched.clone(), got.clone()), run(&device, true), "{kind:?}");
        assert!(fetched.iter().flatten().all(|x| x.is_finite()) && fetched[0] != fetched[2]);

        let (on_cpu, wanted) = run(&Device::Cpu, false);
        for (a, b) in on_cpu.iter().zip(&fetched) {
            assert!((0..2).all(|i| (a[i] - b[i]).abs() <= 1e-5 * a[i].abs()), "{a:?}, {b:?}");
        }
        for (name, wanted) in wanted {
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * a.abs().max(1.0);
            assert_eq!(wanted.len(), got[&name].len());
            let far = wanted.iter().zip(&got[&name]).any(far);
            assert!(!far, "{kind:?} {name}");
        }
    }
}

/// A program that reads every state.
fn readers(of: &Tape, state: &State) -> Program {
    let mut tape = Tape::new();
    for (name, used) in of.states() {
        let read = tape.read(name, of.shape(used.before), DType::F32).unwrap();
        let sum = tape.sum_all(read).unwrap();
        tape.fetch(name, sum).unwrap();
    }
    Program::compile(&tape, state, &fusion(true)).unwrap()
}

/// Labels of the dispatches of a program that update states.
fn updates(program: &mut Program, state: &mut State) -> usize {
    let feeds = [("x", Tensor::full([4, ROWS], 0.5)), ("schedule", Tensor::full([3], 0.0))];
    let feeds: Vec<_> = feeds.iter().map(|(n, t)| (*n, t)).collect();
    let times = program.profile(state, &feeds, 1).unwrap();
    times.iter().filter(|t| t.label.contains("sqrt") && t.label.contains("div")).count()
}

#[test]
fn states_move_but_keep_names_and_bytes() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu);
    let tape = training(Kind::Plain);
    let mut state = states(&tape, &device);
    let before = all(&state);
    let report = preflight(&tape, &device, &fusion(true)).unwrap();
    let mut program = Program::compile(&tape, &state, &fusion(true)).unwrap();
    assert_eq!(*program.memory(), report);
    assert_eq!(all(&state), before);

    // Programs that come later find the states where they are now, and they bundle as well.
    let mut reader = readers(&tape, &state);
    let mut again = Program::compile(&tape, &state, &fusion(true)).unwrap();
    steps(&mut program, &mut state, 0, 2);
    let sums = reader.call(&mut state, &[]).unwrap();
    for (name, numbers) in all(&state) {
        let sum: f32 = numbers.iter().sum();
        assert!((sums[&name].f32s()[0] - sum).abs() < 1e-3, "{name}: {sum}, {sums:?}");
    }
    assert_eq!(updates(&mut again, &mut state), 2);

    // A state that is set anew is set for all of them, and its neighbors stay.
    let neighbors = all(&state);
    let ones = Tensor::full([ROWS, COLUMNS[3]], 1.0);
    state.set(&weight(3), &ones).unwrap();
    assert_eq!(reader.call(&mut state, &[]).unwrap()[&weight(3)].f32s()[0], ones.len() as f32);
    for (name, numbers) in all(&state) {
        let wanted = if name == weight(3) { ones.f32s() } else { &neighbors[&name][..] };
        assert_eq!(numbers, wanted, "{name}");
    }

    // States that go on elsewhere go on the same.
    let mut elsewhere = State::new(&device);
    for name in state.names() {
        elsewhere.set(name, &state.get(name).unwrap()).unwrap();
    }
    let mut other = Program::compile(&tape, &elsewhere, &fusion(true)).unwrap();
    let a = steps(&mut program, &mut state, 2, 2);
    assert_eq!(steps(&mut other, &mut elsewhere, 2, 2), a);
    assert_eq!(all(&elsewhere), all(&state));
}

#[test]
fn states_that_another_program_holds_stay_where_they_are() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu);
    let tape = training(Kind::Plain);
    let mut state = states(&tape, &device);
    let held = readers(&tape, &state);
    let mut program = Program::compile(&tape, &state, &fusion(true)).unwrap();
    assert_eq!(updates(&mut program, &mut state), 2 * COLUMNS.len());
    drop((held, program));
    let mut program = Program::compile(&tape, &state, &fusion(true)).unwrap();
    assert_eq!(updates(&mut program, &mut state), 2);
}

/// A program whose kernels read and write states that another one has put into one buffer.
#[test]
fn kernels_do_not_write_the_buffer_that_they_read() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu);
    let tape = training(Kind::Plain);
    let mut state = states(&tape, &device);
    let _first = Program::compile(&tape, &state, &fusion(true)).unwrap();
    let mut other = Tape::new();
    let shape = |i: usize| [ROWS, COLUMNS[i]];
    let w = other.read(&weight(1), &shape(1), DType::F32).unwrap();
    let small = other.read(&weight(0), &shape(0), DType::F32).unwrap();
    // weight.0 := (w wᵀ)[.., ..3], by a kernel; weight.5 := half of weight.1 by an elementwise op;
    // weight.1 and average.1 swap.
    let square = other.matmul_t(w, w, false, true).unwrap();
    let corner = other.slice(square, &[0, 0], &[ROWS, 3]).unwrap();
    other.fetch("old", small).unwrap();
    other.assign(&weight(0), corner).unwrap();
    let half = other.slice(w, &[0, 0], &shape(5)).unwrap();
    let half = other.affine(half, 0.5, 0.0).unwrap();
    other.read(&weight(5), &shape(5), DType::F32).unwrap();
    other.assign(&weight(5), half).unwrap();
    let ema = other.read("ema.1", &shape(1), DType::F32).unwrap();
    other.assign("ema.1", w).unwrap();
    other.assign(&weight(1), ema).unwrap();

    let mut cpu = states(&tape, &Device::Cpu);
    let mut program = Program::compile(&other, &state, &fusion(true)).unwrap();
    let mut wanted = Program::compile(&other, &cpu, &fusion(true)).unwrap();
    let got = program.call(&mut state, &[]).unwrap();
    let wanted = wanted.call(&mut cpu, &[]).unwrap();
    assert_eq!(got, wanted);
    for ((name, got), (_, wanted)) in all(&state).iter().zip(all(&cpu)) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(got.iter().zip(&wanted).all(near), "{name}: {got:?}, {wanted:?}");
    }
}

/// Trainings in which some parameters are updated otherwise than their neighbors in memory, and some
/// kernels sum the same tensor twice. Each plan is proved as it is made, in debug builds; here each
/// was wrong before.
#[test]
fn bundles_leave_alone_what_is_not_theirs() {
    let size = Size { height: 16, width: 16 };
    let model =
        ModelConfig { size, nz: 10, ngf: 8, ndf: 8, norm_d: Norm::None, ..ModelConfig::default() };
    let critic = ObjectiveConfig { n_critic: 2, ..ObjectiveConfig::default() };
    let r1 = ObjectiveConfig { penalty: Penalty::R1, penalty_weight: 10.0, ..critic };
    let weight_norm =
        ModelConfig { network: Architecture::Cnn, weight_d: Parametrization::Norm, ..model };
    for (what, model, objective) in [
        ("R1", model, ObjectiveConfig { optimizer: OptimizerKind::Rmsprop, ..r1 }),
        ("orthogonal", weight_norm, ObjectiveConfig { orthogonal: 1e-3, ..critic }),
    ] {
        let tape = TrainConfig { batch: 4, objective, ..TrainConfig::new(model) }.tape().unwrap();
        let kernels = kernels(&tape, &caps(1 << 27, 0), &fusion(true)).unwrap();
        assert!(kernels.len() > 50, "{what}");
        let Some(gpu) = gpu() else { continue };
        let run = |fuse| {
            let config = TrainConfig { batch: 4, objective, ..TrainConfig::new(model) };
            let device = Device::Gpu(gpu.clone());
            let mut trainer = Trainer::new(config, &device, &fusion(fuse)).unwrap();
            let images: Vec<u8> = (0..8 * 16 * 16 * 3).map(|i| (i * 31 % 251) as u8).collect();
            trainer.step(images).unwrap();
            trainer.finish().unwrap();
            trainer.tensors().unwrap()
        };
        let (fused, single) = (run(true), run(false));
        let moment =
            |name: &str| name.contains("m.discriminator") || name.contains("v.discriminator");
        for (name, value) in fused.iter().filter(|(name, _)| moment(name)) {
            let off = value.f32s().iter().zip(single[name].f32s()).map(|(a, b)| (a - b).abs());
            let largest = single[name].f32s().iter().fold(1e-12_f32, |m, x| m.max(x.abs()));
            let off = off.fold(0.0, f32::max) / largest;
            assert!(off < 0.02, "{what}: {name} is off by {off}");
        }
    }
}

/// Real trainings: one kernel updates all parameters of a network, as often as it is updated.
#[test]
fn a_network_is_updated_by_one_kernel() {
    let size = Size { height: 32, width: 32 };
    let (channels, nz) = (3, 10);
    let network = Architecture::Dcgan;
    let model =
        ModelConfig { network, size, channels, nz, ngf: 8, ndf: 8, ..ModelConfig::default() };
    let plain = ObjectiveConfig::default();
    let weights = ObjectiveConfig { weight_decay: 0.1, clip_weights: 0.01, ..plain };
    for (what, objective, wanted) in [
        ("plain", plain, 2),
        ("RMSprop", ObjectiveConfig { optimizer: OptimizerKind::Rmsprop, ..plain }, 2),
        ("short gradients", ObjectiveConfig { clip_gradients: 1.0, ..plain }, 2),
        ("weights decay and are limited", weights, 2),
        ("a critic", ObjectiveConfig { n_critic: 3, ..plain }, 4),
        ("micro-batches", ObjectiveConfig { micro_batch: 2, ..plain }, 2),
    ] {
        let config = TrainConfig { batch: 4, objective, ..TrainConfig::new(model) };
        let tape = config.tape().unwrap();
        let kernels = kernels(&tape, &caps(1 << 27, 0), &fusion(true)).unwrap();
        // Only optimizers know their ε.
        let updates = kernels.iter().filter(|one| one.source.contains("1e-8f"));
        assert_eq!(updates.count(), wanted, "{what}");
        let squares = kernels.iter().filter(|one| one.kernel == "sum_each");
        assert!((2..=3 * wanted).contains(&squares.count()), "{what}");
    }
}
