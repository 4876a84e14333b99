// y = x, stretched: the kernel around it does the stretching
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return x;
}
