// y[i0, i1, ...] = x[offset + sum (i_d - low_d) * stride_d] where low_d <= i_d < high_d for every
// axis, else 0: permute, slice and pad.
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read_write> y: array<{{ of.y }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = flat_group(wid, nwg) * 64u + lid;
    if (i < {{ len }}u) {
        var rest = i;
        var at = {{ offset }}u;
        var inside = true;
{%- for axis in axes | reverse %}
        {
            let k = rest % {{ axis.size }}u;
            rest = rest / {{ axis.size }}u;
            inside = inside && k >= {{ axis.low }}u && k < {{ axis.high }}u;
            at += (k - {{ axis.low }}u) * {{ axis.stride }}u;
        }
{%- endfor %}
        // The clamped address is read in any case; select discards values from outside.
        y[i] = {{ of.y }}(select(0.0, f32(x[select(0u, at, inside)]), inside));
    }
}
