//! The command line: one file a command. The doc comment of a field is its help.

use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

mod arithmetic;
mod bar;
mod bench;
mod check;
mod classify;
mod data;
mod dedup;
mod devices;
mod errors;
mod export;
mod features;
mod filters;
mod flags;
mod forget;
mod import;
mod invert;
mod latents;
mod neighbours;
mod nn_score;
mod output;
mod points;
mod presets;
mod reading;
mod sample;
mod seeds;
mod train;
mod tuning;
mod walk;

/// Colours of the help.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Train, sample and study DCGANs on any GPU (Vulkan, Metal, DX12) or CPU
#[derive(Debug, Parser)]
#[command(name = "dcgan", version, styles = STYLES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on your pictures, or on the bundled ones
    Train(Box<train::Train>),
    Presets(presets::Presets),
    /// Make pictures with a trained generator
    Sample(sample::Sample),
    Walk(walk::Walk),
    Arithmetic(arithmetic::Arithmetic),
    Invert(invert::Invert),
    Neighbours(neighbours::Neighbours),
    Features(features::Features),
    Filters(filters::Filters),
    Forget(forget::Forget),
    Classify(classify::Classify),
    NnScore(nn_score::NnScore),
    Errors(errors::Errors),
    /// Take over networks from PyTorch, or those that DCGAN's authors published
    Import(import::Import),
    /// Write a network for PyTorch or as ONNX
    Export(export::Export),
    /// Look at a set of pictures: counts, sizes, what cannot be read, and a contact sheet
    Data(data::Data),
    Dedup(dedup::Dedup),
    /// Measure how fast a device trains and samples, and where the time goes
    Bench(bench::Bench),
    /// Check that a device computes what the CPU does: every op, and whole training steps
    Check(check::Check),
    /// List the CPU and the GPUs that programs can run on
    Devices(devices::Devices),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command reports.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Train(command) => command.run(),
            Command::Presets(command) => command.run(),
            Command::Sample(command) => command.run(),
            Command::Walk(command) => command.run(),
            Command::Arithmetic(command) => command.run(),
            Command::Invert(command) => command.run(),
            Command::Neighbours(command) => command.run(),
            Command::Features(command) => command.run(),
            Command::Filters(command) => command.run(),
            Command::Forget(command) => command.run(),
            Command::Classify(command) => command.run(),
            Command::NnScore(command) => command.run(),
            Command::Errors(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Data(command) => command.run(),
            Command::Dedup(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Devices(command) => command.run(),
        }
    }
}

/// 2 for a flag that cannot work, as clap exits for one it cannot parse; else 1.
#[must_use]
pub fn exit_code(error: &Error) -> ExitCode {
    match error {
        Error::Flag { .. } => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}
