//! Measures what a discriminator has learned: linear classifiers on its features, on raw pixels,
//! and on the features of the same network untrained (section 5 of the paper).
//!
//! The classifier is an L2-SVM ([`Svm`]) on features that are standardized to mean 0 and deviation
//! 1 on the training images, and divided by the square root of their number, so that a row's length
//! is about 1 and one range of `C` suits all widths. `C` is the power of ten with the best accuracy
//! on held-out images; with all labels the classifier is then trained on those too.

use rayon::prelude::*;

use crate::data::{Prepare, Skipped, Source, count, sweep};
use crate::device::State;
use crate::error::{Error, Result};
use crate::features::{By, Extractor};
use crate::model::Networks;
use crate::rng::Stream;
use crate::svm::{Problem, Svm};

/// The candidate values of `C`, from the most regularized on.
pub const CS: [f32; 5] = [0.01, 0.1, 1.0, 10.0, 100.0];

/// Images that are held out to choose `C`: a fifth, and never more than this.
const HELD_OUT: usize = 10_000;

/// The solver's tolerance for gradients, relative to their initial size.
const TOLERANCE: f64 = 1e-2;

/// The images that each classifier is trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// All images that are used, by their index in the source.
    pub items: Vec<u32>,
    /// For each trial the indices into `items` of its training images.
    pub trials: Vec<Vec<u32>>,
    /// The indices into `items` of the held-out images.
    pub held_out: Vec<u32>,
    /// Whether the classifier is also trained on the held-out images once `C` is chosen.
    pub learn_all: bool,
}

impl Split {
    /// Draws `trials` sets of `per_class` images of each class, or takes all images if there is no
    /// such number; a function of labels and seed alone.
    ///
    /// # Errors
    /// [`Error::Config`] if a class has too few images.
    pub fn draw(
        labels: &[u32],
        classes: &[String],
        per_class: Option<usize>,
        trials: usize,
        seed: u64,
    ) -> Result<Self> {
        let order = Stream::new(seed, "classify", 0).permutation(labels.len());
        let held = (labels.len() / 5).min(HELD_OUT);
        let Some(per_class) = per_class else {
            // All trials would be the same.
            let held_out: Vec<u32> = (0..held as u32).collect();
            let trials = vec![(held as u32..labels.len() as u32).collect()];
            return Ok(Self { items: order, trials, held_out, learn_all: true });
        };
        let (held_items, pool) = order.split_at(held);
        let mut items = held_items.to_vec();
        let mut places = vec![None; labels.len()];
        let mut all = Vec::new();
        for trial in 0..trials {
            let drawn = Stream::new(seed, "trial", trial as u32).permutation(pool.len());
            let mut missing = vec![per_class; classes.len()];
            let mut rows = Vec::with_capacity(per_class * classes.len());
            for item in drawn.into_iter().map(|i| pool[i as usize]) {
                let missing = &mut missing[labels[item as usize] as usize];
                if *missing == 0 {
                    continue;
                }
                *missing -= 1;
                let place = *places[item as usize].get_or_insert_with(|| {
                    items.push(item);
                    items.len() as u32 - 1
                });
                rows.push(place);
            }
            if let Some(class) = missing.iter().position(|&m| m > 0) {
                let what = format!(
                    "the class {:?} has {} to learn from, beside those held out to choose C; {} or \
                     fewer work",
                    classes[class],
                    count(per_class - missing[class], "image"),
                    per_class - missing.iter().max().copied().unwrap_or(0)
                );
                return Err(Error::config("per_class", what));
            }
            rows.sort_unstable();
            all.push(rows);
        }
        let held_out = (0..held as u32).collect();
        Ok(Self { items, trials: all, held_out, learn_all: false })
    }
}

/// A row of features for each of some images.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// `[images, width]`.
    pub x: Vec<f32>,
    /// Features of an image.
    pub width: usize,
    /// Whether each image could be read; the row of an unreadable one is zero.
    pub readable: Vec<bool>,
    /// Unreadable images.
    pub skipped: Vec<Skipped>,
}

/// The features that images are classified by.
#[derive(Debug)]
pub enum View<'a> {
    /// Raw bytes.
    Pixels,
    /// A discriminator's features.
    Features {
        /// The compiled discriminator.
        extractor: &'a mut Extractor,
        /// Its tensors.
        state: &'a mut State,
    },
}

impl View<'_> {
    /// The number of features of one image.
    #[must_use]
    pub fn width(&self, prepare: &Prepare) -> usize {
        match self {
            Self::Pixels => prepare.len(),
            Self::Features { extractor, .. } => extractor.width(),
        }
    }

    /// The rows of the images `items` of a source; `done` receives the number of finished rows.
    ///
    /// # Errors
    /// Those of [`sweep`], and [`Error::Lost`] if the device fails.
    pub fn rows(
        &mut self,
        source: &Source,
        prepare: &Prepare,
        items: &[u32],
        mut done: impl FnMut(usize),
    ) -> Result<Rows> {
        let width = self.width(prepare);
        let mut rows = Rows { width, readable: vec![false; items.len()], ..Rows::default() };
        rows.x = vec![0.0; items.len() * width];
        rows.skipped = sweep(source, prepare, items, 64, |chunk| {
            let numbers = match self {
                Self::Pixels => chunk.images.iter().map(|&b| f32::from(b)).collect(),
                Self::Features { extractor, state } => extractor.features(state, &chunk.images)?,
            };
            for (&place, row) in chunk.places.iter().zip(numbers.chunks(width)) {
                let at = chunk.start + place;
                rows.readable[at] = true;
                rows.x[at * width..(at + 1) * width].copy_from_slice(row);
            }
            done(chunk.len);
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Mean and factor of every feature: classifiers use `(x − mean) · factor`.
#[derive(Clone, Debug)]
struct Scale(Vec<[f32; 2]>);

impl Scale {
    /// Computed on the readable rows.
    fn of(rows: &Rows) -> Self {
        let width = rows.width;
        let good: Vec<&[f32]> = rows
            .x
            .chunks(width)
            .zip(&rows.readable)
            .filter_map(|(row, &good)| good.then_some(row))
            .collect();
        let n = good.len().max(1) as f64;
        // A block of columns at a time: rows are read in whole lines, sums kept in 64 bits.
        const COLUMNS: usize = 64;
        let stretches = (0..width.div_ceil(COLUMNS)).into_par_iter().map(|s| {
            let columns = s * COLUMNS..((s + 1) * COLUMNS).min(width);
            let mut mean = vec![0.0_f64; columns.len()];
            for row in &good {
                for (mean, &x) in mean.iter_mut().zip(&row[columns.clone()]) {
                    *mean += f64::from(x) / n;
                }
            }
            let mut square = vec![0.0_f64; columns.len()];
            for row in &good {
                for ((square, &x), mean) in square.iter_mut().zip(&row[columns.clone()]).zip(&mean)
                {
                    *square += (f64::from(x) - mean).powi(2) / n;
                }
            }
            let scale = |(mean, square): (&f64, &f64)| {
                // A constant feature has no information.
                let constant = square.sqrt() <= 1e-6 * mean.abs() || *square == 0.0;
                let factor = if constant { 0.0 } else { 1.0 / (square * width as f64).sqrt() };
                [*mean as f32, factor as f32]
            };
            mean.iter().zip(&square).map(scale).collect::<Vec<_>>()
        });
        Self(stretches.flatten().collect())
    }

    fn apply(&self, rows: &mut Rows) {
        let width = rows.width;
        rows.x.par_chunks_mut(width).zip(&rows.readable).filter(|(_, good)| **good).for_each(
            |(row, _)| {
                for (x, [mean, factor]) in row.iter_mut().zip(&self.0) {
                    *x = (*x - mean) * factor;
                }
            },
        );
    }
}

/// The results of one kind of features.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Features of an image.
    pub width: usize,
    /// The chosen `C`, and the accuracy on the held-out images for each of [`CS`].
    pub c: f32,
    /// See `c`.
    pub held_out: Vec<f64>,
    /// Accuracy of each trial on the test images.
    pub accuracies: Vec<f64>,
    /// Confusion matrix: the number of test images of each class (row) assigned to each class
    /// (column), over all trials.
    pub confusion: Vec<Vec<u64>>,
    /// Training images of each trial.
    pub learned_from: usize,
}

impl Outcome {
    /// Mean accuracy of the trials.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.accuracies.iter().sum::<f64>() / self.accuracies.len().max(1) as f64
    }

    /// Standard deviation of the trials (n − 1 in the denominator); `None` for a single trial.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        let (n, mean) = (self.accuracies.len(), self.mean());
        let squares: f64 = self.accuracies.iter().map(|a| (a - mean).powi(2)).sum();
        (n > 1).then(|| (squares / (n - 1) as f64).sqrt())
    }
}

/// Trains on `train` and measures accuracy on `test`, whose rows have these labels; `tell` receives
/// a message for every classifier.
///
/// # Errors
/// [`Error::Config`] if no readable image is left to train on or to choose `C` by.
pub fn measure(
    split: &Split,
    (train, train_labels): (&mut Rows, &[u32]),
    (test, test_labels): (&mut Rows, &[u32]),
    classes: usize,
    mut tell: impl FnMut(&str),
) -> Result<Outcome> {
    let scale = Scale::of(train);
    scale.apply(train);
    scale.apply(test);
    let width = train.width;
    let readable = |rows: &[u32]| -> Vec<u32> {
        rows.iter().copied().filter(|&r| train.readable[r as usize]).collect()
    };
    let trials: Vec<Vec<u32>> = split.trials.iter().map(|rows| readable(rows)).collect();
    let held_out = readable(&split.held_out);
    if held_out.is_empty() || trials.iter().any(Vec::is_empty) {
        let what = "too few images to learn from and to choose C by; give more than a few";
        return Err(Error::config("train", what));
    }
    let problem = Problem { x: &train.x, width, labels: train_labels, classes, rows: &[] };
    // With many trials a few choose C, as in the authors' code.
    let choosers = &trials[..trials.len().min(10)];
    let mut right = vec![0.0; CS.len()];
    let mut found = Vec::new();
    for rows in choosers {
        found.clear();
        for (c, right) in CS.iter().zip(&mut right) {
            let svm = Svm::train(&Problem { rows, ..problem }, *c, found.last(), TOLERANCE);
            let taken = svm.predict_rows(&Problem { rows: &held_out, ..problem });
            let hits = taken.iter().zip(&held_out);
            let hits = hits.filter(|(p, row)| **p == train_labels[**row as usize]).count();
            let share = hits as f64 / held_out.len() as f64;
            *right += share / choosers.len() as f64;
            tell(&format!("C {c}: {:.2} % of the held out images", 100.0 * share));
            found.push(svm);
        }
    }
    let best = (0..CS.len()).fold(0, |best, i| if right[i] > right[best] { i } else { best });
    let c = CS[best];
    let mut outcome = Outcome {
        width,
        c,
        held_out: right,
        accuracies: Vec::new(),
        confusion: vec![vec![0; classes]; classes],
        learned_from: 0,
    };
    for rows in &trials {
        let mut rows = rows.clone();
        if split.learn_all {
            rows.extend(&held_out);
            rows.sort_unstable();
        }
        outcome.learned_from = rows.len();
        // With all labels it has a good start: the solution without the held-out images.
        let start = if split.learn_all { found.get(best) } else { None };
        let svm = Svm::train(&Problem { rows: &rows, ..problem }, c, start, TOLERANCE);
        let (mut hits, mut all) = (0_u32, 0_u32);
        let taken = svm.predict(&test.x, width);
        for ((&taken, &label), _) in
            taken.iter().zip(test_labels).zip(&test.readable).filter(|(_, good)| **good)
        {
            outcome.confusion[label as usize][taken as usize] += 1;
            hits += u32::from(taken == label);
            all += 1;
        }
        let share = f64::from(hits) / f64::from(all.max(1));
        outcome.accuracies.push(share);
        tell(&format!("C {c}: {:.2} % of the test images", 100.0 * share));
    }
    Ok(outcome)
}

/// The untrained network of the kind that [`By`] selects, drawn from a seed; its batch norm must be
/// calibrated on images ([`Extractor::calibrate`]), as an untrained network has no statistics.
///
/// # Errors
/// Those of [`Extractor::new`].
pub fn untrained(networks: &Networks, by: By, state: &mut State, seed: u64) -> Result<Extractor> {
    for param in networks.params_of(networks.find(by.role()).map_or("", |(name, _)| name)) {
        state.set(&param.name, &param.initial(seed))?;
    }
    Extractor::by(networks, by, state, 64)
}
