// One stage of the mean and variance of each column of x [rows, inner].
// The first stage reads x; later ones read partial results: three planes [rows, inner] of mean, sum
// of squared deviations, and count. The last stage writes y [2, inner]: mean and variance; others
// write three planes [kept, inner]. Lane (k, i) takes rows k, k + kept, ...
//
// Variables: lanes: kept * inner. steps: rows of a lane. all: rows * inner. first, last: which stage.
// sizes: see lib/sizes.wgsl.
{% include "lib/sizes.wgsl" %}
{% include "lib/index.wgsl" %}
{% include "lib/math.wgsl" %}

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
        var count = 0.0;
        var total = 0.0;
{%- if first %}
        // Deviations from the first number: it lies within a few standard deviations of the mean, so
        // the difference of sums below cancels little.
        let centre = f32(x[lane]);
        var squares = 0.0;
        for (var j = 0u; j < {{ steps }}; j++) {
            let at = j * {{ lanes }} + lane;
            if (at < {{ all }}) {
                let d = f32(x[at]) - centre;
                total += d;
                squares += d * d;
                count += 1.0;
            }
        }
        let shift = total / count;
        let mean = centre + shift;
        let rest = squares - total * shift;
        let m2 = select(max(rest, 0.0), rest, is_nan(rest));
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
        y[lane] = {{ of.y }}(mean);
{%- if last %}
        y[{{ lanes }} + lane] = {{ of.y }}(m2 / count);
{%- else %}
        y[{{ lanes }} + lane] = {{ of.y }}(m2);
        y[2u * {{ lanes }} + lane] = {{ of.y }}(count);
{%- endif %}
    }
}
