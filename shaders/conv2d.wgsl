// y[n, oy, ox, s] = Σ_{ky, kx, l} a[n, oy·step_y + ky − top, ox·step_x + kx − left, l] · b[ky, kx, l, s]
//
// A product: its rows are the pixels of `y`, its columns the channels s, and its reduction runs over
// the taps (ky, kx) and, within each, over the channels l of the large image `a`. The address of a
// pixel, and whether it lies in the image, is found once a tap. Where l is not a multiple of what
// the tiling takes at a time, the reduction is flat instead: one index for tap and channel.
//
// Variables: m, n: pixels and channels of `y`. kernel_h, kernel_w, top, left: the kernel's size and
// the padding. a_len: channels of `a`. tile: which tiling computes it. The others are those of
// lib/operands.wgsl, lib/image.wgsl and lib/tile_registers.wgsl.

{% include "lib/operands.wgsl" %}
{% include "lib/image.wgsl" %}

fn tap_rows(z: u32) -> u32 {
    return {{ kernel_h }}u;
}

fn tap_cols(z: u32) -> u32 {
    return {{ kernel_w }}u;
}

// The displacement of a tap, and its first row of `b`.
fn tap_at(ky: u32, kx: u32, z: u32) -> vec3<u32> {
    return vec3<u32>(ky - {{ top }}u, kx - {{ left }}u, (ky * {{ kernel_w }}u + kx) * {{ a_len }});
}

{% if flat %}
// The pixel's row under the tap of the flat reduction index `k`; NONE past the last tap.
fn flat_row(cell: vec3<u32>, k: u32) -> u32 {
    let t = k / {{ a_len }};
    let tap = tap_at(t / {{ kernel_w }}u, t % {{ kernel_w }}u, 0u);
    return select(NONE, a_tap(cell, tap), k < {{ k }});
}

fn a_flat(cell: vec3<u32>, k: u32) -> vec4<f32> {
{% if a_vec %}
    return a_load(flat_row(cell, k), k % {{ a_len }});
{% else %}
    return vec4<f32>(
        a_one(flat_row(cell, k), k % {{ a_len }}),
        a_one(flat_row(cell, k + 1u), (k + 1u) % {{ a_len }}),
        a_one(flat_row(cell, k + 2u), (k + 2u) % {{ a_len }}),
        a_one(flat_row(cell, k + 3u), (k + 3u) % {{ a_len }}));
{% endif %}
}
{% endif %}

fn y_row(m: u32, z: u32) -> u32 {
    return select(NONE, m * {{ n }}, m < {{ m }});
}

{% include tile %}
