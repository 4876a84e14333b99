//! The convolutions on the CPU: by minimal filtering where that saves multiplications, else as a
//! matrix product of patches, or of windows where the large image has few channels.

use super::{Call, ConvSpec, Site};

mod overlap;
mod parities;
mod patches;
mod pool;
pub(super) mod winograd;

pub(super) fn conv2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> usize {
    winograd::conv2d_scratch(spec, s, threads)
        .unwrap_or_else(|| patches::conv2d_scratch(spec, s, threads))
}

pub(super) fn conv2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    match winograd::conv2d_scratch(spec, s, 1) {
        Some(_) => winograd::conv2d(spec, s, call),
        None => patches::conv2d(spec, s, call),
    }
}

pub(super) fn conv_transpose2d_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> usize {
    winograd::conv_transpose2d_scratch(spec, s, threads)
        .or_else(|| overlap::conv_transpose2d_scratch(spec, s, threads))
        .unwrap_or_else(|| parities::conv_transpose2d_scratch(spec, s))
}

pub(super) fn conv_transpose2d(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    if winograd::conv_transpose2d_scratch(spec, s, 1).is_some() {
        winograd::conv_transpose2d(spec, s, call);
    } else if overlap::conv_transpose2d_scratch(spec, s, 1).is_some() {
        overlap::conv_transpose2d(spec, s, call);
    } else {
        parities::conv_transpose2d(spec, s, call);
    }
}

pub(super) fn conv_weight_grad_scratch(spec: &ConvSpec, s: &Site, threads: usize) -> usize {
    winograd::conv_weight_grad_scratch(spec, s, threads)
        .unwrap_or_else(|| patches::conv_weight_grad_scratch(spec, s, threads))
}

pub(super) fn conv_weight_grad(spec: &ConvSpec, s: &Site, call: Call<'_>) {
    match winograd::conv_weight_grad_scratch(spec, s, 1) {
        Some(_) => winograd::conv_weight_grad(spec, s, call),
        None => patches::conv_weight_grad(spec, s, call),
    }
}
