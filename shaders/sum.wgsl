// One stage of y[o, i] = sum over r of x[o, r, i].
// x is [outer, rows, inner], y is [outer, kept, inner]; lane (o, k, i) adds rows k, k + kept, ...
// Neighbouring lanes read neighbouring numbers whatever `inner` is.
//
// Variables: lanes: numbers of y. width: kept * inner. all: rows * inner. last: where the last step
// starts. rest: how many numbers it has. sizes: see lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read_write> y: array<{{ of.y }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let lane = flat_group(wid, nwg) * 64u + lid;
    if (lane < {{ lanes }}) {
        let outer = lane / {{ width }};
        let column = lane % {{ width }};
        let base = outer * {{ all }} + column;
        var sum = 0.0;
        for (var j = 0u; j < {{ last }}; j += {{ width }}) {
            sum += f32(x[base + j]);
        }
        // The last step may lie beyond the last row.
        if (column < {{ rest }}) {
            sum += f32(x[base + {{ last }}]);
        }
        y[lane] = {{ of.y }}(sum);
    }
}
