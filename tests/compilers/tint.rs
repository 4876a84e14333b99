//! Tint, the compiler of WGSL in Chromium, by the WebGPU of the npm package `webgpu` on a device that
//! computes nothing.

use std::fs;
use std::process::Command;

use tempfile::tempdir;

use super::{installed, none_refused};
use crate::kernels::{Kernel, all};

#[test]
fn tint_compiles_every_kernel_within_the_limits_of_webgpu() {
    let Some(package) = installed("the npm package webgpu", "node_modules/webgpu/index.js") else {
        return;
    };
    let dir = tempdir().unwrap();
    // Browsers have no immediates; programs that are exported for them use a buffer.
    let kernels: Vec<&Kernel> = all().iter().filter(|kernel| !kernel.has_immediates()).collect();
    for (i, kernel) in kernels.iter().enumerate() {
        // naga 30 knows subgroups, and not the line that WGSL wants in front of them.
        let enable = if kernel.has_subgroups() { "enable subgroups;\n" } else { "" };
        let text = format!("{enable}{}", kernel.source);
        fs::write(dir.path().join(format!("{i:05}.wgsl")), text).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compilers/tint.mjs");
    let output = Command::new("node").arg(script).arg(&package).arg(dir.path()).output();
    let output = output.expect("node runs the npm package webgpu");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut lines = text.lines();
    let checked: usize = lines.next().unwrap().parse().unwrap();
    assert_eq!(checked, kernels.len());
    let refused: Vec<_> = lines
        .map(|line| {
            let (i, why) = line.split_once(' ').unwrap();
            (kernels[i.parse::<usize>().unwrap()].name.clone(), why.to_owned())
        })
        .collect();
    none_refused("Tint", checked, &refused);
}
