//! Kernels go through the compilers that browsers and drivers have: all through Google's Tint, and of those
//! that differ in numbers alone the first through Microsoft's DXC and the validator of SPIR-V, which take
//! longer. They need no GPU.
//!
//! They are looked for in `target/compilers` (`.ci/run` installs them there) or in the folder that
//! `DCGAN_COMPILERS` names. Without them a test is skipped aloud, and fails where
//! `DCGAN_TEST_COMPILERS=require`.

use std::path::PathBuf;

use crate::support::skipped;

mod drivers;
mod dxc;
mod spirv;
mod tint;

/// The path of a compiler, of one of these names below the folder of compilers; none where it is not
/// there, which is said.
fn installed(what: &str, name: &str) -> Option<PathBuf> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/target/compilers");
    let folder = std::env::var_os("DCGAN_COMPILERS").unwrap_or_else(|| usual.into());
    let path = PathBuf::from(folder).join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{what} is not at {}", path.display());
    assert!(
        std::env::var("DCGAN_TEST_COMPILERS").as_deref() != Ok("require"),
        "DCGAN_TEST_COMPILERS=require, and {missing}: .ci/run installs it"
    );
    skipped(&format!("SKIPPED, as {missing}"));
    None
}

/// Fails where a compiler refused kernels, with the first few.
fn none_refused(compiler: &str, checked: usize, refused: &[(String, String)]) {
    let few: Vec<_> = refused.iter().take(3).map(|(name, why)| format!("{name}:\n{why}")).collect();
    assert!(
        refused.is_empty(),
        "{compiler} refuses {} of {checked} kernels, such as\n{}",
        refused.len(),
        few.join("\n")
    );
    assert!(checked > 100, "{checked} kernels are too few to mean anything");
}
