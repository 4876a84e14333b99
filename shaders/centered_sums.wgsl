// First stage of y[0, i] = sum over r of g[r, i], y[1, i] = sum over r of g[r, i] * (x[r, i] - mean[i]).
// g and x are [rows, inner], y is [2, kept, inner]; lane (k, i) adds rows k, k + kept, ...
//
// Variables: inner. lanes: kept * inner. steps: rows of a lane. all: rows * inner. sizes: see
// lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> g: array<{{ of.g }}>;
@group(0) @binding(1) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(2) var<storage, read> mean: array<{{ of.mean }}>;
@group(0) @binding(3) var<storage, read_write> y: array<{{ of.y }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let lane = flat_group(wid, nwg) * 64u + lid;
    if (lane < {{ lanes }}) {
        let centre = f32(mean[lane % {{ inner }}]);
        var sum = 0.0;
        var product = 0.0;
        for (var j = 0u; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let gi = f32(g[at]);
                sum += gi;
                product += gi * (f32(x[at]) - centre);
            }
        }
        y[lane] = {{ of.y }}(sum);
        y[{{ lanes }} + lane] = {{ of.y }}(product);
    }
}
