//! Random tapes: elementwise ops, sums, products, views, states read and assigned in any order.
//! Each runs fused and unfused, several steps, and is held against the interpreter in 64 bits.

use std::fmt::Write;

use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::ops::samples::{Input, Kind, Tolerance};
use dcgan::program::Program;
use dcgan::rng::Stream;
use dcgan::tape::{Tape, Var};
use dcgan::tensor::{DType, Tensor};

use super::{naive, support};

/// As many tapes; each is another.
const SEEDS: u64 = 400;

const NEAR: Tolerance = Tolerance::new(1e-4, 1e-4);

/// A tape while it grows.
struct Grower {
    tape: Tape,
    dice: Stream,
    values: Vec<Var>,
    /// Names and shapes.
    feeds: Vec<(String, Vec<usize>)>,
    states: Vec<(String, Vec<usize>)>,
}

impl Grower {
    fn new(seed: u64) -> Self {
        let dice = Stream::new(seed, "random tapes", 0);
        let mut grower = Self {
            tape: Tape::new(),
            dice,
            values: Vec::new(),
            feeds: Vec::new(),
            states: Vec::new(),
        };
        // Larger than a block of the CPU's fused kernels, and larger than one task's.
        let large = if seed.is_multiple_of(8) { [2, 2600] } else { [3, 8] };
        let shapes: [&[usize]; 7] = [&[4, 6], &[24], &[6], &[1], &[4, 1], &[2, 3, 4], &large];
        for (i, shape) in shapes.iter().enumerate() {
            if grower.roll(2) == 0 {
                let name = format!("f{i}");
                let var = grower.tape.feed(&name, shape, DType::F32).unwrap();
                grower.feeds.push((name, shape.to_vec()));
                grower.values.push(var);
            } else {
                let name = format!("s{i}");
                let var = grower.tape.read(&name, shape, DType::F32).unwrap();
                grower.states.push((name, shape.to_vec()));
                grower.values.push(var);
            }
        }
        // A second state of the same shape, to swap with.
        for name in ["t0", "t1"] {
            grower.values.push(grower.tape.read(name, &[4, 6], DType::F32).unwrap());
            grower.states.push((name.into(), vec![4, 6]));
        }
        let nodes = 4 + grower.roll(28);
        for _ in 0..nodes {
            if let Some(value) = grower.step().unwrap() {
                grower.values.push(value);
            }
        }
        for _ in 0..grower.roll(4) {
            grower.assign().unwrap();
        }
        for i in 0..=grower.roll(4) {
            let value = grower.pick();
            grower.tape.fetch(&format!("y{i}"), value).unwrap();
        }
        grower
    }

    fn roll(&mut self, sides: u32) -> usize {
        self.dice.below(sides) as usize
    }

    fn number(&mut self) -> f32 {
        self.roll(17) as f32 / 8.0 - 1.0
    }

    /// A value, more likely a new one.
    fn pick(&mut self) -> Var {
        let n = self.values.len();
        let from = if self.roll(2) == 0 { n.saturating_sub(4) } else { 0 };
        let at = from + self.roll((n - from) as u32);
        self.values[at]
    }

    fn len(&self, value: Var) -> usize {
        self.tape.shape(value).iter().product()
    }

    /// A random op on random values; none where they do not fit.
    fn step(&mut self) -> Result<Option<Var>> {
        let (x, other) = (self.pick(), self.pick());
        let shape = self.tape.shape(x).to_vec();
        let len = self.len(x);
        let choice = self.roll(16);
        let (a, b) = (self.number(), self.number());
        let t = &mut self.tape;
        let value = match choice {
            0 | 1 => t.affine(x, a, b)?,
            2 => t.tanh(x)?,
            3 => t.sigmoid(x)?,
            4 => t.leaky_relu(x, 0.2)?,
            5..=8 => {
                let other = if choice == 7 { t.tanh(other)? } else { other };
                let made = match choice {
                    5 => t.add(x, other),
                    6 => t.sub(x, other),
                    7 => t.mul(x, other),
                    _ => t.maximum(x, other),
                };
                match made {
                    Ok(made) => made,
                    Err(_) => return Ok(None),
                }
            }
            9 => {
                let axes: Vec<usize> =
                    (0..shape.len()).filter(|_| self.dice.below(2) == 0).collect();
                t.mean(x, &axes)?
            }
            10 => {
                let rows = [1, 2, 3, 4][self.dice.below(4) as usize];
                if !len.is_multiple_of(rows) {
                    return Ok(None);
                }
                t.reshape(x, &[rows, len / rows])?
            }
            11 => {
                let start = self.dice.below(len as u32) as usize;
                let part = 1 + self.dice.below((len - start) as u32) as usize;
                t.range(x, start, part)?
            }
            12 if shape.len() == 2 => t.transpose(x)?,
            12 => t.reshape(x, &[len])?,
            13 => {
                // x xᵀ or xᵀ x, or with another value where that fits.
                if shape.len() != 2 || len > 100 {
                    return Ok(None);
                }
                let transposed = self.dice.below(2) == 0;
                let squeezed = t.tanh(x)?;
                let made = match t.matmul(x, other) {
                    Ok(made) => made,
                    Err(_) => t.matmul_t(x, squeezed, transposed, !transposed)?,
                };
                t.affine(made, 0.25, 0.0)?
            }
            14 if len <= 100 => {
                let mut whole = shape.clone();
                let mut start = shape.clone();
                for d in 0..shape.len() {
                    start[d] = self.dice.below(3) as usize;
                    whole[d] += start[d] + self.dice.below(2) as usize;
                }
                t.pad(x, &start, &whole)?
            }
            14 => return Ok(None),
            _ => {
                self.assign()?;
                let at = self.roll(self.states.len() as u32);
                let (name, shape) = self.states[at].clone();
                self.tape.read(&name, &shape, DType::F32)?
            }
        };
        Ok(Some(value).filter(|&v| self.len(v) <= 12_000))
    }

    /// Gives a state a value that fits it: a new one, or another state's or feed's as it is.
    fn assign(&mut self) -> Result<()> {
        let at = self.roll(self.states.len() as u32);
        let (name, shape) = self.states[at].clone();
        let len: usize = shape.iter().product();
        let fitting: Vec<Var> =
            self.values.iter().copied().filter(|&v| self.len(v) >= len).collect();
        let value = fitting[self.roll(fitting.len() as u32)];
        let value = if self.len(value) == len {
            value
        } else {
            let start = self.roll((self.len(value) - len) as u32 + 1);
            self.tape.range(value, start, len)?
        };
        let value = self.tape.reshape(value, &shape)?;
        // States must not grow from step to step.
        let value = if self.roll(2) == 0 { self.tape.tanh(value)? } else { value };
        self.tape.assign(&name, value)
    }

    fn listing(&self) -> String {
        let mut text = String::new();
        for (i, node) in self.tape.nodes().iter().enumerate() {
            let _ = writeln!(text, "  %{i} = {:?} {:?} -> {:?}", node.op, node.inputs, node.shape);
        }
        let _ = writeln!(
            text,
            "  states {:?}\n  fetches {:?}",
            self.tape.states(),
            self.tape.fetches()
        );
        text
    }
}

/// Random numbers for a feed or state.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    Input::new(shape, Kind::NORMAL).data(seed)
}

/// Runs the tape of `seed` for three steps on `device`; says what is wrong.
fn wrong(seed: u64, device: &Device) -> Option<String> {
    let grown = Grower::new(seed);
    let mut runs: Vec<(State, Program)> = [true, false]
        .iter()
        .map(|&fuse| {
            let mut state = State::new(device);
            for (i, (name, shape)) in grown.states.iter().enumerate() {
                state.set(name, &numbers(shape, 1000 * seed + i as u64)).unwrap();
            }
            let program = Program::compile(&grown.tape, &state, &support::fusion(fuse)).unwrap();
            (state, program)
        })
        .collect();
    for step in 0..3 {
        let feeds: Vec<(String, Tensor)> = grown
            .feeds
            .iter()
            .enumerate()
            .map(|(i, (name, shape))| {
                (name.clone(), numbers(shape, 77 * seed + 10 * step + i as u64))
            })
            .collect();
        let mut sources = support::sources(&feeds);
        for (name, _) in &grown.states {
            sources.insert(name.clone(), support::wide(&runs[0].0.get(name).unwrap()));
        }
        let (fetched, after) = naive::step(&grown.tape, &sources);
        let named: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let mut results = Vec::new();
        for (state, program) in &mut runs {
            let mut all = program.call(state, &named).unwrap();
            for (name, _) in &grown.states {
                all.insert(name.clone(), state.get(name).unwrap());
            }
            results.push(all);
        }
        // States that the tape only reads stay what they were.
        let want = sources.into_iter().filter(|(name, _)| !name.starts_with('f'));
        let mut want: naive::Sources = want.collect();
        want.extend(after);
        want.extend(fetched);
        for (name, want) in &want {
            let got = support::wide(&results[0][name]);
            // Of 1 at least: what cancels to zero in 64 bits leaves rounding errors in 32.
            let with_one = |numbers: &[f64]| [numbers, &[1.0]].concat();
            if NEAR.worst(&with_one(&got), &with_one(want)) > 1.0 {
                let listing = grown.listing();
                return Some(format!(
                    "seed {seed}, step {step}, {name}: {got:?}, not {want:?}\n{listing}"
                ));
            }
            let exact = matches!(device, Device::Cpu);
            if exact && results[0][name].bytes() != results[1][name].bytes() {
                return Some(format!("seed {seed}, step {step}: fusion changes {name}"));
            }
        }
    }
    None
}

#[test]
fn random_programs_compute_what_their_tapes_say() {
    for device in support::devices() {
        // A GPU compiles kernels for every tape, which takes longer than running them.
        let seeds = if matches!(device, Device::Cpu) { SEEDS } else { SEEDS / 10 };
        let failures: Vec<String> = (0..seeds).filter_map(|seed| wrong(seed, &device)).collect();
        let first = failures.first().map_or("", String::as_str);
        assert!(failures.is_empty(), "{} of {seeds} wrong; the first:\n{first}", failures.len());
    }
}

#[test]
fn random_tapes_reach_every_corner() {
    // Otherwise the test above shows less than it seems to.
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    let (mut states, mut old_fetched) = (0, 0);
    for seed in 0..SEEDS {
        let tape = Grower::new(seed).tape;
        for node in tape.nodes() {
            *seen.entry(node.op.name()).or_default() += 1;
        }
        let assigned: Vec<_> = tape.states().values().filter(|s| s.before != s.after).collect();
        states += assigned.len();
        old_fetched +=
            assigned.iter().filter(|s| tape.fetches().values().any(|&v| v == s.before)).count();
    }
    for op in ["add", "mul", "sum", "reshape", "range", "permute", "pad", "matmul", "maximum"] {
        assert!(seen[op] > 100, "{op}: {seen:?}");
    }
    assert!(states > 500 && old_fetched > 20, "{states} assigned, {old_fetched} old ones fetched");
}
