// y = max(a, b), NaN where either is
fn {{ apply }}(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(b, a, (a > b) | is_nan4(a));
}
