//! Which pictures a layer takes, and which it gives.

use crate::ops::conv::ConvSpec;
use crate::tensor::elements;

use super::{Layer, attention};

/// Pictures are no wider, networks no deeper in channels, than this: what lies above is a damaged
/// description.
const WIDEST: usize = 1 << 16;
/// Numbers of one picture on its way through a network.
const LARGEST: usize = 1 << 26;
/// Layers one after another.
const DEEPEST: usize = 1 << 14;

/// The picture `[h, w, c]` that each of the layers called `scope.0`, … gives for one of `input`.
/// `reference` says whether there is a reference batch.
pub(super) fn all(
    layers: &[Layer],
    scope: &str,
    input: [usize; 3],
    reference: &mut bool,
) -> Result<Vec<[usize; 3]>, String> {
    if layers.len() > DEEPEST {
        return Err(format!("{scope} has {} layers, and at most {DEEPEST} can be", layers.len()));
    }
    fits(input)?;
    let mut at = input;
    let mut all = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let name = format!("{scope}.{i}");
        let fail = |what: String| format!("layer {name}: {what}");
        if let Layer::Reference { .. } = layer {
            if name != "main.0" {
                return Err(fail("a reference batch can only be a network's first layer".into()));
            }
            *reference = true;
        } else if let (Layer::VirtualBatchNorm { .. }, false) = (layer, *reference) {
            return Err(fail("there is no reference batch at the network's start".into()));
        } else if let (Some(_), true) = (layer.classes(), *reference) {
            return Err(fail("a network with a reference batch cannot be told classes".into()));
        }
        at = match layer {
            Layer::Residual { main, shortcut } => {
                let mut end = |part: &str, layers| {
                    let sizes = self::all(layers, &format!("{name}.{part}"), at, reference)?;
                    Ok::<_, String>(sizes.last().copied().unwrap_or(at))
                };
                let (main, shortcut) = (end("main", main)?, end("shortcut", shortcut)?);
                if main != shortcut {
                    return Err(fail(format!(
                        "its main path makes pictures of {main:?} (height, width, channels), and \
                         its shortcut of {shortcut:?}"
                    )));
                }
                main
            }
            _ => layer.size(at).map_err(fail)?,
        };
        all.push(at);
    }
    Ok(all)
}

/// Whether there can be pictures of this height, width and number of channels.
fn fits(picture: [usize; 3]) -> Result<(), String> {
    let numbers = elements(&picture).is_some_and(|n| (1..=LARGEST).contains(&n));
    if numbers && picture.iter().all(|&x| x <= WIDEST) {
        return Ok(());
    }
    Err(format!("there would be pictures of {picture:?} (height, width, channels)"))
}

fn positive(what: &str, number: f32) -> Result<(), String> {
    if number > 0.0 && number.is_finite() { Ok(()) } else { Err(format!("its {what} is {number}")) }
}

impl Layer {
    /// The picture that it makes of one of size `[h, w, c]`, which is no larger than can be.
    fn size(&self, [h, w, c]: [usize; 3]) -> Result<[usize; 3], String> {
        self.check_numbers()?;
        let (to, from) = match *self {
            Self::Conv { spec, large, small, .. } => {
                ([spec.small[0], spec.small[1], small], [spec.large[0], spec.large[1], large])
            }
            Self::ConvTranspose { spec, large, small, .. } => {
                ([spec.large[0], spec.large[1], large], [spec.small[0], spec.small[1], small])
            }
            Self::BatchNorm { channels, cells, .. } => {
                let cells = if cells == [1, 1] { [h, w] } else { cells };
                ([h, w, c], [cells[0], cells[1], channels])
            }
            Self::ConditionalBatchNorm { channels, .. }
            | Self::VirtualBatchNorm { channels, .. }
            | Self::GroupNorm { channels, .. } => ([h, w, c], [h, w, channels]),
            Self::Reference { size, .. } => ([h, w, c], size),
            Self::Label { classes } => ([h, w, c.saturating_add(classes)], [h, w, c]),
            Self::Codes { categories, numbers, .. } => {
                ([h, w, c], [1, 1, c.max(categories.saturating_add(numbers))])
            }
            Self::Flatten => ([1, 1, h * w * c], [h, w, c]),
            Self::Upsample => ([2 * h, 2 * w, c], [h, w, c]),
            Self::AveragePool => ([h / 2, w / 2, c], [h / 2 * 2, w / 2 * 2, c]),
            Self::SumPool => ([1, 1, c], [h, w, c]),
            Self::MinibatchStd { .. } => ([h, w, c + 1], [h, w, c]),
            Self::MinibatchDiscrimination { features, kernels, .. } => {
                ([1, 1, features.saturating_add(kernels)], [1, 1, features])
            }
            Self::Attention { channels, .. } => ([h, w, c], [h / 2 * 2, w / 2 * 2, channels]),
            Self::Projection { features, .. } => ([1, 1, 1], [1, 1, features]),
            _ => ([h, w, c], [h, w, c]),
        };
        if from != [h, w, c] {
            return Err(format!(
                "takes pictures of {from:?} (height, width, channels) and gets {:?}",
                [h, w, c]
            ));
        }
        fits(to)?;
        Ok(to)
    }

    /// Whether the numbers of its description can be.
    fn check_numbers(&self) -> Result<(), String> {
        match *self {
            Self::Conv { spec, .. } | Self::ConvTranspose { spec, .. } => {
                let numbers = [spec.kernel, spec.stride, spec.pad, spec.large, spec.small];
                let made = numbers.iter().flatten().all(|&x| x <= WIDEST)
                    && ConvSpec::down(spec.large, spec.kernel, spec.stride, spec.pad)
                        .is_ok_and(|made| made == spec);
                if !made {
                    return Err(format!("is no convolution: {spec:?}"));
                }
            }
            Self::BatchNorm { eps, .. } if !(eps >= 0.0 && eps.is_finite()) => {
                return Err(format!("its epsilon is {eps}"));
            }
            Self::LeakyRelu { slope } if !(slope >= 0.0 && slope.is_finite()) => {
                return Err(format!("its slope is {slope}"));
            }
            Self::GroupNorm { groups, channels, eps } => {
                positive("epsilon", eps)?;
                if groups == 0 || !channels.is_multiple_of(groups) {
                    return Err(format!("{channels} channels cannot be cut into {groups} groups"));
                }
            }
            Self::VirtualBatchNorm { eps, .. } | Self::PixelNorm { eps } => {
                positive("epsilon", eps)?;
            }
            Self::ConditionalBatchNorm { eps, .. } => positive("epsilon", eps)?,
            Self::Noise { std } => positive("standard deviation", std)?,
            Self::Dropout { p } if !(0.0..1.0).contains(&p) => {
                return Err(format!("drops with probability {p}; it must lie in [0, 1)"));
            }
            Self::Reference { count, .. } if !(1..=WIDEST).contains(&count) => {
                return Err(format!("has {count} pictures"));
            }
            Self::MinibatchDiscrimination { kernels, dims, .. }
                if ![kernels, dims].iter().all(|n| (1..=WIDEST).contains(n)) =>
            {
                return Err(format!("compares by {kernels} kernels of {dims} dimensions"));
            }
            Self::MinibatchStd { group: 1 } => {
                return Err("compares groups of 1 picture, which always deviates by nothing".into());
            }
            Self::Attention { channels, .. } if !channels.is_multiple_of(attention::DIVISOR) => {
                return Err(format!(
                    "has {channels} channels, and needs a multiple of {}",
                    attention::DIVISOR
                ));
            }
            _ => {}
        }
        match self.classes() {
            Some(0) => Err("there are no classes".into()),
            Some(classes) if classes > WIDEST => Err(format!("there are {classes} classes")),
            _ => Ok(()),
        }
    }
}
