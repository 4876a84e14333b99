// y = max(a, b), written so that a NaN in b survives
fn {{ apply }}(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(b, a, a > b);
}
