// y[square `row`, channel c] = T · x[·, row, c] · Tᵀ, where the planes of `x` are a square matrix
//
// Transforms the planes of minimal filtering (src/ops/conv/minimal.rs) back to a result of a
// convolution. Tiles of the large image overlap: there a square is a block of 2 × 2 cells,
// `columns` continues through the planes of the tile before it, and `T` holds what both add to the
// block.
//
// Variables: rows, quads: squares, and channels of one over 4. matrix, columns: those of
// lib/both.wgsl. planes: how many along one axis. tiles, tiles_y, tiles_x: the number of tiles in
// all, and per image. The others are those of lib/square.wgsl.

{% include "lib/index.wgsl" %}
{% include "lib/square.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<vec4<{{ of.x }}>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<{{ of.y }}>>;

{% if side == "large" %}
// The tile `i` above and `j` to the left of block `row`, or NONE.
fn tile(row: u32, i: u32, j: u32) -> u32 {
    let line = row / {{ across }}u;
    let tx = row % {{ across }}u - j;
    let ty = line % {{ down }}u - i;
    let index = (line / {{ down }}u * {{ tiles_y }}u + ty) * {{ tiles_x }}u + tx;
    return select(NONE, index, (ty < {{ tiles_y }}u) & (tx < {{ tiles_x }}u));
}

fn load(plane: u32, tile: u32, quad: u32) -> vec4<f32> {
    let at = (plane * {{ tiles }}u + tile) * {{ quads }}u + quad;
    return select(vec4<f32>(0.0), vec4<f32>(x[select(0u, at, tile != NONE)]), tile != NONE);
}
{% endif %}

fn store(at: u32, v: vec4<f32>) {
    if (at != NONE) {
        y[at] = vec4<{{ of.y }}>(v);
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let place = flat_group(wid, nwg) * 64u + lid;
    if (place >= {{ rows * quads }}u) {
        return;
    }
    let row = place / {{ quads }}u;
    let quad = place % {{ quads }}u;
{% if side == "large" %}
{% for i in range(2) %}{% for j in range(2) %}
    let tile{{ i }}_{{ j }} = tile(row, {{ i }}u, {{ j }}u);
{%- endfor %}{% endfor %}
{% endif %}
{% for i in columns %}{% for j in columns %}
{% set plane = i % planes * planes + j % planes %}
{% if side == "large" %}
    let d{{ i }}_{{ j }} = load({{ plane }}u, tile{{ i // planes }}_{{ j // planes }}, quad);
{% else %}
    let d{{ i }}_{{ j }} = vec4<f32>(x[{{ plane * rows * quads }}u + place]);
{% endif %}
{%- endfor %}{% endfor %}
{% include "lib/both.wgsl" %}
    let at = square_at(row, quad);
{% for i in range(matrix | length) %}{% for j in range(matrix | length) %}
    store(pixel(at, {{ i }}u, {{ j }}u), e{{ i }}_{{ j }});
{%- endfor %}{% endfor %}
}
