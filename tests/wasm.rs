//! Kernels as WebAssembly: every sample of every op, run by an interpreter, against its formula.

use dcgan::device::{BufferKind, Readback, Script, ScriptStep};
use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::{Options, script};
use dcgan::shaders::{reflect, render};
use dcgan::tape::Tape;
use dcgan::tensor::Tensor;
use dcgan::web::wasm::compile;
use wasmi::{Engine, Instance, Linker, Memory, MemoryType, Module, Store, Val};

use super::{naive, support};

const SEED: u64 = 11;

/// What the kernels are rendered for.
fn caps() -> Caps {
    Caps { software: true, ..Caps::portable() }
}

/// Bytes between two buffers, which nothing may write.
const GUARD: usize = 64;

/// What those bytes and the buffers hold before a run: NaN, as floats.
const FILL: u8 = 0xff;

/// A script in WebAssembly's memory.
struct Machine {
    script: Script,
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    /// Where each buffer starts.
    starts: Vec<usize>,
    /// The function of each dispatch.
    functions: Vec<usize>,
    /// The guards' first bytes.
    guards: Vec<usize>,
}

impl Machine {
    fn new(script: Script) -> Self {
        let mut sources: Vec<String> = Vec::new();
        let mut functions = Vec::new();
        for step in &script.steps {
            if let ScriptStep::Dispatch { kernel, context, .. } = step {
                let source = render(kernel, context).unwrap();
                let known = sources.iter().position(|known| *known == source);
                functions.push(known.unwrap_or(sources.len()));
                if known.is_none() {
                    sources.push(source);
                }
            }
        }
        let module = compile(&sources).unwrap_or_else(|error| panic!("{error}: {sources:?}"));

        let (mut starts, mut guards) = (Vec::new(), Vec::new());
        let mut end = 0;
        for buffer in &script.buffers {
            if let BufferKind::Part { of, start } = buffer.kind {
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
        Self { script, store, instance, memory, starts, functions, guards }
    }

    /// Runs the script and returns its results. Each dispatch is split into `parts` calls.
    fn run(&mut self, feeds: &[(String, Tensor)], parts: u32) -> Vec<Vec<u8>> {
        assert_eq!(feeds.len(), self.script.feeds.len());
        for ((_, tensor), &buffer) in feeds.iter().zip(&self.script.feeds) {
            let start = self.starts[buffer];
            let bytes = tensor.bytes();
            self.memory.data_mut(&mut self.store)[start..start + bytes.len()]
                .copy_from_slice(bytes);
        }
        let mut functions = self.functions.iter();
        for step in &self.script.steps {
            match step {
                ScriptStep::Dispatch { kernel, context, bind, groups, .. } => {
                    let source = render(kernel, context).unwrap();
                    let bindings = reflect(kernel, &source, false).unwrap().bindings;
                    let mut args: Vec<u32> = Vec::new();
                    for binding in &bindings {
                        let buffer = bind.iter().find(|(name, _)| *name == binding.name).unwrap().1;
                        args.push(self.starts[buffer] as u32);
                    }
                    args.extend(groups);
                    let name = format!("k{}", functions.next().unwrap());
                    let function = self.instance.get_func(&self.store, &name).unwrap();
                    let count: u32 = groups.iter().product();
                    for part in 0..parts {
                        let [first, end] = [part, part + 1].map(|part| count * part / parts);
                        let args = args.iter().chain(&[first, end]);
                        let args: Vec<Val> = args.map(|&arg| Val::I32(arg as i32)).collect();
                        function.call(&mut self.store, &args, &mut []).unwrap();
                    }
                }
                &ScriptStep::Copy { from, offset, to, bytes } => {
                    let from = self.starts[from] + offset as usize;
                    let to = self.starts[to];
                    let memory = self.memory.data_mut(&mut self.store);
                    memory.copy_within(from..from + bytes as usize, to);
                }
                ScriptStep::Exchange { .. } => panic!("exchanges are left out"),
            }
        }
        let memory = self.memory.data(&self.store);
        for &guard in &self.guards {
            let intact = memory[guard..guard + GUARD].iter().all(|&byte| byte == FILL);
            assert!(intact, "the bytes before buffers are overwritten");
        }
        let read = |read: &Readback| {
            let start = self.starts[read.buffer] + read.offset as usize;
            memory[start..start + read.bytes as usize].to_vec()
        };
        self.script.fetches.iter().map(read).collect()
    }
}

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
            let script = script(&tape, &caps(), &support::fusion(fuse)).unwrap();
            let got = Machine::new(script).run(&feeds, 1).remove(0);
            let got = bytemuck::pod_collect_to_vec::<u8, u32>(&got);
            let is_float = tape.node(y).dtype == dcgan::tensor::DType::F32;
            let wide = |bits: u32| {
                if is_float { f64::from(f32::from_bits(bits)) } else { f64::from(bits) }
            };
            let got: Vec<f64> = got.into_iter().map(wide).collect();
            let worst = sample.tolerance.worst(&got, &want);
            if worst > 1.0 {
                wrong.push(format!("{sample:?}, fuse {fuse}: {worst:.1} times the tolerance"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
