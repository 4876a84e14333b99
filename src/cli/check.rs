//! `dcgan check`: does a device compute what the CPU does?

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::check::{Checker, Difference, GROUPS, Outcome, StepCase, samples_by_op, step_cases};
use crate::device::Device;
use crate::device::host::{self, Host};
use crate::error::{Error, Result};
use crate::human;
use crate::models::ModelConfig;
use crate::ops::registers;
use crate::ops::samples::Sample;
use crate::program::Choices;

use super::flags::{DeviceFlag, JsonFlag};
use super::output::{Align, line};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    device: DeviceFlag,
    /// Check only this op (may be repeated) and no training steps
    #[arg(long, value_name = "OP")]
    op: Vec<String>,
    /// Keep the shader compiler's bounds checks, as `dcgan train --checked` does
    #[arg(long)]
    checked: bool,
    /// Check every variant of every kernel that a tuner may choose (full), or only the default ones
    /// (off) [default: full; off on a software adapter, which compiles for minutes]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|full")]
    tune: Option<Tune>,
    #[command(flatten)]
    json: JsonFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    program: String,
    system: String,
    device: String,
    /// What the device was compared with.
    against: &'static str,
    checks: usize,
    /// Checks that ran: fewer if the device was lost.
    done: usize,
    ops: &'a [OpEntry],
    steps: &'a [StepEntry],
    /// What failed, in words.
    failures: &'a [String],
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct OpEntry {
    op: &'static str,
    checks: usize,
    largest_error: f64,
    /// The largest error as a share of the tolerance.
    of_allowed: f64,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct StepEntry {
    step: String,
    /// Errors of losses, gradients, statistics and weights.
    losses: f64,
    gradients: f64,
    statistics: f64,
    weights: f64,
    failed: usize,
}

/// Which variants of kernels are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tune {
    Off,
    Full,
}

/// Ops and their samples.
type OpSamples = Vec<(&'static str, Vec<Sample>)>;

/// Ops and their samples, each in several ways.
type OpWays = Vec<(&'static str, Vec<(Sample, Vec<(String, Choices)>)>)>;

/// Results so far.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failures: Vec<String>,
    ops: Vec<OpEntry>,
    steps: Vec<StepEntry>,
}

impl Tally {
    fn add(&mut self, what: impl FnOnce() -> String, outcome: &Outcome) {
        self.done += 1;
        match outcome {
            Outcome::Passed(_) => {}
            Outcome::Differs(Difference { error, of_allowed }) => self.failures.push(format!(
                "{}: off by {}, {of_allowed:.1} times what is allowed",
                what(),
                scientific(*error)
            )),
            Outcome::Failed(why) => self.failures.push(format!("{}: {why}", what())),
        }
    }
}

/// Widths of the first table: op, samples, largest error, share of what is allowed, verdict.
const OPS: ([Align; 5], [usize; 5]) =
    ([Align::Left, Align::Right, Align::Right, Align::Right, Align::Left], [20, 7, 13, 10, 7]);
/// Widths of the second: step, then the largest error of each group.
const STEPS: ([Align; 6], [usize; 6]) = (
    [Align::Left, Align::Right, Align::Right, Align::Right, Align::Right, Align::Left],
    [50, 8, 9, 10, 8, 7],
);

impl Check {
    pub(super) fn run(&self) -> Result<()> {
        let start = Instant::now();
        let ops = self.ops()?;
        let device = self.device.open(self.checked)?;
        let halves = device.has_half_floats();
        let cases = if self.op.is_empty() { step_cases(halves) } else { Vec::new() };
        let checker = Checker::new(device.clone())?;
        let software = device.is_software();
        let usual = if software { Tune::Off } else { Tune::Full };
        let ops = ways(ops, self.tune.unwrap_or(usual), &checker)?;
        self.json.print(&about(&device, &checker))?;
        let total = ops.iter().map(|(_, samples)| checks(samples)).sum::<usize>()
            + cases.len() * GROUPS.len();

        let lines = Lines { json: self.json, bar: ProgressBar::new(total as u64) };
        let mut tally = Tally::default();
        let checkers = if software { self.beside(checker)? } else { vec![checker] };
        let gone = match check_ops(&checkers, &ops, &lines, &mut tally) {
            Ok(()) => check_steps(&checkers[0], &cases, &lines, &mut tally),
            gone => gone,
        };
        lines.bar.finish_and_clear();
        match gone {
            Ok(()) => {}
            Err(Error::Lost(what)) => tally.failures.push(format!("the device failed: {what}")),
            Err(other) => return Err(other),
        }

        let seconds = start.elapsed().as_secs_f64();
        self.json.report(&Report {
            program: program(),
            system: host::system(),
            device: device.name(),
            against: checkers[0].reference(),
            checks: total,
            done: tally.done,
            ops: &tally.ops,
            steps: &tally.steps,
            failures: &tally.failures,
            seconds,
        })?;
        if tally.failures.is_empty() {
            let time = human::duration(seconds);
            let checks = human::plural(total as u64, "check");
            return self.json.println(&format!("all {checks} passed, in {time}"));
        }
        for failure in &tally.failures {
            self.json.println(&format!("FAILED {failure}"))?;
        }
        Err(Error::Wrong(summary(&tally, total, &device.name())))
    }
}

impl Check {
    /// The checker, and more to check samples in parallel. A software adapter compiles each kernel
    /// when it first runs, which is nearly all its work, on one thread for each open device.
    fn beside(&self, checker: Checker) -> Result<Vec<Checker>> {
        let more = (1..rayon::current_num_threads())
            .map(|_| Checker::new(self.device.open(self.checked)?));
        std::iter::once(Ok(checker)).chain(more).collect()
    }

    /// The ops to be checked.
    fn ops(&self) -> Result<OpSamples> {
        let mut ops = samples_by_op();
        if self.op.is_empty() {
            return Ok(ops);
        }
        let names: Vec<&str> = ops.iter().map(|(op, _)| *op).collect();
        if let Some(unknown) = self.op.iter().find(|op| !names.contains(&op.as_str())) {
            let what = format!("there is no op {unknown}; there are {}", names.join(", "));
            return Err(Error::flag("--op", what));
        }
        ops.retain(|(op, _)| self.op.iter().any(|wanted| wanted == op));
        Ok(ops)
    }
}

/// The samples, each with all the ways of running it to check.
fn ways(ops: OpSamples, tune: Tune, checker: &Checker) -> Result<OpWays> {
    let mut all = Vec::new();
    for (op, samples) in ops {
        let mut of_op = Vec::new();
        for sample in samples {
            let mut ways = checker.ways(&sample)?;
            if tune == Tune::Off {
                ways.truncate(1);
            }
            of_op.push((sample, ways));
        }
        all.push((op, of_op));
    }
    Ok(all)
}

/// The number of checks of some samples.
fn checks(samples: &[(Sample, Vec<(String, Choices)>)]) -> usize {
    samples.iter().map(|(_, ways)| ways.len()).sum()
}

/// The final message if something failed.
fn summary(tally: &Tally, total: usize, device: &str) -> String {
    let rest = match total - tally.done {
        0 => String::new(),
        rest => format!(", {rest} were not run"),
    };
    format!(
        "{} of {total} checks failed on {device}{rest}; do not train on it, and report all of the \
         above",
        tally.failures.len()
    )
}

/// This program, its version and how it was built.
fn program() -> String {
    let build = if cfg!(debug_assertions) { " (development build)" } else { "" };
    format!("{}{build}", crate::PROGRAM)
}

/// What a bug report should include.
fn about(device: &Device, checker: &Checker) -> String {
    let mut text = format!("program   {}\n", program());
    text += &format!("system    {}\n", host::system());
    let Host { name, threads, .. } = Host::look();
    let threads = human::plural(threads as u64, "thread");
    text += &format!("cpu       {name}, {threads}, {}\n", registers());
    for (topic, what) in device.about() {
        text += &format!("{topic:<9} {what}\n");
    }
    text + &format!("against   {}\n\n", checker.reference())
}

/// Prints rows above the bar, unless JSON is requested.
struct Lines {
    json: JsonFlag,
    bar: ProgressBar,
}

impl Lines {
    fn row(&self, (align, widths): (&[Align], &[usize]), cells: &[String]) -> Result<()> {
        self.bar.suspend(|| self.json.println(&line(align, widths, cells)))
    }
}

fn check_ops(checkers: &[Checker], ops: &OpWays, lines: &Lines, tally: &mut Tally) -> Result<()> {
    let style = (&OPS.0[..], &OPS.1[..]);
    lines.row(style, &["op", "checks", "largest error", "of allowed", ""].map(String::from))?;
    let samples = ops.iter().flat_map(|(_, samples)| samples);
    let jobs: Vec<(&Sample, &Choices)> = samples
        .flat_map(|(sample, ways)| ways.iter().map(move |(_, choices)| (sample, choices)))
        .collect();
    in_order(checkers, &jobs, |outcome_of_next| {
        for (op, samples) in ops {
            let before = tally.failures.len();
            let mut worst = Difference::default();
            for (sample, ways) in samples {
                for (variant, _) in ways {
                    let outcome = outcome_of_next()?;
                    worst = worst.max(outcome.difference());
                    let name = || match variant.as_str() {
                        "" => format!("{sample:?}"),
                        variant => format!("{sample:?}, variant {variant:?}"),
                    };
                    tally.add(name, &outcome);
                    lines.bar.inc(1);
                }
            }
            let failed = tally.failures.len() - before;
            let verdict = match failed {
                0 => "ok".into(),
                failed => format!("{failed} FAILED"),
            };
            tally.ops.push(OpEntry {
                op,
                checks: checks(samples),
                largest_error: worst.error,
                of_allowed: worst.of_allowed,
                failed,
            });
            let share = format!("{:.0} %", 100.0 * worst.of_allowed);
            let checks = checks(samples).to_string();
            let cells = [(*op).into(), checks, scientific(worst.error), share, verdict];
            lines.row(style, &cells)?;
        }
        Ok(())
    })?;
    lines.row(style, &[])
}

/// Runs `jobs` on all `checkers` in parallel and lets `take` receive the outcomes in order. If it
/// returns early, the remaining jobs are not started.
fn in_order(
    checkers: &[Checker],
    jobs: &[(&Sample, &Choices)],
    take: impl FnOnce(&mut dyn FnMut() -> Result<Outcome>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (done, outcomes) = channel();
        for checker in checkers {
            let (done, next) = (done.clone(), &next);
            let work = move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((sample, choices)) = jobs.get(i) else { return };
                    // The receiver is gone once an outcome has ended the loop.
                    if done.send((i, checker.sample(sample, choices))).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new()
                .spawn_scoped(scope, work)
                .map_err(|e| Error::Device(format!("no thread could be started: {e}")))?;
        }
        drop(done);
        let mut early = HashMap::new();
        let mut wanted = 0..;
        let mut outcome_of_next = move || {
            let wanted = wanted.next().expect("a range without an end");
            loop {
                if let Some(outcome) = early.remove(&wanted) {
                    return outcome;
                }
                let (i, outcome) = outcomes.recv().expect("a thread that does the rest");
                early.insert(i, outcome);
            }
        };
        let taken = take(&mut outcome_of_next);
        // The threads end when the receiver is dropped.
        drop(outcome_of_next);
        taken
    })
}

fn check_steps(
    checker: &Checker,
    cases: &[StepCase],
    lines: &Lines,
    tally: &mut Tally,
) -> Result<()> {
    if cases.is_empty() {
        return Ok(());
    }
    let style = (&STEPS.0[..], &STEPS.1[..]);
    let head = ["training step", "losses", "gradients", "statistics", "weights", ""];
    lines.row(style, &head.map(String::from))?;
    for case in cases {
        let before = tally.failures.len();
        let outcome = checker.step(case)?;
        let name = step_name(case);
        let groups = GROUPS.iter().zip(&outcome.groups).zip(&outcome.worst);
        for ((group, outcome), tensor) in groups {
            tally.add(|| format!("{name}: {group} {tensor}"), outcome);
            lines.bar.inc(1);
        }
        let failed = tally.failures.len() - before;
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        let error = |group: usize| outcome.groups[group].difference().error;
        let [losses, gradients, statistics, weights] = [0, 1, 2, 3].map(error);
        let mut cells = vec![name.clone()];
        cells.extend([losses, gradients, statistics, weights].map(scientific));
        tally.steps.push(StepEntry { step: name, losses, gradients, statistics, weights, failed });
        cells.push(verdict.into());
        lines.row(style, &cells)?;
    }
    lines.row(
        style,
        &["(gradients: mean error; weights: the same in learning rates; else the largest error)\n"
            .into()],
    )
}

fn step_name(case: &StepCase) -> String {
    let model = case.model;
    let ModelConfig { network, size, ngf, classes, .. } = model;
    if !case.what.is_empty() {
        return format!("{network} {size}, {}, batch {}", case.what, case.batch);
    }
    let classes = match classes {
        0 => String::new(),
        classes => format!(", {classes} classes"),
    };
    format!("{network} {size}, width {ngf}{classes}, batch {}", case.batch)
}

/// A small number in scientific notation.
fn scientific(x: f64) -> String {
    if x == 0.0 { "0".into() } else { format!("{x:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_reported_and_counted() {
        let mut tally = Tally::default();
        let passed = Outcome::Passed(Difference { error: 1e-7, of_allowed: 0.5 });
        tally.add(|| "add [3]".into(), &passed);
        assert!(tally.failures.is_empty());
        let differs = Outcome::Differs(Difference { error: 0.25, of_allowed: 1e5 });
        tally.add(|| "mul [3]".into(), &differs);
        tally.add(|| "exp [3]".into(), &Outcome::Failed("kernel exp: no such function".into()));
        assert_eq!(tally.done, 3);
        let expected = "mul [3]: off by 2.5e-1, 100000.0 times what is allowed";
        assert_eq!(tally.failures, [expected, "exp [3]: kernel exp: no such function"]);
        let text = summary(&tally, 5, "a GPU");
        assert!(text.starts_with("2 of 5 checks failed on a GPU, 2 were not run;"), "{text}");
    }
}
