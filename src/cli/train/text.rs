//! Training on texts: the encoder, and the captions.

use std::path::Path;
use std::sync::Arc;

use crate::data::{Captions, Source};
use crate::error::{Error, Result};
use crate::model::ModelFile;
use crate::models::ModelConfig;
use crate::text::{TextEncoder, TextVectors};
use crate::train::TrainConfig;
use crate::train::options::RunOptions;

/// The flag that names vectors of texts.
const FLAG: &str = "--text-vectors";

/// The configuration with an encoder of texts: that of the model `from`, or one of the set's words, or of
/// the vectors in a file.
pub(super) fn encoded(
    config: TrainConfig,
    from: Option<&ModelFile>,
    source: &Source,
    file: Option<&Path>,
) -> Result<TrainConfig> {
    let captions = source.captions()?;
    let texts: Vec<&str> = captions.iter().collect();
    let (checksum, seed) = (captions.checksum(), config.seed);
    let own = match file {
        Some(file) => {
            let vectors = TextVectors::open(file)?;
            let own = TextEncoder::by_vectors(&texts, checksum, seed, &vectors);
            own.map_err(|what| Error::file(file, what))?
        }
        None => TextEncoder::of(&texts, checksum, seed),
    };
    let text = match from {
        Some(from) if from.networks.has_text() && from.networks.text.vectors.is_some() => {
            suits(from, &own)?;
            own
        }
        Some(from) if from.networks.has_text() && file.is_some() => {
            let what = "the networks of --from learned words of their own; leave it out, or start without \
                        --from";
            return Err(Error::flag(FLAG, what));
        }
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

/// Refuses vectors that are not of the kind that the networks of `from` take.
fn suits(from: &ModelFile, own: &TextEncoder) -> Result<()> {
    let width = from.networks.text.width();
    if own.vectors.is_some() && own.width() == width {
        return Ok(());
    }
    let what = format!(
        "the networks of --from take vectors of {width} numbers from a file; give such a file, or start \
         without --from"
    );
    Err(Error::flag(FLAG, what))
}

/// The vectors of a training's captions, if another program made them: those that it began with.
pub(super) fn vectors(options: &RunOptions) -> Result<Option<TextVectors>> {
    let (Some(file), Some(own)) = (&options.text_vectors, &options.config.text.vectors) else {
        return Ok(None);
    };
    let vectors = TextVectors::open(file)?;
    match vectors.checksum() == own.checksum() && vectors.width() == own.width() {
        true => Ok(Some(vectors)),
        false => {
            let what = format!(
                "{} has other vectors than those that the run was started with; restore it, or name \
                 the file where these are",
                file.display()
            );
            Err(Error::flag(FLAG, what))
        }
    }
}
