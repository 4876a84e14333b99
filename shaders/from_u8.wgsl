// y = x / 127.5 - 1, for the bytes 0..255 that were loaded as whole floats
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    return x * (1.0 / 127.5) - 1.0;
}
