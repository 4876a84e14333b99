// y = 1 where x is neither NaN nor infinite, else 0
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(0.0), vec4<f32>(1.0), is_finite4(x));
}
