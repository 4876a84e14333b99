// Evaluates every function of lib/math.wgsl on this device: a self-test with known answers.
//
// x: [workgroups]
// y: [workgroups, 14]: tanh, exp, sigmoid, softplus, is NaN, is finite, the same by vec4, and log by both

{% include "lib/math.wgsl" %}
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) wid: vec3<u32>) {
    let a = x[wid.x];
    let v = vec4<f32>(a);
    let at = wid.x * 14u;
    y[at] = safe_tanh(a);
    y[at + 1u] = safe_exp(a);
    y[at + 2u] = sigmoid(a);
    y[at + 3u] = softplus(a);
    y[at + 4u] = f32(is_nan(a));
    y[at + 5u] = f32(is_finite(a));
    y[at + 6u] = safe_tanh4(v).x;
    y[at + 7u] = safe_exp4(v).y;
    y[at + 8u] = sigmoid4(v).z;
    y[at + 9u] = softplus4(v).w;
    y[at + 10u] = f32(is_nan4(v).x);
    y[at + 11u] = f32(is_finite4(v).y);
    y[at + 12u] = safe_log(a);
    y[at + 13u] = safe_log4(v).z;
}
