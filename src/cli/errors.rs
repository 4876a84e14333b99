//! `dcgan errors`: how often the discriminator of a semi-supervised training names the wrong class.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::data::Part;
use crate::device::State;
use crate::error::{Error, Result};
use crate::experiments::errors::Classifier;
use crate::human::plural;
use crate::train::folder;
use crate::train::model_file::ModelFile;

use super::bar::Bar;
use super::flags::{DeviceFlag, JsonFlag};

/// Count the pictures whose class a discriminator names wrongly that was trained with few labels
///
/// For runs of `dcgan train --labels-per-class`: the discriminator's own answer, by the moving average
/// of its weights where there is one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan train mnist/ --preset semi-supervised\n  dcgan errors \
                        runs/00000-semi-supervised-mnist-28 --test mnist/")]
pub(super) struct Errors {
    /// A run's folder (its newest checkpoint is taken) or a checkpoint
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Labelled pictures of the same classes; of what has a training and a test part the second
    #[arg(long, value_name = "LABELLED")]
    test: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Images whose class was named wrongly.
    errors: usize,
    /// All images.
    images: usize,
    /// Their quotient.
    error_rate: f64,
}

impl Errors {
    pub(super) fn run(&self) -> Result<()> {
        let model = ModelFile::load(&folder::resolve(&self.model)?)?;
        let source = super::classify::open(&self.test, Part::Test)?;
        let (Some(labels), Some(recipe)) = (source.labels(), &model.recipe) else {
            let what = "has no labels: a folder for each class, IDX files with their labels or \
                        CIFAR-10 batches are needed";
            return Err(Error::flag("--test", format!("{} {what}", source.origin().display())));
        };
        if !recipe.classes.is_empty() && recipe.classes != source.classes() {
            let what = format!(
                "its classes are {}, those of the run {}",
                source.classes().join(", "),
                recipe.classes.join(", ")
            );
            return Err(Error::flag("--test", what));
        }
        let device = self.device.open(false)?;
        let mut state = State::new(&device);
        let mut classifier = Classifier::new(&model, &mut state)?;
        let bar = Bar::new(source.len(), "pictures");
        let mut wrong = 0;
        let items: Vec<usize> = (0..source.len()).collect();
        for items in items.chunks(classifier.batch()) {
            let mut pictures = Vec::new();
            for &item in items {
                let bytes = source.prepared(item, &model.prepare);
                pictures.extend(bytes.map_err(|what| Error::file(source.origin(), what))?);
            }
            let said = classifier.classes(&pictures)?;
            wrong += said.iter().zip(items).filter(|(said, item)| **said != labels[**item]).count();
            bar.add(items.len());
        }
        bar.finish();
        let error_rate = wrong as f64 / source.len() as f64;
        let errors = plural(wrong as u64, "error");
        let pictures = plural(source.len() as u64, "picture");
        self.json.println(&format!("{errors} in {pictures}: {:.2} %", 100.0 * error_rate))?;
        self.json.report(&Report { errors: wrong, images: source.len(), error_rate })
    }
}
