// gx = g where low <= x <= high, else 0
fn {{ apply }}(x: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(0.0), g, (x >= vec4<f32>({{ low }})) & (x <= vec4<f32>({{ high }})));
}
