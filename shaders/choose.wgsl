// y = a where c > 0, else b: whatever the other value is, even NaN
fn {{ apply }}(c: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(b, a, c > vec4<f32>(0.0));
}
