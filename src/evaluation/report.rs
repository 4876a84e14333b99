//! Scores with their floors and protocols.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::classes::Classified;
use super::memorization::{self, Seen};
use super::metric::{
    Better, ClassSets, Compute, Context, Embedded, Measured, Metric, NetworkSets, Output, UNLABELED,
};
use super::thumbnails::thumbnails;
use super::{Features, ImageSet};
use crate::error::{Error, Result};
use crate::human::grouped;
use crate::rng::Stream;

/// How often the real images are halved for a floor.
pub const SPLITS: usize = 3;

/// Student's t for two-sided 95 % with 1, 2, 3 … degrees of freedom.
const T: [f64; 5] = [12.706, 4.303, 3.182, 2.776, 2.571];

/// Features of both sets by a network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name, [`super::networks::Kind::name`].
    pub name: String,
    /// What its features depend on: the network, its file's hash, how images are resized.
    pub protocol: String,
    /// Of the generated images.
    pub fakes: (Features, Option<Features>),
    /// Of the real images, in their order.
    pub reals: (Features, Option<Features>),
}

/// A classifier's predictions for both sets.
#[derive(Clone, Debug)]
pub struct Classes {
    /// The names of the classes.
    pub names: Vec<String>,
    /// Which classifier.
    pub protocol: String,
    /// Of the generated images.
    pub fakes: Classified,
    /// Of the real images, in their order.
    pub reals: Classified,
}

/// What scores are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    /// The generated images.
    pub fakes: &'a ImageSet,
    /// Real images, in random order. As many are compared as are generated, the first ones; floors are
    /// drawn from all of them.
    pub reals: &'a ImageSet,
    /// Training and held-out images.
    pub seen: Option<&'a Seen>,
    /// Features by a network.
    pub network: Option<&'a Network>,
    /// Predictions of a classifier.
    pub classes: Option<&'a Classes>,
}

/// How scores are computed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of patches, directions and halves.
    pub seed: u64,
    /// How often the real images are halved for a floor; 0 for no floors.
    pub splits: usize,
    /// What is to be known of the images, for the protocols: where they come from, the weights, how they
    /// are resized.
    pub images: String,
}

/// The score of real images against real ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The mean over the halvings.
    pub value: f64,
    /// The standard deviation over them, if there are several.
    pub std: Option<f64>,
    /// Images of each half.
    pub count: usize,
    /// Halvings.
    pub splits: usize,
}

impl Floor {
    fn of(values: &[f64], count: usize) -> Self {
        let splits = values.len();
        let value = values.iter().sum::<f64>() / splits as f64;
        let squares = values.iter().map(|x| (x - value).powi(2)).sum::<f64>();
        let std = (splits > 1).then(|| (squares / (splits - 1) as f64).sqrt());
        Self { value, std, count, splits }
    }

    /// How far one more real set may be from the mean, in 19 of 20 cases; `None` after one halving.
    #[must_use]
    pub fn noise(&self) -> Option<f64> {
        let t = T[(self.splits.checked_sub(2)?).min(T.len() - 1)];
        Some(t * self.std? * (1.0 + 1.0 / self.splits as f64).sqrt())
    }
}

/// A score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its name.
    pub name: String,
    /// The score.
    pub value: f64,
    /// [`Measured::std`].
    pub std: Option<f64>,
    /// What it is a mean of.
    pub parts: Vec<(String, f64)>,
    /// Which values are good.
    pub better: Better,
    /// The same of real images, if there are enough.
    pub floor: Option<Floor>,
    /// What must be equal for two scores to be comparable.
    pub protocol: String,
}

impl Score {
    /// Whether the images are as good as real ones as far as this score can tell: it is at its floor
    /// within the floor's noise, or beyond it. `None` without a floor or its noise.
    #[must_use]
    pub fn is_at_floor(&self) -> Option<bool> {
        let floor = self.floor.as_ref()?;
        let noise = floor.noise()?;
        Some(match self.better {
            Better::Lower => self.value <= floor.value + noise,
            Better::Higher => self.value >= floor.value - noise,
            Better::Near(_) | Better::Real => (self.value - floor.value).abs() <= noise,
        })
    }
}

/// What a score is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The score's name.
    pub name: String,
    /// Which values are good.
    pub better: Better,
    /// The score of real images, if there are enough.
    pub floor: Option<Floor>,
    /// What must be equal for two scores to be comparable.
    pub protocol: String,
}

/// Scores in the order of their metrics. As JSON, an object of `metrics`, `deviations`, `floors` and
/// `protocols`, each by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores(pub Vec<Score>);

impl Scores {
    /// The score of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Score> {
        self.0.iter().find(|score| score.name == name)
    }
}

/// A map in the order of its entries.
struct Entries<'a, T>(&'a [Score], fn(&'a Score) -> Option<T>);

impl<T: Serialize> Serialize for Entries<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let some = self.0.iter().filter_map(|score| Some((&score.name, self.1(score)?)));
        serializer.collect_map(some)
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("metrics", &Entries(&self.0, |score| Some(score.value)))?;
        map.serialize_entry("deviations", &Entries(&self.0, |score| score.std))?;
        map.serialize_entry("floors", &Entries(&self.0, |score| score.floor.as_ref()))?;
        map.serialize_entry("protocols", &Entries(&self.0, |score| Some(&score.protocol)))?;
        map.end()
    }
}

/// Scores of generated images against real ones by metrics of images alone, with floors. Real images are
/// to be in random order; where there are twice as many as generated ones, the floor has the same counts.
/// `progress` receives how much is done, from 0 to 1.
///
/// # Errors
/// Those of [`evaluate_sets`].
///
/// ```
/// use dcgan::evaluation::{ImageSet, evaluate, metric};
///
/// # fn main() -> dcgan::error::Result<()> {
/// // 12 gray images of 16 x 16 pixels, and 24.
/// let noise = |n: usize| (0..n * 256).map(|i| (i * i % 251) as u8).collect();
/// let fakes = ImageSet::new([16, 16, 1], noise(12))?;
/// let reals = ImageSet::new([16, 16, 1], noise(24))?;
/// let metrics = [metric("swd-raw").unwrap(), metric("prdc-pixels").unwrap()];
/// let scores = evaluate(&fakes, &reals, &metrics, 0, &|_| ())?;
/// // The first 12 images are the same.
/// assert_eq!(scores.get("swd-raw").unwrap().value, 0.0);
/// assert_eq!(scores.get("recall-pixels").unwrap().value, 1.0);
/// # Ok(())
/// # }
/// ```
pub fn evaluate(
    fakes: &ImageSet,
    reals: &ImageSet,
    metrics: &[&'static Metric],
    seed: u64,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Scores> {
    let sets = Sets { fakes, reals, seen: None, network: None, classes: None };
    let options = Options { seed, splits: SPLITS, images: String::new() };
    let mut scores = Scores::default();
    let keep = |some: Vec<Score>| {
        scores.0.extend(some);
        true
    };
    evaluate_sets(&sets, metrics, &options, progress, keep)?;
    Ok(scores)
}

/// Scores one metric after the other; `take` receives those of a metric as soon as they are known, and
/// says whether to go on.
///
/// # Errors
/// [`Error::Metric`] if a metric lacks what it needs, or there are fewer images than it takes;
/// [`Error::Tensor`] if the images are of two sizes; [`Error::Memory`].
pub fn evaluate_sets(
    sets: &Sets<'_>,
    metrics: &[&'static Metric],
    options: &Options,
    progress: &(dyn Fn(f64) + Sync),
    mut take: impl FnMut(Vec<Score>) -> bool,
) -> Result<()> {
    if sets.fakes.size != sets.reals.size {
        let what = format!(
            "the generated ones are {:?}, and the real ones {:?}",
            sets.fakes.size, sets.reals.size
        );
        return Err(Error::Tensor { name: "images".into(), what });
    }
    // Before anything that takes long.
    let runs = metrics.iter().map(|metric| Run::new(sets, metric, options));
    let runs = runs.collect::<Result<Vec<Run<'_>>>>()?;
    let total: f64 = runs.iter().map(Run::work).sum();
    let done = std::sync::Mutex::new(0.0);
    let add = |images: f64| {
        let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *done += images;
        progress(f64::min(*done / total, 1.0));
    };
    for run in &runs {
        let begun = *done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let scores = run.scores(&add)?;
        let now = *done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        add(begun + run.work() - now);
        if !take(scores) {
            break;
        }
    }
    Ok(())
}

/// What a metric's scores of these sets would be held against, without computing any: each score's name,
/// which values are good, floor and protocol. The generated images only matter by their number, so that
/// real ones can stand for them. Floors that are `known`, by the same protocol, are not computed again.
///
/// # Errors
/// Those of [`evaluate_sets`].
pub fn references(
    sets: &Sets<'_>,
    metric: &'static Metric,
    options: &Options,
    known: &[Reference],
) -> Result<Vec<Reference>> {
    let run = Run::new(sets, metric, options)?;
    let reference = |output: &Output, floor: Option<Floor>| Reference {
        name: run.name(output),
        better: output.better,
        protocol: run.protocol(&[], floor.as_ref()),
        floor,
    };
    let half = run.counts[1];
    let splits = if half > 0 { options.splits } else { 0 };
    let any = (splits > 0).then_some(Floor { value: 0.0, std: None, count: half, splits });
    let found = metric.outputs.iter().map(|output| {
        let wanted = reference(output, any.clone());
        let is_same = |one: &&Reference| {
            (&one.name, one.better, &one.protocol)
                == (&wanted.name, wanted.better, &wanted.protocol)
        };
        known.iter().find(is_same).cloned()
    });
    if let Some(known) = found.collect::<Option<Vec<Reference>>>() {
        return Ok(known);
    }
    let floors = run.floors(&run.context(&|_| ()))?;
    Ok(metric.outputs.iter().zip(floors).map(|(output, floor)| reference(output, floor)).collect())
}

/// Whether a metric can be computed from these sets, by their numbers and sizes.
///
/// # Errors
/// [`Error::Metric`] says what it lacks.
pub fn check(sets: &Sets<'_>, metric: &'static Metric, options: &Options) -> Result<()> {
    Run::new(sets, metric, options).map(drop)
}

/// A metric on its sets.
struct Run<'a> {
    sets: &'a Sets<'a>,
    metric: &'static Metric,
    options: &'a Options,
    /// Images of each set that are compared, and of each half of the floor's; 0 for no floor.
    counts: [usize; 2],
}

impl<'a> Run<'a> {
    fn new(sets: &'a Sets<'a>, metric: &'static Metric, options: &'a Options) -> Result<Self> {
        let lacks = |what: &str| Err(Error::metric(metric.name, what));
        let (fakes, reals) = (sets.fakes.count(), sets.reals.count());
        let count = fakes.min(reals);
        let half = match (metric.compute, sets.seen, sets.network) {
            (Compute::Seen(_), None, _) => {
                return lacks("needs images that the model was not trained on");
            }
            (Compute::Network(_), _, None) => return lacks("needs a network's features"),
            (Compute::Classes(_, of_labels), ..) => match sets.classes {
                None => return lacks("needs a classifier"),
                Some(classes) if of_labels && classes.fakes.labels.is_none() => {
                    return lacks(UNLABELED);
                }
                // There is nothing to hold an accuracy against.
                Some(classes) if of_labels && classes.reals.labels.is_none() => 0,
                Some(_) => (reals / 2).min(count),
            },
            // Its control, not the images compared, is halved.
            (Compute::Seen(_), Some(seen), _) => seen.held_out.count() / 2,
            _ => (reals / 2).min(count),
        };
        let [height, width, _] = sets.reals.size;
        if height.min(width) < metric.least_side {
            let least = metric.least_side;
            return lacks(&format!(
                "images of {width}x{height} pixels are too small; both sides must be {least} or more"
            ));
        }
        if count < metric.least {
            let whose = if fakes < reals { "generated" } else { "real" };
            let what = format!(
                "{count} {whose} images are too few; {} or more work",
                grouped(metric.least as u64)
            );
            return Err(Error::metric(metric.name, what));
        }
        let half = if half < metric.least || options.splits == 0 { 0 } else { half };
        Ok(Self { sets, metric, options, counts: [count, half] })
    }

    /// In images.
    fn work(&self) -> f64 {
        let [count, half] = self.counts;
        (2 * count + self.options.splits * 2 * half) as f64
    }

    fn context<'b>(&self, progress: &'b (dyn Fn(f64) + Sync)) -> Context<'b> {
        Context { metric: self.metric.name, seed: self.options.seed, progress }
    }

    fn scores(&self, add: &(dyn Fn(f64) + Sync)) -> Result<Vec<Score>> {
        let context = self.context(add);
        let measured = self.measure(&context)?;
        let floors = self.floors(&context)?;
        let each = measured.into_iter().zip(self.metric.outputs.iter().zip(floors));
        let score = |(measured, (output, floor)): (Measured, (&Output, Option<Floor>))| {
            let Measured { value, std, parts } = measured;
            let protocol = self.protocol(&parts, floor.as_ref());
            let (name, better) = (self.name(output), output.better);
            Score { name, value, std, parts, better, floor, protocol }
        };
        Ok(each.map(score).collect())
    }

    /// The floor of each score; `None` if there are too few real images.
    fn floors(&self, context: &Context<'_>) -> Result<Vec<Option<Floor>>> {
        let half = self.counts[1];
        let splits = if half > 0 { self.options.splits } else { 0 };
        let all = (0..splits).map(|split| self.floor(split, context));
        let all = all.collect::<Result<Vec<Vec<Measured>>>>()?;
        let of = |i: usize| {
            let values: Vec<f64> = all.iter().map(|measured| measured[i].value).collect();
            (!values.is_empty()).then(|| Floor::of(&values, half))
        };
        Ok((0..self.metric.outputs.len()).map(of).collect())
    }

    /// The network whose features the metric is of, if it is of features.
    fn network(&self) -> Option<&'a Network> {
        self.sets.network.filter(|_| matches!(self.metric.compute, Compute::Network(_)))
    }

    fn name(&self, output: &Output) -> String {
        Metric::named(output, self.network().map(|network| network.name.as_str()))
    }

    /// The metric of the generated images.
    fn measure(&self, context: &Context<'_>) -> Result<Vec<Measured>> {
        let count = self.counts[0];
        let items: Vec<u32> = (0..count as u32).collect();
        let Sets { fakes, reals, seen, network, classes } = *self.sets;
        match (self.metric.compute, seen, network, classes) {
            (Compute::Images(compute), ..) => match (fakes.count(), reals.count()) {
                (a, b) if a == count && b == count => compute(fakes, reals, context),
                _ => compute(&fakes.select(&items), &reals.select(&items), context),
            },
            (Compute::Seen(compute), Some(seen), ..) => {
                compute(&thumbnails(fakes, memorization::SIDE)?, seen, context)
            }
            (Compute::Network(compute), _, Some(network), _) => {
                embedded([&network.fakes, &network.reals], [&items, &items], |sets| {
                    compute(sets, context)
                })
            }
            (Compute::Classes(compute, _), .., Some(classes)) => {
                let fakes = classes.fakes.select(&items);
                compute(&ClassSets { fakes: &fakes, names: &classes.names }, context)
            }
            _ => unreachable!("Run::new has checked that the metric has what it needs"),
        }
    }

    /// The metric of real images against others.
    fn floor(&self, split: usize, context: &Context<'_>) -> Result<Vec<Measured>> {
        let half = self.counts[1];
        let Sets { reals, seen, network, classes, .. } = *self.sets;
        let order = |n: usize| Stream::new(context.seed, "floor", split as u32).permutation(n);
        let halves = |order: &'_ [u32]| [order[..half].to_vec(), order[half..2 * half].to_vec()];
        match (self.metric.compute, seen, network, classes) {
            (Compute::Images(compute), ..) => {
                let [a, b] = halves(&order(reals.count())).map(|half| reals.select(&half));
                compute(&a, &b, context)
            }
            (Compute::Seen(compute), Some(seen), ..) => {
                let [a, held_out] =
                    halves(&order(seen.held_out.count())).map(|half| seen.held_out.select(&half));
                compute(&a, &Seen { training: seen.training.clone(), held_out }, context)
            }
            (Compute::Network(compute), _, Some(network), _) => {
                let [a, b] = halves(&order(network.reals.0.count()));
                embedded([&network.reals; 2], [&a, &b], |sets| compute(sets, context))
            }
            (Compute::Classes(compute, _), .., Some(classes)) => {
                let [half, _] = halves(&order(classes.reals.logits.count()));
                let half = classes.reals.select(&half);
                compute(&ClassSets { fakes: &half, names: &classes.names }, context)
            }
            _ => unreachable!("Run::new has checked that the metric has what it needs"),
        }
    }

    fn protocol(&self, parts: &[(String, f64)], floor: Option<&Floor>) -> String {
        let mut clauses = vec![self.metric.implementation.to_owned()];
        if !parts.is_empty() {
            let each: Vec<_> = parts.iter().map(|(name, x)| format!("{name}: {x:.2}")).collect();
            clauses.push(format!("mean of {}", each.join(", ")));
        }
        clauses.extend(self.network().map(|network| network.protocol.clone()));
        let classes =
            self.sets.classes.filter(|_| matches!(self.metric.compute, Compute::Classes(..)));
        clauses.extend(classes.map(|classes| classes.protocol.clone()));
        let count = grouped(self.counts[0] as u64);
        clauses.push(match (self.metric.compute, self.sets.seen) {
            (Compute::Seen(_), Some(seen)) => format!(
                "{count} generated, {} training and {} held-out images",
                grouped(seen.training.count() as u64),
                grouped(seen.held_out.count() as u64)
            ),
            _ => format!("{count} generated and {count} real images"),
        });
        clauses.push(format!("seed {}", self.options.seed));
        clauses.extend(match floor {
            None if self.options.splits == 0 => None,
            None => Some("no floor, as there are too few real images".into()),
            Some(Floor { count, splits, .. }) => {
                let of = if matches!(self.metric.compute, Compute::Seen(_)) {
                    "held-out"
                } else {
                    "real"
                };
                let times =
                    if *splits == 1 { "one halving".into() } else { format!("{splits} halvings") };
                let half = grouped(*count as u64);
                Some(format!("floor of {half} and {half} {of} images, {times}"))
            }
        });
        if !self.options.images.is_empty() {
            clauses.push(self.options.images.clone());
        }
        clauses.join("; ")
    }
}

/// Calls `compute` with the rows `items` of two sets.
fn embedded(
    sets: [&(Features, Option<Features>); 2],
    items: [&[u32]; 2],
    compute: impl FnOnce(&NetworkSets<'_>) -> Result<Vec<Measured>>,
) -> Result<Vec<Measured>> {
    let select = |i: usize| {
        let (features, logits) = sets[i];
        (features.select(items[i]), logits.as_ref().map(|logits| logits.select(items[i])))
    };
    let (fakes, reals) = (select(0), select(1));
    let [fakes, reals] =
        [&fakes, &reals].map(|(features, logits)| Embedded { features, logits: logits.as_ref() });
    compute(&NetworkSets { fakes, reals })
}
