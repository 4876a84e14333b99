// y = ln(1 + e^x)
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return softplus4(x);
}
