// y[n, ..., 0 .. c] = x[n, ..., :], y[n, ..., c .. c + d] = v[n, :]: a vector behind the channels of
// all pixels of an image.
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<{{ of.x }}>;
@group(0) @binding(1) var<storage, read> v: array<{{ of.v }}>;
@group(0) @binding(2) var<storage, read_write> y: array<{{ of.y }}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = flat_group(wid, nwg) * 64u + lid;
    if (i < {{ len }}u) {
        let channel = i % {{ c + d }}u;
        let inside = channel < {{ c }}u;
        // Both addresses exist in any case.
        let from_x = i / {{ c + d }}u * {{ c }}u + min(channel, {{ c - 1 }}u);
        let from_v = i / {{ image }}u * {{ d }}u + max(channel, {{ c }}u) - {{ c }}u;
        y[i] = {{ of.y }}(select(f32(v[from_v]), f32(x[from_x]), inside));
    }
}
