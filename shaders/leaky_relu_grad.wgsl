// gx = g where y > 0, slope * g elsewhere
fn {{ apply }}(y: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    return select({{ slope }} * g, g, y > vec4<f32>(0.0));
}
