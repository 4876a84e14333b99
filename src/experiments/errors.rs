//! Uses the discriminator of a semi-supervised training as a classifier (Salimans et al., arXiv
//! 1606.03498, section 5).

use crate::device::State;
use crate::error::{Error, Result};
use crate::features::{DISCRIMINATOR, pixels};
use crate::model::{ModelFile, Weights};
use crate::nn::{Mode, Pass};
use crate::program::{Options, Program, fitting};
use crate::tape::Tape;
use crate::tensor::{DType, Data, Tensor};

/// Images in a batch, if the memory is large enough.
pub const BATCH: usize = 100;

/// A discriminator that classifies.
#[derive(Debug)]
pub struct Classifier<'a> {
    program: Program,
    state: &'a mut State,
    shape: [usize; 4],
    classes: usize,
}

impl<'a> Classifier<'a> {
    /// The discriminator of `model`, which outputs the logits of this number of `classes`, with the
    /// weights that [`ModelFile::used`] selects, and its tensors in `state`.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the model's discriminator does not output this number of logits; errors
    /// of compilation.
    pub fn new(
        model: &ModelFile,
        state: &'a mut State,
        weights: Weights,
        classes: usize,
    ) -> Result<Self> {
        let networks = &model.networks;
        let discriminator = networks.discriminator()?;
        if networks.heads + 1 != classes {
            let what = format!("ends in {} numbers, not in {classes} logits", networks.heads + 1);
            return Err(Error::Tensor { name: DISCRIMINATOR.into(), what });
        }
        model.load_discriminator(state, weights)?;
        let shape = |batch| [batch, networks.size.height, networks.size.width, networks.channels];
        let tape = |batch| -> Result<Tape> {
            let mut t = Tape::new();
            let x = t.feed("x", &shape(batch), DType::U8)?;
            let x = pixels(&mut t, networks, x)?;
            let pass = Pass::new(Mode::Eval);
            let said = discriminator.record(&mut t, DISCRIMINATOR, x, &pass)?.last();
            t.fetch("classes", said)?;
            Ok(t)
        };
        let batch = fitting(BATCH, state.device(), state.bytes(), tape)?;
        let (t, shape) = (tape(batch)?, shape(batch));
        let program = Program::compile(&t, state, &Options::default())?;
        Ok(Self { program, state, shape, classes })
    }

    /// The maximum number of images at a time.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.shape[0]
    }

    /// Predicts the classes of at most [`Classifier::batch`] images (bytes, `[n, h, w, c]`).
    ///
    /// # Errors
    /// [`Error::Diverged`] if a logit is not finite; [`Error::Lost`] if the device fails.
    pub fn classes(&mut self, images: &[u8]) -> Result<Vec<u32>> {
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
        let rows = fetched["classes"].f32s().chunks(self.classes).take(count);
        let largest = |row: &[f32]| {
            (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32
        };
        Ok(rows.map(largest).collect())
    }
}
