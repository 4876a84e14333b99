// y = 1 / x
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / x;
}
