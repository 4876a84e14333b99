//! Flags and values that several commands take.

use clap::Args;
use serde::Serialize;

use crate::device::Device;
use crate::error::Result;

use super::output;

/// The largest number that [`at_least`] takes: more of anything is a slip of the finger.
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
    /// Text for people; nothing where JSON is wanted.
    pub(super) fn print(self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { output::print(text) }
    }

    /// [`Self::print`], with the end of a line.
    pub(super) fn println(self, text: &str) -> Result<()> {
        self.print(&format!("{text}\n"))
    }

    /// What all the text says, for programs; nothing where text was wanted.
    pub(super) fn report(self, value: &impl Serialize) -> Result<()> {
        if self.json { output::print_json(value) } else { Ok(()) }
    }
}

/// `--device`.
#[derive(Debug, Args)]
pub(super) struct DeviceFlag {
    /// cpu, gpu, or an index or a name that `dcgan devices` lists [default: the strongest hardware
    /// GPU, else the CPU]
    #[arg(long = "device", value_name = "DEVICE")]
    pub(super) selection: Option<String>,
}

impl DeviceFlag {
    /// The device that was asked for, else the default; `checked` keeps the shader compiler's
    /// bounds checks.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub(super) fn open(&self, checked: bool) -> Result<Device> {
        Device::open(self.selection.as_deref(), checked)
    }
}
