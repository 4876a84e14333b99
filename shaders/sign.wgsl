// y = -1, 0 or 1
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return select(select(vec4<f32>(0.0), vec4<f32>(-1.0), x < vec4<f32>(0.0)), vec4<f32>(1.0), x > vec4<f32>(0.0));
}
