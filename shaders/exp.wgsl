// y = e^x, finite for every x but NaN
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return safe_exp4(x);
}
