//! What several tests share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use dcgan::device::{Device, State};
use dcgan::program::{Fetched, Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{Data, Tensor};

/// The devices that every op and program is tested on.
pub(crate) fn devices() -> Vec<Device> {
    vec![Device::Cpu]
}

/// The numbers of a tensor of any type.
pub(crate) fn wide(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        Data::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U32(v) => v.iter().map(|&v| f64::from(v)).collect(),
        Data::U8(v) => v.iter().map(|&v| f64::from(v)).collect(),
    }
}

/// Options with fusion on or off.
pub(crate) fn fusion(fuse: bool) -> Options {
    Options { fuse, ..Options::default() }
}

/// Runs a tape without states once.
pub(crate) fn run(
    tape: &Tape,
    device: &Device,
    options: &Options,
    feeds: &[(String, Tensor)],
) -> Fetched {
    let mut state = State::new(device);
    let mut program = Program::compile(tape, &state, options).unwrap();
    let feeds: Vec<(&str, &Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t)).collect();
    program.call(&mut state, &feeds).unwrap()
}

/// The feeds' numbers by the name that the naive interpreter knows them by.
pub(crate) fn sources(feeds: &[(String, Tensor)]) -> BTreeMap<String, Vec<f64>> {
    feeds.iter().map(|(name, tensor)| (name.clone(), wide(tensor))).collect()
}
