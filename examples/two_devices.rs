//! One kernel on both devices side by side: the transposed convolution that turns 64 channels of
//! 32×32 into RGB images of 64×64, with its time and the largest difference.
//!
//! `cargo run --release --example two_devices [DEVICE]`: DEVICE as listed by `dcgan devices`; by
//! default the fastest GPU.

use std::time::Instant;

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
    let spec = ConvSpec::up([32, 32], [64, 64], [4, 4], [2, 2], [1, 1]).expect("it doubles 32x32");
    let (y_shape, w_shape) = ([16, 32, 32, 64], [4, 4, 3, 64]);
    let mut t = Tape::new();
    let y = t.feed("y", &y_shape, DType::F32)?;
    let w = t.feed("w", &w_shape, DType::F32)?;
    let x = t.conv_transpose2d(y, w, spec)?;
    t.fetch("x", x)?;

    let (y, w) = (normal("y", &y_shape)?, normal("w", &w_shape)?);
    let mut results = Vec::new();
    let other = std::env::args().nth(1).unwrap_or_else(|| "gpu".into());
    for device in ["cpu", &other] {
        let device = match Device::open(Some(device), false) {
            Ok(device) => device,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        let mut state = State::new(&device);
        let mut program = Program::compile(&t, &state, &Options::default())?;
        let feeds = [("y", &y), ("w", &w)];
        program.call(&mut state, &feeds)?; // warm up
        let start = Instant::now();
        let mut out = program.call(&mut state, &feeds)?;
        println!("{:7.2} ms on {}", start.elapsed().as_secs_f64() * 1e3, device.name());
        results.extend(out.remove("x"));
    }
    if let [a, b] = &results[..] {
        let pairs = a.f32s().iter().zip(b.f32s());
        println!("largest difference {:e}", pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max));
    }
    Ok(())
}
