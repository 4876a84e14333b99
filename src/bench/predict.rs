//! Predicts how long a training step takes on a card from its datasheet alone: what
//! `dcgan bench --predict` prints.
//!
//! A dispatch takes as long as the slower of its arithmetic and its memory, plus a pause:
//!
//! ```text
//! arithmetic = FLOP / (peak · share · fill)      share: multiply-adds in its hot loop
//! memory     = bytes / (0.75 · bandwidth)        fill:  how many of the card's lanes it keeps busy
//! seconds    = max(arithmetic, memory) + 4 µs
//! ```
//!
//! This leaves out caches (every tensor is read from memory once and written once, which is little
//! for large products and much for what was just written), the clock that a card really sustains,
//! latency hiding, and the driver. A prediction is an upper bound of the speed, useful to compare
//! with a measurement: where a card is much slower, the cause can be found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::ops::Caps;
use crate::program::{Listed, Options, kernels};
use crate::train::TrainConfig;

/// A graphics card, according to its maker's datasheet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Card {
    /// Its name in `--predict`.
    pub name: &'static str,
    /// Its full name.
    pub about: &'static str,
    /// 32-bit floating-point operations per second, in 10¹²; for RDNA 3 with one issue per cycle,
    /// as the compiler finds few pairs.
    pub tflops: f64,
    /// Bytes per second, in 10⁹.
    pub bandwidth: f64,
    /// Lanes that each do one multiply-add per cycle.
    pub lanes: u32,
}

/// The known cards.
pub const CARDS: [Card; 10] = [
    card("m1", "Apple M1 (8 GPU cores)", 2.6, 68.0, 1024),
    card("m3", "Apple M3 (10 GPU cores)", 3.5, 100.0, 1280),
    card("rx580", "AMD Radeon RX 580", 6.2, 256.0, 2304),
    card("rx6800", "AMD Radeon RX 6800", 16.2, 512.0, 3840),
    card("rx7900xtx", "AMD Radeon RX 7900 XTX", 30.7, 960.0, 6144),
    card("a770", "Intel Arc A770", 19.7, 560.0, 4096),
    card("rtx3060", "NVIDIA GeForce RTX 3060", 12.7, 360.0, 3584),
    card("rtx4090", "NVIDIA GeForce RTX 4090", 82.6, 1008.0, 16_384),
    card("h100", "NVIDIA H100 SXM", 66.9, 3350.0, 16_896),
    card("steam-deck", "Steam Deck", 1.6, 88.0, 512),
];

const fn card(
    name: &'static str,
    about: &'static str,
    tflops: f64,
    bandwidth: f64,
    lanes: u32,
) -> Card {
    Card { name, about, tflops, bandwidth, lanes }
}

/// The share of a card's datasheet bandwidth that plain reads and writes reach.
const BANDWIDTH: f64 = 0.75;

/// Seconds from the end of a dispatch to the start of the next, which waits for what it wrote.
const PAUSE: f64 = 4e-6;

/// Invocations of the workgroups of products; others have at least as many.
const GROUP: u32 = 64;

/// What limits a kernel most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its multiply-adds.
    Arithmetic,
    /// Its reads and writes.
    Memory,
    /// Its launch.
    Launch,
}

/// All dispatches of a kind in a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Predicted {
    /// The kernel's template.
    pub kernel: &'static str,
    /// The tile, where it is a product.
    pub variant: String,
    /// Dispatches.
    pub count: usize,
    /// Seconds of all dispatches.
    pub seconds: f64,
    /// Floating-point operations of all dispatches.
    pub flops: u64,
    /// Bytes that all dispatches read and write at least.
    pub bytes: u64,
    /// What most of that time is spent on.
    pub bound: Bound,
}

/// A training step on a card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The card.
    pub card: Card,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Real images trained on per second.
    pub images_per_second: f64,
    /// Floating-point operations of the step, as a share of the card's peak in that time.
    pub of_peak: f64,
    /// Its kernels, the slowest first.
    pub kernels: Vec<Predicted>,
}

/// The least share of multiply-adds in the hot loop of such a product, as compiled by AMD's
/// compiler (`examples/kernel_stats/table.txt`).
fn share(variant: &str) -> f64 {
    match variant.split(' ').next() {
        Some("workgroup") if variant.ends_with("64x64") => 0.91,
        Some("workgroup") => 0.86,
        // Thin products, and all other kernels: a good half is addresses.
        _ => 0.5,
    }
}

/// Seconds of one dispatch: of its arithmetic, its memory and its pause.
fn seconds(listed: &Listed, card: &Card) -> [f64; 3] {
    let groups: u32 = listed.groups.iter().product();
    // Groups run in rounds; the last one may leave lanes idle.
    let at_once = f64::from((card.lanes / GROUP).max(1));
    let rounds = (f64::from(groups) / at_once).ceil().max(1.0);
    let fill = f64::from(groups) / (rounds * at_once);
    let arithmetic = listed.flops as f64 / (1e12 * card.tflops * share(&listed.variant) * fill);
    [arithmetic, listed.bytes as f64 / (1e9 * card.bandwidth * BANDWIDTH), PAUSE]
}

/// The kernels of a configuration's training step, as lowered for hardware.
///
/// # Errors
/// [`crate::error::Error::Config`] where the configuration is invalid.
pub fn of_step(config: &TrainConfig) -> Result<Vec<Listed>> {
    let options = Options { precision: config.precision, ..Options::default() };
    kernels(&config.tape()?, &Caps::portable(), &options)
}

/// The predicted times of these kernels on a card, if they are a training step in batches of
/// `batch`.
#[must_use]
pub fn predict(listed: &[Listed], batch: usize, card: Card) -> Prediction {
    let mut kinds: BTreeMap<(&str, &str), (Predicted, [f64; 3])> = BTreeMap::new();
    for one in listed {
        let [arithmetic, memory, launch] = seconds(one, &card);
        let (kind, times) = kinds.entry((one.kernel, &one.variant)).or_insert_with(|| {
            let (kernel, variant) = (one.kernel, one.variant.clone());
            let bound = Bound::Launch;
            (
                Predicted { kernel, variant, count: 0, seconds: 0.0, flops: 0, bytes: 0, bound },
                [0.0; 3],
            )
        });
        kind.count += 1;
        kind.seconds += arithmetic.max(memory) + launch;
        kind.flops += one.flops;
        kind.bytes += one.bytes;
        times[usize::from(memory > arithmetic)] += arithmetic.max(memory);
        times[2] += launch;
    }
    let bounds = [Bound::Arithmetic, Bound::Memory, Bound::Launch];
    let total = |(mut kind, times): (Predicted, [f64; 3])| {
        let longest = times.iter().zip(bounds).max_by(|a, b| a.0.total_cmp(b.0));
        kind.bound = longest.map_or(Bound::Launch, |(_, bound)| bound);
        kind
    };
    let mut kernels: Vec<Predicted> = kinds.into_values().map(total).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let step_seconds: f64 = kernels.iter().map(|kind| kind.seconds).sum();
    let flops: u64 = kernels.iter().map(|kind| kind.flops).sum();
    Prediction {
        card,
        step_seconds,
        images_per_second: batch as f64 / step_seconds,
        of_peak: flops as f64 / (1e12 * card.tflops * step_seconds),
        kernels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kernel: &'static str, variant: &str, groups: u32, flops: u64, bytes: u64) -> Listed {
        let (label, shape, source) = (kernel.into(), String::new(), String::new());
        let (variant, groups) = (variant.into(), [groups, 1, 1]);
        Listed { kernel, label, shape, variant, source, groups, flops, bytes }
    }

    #[test]
    fn a_kernel_is_bound_by_what_takes_longest() {
        let card = card("one", "a card", 1.0, 100.0, 640);
        let product = listed("matmul", "workgroup 64x64", 20, 1_820_000_000_000, 100);
        let [arithmetic, ..] = seconds(&product, &card);
        assert!((arithmetic - 2.0).abs() < 1e-9, "two full rounds: {arithmetic}");
        let ragged = Listed { groups: [21, 1, 1], ..product.clone() };
        let [longer, ..] = seconds(&ragged, &card);
        assert!((longer - 60.0 / 21.0).abs() < 1e-9, "three rounds, the last of one: {longer}");

        let copy = listed("elementwise", "", 1000, 10, 75_000_000_000);
        let tiny = listed("step", "", 1, 1, 4);
        let all = [product, copy, tiny];
        let found = predict(&all, 8, card);
        let bounds: Vec<_> = found.kernels.iter().map(|kind| kind.bound).collect();
        assert_eq!(bounds, [Bound::Arithmetic, Bound::Memory, Bound::Launch]);
        assert!((found.step_seconds - (3.0 + 3.0 * PAUSE)).abs() < 1e-9, "{}", found.step_seconds);
        assert!((found.images_per_second * found.step_seconds - 8.0).abs() < 1e-9);
    }

    #[test]
    fn cards_have_names_of_their_own_and_figures_that_go_together() {
        for (i, card) in CARDS.iter().enumerate() {
            assert!(CARDS[..i].iter().all(|other| other.name != card.name), "{}", card.name);
            // Two operations per lane and cycle: the clock, in GHz.
            let clock = 1e3 * card.tflops / (2.0 * f64::from(card.lanes));
            assert!((1.1..2.7).contains(&clock), "{}: {clock} GHz", card.name);
        }
    }
}
