//! Derives the sizes of images, and the strides and paddings between them.
//!
//! A convolution takes images of `l` pixels to `s = ⌊(l + 2 p − k) / stride⌋ + 1`, and a transposed
//! one back, with what PyTorch calls `output_padding` for the rest. Shapes show only `k`. Known
//! sizes often leave one stride and padding; if they leave several, and the other layers with the
//! same kernel do not decide, nothing is chosen here.

use crate::nn::Layer;
use crate::ops::conv::ConvSpec;

use super::chain::{Block, side};
use super::items::{Context, Item};
use super::roles::Role;

/// Stride and padding of a convolution that is fully known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) stride: [usize; 2],
    /// Of the upper and left edges.
    pub(super) pad: [usize; 2],
    /// What a transposed convolution adds at the lower and right edges; negative if it crops there.
    pub(super) output_pad: [isize; 2],
}

/// The largest side that a network's images may have.
const LONGEST: usize = 1 << 14;

/// The sizes of a network's images.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) input: [usize; 2],
    /// Before and after each layer.
    pub(super) around: Vec<[[usize; 2]; 2]>,
    /// The geometry of each layer with weights.
    pub(super) specs: Vec<Option<ConvSpec>>,
}

/// Finds the sizes of the images between layers, and the geometry of each layer.
///
/// # Errors
/// A message that names what would decide, if something is ambiguous.
pub(super) fn resolve(items: &[Item], context: Context<'_>) -> Result<Sizes, String> {
    let (input, three) = match context.role {
        Role::Generator => ([1, 1], false),
        Role::Discriminator => first_image(items, context)?,
    };
    let count = blocks(items).count();
    let given = given(count, context)?;
    let mut around = Vec::new();
    let (mut at, mut number) = (input, 0);
    for item in items {
        let after = match item {
            Item::Weights(block) => {
                number += 1;
                match given.get(number - 1) {
                    Some(&given) => given,
                    None => after(block, at, [number, count], three, context)?,
                }
            }
            Item::Plain(Layer::Upsample | Layer::Bilinear) => at.map(|side| side.saturating_mul(2)),
            Item::Plain(Layer::AveragePool) => at.map(|side| side / 2),
            Item::Norm(_) | Item::Plain(_) => at,
        };
        if after.iter().any(|&side| side > LONGEST) {
            return Err(format!("would have images of {after:?} (height, width)"));
        }
        around.push([at, after]);
        at = after;
    }
    let specs = specs(items, &around, context)?;
    Ok(Sizes { input, around, specs })
}

/// The given sizes after each of `count` convolutions; empty if none were given.
fn given(count: usize, context: Context<'_>) -> Result<&[[usize; 2]], String> {
    let flag = context.sides_flag();
    let (g_sides, d_sides) = (&context.assumptions.g_sides, &context.assumptions.d_sides);
    match (context.role, d_sides.split_first()) {
        (Role::Generator, _) if g_sides.is_empty() || g_sides.len() == count => Ok(g_sides),
        (Role::Generator, _) => Err(format!(
            "has {count} convolutions, so {flag} wants as many sizes, not {}",
            g_sides.len()
        )),
        (Role::Discriminator, None) => Ok(&[]),
        (Role::Discriminator, Some((_, rest))) if rest.len() == count => Ok(rest),
        (Role::Discriminator, Some(_)) => Err(format!(
            "has {count} convolutions, so {flag} wants {} sizes, from the image to the logit, not \
             {}",
            count + 1,
            d_sides.len()
        )),
    }
}

/// The output size of a layer for images of size `at`, by its own geometry or the usual one; it is
/// the `number`th of `count`. With `three`, kernels of 3 halve.
fn after(
    block: &Block,
    at: [usize; 2],
    [number, count]: [usize; 2],
    three: bool,
    context: Context<'_>,
) -> Result<[usize; 2], String> {
    let key = &block.key;
    if let Some(geometry) = block.geometry {
        return geometry.after(block, at).ok_or_else(|| {
            let flag = context.layers_flag();
            format!("{key}: its stride and padding do not suit images of {at:?} ({flag})")
        });
    }
    match (context.role, block.kernel()) {
        (Role::Discriminator, _) if number == count => Ok([1, 1]),
        (Role::Discriminator, kernel) => {
            let kernel = kernel.unwrap_or([1, 1]);
            Ok([0, 1].map(|axis| if halves(kernel[axis], three) { at[axis] / 2 } else { at[axis] }))
        }
        (Role::Generator, None) => match block.seen {
            Some(seen) => Ok(seen),
            None => {
                let pixels = block.weight.shape()[0] / block.to;
                let side = side(pixels).ok_or_else(|| {
                    format!(
                        "{key} outputs {pixels} pixels, which are not a square: --g-sides \
                         specifies the sizes of its images"
                    )
                })?;
                Ok([side, side])
            }
        },
        (Role::Generator, Some(kernel)) if number == 1 => Ok(kernel),
        (Role::Generator, Some(kernel)) if block.up => {
            let odd = kernel.iter().any(|k| k % 2 == 1 && *k > 1);
            if odd && !context.authors {
                return Err(format!(
                    "{key} is a transposed convolution with a kernel of {}, which may keep the size \
                     of its images as well as double it: --g-sides says which sizes they have \
                     after each layer, as in --g-sides 4,8,16,32",
                    shown(kernel)
                ));
            }
            Ok([0, 1].map(|axis| at[axis].saturating_mul(if kernel[axis] > 1 { 2 } else { 1 })))
        }
        (Role::Generator, Some(_)) => Ok(at),
    }
}

/// Describes a kernel.
fn shown([h, w]: [usize; 2]) -> String {
    if h == w { h.to_string() } else { format!("{h}x{w}") }
}

/// Whether a discriminator's hidden convolution halves: a kernel of 3 keeps the size if others
/// halve it; if all kernels are 3, they halve it (`three`).
fn halves(kernel: usize, three: bool) -> bool {
    kernel > 1 && (kernel != 3 || three)
}

/// Whether all hidden convolutions have kernels of 3.
fn all_three(items: &[Item]) -> bool {
    let blocks: Vec<&Block> = blocks(items).collect();
    let hidden = &blocks[..blocks.len().saturating_sub(1)];
    hidden.iter().all(|block| block.kernel() == Some([3, 3]))
}

fn blocks(items: &[Item]) -> impl DoubleEndedIterator<Item = &Block> {
    items.iter().filter_map(|item| match item {
        Item::Weights(block) => Some(&**block),
        _ => None,
    })
}

/// The size of a discriminator's input images, as given, or counted back from its last layer, and
/// whether kernels of 3 halve it.
fn first_image(items: &[Item], context: Context<'_>) -> Result<([usize; 2], bool), String> {
    let three = all_three(items);
    if let Some(&first) = context.assumptions.d_sides.first() {
        return Ok((first, three));
    }
    let last = blocks(items).next_back().ok_or("holds no convolution")?;
    let base = match last.kernel() {
        Some(kernel) => kernel,
        None => {
            let pixels = last.weight.shape()[1] / last.from;
            let side = side(pixels).ok_or_else(|| {
                format!(
                    "{} takes {pixels} pixels, which are not a square: --d-sides \
                     specifies the sizes of its images",
                    last.key
                )
            })?;
            [side, side]
        }
    };
    let walk = |three: bool| {
        let mut at = base;
        let mut hidden = items.iter().rev().skip_while(|item| !matches!(item, Item::Weights(_)));
        hidden.next();
        for item in hidden {
            at = match item {
                Item::Weights(block) => before(block, at, three),
                Item::Plain(Layer::AveragePool) => at.map(|side| side.saturating_mul(2)),
                Item::Plain(_) | Item::Norm(_) => at,
            };
        }
        at
    };
    let known = blocks(items).all(|block| block.geometry.is_some() || block.linear);
    Ok(match context.image {
        // If everything else is known, any image's size can be followed.
        Some(image) if known => (image, three),
        Some(image) if walk(!three) == image => (image, !three),
        _ => (walk(three), three),
    })
}

/// The input size of a discriminator's hidden layer whose output size is `at`.
fn before(block: &Block, at: [usize; 2], three: bool) -> [usize; 2] {
    let kernel = block.kernel().unwrap_or([1, 1]);
    [0, 1].map(|axis| match block.geometry {
        None => at[axis].saturating_mul(if halves(kernel[axis], three) { 2 } else { 1 }),
        Some(Geometry { stride, pad, .. }) => {
            let stride = stride[axis];
            let least = (at[axis].saturating_sub(1).saturating_mul(stride) + kernel[axis])
                .saturating_sub(2 * pad[axis]);
            let even = at[axis].saturating_mul(stride);
            if (least..least + stride).contains(&even) { even } else { least }
        }
    })
}

impl Geometry {
    /// The output size of a layer for images of size `at`.
    fn after(self, block: &Block, at: [usize; 2]) -> Option<[usize; 2]> {
        let kernel = block.kernel()?;
        let mut after = [0; 2];
        for axis in 0..2 {
            let (stride, pad) = (self.stride[axis], self.pad[axis]);
            after[axis] = if block.up {
                let whole =
                    at[axis].checked_sub(1)?.checked_mul(stride)?.checked_add(kernel[axis])?;
                whole.checked_add_signed(self.output_pad[axis])?.checked_sub(2 * pad)?
            } else {
                let room = at[axis].checked_add(2 * pad)?.checked_sub(kernel[axis])?;
                room.checked_div(stride)? + 1
            };
        }
        (after[0] > 0 && after[1] > 0).then_some(after)
    }
}

/// The geometry of each layer with weights.
fn specs(
    items: &[Item],
    around: &[[[usize; 2]; 2]],
    context: Context<'_>,
) -> Result<Vec<Option<ConvSpec>>, String> {
    let sides_flag = context.sides_flag();
    let mut all = Vec::new();
    for (item, [before, after]) in items.iter().zip(around) {
        let Item::Weights(block) = item else {
            all.push(None);
            continue;
        };
        let (large, small) = if block.up { (*after, *before) } else { (*before, *after) };
        let kernel = block.kernel().unwrap_or(large);
        let readings = match block.geometry {
            Some(Geometry { stride, pad, .. }) => vec![(stride, pad)],
            None => readings(large, small, kernel, context.authors),
        };
        if readings.is_empty() {
            let [l, s, k] = (0..2)
                .map(|axis| [large[axis], small[axis], kernel[axis]])
                .find(|&[l, s, k]| along(l, s, k).is_empty())
                .unwrap_or([large[0], small[0], kernel[0]]);
            return Err(format!(
                "{}: no kernel of {k} goes from {l} to {s} pixels; {sides_flag} says which sizes \
                 its images have",
                block.key
            ));
        }
        all.push(Some((&**block, large, small, kernel, readings)));
    }
    let specs = all.iter().map(|one| {
        let Some((block, large, small, kernel, readings)) = one else { return Ok(None) };
        let mut left = readings.clone();
        if left.len() > 1 {
            // Layers with the same kernel are alike, if possible.
            let alike = all.iter().flatten().filter(|(other, _, small, k, _)| {
                k == kernel && other.up == block.up && *small != [1, 1]
            });
            for (.., theirs) in alike {
                left.retain(|reading| theirs.contains(reading));
            }
        }
        let &[(stride, pad)] = &left[..] else {
            return Err(several(block, *large, *small, *kernel, readings, context));
        };
        let spec = ConvSpec::down(*large, *kernel, stride, pad)
            .map_err(|what| format!("{}: {what}", block.key))?;
        match spec.small == *small {
            true => Ok(Some(spec)),
            false => Err(format!("{}: {large:?} does not become {small:?}", block.key)),
        }
    });
    specs.collect()
}

/// The error for an ambiguous layer, with the words for each way to read it.
fn several(
    block: &Block,
    large: [usize; 2],
    small: [usize; 2],
    kernel: [usize; 2],
    readings: &[([usize; 2], [usize; 2])],
    context: Context<'_>,
) -> String {
    let ways: Vec<String> = readings
        .iter()
        .map(|(stride, pad)| format!("stride {} and padding {}", shown(*stride), shown(*pad)))
        .collect();
    let (from, to) = if block.up { (small, large) } else { (large, small) };
    let ([[stride, _], [pad, _]], word) = match (readings.first(), block.up) {
        (Some(&(stride, pad)), true) => ([stride, pad], "deconv"),
        (Some(&(stride, pad)), false) => ([stride, pad], "conv"),
        (None, _) => ([[1; 2], [0; 2]], "conv"),
    };
    format!(
        "{}: a kernel of {} goes from {} to {} pixels with {}: {} says which, as {word}:{stride}:{pad}",
        block.key,
        shown(kernel),
        shown(from),
        shown(to),
        ways.join(" as well as with "),
        context.layers_flag()
    )
}

/// Strides and paddings from `large` to `small`; the authors' follow from the sizes.
fn readings(
    large: [usize; 2],
    small: [usize; 2],
    kernel: [usize; 2],
    authors: bool,
) -> Vec<([usize; 2], [usize; 2])> {
    let axes = [0, 1].map(|axis| {
        let mut all = along(large[axis], small[axis], kernel[axis]);
        let ratio = (2 * large[axis] + small[axis]) / (2 * small[axis]).max(1);
        if authors && all.iter().any(|&(stride, _)| stride == ratio) {
            all.retain(|&(stride, _)| stride == ratio);
        }
        all
    });
    let mut pairs = Vec::new();
    for &(s0, p0) in &axes[0] {
        for &(s1, p1) in &axes[1] {
            pairs.push(([s0, s1], [p0, p1]));
        }
    }
    // A square kernel treats both axes alike, if possible.
    let square =
        |(stride, pad): &([usize; 2], [usize; 2])| stride[0] == stride[1] && pad[0] == pad[1];
    if kernel[0] == kernel[1] && pairs.iter().any(square) {
        pairs.retain(square);
    }
    pairs
}

/// Stride and padding along one axis: those with a stride of 1 or 2, or, if there are none, the one
/// with the ratio of the sizes. A padding is at most half of the kernel.
fn along(l: usize, s: usize, k: usize) -> Vec<(usize, usize)> {
    let in_use = |x: usize| (1..=LONGEST).contains(&x);
    if !(in_use(l) && in_use(s) && in_use(k)) || s > l {
        return Vec::new();
    }
    // l + 2 p − k = (s − 1) stride + rest, 0 ≤ rest < stride
    let of = |stride: usize, most: usize| {
        let covered = (s - 1) * stride + k;
        let pads = (0..stride).filter_map(move |rest| {
            let twice = (covered + rest).checked_sub(l)?;
            (twice % 2 == 0 && twice / 2 <= most).then_some((stride, twice / 2))
        });
        pads.collect::<Vec<_>>()
    };
    // A single output has no neighbor: the stride does not matter.
    let strides: &[usize] = if s == 1 { &[1] } else { &[1, 2] };
    let small: Vec<_> = strides.iter().flat_map(|&stride| of(stride, k / 2)).collect();
    if !small.is_empty() || s == 1 {
        return small;
    }
    let mut large = of((2 * l + s) / (2 * s), k - 1);
    large.truncate(1);
    large
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_decide_stride_and_padding() {
        let cases = [
            // large, small, kernel, stride, pad
            (64, 32, 4, 2, 1),
            (64, 32, 5, 2, 2),
            (64, 32, 3, 2, 1),
            (64, 32, 2, 2, 0),
            (64, 32, 6, 2, 2),
            (64, 32, 1, 2, 0),
            (4, 1, 4, 1, 0),
            (7, 1, 7, 1, 0),
            (7, 4, 3, 2, 1),
            (14, 14, 3, 1, 1),
            (14, 14, 5, 1, 2),
            (9, 4, 3, 2, 0),
            (30, 10, 5, 3, 1),
            (8, 4, 4, 2, 1),
            (4, 2, 4, 2, 1),
            (13, 6, 3, 2, 0),
            (28, 13, 4, 2, 0),
        ];
        for (large, small, k, stride, pad) in cases {
            let found = readings([large; 2], [small; 2], [k; 2], false);
            assert_eq!(found, [([stride; 2], [pad; 2])], "{large} {small} {k}");
        }
        for (large, small, k) in [(64, 65, 3), (14, 14, 4), (0, 0, 3), (9, 0, 3)] {
            assert!(
                readings([large; 2], [small; 2], [k; 2], false).is_empty(),
                "{large} {small} {k}"
            );
        }
    }

    #[test]
    fn sizes_that_leave_several_strides_leave_them() {
        // A kernel of 4 from 3 to 6: (3 − 1) + 4, or 2 · 3.
        let both = [([1; 2], [0; 2]), ([2; 2], [1; 2])];
        assert_eq!(readings([6; 2], [3; 2], [4; 2], false), both);
        assert_eq!(readings([6; 2], [3; 2], [4; 2], true), [([2; 2], [1; 2])]);
        // A kernel of 5 from 4 to 8, which along the other axis goes from 3 to 6.
        assert_eq!(readings([8; 2], [4; 2], [5; 2], false).len(), 2);
        assert_eq!(readings([8, 6], [4, 3], [5; 2], false), [([2; 2], [2; 2])]);
    }
}
