//! Training on texts: the encoder, and the captions.

use std::sync::Arc;

use crate::data::{Captions, Source};
use crate::error::{Error, Result};
use crate::model::ModelFile;
use crate::models::ModelConfig;
use crate::text::TextEncoder;
use crate::train::TrainConfig;

/// The configuration with an encoder of texts: that of the model `from`, or one of the set's words.
pub(super) fn encoded(
    config: TrainConfig,
    from: Option<&ModelFile>,
    source: &Source,
) -> Result<TrainConfig> {
    let captions = source.captions()?;
    let texts: Vec<&str> = captions.iter().collect();
    let own = TextEncoder::of(&texts, captions.checksum(), config.seed);
    let text = match from {
        // Its words are those that its networks learned.
        Some(from) if from.networks.has_text() => {
            TextEncoder { checksum: own.checksum, ..from.networks.text.clone() }
        }
        Some(from) => {
            let what = "was not trained on texts; start without --from";
            return Err(Error::file(&from.path, what));
        }
        None => own,
    };
    if text.is_empty() {
        let what =
            "DATA's captions have no word that two of them share, so that none can be learned";
        return Err(Error::file(source.origin(), what));
    }
    Ok(TrainConfig { model: ModelConfig { text: text.width(), ..config.model }, text, ..config })
}

/// The captions of a training on texts: those that it began with.
pub(super) fn captions(config: &TrainConfig, source: &Source) -> Result<Option<Arc<Captions>>> {
    if config.text.is_empty() {
        return Ok(None);
    }
    let captions = source.captions()?;
    if captions.checksum() != config.text.checksum {
        let what = format!(
            "the captions in {} are not those that the run was started with; restore them, or start \
             a new run without --resume",
            captions.from()
        );
        return Err(Error::file(source.origin(), what));
    }
    Ok(Some(Arc::new(captions)))
}
