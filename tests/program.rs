//! Programs: fusion, the memory plan, states, feeds and fetches; and random tapes, which find what
//! nobody thought of.

use dcgan::device::{Device, State};
use dcgan::error::Error;
use dcgan::program::{Program, preflight};
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Data, Tensor};

use super::support::{self, fusion};

fn vector(values: &[f32]) -> Tensor {
    Tensor::new([values.len()], values.to_vec()).unwrap()
}

/// A state on the CPU of these vectors.
fn state(values: &[(&str, &[f32])]) -> State {
    let mut state = State::new(&Device::Cpu);
    for (name, values) in values {
        state.set(name, &vector(values)).unwrap();
    }
    state
}

/// What the steps of a program compute, in order.
fn steps(tape: &Tape, state: &mut State, feeds: &[(&str, &Tensor)], fuse: bool) -> Vec<String> {
    let mut program = Program::compile(tape, state, &fusion(fuse)).unwrap();
    let times = program.profile(state, feeds, 1).unwrap();
    times.into_iter().map(|t| t.label).collect()
}

#[test]
fn a_chain_of_elementwise_ops_is_one_step() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[7], DType::F32).unwrap();
    let mut y = tape.affine(x, 2.0, 1.0).unwrap();
    y = tape.tanh(y).unwrap();
    y = tape.mul(y, x).unwrap();
    y = tape.abs(y).unwrap();
    y = tape.add(y, x).unwrap();
    tape.fetch("y", y).unwrap();
    let x = vector(&[0.5; 7]);
    let mut state = State::new(&Device::Cpu);
    assert_eq!(steps(&tape, &mut state, &[("x", &x)], true), ["affine+tanh+mul+abs+add"]);
    assert_eq!(steps(&tape, &mut state, &[("x", &x)], false).len(), 5);
    // Nothing but the result ever reaches memory.
    let report = preflight(&tape, &Device::Cpu, &fusion(true)).unwrap();
    assert_eq!((report.slot_count, report.slots, report.feeds), (1, 32, 32));
}

#[test]
fn dead_nodes_do_not_run() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[8], DType::F32).unwrap();
    let dead = tape.exp(x).unwrap();
    tape.sum_all(dead).unwrap();
    let y = tape.abs(x).unwrap();
    tape.fetch("y", y).unwrap();
    let steps = steps(&tape, &mut State::new(&Device::Cpu), &[("x", &vector(&[1.0; 8]))], true);
    assert_eq!(steps, ["abs"]);
}

#[test]
fn fusion_makes_no_circles() {
    // w needs z, which needs all of y: y and w cannot be one kernel.
    let mut tape = Tape::new();
    let x = tape.feed("x", &[2000], DType::F32).unwrap();
    let y = tape.affine(x, 2.0, 0.0).unwrap();
    let z = tape.sum_all(y).unwrap();
    let w = tape.mul(y, z).unwrap();
    tape.fetch("w", w).unwrap();
    let x = Tensor::full([2000], 0.25);
    let feeds = [("x", &x)];
    let mut state = State::new(&Device::Cpu);
    assert_eq!(steps(&tape, &mut state, &feeds, true), ["affine", "sum", "mul"]);
    let got = support::run(&tape, &Device::Cpu, &fusion(true), &[("x".into(), x.clone())]);
    assert_eq!(got["w"].f32s(), [500.0; 2000]);
}

#[test]
fn what_reads_its_neighbors_is_not_fused_with_them() {
    // A range, a broadcast and a transpose of a value need all of it first.
    let mut tape = Tape::new();
    let x = tape.feed("x", &[2, 2], DType::F32).unwrap();
    let y = tape.affine(x, 1.0, 1.0).unwrap();
    let head = tape.range(y, 1, 2).unwrap();
    let both = tape.add(y, head).unwrap();
    tape.fetch("both", both).unwrap();
    let x = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let got = support::run(&tape, &Device::Cpu, &fusion(true), &[("x".into(), x)]);
    // y = [2, 3, 4, 5], its elements 1 and 2 are added to both rows.
    assert_eq!(got["both"].f32s(), [5.0, 7.0, 7.0, 9.0]);
}

#[test]
fn a_long_chain_needs_two_slots() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[32, 32], DType::F32).unwrap();
    let mut y = x;
    for _ in 0..9 {
        y = tape.matmul(y, x).unwrap();
    }
    tape.fetch("y", y).unwrap();
    let report = preflight(&tape, &Device::Cpu, &fusion(true)).unwrap();
    assert_eq!((report.slot_count, report.slots), (2, 2 * 4096));
    assert_eq!(report.unshared, 10 * 4096);
    let mut limited = fusion(true);
    limited.memory_limit = Some(report.total() - 1);
    let state = State::new(&Device::Cpu);
    assert!(matches!(Program::compile(&tape, &state, &limited), Err(Error::Memory(_))));
    limited.memory_limit = Some(report.total());
    Program::compile(&tape, &state, &limited).unwrap();
}

#[test]
fn a_state_is_updated_in_place() {
    let mut tape = Tape::new();
    let w = tape.read("w", &[3], DType::F32).unwrap();
    let g = tape.feed("g", &[3], DType::F32).unwrap();
    let down = tape.affine(g, -0.5, 0.0).unwrap();
    let next = tape.add(w, down).unwrap();
    tape.assign("w", next).unwrap();
    let mut state = state(&[("w", &[1.0, 2.0, 3.0])]);
    let g = vector(&[2.0, 4.0, 6.0]);
    assert_eq!(steps(&tape, &mut state, &[("g", &g)], true).len(), 1);
    let report = preflight(&tape, &Device::Cpu, &fusion(true)).unwrap();
    assert_eq!(report.slot_count, 0);
    // `profile` has run it twice.
    assert_eq!(state.get("w").unwrap().f32s(), [-1.0, -2.0, -3.0]);
}

/// Runs a tape once, fused and unfused, which must agree; returns fetches and states by name.
fn once(record: fn(&mut Tape), values: &[(&str, &[f32])]) -> impl Fn(&str) -> Vec<f32> + use<> {
    let [fused, unfused] = [true, false].map(|fuse| {
        let mut tape = Tape::new();
        record(&mut tape);
        let mut state = state(values);
        let mut program = Program::compile(&tape, &state, &fusion(fuse)).unwrap();
        let mut all = program.call(&mut state, &[]).unwrap();
        for (name, _) in values {
            all.insert((*name).into(), state.get(name).unwrap());
        }
        all
    });
    assert_eq!(fused, unfused);
    move |name| fused[name].f32s().to_vec()
}

const A: &[f32] = &[1.0, 2.0, 3.0, 4.0];
const B: &[f32] = &[50.0, 60.0, 70.0, 80.0];

#[test]
fn two_states_swap() {
    let record: fn(&mut Tape) = |t| {
        let (a, b) = (t.read("a", &[4], DType::F32), t.read("b", &[4], DType::F32));
        let (a, b) = (a.unwrap(), b.unwrap());
        t.assign("a", b).unwrap();
        t.assign("b", a).unwrap();
    };
    let got = once(record, &[("a", A), ("b", B)]);
    assert_eq!((got("a"), got("b")), (B.to_vec(), A.to_vec()));
}

#[test]
fn two_states_swap_by_way_of_arithmetic() {
    let record: fn(&mut Tape) = |t| {
        let (a, b) = (t.read("a", &[4], DType::F32), t.read("b", &[4], DType::F32));
        let (a, b) = (a.unwrap(), b.unwrap());
        let (twice_a, twice_b) = (t.affine(a, 2.0, 0.0).unwrap(), t.affine(b, 2.0, 0.0).unwrap());
        t.assign("a", twice_b).unwrap();
        t.assign("b", twice_a).unwrap();
    };
    let got = once(record, &[("a", A), ("b", B)]);
    let twice = |v: &[f32]| v.iter().map(|x| 2.0 * x).collect::<Vec<f32>>();
    assert_eq!((got("a"), got("b")), (twice(B), twice(A)));
}

#[test]
fn a_read_after_an_assignment_gives_the_new_value() {
    let record: fn(&mut Tape) = |t| {
        let old = t.read("a", &[4], DType::F32).unwrap();
        let new = t.affine(old, 10.0, 0.0).unwrap();
        t.assign("a", new).unwrap();
        let read = t.read("a", &[4], DType::F32).unwrap();
        // The old value still exists: it is used after the new one is made.
        let sum = t.sum_all(read).unwrap();
        let both = t.add(sum, old).unwrap();
        t.fetch("both", both).unwrap();
    };
    let got = once(record, &[("a", A)]);
    assert_eq!(got("a"), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(got("both"), [101.0, 102.0, 103.0, 104.0]);
}

#[test]
fn the_old_value_of_a_state_can_be_fetched() {
    let record: fn(&mut Tape) = |t| {
        let old = t.read("a", &[4], DType::F32).unwrap();
        t.fetch("old", old).unwrap();
        let part = t.range(old, 1, 2).unwrap();
        t.fetch("part", part).unwrap();
        let new = t.affine(old, 10.0, 0.0).unwrap();
        t.assign("a", new).unwrap();
        t.fetch("new", new).unwrap();
    };
    let got = once(record, &[("a", A)]);
    assert_eq!((got("old"), got("part")), (A.to_vec(), vec![2.0, 3.0]));
    assert_eq!((got("a"), got("new")), (got("new"), vec![10.0, 20.0, 30.0, 40.0]));
}

#[test]
fn states_move_along_a_chain() {
    // a := a + 1, b := old a, c := old b.
    let record: fn(&mut Tape) = |t| {
        let a = t.read("a", &[4], DType::F32).unwrap();
        let b = t.read("b", &[4], DType::F32).unwrap();
        t.read("c", &[4], DType::F32).unwrap();
        t.fetch("old b", b).unwrap();
        t.assign("c", b).unwrap();
        t.assign("b", a).unwrap();
        let next = t.affine(a, 1.0, 1.0).unwrap();
        t.assign("a", next).unwrap();
    };
    let got = once(record, &[("a", A), ("b", B), ("c", &[0.0; 4])]);
    assert_eq!((got("a"), got("b"), got("c")), (vec![2.0, 3.0, 4.0, 5.0], A.to_vec(), B.to_vec()));
    assert_eq!(got("old b"), B);
}

#[test]
fn one_value_goes_to_two_states_and_a_fetch() {
    let record: fn(&mut Tape) = |t| {
        let a = t.read("a", &[4], DType::F32).unwrap();
        let b = t.read("b", &[4], DType::F32).unwrap();
        let sum = t.add(a, b).unwrap();
        t.assign("a", sum).unwrap();
        t.assign("b", sum).unwrap();
        t.fetch("sum", sum).unwrap();
    };
    let got = once(record, &[("a", A), ("b", B)]);
    let sum = vec![51.0, 62.0, 73.0, 84.0];
    assert_eq!((got("a"), got("b"), got("sum")), (sum.clone(), sum.clone(), sum));
}

#[test]
fn views_are_fetched_and_assigned() {
    let record: fn(&mut Tape) = |t| {
        let a = t.read("a", &[4], DType::F32).unwrap();
        let b = t.read("b", &[4], DType::F32).unwrap();
        t.read("half", &[2], DType::F32).unwrap();
        let sum = t.add(a, b).unwrap();
        let tail = t.range(sum, 2, 2).unwrap();
        t.assign("half", tail).unwrap();
        let square = t.reshape(sum, &[2, 2]).unwrap();
        let flat = t.reshape(square, &[4]).unwrap();
        t.assign("a", flat).unwrap();
        t.fetch("square", square).unwrap();
        let middle = t.range(square, 1, 2).unwrap();
        t.fetch("middle", middle).unwrap();
        // A view of a view of a state's old value, given to another state.
        let first = t.range(a, 1, 3).unwrap();
        let first = t.range(first, 1, 1).unwrap();
        t.read("one", &[1], DType::F32).unwrap();
        t.assign("one", first).unwrap();
    };
    let got = once(record, &[("a", A), ("b", B), ("half", &[0.0; 2]), ("one", &[0.0])]);
    assert_eq!((got("a"), got("half")), (vec![51.0, 62.0, 73.0, 84.0], vec![73.0, 84.0]));
    assert_eq!((got("square"), got("middle")), (got("a"), vec![62.0, 73.0]));
    assert_eq!(got("one"), [3.0]);
}

#[test]
fn a_state_is_read_element_by_element_and_otherwise_by_one_kernel() {
    // The new value of a needs a's last element at every place: not in place.
    let record: fn(&mut Tape) = |t| {
        let a = t.read("a", &[4], DType::F32).unwrap();
        let last = t.range(a, 3, 1).unwrap();
        let twice = t.affine(a, 2.0, 0.0).unwrap();
        let sum = t.add(twice, last).unwrap();
        t.assign("a", sum).unwrap();
    };
    assert_eq!(once(record, &[("a", A)])("a"), [6.0, 8.0, 10.0, 12.0]);
}

#[test]
fn a_key_advances() {
    let mut tape = Tape::new();
    let key = tape.read("key", &[4], DType::U32).unwrap();
    let z = tape.random_normal(key, "z", &[5]).unwrap();
    tape.fetch("z", z).unwrap();
    let next = tape.advance(key).unwrap();
    tape.assign("key", next).unwrap();
    let mut state = State::new(&Device::Cpu);
    let first = Tensor::with_data([4], Data::U32(vec![9, 8, u32::MAX, 0])).unwrap();
    state.set("key", &first).unwrap();
    let mut program = Program::compile(&tape, &state, &fusion(true)).unwrap();
    let a = program.call(&mut state, &[]).unwrap();
    assert_eq!(state.get("key").unwrap().u32s(), [9, 8, 0, 0]);
    let b = program.call(&mut state, &[]).unwrap();
    assert_eq!(state.get("key").unwrap().u32s(), [9, 8, 1, 0]);
    assert_ne!(a["z"], b["z"]);
    state.set("key", &first).unwrap();
    assert_eq!(program.call(&mut state, &[]).unwrap()["z"], a["z"]);
}

/// `y = 2 x + w`.
fn simple() -> Tape {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[2], DType::F32).unwrap();
    let w = tape.read("w", &[2], DType::F32).unwrap();
    let twice = tape.affine(x, 2.0, 0.0).unwrap();
    let y = tape.add(twice, w).unwrap();
    tape.fetch("y", y).unwrap();
    tape
}

#[test]
fn feeds_that_do_not_fit_are_named() {
    let mut state = state(&[("w", &[1.0, 1.0])]);
    let mut program = Program::compile(&simple(), &state, &fusion(true)).unwrap();
    let good = vector(&[1.0, 2.0]);
    let bytes = Tensor::with_data([2], Data::U8(vec![1, 2])).unwrap();
    let mut says =
        |feeds: &[(&str, &Tensor)]| program.run(&mut state, feeds).unwrap_err().to_string();
    assert_eq!(says(&[]), r#"tensor "x": is not fed"#);
    assert_eq!(says(&[("x", &good), ("z", &good)]), r#"tensor "z": is not a feed of this program"#);
    let short = says(&[("x", &vector(&[1.0]))]);
    assert!(short.contains("\"x\"") && short.contains("[1]") && short.contains("[2]"), "{short}");
    let typed = says(&[("x", &bytes)]);
    assert!(typed.contains("U8") && typed.contains("F32"), "{typed}");
    // A refused feed leaves the program as good as new.
    assert_eq!(program.call(&mut state, &[("x", &good)]).unwrap()["y"].f32s(), [3.0, 5.0]);
}

#[test]
fn states_that_do_not_fit_are_named() {
    let says =
        |state: &State| Program::compile(&simple(), state, &fusion(true)).unwrap_err().to_string();
    assert_eq!(says(&State::new(&Device::Cpu)), r#"tensor "w": is not in the state"#);
    let other = says(&state(&[("w", &[1.0; 3])]));
    assert!(other.contains("\"w\"") && other.contains("[3]") && other.contains("[2]"), "{other}");
    let mut tape = simple();
    let error = tape.read("w", &[3], DType::F32).unwrap_err().to_string();
    assert!(error.contains("\"w\""), "{error}");
    let wrong = tape.feed("long", &[3], DType::F32).unwrap();
    assert!(tape.assign("w", wrong).is_err());
    assert!(tape.feed("x", &[2], DType::F32).is_err());
}

#[test]
fn the_newest_four_results_are_kept() {
    let mut state = state(&[("w", &[0.0, 0.0])]);
    let mut program = Program::compile(&simple(), &state, &fusion(true)).unwrap();
    let tickets: Vec<_> = (0..6_u8)
        .map(|i| {
            let x = vector(&[f32::from(i), 0.0]);
            program.run(&mut state, &[("x", &x)]).unwrap()
        })
        .collect();
    for old in &tickets[..2] {
        assert!(matches!(program.take(*old), Err(Error::Lost(_))));
    }
    // In any order, and each once.
    for i in [4, 2, 5, 3_u8] {
        let got = program.take(tickets[usize::from(i)]).unwrap();
        assert_eq!(got["y"].f32s()[0], 2.0 * f32::from(i));
        assert!(matches!(program.take(tickets[usize::from(i)]), Err(Error::Lost(_))));
    }
}

#[test]
fn two_programs_share_a_state() {
    let mut up = Tape::new();
    let a = up.read("a", &[4], DType::F32).unwrap();
    let next = up.affine(a, 1.0, 1.0).unwrap();
    up.assign("a", next).unwrap();
    let mut read = Tape::new();
    let a = read.read("a", &[4], DType::F32).unwrap();
    read.fetch("a", a).unwrap();
    let mut state = state(&[("a", A)]);
    let mut up = Program::compile(&up, &state, &fusion(true)).unwrap();
    let mut read = Program::compile(&read, &state, &fusion(true)).unwrap();
    for i in 1..4_u8 {
        up.call(&mut state, &[]).unwrap();
        let got = read.call(&mut state, &[]).unwrap();
        let want: Vec<f32> = A.iter().map(|a| a + f32::from(i)).collect();
        assert_eq!(got["a"].f32s(), want);
    }
}

#[test]
fn the_same_op_on_the_same_inputs_is_recorded_once() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[2, 3], DType::F32).unwrap();
    let a: [Var; 2] = [0, 1].map(|_| tape.tanh(x).unwrap());
    assert_eq!(a[0], a[1]);
    assert_ne!(tape.affine(x, 0.0, 1.0).unwrap(), tape.affine(x, -0.0, 1.0).unwrap());
    assert_ne!(tape.leaky_relu(x, 0.1).unwrap(), tape.relu(x).unwrap());
}

#[test]
fn boxes_that_do_not_fit_are_refused() {
    let mut tape = Tape::new();
    let x = tape.feed("x", &[4, 5], DType::F32).unwrap();
    for (start, size) in [([0, 1], [4, 5]), ([1, 0], [4, 5]), ([3, 0], [2, 5]), ([0, 3], [2, 3])] {
        assert!(tape.slice(x, &start, &size).is_err(), "{size:?} at {start:?}");
    }
    for (start, whole) in [([0, 1], [4, 5]), ([1, 0], [4, 5]), ([0, 3], [9, 7]), ([0, 0], [3, 9])] {
        assert!(tape.pad(x, &start, &whole).is_err(), "into {whole:?} at {start:?}");
    }
    assert!(tape.slice(x, &[], &[2, 5]).is_err());
    assert!(tape.slice(x, &[0], &[4]).is_err());
    assert!(tape.range(x, 15, 6).is_err());
    assert!(tape.reshape(x, &[3, 7]).is_err());
    assert!(tape.permute(x, &[0, 0]).is_err());
    assert!(tape.concat(&[x], 2).is_err());
    assert!(tape.sum(x, &[2]).is_err());
}
