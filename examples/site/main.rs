//! The pages of `docs/` as a small site: plain HTML without scripts, light and dark, for any width.
//!
//! ```text
//! cargo run --example site -- OUT           the site, in the folder OUT
//! cargo run --example site -- OUT SOURCE    with links to source files, which begin with the address SOURCE
//! ```
//!
//! README becomes the page `reference.html`. Links to other files of the project become plain text without
//! SOURCE, such as `https://example.org/dcgan/blob/main/`.

mod pages;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (out, source) = match &words[..] {
        [out] => (out, None),
        [out, source] => (out, Some(source.as_str())),
        _ => {
            eprintln!("usage: cargo run --example site -- OUT [SOURCE]");
            return ExitCode::from(2);
        }
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match pages::build(root, Path::new(out), source) {
        Ok(files) => {
            println!("{} pages in {out}: open {out}/index.html", files.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
