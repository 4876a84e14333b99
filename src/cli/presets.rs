//! `dcgan presets`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use crate::error::Result;
use crate::train::{PRESETS, Preset};

use super::flags::JsonFlag;
use super::options::flag;

/// The preset of this name.
///
/// # Errors
/// A message that says how to list them.
pub(super) fn find(name: &str) -> std::result::Result<&'static Preset, String> {
    Preset::find(name)
        .ok_or_else(|| format!("there is no preset {name:?}: dcgan presets lists them"))
}

/// The flags that it sets, without their dashes, and their values.
fn flags(preset: &Preset) -> impl Iterator<Item = (&'static str, &'static str)> {
    preset.options.iter().map(|&(name, value)| (flag(name).trim_start_matches('-'), value))
}

/// All of a preset, as text.
fn describe(preset: &Preset) -> String {
    let Preset { name, about, source, aliases, .. } = preset;
    let mut text = format!("{name}: {about}\n\nSource: {source}\n");
    if !aliases.is_empty() {
        let _ = writeln!(text, "Also called: {}", aliases.join(", "));
    }
    text.push('\n');
    if preset.options.is_empty() {
        text.push_str("All flags at their defaults.\n");
    }
    let width = flags(preset).map(|(flag, _)| flag.len()).max().unwrap_or(0);
    for (flag, value) in flags(preset) {
        let _ = writeln!(text, "  --{flag:width$} {value}");
    }
    let _ = write!(
        text,
        "\nAll other flags are at their defaults, and any flag overrides the preset:\n  dcgan \
         train IMAGES --preset {name} --lr-d 1e-4\n",
    );
    text
}

/// List the presets of dcgan train, or print one
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dcgan presets wgan")]
pub(super) struct Presets {
    /// Print what this preset sets, and the source of its values
    #[arg(value_name = "NAME", value_parser = find)]
    preset: Option<&'static Preset>,
    #[command(flatten)]
    json: JsonFlag,
}

/// A preset, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
    source: &'static str,
    aliases: &'static [&'static str],
    /// Flags of `dcgan train` without their dashes, with their values.
    flags: BTreeMap<&'static str, &'static str>,
}

impl From<&'static Preset> for Entry {
    fn from(preset: &'static Preset) -> Self {
        let &Preset { name, about, source, aliases, .. } = preset;
        Self { name, about, source, aliases, flags: flags(preset).collect() }
    }
}

/// What `--json` prints without a name.
#[derive(Debug, Serialize)]
struct Report {
    presets: Vec<Entry>,
}

impl Presets {
    pub(super) fn run(&self) -> Result<()> {
        let Some(preset) = self.preset else {
            let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
            let mut text = String::new();
            for Preset { name, about, .. } in PRESETS {
                let _ = writeln!(text, "{name:width$}  {about}");
            }
            self.json.print(&text)?;
            return self
                .json
                .report(&Report { presets: PRESETS.iter().map(Entry::from).collect() });
        };
        self.json.print(&describe(preset))?;
        self.json.report(&Entry::from(preset))
    }
}
