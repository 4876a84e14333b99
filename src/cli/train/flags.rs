//! The flags of `dcgan train` that are not training options: image loading and the machine.

use clap::Args;

use crate::cli::flags::{DeviceFlag, at_least};
use crate::data::CacheMode;
use crate::human::parse_bytes;
use crate::program::tune::Effort;

#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub(super) struct Reading {
    /// Grayscale images: the same as --channels 1
    #[arg(long, alias = "grey", conflicts_with = "channels")]
    pub(super) gray: bool,
    /// Keep decoded images in memory
    #[arg(long, value_enum, default_value_t = CacheMode::Auto, hide_short_help = true)]
    pub(super) cache: CacheMode,
    /// Decoding threads [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = at_least(1), hide_short_help = true)]
    pub(super) workers: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct Machine {
    #[command(flatten)]
    pub(super) device: DeviceFlag,
    /// Memory limit for training, such as 2GiB [default: the device's memory]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, hide_short_help = true)]
    pub(super) memory: Option<u64>,
    /// Measure which kernels are fastest on a GPU [default: quick]
    ///
    /// Not at all, for at most 5 seconds, or all of them. Results are kept for the next time [default: quick; when resuming, the kernels that
    /// the run used before]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "off|quick|full")]
    pub(super) tune: Option<Effort>,
    /// Print the memory plan
    #[arg(long, hide_short_help = true)]
    pub(super) explain: bool,
    /// Keep the shader compiler's bounds checks (slower)
    #[arg(long, hide_short_help = true)]
    pub(super) checked: bool,
}
