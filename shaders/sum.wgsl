// One stage of y[o, i] = sum over r of x[o, r, i].
// x is [outer, rows, inner], y is [outer, kept, inner]; lane (o, k, i) adds rows k, k + kept, ...
// Neighboring lanes read neighboring values whatever `inner` is.
//
// Variables: wide: whether a lane takes four values at a time; all of these then count vectors.
// lanes: values of y. width: kept * inner. all: rows * inner. last: where the last step starts.
// rest: its number of values. whole: where the steps end that are taken `flight` at a time, which
// are read before the first of them is needed. sizes: see lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}

{% set t = "vec4<f32>" if wide else "f32" %}
@group(0) @binding(0) var<storage, read> x: array<{% if wide %}vec4<{{ of.x }}>{% else %}{{ of.x }}{% endif %}>;
@group(0) @binding(1) var<storage, read_write> y: array<{% if wide %}vec4<{{ of.y }}>{% else %}{{ of.y }}{% endif %}>;

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
        var sum = {{ t }}(0.0);
        for (var j = 0u; j < {{ whole }}; j += {{ flight }}u * {{ width }}) {
{%- for i in range(flight) %}
            let v{{ i }} = {{ t }}(x[base + j + {{ i }}u * {{ width }}]);
{%- endfor %}
{%- for i in range(flight) %}
            sum += v{{ i }};
{%- endfor %}
        }
        for (var j = {{ whole }}; j < {{ last }}; j += {{ width }}) {
            sum += {{ t }}(x[base + j]);
        }
        // The last step may lie beyond the last row.
        if (column < {{ rest }}) {
            sum += {{ t }}(x[base + {{ last }}]);
        }
        y[lane] = {% if wide %}vec4<{{ of.y }}>{% else %}{{ of.y }}{% endif %}(sum);
    }
}
