// One stage of y[o, i] = sum over r of x[o, r, i].
// x is [outer, rows, inner], y is [outer, kept, inner]; lane (o, k, i) adds rows k, k + kept, ...
// Neighbouring lanes read neighbouring numbers whatever `inner` is.
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let lane = flat_group(wid, nwg) * 64u + lid;
    if (lane < {{ lanes }}u) {
        let outer = lane / {{ width }}u;
        let column = lane % {{ width }}u;
        let base = outer * {{ rows * inner }}u + column;
        var sum = 0.0;
        for (var j = 0u; j < {{ steps - 1 }}u; j++) {
            sum += x[base + j * {{ width }}u];
        }
        // The last step may lie beyond the last row.
        if (column < {{ rows * inner - (steps - 1) * width }}u) {
            sum += x[base + {{ (steps - 1) * width }}u];
        }
        y[lane] = sum;
    }
}
