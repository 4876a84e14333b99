//! The command `dcgan`: parse, run, say what went wrong.

use std::process::ExitCode;

use clap::Parser;
use dcgan::cli::{Cli, exit_code};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            exit_code(&error)
        }
    }
}
