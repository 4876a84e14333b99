//! The description of a model without its weights: its networks layer by layer, inputs and outputs.
//! A model file holds this, so that the file alone is enough to use it, wherever it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::is_default;
use crate::device::State;
use crate::error::{Error, Result};
use crate::nn::{Heads, LABELS, LatentDistribution, Layer, Param, Sequential, TEXT};
use crate::tensor::Tensor;
use crate::text::TextEncoder;

use super::names::RESERVED;
use super::pipeline::{IMAGES, Pipeline, Values};
use super::pixels::Pixels;
use super::role::Role;
use super::size::Size;

/// One network of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Net {
    /// What it is for.
    pub role: Role,
    /// Its layers.
    pub network: Sequential,
    /// An encoder's second output, after the means.
    #[serde(default, skip_serializing_if = "Spread::is_usual")]
    pub spread: Spread,
    /// The value of the model's pipeline that is its main input; empty for that of its role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input: String,
}

/// How an encoder outputs the spread of a normal distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// As log-variances.
    #[default]
    LogVariance,
    /// As log standard deviations.
    LogDeviation,
}

impl Spread {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// The standard deviation for an output.
    #[must_use]
    pub fn deviation(self, output: f32) -> f32 {
        match self {
            Self::LogVariance => (0.5 * output).exp(),
            Self::LogDeviation => output.exp(),
        }
    }
}

impl Net {
    /// A network of this role.
    #[must_use]
    pub fn new(role: Role, network: Sequential) -> Self {
        Self { role, network, spread: Spread::default(), input: String::new() }
    }

    /// The same with a value of the model's pipeline as its main input.
    #[must_use]
    pub fn on(self, input: &str) -> Self {
        Self { input: input.into(), ..self }
    }
}

/// The networks of a model: of a GAN a generator and a discriminator, or one of them, or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Networks {
    /// Size of the images.
    pub size: Size,
    /// Channels of the images: 1, 3 or 4.
    pub channels: usize,
    /// Length of a latent vector; 0 without a generator.
    pub nz: usize,
    /// The distribution of a latent vector.
    pub latent_distribution: LatentDistribution,
    /// The range of pixel values.
    pub pixels: Pixels,
    /// Class names of a conditional model ([`crate::nn::Layer::classes`]), by label; empty if
    /// unconditional.
    pub classes: Vec<String>,
    /// Makes vectors of texts, which the networks are conditioned on; empty if they are not.
    pub text: TextEncoder,
    /// Auxiliary outputs of the discriminator, after its logit.
    pub heads: usize,
    /// The networks by name; a network's name is the prefix of its tensors' names.
    pub by_name: BTreeMap<String, Net>,
    /// How they generate images from latents; empty if the generator does it alone.
    pub pipeline: Pipeline,
    /// The parts of a latent vector by name and length, in order, where the pipeline uses them
    /// separately; empty if a latent has no parts.
    pub parts: Heads,
}

/// A description as JSON. A generator and a discriminator with the usual names have their own keys,
/// as before there were others; all others are in `networks`.
#[derive(Clone, Serialize, Deserialize)]
struct Form {
    size: Size,
    channels: usize,
    nz: usize,
    #[serde(rename = "latent_law")]
    latent_distribution: LatentDistribution,
    pixels: Pixels,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    text: TextEncoder,
    #[serde(default, skip_serializing_if = "is_default")]
    heads: usize,
    generator: Option<Sequential>,
    discriminator: Option<Sequential>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<String, Net>,
    #[serde(default, skip_serializing_if = "is_default")]
    pipeline: Pipeline,
    #[serde(default, skip_serializing_if = "is_default")]
    parts: Heads,
}

impl From<Networks> for Form {
    fn from(networks: Networks) -> Self {
        let Networks { size, channels, nz, latent_distribution, pixels, classes, heads, .. } =
            networks;
        let Networks { mut by_name, text, pipeline, parts, .. } = networks;
        let mut take = |role: Role| match by_name.get(role.name()) {
            Some(net) if net.role == role && net.input.is_empty() => {
                by_name.remove(role.name()).map(|net| net.network)
            }
            _ => None,
        };
        let (generator, discriminator) = (take(Role::Generator), take(Role::Discriminator));
        Self {
            size,
            channels,
            nz,
            latent_distribution,
            pixels,
            classes,
            text,
            heads,
            generator,
            discriminator,
            networks: by_name,
            pipeline,
            parts,
        }
    }
}

impl TryFrom<Form> for Networks {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let Form { size, channels, nz, latent_distribution, pixels, classes, text, heads, .. } =
            form;
        let (networks, pipeline, parts) = (form.networks, form.pipeline, form.parts);
        let mut by_name = networks;
        let usual = [(Role::Generator, form.generator), (Role::Discriminator, form.discriminator)];
        for (name, net) in Self::usual(usual) {
            if by_name.insert(name.clone(), net).is_some() {
                return Err(format!("two networks are called {name:?}"));
            }
        }
        Ok(Self {
            size,
            channels,
            nz,
            latent_distribution,
            pixels,
            classes,
            text,
            heads,
            by_name,
            pipeline,
            parts,
        })
    }
}

impl Networks {
    /// Networks under the names of their roles, for [`Networks::by_name`].
    #[must_use]
    pub fn usual<const N: usize>(
        networks: [(Role, Option<Sequential>); N],
    ) -> BTreeMap<String, Net> {
        let named = |(role, network): (Role, Option<Sequential>)| {
            Some((role.name().to_owned(), Net::new(role, network?)))
        };
        networks.into_iter().filter_map(named).collect()
    }

    /// The same with a network added under the name of its role, or replaced.
    #[must_use]
    pub fn with(mut self, role: Role, network: Sequential) -> Self {
        self.by_name.insert(role.name().to_owned(), Net::new(role, network));
        self
    }

    /// The same with another latent distribution, which a reference batch
    /// ([`crate::nn::Reference`]) is drawn from too.
    #[must_use]
    pub fn with_latents(mut self, distribution: LatentDistribution) -> Self {
        self.latent_distribution = distribution;
        let layers = self.by_name.values_mut().flat_map(|net| &mut net.network.layers);
        for layer in layers {
            if let Layer::Reference(reference) = layer {
                reference.uniform = distribution == LatentDistribution::Uniform;
            }
        }
        self
    }

    /// The same with encoders that output spreads in this way.
    #[must_use]
    pub fn with_spread(mut self, spread: Spread) -> Self {
        let encoders = self.by_name.values_mut().filter(|net| net.role == Role::Encoder);
        encoders.for_each(|net| net.spread = spread);
        self
    }

    /// The same without the networks of a role.
    #[must_use]
    pub fn without(mut self, role: Role) -> Self {
        self.by_name.retain(|_, net| net.role != role);
        self
    }

    /// The networks with their names, ordered by role as in [`Role::ALL`], then by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Net)> {
        let of = |role| self.by_name.iter().filter(move |(_, net)| net.role == role);
        Role::ALL.into_iter().flat_map(of).map(|(name, net)| (&**name, net))
    }

    /// The network of a role with its name: the one named after its role, else the first by name.
    #[must_use]
    pub fn find(&self, role: Role) -> Option<(&str, &Sequential)> {
        let usual = self.iter().find(|(name, net)| net.role == role && *name == role.name());
        let found = usual.or_else(|| self.iter().find(|(_, net)| net.role == role));
        found.map(|(name, net)| (name, &net.network))
    }

    /// The layers of the network of a role: see [`Networks::find`].
    #[must_use]
    pub fn get(&self, role: Role) -> Option<&Sequential> {
        self.find(role).map(|(_, network)| network)
    }

    /// The same, mutable.
    pub fn get_mut(&mut self, role: Role) -> Option<&mut Sequential> {
        let name = self.find(role)?.0.to_owned();
        self.by_name.get_mut(&name).map(|net| &mut net.network)
    }

    /// Whether there is a network of a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.find(role).is_some()
    }

    /// Checks that the layers fit together and produce what the description states.
    ///
    /// # Errors
    /// A message naming the network and the layer.
    pub fn check(&self) -> Result<(), String> {
        let channels = self.channels;
        if ![1, 3, 4].contains(&channels) {
            return Err(format!("images of {channels} channels; 1, 3 and 4 can be used"));
        }
        if self.by_name.is_empty() {
            return Err("neither a generator nor a discriminator".into());
        }
        self.text.check()?;
        if self.is_conditional() && self.has_text() {
            return Err("networks conditioned on both classes and texts".into());
        }
        let layers = self.by_name.values().flat_map(|net| net.network.each());
        for known in layers.filter_map(|(_, layer)| layer.classes()) {
            if known != self.classes.len() {
                return Err(format!(
                    "a layer takes {known} classes, and there are {}",
                    self.classes.len()
                ));
            }
        }
        if !self.parts.is_empty() && self.parts.width() != self.nz {
            let width = self.parts.width();
            return Err(format!("a latent of {} has parts of {width} numbers in all", self.nz));
        }
        for name in self.by_name.keys() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(plain) || RESERVED.contains(&&**name) {
                return Err(format!("a network called {name:?}"));
            }
        }
        let values = self.pipeline.sizes(self)?;
        self.iter().try_for_each(|(name, net)| self.check_net(name, net, &values))
    }

    /// Checks one network's layers and output, where the pipeline's values have these sizes.
    fn check_net(&self, name: &str, net: &Net, values: &Values<'_>) -> Result<(), String> {
        let Net { role, network, input, .. } = net;
        let Self { size, channels, nz, heads, .. } = *self;
        let image = [size.height, size.width, channels];
        let input = match input.as_str() {
            "" if role.takes_latents() => [1, 1, nz],
            "" => image,
            value => *values
                .get(value)
                .ok_or_else(|| format!("the {name} takes {value:?}, which nothing gives"))?,
        };
        if role.takes_latents() && self.pipeline.calls(name) {
            return Ok(());
        }
        let sides: Vec<_> = values.iter().map(|(value, size)| (*value, *size)).collect();
        let sizes = network.sizes_beside(input, &sides).map_err(|e| format!("{name}, {e}"))?;
        let output = sizes.last().copied().unwrap_or(input);
        let numbers = sizes.last().map_or(0, |size| size.iter().product::<usize>());
        match role {
            Role::Generator | Role::Decoder if output != image => {
                Err(format!("the {name} makes images of {output:?}, not {image:?}"))
            }
            Role::Discriminator if numbers == 0 || numbers - 1 != heads => Err(match heads {
                0 => format!("the {name} does not end in one logit"),
                heads => format!("the {name} does not end in a logit and {heads} heads"),
            }),
            // A latent, or its distribution's mean and spread: [`Spread`].
            Role::Encoder if numbers != nz && numbers != 2 * nz => {
                Err(format!("the {name} ends in {numbers} numbers, and a latent has {nz}"))
            }
            Role::Classifier if numbers == 0 => Err(format!("the {name} has no output")),
            _ => Ok(()),
        }
    }

    /// Whether the networks are conditional.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        !self.classes.is_empty()
    }

    /// Whether the networks are conditioned on texts.
    #[must_use]
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// What images are generated on besides latents: the name of the side input, and its length;
    /// `None` if they are unconditional.
    #[must_use]
    pub fn condition(&self) -> Option<(&'static str, usize)> {
        match (self.classes.len(), self.text.width()) {
            (0, 0) => None,
            (0, width) => Some((TEXT, width)),
            (classes, _) => Some((LABELS, classes)),
        }
    }

    /// Number of labels: classes, or examples of texts.
    #[must_use]
    pub fn labels(&self) -> usize {
        if self.has_text() { self.text.examples.len() } else { self.classes.len() }
    }

    /// The conditions `[n, width]` of images with these labels: numbers of classes, or of examples
    /// of texts; `None` if the networks are unconditional.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a label is out of range.
    pub fn conditions(&self, labels: &[u32]) -> Result<Option<Tensor>> {
        let Some((name, width)) = self.condition() else { return Ok(None) };
        if !self.has_text() {
            return Tensor::one_hot(labels, width).map(Some);
        }
        let mut rows = Vec::with_capacity(labels.len() * width);
        for &label in labels {
            let example = self.text.examples.get(label as usize).ok_or_else(|| Error::Tensor {
                name: name.into(),
                what: format!("the model has no example of a text with the number {label}"),
            })?;
            rows.extend(self.text.encode(example));
        }
        Tensor::new([labels.len(), width], rows).map(Some)
    }

    /// The label of a class given by name, or by number, from 0. A name takes precedence over a
    /// number; if all names are numbers, as in a set whose labels begin at 1, only names are
    /// accepted.
    ///
    /// # Errors
    /// A message listing the classes.
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

    /// The names of the classes with their numbers; only the first if there are many.
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

    /// The model of the images on the way that its pipeline gives as `value`; `None` if it gives no such
    /// images.
    #[must_use]
    pub fn up_to(&self, value: &str) -> Option<Self> {
        let last = self.pipeline.0.iter().position(|call| call.output == value)?;
        let &[height, width, channels] = self.pipeline.sizes(self).ok()?.get(value)?;
        let mut model = Self { size: Size { height, width }, ..self.clone() };
        model.pipeline.0.truncate(last + 1);
        model.pipeline.0[last].output = IMAGES.into();
        model.heads = 0;
        let calls = model.pipeline.clone();
        model.by_name.retain(|name, _| calls.calls(name));
        (channels == self.channels).then_some(model)
    }

    /// All tensors of all networks.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.iter().flat_map(|(name, net)| net.network.params(name)).collect()
    }

    /// Sets the states of all networks to tensors as in a file, such as those of
    /// [`crate::train::Trainer::tensors`]; others are ignored.
    ///
    /// # Errors
    /// [`Error::Tensor`] if one is missing or has another shape; [`Error::Memory`] if the device
    /// cannot hold them.
    pub fn load(&self, state: &mut State, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.params().iter().try_for_each(|Param { name, layout, shape, .. }| {
            let tensor = tensors.get(name).ok_or_else(|| Error::Tensor {
                name: name.clone(),
                what: "is not among the tensors".into(),
            })?;
            state.set(name, &layout.from_file(name, tensor, shape)?)
        })
    }

    /// The tensors of the network called `name`; empty if there is no such network.
    #[must_use]
    pub fn params_of(&self, name: &str) -> Vec<Param> {
        self.by_name.get(name).map_or_else(Vec::new, |net| net.network.params(name))
    }

    /// The number of trainable parameters of the network called `name`; 0 if there is no such
    /// network.
    #[must_use]
    pub fn learned(&self, name: &str) -> usize {
        let params = self.params_of(name);
        params.iter().filter(|p| p.learned).map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// The network of a role.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn of(&self, role: Role) -> Result<&Sequential> {
        self.get(role).ok_or_else(|| missing(role))
    }

    /// The generator.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn generator(&self) -> Result<&Sequential> {
        self.of(Role::Generator)
    }

    /// The discriminator.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn discriminator(&self) -> Result<&Sequential> {
        self.of(Role::Discriminator)
    }

    /// The encoder.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none.
    pub fn encoder(&self) -> Result<&Sequential> {
        self.of(Role::Encoder)
    }
}

/// The error for a model without a network of this role.
pub(super) fn missing(role: Role) -> Error {
    Error::Tensor { name: role.name().into(), what: "there is none in this model".into() }
}

/// Classes that a message lists.
const LISTED: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Architecture, ModelConfig};
    use crate::nn::{Layer, MinibatchStd};

    fn networks() -> Networks {
        let size = Size { height: 24, width: 16 };
        let model = ModelConfig {
            network: Architecture::Paper,
            size,
            channels: 3,
            nz: 5,
            ngf: 4,
            ndf: 3,
            ..ModelConfig::default()
        };
        model.networks().expect("24x16 works")
    }

    #[test]
    fn a_description_comes_back_from_json() {
        let json = serde_json::to_string(&networks()).expect("plain data");
        let back: Networks = serde_json::from_str(&json).expect("what was written");
        assert_eq!(back, networks());
        assert_eq!(back.check(), Ok(()));
        // As it was when there were only two networks.
        let value: serde_json::Value = serde_json::from_str(&json).expect("plain data");
        let keys: Vec<&String> = value.as_object().expect("a map").keys().collect();
        assert!(value["generator"].is_array() && value["discriminator"].is_array());
        assert_eq!(keys.len(), 7, "{keys:?}");
    }

    /// An encoder made of the discriminator's layers, with `numbers` outputs.
    fn encoder(numbers: usize) -> Sequential {
        let mut layers = networks().discriminator().expect("a GAN has one").layers.clone();
        let Some(Layer::Conv(conv)) = layers.last_mut() else { panic!("no convolution") };
        conv.small = numbers;
        Sequential { layers }
    }

    #[test]
    fn networks_of_other_roles_and_names_come_back() {
        let bigan = networks().with(Role::Encoder, encoder(5));
        assert_eq!(bigan.check(), Ok(()));
        assert!(bigan.encoder().is_ok() && networks().encoder().is_err());
        let names: Vec<&str> = bigan.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["generator", "discriminator", "encoder"]);
        assert!(bigan.params().iter().any(|p| p.name == "encoder.main.0.weight"));
        let json = serde_json::to_string(&bigan).expect("plain data");
        assert_eq!(serde_json::from_str::<Networks>(&json).expect("what was written"), bigan);

        // Two generators, neither with the usual name.
        let mut pyramid = networks().without(Role::Generator);
        let network = networks().generator().expect("a GAN has one").clone();
        for name in ["g1", "g0"] {
            let net = Net::new(Role::Generator, network.clone());
            pyramid.by_name.insert(name.into(), net);
        }
        assert_eq!(pyramid.check(), Ok(()));
        assert_eq!(pyramid.find(Role::Generator).expect("there are two").0, "g0");
        let json = serde_json::to_string(&pyramid).expect("plain data");
        assert_eq!(serde_json::from_str::<Networks>(&json).expect("what was written"), pyramid);
    }

    #[test]
    fn networks_that_are_not_what_their_roles_say_are_refused() {
        // Mean and variance of a latent of 5.
        assert_eq!(networks().with(Role::Encoder, encoder(10)).check(), Ok(()));
        let error = networks().with(Role::Encoder, encoder(6)).check().expect_err("a latent has 5");
        assert!(error.contains("the encoder ends in 6 numbers, and a latent has 5"), "{error}");
        let net = networks().by_name["discriminator"].clone();
        for name in ["ema", "a.b", "", "key"] {
            let mut odd = networks();
            odd.by_name.insert(name.into(), net.clone());
            assert!(odd.check().expect_err("an odd name").contains("a network called"), "{name}");
        }
        // The same name twice.
        let json = serde_json::to_string(&networks().with(Role::Encoder, encoder(5)));
        let twice = json.expect("plain data").replace("{\"encoder\":", "{\"generator\":");
        let error = serde_json::from_str::<Networks>(&twice).expect_err("two generators");
        assert!(error.to_string().contains("two networks are called"), "{error}");
    }

    #[test]
    fn classes_are_known_by_name_and_by_number() {
        let names = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let model = Networks { classes: names(&["cat", "dog", "0"]), ..networks() };
        assert_eq!(model.class("dog"), Ok(1));
        assert_eq!(model.class("1"), Ok(1));
        // Its name, though it is also another's number.
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
    fn layers_take_as_many_classes_as_there_are() {
        let size = Size { height: 16, width: 16 };
        let network = Architecture::Mnist;
        let model_config = ModelConfig {
            network,
            size,
            channels: 1,
            nz: 5,
            ngf: 2,
            ndf: 2,
            ..ModelConfig::default()
        };
        let model = ModelConfig { classes: 4, ..model_config };
        let networks = model.networks().expect("16 works");
        assert_eq!(networks.check(), Ok(()));
        let json = serde_json::to_string(&networks).expect("plain data");
        assert_eq!(serde_json::from_str::<Networks>(&json).expect("what was written"), networks);
        let fewer = Networks { classes: networks.classes[1..].to_vec(), ..networks };
        assert!(fewer.check().expect_err("one is missing").contains("takes 4 classes, and there"));
    }

    /// Each number of the description, changed alone, is noticed or changes no shape.
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
        assert!(error.contains("makes images of [24, 16, 3], not [24, 16, 4]"), "{error}");
        let none = networks().without(Role::Generator).without(Role::Discriminator);
        assert!(none.check().is_err());
        // An image that is flattened before its size is checked.
        let layers = vec![Layer::Flatten, Layer::MinibatchStd(MinibatchStd { group: 0 })];
        for (height, width) in [(usize::MAX, 2), (1 << 33, 1 << 33), (1 << 32, 0)] {
            let size = Size { height, width };
            let discriminator = Sequential { layers: layers.clone() };
            let networks = networks().without(Role::Generator);
            let networks = networks.with(Role::Discriminator, discriminator);
            let error = Networks { size, ..networks }.check();
            assert!(error.expect_err("it is none").contains("there would be images of"));
        }
    }
}
