// y[n, i, j, c] = sum over a, b of x[n, i stride + a - pad, j stride + b - pad, c] w[a, b, c]; terms
// outside of x are left out.
//
// transpose: the sum over a, b of x[n, p, q, c] w[a, b, c] with p stride + a - pad = i and
// q stride + b - pad = j instead.
//
// x: [n, {{ h }}, {{ w }}, {{ c }}]
// w: [{{ kernel[0] }}, {{ kernel[1] }}, {{ c }}]
// y: [n, {{ gh }}, {{ gw }}, {{ c }}]
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read> w: array<{{ of.w }}>;
@group(0) @binding(2) var<storage, read_write> y: array<{{ of.y }}>;

// The row of x that tap a brings to row i of y; past the last where there is none.
fn origin(i: u32, a: u32, stride: u32, pad: u32) -> u32 {
{% if transpose %}
    // Below zero, it wraps to far past the last, divided or not.
    let at = i + pad - a;
    return select(0xffffffffu, at / stride, at % stride == 0u);
{% else %}
    return i * stride + a - pad;
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
        let j = at / {{ c }}u % {{ gw }}u;
        let i = at / {{ c * gw }}u % {{ gh }}u;
        let image = at / {{ c * gw * gh }}u * {{ h * w * c }}u + channel;
        var sum = 0.0;
        for (var a = 0u; a < {{ kernel[0] }}u; a++) {
            let r = origin(i, a, {{ stride[0] }}u, {{ pad[0] }}u);
            if (r < {{ h }}u) {
                for (var b = 0u; b < {{ kernel[1] }}u; b++) {
                    let s = origin(j, b, {{ stride[1] }}u, {{ pad[1] }}u);
                    if (s < {{ w }}u) {
                        let tap = f32(w[(a * {{ kernel[1] }}u + b) * {{ c }}u + channel]);
                        sum += f32(x[image + (r * {{ w }}u + s) * {{ c }}u]) * tap;
                    }
                }
            }
        }
        y[at] = {{ of.y }}(sum);
    }
}
