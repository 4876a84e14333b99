//! Compiles a plan to a script of dispatches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use minijinja::context;

use crate::device::{BufferKind, BufferSpec, Readback, Script, ScriptStep};
use crate::error::Result;
use crate::ops::{Arg, Caps, Class, Sizes, fold_groups};
use crate::shaders;
use crate::tensor::DType;

use super::access::Access;
use super::plan::{Fused, Load, Operand, Place, Plan, Step};

/// The origin of a dispatch.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The shape of its op's result; of fused ops, the number of elements.
    pub(super) shape: String,
    /// The op's variant, if there is a choice.
    pub(super) variant: String,
}

/// The origins of the dispatches of a plan's [`script`], in the same order.
pub(super) fn origins(plan: &Plan) -> Vec<Origin> {
    let mut origins = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Fused(fused) => {
                origins.push(Origin { shape: fused.len.to_string(), variant: String::new() });
            }
            Step::Copy { .. } => {}
            Step::Kernel { site, variant, lowered, .. } => {
                let origin =
                    Origin { shape: format!("{:?}", site.shape), variant: variant.clone() };
                origins.extend(lowered.dispatches.iter().map(|_| origin.clone()));
            }
        }
    }
    origins
}

/// The script of a plan.
pub(super) fn script(plan: &Plan, caps: &Caps) -> Result<Script> {
    let mut script = Script {
        buffers: plan.buffers.clone(),
        steps: Vec::new(),
        feeds: plan.feeds.iter().map(|f| f.3).collect(),
        fetches: Vec::new(),
    };
    let mut parts = Parts::default();
    for step in &plan.steps {
        match step {
            Step::Fused(fused) => script.steps.push(elementwise(fused, caps)?),
            Step::Copy { from, to } => script.steps.push(ScriptStep::Copy {
                from: from.buffer,
                offset: from.start(),
                to: parts.buffer(to, &mut script.buffers),
                bytes: (from.len * from.size()).next_multiple_of(4) as u64,
            }),
            Step::Kernel { op, inputs, output, .. } if op.is_copy() && inputs.len() == 1 => {
                script.steps.push(ScriptStep::Copy {
                    from: inputs[0].buffer,
                    offset: inputs[0].start(),
                    to: parts.buffer(output, &mut script.buffers),
                    bytes: 4 * output.len as u64,
                });
            }
            Step::Kernel { op, inputs, output, scratch, .. } if op.is_exchange() => {
                let read = |place: &Place| Readback {
                    buffer: place.buffer,
                    offset: place.start(),
                    bytes: 4 * place.len as u64,
                };
                script.steps.push(ScriptStep::Exchange {
                    op: Arc::clone(op),
                    from: inputs.iter().map(read).collect(),
                    packed: scratch[0],
                    to: parts.buffer(output, &mut script.buffers),
                    outputs: output.len,
                });
            }
            Step::Kernel { op, inputs, output, lowered, scratch, .. } => {
                let mut bound = |place: &Place| {
                    (parts.buffer(place, &mut script.buffers), place.bytes(), place.wgsl())
                };
                let output = bound(output);
                let inputs: Vec<_> = inputs.iter().map(bound).collect();
                for dispatch in &lowered.dispatches {
                    let place = |arg: Arg| match arg {
                        Arg::Input(i) => inputs[i],
                        Arg::Output => output,
                        Arg::Scratch(i) => (scratch[i], lowered.scratch[i], "f32"),
                    };
                    script.steps.push(ScriptStep::Dispatch {
                        kernel: dispatch.kernel,
                        context: dispatch.typed(|arg| place(arg).2),
                        bind: dispatch.bind.iter().map(|&(n, a)| (n.into(), place(a).0)).collect(),
                        groups: dispatch.groups,
                        flops: dispatch.flops,
                        bytes: dispatch.bind.iter().map(|&(_, a)| place(a).1).sum(),
                        label: op.name().into(),
                    });
                }
            }
        }
    }
    script.fetches = plan
        .fetches
        .iter()
        .map(|f| {
            let bytes = (f.place.len * f.place.size()) as u64;
            Readback { buffer: f.place.buffer, offset: f.place.start(), bytes }
        })
        .collect();
    Ok(script)
}

/// The parts of a script's buffers that some of its steps bind as buffers, by buffer and place.
#[derive(Debug, Default)]
struct Parts(HashMap<(usize, usize, usize), usize>);

impl Parts {
    /// The buffer that a step binds for `place`.
    fn buffer(&mut self, place: &Place, buffers: &mut Vec<BufferSpec>) -> usize {
        if place.offset == 0 {
            return place.buffer;
        }
        *self.0.entry((place.buffer, place.offset, place.len)).or_insert_with(|| {
            let kind = BufferKind::Part { of: place.buffer, start: place.start() };
            let label = buffers[place.buffer].label.clone();
            buffers.push(BufferSpec { bytes: place.bytes(), kind, label });
            buffers.len() - 1
        })
    }
}

/// A binding of a fused kernel: its buffer, whether it is written, and its type.
struct Binding {
    buffer: usize,
    written: bool,
    /// Whether it is bound as vectors of four.
    vectors: bool,
    /// The type of its values.
    wgsl: &'static str,
}

/// Whether a load can take whole vectors.
fn by_vectors(load: &Load) -> bool {
    let aligned = load.place.offset.is_multiple_of(4);
    match load.access {
        Access::Full => aligned && load.place.dtype == DType::F32,
        Access::Cyclic(period) => aligned && period.is_multiple_of(4),
        Access::Scalar | Access::Strided(_) => false,
    }
}

fn bindings(fused: &Fused) -> Vec<Binding> {
    let mut bindings: Vec<Binding> = Vec::new();
    for load in &fused.loads {
        let wgsl = if load.place.dtype == DType::U8 { "u32" } else { load.place.wgsl() };
        let (buffer, vectors) = (load.place.buffer, by_vectors(load));
        match bindings.iter_mut().find(|b| b.buffer == buffer) {
            // Vectors serve both: a single value is a component of one.
            Some(binding) => binding.vectors |= vectors,
            None => bindings.push(Binding { buffer, written: false, vectors, wgsl }),
        }
    }
    for &(_, place) in &fused.stores {
        let (buffer, wgsl) = (place.buffer, place.wgsl());
        match bindings.iter_mut().find(|b| b.buffer == buffer) {
            Some(binding) => (binding.written, binding.vectors) = (true, true),
            None => bindings.push(Binding { buffer, written: true, vectors: true, wgsl }),
        }
    }
    bindings
}

/// WGSL of the element at `index` of binding `b`, in 32 bits.
fn element(b: usize, binding: &Binding, index: &str) -> String {
    match binding.vectors {
        true => format!("f32(b{b}[({index}) / 4u][({index}) % 4u])"),
        false => format!("f32(b{b}[{index}])"),
    }
}

/// WGSL of the four values of a load that belong to output vector `i`, and the functions it calls.
fn load_expr(
    l: usize,
    load: &Load,
    b: usize,
    binding: &Binding,
    len: usize,
    sizes: &mut Sizes,
    functions: &mut Vec<String>,
) -> String {
    let offset = load.place.offset;
    if load.place.dtype == DType::U8 {
        return match load.access {
            Access::Full => format!("vec4<f32>(unpack4xU8(b{b}[i]))"),
            _ => unreachable!("bytes are images, which are not broadcast"),
        };
    }
    let four = |index: &dyn Fn(usize) -> String| {
        let parts: Vec<String> = (0..4).map(|k| element(b, binding, &index(k))).collect();
        format!("vec4<f32>({})", parts.join(", "))
    };
    // The last vector may extend beyond the output: its places still have to be in the input.
    let place = |k: usize| format!("min(4u * i + {k}u, {}u)", len - 1);
    match &load.access {
        Access::Full if by_vectors(load) => match offset {
            0 => format!("vec4<f32>(b{b}[i])"),
            _ => {
                let offset = sizes.number(&format!("offset{l}"), offset / 4);
                format!("vec4<f32>(b{b}[i + {offset}])")
            }
        },
        Access::Full => four(&|k| format!("{offset}u + {}", place(k))),
        Access::Scalar => {
            format!("vec4<f32>({})", element(b, binding, &format!("{offset}u")))
        }
        Access::Cyclic(period) if by_vectors(load) => {
            format!("vec4<f32>(b{b}[i % {}u + {}u])", period / 4, offset / 4)
        }
        Access::Cyclic(period) => four(&|k| format!("{offset}u + {} % {period}u", place(k))),
        Access::Strided(axes) => {
            let mut body = String::new();
            for (size, stride) in axes.iter().rev() {
                body +=
                    &format!("    at += rest % {size}u * {stride}u;\n    rest = rest / {size}u;\n");
            }
            functions.push(format!(
                "fn place{l}(i: u32) -> u32 {{\n    var rest = i;\n    var at = {offset}u;\n{body}    \
                 return at;\n}}\n"
            ));
            four(&|k| format!("place{l}({})", place(k)))
        }
    }
}

/// The dispatch of a fused kernel.
fn elementwise(fused: &Fused, caps: &Caps) -> Result<ScriptStep> {
    let bindings = bindings(fused);
    let at = |buffer: usize| {
        bindings.iter().position(|b| b.buffer == buffer).expect("every buffer was given a binding")
    };
    let len4 = fused.len.div_ceil(4);
    let mut sizes = Sizes::new(caps);
    let length = sizes.number("length", len4);
    let mut functions = Vec::new();
    let loads: Vec<String> = fused
        .loads
        .iter()
        .enumerate()
        .map(|(l, load)| {
            let b = at(load.place.buffer);
            load_expr(l, load, b, &bindings[b], fused.len, &mut sizes, &mut functions)
        })
        .collect();
    let mut calls = Vec::new();
    let mut names = BTreeSet::new();
    for (c, (op, operands)) in fused.calls.iter().enumerate() {
        let Class::Elementwise(elementwise) = op.class() else {
            unreachable!("only elementwise ops are fused")
        };
        names.insert(op.name());
        // With an underscore: the library has functions such as `sigmoid4`.
        let apply = format!("{}_{c}", op.name());
        let mut variables = BTreeMap::from([("apply", minijinja::Value::from(apply.clone()))]);
        for (name, value) in elementwise.constants() {
            variables.insert(name, value.into());
        }
        functions.push(shaders::render(op.name(), &variables.into())?);
        let operands: Vec<String> = operands
            .iter()
            .map(|o| match o {
                Operand::Load(l) => format!("x{l}"),
                Operand::Call(c) => format!("y{c}"),
            })
            .collect();
        calls.push(format!("{apply}({})", operands.join(", ")));
    }
    let stores: Vec<_> = fused
        .stores
        .iter()
        .enumerate()
        .map(|(s, (call, place))| {
            // Stored values start at whole vectors: they have their own buffer or part.
            let offset = match place.offset / 4 {
                0 => String::new(),
                offset => format!(" + {}", sizes.number(&format!("to{s}"), offset)),
            };
            context! { binding => at(place.buffer), call, offset, of => place.wgsl() }
        })
        .collect();
    let declared: Vec<_> = bindings
        .iter()
        .map(|b| {
            let access = if b.written { "read_write" } else { "read" };
            let element = if b.vectors { format!("vec4<{}>", b.wgsl) } else { b.wgsl.to_owned() };
            context! { access, type => element }
        })
        .collect();
    let of: BTreeMap<String, &str> =
        bindings.iter().enumerate().map(|(i, b)| (format!("b{i}"), b.wgsl)).collect();
    Ok(ScriptStep::Dispatch {
        kernel: "elementwise",
        context: sizes.with(context! {
            of, length, bindings => declared, loads, calls, stores, functions,
        }),
        bind: bindings.iter().enumerate().map(|(i, b)| (format!("b{i}"), b.buffer)).collect(),
        groups: fold_groups(len4.div_ceil(64), caps),
        flops: (fused.len * fused.calls.len()) as u64,
        bytes: bytes(fused),
        label: names.into_iter().collect::<Vec<_>>().join("+"),
    })
}

/// Bytes that a fused kernel moves.
fn bytes(fused: &Fused) -> u64 {
    let loads = fused.loads.iter().map(|load| load.place.bytes());
    loads.chain(fused.stores.iter().map(|(_, place)| place.bytes())).sum()
}
