//! What a model is, apart from its numbers: its networks layer by layer, and what goes in and out.
//! A model file holds this, so that the file alone is enough to use it, wherever it came from.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{Layer, Param, Sequential, Statistics};

use super::dcgan::{LatentLaw, Size};

/// What a pixel's numbers are to the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Black is −1, white is 1: generators that end in tanh.
    Signed,
    /// Black is 0, white is 1: generators that end in a sigmoid.
    Unit,
}

/// Both networks of a GAN, or one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Networks {
    /// Size of the pictures.
    pub size: Size,
    /// Channels of the pictures: 1, 3 or 4.
    pub channels: usize,
    /// Length of a latent vector; 0 without a generator.
    pub nz: usize,
    /// The law of a latent vector.
    pub latent_law: LatentLaw,
    /// What a pixel's numbers are.
    pub pixels: Pixels,
    /// From latents `[n, 1, 1, nz]` to pictures `[n, h, w, c]`.
    pub generator: Option<Sequential>,
    /// From pictures `[n, h, w, c]` to logits `[n, 1, 1, 1]`.
    pub discriminator: Option<Sequential>,
}

impl Networks {
    /// Checks that the layers follow one another and make what is said of them.
    ///
    /// # Errors
    /// A sentence that names the network and the layer.
    pub fn check(&self) -> Result<(), String> {
        let Self { size, channels, nz, .. } = *self;
        let picture = [size.height, size.width, channels];
        if ![1, 3, 4].contains(&channels) {
            return Err(format!("pictures of {channels} channels; 1, 3 and 4 can be used"));
        }
        if self.generator.is_none() && self.discriminator.is_none() {
            return Err("neither a generator nor a discriminator".into());
        }
        if let Some(generator) = &self.generator {
            let sizes = generator.sizes([1, 1, nz]).map_err(|e| format!("generator, {e}"))?;
            let makes = sizes.last().copied().unwrap_or_default();
            if makes != picture {
                return Err(format!("the generator makes pictures of {makes:?}, not {picture:?}"));
            }
        }
        if let Some(discriminator) = &self.discriminator {
            let sizes = discriminator.sizes(picture).map_err(|e| format!("discriminator, {e}"))?;
            if sizes.last().is_none_or(|&[_, _, c]| c != 1) {
                return Err("the discriminator does not end in one logit".into());
            }
        }
        Ok(())
    }

    /// All tensors of the generator and of the discriminator, where there are any.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        let of = |network: &Option<Sequential>, name: &str| {
            network.as_ref().map_or_else(Vec::new, |network| network.params(name))
        };
        let mut params = of(&self.generator, "generator");
        params.extend(of(&self.discriminator, "discriminator"));
        params
    }

    /// The generator.
    ///
    /// # Errors
    /// [`Error::Tensor`] where there is none.
    pub fn generator(&self) -> Result<&Sequential> {
        self.generator.as_ref().ok_or_else(|| absent("generator"))
    }

    /// The discriminator.
    ///
    /// # Errors
    /// [`Error::Tensor`] where there is none.
    pub fn discriminator(&self) -> Result<&Sequential> {
        self.discriminator.as_ref().ok_or_else(|| absent("discriminator"))
    }
}

fn absent(name: &str) -> Error {
    Error::Tensor { name: name.into(), what: "there is none in this model".into() }
}

impl Sequential {
    /// Whether a result depends on what else is in the batch, even after training.
    #[must_use]
    pub fn needs_batch(&self) -> bool {
        let batch =
            |layer: &Layer| matches!(layer, Layer::BatchNorm { statistics: Statistics::Batch, .. });
        self.layers.iter().any(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Dcgan, Preset};

    fn networks() -> Networks {
        let size = Size { height: 24, width: 16 };
        let model = Dcgan { preset: Preset::Paper, size, channels: 3, nz: 5, ngf: 4, ndf: 3 };
        model.networks().expect("24x16 works")
    }

    #[test]
    fn a_description_comes_back_from_json() {
        let json = serde_json::to_string(&networks()).expect("plain data");
        let back: Networks = serde_json::from_str(&json).expect("what was written");
        assert_eq!(back, networks());
        assert_eq!(back.check(), Ok(()));
    }

    /// Each number of the description, changed by itself, is noticed or changes no shape.
    #[test]
    fn layers_that_do_not_follow_one_another_are_refused() {
        let json = serde_json::to_string(&networks()).expect("plain data");
        let mut refused = 0;
        let digits = json.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at);
        for at in digits {
            for digit in ["7", "99999999999", "18446744073709551615", "0"] {
                let changed = format!("{}{digit}{}", &json[..at], &json[at + 1..]);
                let Ok(changed) = serde_json::from_str::<Networks>(&changed) else { continue };
                refused += usize::from(changed.check().is_err());
                if changed.check().is_ok() {
                    assert!(changed.params().iter().all(|p| p.shape.len() <= 4));
                }
            }
        }
        assert!(refused > 300, "{refused}");
        let error = Networks { channels: 4, ..networks() }.check().expect_err("it makes RGB");
        assert!(error.contains("makes pictures of [24, 16, 3], not [24, 16, 4]"), "{error}");
        let none = Networks { generator: None, discriminator: None, ..networks() };
        assert!(none.check().is_err());
    }
}
