//! Flags and values that several commands take.

use clap::Args;
use serde::Serialize;

use crate::device::Device;
use crate::error::Result;

use super::output;

/// The largest number that [`at_least`] accepts: more of anything is surely a typo.
const MOST: usize = 1 << 20;

/// A whole number of at least `least`.
pub(super) fn at_least(
    least: usize,
) -> impl Fn(&str) -> std::result::Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(n) if (least..=MOST).contains(&n) => Ok(n),
        _ => Err(format!("a whole number from {least} to {MOST} is needed")),
    }
}

/// `--json`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct JsonFlag {
    /// Print one JSON object instead of text (README lists its keys)
    #[arg(long)]
    json: bool,
}

impl JsonFlag {
    /// Prints text, unless JSON is requested.
    pub(super) fn print(self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { output::print(text) }
    }

    /// [`Self::print`], with the end of a line.
    pub(super) fn println(self, text: &str) -> Result<()> {
        self.print(&format!("{text}\n"))
    }

    /// Prints the result as JSON, if it is requested.
    pub(super) fn report(self, value: &impl Serialize) -> Result<()> {
        if self.json { output::print_json(value) } else { Ok(()) }
    }
}

/// `--device`.
#[derive(Debug, Args)]
pub(super) struct DeviceFlag {
    /// cpu, gpu, or an index or name listed by `dcgan devices` [default: the strongest hardware
    /// GPU, else the CPU]
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) selection: Option<String>,
}

impl DeviceFlag {
    /// The requested device, else the default; `checked` keeps the shader compiler's
    /// bounds checks.
    ///
    /// # Errors
    /// Same as [`Device::open`].
    pub(super) fn open(&self, checked: bool) -> Result<Device> {
        Device::open(self.selection.as_deref(), checked)
    }
}
