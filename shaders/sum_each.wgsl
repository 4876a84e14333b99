// One stage of y[p] = sum over r of x[start_p + r], for several parts p of x at once.
// Lane l of a part adds its values l, l + kept, l + 2 kept, ..., as a stage of sum.wgsl does.
//
// Variables: lanes: values of y. parts: {first: its first lane; start, end: where it lies in x;
// kept: its values of y; to: where they go}.
{% include "lib/index.wgsl" %}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let lane = flat_group(wid, nwg) * 64u + lid;
    if (lane < {{ lanes }}u) {
        var at = 0u;
        var end = 0u;
        var kept = 0u;
        var to = 0u;
{%- for part in parts %}
        if (lane >= {{ part.first }}u) {
            let l = lane - {{ part.first }}u;
            at = {{ part.start }}u + l;
            end = {{ part.end }}u;
            kept = {{ part.kept }}u;
            to = {{ part.to }}u + l;
        }
{%- endfor %}
        var sum = 0.0;
        for (; at < end; at += kept) {
            sum += x[at];
        }
        y[to] = sum;
    }
}
