// y = e^x, finite for every number
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return safe_exp4(x);
}
