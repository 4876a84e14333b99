//! The tuner: finds the fastest variant of each kernel on this GPU.
//!
//! It examines the kernels of the upcoming programs, before any of them is planned. Earlier results
//! are read from the user's cache; the rest is measured, the kernels with most operations first.
//! Each ends with its default variant or one that computed the default's values in less time.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::caps;
use super::choices::{Choices, key};
use super::halves::Precision;
use super::units::{Grouping, Units};
use crate::device::gpu::{Candidate, Contest, Gpu, Verdict};
use crate::device::{Device, ScriptStep};
use crate::error::{Error, Result};
use crate::ops::{Arg, Op, Site, Variant};
use crate::tape::Tape;
use crate::tensor::padded_bytes;

mod cache;

use cache::{Cache, Entry, Settings};

/// Time limit of a quick tuning, in seconds.
const BUDGET: f64 = 4.5;

/// How much effort the tuner spends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// No tuning: every kernel runs its default variant.
    Off,
    /// Five seconds at most; the rest is measured the next time.
    #[default]
    Quick,
    /// Every variant of every kernel, until the result is certain.
    Full,
}

/// How kernels are tuned.
#[derive(Clone, Debug)]
pub struct Tuner {
    /// The effort.
    pub effort: Effort,
    /// The folder that stores measurements; `None` to discard them.
    pub folder: Option<PathBuf>,
}

impl Tuner {
    /// A tuner that stores its measurements in [`cache_folder`].
    #[must_use]
    pub fn new(effort: Effort) -> Self {
        Self { effort, folder: cache_folder() }
    }
}

/// Where measurements are stored: in the folder that `DCGAN_CACHE` names, else in the user's cache
/// (`~/.cache/dcgan` on Linux, `~/Library/Caches/dcgan` on macOS, `%LOCALAPPDATA%\dcgan` on
/// Windows).
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    match std::env::var_os("DCGAN_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => dirs::cache_dir().map(|folder| folder.join("dcgan")),
    }
}

/// Progress reports of the tuner.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Kernels are about to be measured.
    Begins {
        /// Their number.
        kernels: usize,
    },
    /// One kernel is about to be measured: the op's name.
    Next(&'static str),
    /// A warning for the user.
    Warning(String),
    /// All measurements are done.
    Ends(Summary),
}

/// The result of a tuning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Kernels measured.
    pub measured: usize,
    /// Those now running a variant other than the default.
    pub faster: usize,
    /// Kernels left for the next time.
    pub left: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// A kernel that can run in several ways.
struct Kernel<'a> {
    key: String,
    op: &'a dyn Op,
    site: Site,
    /// Which of its inputs, and last whether its output, are kept in 16 bits.
    halves: Vec<bool>,
    variants: Vec<Variant>,
    /// Which of the programs runs it, and the operations of all its runs there.
    program: usize,
    flops: u64,
}

impl Kernel<'_> {
    /// Whether an earlier measurement is still sufficient.
    fn is_answered_by(&self, entry: &Entry, effort: Effort) -> bool {
        entry.effort >= effort
            && self.has(&entry.variant)
            && self.variants.iter().all(|v| entry.ms.contains_key(&v.name))
    }

    fn has(&self, name: &str) -> bool {
        self.variants.iter().any(|v| v.name == name)
    }

    /// Its variants as candidates of a contest.
    fn contest(&self) -> Contest {
        let Site { shapes, dtypes, .. } = &self.site;
        let inputs = shapes.len();
        let place = |arg: Arg, scratch: &[u64]| match arg {
            Arg::Input(i) => (i, padded_bytes(self.site.input_len(i), dtypes[i])),
            Arg::Output => (inputs, padded_bytes(self.site.len(), self.op.dtype())),
            Arg::Scratch(i) => (inputs + 1 + i, scratch[i]),
        };
        let width = |arg: Arg| {
            let at = match arg {
                Arg::Input(i) => Some(i),
                Arg::Output => Some(inputs),
                Arg::Scratch(_) => None,
            };
            let half = at.is_some_and(|at| self.halves[at]);
            if half { "f16" } else { "f32" }
        };
        let candidate = |variant: &Variant| {
            let lowered = &variant.lowered;
            let step = |d: &crate::ops::Dispatch, context: minijinja::Value| ScriptStep::Dispatch {
                kernel: d.kernel,
                context,
                bind: d
                    .bind
                    .iter()
                    .map(|&(n, a)| (n.into(), place(a, &lowered.scratch).0))
                    .collect(),
                groups: d.groups,
                flops: d.flops,
                bytes: d.bind.iter().map(|&(_, a)| place(a, &lowered.scratch).1).sum(),
                label: format!("{}, {}", self.op.name(), variant.name),
            };
            let kept = if self.halves.contains(&true) { &lowered.dispatches[..] } else { &[] };
            Candidate {
                name: variant.name.clone(),
                steps: lowered.dispatches.iter().map(|d| step(d, d.context.clone())).collect(),
                kept: kept.iter().map(|d| step(d, d.typed(width))).collect(),
                scratch: lowered.scratch.clone(),
            }
        };
        Contest {
            inputs: (0..inputs).map(|i| (self.site.input_len(i), dtypes[i])).collect(),
            output: (self.site.len(), self.op.dtype()),
            flops: self.op.flops(&self.site),
            candidates: self.variants.iter().map(candidate).collect(),
        }
    }
}

/// The kernels of `tapes` that can run in several ways, each once: those of the first program
/// first, and within a program those with most operations.
fn kernels<'a>(tapes: &[(&'a Tape, Precision)], gpu: &Gpu) -> Vec<Kernel<'a>> {
    let caps = caps(gpu);
    let mut kernels: Vec<Kernel<'a>> = Vec::new();
    for (program, &(tape, precision)) in tapes.iter().enumerate() {
        let grouping = Grouping { fuse: true, in_place: true, bundle: None };
        let units = Units::of(tape, grouping);
        let in_16_bits = precision.halves(tape, &units);
        for node in units.units.iter().filter(|unit| !unit.fused).map(|unit| unit.lanes[0][0]) {
            let op = &*tape.nodes()[node].op;
            let site = tape.site(tape.var(node));
            let vars = site.inputs.iter().chain([&site.output]);
            let halves: Vec<bool> =
                vars.map(|v| in_16_bits.contains(&units.views[v.index()].root)).collect();
            let key = key(op, &site, &halves);
            let flops = op.flops(&site);
            if let Some(known) = kernels.iter_mut().find(|kernel| kernel.key == key) {
                known.flops += if known.program == program { flops } else { 0 };
                continue;
            }
            // Kernels that cannot be lowered are reported when the program is planned.
            let variants = op.variants(&site, &caps).unwrap_or_default();
            if variants.len() > 1 {
                kernels.push(Kernel { key, op, site, halves, variants, program, flops });
            }
        }
    }
    kernels.sort_by_key(|kernel| (kernel.program, std::cmp::Reverse(kernel.flops)));
    kernels
}

/// Chooses a variant for every kernel that the programs of `tapes` will run on `device`, and
/// reports progress. On the CPU there is nothing to choose.
///
/// # Errors
/// [`Error::Lost`] where the device fails; [`Error::Shader`] where a default variant does not
/// compile.
pub fn tune(
    tapes: &[(&Tape, Precision)],
    device: &Device,
    tuner: &Tuner,
    tell: &mut dyn FnMut(News),
) -> Result<Choices> {
    let mut choices = Choices { device: device.name(), ..Choices::default() };
    let Device::Gpu(gpu) = device else { return Ok(choices) };
    let kernels = kernels(tapes, gpu);
    for kernel in &kernels {
        choices.kernels.insert(kernel.key.clone(), kernel.variants[0].name.clone());
    }
    if tuner.effort == Effort::Off || kernels.is_empty() {
        return Ok(choices);
    }
    let (mut cache, warning) = Cache::load(tuner.folder.clone(), Settings::of(gpu));
    if let Some(warning) = warning {
        tell(News::Warning(warning));
    }
    let mut open = Vec::new();
    for kernel in &kernels {
        match cache.get(&kernel.key) {
            Some(entry) if kernel.is_answered_by(entry, tuner.effort) => {
                choices.kernels.insert(kernel.key.clone(), entry.variant.clone());
            }
            _ => open.push(kernel),
        }
    }
    if open.is_empty() {
        return Ok(choices);
    }
    tell(News::Begins { kernels: open.len() });
    let summary = measure(&open, gpu, tuner.effort, &mut cache, &mut choices, tell)?;
    if let Err(error) = cache.save() {
        tell(News::Warning(format!("{error}; measurements are not saved")));
    }
    tell(News::Ends(summary));
    Ok(choices)
}

/// Measures kernels, and adds the results to `cache` and `choices`.
fn measure(
    open: &[&Kernel<'_>],
    gpu: &Gpu,
    effort: Effort,
    cache: &mut Cache,
    choices: &mut Choices,
    tell: &mut dyn FnMut(News),
) -> Result<Summary> {
    let start = Instant::now();
    let mut summary = Summary::default();
    let mut candidates = 0;
    for (i, kernel) in open.iter().enumerate() {
        // At least one kernel is measured: else a slow one would block progress forever.
        let spent = start.elapsed().as_secs_f64();
        let each = spent / f64::from(candidates.max(1));
        let needs = each * kernel.variants.len() as f64;
        if effort == Effort::Quick && candidates > 0 && spent + needs > BUDGET {
            summary.left = open.len() - i;
            break;
        }
        tell(News::Next(kernel.op.name()));
        candidates += kernel.variants.len() as u32;
        let threads = rayon::current_num_threads();
        let verdict = match gpu.contest(&kernel.contest(), effort == Effort::Full, threads) {
            Ok(verdict) => verdict,
            // Its tensors do not fit, or memory is full: planning will report it.
            Err(Error::Memory(_)) => continue,
            Err(error) => return Err(error),
        };
        for (at, what) in &verdict.rejected {
            tell(News::Warning(rejection(kernel, &kernel.variants[*at].name, what, gpu)));
        }
        let variant = kernel.variants[verdict.winner].name.clone();
        summary.measured += 1;
        summary.faster += usize::from(verdict.winner != 0);
        choices.kernels.insert(kernel.key.clone(), variant.clone());
        cache.add(&kernel.key, Entry { variant, effort, ms: milliseconds(kernel, &verdict) });
        if effort == Effort::Full {
            // Keeps the results of an interrupted long tuning. An error is reported at the end.
            let _ = cache.save();
        }
    }
    summary.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}

fn rejection(kernel: &Kernel<'_>, variant: &str, what: &str, gpu: &Gpu) -> String {
    format!(
        "the variant {variant:?} of {} is not used on {}: {what}; report this with the output of \
         `dcgan check`",
        kernel.key,
        gpu.caps().name
    )
}

fn milliseconds(
    kernel: &Kernel<'_>,
    verdict: &Verdict,
) -> std::collections::BTreeMap<String, Option<f64>> {
    let rounded = |seconds: f64| (1e6 * seconds).round() / 1e3;
    let one =
        |(variant, seconds): (&Variant, &Option<f64>)| (variant.name.clone(), seconds.map(rounded));
    kernel.variants.iter().zip(&verdict.seconds).map(one).collect()
}

/// The choices of an earlier program, for the programs of `tapes` on the same device: they run as
/// they ran before, whatever was measured since. Reports where that is impossible.
#[must_use]
pub fn recall(
    tapes: &[(&Tape, Precision)],
    device: &Device,
    record: &Choices,
    tell: &mut dyn FnMut(News),
) -> Choices {
    let mut choices = Choices { device: device.name(), ..Choices::default() };
    let Device::Gpu(gpu) = device else { return choices };
    let mut lost = Vec::new();
    for kernel in kernels(tapes, gpu) {
        let default = &kernel.variants[0].name;
        let wanted = match record.kernels.get(&kernel.key) {
            Some(wanted) if kernel.has(wanted) => wanted,
            Some(wanted) => {
                lost.push(format!("{wanted:?} of {}", kernel.key));
                default
            }
            None => default,
        };
        choices.kernels.insert(kernel.key, wanted.clone());
    }
    if let Some(first) = lost.first() {
        let more = match lost.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        tell(News::Warning(format!(
            "this version or device has no variant {first}{more}, which the run used; the default \
             takes its place, and numbers may differ in their last digits"
        )));
    }
    choices
}

/// Every kernel of `tape` that can run in several ways on `device`, and the names of its variants,
/// the default first.
#[must_use]
pub fn variants(tape: &Tape, device: &Device) -> Vec<(String, Vec<String>)> {
    let Device::Gpu(gpu) = device else { return Vec::new() };
    let names = |kernel: Kernel<'_>| {
        (kernel.key, kernel.variants.into_iter().map(|variant| variant.name).collect())
    };
    kernels(&[(tape, Precision::F32)], gpu).into_iter().map(names).collect()
}
