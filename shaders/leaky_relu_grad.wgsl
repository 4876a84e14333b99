// gx = slope * g where y <= 0, g elsewhere, and so where y is NaN
fn {{ apply }}(y: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    return select({{ slope }} * g, g, (y > vec4<f32>(0.0)) | is_nan4(y));
}
