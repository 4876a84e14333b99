//! How a model samples: its networks in sequence, each fed by earlier ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::is_default;
use crate::error::{Error, Result};
use crate::nn::{LATENT, Mode, Pass};
use crate::tape::{Tape, Var};

use super::networks::{self, Networks};
use super::role::Role;
use super::weights::Weights;

/// The value that a pipeline produces: images `[n, h, w, c]` in the networks' range.
pub const IMAGES: &str = "images";

/// One pass through a network of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The network's name.
    pub network: String,
    /// The value that is its main input.
    pub input: String,
    /// The name of its output, for later calls.
    pub output: String,
    /// The stage without which the network has learned nothing; empty if a training has one stage, or
    /// does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// Whether the output is an image by itself, which can be looked at.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_image: bool,
}

impl Call {
    /// A pass of `input` through `network`, which gives `output`.
    #[must_use]
    pub fn new(network: &str, input: &str, output: &str) -> Self {
        let [network, input, output] = [network, input, output].map(str::to_owned);
        Self { network, input, output, stage: String::new(), is_image: false }
    }

    /// The same with an output that is an image by itself.
    #[must_use]
    pub fn of_images(self) -> Self {
        Self { is_image: true, ..self }
    }

    /// The same through a network that a stage trains.
    #[must_use]
    pub fn trained_in(self, stage: &str) -> Self {
        Self { stage: stage.into(), ..self }
    }
}

/// The sizes `[h, w, c]` of a pipeline's values by name; vectors are one pixel.
pub type Values<'a> = BTreeMap<&'a str, [usize; 3]>;

/// Networks in sequence. The initial values are the latents [`LATENT`] `[n, 1, 1, nz]`, their parts
/// ([`Networks::parts`]) and, for a conditional model, [`LABELS`](crate::nn::LABELS)
/// `[n, classes]` or [`TEXT`](crate::nn::TEXT) `[n, width]`; every value so far is also a side input of networks that take one of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pipeline(pub Vec<Call>);

impl Pipeline {
    /// From latents to images by the generator called `name`.
    #[must_use]
    pub fn generator(name: &str) -> Self {
        Self(vec![Call::new(name, LATENT, IMAGES)])
    }

    /// From latents to images, by the pipeline of `model`, or by its generator alone.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it has neither.
    pub fn of(model: &Networks) -> Result<Self> {
        if !model.pipeline.0.is_empty() {
            return Ok(model.pipeline.clone());
        }
        let (name, _) =
            model.find(Role::Generator).ok_or_else(|| networks::missing(Role::Generator))?;
        Ok(Self::generator(name))
    }

    /// The values that can be looked at, in order, [`IMAGES`] last: images, and those on the way that are
    /// images by themselves, up to the first network of a stage that `has_begun` denies.
    #[must_use]
    pub fn shown(&self, has_begun: impl Fn(&str) -> bool) -> Vec<&str> {
        if self.0.is_empty() {
            return vec![IMAGES];
        }
        let begun = self.0.iter().take_while(|c| c.stage.is_empty() || has_begun(&c.stage));
        let shown = begun.filter(|call| call.is_image || call.output == IMAGES);
        shown.map(|call| call.output.as_str()).collect()
    }

    /// Whether it has a pass through the network called `name`.
    #[must_use]
    pub fn calls(&self, name: &str) -> bool {
        self.0.iter().any(|call| call.network == name)
    }

    /// The sizes of all values, [`IMAGES`] among them, after checking that every call has its
    /// network and its input, that the networks fit together, and that images are produced.
    ///
    /// # Errors
    /// A message naming the call or the network.
    pub fn sizes<'a>(&'a self, model: &'a Networks) -> Result<Values<'a>, String> {
        let image = [model.size.height, model.size.width, model.channels];
        let mut values = Values::from([(LATENT, [1, 1, model.nz])]);
        values.extend(model.parts.iter().map(|(name, width)| (name, [1, 1, width])));
        values.extend(model.condition().map(|(name, width)| (name, [1, 1, width])));
        for Call { network, input, output, .. } in &self.0 {
            let Some(net) = model.by_name.get(network) else {
                return Err(format!("the pipeline calls {network:?}, which is no network"));
            };
            let Some(&size) = values.get(input.as_str()) else {
                return Err(format!("the pipeline feeds {network} {input:?}, which nothing gives"));
            };
            let sides: Vec<_> = values.iter().map(|(name, size)| (*name, *size)).collect();
            let sizes = net.network.sizes_beside(size, &sides);
            let sizes = sizes.map_err(|e| format!("{network}, {e}"))?;
            values.insert(output, sizes.last().copied().unwrap_or(size));
        }
        match values.get(IMAGES) {
            None if self.0.is_empty() => _ = values.insert(IMAGES, image),
            None => return Err("the pipeline gives no images".into()),
            Some(size) if *size != image => {
                return Err(format!("the pipeline makes images of {size:?}, not {image:?}"));
            }
            Some(_) => {}
        }
        Ok(values)
    }

    /// Records the networks with these weights, in evaluation mode, on the values `known`; returns
    /// the images.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a network or a value is missing; [`Error::Shape`] if one does not fit.
    pub fn record(
        &self,
        t: &mut Tape,
        model: &Networks,
        weights: Weights,
        known: &[(&str, Var)],
    ) -> Result<Var> {
        self.values(t, model, weights, known)?
            .get(IMAGES)
            .copied()
            .ok_or_else(|| missing(IMAGES, "are not what the pipeline gives"))
    }

    /// The same; returns all values by name, those of `known` among them.
    ///
    /// # Errors
    /// See [`Pipeline::record`].
    pub fn values<'a>(
        &'a self,
        t: &mut Tape,
        model: &'a Networks,
        weights: Weights,
        known: &[(&'a str, Var)],
    ) -> Result<BTreeMap<&'a str, Var>> {
        let mut values: BTreeMap<&str, Var> = known.iter().copied().collect();
        if let (Some(&z), false) = (values.get(LATENT), model.parts.is_empty()) {
            for (name, part) in model.parts.split(t, z)? {
                let &[n, width] = t.shape(part) else { unreachable!("a latent is a vector") };
                values.insert(name, t.reshape(part, &[n, 1, 1, width])?);
            }
        }
        for Call { network, input, output, .. } in &self.0 {
            let net = model.by_name.get(network);
            let net = net.ok_or_else(|| missing(network, "is no network of this model"))?;
            let none = "is given by nothing before it in the pipeline";
            let x = *values.get(input.as_str()).ok_or_else(|| missing(input, none))?;
            let sides = values.iter().map(|(name, value)| (*name, *value)).collect();
            let pass = Pass { sides, ..Pass::new(Mode::Eval) };
            let y = net.network.record(t, &weights.name(network), x, &pass)?.last();
            values.insert(output, y);
        }
        Ok(values)
    }
}

fn missing(name: &str, what: &str) -> Error {
    Error::Tensor { name: name.into(), what: what.into() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::gan::{Family, ObjectiveConfig, TrainConfig};
    use crate::models::{Architecture, ModelConfig, Size};

    fn model() -> Networks {
        let size = Size { height: 8, width: 8 };
        let model = ModelConfig { nz: 3, ngf: 4, ndf: 4, channels: 1, ..ModelConfig::default() };
        let model = ModelConfig { size, network: Architecture::Dcgan, ..model };
        let objective = ObjectiveConfig { family: Family::Bigan, ..ObjectiveConfig::default() };
        TrainConfig { objective, ..TrainConfig::new(model) }.networks().unwrap()
    }

    /// An image, its code, and the image of that code.
    fn round() -> Pipeline {
        Pipeline(vec![
            Call::new("generator", LATENT, "first"),
            Call::new("encoder", "first", "code"),
            Call::new("generator", "code", IMAGES),
        ])
    }

    #[test]
    fn networks_are_fed_by_what_came_before() {
        let model = model();
        let mut t = Tape::new();
        let z = t.feed("z", &[2, 1, 1, 3], crate::tensor::DType::F32).unwrap();
        let images = round().record(&mut t, &model, Weights::Raw, &[(LATENT, z)]).unwrap();
        let count = t.nodes().len();
        let (g, e) = (model.generator().unwrap(), model.of(Role::Encoder).unwrap());
        let pass = Pass::new(Mode::Eval);
        let first = g.record(&mut t, "generator", z, &pass).unwrap().last();
        let code = e.record(&mut t, "encoder", first, &pass).unwrap().last();
        let again = g.record(&mut t, "generator", code, &pass).unwrap().last();
        assert_eq!((images, t.nodes().len()), (again, count), "the same nodes");
    }

    #[test]
    fn a_pipeline_is_part_of_the_description() {
        let usual = serde_json::to_string(&model()).unwrap();
        assert!(!usual.contains("pipeline"), "{usual}");
        assert_eq!(Pipeline::of(&model()).unwrap(), Pipeline::generator("generator"));
        let model = Networks { pipeline: round(), ..model() };
        assert_eq!(model.check(), Ok(()));
        let json = serde_json::to_string(&model).unwrap();
        let back: Networks = serde_json::from_str(&json).unwrap();
        assert_eq!(back, model);
        assert_eq!(Pipeline::of(&back).unwrap(), round());
        for (calls, said) in [
            (vec![Call::new("painter", LATENT, IMAGES)], "\"painter\", which is no network"),
            (vec![Call::new("generator", "noise", IMAGES)], "\"noise\", which nothing gives"),
            (vec![Call::new("generator", LATENT, "image")], "gives no images"),
        ] {
            let error = Networks { pipeline: Pipeline(calls), ..model.clone() }.check();
            let error = error.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
