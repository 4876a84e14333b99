// y[p, row, c] = (T · x[square `row`, channel c] · Tᵀ)[p], for every plane p of the square matrix
//
// Transforms an operand of a convolution into the planes of minimal filtering
// (src/ops/conv/minimal.rs), each of which is then one matrix.
//
// Variables: rows, quads: squares, and channels of one over 4. matrix, columns: those of lib/both.wgsl.
// planes: how many along one axis. The others are those of lib/square.wgsl.

{% include "lib/index.wgsl" %}
{% include "lib/square.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<vec4<{{ of.x }}>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<{{ of.y }}>>;

fn load(at: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), vec4<f32>(x[select(0u, at, at != NONE)]), at != NONE);
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
    let at = square_at(place / {{ quads }}u, place % {{ quads }}u);
{% for i in columns %}{% for j in columns %}
    let d{{ i }}_{{ j }} = load(pixel(at, {{ i }}u, {{ j }}u));
{%- endfor %}{% endfor %}
{% include "lib/both.wgsl" %}
{% for i in range(planes) %}{% for j in range(planes) %}
    y[{{ (i * planes + j) * rows * quads }}u + place] = vec4<{{ of.y }}>(e{{ i }}_{{ j }});
{%- endfor %}{% endfor %}
}
