// y = (x - mean) * scale + shift
fn {{ apply }}(x: vec4<f32>, mean: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>) -> vec4<f32> {
    return (x - mean) * scale + shift;
}
