// y = tanh x
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return safe_tanh4(x);
}
