// y = value
fn {{ apply }}() -> vec4<f32> {
    return vec4<f32>({{ value }});
}
