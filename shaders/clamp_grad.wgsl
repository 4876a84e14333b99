// gx = 0 where x < low or x > high, else g, and so where x is NaN
fn {{ apply }}(x: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    let outside = (x < vec4<f32>({{ low }})) | (x > vec4<f32>({{ high }}));
    return select(g, vec4<f32>(0.0), outside & !is_nan4(x));
}
