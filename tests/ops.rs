//! Every sample of every op: each device against plain loops in 64 bits, fused against unfused, one
//! thread against three.

use std::collections::BTreeMap;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

use dcgan::device::Device;
use dcgan::device::gpu::GpuOptions;
use dcgan::ops::conv::ConvSpec;
use dcgan::ops::samples::samples;
use dcgan::program::tune::variants;
use dcgan::program::{Choices, Options};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Data, Tensor};

use super::{naive, support};

const SEED: u64 = 11;

#[test]
fn every_op_agrees_with_its_formula_on_every_device() {
    let samples = samples();
    let mut wrong = Vec::new();
    let hardware_kernels = GpuOptions { hardware_kernels: true, ..GpuOptions::default() };
    let other = support::gpu_with(hardware_kernels).map(Device::Gpu);
    for device in support::devices().into_iter().chain(other) {
        for sample in &samples {
            let (tape, _, y) = sample.tape().unwrap();
            let feeds = sample.feeds(SEED);
            let want = naive::eval(&tape, &support::sources(&feeds), &[y]).remove(0);
            for fuse in [true, false] {
                let got = support::run(&tape, &device, &support::fusion(fuse), &feeds).remove("y");
                let worst = sample.tolerance.worst(&support::wide(&got.unwrap()), &want);
                if worst > 1.0 {
                    wrong.push(format!(
                        "{sample:?} on {}, fuse {fuse}: {worst:.1} times the tolerance",
                        device.name()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn fusion_changes_no_bit() {
    for sample in samples() {
        let (tape, _, _) = sample.tape().unwrap();
        let feeds = sample.feeds(SEED);
        let [fused, unfused] = [true, false]
            .map(|fuse| support::run(&tape, &Device::Cpu, &support::fusion(fuse), &feeds));
        assert_eq!(fused["y"].bytes(), unfused["y"].bytes(), "{sample:?}");
    }
}

/// In processes of their own, as registers are chosen once: this test, asked to print its results.
#[test]
fn the_width_of_registers_changes_no_bit() {
    const NAME: &str = "ops::the_width_of_registers_changes_no_bit";
    const VARIABLE: &str = "DCGAN_REGISTERS";
    let samples = samples();
    let digests = samples.iter().map(|sample| {
        let (tape, _, _) = sample.tape().unwrap();
        let feeds = sample.feeds(SEED);
        let y = &support::run(&tape, &Device::Cpu, &support::fusion(true), &feeds)["y"];
        let mut hasher = DefaultHasher::new();
        for value in support::wide(y) {
            // One NaN is as good as another.
            let value = if value.is_nan() { f64::NAN } else { value };
            value.to_bits().hash(&mut hasher);
        }
        format!("digest {:x}", hasher.finish())
    });
    let digests: Vec<String> = digests.collect();
    if let Ok(narrower) = env::var(VARIABLE) {
        assert!(narrower != "scalar" || dcgan::ops::registers() == "scalar");
        println!("{}", digests.join("\n"));
        return;
    }
    for narrower in ["scalar", "avx2"] {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(VARIABLE, narrower)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let got: Vec<&str> = text.lines().filter(|line| line.starts_with("digest ")).collect();
        assert!(output.status.success() && got.len() == samples.len(), "{text}");
        let differs = got.iter().zip(&digests).zip(&samples);
        let differs: Vec<_> = differs.filter(|((a, b), _)| a != b).map(|(_, s)| s).collect();
        assert!(differs.is_empty(), "{} with {narrower}: {differs:#?}", differs.len());
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let pools = [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    for sample in samples() {
        let (tape, _, _) = sample.tape().unwrap();
        let feeds = sample.feeds(SEED);
        let [one, three] = pools.each_ref().map(|pool| {
            pool.install(|| support::run(&tape, &Device::Cpu, &support::fusion(true), &feeds))
        });
        assert_eq!(one["y"].bytes(), three["y"].bytes(), "{sample:?}");
    }
}

#[test]
fn a_result_does_not_depend_on_what_its_memory_held() {
    // The second run finds the numbers of the first in every slot.
    for sample in samples() {
        let (tape, _, _) = sample.tape().unwrap();
        let mut state = dcgan::device::State::new(&Device::Cpu);
        let options = support::fusion(true);
        let mut program = dcgan::program::Program::compile(&tape, &state, &options).unwrap();
        let mut call = |seed| {
            let feeds = sample.feeds(seed);
            let feeds: Vec<_> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
            program.call(&mut state, &feeds).unwrap()
        };
        call(SEED + 1);
        let second = call(SEED);
        let fresh = support::run(&tape, &Device::Cpu, &options, &sample.feeds(SEED));
        assert_eq!(second["y"].bytes(), fresh["y"].bytes(), "{sample:?}");
    }
}

#[test]
fn the_sum_of_no_numbers_is_zero() {
    let cases: [(&[usize], &[usize], &[usize]); 5] = [
        (&[3, 0], &[0], &[0]),
        (&[3, 0], &[1], &[3]),
        (&[0, 4], &[0], &[4]),
        (&[2, 0, 5], &[1, 2], &[2]),
        (&[0], &[0], &[]),
    ];
    for (shape, axes, want) in cases {
        let mut tape = dcgan::tape::Tape::new();
        let x = tape.feed("x", shape, dcgan::tensor::DType::F32).unwrap();
        let y = tape.sum(x, axes).unwrap();
        assert_eq!(tape.shape(y), want, "{shape:?} over {axes:?}");
        tape.fetch("y", y).unwrap();
        let feeds = [("x".into(), dcgan::tensor::Tensor::new(shape, Vec::new()).unwrap())];
        for device in support::devices() {
            let y = support::run(&tape, &device, &support::fusion(true), &feeds).remove("y");
            let zeros = vec![0.0; want.iter().product()];
            assert_eq!(support::wide(&y.unwrap()), zeros, "{shape:?} over {axes:?}");
        }
    }
    let mut tape = dcgan::tape::Tape::new();
    let x = tape.feed("x", &[3, 0], dcgan::tensor::DType::F32).unwrap();
    let error = tape.moments(x).unwrap_err().to_string();
    assert!(error.contains("none of them 0"), "{error}");
}

/// A tape of one op on feeds `a` and `b`, and its result.
fn product(a: &[usize], b: &[usize], op: impl Fn(&mut Tape, Var, Var) -> Var) -> (Tape, Var) {
    let mut t = Tape::new();
    let [a, b] = [("a", a), ("b", b)].map(|(name, shape)| t.feed(name, shape, DType::F32).unwrap());
    let y = op(&mut t, a, b);
    (t, y)
}

/// The gradient by `of` of the mean square of what a tape fetches, in its place.
fn gradient((mut t, y): (Tape, Var), of: &str) -> (Tape, Var) {
    let square = t.mul(y, y).unwrap();
    let loss = t.mean_all(square).unwrap();
    let of = t.feeds()[of];
    let gradient = t.grad(loss, &[of]).unwrap()[0];
    (t, gradient)
}

/// Products that are large enough for every tile, and whole multiples of none.
#[test]
fn every_variant_for_hardware_computes_the_same() {
    let hardware_kernels = GpuOptions { hardware_kernels: true, ..GpuOptions::default() };
    let Some(gpu) = support::gpu_with(hardware_kernels) else { return };
    let device = Device::Gpu(gpu);
    let down = ConvSpec::down([33, 31], [3, 3], [1, 1], [1, 1]).unwrap();
    let [k, m, n] = [1416, 200, 140];
    let images = [8, 33, 31, 20];
    let kernel = [3, 3, 20, 132];
    let matmul = |t: &mut Tape, a, b| t.matmul(a, b).unwrap();
    let conv = |t: &mut Tape, a, b| t.conv2d(a, b, down).unwrap();
    let table = [
        ("matmul", product(&[m, k], &[k, n], matmul)),
        ("conv2d", product(&images, &kernel, conv)),
        (
            "conv_transpose2d",
            product(&[8, 33, 31, 20], &[3, 3, 132, 20], |t, a, b| {
                t.conv_transpose2d(a, b, down).unwrap()
            }),
        ),
        ("gradient of a matmul's left", gradient(product(&[m, k], &[k, n], matmul), "a")),
        ("gradient of a matmul's right", gradient(product(&[m, k], &[k, n], matmul), "b")),
        ("conv_weight_grad", gradient(product(&images, &kernel, conv), "b")),
    ];
    let mut tried = BTreeMap::new();
    for (name, (mut tape, y)) in table {
        tape.fetch("y", y).unwrap();
        let feeds: Vec<(String, Tensor)> = tape
            .feeds()
            .iter()
            .map(|(name, &feed)| {
                let shape = tape.shape(feed);
                let len = shape.iter().product::<usize>();
                let number = |i: usize| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0;
                let numbers = Data::F32((0..len).map(number).collect());
                (name.clone(), Tensor::with_data(shape.to_vec(), numbers).unwrap())
            })
            .collect();
        let run = |choices: Choices| {
            let options = Options { choices, ..Options::default() };
            support::run(&tape, &device, &options, &feeds).remove("y").unwrap()
        };
        let want = run(Choices::default());
        let largest = want.f32s().iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        for (key, names) in variants(&tape, &device) {
            for variant in names {
                let kernels = BTreeMap::from([(key.clone(), variant.clone())]);
                let got = run(Choices { device: device.name(), kernels });
                let off = got.f32s().iter().zip(want.f32s()).map(|(a, b)| (a - b).abs());
                let off = off.fold(0.0, f32::max) / largest;
                assert!(off < 1e-4, "{name}, {variant} of {key:?}: {off}");
                *tried.entry(variant).or_insert(0) += 1;
            }
        }
    }
    for tile in ["64x64", "32x32", "128x128", "128x64", "64x128"] {
        let count = tried.get(&format!("workgroup {tile}")).copied().unwrap_or(0);
        assert!(count >= 3, "{tile} was tried {count} times: {tried:?}");
    }
}
