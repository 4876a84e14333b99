// y = x limited to [low, high]; NaN stays NaN
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    let low = vec4<f32>({{ low }});
    let high = vec4<f32>({{ high }});
    return select(select(select(x, high, x > high), low, x < low), x, is_nan4(x));
}
