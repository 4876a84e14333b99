// Functions that give the same values, within rounding, on every driver. The built-in tanh and exp
// are not used anywhere else: several back ends compute tanh as (t - 1) / (t + 1) with t = exp(2x),
// which is NaN for x above 44, and exp past 88 is infinite, which fast-math drivers may turn into
// anything. NaN in, NaN out: clamp, min and max of most drivers turn NaN into an ordinary value,
// and a network that has diverged would look healthy.
// Each function is defined for f32 and, with the suffix 4, for vec4<f32>.

// Whether x is NaN, by its bits: fast-math compilers fold x != x to false.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// Whether x is neither NaN nor infinite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

fn is_finite4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x7f800000u);
}

// tanh(x); at 15 the f32 result is already 1.
fn safe_tanh(x: f32) -> f32 {
    return select(tanh(clamp(x, -15.0, 15.0)), x, is_nan(x));
}

fn safe_tanh4(x: vec4<f32>) -> vec4<f32> {
    return select(tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0))), x, is_nan4(x));
}

// exp(x), between 1.6e-38 and 1.7e38: never infinite, never denormal.
fn safe_exp(x: f32) -> f32 {
    return select(exp(clamp(x, -87.0, 88.0)), x, is_nan(x));
}

fn safe_exp4(x: vec4<f32>) -> vec4<f32> {
    return select(exp(clamp(x, vec4<f32>(-87.0), vec4<f32>(88.0))), x, is_nan4(x));
}

// 1 / (1 + exp(-x)), without overflow at either end.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + safe_exp(-x));
}

fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + safe_exp4(-x));
}

// ln(x) by the polynomial of src/math.rs: WGSL lets a driver's own be off by 2^-21 near 1, and
// return anything for NaN.
{% for four, f, u, i in [["", "f32", "u32", "i32"], ["4", "vec4<f32>", "vec4<u32>", "vec4<i32>"]] %}
fn safe_log{{ four }}(x: {{ f }}) -> {{ f }} {
    let tiny = x < {{ f }}(1.17549435e-38);
    let bits = bitcast<{{ u }}>(select(x, 8388608.0 * x, tiny));
    let n = bitcast<{{ i }}>(bits - {{ u }}(0x3f3504f3u)) >> {{ u }}(23u);
    let m = bitcast<{{ f }}>(bits - (bitcast<{{ u }}>(n) << {{ u }}(23u))) - 1.0;
    let e = {{ f }}(n) - select({{ f }}(0.0), {{ f }}(23.0), tiny);
    let z = m * m;
    var p = 7.037684e-2 * m - 1.151461e-1;
    p = p * m + 1.1676999e-1;
    p = p * m - 1.2420141e-1;
    p = p * m + 1.4249323e-1;
    p = p * m - 1.6668058e-1;
    p = p * m + 2.0000715e-1;
    p = p * m - 2.4999994e-1;
    p = p * m + 3.333333e-1;
    let y = m + (m * z * p - 2.1219444e-4 * e - 0.5 * z) + 0.6933594 * e;
    // NaN below 0, minus infinity at 0; infinity and NaN stay.
    let own = bitcast<{{ u }}>(x);
    let below = bitcast<{{ f }}>(own | {{ u }}(0x7fc00000u));
    let at_0 = bitcast<{{ f }}>((own & {{ u }}(0x7fffffffu)) ^ {{ u }}(0xff800000u));
    let special = select(select(below, x, x > {{ f }}(0.0)), at_0, x == {{ f }}(0.0));
    let usual = is_finite{{ four }}(x) & (x > {{ f }}(0.0));
    return select(select(special, y, usual), x, is_nan{{ four }}(x));
}
{% endfor %}

// log(1 + t) for t in [0, 1]. A series below 1/16, because 1 + t rounds away the small digits of t.
fn log1p_unit(t: f32) -> f32 {
    let series = t * (1.0 - t * (0.5 - t * (0.33333333 - t * (0.25 - t * (0.2 - t * 0.16666667)))));
    return select(safe_log(1.0 + t), series, t < 0.0625);
}

fn log1p_unit4(t: vec4<f32>) -> vec4<f32> {
    let series = t * (1.0 - t * (0.5 - t * (0.33333333 - t * (0.25 - t * (0.2 - t * 0.16666667)))));
    return select(safe_log4(1.0 + t), series, t < vec4<f32>(0.0625));
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + log1p_unit(safe_exp(-abs(x)));
}

fn softplus4(x: vec4<f32>) -> vec4<f32> {
    return max(x, vec4<f32>(0.0)) + log1p_unit4(safe_exp4(-abs(x)));
}
