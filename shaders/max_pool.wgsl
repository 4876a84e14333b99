// y[n, i, j, c] = max of x[n, r, s, c] over floor(i h / gh) <= r < ceil((i + 1) h / gh), and
// columns likewise. NaN where any of them is.
//
// strided: over i * stride - pad <= r < i * stride - pad + kernel instead, within the image.
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
    let at = flat_group(wid, nwg) * 64u + lid;
    if (at < {{ len }}u) {
        let channel = at % {{ c }}u;
        let j = at / {{ c }}u % {{ gw }}u;
        let i = at / {{ c * gw }}u % {{ gh }}u;
        let image = at / {{ c * gw * gh }}u * {{ h * w * c }}u + channel;
{% if strided %}
        let top = max(i * {{ strided.stride[0] }}u, {{ strided.pad[0] }}u) - {{ strided.pad[0] }}u;
        let bottom = min(i * {{ strided.stride[0] }}u + {{ strided.kernel[0] }}u, {{ h + strided.pad[0] }}u) - {{ strided.pad[0] }}u;
        let left = max(j * {{ strided.stride[1] }}u, {{ strided.pad[1] }}u) - {{ strided.pad[1] }}u;
        let right = min(j * {{ strided.stride[1] }}u + {{ strided.kernel[1] }}u, {{ w + strided.pad[1] }}u) - {{ strided.pad[1] }}u;
{% else %}
        let top = i * {{ h }}u / {{ gh }}u;
        let bottom = ((i + 1u) * {{ h }}u + {{ gh - 1 }}u) / {{ gh }}u;
        let left = j * {{ w }}u / {{ gw }}u;
        let right = ((j + 1u) * {{ w }}u + {{ gw - 1 }}u) / {{ gw }}u;
{% endif %}
        var largest = f32(x[image + (top * {{ w }}u + left) * {{ c }}u]);
        for (var r = top; r < bottom; r++) {
            for (var s = left; s < right; s++) {
                let v = f32(x[image + (r * {{ w }}u + s) * {{ c }}u]);
                largest = select(largest, v, v > largest || is_nan(v));
            }
        }
        y[at] = {{ of.y }}(largest);
    }
}
