// First stage of y[0, i] = sum over r of g[r, i], y[1, i] = sum over r of g[r, i] * (x[r, i] - mean[i]).
// g and x are [rows, inner], y is [2, kept, inner]; lane (k, i) adds rows k, k + kept, ...
//
// Variables: wide: whether a lane takes four columns at a time; inner, lanes and all then count
// vectors. lanes: kept * inner. steps: rows of a lane. all: rows * inner. whole: steps that every
// lane has, a multiple of `flight`: rows read before the first of them is needed. sizes: see
// lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}

{% set t = "vec4<f32>" if wide else "f32" %}
@group(0) @binding(0) var<storage, read> g: array<{% if wide %}vec4<{{ of.g }}>{% else %}{{ of.g }}{% endif %}>;
@group(0) @binding(1) var<storage, read> x: array<{% if wide %}vec4<{{ of.x }}>{% else %}{{ of.x }}{% endif %}>;
@group(0) @binding(2) var<storage, read> mean: array<{% if wide %}vec4<{{ of.mean }}>{% else %}{{ of.mean }}{% endif %}>;
@group(0) @binding(3) var<storage, read_write> y: array<{% if wide %}vec4<{{ of.y }}>{% else %}{{ of.y }}{% endif %}>;

fn store(at: u32, v: {{ t }}) {
    y[at] = {% if wide %}vec4<{{ of.y }}>{% else %}{{ of.y }}{% endif %}(v);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let lane = flat_group(wid, nwg) * 64u + lid;
    if (lane < {{ lanes }}) {
        let center = {{ t }}(mean[lane % {{ inner }}]);
        var sum = {{ t }}(0.0);
        var product = {{ t }}(0.0);
        for (var j = 0u; j < {{ whole }}; j += {{ flight }}u) {
{%- for i in range(flight) %}
            let g{{ i }} = {{ t }}(g[(j + {{ i }}u) * {{ lanes }} + lane]);
            let x{{ i }} = {{ t }}(x[(j + {{ i }}u) * {{ lanes }} + lane]);
{%- endfor %}
{%- for i in range(flight) %}
            sum += g{{ i }};
            product += g{{ i }} * (x{{ i }} - center);
{%- endfor %}
        }
        for (var j = {{ whole }}; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let gi = {{ t }}(g[at]);
                sum += gi;
                product += gi * ({{ t }}(x[at]) - center);
            }
        }
        store(lane, sum);
        store({{ lanes }} + lane, product);
    }
}
