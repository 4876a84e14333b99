//! The validator of SPIR-V, on what naga writes for Vulkan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use rayon::prelude::*;
use tempfile::tempdir;

use super::{installed, none_refused};
use crate::kernels::distinct;
use crate::support::{parsed, spirv};

/// Words of a SPIR-V module before its first instruction.
const HEADER: usize = 5;

/// The storage class of workgroup memory.
const WORKGROUP: u32 = 4;

/// The instructions of a module: their opcodes and words.
fn instructions(words: &[u32]) -> impl Iterator<Item = (u32, &[u32])> {
    let mut rest = &words[HEADER..];
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let (one, others) = rest.split_at((first >> 16) as usize);
        rest = others;
        Some((first & 0xffff, one))
    })
}

/// A module without the `ArrayStride` of arrays in workgroup memory, and how many there were.
///
/// naga 30 gives every array one, and the validator refuses it there since 2025
/// (VUID-StandaloneSpirv-None-10684). Drivers take it; what else a module has wrong would be hidden
/// behind it.
fn without_strides(words: &[u32]) -> (Vec<u32>, usize) {
    const DECORATE: u32 = 71;
    const TYPE_ARRAY: u32 = 28;
    const TYPE_STRUCT: u32 = 30;
    const TYPE_POINTER: u32 = 32;
    const ARRAY_STRIDE: u32 = 6;
    let (mut parts, mut pointees) = (BTreeMap::new(), BTreeMap::<u32, Vec<u32>>::new());
    for (opcode, one) in instructions(words) {
        match opcode {
            TYPE_ARRAY => drop(parts.insert(one[1], vec![one[2]])),
            TYPE_STRUCT => drop(parts.insert(one[1], one[2..].to_vec())),
            TYPE_POINTER => pointees.entry(one[2]).or_default().push(one[3]),
            _ => {}
        }
    }
    let below = |mut todo: Vec<u32>| {
        let mut found = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if found.insert(id) {
                todo.extend(parts.get(&id).into_iter().flatten());
            }
        }
        found
    };
    let shared = below(pointees.remove(&WORKGROUP).unwrap_or_default());
    let others = below(pointees.into_values().flatten().collect());
    let is_wrong = |opcode, one: &[u32]| {
        opcode == DECORATE
            && one[2] == ARRAY_STRIDE
            && shared.contains(&one[1])
            && !others.contains(&one[1])
    };
    let mut kept = words[..HEADER].to_vec();
    let mut dropped = 0;
    for (opcode, one) in instructions(words) {
        if is_wrong(opcode, one) {
            dropped += 1;
        } else {
            kept.extend(one);
        }
    }
    (kept, dropped)
}

#[test]
fn the_validator_accepts_the_spirv_of_every_kind_of_kernel() {
    let Some(validator) = installed("spirv-val", "spirv-val") else { return };
    let dir = tempdir().unwrap();
    let kernels = distinct();
    let refused: Vec<_> = kernels
        .par_iter()
        .enumerate()
        .filter_map(|(i, kernel)| {
            let (module, info) = parsed(&kernel.name, &kernel.source);
            // Every other one with the checks that wgpu has the compiler add, and a software adapter is
            // tested with.
            let checked = i % 2 == 0;
            let words = spirv(&kernel.name, &module, &info, checked);
            let (words, _) = without_strides(&words);
            let path = dir.path().join(format!("{i}.spv"));
            fs::write(&path, bytemuck::cast_slice::<u32, u8>(&words)).unwrap();
            let mut run = Command::new(&validator);
            let output = run.args(["--target-env", "vulkan1.1"]).arg(&path).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            (!output.status.success()).then(|| (kernel.name.clone(), text))
        })
        .collect();
    none_refused("spirv-val", kernels.len(), &refused);
}
