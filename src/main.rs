//! The command `dcgan`: parse, run, say what went wrong.

#![deny(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use dcgan::cli::Cli;

fn main() -> ExitCode {
    quiet_mesa();
    Cli::main()
}

/// Mesa's device-selection layer looks for a Wayland display whenever adapters are listed, and
/// writes "error: XDG_RUNTIME_DIR is invalid or not set" to standard error where there can be none.
/// Without the layer adapters are listed all the same.
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first thing that the program does: no other thread reads the
        // environment yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
