//! The GPU device: programs, readback, failures, measurements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dcgan::device::gpu::{AdapterKind, Gpu, GpuBuffer, GpuOptions, GpuProgram, list};
use dcgan::device::{BufferKind, BufferSpec, Device, Readback, Script, ScriptStep};
use dcgan::error::Error;
use dcgan::rng::{Stream, stream_id};
use dcgan::testing;
use minijinja::context;

use crate::support::{gpu, gpu_with};

/// A test that needs a GPU begins with this.
macro_rules! gpu_or_return {
    () => {
        match gpu() {
            Some(gpu) => gpu,
            None => return,
        }
    };
}

mod failures;

fn spec(bytes: u64, kind: BufferKind, label: &str) -> BufferSpec {
    BufferSpec { bytes, kind, label: label.into() }
}

fn dispatch(kernel: &'static str, context: minijinja::Value, bind: &[(&str, usize)]) -> ScriptStep {
    ScriptStep::Dispatch {
        kernel,
        context,
        bind: bind.iter().map(|(name, buffer)| ((*name).to_owned(), *buffer)).collect(),
        groups: [1, 1, 1],
        flops: 100,
        bytes: 64,
        label: kernel.into(),
    }
}

/// Draws `len` numbers from a fed key: buffer 0 is the key, 1 the numbers.
fn random(kind: &str, len: usize, groups: [u32; 3]) -> Script {
    let bytes = (len as u64 * 4).next_multiple_of(16);
    let context = context! { kind, len, stream => stream_id("test") };
    let mut step = dispatch("random", context, &[("key", 0), ("y", 1)]);
    if let ScriptStep::Dispatch { groups: g, .. } = &mut step {
        *g = groups;
    }
    Script {
        buffers: vec![spec(16, BufferKind::Feed, "key"), spec(bytes, BufferKind::Slot, "numbers")],
        steps: vec![step],
        feeds: vec![0],
        fetches: vec![Readback { buffer: 1, offset: 0, bytes }],
    }
}

/// What `random` makes of words, on the host.
fn stream(step: u32) -> Stream {
    Stream::with_key([7, 9], stream_id("test"), step)
}

fn key(step: u32) -> Vec<u8> {
    bytemuck::cast_slice(&[7_u32, 9, step, 0]).to_vec()
}

/// Counts runs in the state `count` by the canary's kernel, whose binding `run` is fed.
fn counter() -> Script {
    Script {
        buffers: vec![
            spec(16, BufferKind::Feed, "number"),
            spec(16, BufferKind::State("count".into()), "count"),
            spec(16, BufferKind::Slot, "copy"),
        ],
        steps: vec![
            dispatch("canary", context! {}, &[("run", 0), ("canary", 1)]),
            ScriptStep::Copy { from: 1, offset: 0, to: 2, bytes: 16 },
        ],
        feeds: vec![0],
        fetches: vec![
            Readback { buffer: 2, offset: 0, bytes: 3 },
            Readback { buffer: 2, offset: 4, bytes: 4 },
            Readback { buffer: 2, offset: 0, bytes: 0 },
        ],
    }
}

fn counting(gpu: &Gpu) -> (GpuProgram, GpuBuffer) {
    let count = gpu.create_buffer(16, "count").unwrap();
    let states = BTreeMap::from([("count".to_owned(), count.clone())]);
    (GpuProgram::new(gpu, counter(), &states, 2).unwrap(), count)
}

fn word(value: u32) -> Vec<u8> {
    bytemuck::cast_slice(&[value, 0, 0, 0]).to_vec()
}

#[test]
fn a_program_runs_again_and_again() {
    let gpu = gpu_or_return!();
    let (mut program, count) = counting(&gpu);
    for run in 1..=6_u32 {
        let ticket = program.run(&[&word(0x0102_0300 + run)]).unwrap();
        let results = program.take(ticket).unwrap();
        assert_eq!(results[0], [run as u8, 3, 2]);
        assert_eq!(results[1], run.to_ne_bytes());
        assert!(results[2].is_empty());
        let again = program.take(ticket).unwrap_err().to_string();
        assert!(again.contains("taken"), "{again}");
    }
    let state = gpu.read(&count, 0, 16).unwrap();
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, u32>(&state), [0x0102_0306, 6, 0, 0]);
    gpu.write(&count, 4, &40_u32.to_ne_bytes()).unwrap();
    let ticket = program.run(&[&word(1)]).unwrap();
    assert_eq!(program.take(ticket).unwrap()[1], 41_u32.to_ne_bytes());
}

#[test]
fn programs_share_states() {
    let gpu = gpu_or_return!();
    let (mut one, count) = counting(&gpu);
    let states = BTreeMap::from([("count".to_owned(), count)]);
    let mut two = GpuProgram::new(&gpu, counter(), &states, 1).unwrap();
    for run in 0..5_u32 {
        let first = one.run(&[&word(run)]).unwrap();
        let second = two.run(&[&word(run)]).unwrap();
        assert_eq!(two.take(second).unwrap()[1], (2 * run + 2).to_ne_bytes());
        assert_eq!(one.take(first).unwrap()[1], (2 * run + 1).to_ne_bytes());
    }
}

#[test]
fn results_wait_in_a_ring() {
    let gpu = gpu_or_return!();
    let (mut program, _) = counting(&gpu);
    let tickets: Vec<_> = (1..=9).map(|run| program.run(&[&word(run)]).unwrap()).collect();
    for (i, &ticket) in tickets.iter().enumerate() {
        if i < 5 {
            assert!(program.ready(ticket));
            let dropped = program.take(ticket).unwrap_err().to_string();
            assert!(dropped.contains(&format!("run {}", i + 1)), "{dropped}");
        }
    }
    // The last four, in another order.
    for i in [7, 5, 8, 6] {
        let start = Instant::now();
        while !program.ready(tickets[i]) {
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        assert_eq!(program.take(tickets[i]).unwrap()[1], (i as u32 + 1).to_ne_bytes());
    }
}

#[test]
fn runs_create_nothing() {
    let gpu = gpu_or_return!();
    let before = gpu.allocated_bytes();
    let (mut program, count) = counting(&gpu);
    assert!(gpu.allocated_bytes() > before);
    let mut seen = Vec::new();
    for run in 1..=10 {
        let ticket = program.run(&[&word(run)]).unwrap();
        if run % 2 == 0 {
            program.take(ticket).unwrap();
        }
        seen.push((gpu.creations(), gpu.allocated_bytes()));
    }
    assert!(seen[0].0 > 0);
    assert!(seen[2..].iter().all(|&now| now == seen[1]), "{seen:?}");
    drop((program, count));
    assert_eq!(gpu.allocated_bytes(), before);
}

#[test]
fn kernels_are_compiled_once() {
    let gpu = gpu_or_return!();
    let first = gpu.creations();
    let one = GpuProgram::new(&gpu, random("bits", 64, [1, 1, 1]), &BTreeMap::new(), 2).unwrap();
    let second = gpu.creations();
    let two = GpuProgram::new(&gpu, random("bits", 64, [1, 1, 1]), &BTreeMap::new(), 2).unwrap();
    // The first compiled two pipelines: its own and the canary's.
    assert_eq!(gpu.creations() - second + 2, second - first);
    drop((one, two));
}

#[test]
fn random_words_are_those_of_the_host() {
    let gpu = gpu_or_return!();
    for len in [1, 5, 64, 1003] {
        for step in [0, 1, u32::MAX] {
            // Two rows of workgroups, the second padded.
            let groups = [(len as u32).div_ceil(4 * 64 * 2), 2, 1];
            let run = |kind: &str| -> Vec<u8> {
                let script = random(kind, len, groups);
                let mut program = GpuProgram::new(&gpu, script, &BTreeMap::new(), 2).unwrap();
                let ticket = program.run(&[&key(step)]).unwrap();
                program.take(ticket).unwrap().remove(0)
            };
            let bits: Vec<u32> = bytemuck::pod_collect_to_vec(&run("bits"));
            let mut reference = stream(step);
            let expected: Vec<u32> = (0..len).map(|_| reference.next_u32()).collect();
            assert_eq!(bits[..len], expected);
            assert!(bits[len..].iter().all(|&padding| padding == 0));

            let uniform: Vec<f32> = bytemuck::pod_collect_to_vec(&run("uniform"));
            let mut expected = vec![0.0; len];
            stream(step).fill_uniform(&mut expected);
            assert_eq!(uniform[..len], expected);

            let normal: Vec<f32> = bytemuck::pod_collect_to_vec(&run("normal"));
            stream(step).fill_normal(&mut expected);
            for (a, b) in normal.iter().zip(&expected) {
                // WGSL promises sin and cos to 2^-11 only.
                assert!((a - b).abs() < 4e-3, "{a} and {b}");
            }
        }
    }
}

#[test]
fn two_runs_give_the_same_bits() {
    let gpu = gpu_or_return!();
    let script = random("normal", 4096, [16, 1, 1]);
    let mut program = GpuProgram::new(&gpu, script, &BTreeMap::new(), 1).unwrap();
    let first = program.run(&[&key(3)]).unwrap();
    let other = program.run(&[&key(4)]).unwrap();
    let again = program.run(&[&key(3)]).unwrap();
    let first = program.take(first).unwrap();
    assert_ne!(first, program.take(other).unwrap());
    assert_eq!(first, program.take(again).unwrap());
}

#[test]
fn bindings_that_do_not_fit_are_named() {
    let gpu = gpu_or_return!();
    type Bind = Vec<(String, usize)>;
    let error = |change: &dyn Fn(&mut Bind)| {
        let mut script = random("bits", 64, [1, 1, 1]);
        if let ScriptStep::Dispatch { bind, .. } = &mut script.steps[0] {
            change(bind);
        }
        GpuProgram::new(&gpu, script, &BTreeMap::new(), 1).unwrap_err().to_string()
    };
    let misspelled = error(&|bind| bind[1].0 = "out".into());
    assert!(misspelled.contains("random") && misspelled.contains("key, y"), "{misspelled}");
    assert!(misspelled.contains("key, out"), "{misspelled}");
    let missing = error(&|bind| drop(bind.pop()));
    assert!(missing.contains("key, y"), "{missing}");
    let extra = error(&|bind| bind.push(("z".into(), 0)));
    assert!(extra.contains("key, y, z"), "{extra}");
    let twice = error(&|bind| bind[1].0 = "key".into());
    assert!(twice.contains("key, key"), "{twice}");
    let aliased = error(&|bind| bind[1].1 = 0);
    assert!(aliased.contains("`key` and `y` are one buffer"), "{aliased}");
    let nowhere = error(&|bind| bind[1].1 = 9);
    assert!(nowhere.contains("`y` is bound to no buffer"), "{nowhere}");
    gpu.check().unwrap();
}

#[test]
fn scripts_that_cannot_work_are_errors() {
    let gpu = gpu_or_return!();
    let error = |script| GpuProgram::new(&gpu, script, &BTreeMap::new(), 1).unwrap_err();

    let mut script = random("bits", 64, [1, 1, 1]);
    if let ScriptStep::Dispatch { context, .. } = &mut script.steps[0] {
        *context = context! { kind => "bits", stream => 1 };
    }
    let undefined = error(script);
    assert!(matches!(&undefined, Error::Shader { kernel, .. } if kernel == "random"));
    assert!(undefined.to_string().contains("`len"), "{undefined}");

    let mut script = random("bits", 64, [1, 1, 1]);
    if let ScriptStep::Dispatch { context, .. } = &mut script.steps[0] {
        *context = context! { kind => "bits", stream => -1, len => 64 };
    }
    let invalid = error(script).to_string();
    assert!(invalid.contains("kernel random") && invalid.contains("random.wgsl:"), "{invalid}");

    let mut script = random("bits", 64, [1, 1, 1]);
    if let ScriptStep::Dispatch { kernel, .. } = &mut script.steps[0] {
        *kernel = "no_such_kernel";
    }
    assert!(error(script).to_string().contains("no_such_kernel"));

    let groups = error(random("bits", 64, [u32::MAX, 1, 1])).to_string();
    assert!(groups.contains("workgroups"), "{groups}");

    let missing = error(counter());
    assert!(matches!(&missing, Error::Tensor { name, .. } if name == "count"), "{missing}");
    gpu.check().unwrap();

    let (mut program, _) = counting(&gpu);
    let few = program.run(&[]).unwrap_err().to_string();
    assert!(few.contains("0 were given") && few.contains('1'), "{few}");
    let long = program.run(&[&[0; 17]]).unwrap_err().to_string();
    assert!(long.contains("number") && long.contains("17"), "{long}");
    assert!(program.run(&[&[0; 3]]).is_ok());
}

#[test]
fn buffers_are_read_and_written_in_parts() {
    let gpu = gpu_or_return!();
    // More than one part of a read and of a write.
    let words = (64 << 20) / 4 + 1000;
    let buffer = gpu.create_buffer(words * 4, "large").unwrap();
    assert!(gpu.read(&buffer, words * 2, 64).unwrap().iter().all(|&byte| byte == 0));
    let data: Vec<u32> = (0..words as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&data);
    gpu.write(&buffer, 0, bytes).unwrap();
    assert!(gpu.read(&buffer, 0, words * 4).unwrap() == bytes);
    for (offset, len) in [(5, 2), (3, 6), (64 << 20, 11), (4, (64 << 20) + 3), (0, 0)] {
        let part = gpu.read(&buffer, offset as u64, len as u64).unwrap();
        assert!(part == bytes[offset..offset + len], "{offset}, {len}");
    }
    // More small writes than the queue should hold.
    for i in 0..500_u32 {
        gpu.write(&buffer, u64::from(i) * 4, &i.to_ne_bytes()).unwrap();
    }
    let read: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.read(&buffer, 0, 2000).unwrap());
    assert!(read.iter().copied().eq(0..500));
}

#[test]
fn math_survives_every_driver() {
    let gpu = gpu_or_return!();
    let x = [0.0, -0.0, 1e-30, 1e-4, 0.5, -0.5, 2.8, 15.5, -15.5, 88.0, -87.0, 150.0, -150.0];
    let x: Vec<f32> = x.into_iter().chain([f32::NAN, f32::INFINITY]).collect();
    let y = gpu_math(&gpu, &x);
    let close = |a: f32, b: f64, tolerance: f64| (f64::from(a) - b).abs() <= tolerance;
    for (&x, y) in x.iter().zip(y.chunks_exact(14)) {
        let nan = f32::from(u8::from(x.is_nan()));
        let finite = f32::from(u8::from(x.is_finite()));
        assert_eq!([y[4], y[5], y[10], y[11]], [nan, finite, nan, finite], "{x}");
        let same = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
        for log in &y[12..] {
            let want = x.ln();
            assert!(
                same(*log, want) || close(*log, f64::from(want), 1e-5),
                "log {x}: {log}, {want}"
            );
        }
        if x.is_nan() {
            let numbers = y[0..4].iter().chain(&y[6..10]);
            assert!(numbers.into_iter().all(|y| y.is_nan()), "{y:?}");
        }
        if !x.is_finite() {
            continue;
        }
        let v = f64::from(x);
        for y in [&y[0..4], &y[6..10]] {
            assert!(y.iter().all(|y| y.is_finite()), "{x}: {y:?}");
            assert!(close(y[0], v.tanh(), 2e-5), "tanh {x}: {y:?}");
            let exp = v.clamp(-87.0, 88.0).exp();
            assert!(close(y[1], exp, exp * 1e-4), "exp {x}: {y:?}");
            assert!(close(y[2], 1.0 / (1.0 + (-v).exp()), 1e-5), "sigmoid {x}: {y:?}");
            let softplus = v.max(0.0) + (-v.abs()).exp().ln_1p();
            assert!(close(y[3], softplus, 1e-30 + softplus * 1e-4), "softplus {x}: {y:?}");
        }
    }
}

/// The results of the kernel `check_math` for each x.
fn gpu_math(gpu: &Gpu, x: &[f32]) -> Vec<f32> {
    let bytes = (x.len() as u64 * 4).next_multiple_of(16);
    let script = Script {
        buffers: vec![spec(bytes, BufferKind::Feed, "x"), spec(bytes * 14, BufferKind::Slot, "y")],
        steps: vec![ScriptStep::Dispatch {
            kernel: "check_math",
            context: context! {},
            bind: vec![("x".into(), 0), ("y".into(), 1)],
            groups: [x.len() as u32, 1, 1],
            flops: 0,
            bytes: 0,
            label: "math".into(),
        }],
        feeds: vec![0],
        fetches: vec![Readback { buffer: 1, offset: 0, bytes: x.len() as u64 * 56 }],
    };
    let mut program = GpuProgram::new(gpu, script, &BTreeMap::new(), 1).unwrap();
    let ticket = program.run(&[bytemuck::cast_slice(x)]).unwrap();
    bytemuck::pod_collect_to_vec(&program.take(ticket).unwrap()[0])
}

#[test]
fn dispatches_are_timed() {
    let gpu = gpu_or_return!();
    let len = 1 << 20;
    let mut script = random("normal", len, [4096, 1, 1]);
    script.buffers.push(spec(16, BufferKind::Slot, "few"));
    let few = context! { kind => "normal", len => 4, stream => 1 };
    script.steps.push(dispatch("random", few, &[("key", 0), ("y", 2)]));
    script.steps.insert(1, ScriptStep::Copy { from: 0, offset: 0, to: 2, bytes: 16 });
    let mut program = GpuProgram::new(&gpu, script, &BTreeMap::new(), 1).unwrap();
    let start = Instant::now();
    let timings = program.profile(&[&key(1)], 3).unwrap();
    let wall = start.elapsed().as_secs_f64();
    assert_eq!(timings.len(), 2);
    assert!(timings.iter().all(|t| t.kernel == "random" && t.label == "random" && t.flops == 100));
    let [many, few] = [timings[0].seconds, timings[1].seconds];
    assert!(many > few && few >= 0.0 && many < wall, "{many} and {few} of {wall}");
    // A program that was timed still runs, and its canary agrees.
    let ticket = program.run(&[&key(1)]).unwrap();
    program.take(ticket).unwrap();
}

#[test]
fn long_programs_are_cut() {
    let gpu = gpu_or_return!();
    // So much work on paper that every step is a submission of its own, until it is timed.
    let mut script = counter();
    let step = match script.steps[0].clone() {
        ScriptStep::Dispatch { kernel, context, bind, groups, label, bytes, .. } => {
            ScriptStep::Dispatch { kernel, context, bind, groups, label, bytes, flops: 1 << 40 }
        }
        other @ (ScriptStep::Copy { .. } | ScriptStep::Exchange { .. }) => other,
    };
    script.steps = std::iter::repeat_n(step, 10).chain(script.steps.pop()).collect();
    let count = gpu.create_buffer(16, "count").unwrap();
    let states = BTreeMap::from([("count".to_owned(), count)]);
    let mut program = GpuProgram::new(&gpu, script, &states, 1).unwrap();
    assert!(testing::submissions_per_run(&program) >= 10);
    for run in 1..=5_u32 {
        let ticket = program.run(&[&word(run)]).unwrap();
        assert_eq!(program.take(ticket).unwrap()[1], (run * 10).to_ne_bytes());
    }
    // One, unless the machine is very busy.
    assert!(testing::submissions_per_run(&program) < 5);
}

#[test]
fn peaks_are_plausible() {
    let Some(gpu) = gpu_with(GpuOptions::default()) else { return };
    let peak = Device::Gpu(gpu.clone()).measure_peak().unwrap();
    eprintln!(
        "{}: {:.1} GFLOP/s, {:.1} GB/s",
        gpu.caps().name,
        peak.flops * 1e-9,
        peak.bytes * 1e-9
    );
    assert!(peak.flops > 1e8 && peak.flops < 1e15, "{peak:?}");
    assert!(peak.bytes > 1e8 && peak.bytes < 1e14, "{peak:?}");
}

#[test]
fn handles_cross_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Gpu>();
    shared::<GpuBuffer>();
    shared::<GpuProgram>();
}

#[test]
fn adapters_are_described_and_opened_by_name() {
    let adapters = list();
    let Some(first) = adapters.first() else { return drop(gpu()) };
    assert!(adapters.iter().enumerate().all(|(i, adapter)| adapter.index == i));
    assert!(first.max_binding > 0 && first.max_buffer >= first.max_binding.min(1 << 27));
    let same_name = adapters.iter().filter(|adapter| adapter.name == first.name).count();
    let options = GpuOptions::default();
    if same_name == 1 {
        let gpu = Gpu::open(&first.name.to_uppercase(), options).unwrap();
        let caps = gpu.caps();
        assert_eq!(caps.software, first.kind == AdapterKind::Software);
        assert!(caps.workgroup_memory <= 16_384 && caps.invocations <= 256);
        assert!(caps.groups_per_dimension <= 65_535 && caps.storage_buffers >= 4);
        let subgroups = first.features.contains(&"subgroups");
        let even = first.subgroup.0 == first.subgroup.1;
        assert_eq!(caps.subgroup, (subgroups && even).then_some(first.subgroup.0));
    }
    let unknown = Gpu::open("no such card", options).unwrap_err();
    assert!(matches!(unknown, Error::Device(_)));
    assert!(unknown.to_string().contains(&first.name), "{unknown}");
    if adapters.iter().all(|adapter| adapter.kind == AdapterKind::Software) {
        let error = Gpu::open("gpu", options).unwrap_err().to_string();
        assert!(error.contains("`device` cpu"), "{error}");
    }
}

#[test]
fn a_device_is_found_again_by_its_name() {
    let device = Device::Gpu(gpu_or_return!());
    assert_eq!(Device::open_again(&device.name(), true).unwrap().name(), device.name());
    assert!(!device.is_cpu() && device.name().starts_with(&device.short_name()));
    assert!(device.used_memory().is_some());
}
