// y = scale * x + shift
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return {{ scale }} * x + {{ shift }};
}
