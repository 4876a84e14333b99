//! Health checks: reads the log as it grows and reports what looks wrong, what that means, and
//! which flag to change.
//!
//! A GAN's losses do not fall like a classifier's, and a single report means little: every rule
//! waits until its symptom has lasted several reports and many images, and is then silent for a
//! while. Only non-finite metrics stop training.
//!
//! What is normal for a DCGAN: loss_d 0.3 to 1.4, loss_g 0.7 to 5, D(x) 0.6 to 0.95, D(G(z)) 0.05
//! to 0.4. At first D usually wins for some thousand images, and samples all look alike.

use crate::objectives::Output;
use crate::train::log::{LogLine, SAMPLE_DIVERSITY};
use crate::train::metrics::{self, Kind};

/// A discriminator's loss below this is near zero: D(x) and 1 - D(G(z)) are then both above 0.9.
pub const LOSS_D_NEAR_ZERO: f32 = 0.1;

/// D(G(z)) below this is stuck near 0: the generator's gradients vanish or explode.
pub const FAKE_NEAR_ZERO: f32 = 0.02;

/// D(G(z)) above this, in both steps, is stuck near 1: D has given up.
pub const FAKE_NEAR_ONE: f32 = 0.95;

/// Samples whose diversity is below this share of real images' are nearly identical.
pub const DIVERSITY_LOW: f32 = 0.2;

/// If D(x) and D(G(z)) are closer than this, the discriminator is guessing.
pub const CHANCE: f32 = 0.05;

/// Consecutive reports that must show a symptom…
pub const PATIENCE_REPORTS: u32 = 10;

/// …or measurements of diversity, which are rarer…
pub const PATIENCE_DIVERSITY: u32 = 3;

/// …over this many images, longer than the unstable start of a healthy training…
pub const PATIENCE_IMAGES: u64 = 20_000;

/// …or this many if the discriminator guesses, which happens for a while in many healthy trainings.
pub const PATIENCE_CHANCE: u64 = 100_000;

/// After a warning the same one is silent for this many images.
pub const COOLDOWN_IMAGES: u64 = 200_000;

/// The most samples that [`diversity`] compares pairwise.
const MOST_COMPARED: usize = 64;

/// A symptom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// The discriminator separates all images.
    DiscriminatorWins,
    /// D(G(z)) stays near 0.
    FakesRefused,
    /// D(G(z)) stays near 1.
    FakesAccepted,
    /// D(x) and D(G(z)) stay equal.
    AtChance,
    /// Samples hardly differ.
    ModeCollapse,
}

/// A result of the health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A warning; training goes on.
    Warning {
        /// The symptom.
        sign: Sign,
        /// The symptom, its meaning, and what to change.
        text: String,
    },
    /// Training must stop; the last good checkpoint stays the latest. The text is for
    /// [`crate::error::Error::Diverged`].
    Fatal(String),
}

impl Finding {
    /// The text to print.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Warning { text, .. } | Self::Fatal(text) => text,
        }
    }
}

/// How long a symptom has lasted without a break, and when it was last reported.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    seen: u32,
    since: u64,
    warned: Option<u64>,
}

impl Streak {
    /// Records a report; returns whether a warning is due.
    fn update(&mut self, ill: bool, images: u64, patience: u32) -> bool {
        self.update_over(ill, images, patience, PATIENCE_IMAGES)
    }

    /// The same if the symptom must last for `over` images.
    fn update_over(&mut self, ill: bool, images: u64, patience: u32, over: u64) -> bool {
        if !ill {
            self.seen = 0;
            return false;
        }
        if self.seen == 0 {
            self.since = images;
        }
        self.seen += 1;
        let long = self.seen >= patience && images.saturating_sub(self.since) >= over;
        let quiet = self.warned.is_some_and(|t| images.saturating_sub(t) < COOLDOWN_IMAGES);
        let tell = long && !quiet;
        if tell {
            self.warned = Some(images);
        }
        tell
    }
}

/// The health checks of one training.
#[derive(Clone, Debug)]
pub struct Health {
    output: Output,
    wins: Streak,
    refused: Streak,
    accepted: Streak,
    chance: Streak,
    collapse: Streak,
}

impl Health {
    /// New health checks for a discriminator with this kind of output.
    #[must_use]
    pub fn new(output: Output) -> Self {
        let none = Streak::default();
        Self { output, wins: none, refused: none, accepted: none, chance: none, collapse: none }
    }

    /// Checks the next report.
    ///
    /// A metric that is NaN or infinite is a divergence.
    pub fn check(&mut self, line: &LogLine) -> Vec<Finding> {
        if let Some(text) = diverged(line) {
            return vec![Finding::Fatal(text)];
        }
        let mut found = Vec::new();
        let mut tell = |sign, text: String| found.push(Finding::Warning { sign, text });
        let images = line.images;

        if self.output == Output::Probability {
            let wins = line.value("loss_d") < LOSS_D_NEAR_ZERO;
            if self.wins.update(wins, images, PATIENCE_REPORTS) {
                tell(Sign::DiscriminatorWins, discriminator_wins(line));
            }
            // Both have one cause: report it once.
            let refused = line.value("d_fake") < FAKE_NEAR_ZERO && !wins;
            if self.refused.update(refused, images, PATIENCE_REPORTS) {
                tell(Sign::FakesRefused, fakes_refused(line));
            }
            let accepted =
                line.value("d_fake") > FAKE_NEAR_ONE && line.value("d_fake_g") > FAKE_NEAR_ONE;
            if self.accepted.update(accepted, images, PATIENCE_REPORTS) {
                tell(Sign::FakesAccepted, fakes_accepted(line));
            }
            let guesses = (line.value("d_real") - line.value("d_fake")).abs() < CHANCE;
            let patience = PATIENCE_REPORTS;
            if self.chance.update_over(guesses && !accepted, images, patience, PATIENCE_CHANCE) {
                tell(Sign::AtChance, at_chance(line));
            }
        }
        if let Some(diversity) = line.metrics.get(SAMPLE_DIVERSITY) {
            let collapsed = diversity < DIVERSITY_LOW;
            if self.collapse.update(collapsed, images, PATIENCE_DIVERSITY) {
                tell(Sign::ModeCollapse, mode_collapse(diversity));
            }
        }
        found
    }
}

fn diverged(line: &LogLine) -> Option<String> {
    let (name, value) = line.metrics.non_finite()?;
    let what = match Kind::of(name) {
        Kind::Loss => format!("the {}'s loss", metrics::owner(name)),
        Kind::GradNorm => format!("the norm of the {}'s gradient", metrics::owner(name)),
        Kind::Score | Kind::Other => name.to_owned(),
    };
    Some(format!(
        "at step {} {what} became {value}: the training has diverged; start anew with lower --lr-d and --lr-g, a \
         lower --beta1, or another --seed",
        line.step
    ))
}

fn discriminator_wins(line: &LogLine) -> String {
    format!(
        "the discriminator's loss has stayed near zero ({:.3}): it recognizes every image, and \
         the generator learns little from it. Lower --lr-d, soften its labels with --smooth 0.1, \
         or use more and more varied images",
        line.value("loss_d")
    )
}

fn fakes_refused(line: &LogLine) -> String {
    format!(
        "D(G(z)) has stayed near 0 ({:.3}): the discriminator is sure of every generated image, \
         so the generator is pushed hard but not guided. Lower --lr-d or raise --lr-g, or soften \
         the labels with --smooth 0.1",
        line.value("d_fake")
    )
}

fn fakes_accepted(line: &LogLine) -> String {
    format!(
        "D(G(z)) has stayed near 1 ({:.3}): the discriminator accepts every generated image \
         as real and teaches nothing. Raise --lr-d or lower --lr-g",
        line.value("d_fake")
    )
}

fn at_chance(line: &LogLine) -> String {
    format!(
        "D(x) and D(G(z)) have long been the same ({:.2} and {:.2}): the discriminator only guesses. \
         If the previews are good, the training is done; else it is too weak to teach: raise \
         --ndf or --lr-d, or lower --lr-g, --smooth and the share of augmented images (--augment-p)",
        line.value("d_real"),
        line.value("d_fake")
    )
}

fn mode_collapse(diversity: f32) -> String {
    format!(
        "the samples hardly differ from each other ({:.0} % as much as real images): the \
         generator has collapsed to a few images. Go back to an earlier checkpoint, or start \
         anew with another --seed, a lower --lr-g or a larger --batch",
        diversity * 100.0
    )
}

/// Diversity of `n` images: the root mean square difference of two, over their pixels, averaged
/// over all pairs. Of many images only an evenly spaced subset is compared.
///
/// [`SAMPLE_DIVERSITY`] in the log is this for samples divided by this for as many real images. For
/// fewer than two images it is 0.
#[must_use]
pub fn diversity(images: &[f32], n: usize) -> f32 {
    if n < 2 || images.len() < n {
        return 0.0;
    }
    let size = images.len() / n;
    let compared = n.min(MOST_COMPARED);
    let image = |i: usize| {
        let i = i * n / compared;
        &images[i * size..(i + 1) * size]
    };
    let mut sum = 0.0;
    for i in 0..compared {
        for j in 0..i {
            let squares: f32 =
                image(i).iter().zip(image(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            sum += f64::from(squares / size as f32).sqrt();
        }
    }
    (sum / (compared * (compared - 1) / 2) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::train::Metrics;

    const STEP: u64 = 3_200;

    /// A report of a healthy training, a little different each time.
    fn healthy(i: u64) -> LogLine {
        let mut u = [0.0; 8];
        Stream::new(1, "health", i as u32).fill_uniform(&mut u);
        let between = |k: usize, low: f32, high: f32| low + u[k] * (high - low);
        let mut metrics = Metrics::from([
            ("loss_d", between(0, 0.3, 1.4)),
            ("loss_g", between(1, 0.7, 5.0)),
            ("d_real", between(2, 0.6, 0.95)),
            ("d_fake", between(3, 0.05, 0.4)),
            ("d_fake_g", between(4, 0.03, 0.3)),
            ("grad_norm_d", between(5, 0.5, 20.0)),
            ("grad_norm_g", between(6, 0.5, 20.0)),
        ]);
        if i.is_multiple_of(10) {
            metrics.set(SAMPLE_DIVERSITY, between(7, 0.6, 1.1));
        }
        LogLine { step: i * 50, images: i * STEP, metrics, ..LogLine::default() }
    }

    /// Sets metrics of a report.
    fn set<const N: usize>(line: &mut LogLine, metrics: [(&str, f32); N]) {
        metrics.into_iter().for_each(|(name, value)| line.metrics.set(name, value));
    }

    /// All warnings of a training whose reports are healthy ones modified by `change`, with the
    /// images.
    fn warnings(output: Output, n: u64, change: impl Fn(u64, &mut LogLine)) -> Vec<(u64, Sign)> {
        let mut health = Health::new(output);
        let mut found = Vec::new();
        for i in 0..n {
            let mut line = healthy(i);
            change(i, &mut line);
            for finding in health.check(&line) {
                match finding {
                    Finding::Warning { sign, text } => {
                        assert!(text.contains("--"), "no flag to change: {text}");
                        found.push((line.images, sign));
                    }
                    Finding::Fatal(text) => panic!("{text}"),
                }
            }
        }
        found
    }

    #[test]
    fn a_healthy_training_is_left_alone() {
        assert_eq!(warnings(Output::Probability, 5000, |_, _| {}), []);
        // The start of nearly every training: D wins, and all samples are gray.
        let start = |i: u64, line: &mut LogLine| {
            if i * STEP < 18_000 {
                set(line, [("loss_d", 0.01), ("d_fake", 0.001), (SAMPLE_DIVERSITY, 0.02)]);
            }
        };
        assert_eq!(warnings(Output::Probability, 500, start), []);
        // Short-lived wins.
        let spikes = |i: u64, line: &mut LogLine| {
            if i % 12 < 9 {
                set(line, [("loss_d", 0.02), ("d_fake", 0.01)]);
            }
        };
        assert_eq!(warnings(Output::Probability, 500, spikes), []);
    }

    #[test]
    fn a_winning_discriminator_is_reported_once_in_a_while() {
        let won = |_: u64, line: &mut LogLine| set(line, [("loss_d", 0.01), ("d_fake", 0.003)]);
        let sign = Sign::DiscriminatorWins;
        let first = 9 * STEP;
        let again = first + COOLDOWN_IMAGES.next_multiple_of(STEP);
        assert_eq!(warnings(Output::Probability, 120, won), [(first, sign), (again, sign)]);
        // Many reports over few images do not count.
        let often = |i: u64, line: &mut LogLine| {
            won(i, line);
            line.images = i * 64;
        };
        assert_eq!(warnings(Output::Probability, 312, often), []);
        assert_eq!(warnings(Output::Probability, 315, often).len(), 1);
    }

    #[test]
    fn fakes_stuck_at_either_end_are_reported() {
        // With smoothed labels the loss cannot get near zero.
        let refused = |_: u64, line: &mut LogLine| set(line, [("loss_d", 0.34), ("d_fake", 0.004)]);
        let seen = warnings(Output::Probability, 20, refused);
        assert_eq!(seen, [(9 * STEP, Sign::FakesRefused)]);
        let accepted = |_: u64, line: &mut LogLine| {
            set(line, [("loss_d", 4.0), ("d_fake", 0.98), ("d_fake_g", 0.99)]);
        };
        let seen = warnings(Output::Probability, 20, accepted);
        assert_eq!(seen, [(9 * STEP, Sign::FakesAccepted)]);
    }

    #[test]
    fn a_discriminator_that_only_guesses_is_reported_late() {
        let guesses = |_: u64, line: &mut LogLine| set(line, [("d_real", 0.51), ("d_fake", 0.49)]);
        let first = PATIENCE_CHANCE.next_multiple_of(STEP);
        let seen = warnings(Output::Probability, 40, guesses);
        assert_eq!(seen, [(first, Sign::AtChance)]);
        // But not if it recovers now and then.
        let at_times = |i: u64, line: &mut LogLine| {
            if !i.is_multiple_of(20) {
                guesses(i, line);
            }
        };
        assert_eq!(warnings(Output::Probability, 400, at_times), []);
        assert_eq!(warnings(Output::Score, 400, guesses), []);
    }

    #[test]
    fn samples_that_are_all_alike_are_reported() {
        let collapsed = |i: u64, line: &mut LogLine| {
            if i.is_multiple_of(10) {
                set(line, [(SAMPLE_DIVERSITY, 0.07)]);
            }
        };
        let seen = warnings(Output::Score, 40, collapsed);
        assert_eq!(seen, [(20 * STEP, Sign::ModeCollapse)]);
    }

    #[test]
    fn a_score_is_not_taken_for_a_probability() {
        let odd = |_: u64, line: &mut LogLine| set(line, [("loss_d", -30.0), ("d_fake", 0.0001)]);
        assert_eq!(warnings(Output::Score, 100, odd), []);
        assert_eq!(warnings(Output::Probability, 100, odd).len(), 2);
    }

    #[test]
    fn a_metric_that_is_not_finite_is_fatal_at_once() {
        let fatal = |line: LogLine| {
            let found = Health::new(Output::Score).check(&line);
            match &found[..] {
                [Finding::Fatal(text)] => text.clone(),
                _ => panic!("{found:?}"),
            }
        };
        let text = fatal(healthy(3).with("loss_g", f32::NAN));
        assert!(text.starts_with("at step 150 the generator's loss became NaN"), "{text}");
        assert!(text.contains("has diverged; start anew") && text.contains("--lr-d"), "{text}");
        let text = fatal(healthy(3).with("grad_norm_d", f32::INFINITY));
        assert!(text.contains("the norm of the discriminator's gradient became inf"), "{text}");
        let text = fatal(healthy(3).with("penalty", f32::NAN));
        assert!(text.contains("penalty became NaN"), "{text}");
        assert_eq!(Health::new(Output::Score).check(&healthy(3)), []);
    }

    #[test]
    fn diversity_is_the_mean_distance_of_pairs() {
        // Distances 1, 3 and 2 of flat images 0, 1 and 3.
        let images: Vec<f32> = [0.0, 1.0, 3.0].into_iter().flat_map(|v| [v; 12]).collect();
        assert!((diversity(&images, 3) - 2.0).abs() < 1e-6);
        assert_eq!(diversity(&[0.7; 120], 10), 0.0);
        assert_eq!((diversity(&[1.0; 12], 1), diversity(&[], 0)), (0.0, 0.0));
        // Independent uniform pixels of [0, 1) differ by 1/sqrt(6); of 300 only some are compared.
        let mut noise = vec![0.0; 300 * 500];
        Stream::new(3, "diversity", 0).fill_uniform(&mut noise);
        assert!((diversity(&noise, 300) - 6.0_f32.powf(-0.5)).abs() < 0.005);
        assert!(diversity(&[f32::NAN, 0.0], 2).is_nan());
    }
}
