// y = ln x
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return safe_log4(x);
}
