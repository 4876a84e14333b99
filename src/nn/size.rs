//! Which pictures a layer takes, and which it gives.

use crate::ops::conv::ConvSpec;

use super::Layer;

/// Pictures are no wider, networks no deeper in channels, than this: what lies above is a damaged
/// description.
const WIDEST: usize = 1 << 16;
/// Numbers of one picture on its way through a network.
const LARGEST: usize = 1 << 26;

impl Layer {
    /// The picture that it makes of one of size `[h, w, c]`.
    pub(super) fn size(&self, [h, w, c]: [usize; 3]) -> Result<[usize; 3], String> {
        let (to, from) = match *self {
            Self::Conv { spec, large, small, .. } => {
                ([spec.small[0], spec.small[1], small], [spec.large[0], spec.large[1], large])
            }
            Self::ConvTranspose { spec, large, small, .. } => {
                ([spec.large[0], spec.large[1], large], [spec.small[0], spec.small[1], small])
            }
            Self::BatchNorm { channels, cells, eps, .. } => {
                if !(eps >= 0.0 && eps.is_finite()) {
                    return Err(format!("its epsilon is {eps}"));
                }
                let cells = if cells == [1, 1] { [h, w] } else { cells };
                ([h, w, c], [cells[0], cells[1], channels])
            }
            Self::LeakyRelu { slope } if !(slope >= 0.0 && slope.is_finite()) => {
                return Err(format!("its slope is {slope}"));
            }
            Self::Label { classes: 0 } => return Err("there are no classes".into()),
            Self::Label { classes } => ([h, w, c.saturating_add(classes)], [h, w, c]),
            // The input was found to be no larger than can be.
            Self::Flatten => ([1, 1, h * w * c], [h, w, c]),
            _ => ([h, w, c], [h, w, c]),
        };
        if from != [h, w, c] {
            return Err(format!(
                "takes pictures of {from:?} (height, width, channels) and gets {:?}",
                [h, w, c]
            ));
        }
        if let Self::Conv { spec, .. } | Self::ConvTranspose { spec, .. } = *self {
            let numbers = [spec.kernel, spec.stride, spec.pad, spec.large, spec.small];
            let made = numbers.iter().flatten().all(|&x| x <= WIDEST)
                && ConvSpec::down(spec.large, spec.kernel, spec.stride, spec.pad)
                    .is_ok_and(|made| made == spec);
            if !made {
                return Err(format!("is no convolution: {spec:?}"));
            }
        }
        let numbers = to.iter().try_fold(1_usize, |n, &x| n.checked_mul(x));
        let fits = numbers.is_some_and(|n| (1..=LARGEST).contains(&n));
        if !fits || to.iter().any(|&x| x > WIDEST) {
            return Err(format!("would make pictures of {to:?} (height, width, channels)"));
        }
        Ok(to)
    }
}
