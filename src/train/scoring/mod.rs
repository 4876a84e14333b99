//! Scores of the generator during its training, as `dcgan evaluate` computes them: of the same seeds,
//! held against the same images of the training data.
//!
//! Nothing is drawn from the training's random numbers, and what is needed of the real images is
//! computed once, so that a training is the same with scores or without.

pub mod best;
pub mod options;

use std::sync::Arc;

use crate::data::{Order, Prepare, Source, sweep};
use crate::device::Device;
use crate::device::host::afford;
use crate::error::{Error, Result};
use crate::evaluation::metric::Compute;
use crate::evaluation::networks::{Cached, FeatureNetwork, cached_features};
use crate::evaluation::report::{Network, SPLITS, check, references};
use crate::evaluation::{
    Features, ImageSet, Metric, Options, OwnedSets, Reference, Score, Sets, evaluate_aside,
};
use crate::human;

use best::Best;
use options::ScoreOptions;

/// The seed of the choice of real images and of what metrics draw, and the first one of generated
/// images: that of `dcgan evaluate`.
pub const SEED: u64 = 0;

/// Images decoded at a time.
const CHUNK: usize = 256;

/// Scores a generator.
#[derive(Debug)]
pub struct Scorer {
    metrics: Vec<&'static Metric>,
    references: Vec<Reference>,
    /// Those that generated images are held against.
    reals: Arc<ImageSet>,
    network: Option<Embedded>,
    best: Option<Best>,
    notes: Vec<String>,
}

/// A network, and its features of the real images.
#[derive(Debug)]
struct Embedded {
    network: FeatureNetwork,
    reals: (Features, Option<Features>),
}

impl Scorer {
    /// Reads real images of `source` and computes what scores of generated ones are held against, as far
    /// as it is not among `known`.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Metric`] if a metric that was asked for cannot be computed; those of
    /// reading images and of [`FeatureNetwork`]; [`Error::Memory`].
    pub fn new(
        options: &ScoreOptions,
        source: &Source,
        prepare: &Prepare,
        device: &Device,
        known: &[Reference],
    ) -> Result<Self> {
        let wanted = options.metrics()?;
        let is_of_features =
            wanted.iter().any(|(metric, _)| matches!(metric.compute, Compute::Network(_)));
        let weights = options.features.0.as_ref().filter(|_| is_of_features);
        let mut network = weights.map(|path| FeatureNetwork::open(path, device)).transpose()?;

        let samples = usize::try_from(options.evaluate_samples).unwrap_or(usize::MAX);
        let count = samples.min(source.len());
        let pool = read(source, prepare, source.len().min(count.saturating_mul(2)))?;
        let first: Vec<u32> = (0..count.min(pool.count()) as u32).collect();
        let reals = Arc::new(pool.select(&first));
        let mut notes = Vec::new();
        let embedded = match &mut network {
            None => None,
            Some(network) => {
                let Cached { outputs, warning, .. } =
                    cached_features(network, &pool, &mut |_, _| Ok(()))?;
                notes.extend(warning);
                let all = (outputs.features, Some(outputs.logits));
                let (name, protocol) = (network.name().into(), network.protocol());
                Some(Network { name, protocol, fakes: all.clone(), reals: all })
            }
        };
        let sets = Sets {
            fakes: &reals,
            reals: &pool,
            seen: None,
            network: embedded.as_ref(),
            classes: None,
        };
        let protocol =
            Options { seed: SEED, splits: SPLITS, images: described(source, &reals, prepare) };
        let (mut metrics, mut found) = (Vec::new(), Vec::new());
        for (metric, is_asked) in wanted {
            match check(&sets, metric, &protocol) {
                Err(error) if !is_asked => notes.push(format!("{error}: it is left out")),
                checked => {
                    checked?;
                    found.extend(references(&sets, metric, &protocol, known)?);
                    metrics.push(metric);
                }
            }
        }
        if metrics.is_empty() {
            let what = "none of the usual metrics can be computed of these images; name some";
            return Err(Error::config("evaluate", what));
        }
        if reals.count() < samples {
            notes.push(format!(
                "scores are of {} generated and real images, as there are no more real ones",
                human::grouped(reals.count() as u64)
            ));
        }
        let best = match &options.best.0 {
            None => None,
            Some(name) => Some(Best::new(of_name(&found, &metrics, name)?)?),
        };
        let network = network.zip(embedded).map(|(network, all)| {
            let (features, logits) = all.reals;
            let first = |features: Features| features.first(reals.count());
            Embedded { network, reals: (first(features), logits.map(first)) }
        });
        Ok(Self { metrics, references: found, reals, network, best, notes })
    }

    /// What is to be known of the scores, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What scores are held against.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The images to generate, of the seeds from [`SEED`].
    #[must_use]
    pub fn count(&self) -> usize {
        self.reals.count()
    }

    /// By what the best checkpoint is chosen, if it is.
    pub fn best(&mut self) -> Option<&mut Best> {
        self.best.as_mut()
    }

    /// The scores of generated images, until `stop` says to stop: then `None`.
    ///
    /// # Errors
    /// [`Error::Metric`], [`Error::Tensor`] for images of another size; those of [`FeatureNetwork`].
    pub fn scores(
        &mut self,
        fakes: ImageSet,
        stop: impl Fn() -> bool,
    ) -> Result<Option<Vec<Score>>> {
        let network = match &mut self.network {
            None => None,
            Some(Embedded { network, reals }) => {
                let mut is_stopped = false;
                let embedded = network.features(&fakes, &mut |_, _| {
                    is_stopped = stop();
                    match is_stopped {
                        false => Ok(()),
                        true => Err(Error::metric("features", "interrupted")),
                    }
                });
                if is_stopped {
                    return Ok(None);
                }
                let outputs = embedded?;
                let fakes = (outputs.features, Some(outputs.logits));
                let (name, protocol) = (network.name().into(), network.protocol());
                Some(Network { name, protocol, fakes, reals: reals.clone() })
            }
        };
        let reals = Arc::clone(&self.reals);
        let sets = OwnedSets { fakes, reals, seen: None, network, classes: None };
        let options = Options { seed: SEED, splits: 0, images: String::new() };
        let mut scores = Vec::new();
        let take = |some| scores.extend(some);
        let is_done = evaluate_aside(sets, self.metrics.clone(), options, |_| (), take, stop)?;
        Ok(is_done.then_some(scores))
    }

    /// Scores with the scores of real images: `swd-raw 45.2 (real 21.8), 1-nn 0.9 (real 0.5)`.
    #[must_use]
    pub fn line(&self, scores: &[Score]) -> String {
        let one = |score: &Score| {
            let known = self.references.iter().find(|known| known.name == score.name);
            let floor = known.and_then(|known| known.floor.as_ref());
            let floor = floor.map(|floor| format!(" (real {})", human::number(floor.value)));
            format!("{} {}{}", score.name, human::number(score.value), floor.unwrap_or_default())
        };
        scores.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The reference of a score by its name without that of a network.
fn of_name(references: &[Reference], metrics: &[&'static Metric], name: &str) -> Result<Reference> {
    let outputs = metrics.iter().flat_map(|metric| metric.outputs);
    let found = outputs.zip(references).find(|(output, _)| output.name == name);
    let missing = || Error::config("best", format!("{name} is not among the scores"));
    found.map(|(_, reference)| reference.clone()).ok_or_else(missing)
}

/// The first `count` images of a source in the order of [`SEED`], prepared as for training, but without
/// flips and with crops at the center.
fn read(source: &Source, prepare: &Prepare, count: usize) -> Result<ImageSet> {
    let prepare = Prepare { flip: false, ..prepare.clone() };
    afford((count * prepare.len()) as u64, "the real images of scores")?;
    let mut items = Order { seed: SEED, count: source.len(), batch: 1 }.shuffled(0);
    items.truncate(count);
    let mut bytes = Vec::with_capacity(count * prepare.len());
    sweep(source, &prepare, &items, CHUNK, |chunk| {
        bytes.extend_from_slice(&chunk.images);
        Ok(())
    })?;
    ImageSet::new([prepare.height, prepare.width, prepare.channels], bytes)
}

/// What images are, for the protocols.
fn described(source: &Source, reals: &ImageSet, prepare: &Prepare) -> String {
    let [height, width, channels] = reals.size;
    format!(
        "seeds from {SEED} during training; {} ({}); {width}x{height} pixels, {}, crop {}, resized {}",
        source.name(),
        source.description(),
        human::plural(channels as u64, "channel"),
        prepare.crop,
        prepare.filter
    )
}
