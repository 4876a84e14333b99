// y[m, n] = Σ_k a[m, k] · b[k, n]
//
// `a` is [m, k], or [k, m] where its rows lie along m; `b` is [k, n], or [n, k]. With splits, `y` is
// a stack of partial sums, each over `chunk` terms, `slice` elements apart: sum_partials adds them.
// With planes, all three are stacks of matrices.
//
// Variables: m, n, k: the sizes. a_rows: rows of `a`. tile: which tiling computes it. The others
// are those of lib/sizes.wgsl, lib/operands.wgsl and lib/tile_registers.wgsl.

{% include "lib/sizes.wgsl" %}
{% include "lib/operands.wgsl" %}

fn a_row(i: u32, z: u32) -> vec3<u32> {
    let first = {% if planes %}(z * {{ a_rows }} + i){% else %}i{% endif %} * {{ a_len }};
{% if a_none %}
    return vec3<u32>(select(NONE, first, i < {{ a_rows }}), 0u, 0u);
{% else %}
    return vec3<u32>(first, 0u, 0u);
{% endif %}
}

fn a_tap(row: vec3<u32>, tap: vec3<u32>) -> u32 {
    return row.x;
}

fn m_tap(m: u32) -> vec4<u32> {
    return vec4<u32>(0u, 0u, 0u, m);
}

fn y_row(m: u32, z: u32) -> u32 {
    return select(NONE, {% if split or planes %}z * {{ slice }} + {% endif %}m * {{ n }}, m < {{ m }});
}

{% include tile %}
