//! Samples as they come out of a TIFF, made levels of 8 or 16 bits.

use tiff::decoder::DecodingResult;

/// Levels of which the type's largest is white; samples of a pixel beside one another.
#[derive(Debug)]
pub(super) enum Levels {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

impl Levels {
    /// Of images of a size, with so many channels of so many bits.
    ///
    /// # Errors
    /// For samples of which nobody says what is white.
    pub(super) fn of(
        samples: DecodingResult,
        (size, channels, bits): ((u32, u32), usize, u64),
    ) -> Result<Self, String> {
        match samples {
            DecodingResult::U8(v) if bits == 8 => Ok(Self::Eight(v)),
            DecodingResult::U8(v) => {
                let most = (1_u16 << bits) - 1;
                let mut levels = Vec::with_capacity(size.0 as usize * size.1 as usize * channels);
                unpacked(&v, size.0 as usize * channels, bits as usize, |level| {
                    levels.push((u16::from(level) * 255 / most) as u8);
                });
                Ok(Self::Eight(levels))
            }
            DecodingResult::U16(v) => Ok(Self::Sixteen(v)),
            DecodingResult::F16(v) => floats(v.into_iter().map(f32::from)),
            DecodingResult::F32(v) => floats(v.into_iter()),
            DecodingResult::F64(v) => floats(v.into_iter().map(|level| level as f32)),
            _ => Err("is TIFF of integers that are not read; convert it to PNG or JPEG".into()),
        }
    }

    /// From planes one behind the other, of `pixels` samples each.
    pub(super) fn interleaved(self, pixels: usize, channels: usize) -> Self {
        fn mix<T: Copy>(planes: &[T], pixels: usize, channels: usize) -> Vec<T> {
            let pixels = pixels.min(planes.len() / channels.max(1));
            (0..pixels).flat_map(|i| (0..channels).map(move |c| planes[c * pixels + i])).collect()
        }
        match self {
            Self::Eight(v) => Self::Eight(mix(&v, pixels, channels)),
            Self::Sixteen(v) => Self::Sixteen(mix(&v, pixels, channels)),
        }
    }

    /// Divides colors by the alpha that they are multiplied with, the last of `channels`.
    pub(super) fn divided_by_alpha(mut self, channels: usize) -> Self {
        fn divide<T: Copy + Into<u32> + TryFrom<u32>>(
            levels: &mut [T],
            channels: usize,
            most: u32,
        ) {
            for pixel in levels.chunks_exact_mut(channels) {
                let alpha: u32 = pixel[channels - 1].into();
                for level in &mut pixel[..channels - 1] {
                    let value: u32 = (*level).into();
                    let whole =
                        (value * most + alpha / 2).checked_div(alpha).unwrap_or(0).min(most);
                    *level = T::try_from(whole).unwrap_or(*level);
                }
            }
        }
        match &mut self {
            Self::Eight(v) => divide(v, channels, 255),
            Self::Sixteen(v) => divide(v, channels, 65_535),
        }
        self
    }

    /// RGB of inks, the first four of `channels`: `(1 - ink)(1 - black)`.
    pub(super) fn cmyk_to_rgb(self, channels: usize) -> Self {
        fn mix<T: Copy + Into<u64> + TryFrom<u64>>(
            inks: &[T],
            channels: usize,
            most: u64,
        ) -> Vec<T> {
            let pixels = inks.chunks_exact(channels);
            pixels
                .flat_map(|inks| {
                    let light = |ink: T| most - ink.into();
                    [0, 1, 2].map(|c| {
                        let level = (light(inks[c]) * light(inks[3]) + most / 2) / most;
                        T::try_from(level).unwrap_or(inks[c])
                    })
                })
                .collect()
        }
        match self {
            Self::Eight(v) => Self::Eight(mix(&v, channels, 255)),
            Self::Sixteen(v) => Self::Sixteen(mix(&v, channels, 65_535)),
        }
    }
}

/// Rows of `width` samples of `bits` bits, each beginning on a byte, one sample after another.
pub(super) fn unpacked(bytes: &[u8], width: usize, bits: usize, mut take: impl FnMut(u8)) {
    let row = (width * bits).div_ceil(8).max(1);
    let mask = ((1_u16 << bits) - 1) as u8;
    for row in bytes.chunks(row) {
        for i in 0..width {
            let at = i * bits;
            let Some(&byte) = row.get(at / 8) else { return };
            take(byte >> (8 - bits - at % 8) & mask);
        }
    }
}

/// Floats of which 1 is white.
fn floats(levels: impl ExactSizeIterator<Item = f32>) -> Result<Levels, String> {
    // A hair beyond is the rounding of whoever wrote them.
    const HAIR: f32 = 1e-3;
    let mut out = Vec::with_capacity(levels.len());
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    for level in levels {
        if !level.is_finite() {
            return Err(
                "is TIFF of floats of which some are NaN or infinite; write it as 8 or 16 bits"
                    .into(),
            );
        }
        (least, most) = (least.min(level), most.max(level));
        out.push((level.clamp(0.0, 1.0) * 65_535.0).round() as u16);
    }
    if least < -HAIR || most > 1.0 + HAIR {
        return Err(format!(
            "is TIFF of floats from {least} to {most}, where 0 to 1 are black to white; scale them, or \
             write it as 8 or 16 bits"
        ));
    }
    Ok(Levels::Sixteen(out))
}
