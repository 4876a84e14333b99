//! Differentiable random changes of images, real and generated ones alike, before the discriminator
//! sees them: with few images, the discriminator would otherwise memorize them. Recorded on the
//! tape, so that the generator gets gradients through it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::typed;
use crate::error::{Error, Result};
use crate::ops::random::Uniform;
use crate::tape::{Tape, Var};
use crate::tensor::DType;

/// DiffAugment (Zhao et al., "Differentiable augmentation for data-efficient GAN training", arXiv
/// 2006.10738): the changes of an image `x` in [−1, 1], in this order. `u` is uniform in [0, 1),
/// drawn separately for each image and change.
///
/// ```text
/// brightness   x + (u − ½)
/// saturation   x̄ + 2u · (x − x̄)          x̄: the mean over the channels of a pixel
/// contrast     x̄ + (u + ½) · (x − x̄)     x̄: the mean of the whole image
/// translation  by a whole number of pixels, up to an eighth of either side each way; zeros come in
/// cutout       zeros in a rectangle of half of either side, its center anywhere in the image
/// ```
///
/// In images with an alpha channel (four channels), the first three change only the colors. A gray
/// image (one channel) has no saturation. Values may leave [−1, 1], as in the paper.
///
/// Typed and stored as a list such as `color,translation,cutout`, with `color` for the first three,
/// or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augment {
    /// Random brightness.
    pub brightness: bool,
    /// Random saturation.
    pub saturation: bool,
    /// Random contrast.
    pub contrast: bool,
    /// Random translation.
    pub translation: bool,
    /// A random cutout.
    pub cutout: bool,
}

/// The valid names, for an error.
const NAMES: &str = "color, brightness, saturation, contrast, translation, cutout";

/// The name of the draw that [`Augment::record`] asks for.
pub const DRAW: &str = "augment";

impl Augment {
    /// All of the paper's augmentations.
    pub const ALL: Self = Self {
        brightness: true,
        saturation: true,
        contrast: true,
        translation: true,
        cutout: true,
    };

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Records it on the images `x` `[n, h, w, c]`. With a `probability` (a scalar) each
    /// augmentation is applied to each image with that probability, independently; without, always.
    ///
    /// `uniform` draws numbers in [0, 1) for a name and a shape. It is called once, for [`DRAW`]
    /// `[k, n]`; the rows of the enabled augmentations are: one for brightness, saturation (unless
    /// the images are gray) and contrast, then `[n, 2]` (down, to the right) in two rows for each
    /// of translation and cutout; and then, with a probability, one for each of them that decides
    /// whether it is applied.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` is not a batch of images; errors of `uniform`.
    pub fn record(
        self,
        t: &mut Tape,
        x: Var,
        probability: Option<Var>,
        uniform: &mut Uniform<'_>,
    ) -> Result<Var> {
        let &[n, h, w, c] = t.shape(x) else {
            let what = "images are [n, h, w, c]".into();
            return Err(Error::Shape { op: "augment", what, shapes: vec![t.shape(x).to_vec()] });
        };
        let on = Self { saturation: self.saturation && c > 1, ..self };
        if on.is_none() {
            return Ok(x);
        }
        let each = [on.brightness, on.saturation, on.contrast].map(usize::from);
        let pairs = [on.translation, on.cutout].map(usize::from);
        let kinds: usize = each.iter().chain(&pairs).sum();
        let numbers = kinds + pairs.iter().sum::<usize>();
        let rows = if probability.is_some() { numbers + kinds } else { numbers };
        let all = uniform(t, DRAW, &[rows, n])?;
        let mut draws = Draws { all, n, number: 0, gate: numbers, probability };

        let mut x = x;
        if each.contains(&1) {
            let colors = Colors::new(t, [h, w, c])?;
            if on.brightness {
                let amount = draws.amount(t, 1.0, -0.5)?;
                let amount = colors.only(t, amount)?;
                x = t.add(x, amount)?;
            }
            if on.saturation {
                let amount = draws.amount(t, 2.0, -1.0)?;
                x = colors.stretch(t, x, &[3], amount)?;
            }
            if on.contrast {
                let amount = draws.amount(t, 1.0, -0.5)?;
                x = colors.stretch(t, x, &[1, 2, 3], amount)?;
            }
        }
        if on.translation {
            // ⌊u · (2r + 1) − r⌋ is uniform over −r … r.
            let reach = [h, w].map(|side| (side + 4) / 8);
            let by = draws.pixels(t, reach.map(|r| 2 * r + 1), reach)?;
            let by = match draws.gate(t)? {
                Some(gate) => {
                    let gate = t.reshape(gate, &[n, 1])?;
                    t.mul(by, gate)?
                }
                None => by,
            };
            x = t.shift(x, by)?;
        }
        if on.cutout {
            // A rectangle in the corner, shifted so that its center is in the image: the shift cuts
            // off what hangs over the edge.
            let sides = [h, w].map(|side| side.div_ceil(2));
            let places = [h + 1 - sides[0] % 2, w + 1 - sides[1] % 2];
            let by = draws.pixels(t, places, sides.map(|side| side / 2))?;
            let corner = t.fill(&[n, sides[0], sides[1], 1], 1.0)?;
            let corner = t.pad(corner, &[0; 4], &[n, h, w, 1])?;
            let mut hole = t.shift(corner, by)?;
            if let Some(gate) = draws.gate(t)? {
                hole = t.mul(hole, gate)?;
            }
            let kept = t.affine(hole, -1.0, 1.0)?;
            x = t.mul(x, kept)?;
        }
        Ok(x)
    }
}

/// The draws of one call, consumed in order.
struct Draws {
    /// `[rows, n]`.
    all: Var,
    n: usize,
    /// The next row of augmentation parameters.
    number: usize,
    /// The next row of decisions whether to apply them.
    gate: usize,
    probability: Option<Var>,
}

impl Draws {
    fn rows(&self, t: &mut Tape, first: usize, shape: &[usize]) -> Result<Var> {
        let rows = t.range(self.all, first * self.n, shape.iter().product())?;
        t.reshape(rows, shape)
    }

    /// `[n, 1, 1, 1]`: 1 for each image that the next augmentation is applied to, else 0; `None` if
    /// it is applied to all.
    fn gate(&mut self, t: &mut Tape) -> Result<Option<Var>> {
        let Some(probability) = self.probability else { return Ok(None) };
        let u = self.rows(t, self.gate, &[self.n, 1, 1, 1])?;
        self.gate += 1;
        Ok(Some(t.greater(probability, u)?))
    }

    /// `scale · u + shift` for each image, `[n, 1, 1, 1]`, 0 if the gate is closed.
    fn amount(&mut self, t: &mut Tape, scale: f32, shift: f32) -> Result<Var> {
        let u = self.rows(t, self.number, &[self.n, 1, 1, 1])?;
        self.number += 1;
        let amount = t.affine(u, scale, shift)?;
        match self.gate(t)? {
            Some(gate) => t.mul(amount, gate),
            None => Ok(amount),
        }
    }

    /// `u · places − less` for each image, down and to the right: `[n, 2]`, whose floor is one of
    /// `places` integers from `−less` on. A float below 1 times an integer is below that integer in
    /// floats too.
    fn pixels(&mut self, t: &mut Tape, places: [usize; 2], less: [usize; 2]) -> Result<Var> {
        let u = self.rows(t, self.number, &[self.n, 2])?;
        self.number += 2;
        let [scale, shift] = [places, less].map(|pair| pair.map(|side| side as f32));
        if places[0] == places[1] && less[0] == less[1] {
            return t.affine(u, scale[0], -shift[0]);
        }
        let mut pair = |numbers: [f32; 2]| {
            let parts = [t.fill(&[1], numbers[0])?, t.fill(&[1], numbers[1])?];
            t.concat(&parts, 0)
        };
        let [scale, shift] = [pair(scale)?, pair(shift)?];
        let by = t.mul(u, scale)?;
        t.sub(by, shift)
    }
}

/// The color channels.
struct Colors {
    /// Images' height and width, and the number of color channels.
    sizes: [usize; 3],
    /// `[c]`: 1 for colors, 0 for alpha; `None` if all are colors.
    mask: Option<Var>,
}

impl Colors {
    fn new(t: &mut Tape, [h, w, c]: [usize; 3]) -> Result<Self> {
        if c != 4 {
            return Ok(Self { sizes: [h, w, c], mask: None });
        }
        let ones = t.fill(&[3], 1.0)?;
        Ok(Self { sizes: [h, w, 3], mask: Some(t.pad(ones, &[0], &[4])?) })
    }

    /// `x` with 0 for alpha.
    fn only(&self, t: &mut Tape, x: Var) -> Result<Var> {
        match self.mask {
            Some(mask) => t.mul(x, mask),
            None => Ok(x),
        }
    }

    /// `x + amount · (x − x̄)` with `x̄` the mean over `axes`: of the colors alone.
    fn stretch(&self, t: &mut Tape, x: Var, axes: &[usize], amount: Var) -> Result<Var> {
        let colors = self.only(t, x)?;
        let sum = t.sum(colors, axes)?;
        let count: usize = axes.iter().map(|&axis| self.sizes[axis - 1]).product();
        let mean = t.affine(sum, 1.0 / count as f32, 0.0)?;
        let mut shape = t.shape(x).to_vec();
        axes.iter().for_each(|&axis| shape[axis] = 1);
        let mean = t.reshape(mean, &shape)?;
        let beyond = t.sub(x, mean)?;
        let amount = self.only(t, amount)?;
        let more = t.mul(beyond, amount)?;
        t.add(x, more)
    }
}

impl fmt::Display for Augment {
    /// As typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let color = self.brightness && self.saturation && self.contrast;
        let parts = [
            ("color", color),
            ("brightness", self.brightness && !color),
            ("saturation", self.saturation && !color),
            ("contrast", self.contrast && !color),
            ("translation", self.translation),
            ("cutout", self.cutout),
            ("none", self.is_none()),
        ];
        let names: Vec<&str> = parts.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        f.pad(&names.join(","))
    }
}

typed!(Augment);

impl FromStr for Augment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut all = Self::default();
        if text.trim() == "none" {
            return Ok(all);
        }
        for name in text.split(',').map(str::trim) {
            match name {
                "color" | "colour" => {
                    (all.brightness, all.saturation, all.contrast) = (true, true, true);
                }
                "brightness" => all.brightness = true,
                "saturation" => all.saturation = true,
                "contrast" => all.contrast = true,
                "translation" => all.translation = true,
                "cutout" => all.cutout = true,
                _ => return Err(format!("no augmentation {name:?}; choose from {NAMES}, or none")),
            }
        }
        Ok(all)
    }
}

impl TryFrom<String> for Augment {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Augment> for String {
    fn from(augment: Augment) -> Self {
        augment.to_string()
    }
}

/// The state that holds the probability of [`Adaptive`]: a scalar, 0 before the first step.
pub const PROBABILITY: &str = "augment.p";

/// Adaptive discriminator augmentation (Karras et al., "Training generative adversarial networks
/// with limited data", arXiv 2006.06676): augmentations are applied with a probability `p` that
/// follows the discriminator's overfitting. With `r` the mean over a batch of `n` of the sign of
/// its scores of real images, which is 1 if it recognizes them all,
///
/// ```text
/// p ← p + sign(r − target) · n / images, within [0, 1]
/// ```
///
/// The paper computes `r` over four batches and moves `p` by their total size; here both use every
/// batch. A batch's `r` is noisier, but its sign errs in both directions, and steps are
/// proportionally smaller: at 64 images a batch, `p` needs thousands of steps from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The target of `r`.
    pub target: f32,
    /// Real images that `p` needs to go from 0 to 1, or back.
    pub images: f32,
}

impl Default for Adaptive {
    /// As in the paper.
    fn default() -> Self {
        Self { target: 0.6, images: 500_000.0 }
    }
}

impl Adaptive {
    /// The current step's probability, a scalar: the argument for [`Augment::record`], read before
    /// [`Adaptive::follow`].
    ///
    /// # Errors
    /// [`Error::Tensor`] if the state [`PROBABILITY`] is not a scalar.
    pub fn probability(t: &mut Tape) -> Result<Var> {
        t.read(PROBABILITY, &[], DType::F32)
    }

    /// Updates the state [`PROBABILITY`] after this step, from the discriminator's `scores` (`[n,
    /// …]`) of a batch of real images, as augmented. `undecided` is the score of an image that
    /// could be either ([`crate::objectives::Loss::undecided`]). Returns `r`, a scalar.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the state is not a scalar; [`Error::Shape`] if there are no scores.
    pub fn follow(&self, t: &mut Tape, scores: Var, undecided: f32) -> Result<Var> {
        let n = t.shape(scores).first().copied().unwrap_or(1);
        let side = t.affine(scores, 1.0, -undecided)?;
        let side = t.sign(side)?;
        let r = t.mean_all(side)?;
        let Self { target, images } = *self;
        t.in_turn(&[r], move |t, r| {
            let p = Self::probability(t)?;
            let beyond = t.affine(r[0], 1.0, -target)?;
            let direction = t.sign(beyond)?;
            let step = t.affine(direction, n as f32 / images, 0.0)?;
            let p = t.add(p, step)?;
            let p = t.clamp(p, 0.0, 1.0)?;
            t.assign(PROBABILITY, p)
        })?;
        Ok(r)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        let none = Augment::default();
        let all = Augment::ALL;
        let some = Augment { contrast: true, cutout: true, ..none };
        for (text, augment, typed) in [
            ("none", none, "none"),
            ("color,translation,cutout", all, "color,translation,cutout"),
            ("cutout, color, translation", all, "color,translation,cutout"),
            ("cutout,contrast,cutout", some, "contrast,cutout"),
            (
                "saturation,contrast,brightness",
                Augment { translation: false, cutout: false, ..all },
                "color",
            ),
        ] {
            assert_eq!(text.parse(), Ok(augment), "{text}");
            assert_eq!(augment.to_string(), typed);
            let json = serde_json::to_string(&augment).unwrap();
            assert_eq!(json, format!("{typed:?}"));
            assert_eq!(serde_json::from_str::<Augment>(&json).unwrap(), augment);
        }
        for bad in ["", "colors", "none,color", "cutout,", "color;cutout"] {
            let error = bad.parse::<Augment>().unwrap_err();
            assert!(error.contains("color, brightness") && error.contains("or none"), "{error}");
            assert!(serde_json::from_str::<Augment>(&format!("{bad:?}")).is_err());
        }
    }

    #[test]
    fn what_is_no_image_is_refused_and_none_changes_nothing() {
        let mut t = Tape::new();
        let mut no_draw =
            |_: &mut Tape, name: &str, _: &[usize]| -> Result<Var> { panic!("{name} is drawn") };
        let rows = t.fill(&[2, 3], 0.0).unwrap();
        let error = Augment::ALL.record(&mut t, rows, None, &mut no_draw).unwrap_err().to_string();
        assert!(error.contains("[n, h, w, c]"), "{error}");
        let gray = t.fill(&[2, 3, 3, 1], 0.0).unwrap();
        for augment in [Augment::default(), Augment { saturation: true, ..Augment::default() }] {
            assert_eq!(augment.record(&mut t, gray, None, &mut no_draw).unwrap(), gray);
        }
    }
}
