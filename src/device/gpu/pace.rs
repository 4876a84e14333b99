//! Where a run is split into submissions. Windows resets the driver after 2 seconds in one
//! submission and macOS is similar, so every submission must be short even on a slow GPU: the first
//! runs are split by cautious guesses and timed, later ones by measurements.

use std::ops::Range;

/// Time limit of one submission, in seconds.
const BUDGET: f64 = 0.1;
/// Number of timed runs: the first one is slower, because memory is cleared at first use.
const MEASURED: usize = 3;
/// Overhead of a dispatch, in seconds.
const DISPATCH: f64 = 5e-6;
/// Estimates for weak hardware: operations and bytes per second.
const HARDWARE: (f64, f64) = (50e9, 5e9);
/// Estimates for a software adapter, which no driver resets.
const SOFTWARE: (f64, f64) = (10e9, 2e9);

/// The cost of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    flops: u64,
    bytes: u64,
    /// Whether a submission has to begin with it.
    begins: bool,
}

impl Cost {
    /// An exchange with other processes, before a submission.
    pub(super) const EXCHANGE: Self = Self { flops: 0, bytes: 0, begins: true };

    /// Operations, and bytes moved.
    pub(super) const fn of(flops: u64, bytes: u64) -> Self {
        Self { flops, bytes, begins: false }
    }
}

/// The estimated time of each step, and the resulting cuts.
#[derive(Debug)]
pub(super) struct Pace {
    seconds: Vec<f64>,
    /// The steps that submissions have to begin with.
    begins: Vec<bool>,
    cuts: Vec<Range<usize>>,
    runs: usize,
}

impl Pace {
    /// Cuts for steps of these costs.
    pub(super) fn new(steps: impl Iterator<Item = Cost>, software: bool) -> Self {
        let (flops_rate, bytes_rate) = if software { SOFTWARE } else { HARDWARE };
        let guess = |Cost { flops, bytes, begins }: Cost| {
            (DISPATCH + (flops as f64 / flops_rate).max(bytes as f64 / bytes_rate), begins)
        };
        let (seconds, begins) = steps.map(guess).unzip();
        let mut pace = Self { seconds, begins, cuts: Vec::new(), runs: 0 };
        pace.cut();
        pace
    }

    /// The steps of each submission; at least one, which may be empty.
    pub(super) fn cuts(&self) -> &[Range<usize>] {
        &self.cuts
    }

    /// Whether the next run is timed.
    pub(super) fn measuring(&self) -> bool {
        self.runs < MEASURED
    }

    /// Records the seconds that each submission of a timed run took.
    pub(super) fn learn(&mut self, measured: &[f64]) {
        for (cut, &measured) in self.cuts.iter().zip(measured) {
            let steps = &mut self.seconds[cut.clone()];
            let factor = measured / steps.iter().sum::<f64>();
            for seconds in steps {
                *seconds = match self.runs {
                    0 => seconds.max(*seconds * factor),
                    1 => *seconds * factor,
                    _ => seconds.min(*seconds * factor),
                };
            }
        }
        self.runs += 1;
        self.cut();
    }

    fn cut(&mut self) {
        self.cuts.clear();
        let (mut start, mut sum) = (0, 0.0);
        for (i, seconds) in self.seconds.iter().enumerate() {
            // Feeds come with the first submission, also before an exchange.
            if self.begins[i] || (i > start && sum + seconds > BUDGET) {
                self.cuts.push(start..i);
                (start, sum) = (i, 0.0);
            }
            sum += seconds;
        }
        self.cuts.push(start..self.seconds.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `pace` on a device where step i takes `truth[i]` seconds; the longest submission.
    fn run(pace: &mut Pace, truth: &[f64]) -> f64 {
        let time = |cut: &Range<usize>| truth[cut.clone()].iter().sum::<f64>();
        let measured: Vec<f64> = pace.cuts().iter().map(time).collect();
        if pace.measuring() {
            pace.learn(&measured);
        }
        measured.into_iter().fold(0.0, f64::max)
    }

    #[test]
    fn a_slow_device_gets_short_submissions() {
        // Forty steps of 1 GFLOP each at 10 GFLOP/s, with an estimate of 50.
        let mut pace = Pace::new(std::iter::repeat_n(Cost::of(1_000_000_000, 0), 40), false);
        let truth = vec![0.1; 40];
        assert!(run(&mut pace, &truth) < 0.6);
        assert!((0..4).all(|_| run(&mut pace, &truth) < 0.11));
        let covered: Vec<usize> = pace.cuts().iter().cloned().flatten().collect();
        assert!(covered.iter().copied().eq(0..40));
    }

    #[test]
    fn a_fast_device_gets_one_submission() {
        let mut pace =
            Pace::new(std::iter::repeat_n(Cost::of(1_000_000_000, 1_000_000), 300), false);
        assert!(pace.cuts().len() > 10);
        let truth = vec![2e-5; 300];
        for _ in 0..3 {
            assert!(pace.measuring());
            run(&mut pace, &truth);
        }
        assert!(!pace.measuring());
        assert_eq!(pace.cuts(), std::slice::from_ref(&(0..300)));
    }

    #[test]
    fn a_submission_begins_with_an_exchange() {
        let step = Cost::of(1000, 1000);
        let steps = [step, step, Cost::EXCHANGE, step, Cost::EXCHANGE, Cost::EXCHANGE, step];
        let mut pace = Pace::new(steps.into_iter(), false);
        for _ in 0..4 {
            assert_eq!(pace.cuts(), [0..2, 2..4, 4..5, 5..7]);
            pace.learn(&[1e-5; 4]);
        }
        let pace = Pace::new([Cost::EXCHANGE, step].into_iter(), false);
        assert_eq!(pace.cuts(), [0..0, 0..2]);
    }

    #[test]
    fn nothing_to_do_is_one_submission() {
        let mut pace = Pace::new(std::iter::empty(), true);
        assert_eq!(pace.cuts(), std::slice::from_ref(&(0..0)));
        pace.learn(&[0.001]);
        assert_eq!(pace.cuts(), std::slice::from_ref(&(0..0)));
    }
}
