// y = x: the input's places are stretched where it is loaded
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return x;
}
