// How fast the device multiplies and adds in registers: 12 independent chains per invocation,
// enough to hide the latency of a fused multiply-add on any GPU.
//
// params: [rounds, bits of the factor, bits of the summand]: read from memory so that nothing can
//         be computed at compile time
// y:      [invocations]: the chains' sum, so that nothing can be left out
//
// Per invocation and round: 12 chains * 8 steps * 2 operations.

@group(0) @binding(0) var<storage, read> params: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size({{ invocations }})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rounds = params[0];
    let factor = bitcast<f32>(params[1]);
    let summand = bitcast<f32>(params[2]);
    let start = f32(id.x & 1023u) * 0.001;
{% for chain in range(12) %}
    var c{{ chain }} = start + {{ chain }}.0;
{% endfor %}
    for (var round = 0u; round < rounds; round += 1u) {
{% for step in range(8) %}
{% for chain in range(12) %}
        c{{ chain }} = fma(c{{ chain }}, factor, summand);
{% endfor %}
{% endfor %}
    }
    y[id.x] = c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11;
}
