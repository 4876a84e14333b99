// y = |x|
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return abs(x);
}
