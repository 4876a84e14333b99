// y[r, i] = exp(x[r, i] - max) / sum, with the row's maximum and its sum of exponentials. One
// invocation per row: a row is read three times, the first time from memory.
//
// Variables: rows, c: the sizes.
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
    let row = flat_group(wid, nwg) * 64u + lid;
    if (row < {{ rows }}u) {
        let first = row * {{ c }}u;
        var largest = f32(x[first]);
        for (var i = 1u; i < {{ c }}u; i++) {
            let v = f32(x[first + i]);
            largest = select(v, largest, largest > v);
        }
        var sum = 0.0;
        for (var i = 0u; i < {{ c }}u; i++) {
            sum += safe_exp(f32(x[first + i]) - largest);
        }
        for (var i = 0u; i < {{ c }}u; i++) {
            y[first + i] = {{ of.y }}(safe_exp(f32(x[first + i]) - largest) / sum);
        }
    }
}
