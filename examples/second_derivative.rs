//! A gradient of a gradient: the penalty of WGAN-GP (Gulrajani et al., arXiv 1704.00028) on a small
//! critic, `(‖∂f/∂x‖ − 1)²`, and its gradient with respect to the critic's weights. It needs no
//! special support: the first gradient is recorded on the same tape.
//!
//! `cargo run --release --example second_derivative`

use dcgan::device::{Device, State};
use dcgan::error::Result;
use dcgan::ops::conv::ConvSpec;
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Tensor};

fn normal(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut numbers = vec![0.0; shape.iter().product()];
    Stream::new(0, name, 0).fill_normal(&mut numbers);
    Tensor::new(shape, numbers)
}

fn main() -> Result<()> {
    let spec = ConvSpec::down([8, 8], [4, 4], [2, 2], [1, 1]).expect("4x4 kernels halve 8x8");
    let whole = ConvSpec::down([4, 4], [4, 4], [1, 1], [0, 0]).expect("4x4 kernels cover 4x4");
    let (w1, w2) = ([4, 4, 1, 3], [4, 4, 3, 1]);

    let mut t = Tape::new();
    let x = t.feed("x", &[2, 8, 8, 1], DType::F32)?;
    let weights = [t.read("w1", &w1, DType::F32)?, t.read("w2", &w2, DType::F32)?];
    let hidden = t.conv2d(x, weights[0], spec)?;
    let hidden = t.leaky_relu(hidden, 0.2)?;
    let score = t.conv2d(hidden, weights[1], whole)?;
    let score = t.sum_all(score)?;

    let slope = t.grad(score, &[x])?[0]; // [2, 8, 8, 1]
    let square = t.mul(slope, slope)?;
    let square = t.sum(square, &[1, 2, 3])?;
    let norm = t.sqrt(square)?;
    let excess = t.affine(norm, 1.0, -1.0)?;
    let penalty = t.mul(excess, excess)?;
    let penalty = t.mean_all(penalty)?;
    let second = t.grad(penalty, &weights)?;
    t.fetch("norm", norm)?;
    t.fetch("penalty", penalty)?;
    t.fetch("dpenalty/dw2", second[1])?;

    let mut state = State::new(&Device::open(None, false)?);
    state.set("w1", &normal("w1", &w1)?)?;
    state.set("w2", &normal("w2", &w2)?)?;
    let mut program = Program::compile(&t, &state, &Options::default())?;
    let out = program.call(&mut state, &[("x", &normal("x", &[2, 8, 8, 1])?)])?;
    println!("gradient norms {:?}", out["norm"].f32s());
    println!("penalty {:?}", out["penalty"].f32s());
    println!("its gradient, first of 48 values: {:?}", &out["dpenalty/dw2"].f32s()[..4]);
    Ok(())
}
