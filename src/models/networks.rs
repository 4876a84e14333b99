//! What a model is, apart from its numbers: its networks layer by layer, and what goes in and out.
//! A model file holds this, so that the file alone is enough to use it, wherever it came from.

use serde::{Deserialize, Serialize};

use crate::config::is_default;
use crate::error::{Error, Result};
use crate::nn::{Param, Sequential};
use crate::tape::{Tape, Var};

use super::design::LatentLaw;
use super::size::Size;

/// What a pixel's numbers are to the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Black is −1, white is 1: generators that end in tanh.
    Signed,
    /// Black is 0, white is 1: generators that end in a sigmoid.
    Unit,
}

impl Pixels {
    /// Bytes as such numbers.
    ///
    /// # Errors
    /// Those of recording.
    pub fn of_bytes(self, t: &mut Tape, bytes: Var) -> Result<Var> {
        let x = t.from_u8(bytes)?;
        self.of_signed(t, x)
    }

    /// Such numbers from numbers in [−1, 1].
    ///
    /// # Errors
    /// Those of recording.
    pub fn of_signed(self, t: &mut Tape, x: Var) -> Result<Var> {
        match self {
            Self::Signed => Ok(x),
            Self::Unit => t.affine(x, 0.5, 0.5),
        }
    }

    /// Numbers in [−1, 1] from such numbers.
    ///
    /// # Errors
    /// Those of recording.
    pub fn to_signed(self, t: &mut Tape, x: Var) -> Result<Var> {
        match self {
            Self::Signed => Ok(x),
            Self::Unit => t.affine(x, 2.0, -1.0),
        }
    }
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
    /// The names of the classes that both networks are told ([`crate::nn::Layer::classes`]), by label; none
    /// where they are told none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Numbers that the discriminator says of a picture behind its logit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub heads: usize,
    /// From latents `[n, 1, 1, nz]` to pictures `[n, h, w, c]`.
    pub generator: Option<Sequential>,
    /// From pictures `[n, h, w, c]` to logits and heads `[n, 1, 1, 1 + heads]`.
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
        let networks = [&self.generator, &self.discriminator].into_iter().flatten();
        let layers = networks.flat_map(Sequential::each);
        for told in layers.filter_map(|(_, layer)| layer.classes()) {
            if told != self.classes.len() {
                return Err(format!(
                    "a layer is told {told} classes, and there are {}",
                    self.classes.len()
                ));
            }
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
            let says = sizes.last().map_or(0, |size| size.iter().product());
            if says == 0 || says - 1 != self.heads {
                return Err(match self.heads {
                    0 => "the discriminator does not end in one logit".into(),
                    heads => format!("the discriminator does not end in a logit and {heads} heads"),
                });
            }
        }
        Ok(())
    }

    /// Whether the networks are told classes.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        !self.classes.is_empty()
    }

    /// The label of a class that someone names: by its name, or by its number, from 0. A class's
    /// name counts more than a number; where all names are numbers, as the labels of a set that begin
    /// at 1, there are no others.
    ///
    /// # Errors
    /// A sentence with what there is.
    pub fn class(&self, named: &str) -> Result<u32, String> {
        if !self.is_conditional() {
            return Err("this model was trained without classes (dcgan train --conditional)".into());
        }
        let by_name = self.classes.iter().position(|class| class == named);
        let by_number = || {
            let number = named.parse().ok().filter(|&n: &usize| n < self.classes.len());
            number.filter(|_| !self.has_numbers_for_names())
        };
        by_name.or_else(by_number).map(|label| label as u32).ok_or_else(|| {
            format!("there is no class {named:?}; there are {}", self.list_classes())
        })
    }

    fn has_numbers_for_names(&self) -> bool {
        self.classes.iter().all(|name| name.parse::<u64>().is_ok())
    }

    /// The names of the classes with their numbers, of many the first ones.
    #[must_use]
    pub fn list_classes(&self) -> String {
        let numbers = self.has_numbers_for_names();
        let name = |(label, name): (usize, &String)| match name.parse::<usize>() {
            Ok(number) if numbers || label == number => name.clone(),
            _ => format!("{name} ({label})"),
        };
        let count = self.classes.len();
        let mut list: Vec<String> =
            self.classes.iter().enumerate().take(LISTED).map(name).collect();
        if count > LISTED {
            let ends = match numbers {
                true => [self.classes[0].clone(), self.classes[count - 1].clone()],
                false => ["0".into(), (count - 1).to_string()],
            };
            list.push(format!("… {count} in all, {} to {}", ends[0], ends[1]));
        }
        list.join(", ")
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

/// Classes that a message lists.
const LISTED: usize = 30;

fn absent(name: &str) -> Error {
    Error::Tensor { name: name.into(), what: "there is none in this model".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Design, Network};
    use crate::nn::Layer;

    fn networks() -> Networks {
        let size = Size { height: 24, width: 16 };
        let model = Design {
            network: Network::Paper,
            size,
            channels: 3,
            nz: 5,
            ngf: 4,
            ndf: 3,
            ..Design::default()
        };
        model.networks().expect("24x16 works")
    }

    #[test]
    fn a_description_comes_back_from_json() {
        let json = serde_json::to_string(&networks()).expect("plain data");
        let back: Networks = serde_json::from_str(&json).expect("what was written");
        assert_eq!(back, networks());
        assert_eq!(back.check(), Ok(()));
    }

    #[test]
    fn classes_are_known_by_name_and_by_number() {
        let names = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let model = Networks { classes: names(&["cat", "dog", "0"]), ..networks() };
        assert_eq!(model.class("dog"), Ok(1));
        assert_eq!(model.class("1"), Ok(1));
        // Its name, though it is also the number of another.
        assert_eq!(model.class("0"), Ok(2));
        for unknown in ["3", "-1", "cow", "Dog", ""] {
            let error = model.class(unknown).expect_err("it is none");
            assert!(error.ends_with("there are cat (0), dog (1), 0 (2)"), "{error}");
        }
        let many = Networks { classes: (0..100).map(|i| i.to_string()).collect(), ..networks() };
        assert!(many.list_classes().ends_with("28, 29, … 100 in all, 0 to 99"));
        let letters = Networks { classes: (1..4).map(|i| i.to_string()).collect(), ..networks() };
        assert_eq!((letters.class("1"), letters.class("3")), (Ok(0), Ok(2)));
        let error = letters.class("0").expect_err("no class is named so");
        assert!(error.ends_with("there are 1, 2, 3"), "{error}");
        assert!(networks().class("0").expect_err("it has none").contains("without classes"));
        assert!(!networks().is_conditional());
    }

    #[test]
    fn layers_are_told_as_many_classes_as_there_are() {
        let size = Size { height: 16, width: 16 };
        let network = Network::Mnist;
        let design =
            Design { network, size, channels: 1, nz: 5, ngf: 2, ndf: 2, ..Design::default() };
        let model = Design { classes: 4, ..design };
        let networks = model.networks().expect("16 works");
        assert_eq!(networks.check(), Ok(()));
        let json = serde_json::to_string(&networks).expect("plain data");
        assert_eq!(serde_json::from_str::<Networks>(&json).expect("what was written"), networks);
        let fewer = Networks { classes: networks.classes[1..].to_vec(), ..networks };
        assert!(fewer.check().expect_err("one is missing").contains("told 4 classes, and there"));
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
        assert!(refused > 150, "{refused}");
        let error = Networks { channels: 4, ..networks() }.check().expect_err("it makes RGB");
        assert!(error.contains("makes pictures of [24, 16, 3], not [24, 16, 4]"), "{error}");
        let none = Networks { generator: None, discriminator: None, ..networks() };
        assert!(none.check().is_err());
        // A picture that is flattened before anything has looked at its size.
        let layers = vec![Layer::Flatten, Layer::MinibatchStd { group: 0 }];
        for (height, width) in [(usize::MAX, 2), (1 << 33, 1 << 33), (1 << 32, 0)] {
            let discriminator = Some(Sequential { layers: layers.clone() });
            let size = Size { height, width };
            let error = Networks { size, generator: None, discriminator, ..networks() }.check();
            assert!(error.expect_err("it is none").contains("there would be pictures of"));
        }
    }
}
