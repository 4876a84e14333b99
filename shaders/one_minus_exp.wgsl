// y = 1 - exp(-rate * x); a series where rate * x is small, since 1 - exp loses the digits there
fn {{ apply }}(x: vec4<f32>) -> vec4<f32> {
    let t = -{{ rate }} * x;
    // -t (1 + t/2 (1 + t/3 (1 + ... t/8)))
    var series = 1.0 + t / 8.0;
    series = 1.0 + t / 7.0 * series;
    series = 1.0 + t / 6.0 * series;
    series = 1.0 + t / 5.0 * series;
    series = 1.0 + t / 4.0 * series;
    series = 1.0 + t / 3.0 * series;
    series = 1.0 + t / 2.0 * series;
    return select(1.0 - safe_exp4(t), -t * series, abs(t) < vec4<f32>(0.5));
}
