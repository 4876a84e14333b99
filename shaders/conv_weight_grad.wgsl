// y[ky, kx, l, s] = Σ_{n, oy, ox} a[n, oy·step_y + ky − top, ox·step_x + kx − left, l] · b[n, oy, ox, s]
//
// A product: its rows are (ky, kx, l), its columns the channels s, and its reduction runs over the
// pixels of the small image `b`. The reduction is long where the product is small, so it is split
// over z: with splits, `y` is a stack of partial sums, each over `chunk` pixels, `slice` elements
// apart, which sum_partials adds in a fixed order.
//
// Variables: m, n, k: rows, columns, pixels. kernel_h, kernel_w, top, left: the kernel's size and the
// padding. a_len: channels of the large image `a`. tile: which of the tilings computes it. The
// others are those of lib/operands.wgsl, lib/image.wgsl and lib/tile_registers.wgsl.

{% include "lib/operands.wgsl" %}
{% include "lib/image.wgsl" %}

// The displacement of a row's tap in the large image, and the row's channel. Results of rows past
// the last are arbitrary and never stored.
fn m_tap(m: u32) -> vec4<u32> {
    let t = m / {{ a_len }};
    return vec4<u32>(t / {{ kernel_w }}u - {{ top }}u, t % {{ kernel_w }}u - {{ left }}u, 0u, m % {{ a_len }});
}

fn y_row(m: u32, z: u32) -> u32 {
    return select(NONE, {% if split %}z * {{ slice }} + {% endif %}m * {{ n }}, m < {{ m }});
}

{% include tile %}
