// gx[i, j] = g[i] where x[i, j] is the first of the largest of x[i, 0 .. pieces], or the first NaN,
// else 0.
//
// g:     [len]
// x, gx: [len, {{ pieces }}]
{% include "lib/index.wgsl" %}
{% include "lib/first.wgsl" %}

@group(0) @binding(0) var<storage, read> g: array<{{ of.g }}>;
@group(0) @binding(1) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(2) var<storage, read_write> gx: array<{{ of.gx }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let at = flat_group(wid, nwg) * 64u + lid;
    if (at < {{ len * pieces }}u) {
        let i = at / {{ pieces }}u;
        gx[at] = {{ of.gx }}(select(0.0, f32(g[i]), first_largest(i * {{ pieces }}u) == at));
    }
}
