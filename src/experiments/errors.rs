//! Uses the discriminator of a semi-supervised training as a classifier (Salimans et al., arXiv
//! 1606.03498, section 5).

use crate::device::State;
use crate::error::{Error, Result};
use crate::evaluation::Features;
use crate::features::{DISCRIMINATOR, pixels};
use crate::model::{ModelFile, Weights};
use crate::models::ModelConfig;
use crate::nn::{Mode, Pass};
use crate::program::{Options, Program, fitting};
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

/// Images in a batch, if the memory is large enough.
pub const BATCH: usize = 100;

/// A discriminator that classifies: a semi-supervised one, or one that predicts classes beside its
/// score, as AC-GAN's.
#[derive(Debug)]
pub struct Classifier<'a> {
    program: Program,
    state: &'a mut State,
    shape: [usize; 4],
    classes: usize,
}

impl<'a> Classifier<'a> {
    /// The discriminator of `model`, trained as `config` says, with the weights that
    /// [`ModelFile::used`] selects, and its tensors in `state`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it does not predict classes; errors of compilation.
    pub fn new(
        model: &ModelFile,
        config: &ModelConfig,
        state: &'a mut State,
        weights: Weights,
    ) -> Result<Self> {
        let networks = &model.networks;
        let discriminator = networks.discriminator()?;
        let heads = config.outputs();
        let refused = |what: String| Error::Tensor { name: DISCRIMINATOR.into(), what };
        let Some(range) = heads.range("classes") else {
            return Err(refused("does not predict classes".into()));
        };
        if networks.heads + 1 != heads.width() {
            let (own, said) = (networks.heads + 1, heads.width());
            return Err(refused(format!("ends in {own} numbers, not in {said}")));
        }
        model.load_discriminator(state, weights)?;
        let shape = |batch| [batch, networks.size.height, networks.size.width, networks.channels];
        let tape = |batch| -> Result<Tape> {
            let mut t = Tape::new();
            let x = t.feed("x", &shape(batch), DType::U8)?;
            let x = pixels(&mut t, networks, x)?;
            let pass = Pass::new(Mode::Eval);
            let outputs = discriminator.record(&mut t, DISCRIMINATOR, x, &pass)?.last();
            let outputs = heads.split(&mut t, outputs)?;
            let classes = outputs.iter().find(|(name, _)| *name == "classes");
            t.fetch("classes", classes.expect("it has them").1)?;
            Ok(t)
        };
        let batch = fitting(BATCH, state.device(), state.bytes(), tape)?;
        let (t, shape) = (tape(batch)?, shape(batch));
        let program = Program::compile(&t, state, &Options::default())?;
        Ok(Self { program, state, shape, classes: range.len() })
    }

    /// The maximum number of images at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.shape[0]
    }

    /// The logits `[n, classes]` of at most [`Classifier::batch`] images (bytes, `[n, h, w, c]`).
    ///
    /// # Errors
    /// [`Error::Diverged`] if a logit is not finite; [`Error::Lost`] if the device fails.
    pub fn logits(&mut self, images: &[u8]) -> Result<Features> {
        let count = images.len() / self.shape[1..].iter().product::<usize>();
        let mut bytes = images.to_vec();
        bytes.resize(self.shape.iter().product(), 0);
        let x = Tensor::with_data(self.shape, Data::U8(bytes))?;
        let fetched = self.program.call(self.state, &[("x", &x)])?;
        if !fetched["classes"].is_finite() {
            let what = "the discriminator's answers are not finite: its weights are too large to \
                        compute with";
            return Err(Error::Diverged(what.into()));
        }
        Features::new(self.classes, fetched["classes"].f32s()[..count * self.classes].to_vec())
    }

    /// Predicts the classes of as many.
    ///
    /// # Errors
    /// See [`Classifier::logits`].
    pub fn classes(&mut self, images: &[u8]) -> Result<Vec<u32>> {
        let logits = self.logits(images)?;
        let largest = |row: &[f32]| {
            (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32
        };
        Ok((0..logits.count()).map(|i| largest(logits.row(i))).collect())
    }
}
