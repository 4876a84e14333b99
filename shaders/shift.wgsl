// y[n, i, j, c] = x[n, i - a, j - b, c] with a = floor(v[n, 0]), b = floor(v[n, 1]), 0 where that lies
// outside of x: images moved by whole pixels. back: i + a and j + b instead.
//
// x, y: [n, {{ h }}, {{ w }}, {{ c }}]
// v:    [n, 2]
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read> v: array<{{ of.v }}>;
@group(0) @binding(2) var<storage, read_write> y: array<{{ of.y }}>;

// floor(v) + side, with floor(v) kept within -side and side: beyond that, nothing is left to see.
fn moved(v: f32, side: u32) -> u32 {
    return u32(clamp(floor(v), -f32(side), f32(side)) + f32(side));
}

// The row of x that becomes row i of y; one above the first wraps to an index past the last.
fn origin(i: u32, moved: u32, side: u32) -> u32 {
{% if back %}
    return i + moved - side;
{% else %}
    return i + side - moved;
{% endif %}
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let at = flat_group(wid, nwg) * 64u + lid;
    if (at < {{ len }}u) {
        let channel = at % {{ c }}u;
        let j = at / {{ c }}u % {{ w }}u;
        let i = at / {{ c * w }}u % {{ h }}u;
        let n = at / {{ c * w * h }}u;
        let row = origin(i, moved(f32(v[2u * n]), {{ h }}u), {{ h }}u);
        let column = origin(j, moved(f32(v[2u * n + 1u]), {{ w }}u), {{ w }}u);
        let inside = row < {{ h }}u && column < {{ w }}u;
        let there = ((n * {{ h }}u + row) * {{ w }}u + column) * {{ c }}u + channel;
        // The clamped address is read in any case; select discards values from outside.
        y[at] = {{ of.y }}(select(0.0, f32(x[select(0u, there, inside)]), inside));
    }
}
