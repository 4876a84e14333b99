//! The command line: one file a command. The doc comment of a field is its help.

use std::io;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::files::cannot;
use crate::human::printable;
use crate::terminal::tell;
use crate::threads;
use crate::train::interrupt;

mod arithmetic;
mod bar;
mod bench;
mod check;
mod classify;
mod compare;
mod completions;
mod data;
mod dedup;
mod devices;
mod drawing;
mod encode;
mod errors;
mod evaluate;
mod export;
mod features;
mod filters;
mod flags;
mod forget;
mod import;
mod invert;
mod latents;
mod log;
mod neighbors;
mod nn_score;
pub(crate) mod options;
mod output;
mod points;
mod presets;
mod reading;
mod reconstruct;
mod sample;
mod seeds;
mod stages;
mod train;
mod tuning;
mod walk;

/// Colors of the help.
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
    /// Train on your images, or on the bundled ones
    Train(Box<train::Train>),
    Log(log::Log),
    Compare(compare::Compare),
    Stages(stages::Stages),
    Presets(presets::Presets),
    /// Make images with a trained generator
    Sample(sample::Sample),
    Walk(walk::Walk),
    Arithmetic(arithmetic::Arithmetic),
    Invert(invert::Invert),
    Encode(encode::Encode),
    Reconstruct(reconstruct::Reconstruct),
    #[command(alias = "neighbours")]
    Neighbors(neighbors::Neighbors),
    Features(features::Features),
    Filters(filters::Filters),
    Forget(forget::Forget),
    Classify(classify::Classify),
    Evaluate(Box<evaluate::Evaluate>),
    NnScore(nn_score::NnScore),
    Errors(errors::Errors),
    /// Import networks from PyTorch, or those that DCGAN's authors published
    Import(import::Import),
    /// Export a network to PyTorch or ONNX
    Export(export::Export),
    /// Inspect a set of images: counts, sizes, unreadable files and a contact sheet
    Data(data::Data),
    Dedup(dedup::Dedup),
    /// Measure how fast a device trains and samples, and where the time goes
    Bench(bench::Bench),
    /// Check a device against the CPU: every op and whole training steps
    Check(check::Check),
    /// List the available CPU and GPUs
    Devices(devices::Devices),
    Completions(completions::Completions),
    Man(completions::Man),
}

impl Cli {
    /// Parses the command line and runs its command; reports errors.
    #[must_use]
    pub fn main() -> ExitCode {
        match Self::try_parse() {
            Ok(cli) => cli.run().unwrap_or_else(|error| fail(&error)),
            Err(answer) => reply(&answer),
        }
    }

    /// Runs the command and returns the exit code.
    fn run(self) -> Result<ExitCode> {
        // If this fails, signals end the program as usual.
        let _ = interrupt::listen();
        threads::start()?;
        match self.command {
            Command::Train(command) => return command.run(),
            Command::Log(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Stages(command) => command.run(),
            Command::Presets(command) => command.run(),
            Command::Sample(command) => command.run(),
            Command::Walk(command) => command.run(),
            Command::Arithmetic(command) => command.run(),
            Command::Invert(command) => command.run(),
            Command::Encode(command) => command.run(),
            Command::Reconstruct(command) => command.run(),
            Command::Neighbors(command) => command.run(),
            Command::Features(command) => command.run(),
            Command::Filters(command) => command.run(),
            Command::Forget(command) => command.run(),
            Command::Classify(command) => command.run(),
            Command::Evaluate(command) => return command.run(),
            Command::NnScore(command) => command.run(),
            Command::Errors(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Data(command) => command.run(),
            Command::Dedup(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Prints help, the version, or a usage error.
fn reply(answer: &clap::Error) -> ExitCode {
    let plain = answer.render().to_string();
    if answer.use_stderr() && printable(&plain) != plain {
        // A file name, expanded from a glob, may hold control characters.
        tell!("{}", plain.trim_end());
    } else if let Err(error) = answer.print()
        && !answer.use_stderr()
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return fail(&Error::file("standard output", cannot("be written", &error)));
    }
    ExitCode::from(answer.exit_code() as u8)
}

/// Prints an error and its causes.
fn fail(error: &Error) -> ExitCode {
    tell!("error: {}", options::message(error));
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        tell!("  caused by: {source}");
        cause = source.source();
    }
    ExitCode::from(code_of(error))
}

/// The exit code of an error: 2 for an invalid flag, like clap's own errors; else 1.
fn code_of(error: &Error) -> u8 {
    match error {
        Error::Flag { .. } | Error::Config { .. } => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use clap::ValueEnum;

    use crate::data::{Crop, Filter};
    use crate::models::{Architecture, Conditioning, LatentDistribution, Minibatch, Norm};
    use crate::nn::Parametrization;
    use crate::objectives::{Loss, Penalty};

    /// Values are written in files and messages as they are typed.
    fn typed_as_shown<T: ValueEnum + Display>() {
        for value in T::value_variants() {
            let typed = value.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(typed, Some(value.to_string()));
            assert_eq!(format!("{value:>30}").len(), 30, "{value}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are_typed() {
        typed_as_shown::<Architecture>();
        typed_as_shown::<LatentDistribution>();
        typed_as_shown::<Norm>();
        typed_as_shown::<Conditioning>();
        typed_as_shown::<Minibatch>();
        typed_as_shown::<Parametrization>();
        typed_as_shown::<Loss>();
        typed_as_shown::<Penalty>();
        typed_as_shown::<Crop>();
        typed_as_shown::<Filter>();
    }
}
