// y = slope * x where x <= 0, x elsewhere, and so where x is NaN
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return select({{ slope }} * x, x, (x > vec4<f32>(0.0)) | is_nan4(x));
}
