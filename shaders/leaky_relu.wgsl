// y = x where x > 0, slope * x elsewhere
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return select({{ slope }} * x, x, x > vec4<f32>(0.0));
}
