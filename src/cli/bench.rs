//! `dcgan bench`: how fast is a device, and where does the time go?

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::bench::predict::{self, Bound, CARDS, Prediction};
use crate::bench::{self, KernelTime, Loading, SAMPLES};
use crate::device::host::ProcessMemory;
use crate::error::Result;
use crate::human;
use crate::model::{Sampler, Weights};
use crate::models::{Architecture, ModelConfig, PartialModelConfig, Size};
use crate::program::tune::Effort;
use crate::program::{Options, Precision};
use crate::terminal::set_message;
use crate::train::{PartialTrainConfig, Preset, TrainConfig};

use super::flags::{DeviceFlag, JsonFlag, at_least};
use super::output::{Align, table};
use super::presets::find;
use super::reading::PartFlag;
use super::tuning;

/// Number of classes for conditional networks, as in MNIST and CIFAR-10.
const CLASSES: usize = 10;

/// Kernels that the printed table lists.
const LISTED: usize = 24;

/// Letters of an op's name that the table shows: a fused kernel may have dozens of ops.
const NAME: usize = 36;

#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(flatten)]
    device: DeviceFlag,
    /// Preset to train (see dcgan presets); a conditional one gets ten classes
    #[arg(long, value_name = "NAME", value_parser = find, default_value = "dcgan")]
    preset: &'static Preset,
    /// Batch size, at least 2 [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least(2))]
    batch: Option<usize>,
    /// Networks to train instead of the preset's (see dcgan train --help)
    #[arg(long, value_enum, hide_possible_values = true, value_name = "NETWORK")]
    network: Option<Architecture>,
    /// Image size, 64 or 96x64 (height x width) [default: the preset's]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// Width of the generator [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    ngf: Option<usize>,
    /// Width of the discriminator [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    ndf: Option<usize>,
    /// Training steps to time; the median is reported
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least(1))]
    steps: usize,
    /// Measure which kernels are fastest on a GPU: not at all, for at most 5 seconds, or all of
    /// them. Results are kept for the next time
    #[arg(
        long, value_enum, default_value_t = Effort::Quick, hide_possible_values = true,
        value_name = "off|quick|full"
    )]
    tune: Effort,
    /// Precision in which a GPU stores activations and their gradients
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    /// Also time reading these images (as for dcgan train), alone and during training, without a
    /// cache: does training have to wait for them?
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    part: PartFlag,
    /// Decoding threads [default: one per core, at most 8]
    #[arg(long, value_name = "N", requires = "data", value_parser = at_least(1))]
    workers: Option<usize>,
    /// Instead of measuring, predict the time of a step on another card from its datasheet:
    /// m1, m3, rx580, rx6800, rx7900xtx, a770, rtx3060, rtx4090, h100 or steam-deck; all compares them
    #[arg(
        long, value_name = "CARD|all", value_parser = known_card,
        conflicts_with_all = ["selection", "data", "steps", "tune"]
    )]
    predict: Option<String>,
    #[command(flatten)]
    json: JsonFlag,
}

/// Parses a value of `--predict`.
fn known_card(name: &str) -> std::result::Result<String, String> {
    let mut known = CARDS.iter().map(|card| card.name).chain(["all"]);
    match known.clone().any(|known| known == name) {
        true => Ok(name.to_owned()),
        false => {
            let last = known.next_back().unwrap_or_default();
            Err(format!("known cards are {} and {last}", known.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    program: String,
    system: String,
    device: String,
    #[serde(flatten)]
    bench: bench::Bench,
    #[serde(skip_serializing_if = "Option::is_none")]
    loading: Option<Loading>,
}

impl Bench {
    pub(super) fn run(&self) -> Result<()> {
        let config = self.config()?;
        if let Some(card) = &self.predict {
            return self.predict(&config, card);
        }
        let source = match &self.data {
            Some(data) => Some(Arc::new(self.part.open(Some(data))?)),
            None => None,
        };
        let device = self.device.open(false)?;
        let sampler = Sampler::tape(&config.networks()?, Weights::Raw, SAMPLES)?;
        let step = config.tape()?;
        let tapes = [(&step, config.precision), (&sampler, Precision::F32)];
        let choices = tuning::choose(&tapes, &device, self.tune)?;
        let options = Options { choices, ..Options::default() };

        // On standard error, where that is a terminal.
        let stage = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{msg} {elapsed}");
        stage.set_style(style.expect("the template is a constant that every run renders"));
        let tell = |what| set_message(&stage, what);
        let bench = bench::bench(&config, self.steps, &device, &options, &tell);
        let loading = source.map(|source| {
            bench::loading(&config, self.steps, &device, &options, (&source, self.workers), &tell)
        });
        stage.finish_and_clear();
        let report = Report {
            program: crate::PROGRAM.into(),
            system: crate::device::host::system(),
            device: device.name(),
            bench: bench?,
            loading: loading.transpose()?,
        };
        self.json.print(&text(&report))?;
        self.json.report(&report)
    }
}

impl Bench {
    fn predict(&self, config: &TrainConfig, card: &str) -> Result<()> {
        let listed = predict::of_step(config)?;
        let cards = CARDS.iter().filter(|known| card == "all" || card == known.name);
        let predictions: Vec<Prediction> =
            cards.map(|card| predict::predict(&listed, config.batch, *card)).collect();
        let text = format!("{:<12}{}\n", "networks", networks(config));
        let text = match &predictions[..] {
            [one] => text + &predicted(one),
            all => text + "\n" + &compared(all),
        };
        self.json.print(&text)?;
        self.json.report(&serde_json::json!({ "recipe": config, "predictions": predictions }))
    }

    /// The preset's configuration, with what was typed.
    fn config(&self) -> Result<TrainConfig> {
        let &Self { network, size, ngf, ndf, batch, precision, .. } = self;
        let model = PartialModelConfig { network, size, ngf, ndf, ..PartialModelConfig::default() };
        let typed = PartialTrainConfig { model, batch, ..PartialTrainConfig::default() };
        let options = typed.or(self.preset.options().config);
        let conditioning = options.conditioning()?;
        let model = ModelConfig {
            classes: conditioning.map_or(0, |_| CLASSES),
            conditioning: conditioning.unwrap_or_default(),
            ..options.model.config()
        };
        Ok(TrainConfig { precision, ..options.of(model) }.with_any_text())
    }
}

/// Operations per second, in a readable unit.
fn rate(flops: f64) -> String {
    if flops >= 1e12 {
        format!("{:.2} TFLOP/s", flops / 1e12)
    } else {
        format!("{:.1} GFLOP/s", flops / 1e9)
    }
}

/// The networks in one line.
fn networks(config: &TrainConfig) -> String {
    let model = &config.model;
    let (network, size) = (model.network, model.size);
    format!(
        "{network} {}x{}x{}, ngf {}, ndf {}, batch {}",
        size.height, size.width, model.channels, model.ngf, model.ndf, config.batch
    )
}

/// A step on one card, kernel by kernel.
fn predicted(prediction: &Prediction) -> String {
    let Prediction { card, step_seconds, images_per_second, of_peak, kernels } = prediction;
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("{name:<12}{value}\n");
    let (about, bandwidth) = (card.about, card.bandwidth);
    row("card", format!("{about}: {}, {bandwidth:.0} GB/s (datasheet)", rate(1e12 * card.tflops)));
    let (step, percent) = (1e3 * step_seconds, 100.0 * of_peak);
    row(
        "predicted",
        format!("{images_per_second:.0} images/s: {step:.2} ms a step, {percent:.0} % of the peak"),
    );
    let head = ["kernel", "variant", "count", "ms", "GFLOP", "MB", "% of step", "bound by"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for kind in kernels {
        rows.push(vec![
            kind.kernel.into(),
            kind.variant.clone(),
            kind.count.to_string(),
            format!("{:.3}", 1e3 * kind.seconds),
            format!("{:.1}", kind.flops as f64 / 1e9),
            format!("{:.1}", kind.bytes as f64 / 1e6),
            format!("{:.1}", 100.0 * kind.seconds / step_seconds),
            bound(kind.bound).into(),
        ]);
    }
    use Align::{Left, Right};
    text + "\n" + &table(&[Left, Left, Right, Right, Right, Right, Right, Left], &rows)
}

/// A step on several cards, one line per card.
fn compared(predictions: &[Prediction]) -> String {
    let head = ["card", "", "TFLOP/s", "GB/s", "images/s", "ms a step", "% of peak", "bound by"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for Prediction { card, step_seconds, images_per_second, of_peak, kernels } in predictions {
        let by = [Bound::Arithmetic, Bound::Memory, Bound::Launch].map(|wanted| {
            let kinds = kernels.iter().filter(|kind| kind.bound == wanted);
            (wanted, kinds.map(|kind| kind.seconds).sum::<f64>())
        });
        let most = by.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (most, seconds) = most.unwrap_or((Bound::Launch, 0.0));
        rows.push(vec![
            card.name.into(),
            card.about.into(),
            format!("{:.1}", card.tflops),
            format!("{:.0}", card.bandwidth),
            format!("{images_per_second:.0}"),
            format!("{:.2}", 1e3 * step_seconds),
            format!("{:.0}", 100.0 * of_peak),
            format!("{} ({:.0} %)", bound(most), 100.0 * seconds / step_seconds),
        ]);
    }
    use Align::{Left, Right};
    table(&[Left, Left, Right, Right, Right, Right, Right, Left], &rows)
}

fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Arithmetic => "arithmetic",
        Bound::Memory => "memory",
        Bound::Launch => "launches",
    }
}

fn text(report: &Report) -> String {
    let Report { program, system, device, bench, loading } = report;
    let mut text = String::new();
    let mut row = |name: &str, value: String| text += &format!("{name:<12}{value}\n");
    row("program", format!("{program}, {system}"));
    row("device", device.clone());
    row("networks", networks(&bench.config));
    row(
        "training",
        format!(
            "{:.1} images/s: {:.1} ms a step, median of {}; without loading images",
            bench.train_images_per_second,
            1e3 * bench.step_seconds,
            bench.steps
        ),
    );
    row(
        "sampling",
        format!(
            "{:.1} images/s: {:.1} ms for {SAMPLES} images",
            bench.sample_images_per_second,
            1e3 * bench.sample_seconds
        ),
    );
    row(
        "start",
        format!(
            "{:.2} s to compile, {:.2} s to the first step's result",
            bench.compile_seconds, bench.first_step_seconds
        ),
    );
    let useful = bench.train_images_per_second * bench.flops_per_image;
    row(
        "arithmetic",
        format!(
            "{:.4} GFLOP an image in products and convolutions: {}",
            bench.flops_per_image / 1e9,
            rate(useful)
        ),
    );
    row(
        "between",
        format!("the step takes {:.2} x the sum of its kernels", bench.step_over_kernels),
    );
    row(
        "peak",
        format!(
            "{} by {}, of which training reaches {:.0} %",
            rate(bench.peak.flops),
            bench.peak.by,
            100.0 * bench.share_of_peak
        ),
    );
    row("copies", format!("{:.1} GB/s, read and written", bench.peak.bytes / 1e9));
    let process = match bench.process_memory {
        Some(ProcessMemory { bytes, is_peak: true }) => {
            format!("{} at most (the system's count)", human::bytes(bytes))
        }
        Some(ProcessMemory { bytes, is_peak: false }) => {
            format!("{} after training and sampling", human::bytes(bytes))
        }
        None => "unknown".into(),
    };
    row("process", format!("{process} of memory"));
    if let Some(loading) = loading {
        row("data", loading.data.clone());
        row(
            "reading",
            format!(
                "{:.0} images/s, alone on {}, none kept in memory",
                loading.images_per_second,
                human::plural(loading.threads as u64, "thread")
            ),
        );
        row(
            "both",
            format!(
                "{:.1} images/s trained on while they are read, {:.1} % of the time spent waiting \
                 for them",
                loading.train_images_per_second,
                100.0 * loading.waiting
            ),
        );
    }
    text += "\n";
    text += &bench.memory.to_string();
    text += "\n";
    text + &kernels(&bench.kernels)
}

/// The table of kernels.
fn kernels(all: &[KernelTime]) -> String {
    let total: f64 = all.iter().map(|k| k.seconds).sum();
    let share = |seconds: f64| format!("{:.1}", 100.0 * seconds / total.max(1e-12));
    let head = ["kernel", "shape", "count", "ms", "GFLOP/s", "GB/s", "% of step", "variant"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for kernel in all.iter().take(LISTED) {
        // A kernel may be too short for the clock.
        let seconds = kernel.seconds.max(1e-9);
        rows.push(vec![
            shortened(&kernel.op),
            kernel.shape.clone(),
            kernel.count.to_string(),
            format!("{:.2}", 1e3 * kernel.seconds),
            format!("{:.1}", kernel.flops as f64 / seconds / 1e9),
            format!("{:.1}", kernel.bytes as f64 / seconds / 1e9),
            share(kernel.seconds),
            kernel.variant.clone(),
        ]);
    }
    let mut ends = |name: String, kernels: &[KernelTime]| {
        let seconds: f64 = kernels.iter().map(|k| k.seconds).sum();
        let count: usize = kernels.iter().map(|k| k.count).sum();
        let ms = format!("{:.2}", 1e3 * seconds);
        let empty = String::new;
        let count = count.to_string();
        rows.push(vec![name, empty(), count, ms, empty(), empty(), share(seconds), empty()]);
    };
    if all.len() > LISTED {
        ends(format!("{} more", all.len() - LISTED), &all[LISTED..]);
    }
    ends("all kernels".into(), all);
    use Align::{Left, Right};
    table(&[Left, Left, Right, Right, Right, Right, Right, Left], &rows)
}

/// The start of a long name, and how many ops it has.
fn shortened(name: &str) -> String {
    let ops = name.split('+').count();
    if name.chars().count() <= NAME {
        return name.into();
    }
    let start: String = name.chars().take(NAME - 10).collect();
    let start = start.rsplit_once('+').map_or(start.as_str(), |(start, _)| start);
    format!("{start}+… ({ops} ops)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_an_op() {
        assert_eq!(shortened("conv2d"), "conv2d");
        let long = "add+affine+broadcast_to+div+mul+sqrt+sub";
        assert_eq!(shortened(long), "add+affine+broadcast_to+… (7 ops)");
        assert!(shortened(&"x".repeat(90)).chars().count() <= NAME);
    }

    #[test]
    fn the_table_ends_with_sums() {
        let kernel = |i: usize| KernelTime {
            op: format!("op{i}"),
            shape: "[2]".into(),
            variant: if i == 0 { "wide".into() } else { String::new() },
            count: 2,
            seconds: 0.001,
            flops: 2_000_000,
            bytes: 1_000_000,
        };
        let all: Vec<KernelTime> = (0..LISTED + 1).map(kernel).collect();
        let text = kernels(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + LISTED + 2);
        let words = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(words(lines[1]), ["op0", "[2]", "2", "1.00", "2.0", "1.0", "4.0", "wide"]);
        assert_eq!(words(lines[1 + LISTED]), ["1", "more", "2", "1.00", "4.0"]);
        assert!(lines[2 + LISTED].ends_with("100.0"), "{text}");
    }
}
