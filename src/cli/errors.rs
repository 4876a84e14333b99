//! `dcgan errors`: the classification error of a semi-supervised discriminator.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::data::Part;
use crate::device::State;
use crate::error::{Error, Result};
use crate::experiments::errors::{BATCH, Classifier};
use crate::human::plural;
use crate::model::Weights;
use crate::train::TrainConfig;

use super::bar::Bar;
use super::features::labels_of;
use super::flags::{DeviceFlag, JsonFlag};
use super::latents::{note_of_batch, open_model};
use super::nn_score::numbered_as;
use super::reading::{ClassFlag, LabelFlags};

/// Measure the classification error of a discriminator trained with few labels
///
/// For runs of `dcgan train --labels-per-class`: uses the discriminator's own predictions, with the
/// moving average of its weights if there is one and `--raw` is not given.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan train mnist/ --preset semi-supervised\n  dcgan errors \
                        runs/00000-semi-supervised-mnist-28 --test mnist/")]
pub(super) struct Errors {
    /// A run's folder (its newest checkpoint) or a checkpoint
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Labeled images of the same classes; only the test part, if there is also a training part
    #[arg(long, value_name = "LABELLED")]
    test: PathBuf,
    /// Use the weights of the last step, not their moving average (EMA)
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    class: ClassFlag,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Misclassified images.
    errors: usize,
    /// All images.
    images: usize,
    /// Their quotient.
    error_rate: f64,
}

impl Errors {
    pub(super) fn run(&self) -> Result<()> {
        let model = open_model(&self.model)?;
        let config = TrainConfig::of(&model)?.filter(|config| config.model.is_semi_supervised());
        let Some(config) = config else {
            let what =
                "was trained without --labels-per-class, so its discriminator cannot classify";
            return Err(Error::file(&self.model, what));
        };
        let source = self.class.open(&self.test, Part::Test, &self.labels)?;
        let flag = |e: Error| Error::flag("--test", e.to_string());
        let labels = match &config.classes[..] {
            [] => labels_of(&source).map_err(flag)?.to_vec(),
            known => numbered_as(&source, known, || known.join(", ")).map_err(flag)?,
        };
        let device = self.device.open(false)?;
        let (mut state, weights) = (State::new(&device), Weights::raw(self.raw));
        let mut classifier = Classifier::new(&model, &config.model, &mut state, weights)?;
        note_of_batch(classifier.batch(), BATCH);
        let bar = Bar::new(source.len(), "images");
        let mut wrong = 0;
        let items: Vec<usize> = (0..source.len()).collect();
        for items in items.chunks(classifier.batch()) {
            let mut images = Vec::new();
            for &item in items {
                let bytes = source.prepared(item, &model.prepare);
                images.extend(bytes.map_err(|what| Error::file(source.origin(), what))?);
            }
            let said = classifier.classes(&images)?;
            wrong += said.iter().zip(items).filter(|(said, item)| **said != labels[**item]).count();
            bar.add(items.len());
        }
        bar.finish();
        let error_rate = wrong as f64 / source.len() as f64;
        let errors = plural(wrong as u64, "error");
        let images = plural(source.len() as u64, "image");
        self.json.println(&format!("{errors} in {images}: {:.2} %", 100.0 * error_rate))?;
        self.json.report(&Report { errors: wrong, images: source.len(), error_rate })
    }
}
