// y[i] = v[i, j] where x[i, j] is the first of the largest of x[i, 0 .. pieces], or the first NaN.
//
// v, x: [len, {{ pieces }}]
// y:    [len]
{% include "lib/index.wgsl" %}
{% include "lib/first.wgsl" %}

@group(0) @binding(0) var<storage, read> v: array<{{ of.v }}>;
@group(0) @binding(1) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(2) var<storage, read_write> y: array<{{ of.y }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = flat_group(wid, nwg) * 64u + lid;
    if (i < {{ len }}u) {
        y[i] = {{ of.y }}(v[first_largest(i * {{ pieces }}u)]);
    }
}
