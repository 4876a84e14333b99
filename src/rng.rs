//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A value is a pure function of (seed, stream, step, index), so only the step counter has to be
//! saved, and a batch can be split in any way. `shaders/lib/philox.wgsl` generates the same
//! integers on the device; this file is its CPU counterpart and also serves the host (initial
//! weights, shuffling, latents of `sample`).

use crate::math;

/// The ten-round Philox4x32 bijection of `counter` under `key`.
#[must_use]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// 32-bit FNV-1a hash of a stream's name: streams of different names are independent.
#[must_use]
pub const fn stream_id(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let mut hash = 0x811c_9dc5_u32;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

/// A 32-bit integer as a uniform value in [0, 1): its upper 24 bits, exact in `f32`.
#[must_use]
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two independent standard normal values from two integers (Box and Muller, 1958).
#[must_use]
pub fn normal_pair(a: u32, b: u32) -> [f32; 2] {
    // 1 - [0, 1) is (0, 1]: the logarithm is finite.
    let radius = (-2.0 * math::log(1.0 - unit(a))).sqrt();
    let [sin, cos] = math::sin_cos_of_turns(b);
    [radius * cos, radius * sin]
}

/// The random values of one (seed, stream, step), in order of their index.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    step: u32,
    stream: u32,
    index: u64,
}

impl Stream {
    /// Values of the stream called `name` under `seed` at `step`.
    #[must_use]
    pub fn new(seed: u64, name: &str, step: u32) -> Self {
        Self::with_key([seed as u32, (seed >> 32) as u32], stream_id(name), step)
    }

    /// The same from the parts that a device keeps.
    #[must_use]
    pub fn with_key(key: [u32; 2], stream: u32, step: u32) -> Self {
        Self { key, step, stream, index: 0 }
    }

    /// Four integers: those at positions `4 * block .. 4 * block + 4`.
    #[must_use]
    pub fn block(&self, block: u64) -> [u32; 4] {
        let counter = [block as u32, self.step, self.stream, (block >> 32) as u32];
        philox4x32(counter, self.key)
    }

    /// The next integer.
    pub fn next_u32(&mut self) -> u32 {
        let word = self.block(self.index / 4)[(self.index % 4) as usize];
        self.index += 1;
        word
    }

    /// The next integer below `bound`, without bias (Lemire, 2019). `bound` must not be 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }

    /// Fills `out` with uniform values in [0, 1).
    pub fn fill_uniform(&self, out: &mut [f32]) {
        for (block, out) in out.chunks_mut(4).enumerate() {
            let bits = self.block(block as u64);
            for (out, bits) in out.iter_mut().zip(bits) {
                *out = unit(bits);
            }
        }
    }

    /// Fills `out` with standard normal values.
    pub fn fill_normal(&self, out: &mut [f32]) {
        for (block, out) in out.chunks_mut(4).enumerate() {
            let [a, b, c, d] = self.block(block as u64);
            let [p, q] = normal_pair(a, b);
            let [r, s] = normal_pair(c, d);
            out.copy_from_slice(&[p, q, r, s][..out.len()]);
        }
    }

    /// A permutation of `0..n` (Fisher and Yates), drawn from this stream.
    #[must_use]
    pub fn permutation(mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            let j = self.below(i as u32 + 1) as usize;
            order.swap(i, j);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from the authors' Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn normals_have_unit_variance_and_permutations_permute() {
        let mut x = vec![0.0; 100_000];
        Stream::new(7, "test", 3).fill_normal(&mut x);
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.02, "mean {mean}, variance {var}");

        let mut p = Stream::new(1, "shuffle", 0).permutation(1000);
        assert!(p.iter().enumerate().filter(|&(i, &p)| i as u32 == p).count() < 20);
        p.sort_unstable();
        assert!(p.iter().enumerate().all(|(i, &p)| i as u32 == p));
    }
}
