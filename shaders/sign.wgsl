// y = -1, 0 or 1; NaN where x is
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    let positive = select(vec4<f32>(0.0), vec4<f32>(1.0), x > vec4<f32>(0.0));
    let signed = select(positive, vec4<f32>(-1.0), x < vec4<f32>(0.0));
    return select(signed, x, is_nan4(x));
}
