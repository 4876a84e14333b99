//! Every sample of every op: each device against plain loops in 64 bits, fused against unfused, one
//! thread against three.

use dcgan::device::Device;
use dcgan::device::gpu::GpuOptions;
use dcgan::ops::samples::samples;

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
        tape.fetch("y", y);
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
