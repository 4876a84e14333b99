// y[i] = Σ_z partials[z, i]
//
// Adds the partial sums of a product that was split along its reduction, always in the same order.
//
// Variables: len4: vectors of `y` and of each partial result. splits: their number. groups_x:
// workgroups along x.

@group(0) @binding(0) var<storage, read> partials: array<vec4<{{ of.partials }}>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<{{ of.y }}>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * {{ groups_x }}u) * 64u + lane;
    if (i >= {{ len4 }}u) {
        return;
    }
    var sum = vec4<f32>(partials[i]);
    for (var z = 1u; z < {{ splits }}u; z += 1u) {
        sum += vec4<f32>(partials[z * {{ len4 }}u + i]);
    }
    y[i] = vec4<{{ of.y }}>(sum);
}
