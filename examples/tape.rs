//! The smallest use of the tape: record `y = Σ (a x + b)²` once, differentiate it on the same tape,
//! compile it, and run it with several inputs.
//!
//! `cargo run --release --example tape`

use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::program::{Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Tensor};

fn main() -> Result<()> {
    let mut t = Tape::new();
    let x = t.feed("x", &[3], DType::F32)?;
    let line = t.affine(x, 2.0, 1.0)?; // 2 x + 1
    let square = t.mul(line, line)?;
    let y = t.sum_all(square)?;
    let gradient = t.grad(y, &[x])?[0]; // 4 (2 x + 1), as more nodes of this tape
    t.fetch("y", y)?;
    t.fetch("dy/dx", gradient)?;

    let mut state = State::new(&Device::open(None, false)?);
    let mut program = Program::compile(&t, &state, &Options::default())?;
    for start in [0.0, 1.0, 2.0] {
        let x = Tensor::new([3], vec![start, start + 0.1, start + 0.2])?;
        let out = program.call(&mut state, &[("x", &x)])?;
        println!("x {:?}: y {:?}, dy/dx {:?}", x.f32s(), out["y"].f32s(), out["dy/dx"].f32s());
    }
    Ok(())
}
