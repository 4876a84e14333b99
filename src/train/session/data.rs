//! What a training reads, and how batches reach its step.

use std::sync::Arc;

use crate::data::{Batch as Loaded, Captions, Source};
use crate::error::Result;
use crate::gan::families::int_cls::WRONG;
use crate::nn::{NORMALS, TEXT};
use crate::tensor::{Data, Tensor};
use crate::text::TextVectors;
use crate::train::{Batch, Feed, Labeled, TrainConfig};

use super::Session;

/// What a training reads.
#[derive(Debug)]
pub struct TrainingData {
    /// The images.
    pub source: Arc<Source>,
    /// Their batches.
    pub feed: Feed,
    /// For semi-supervised training.
    pub labeled: Option<Labeled>,
    /// For training on texts.
    pub captions: Option<Arc<Captions>>,
    /// For the same, vectors of all captions, if another program made them.
    pub vectors: Option<TextVectors>,
}

/// Texts whose images a preview shows.
const TEXT_ROWS: usize = 8;

/// Rows of a preview with their own class or text; 0 for an unconditional generator.
pub(super) fn rows(config: &TrainConfig) -> usize {
    match config.model.is_conditional() {
        true => config.model.classes,
        false => config.text.examples.len().min(TEXT_ROWS),
    }
}

impl Session {
    /// A batch of the feed with its labels, its normal maps, its texts as vectors, and the images that
    /// these are wrong for.
    pub(super) fn complete(&self, batch: Loaded) -> Result<Batch> {
        let Loaded { images, labels, items, captions: chosen, companions, normals, .. } = batch;
        let mut made = Batch::from(images).labels(&labels.unwrap_or_default());
        if let Some(normals) = normals {
            let [h, w, _] = self.trainer.phase().image;
            let normals = Tensor::with_data([items.len(), h, w, 3], Data::U8(normals))?;
            made = made.feed(NORMALS, normals);
        }
        let (Some(captions), Some(chosen)) = (&self.captions, chosen) else { return Ok(made) };
        let text = &self.trainer.system().model.text;
        let encode = |caption: &str| match &self.vectors {
            Some(vectors) => vectors.encode(caption),
            None => text.encode(caption),
        };
        let mut vectors = Vec::with_capacity(items.len() * text.width());
        for (&item, &caption) in items.iter().zip(&chosen) {
            vectors.extend(encode(&captions.of(item as usize)[caption as usize]));
        }
        made = made.feed(TEXT, Tensor::new([items.len(), text.width()], vectors)?);
        if let Some(companions) = companions {
            let [h, w, c] = self.trainer.phase().image;
            let images = Tensor::with_data([items.len(), h, w, c], Data::U8(companions))?;
            made = made.feed(WRONG, images);
        }
        Ok(made)
    }
}
