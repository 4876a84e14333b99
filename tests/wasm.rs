//! Kernels as WebAssembly, run by an interpreter: every sample of every op against its formula, every
//! kernel of a training step compiled, and what the language says of corner cases.

use std::collections::BTreeMap;

use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::portable::{Step, View};
use dcgan::program::{Packs, Portable, portable};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Tensor};
use dcgan::web::wasm::compile;
use wasmi::{Engine, Instance, Linker, Memory, MemoryType, Module, Store, Val};

use super::{kernels, naive, support};

mod language;

const SEED: u64 = 11;

/// Bytes between two buffers, which nothing may write.
const GUARD: usize = 64;

/// What those bytes and the buffers hold before a run: NaN, as floats.
const FILL: u8 = 0xff;

/// A program in WebAssembly's memory.
struct Machine {
    program: Portable,
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    /// Where each buffer starts.
    starts: Vec<usize>,
    /// The guards' first bytes.
    guards: Vec<usize>,
}

impl Machine {
    fn new(program: Portable) -> Self {
        let module = compile(&program.kernels).unwrap();
        let (mut starts, mut guards) = (Vec::new(), Vec::new());
        let mut end = 0;
        for buffer in &program.buffers {
            if let Some((of, start)) = buffer.part {
                starts.push(starts[of] + start as usize);
                continue;
            }
            guards.push(end);
            end += GUARD;
            starts.push(end);
            end += buffer.bytes as usize;
        }
        guards.push(end);
        end += GUARD;

        let engine = Engine::default();
        let module = Module::new(&engine, &module).unwrap();
        let mut store = Store::new(&engine, ());
        let pages = end.div_ceil(1 << 16) as u32;
        let memory = Memory::new(&mut store, MemoryType::new(pages, None)).unwrap();
        memory.data_mut(&mut store).fill(FILL);
        let mut linker = Linker::new(&engine);
        linker.define("env", "memory", memory).unwrap();
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        Self { program, store, instance, memory, starts, guards }
    }

    /// Runs the program and returns its results. Each dispatch is split into `parts` calls.
    fn run(&mut self, feeds: &[(String, Tensor)], parts: u32) -> BTreeMap<String, Vec<f64>> {
        for (name, tensor) in feeds {
            let View { buffer, start, .. } = self.program.feeds[name];
            let start = self.starts[buffer] + start as usize;
            let bytes = tensor.bytes();
            self.memory.data_mut(&mut self.store)[start..start + bytes.len()]
                .copy_from_slice(bytes);
        }
        for step in &self.program.steps {
            match step {
                Step::Dispatch { kernel, bind, groups } => {
                    let function = self.instance.get_func(&self.store, &format!("k{kernel}"));
                    let count: u32 = groups.iter().product();
                    for part in 0..parts {
                        let range = [part, part + 1].map(|part| count * part / parts);
                        let starts = bind.iter().map(|&buffer| self.starts[buffer] as u32);
                        let args = starts.chain(*groups).chain(range);
                        let args: Vec<Val> = args.map(|arg| Val::I32(arg as i32)).collect();
                        function.unwrap().call(&mut self.store, &args, &mut []).unwrap();
                    }
                }
                &Step::Copy { copy: (from, offset, to, bytes) } => {
                    let from = self.starts[from] + offset as usize;
                    let memory = self.memory.data_mut(&mut self.store);
                    memory.copy_within(from..from + bytes as usize, self.starts[to]);
                }
            }
        }
        let memory = self.memory.data(&self.store);
        for &guard in &self.guards {
            let intact = memory[guard..guard + GUARD].iter().all(|&byte| byte == FILL);
            assert!(intact, "bytes outside of all buffers are overwritten");
        }
        let fetches = self.program.fetches.iter().map(|(name, view)| {
            let start = self.starts[view.buffer] + view.start as usize;
            let len = view.shape.iter().product::<usize>();
            let bits = bytemuck::pod_collect_to_vec(&memory[start..start + 4 * len]);
            let wide = |bits: u32| match view.dtype {
                DType::F32 => f64::from(f32::from_bits(bits)),
                DType::U32 => f64::from(bits),
                DType::U8 => unreachable!("kernels write no bytes"),
            };
            (name.clone(), bits.into_iter().map(wide).collect())
        });
        fetches.collect()
    }
}

/// Whether it has an op that no kernel computes.
fn exchanges(tape: &Tape) -> bool {
    tape.nodes().iter().any(|node| node.op.is_exchange())
}

#[test]
fn every_op_agrees_with_its_formula_as_webassembly() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let (tape, _, y) = sample.tape().unwrap();
        if exchanges(&tape) {
            continue;
        }
        let feeds = sample.feeds(SEED);
        let want = naive::eval(&tape, &support::sources(&feeds), &[y]).remove(0);
        for fuse in [true, false] {
            let caps = Caps { software: true, ..Caps::portable() };
            let options = support::fusion(fuse);
            let program = portable(&tape, &caps, &options, &mut Packs::default()).unwrap();
            // At once, and as several threads would share it.
            let got = &Machine::new(program).run(&feeds, if fuse { 1 } else { 3 })["y"];
            let worst = sample.tolerance.worst(got, &want);
            if worst > 1.0 {
                wrong.push(format!("{sample:?}, fuse {fuse}: {worst:.1} times the tolerance"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_kernel_without_workgroup_memory_is_valid_webassembly() {
    let kernels = kernels::all().iter().filter(|kernel| {
        let has = [kernel.has_f16(), kernel.has_subgroups(), kernel.has_immediates()];
        !has.contains(&true) && !kernel.source.contains("var<workgroup>")
    });
    let kernels: Vec<_> = kernels.collect();
    assert!(kernels.len() > 1000, "{}", kernels.len());
    let engine = Engine::default();
    for chunk in kernels.chunks(100) {
        let sources: Vec<&str> = chunk.iter().map(|kernel| kernel.source.as_str()).collect();
        let module = compile(&sources).unwrap_or_else(|error| {
            let names: Vec<&str> = chunk.iter().map(|kernel| kernel.name.as_str()).collect();
            panic!("{error} of {names:?}")
        });
        Module::validate(&engine, &module).unwrap();
    }
}

#[test]
fn what_cannot_be_compiled_is_an_error_that_names_it() {
    let with = |features: fn(&kernels::Kernel) -> bool| {
        &kernels::all().iter().find(|kernel| features(kernel)).unwrap().source
    };
    let cases = [
        (with(kernels::Kernel::has_f16), "k0"),
        (with(kernels::Kernel::has_immediates), "var<immediate>"),
        (with(|kernel| kernel.source.contains("var<workgroup>")), "WorkGroup"),
        (&"not WGSL".to_owned(), "k0"),
    ];
    for (source, named) in cases {
        let error = compile(&[source]).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("k0"), "{error}");
    }
}
