//! Functions of one value that give the same bits on every system.
//!
//! They are polynomials instead of calls into the system's library, which differs between systems,
//! and which a loop could call only by spilling its registers.

/// `c[0] + x (c[1] + x (c[2] + …))`.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    for &c in c[..N - 1].iter().rev() {
        sum = sum * x + c;
    }
    sum
}

/// `ln 2` in two parts: the first has so few digits that its products with exponents are exact.
pub(crate) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// The range in which `eˣ` is finite and normal: [`exp`] clamps to it.
pub(crate) const EXP_RANGE: [f32; 2] = [-87.0, 88.0];

/// 1.5 · 2²³: added to a small number, it leaves the nearest integer in the lowest bits.
pub(crate) const EXP_ROUND: f32 = 12_582_912.0;

/// The coefficients of [`exp`].
pub(crate) const EXP: [f32; 6] =
    [0.5, 1.666_666_5e-1, 4.166_579_6e-2, 8.333_452e-3, 1.398_2e-3, 1.987_569_1e-4];

/// `eˣ` with `x` clamped to [`EXP_RANGE`]: finite and normal everywhere, NaN where `x` is.
///
/// `x = n ln 2 + r` with |r| ≤ ½ ln 2, and the polynomial of Cephes' `expf` in r.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(EXP_RANGE[0], EXP_RANGE[1]);
    let shifted = x * std::f32::consts::LOG2_E + EXP_ROUND;
    let n = shifted - EXP_ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let power = r * r * polynomial(r, EXP) + r + 1.0;
    // 2ⁿ by its exponent.
    power * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// `ln x`: −∞ at 0, NaN below.
///
/// `x = 2ⁿ (1 + m)` with `1 + m` between √½ and √2, and the polynomial of Cephes' `logf` in m.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    // The bits of √½.
    const ROOT: u32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let normal = if tiny { x * 8_388_608.0 } else { x };
    let n = (normal.to_bits().wrapping_sub(ROOT) as i32) >> 23;
    let m = f32::from_bits(normal.to_bits().wrapping_sub((n << 23) as u32)) - 1.0;
    let n = (n - if tiny { 23 } else { 0 }) as f32;
    let c = [
        3.333_333e-1,
        -2.499_999_4e-1,
        2.000_071_5e-1,
        -1.666_805_8e-1,
        1.424_932_3e-1,
        -1.242_014_1e-1,
        1.167_699_9e-1,
        -1.151_461e-1,
        7.037_684e-2,
    ];
    let square = m * m;
    let small = m * square * polynomial(m, c) + n * LN_2[1] - 0.5 * square;
    let y = m + small + n * LN_2[0];
    if x > 0.0 && x < f32::INFINITY {
        y
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f32::NAN
    }
}

/// The coefficients of [`tanh`] near 0.
pub(crate) const TANH: [f32; 5] =
    [-3.333_328e-1, 1.333_144_2e-1, -5.373_971_6e-2, 2.063_909e-2, -5.704_988_7e-3];

/// Where [`tanh`] is no longer near 0.
pub(crate) const TANH_NEAR: f32 = 0.625;

/// `tanh x`: Cephes' `tanhf`, an odd polynomial near 0 and `1 − 2 / (e²ˣ + 1)` elsewhere.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let near = x + x * square * polynomial(square, TANH);
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < TANH_NEAR { near } else { far }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// `ln(1 + eˣ)`, as `max(x, 0) + ln(1 + e^−|x|)`.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let t = exp(-x.abs());
    let u = 1.0 + t;
    // Correct the logarithm by the rounding error of 1 + t, divided by u.
    let rest = log(u) + (t - (u - 1.0)) / u;
    // Not f32::max, which would turn a NaN into 0.
    (if x < 0.0 { 0.0 } else { x }) + rest
}

/// `[sin, cos]` of `2π k / 2²⁴`, where `k` is the upper 24 bits of `bits`: of [`crate::rng::unit`]
/// turns.
///
/// The nearest quarter turn is subtracted in integers, so the remainder is exact, and the
/// polynomials of Cephes' `sinf` and `cosf` are those for angles up to an eighth of a turn.
/// `shaders/lib/philox.wgsl` does the same, since a driver's own sin and cos may be off by 2⁻¹¹.
#[inline(always)]
pub(crate) fn sin_cos_of_turns(bits: u32) -> [f32; 2] {
    let k = (bits >> 8) as i32;
    let quarter = (k + (1 << 21)) >> 22;
    let x = (k - (quarter << 22)) as f32 * (std::f32::consts::FRAC_PI_2 / 4_194_304.0);
    let square = x * x;
    let sin = x + x * square * polynomial(square, [-1.666_665_5e-1, 8.332_161e-3, -1.951_529_6e-4]);
    let c = [4.166_664_6e-2, -1.388_731_6e-3, 2.443_315_7e-5];
    let cos = 1.0 - 0.5 * square + square * square * polynomial(square, c);
    match quarter & 3 {
        0 => [sin, cos],
        1 => [cos, -sin],
        2 => [-sin, -cos],
        _ => [-cos, sin],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst relative error of `f` against `want` at points throughout [low, high], in units of
    /// 2⁻²⁴ (half a unit in the last place of a value just above a power of two).
    fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64, [low, high]: [f32; 2]) -> f64 {
        let steps = 200_000;
        let numbers = (0..=steps).map(|i| low + (high - low) * (i as f32 / steps as f32));
        let errors = numbers.map(|x| {
            let (got, want) = (f64::from(f(x)), want(f64::from(x)));
            if got == want { 0.0 } else { (got - want).abs() / want.abs() * f64::from(1 << 24) }
        });
        errors.fold(0.0, |worst, e| if e > worst || e.is_nan() { e } else { worst })
    }

    #[test]
    fn functions_are_within_a_few_units_in_the_last_place() {
        let sigmoid64 = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus64 = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        let cases: [(&str, f64); 10] = [
            ("exp", worst(exp, f64::exp, EXP_RANGE)),
            ("exp near 0", worst(exp, f64::exp, [-1.0, 1.0])),
            ("log", worst(log, f64::ln, [1e-3, 1e3])),
            ("log near 1", worst(log, f64::ln, [0.7, 1.4])),
            ("log of tiny numbers", worst(log, f64::ln, [1e-45, 1e-36])),
            ("log of huge numbers", worst(log, f64::ln, [1e30, 3e38])),
            ("tanh", worst(tanh, f64::tanh, [-12.0, 12.0])),
            ("tanh near 0", worst(tanh, f64::tanh, [-1e-3, 1e-3])),
            ("sigmoid", worst(sigmoid, sigmoid64, [-87.0, 87.0])),
            ("softplus", worst(softplus, softplus64, [-87.0, 87.0])),
        ];
        for (name, worst) in cases {
            assert!(worst < 5.0, "{name}: {worst}");
        }
    }

    #[test]
    fn the_ends_are_right() {
        let inf = f32::INFINITY;
        assert_eq!(exp(-200.0), exp(EXP_RANGE[0]));
        assert_eq!(exp(inf), exp(EXP_RANGE[1]));
        assert!(exp(inf).is_finite() && exp(-inf).is_normal());
        assert_eq!((log(0.0), log(inf), log(1.0)), (-inf, inf, 0.0));
        assert!(log(-1.0).is_nan() && log(-inf).is_nan());
        assert_eq!((tanh(inf), tanh(-inf), tanh(0.0)), (1.0, -1.0, 0.0));
        assert_eq!((sigmoid(inf), softplus(inf)), (1.0, inf));
        assert!(sigmoid(-inf) < 1e-37 && softplus(-inf) < 1e-37);
        for f in [exp, log, tanh, sigmoid, softplus] {
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn turns_are_within_a_unit_in_the_last_place_of_one() {
        for i in 0..=100_000_u32 {
            let bits = i.wrapping_mul(42_949) ^ (i >> 3);
            let angle = std::f64::consts::TAU * f64::from(bits >> 8) / f64::from(1 << 24);
            let [sin, cos] = sin_cos_of_turns(bits).map(f64::from);
            assert!((sin - angle.sin()).abs() < 1.2e-7, "{bits}: sin {sin}");
            assert!((cos - angle.cos()).abs() < 1.2e-7, "{bits}: cos {cos}");
        }
        assert_eq!(sin_cos_of_turns(0), [0.0, 1.0]);
        assert_eq!(sin_cos_of_turns(1 << 30), [1.0, 0.0]);
    }
}
