// One stage of the mean and variance of each column of x [rows, inner].
// The first stage reads x; later ones read partial results: three planes [rows, inner] of mean, sum
// of squared deviations, and count. The last stage writes y [2, inner]: mean and variance; others
// write three planes [kept, inner]. Lane (k, i) takes rows k, k + kept, ...
//
// Variables: wide: whether a lane takes four columns at a time; lanes and all then count vectors.
// lanes: kept * inner. steps: rows of a lane. all: rows * inner. whole: steps that every lane has,
// a multiple of `flight`: rows read before the first of them is needed. first, last: which stage.
// sizes: see lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}
{% include "lib/math.wgsl" %}

{% set t = "vec4<f32>" if wide else "f32" %}
@group(0) @binding(0) var<storage, read> x: array<{% if wide %}vec4<{{ of.x }}>{% else %}{{ of.x }}{% endif %}>;
@group(0) @binding(1) var<storage, read_write> y: array<{% if wide %}vec4<{{ of.y }}>{% else %}{{ of.y }}{% endif %}>;

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
        var count = 0.0;
        var total = {{ t }}(0.0);
{%- if first %}
        // Deviations from the first value: it lies within a few standard deviations of the mean, so
        // the difference of sums below cancels little.
        let center = {{ t }}(x[lane]);
        var squares = {{ t }}(0.0);
        for (var j = 0u; j < {{ whole }}; j += {{ flight }}u) {
{%- for i in range(flight) %}
            let d{{ i }} = {{ t }}(x[(j + {{ i }}u) * {{ lanes }} + lane]) - center;
{%- endfor %}
{%- for i in range(flight) %}
            total += d{{ i }};
            squares += d{{ i }} * d{{ i }};
{%- endfor %}
            count += {{ flight }}.0;
        }
        for (var j = {{ whole }}; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let d = {{ t }}(x[at]) - center;
                total += d;
                squares += d * d;
                count += 1.0;
            }
        }
        let shift = total / count;
        let mean = center + shift;
        let rest = squares - total * shift;
        let m2 = select(max(rest, {{ t }}(0.0)), rest, {% if wide %}is_nan4{% else %}is_nan{% endif %}(rest));
{%- else %}
        for (var j = 0u; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let n = f32(x[2u * {{ all }} + at]);
                total += n * f32(x[at]);
                count += n;
            }
        }
        let mean = total / count;
        var m2 = 0.0;
        for (var j = 0u; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let d = f32(x[at]) - mean;
                m2 += f32(x[{{ all }} + at]) + f32(x[2u * {{ all }} + at]) * d * d;
            }
        }
{%- endif %}
        store(lane, mean);
{%- if last %}
        store({{ lanes }} + lane, m2 / count);
{%- else %}
        store({{ lanes }} + lane, m2);
        store(2u * {{ lanes }} + lane, {{ t }}(count));
{%- endif %}
    }
}
