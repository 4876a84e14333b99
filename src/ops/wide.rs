//! Loops over floats with the processor's widest registers.
//!
//! A loop inside [`widest`] is compiled once for every register width, and the processor picks one
//! at run time. Only the width differs: every sum and product is rounded separately and in the same
//! order (nothing is contracted to a fused multiply-add), so these loops give the same bits on
//! every processor. Such loops may call the functions of [`crate::math`].

use std::sync::OnceLock;

use pulp::{Arch, WithSimd};

/// The registers that loops use: the processor's widest, unless the environment variable
/// `DCGAN_REGISTERS` asks for narrower ones, as tests do: `scalar` for those of any processor,
/// `avx2`.
static REGISTERS: OnceLock<Arch> = OnceLock::new();

fn registers_by_environment() -> Arch {
    match std::env::var("DCGAN_REGISTERS").as_deref() {
        Ok("scalar") => Arch::Scalar,
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    }
}

/// The registers that the CPU's loops use.
#[inline(always)]
fn arch() -> Arch {
    *REGISTERS.get_or_init(registers_by_environment)
}

/// The name of the registers that the CPU's loops use; `scalar` without vectors.
#[must_use]
pub fn registers() -> &'static str {
    match format!("{:?}", arch()).split('(').next() {
        Some("V3") => "AVX2",
        Some("V4") => "AVX-512",
        Some("Neon" | "NeonFcma") => "NEON",
        _ => "scalar",
    }
}

/// Runs `work`, a closure that is `#[inline(always)]`, compiled for the widest registers.
#[inline(always)]
pub(super) fn widest<T>(work: impl FnOnce() -> T) -> T {
    arch().dispatch(work)
}

/// The same for work that handles the registers itself.
#[inline(always)]
pub(super) fn with_registers<W: WithSimd>(work: W) -> W::Output {
    arch().dispatch(work)
}

/// `y[i] = f([x[0][i], …, x[N − 1][i]])` for one to four inputs; all slices have one length.
#[inline(always)]
pub(super) fn map<const N: usize>(x: &[&[f32]], y: &mut [f32], f: impl Fn([f32; N]) -> f32) {
    const { assert!(N >= 1 && N <= 4) };
    let len = y.len();
    // Zipped: an index would have to be checked for every value, which prevents sharing registers.
    // Moved: the target of a reference would be read again after every write to `y`.
    widest(
        #[inline(always)]
        move || match N {
            1 => {
                for (y, &a) in y.iter_mut().zip(&x[0][..len]) {
                    *y = f([a; N]);
                }
            }
            2 => {
                for ((y, &a), &b) in y.iter_mut().zip(&x[0][..len]).zip(&x[1][..len]) {
                    let mut numbers = [a; N];
                    numbers[N - 1] = b;
                    *y = f(numbers);
                }
            }
            3 => {
                let inputs = x[0][..len].iter().zip(&x[1][..len]).zip(&x[2][..len]);
                for (y, ((&a, &b), &c)) in y.iter_mut().zip(inputs) {
                    let mut numbers = [a; N];
                    (numbers[N / 2], numbers[N - 1]) = (b, c);
                    *y = f(numbers);
                }
            }
            _ => {
                let inputs = x[0][..len].iter().zip(&x[1][..len]);
                let inputs = inputs.zip(x[2][..len].iter().zip(&x[3][..len]));
                for (y, ((&a, &b), (&c, &d))) in y.iter_mut().zip(inputs) {
                    let mut numbers = [a; N];
                    (numbers[N / 4], numbers[N / 2], numbers[N - 1]) = (b, c, d);
                    *y = f(numbers);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{exp, log, sigmoid, softplus, tanh};

    /// The same bits, whatever the width of the registers that a value goes through.
    #[test]
    fn neighbors_do_not_matter() {
        fn same(name: &str, f: impl Fn(f32) -> f32) {
            let x: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) / 7.0).collect();
            let mut y = vec![0.0; x.len()];
            map(
                &[&x],
                &mut y,
                #[inline(always)]
                |[x]| f(x),
            );
            for (&x, &y) in x.iter().zip(&y) {
                let alone = f(std::hint::black_box(x));
                assert!(alone.to_bits() == y.to_bits() || y.is_nan(), "{name} {x}: {y}, {alone}");
            }
        }
        same("exp", exp);
        same("log", log);
        same("tanh", tanh);
        same("sigmoid", sigmoid);
        same("softplus", softplus);
    }
}
