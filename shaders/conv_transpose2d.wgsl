// y[n, iy, ix, l] = Σ_{ky, kx, s} a[n, oy, ox, s] · b[ky, kx, l, s]
//     over oy·stride_h + ky − top = iy and ox·stride_w + kx − left = ix
//
// The pixels of `y` are sorted by their remainders (py, px) modulo the stride, one z for each pair.
// A pixel iy = gy·stride_h + py meets only the kernel rows ky ≡ py + top (modulo stride_h), and
// those at oy = gy + (py + top − ky)/stride_h: so for one remainder this is a dense product with
// stride 1, and no inserted zero is ever multiplied. Its rows are the pixels (n, gy, gx), its columns
// the channels l, and its reduction runs over those taps and, within each, the channels s.
//
// Variables: m, n: cells of the grid (n, gy, gx), and channels of `y`. y_high, y_wide: its size.
// kernel_h, kernel_w, stride_h, stride_w, top, left: the geometry. even: whether all remainders have
// the same number of taps, taps_h × taps_w. tile: which of the tilings computes it. The others
// are those of lib/operands.wgsl, lib/image.wgsl and lib/tile_registers.wgsl.

{% include "lib/operands.wgsl" %}
{% include "lib/image.wgsl" %}

// The first kernel row that meets the remainder of `z`; the others follow at distance stride_h.
fn first_ky(z: u32) -> u32 {
    return (z / {{ stride_w }}u + {{ top }}u) % {{ stride_h }}u;
}

fn first_kx(z: u32) -> u32 {
    return (z % {{ stride_w }}u + {{ left }}u) % {{ stride_w }}u;
}

fn tap_rows(z: u32) -> u32 {
    return {% if even %}{{ taps_h }}u{% else %}({{ kernel_h + stride_h - 1 }}u - first_ky(z)) / {{ stride_h }}u{% endif %};
}

fn tap_cols(z: u32) -> u32 {
    return {% if even %}{{ taps_w }}u{% else %}({{ kernel_w + stride_w - 1 }}u - first_kx(z)) / {{ stride_w }}u{% endif %};
}

// The displacement of a tap in the small image, and its first row of `b`.
fn tap_at(j: u32, i: u32, z: u32) -> vec3<u32> {
    let ky = first_ky(z) + j * {{ stride_h }}u;
    let kx = first_kx(z) + i * {{ stride_w }}u;
    let dy = (z / {{ stride_w }}u + {{ top }}u) / {{ stride_h }}u - j;
    let dx = (z % {{ stride_w }}u + {{ left }}u) / {{ stride_w }}u - i;
    return vec3<u32>(dy, dx, (ky * {{ kernel_w }}u + kx) * {{ n }});
}

fn y_row(m: u32, z: u32) -> u32 {
    let line = m / {{ grid_w }}u;
    let image = line / {{ grid_h }}u;
    let iy = line % {{ grid_h }}u * {{ stride_h }}u + z / {{ stride_w }}u;
    let ix = m % {{ grid_w }}u * {{ stride_w }}u + z % {{ stride_w }}u;
    let inside = (m < {{ m }}) & (iy < {{ y_high }}u) & (ix < {{ y_wide }}u);
    return select(NONE, ((image * {{ y_high }}u + iy) * {{ y_wide }}u + ix) * {{ n }}, inside);
}

{% include tile %}
