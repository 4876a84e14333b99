//! `dcgan completions` and `dcgan man`: what shells and `man` know of the program.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man as Page;

use crate::error::{Error, Result};
use crate::files;
use crate::terminal::print_bytes;

use super::Cli;
use super::output::println;

const COMPLETIONS: &str = "\
Examples:
  dcgan completions bash > ~/.local/share/bash-completion/completions/dcgan
  dcgan completions zsh > ~/.zfunc/_dcgan      # with fpath+=~/.zfunc before compinit
  dcgan completions fish > ~/.config/fish/completions/dcgan.fish
  dcgan completions powershell >> $PROFILE";

/// Print a shell's completion script for commands and flags
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "dcgan", &mut script);
        print_bytes(&script)
    }
}

/// Print the manual page, or write one for each command
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dcgan man | man -l -\n  dcgan man --out ~/.local/share/man/man1"
)]
pub(super) struct Man {
    /// Write dcgan.1, dcgan-train.1 and so on to this folder, which is created if missing
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<()> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let Some(out) = &self.out else { return print_bytes(&page(&command)?.1) };
        std::fs::create_dir_all(out)
            .map_err(|e| Error::file(out, files::cannot("be created as a folder", &e)))?;
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let (name, text) = page(command)?;
            files::write_bytes(&out.join(name), &text)?;
        }
        println(&format!("{:<12}{}", "pages", out.display()))
    }
}

/// A command's page: the name of its file, and its text.
fn page(command: &Command) -> Result<(String, Vec<u8>)> {
    let page = Page::new(command.clone());
    let mut text = Vec::new();
    let fail = |e: std::io::Error| Error::file(page.get_filename(), e);
    page.render(&mut text).map_err(fail)?;
    Ok((page.get_filename(), text))
}
