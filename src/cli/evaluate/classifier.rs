//! The classifier of scores by classes.

use crate::data::Source;
use crate::device::State;
use crate::error::{Error, Result};
use crate::evaluation::classes::Classified;
use crate::evaluation::report::Classes;
use crate::evaluation::{Features, ImageSet};
use crate::experiments::errors::Classifier;
use crate::human::plural;
use crate::model::{Inputs, ModelFile, Weights};
use crate::train::TrainConfig;

use super::super::bar::Bar;
use super::super::latents::open_model;
use super::super::nn_score::numbered_as;
use super::Evaluate;
use super::sets::{Generated, Items};

/// A model whose discriminator predicts classes.
pub(super) struct Judge {
    model: ModelFile,
    config: TrainConfig,
    /// Whether it was asked for.
    is_asked: bool,
}

impl Judge {
    /// The one of `--classifier`, else the evaluated model itself, if its discriminator predicts classes.
    pub(super) fn open(evaluate: &Evaluate, generated: &Generated) -> Result<Option<Self>> {
        let Some(path) = &evaluate.classifier else {
            let Some(model) = generated.model() else { return Ok(None) };
            let config = TrainConfig::of(model).ok().flatten().filter(predicts);
            return Ok(config.map(|config| Self { model: model.clone(), config, is_asked: false }));
        };
        let model = open_model(path)?;
        let Some(config) = TrainConfig::of(&model)?.filter(predicts) else {
            let what = format!(
                "{} does not predict classes; a run of dcgan train --labels-per-class or \
                 --conditional=auxiliary does",
                path.display()
            );
            return Err(Error::flag("--classifier", what));
        };
        let judge = Self { model, config, is_asked: true };
        let (own, given) = (judge.size(), &generated.prepare);
        if own != [given.height, given.width, given.channels] {
            let text = |[height, width, channels]: [usize; 3]| {
                format!("{height}x{width} pixels and {}", plural(channels as u64, "channel"))
            };
            let given = text([given.height, given.width, given.channels]);
            let what = format!(
                "its discriminator is for images of {}, and these are of {given}",
                text(own)
            );
            return Err(Error::flag("--classifier", what));
        }
        Ok(Some(judge))
    }

    fn size(&self) -> [usize; 3] {
        let networks = &self.model.networks;
        [networks.size.height, networks.size.width, networks.channels]
    }

    /// The names of its classes.
    fn names(&self) -> Vec<String> {
        let networks = &self.model.networks;
        match (&self.config.classes[..], &networks.classes[..]) {
            ([], []) => (0..self.config.model.classes).map(|class| class.to_string()).collect(),
            ([], names) | (names, _) => names.to_vec(),
        }
    }

    /// The labels of some images of a set, if it has the classifier's classes.
    fn labels(&self, source: &Source, items: &[u32]) -> Result<Option<Vec<u32>>> {
        let names = self.names();
        match numbered_as(source, &names, || names.join(", ")) {
            Ok(labels) => Ok(Some(items.iter().map(|&item| labels[item as usize]).collect())),
            // Images without classes still have an Inception score.
            Err(_) if source.labels().is_none() || !self.is_asked => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The classes in which a model's images are drawn, by the classifier's numbers, if it knows them all.
    fn drawn_in(&self, model: &ModelFile, seed: u64, images: &ImageSet) -> Option<Vec<u32>> {
        let (own, names) = (&model.networks.classes, self.names());
        let number = |class: &String| names.iter().position(|name| name == class);
        let numbers = own.iter().map(number).collect::<Option<Vec<usize>>>()?;
        let count = images.count();
        let inputs = Inputs::seeds((0..count as u64).map(|i| seed.wrapping_add(i)));
        let class = |i: usize| Some(numbers[inputs.class(i, own.len())? as usize] as u32);
        (0..count).map(class).collect()
    }

    /// Predictions for both sets, of the images `items`.
    pub(super) fn classify(
        &self,
        evaluate: &Evaluate,
        generated: &Generated,
        [fakes, reals]: [&ImageSet; 2],
        items: &Items,
        real: &Source,
    ) -> Result<Classes> {
        let labels = match generated.source() {
            Some(source) => self.labels(source, &items.fakes)?,
            None => generated.model().and_then(|model| self.drawn_in(model, evaluate.seed, fakes)),
        };
        let mut state = State::new(&evaluate.device.open(false)?);
        let weights = Weights::raw(evaluate.raw);
        let mut classifier = Classifier::new(&self.model, &self.config.model, &mut state, weights)?;
        let length: usize = fakes.size.iter().product();
        let mut logits = |images: &ImageSet, what: &'static str| -> Result<Features> {
            let bar = Bar::new(images.count(), what);
            let mut values = Vec::new();
            for bytes in images.bytes.chunks(classifier.batch() * length) {
                values.extend(classifier.logits(bytes)?.values);
                bar.add(bytes.len() / length);
            }
            bar.finish();
            Features::new(self.config.model.classes, values)
        };
        let fakes = Classified { logits: logits(fakes, "generated images classified")?, labels };
        let logits = logits(reals, "real images classified")?;
        let reals = Classified { logits, labels: self.labels(real, &items.reals)? };
        let path = self.model.path.display();
        let protocol = format!("classifier: the discriminator of {path}, step {}", self.model.step);
        Ok(Classes { names: self.names(), protocol, fakes, reals })
    }
}

fn predicts(config: &TrainConfig) -> bool {
    config.model.outputs().range("classes").is_some()
}
