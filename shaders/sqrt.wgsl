// y = sqrt(x)
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return sqrt(x);
}
