//! Every kernel renders, validates, passes the lints, and is written for every back end: those of
//! all samples of all ops, as lowered for software (with and without subgroups) and for hardware, and
//! those that are no ops.

use dcgan::ops::Caps;
use dcgan::ops::samples::samples;
use dcgan::program::kernels;
use dcgan::shaders::{reflect, render};
use minijinja::context;

use crate::support::write_everywhere;

#[test]
fn every_kernel_is_written_for_all_back_ends() {
    let mut rendered = vec![
        ("canary".to_owned(), render("canary", &context! {}).unwrap()),
        ("peak_fma".to_owned(), render("peak_fma", &context! { invocations => 256 }).unwrap()),
        ("check_math".to_owned(), render("check_math", &context! {}).unwrap()),
    ];
    for kind in ["uniform", "normal", "bits"] {
        for len in [1, 64, 1001] {
            let context = context! { kind, len, stream => 0x811c_9dc5_u32 };
            rendered.push(("random".to_owned(), render("random", &context).unwrap()));
        }
    }
    for (software, subgroup, immediates) in
        [(true, None, 0), (true, Some(8), 128), (false, None, 0)]
    {
        let caps = Caps { software, subgroup, immediates, ..Caps::portable() };
        for sample in samples() {
            let (tape, _, _) = sample.tape().unwrap();
            let options = dcgan::program::Options::default();
            let listed = kernels(&tape, &caps, &options).unwrap();
            rendered.extend(listed.into_iter().map(|one| (one.kernel.to_owned(), one.source)));
        }
    }
    // The samples of an op differ in shapes; many render to the same text all the same.
    rendered.sort();
    rendered.dedup();
    for (name, source) in &rendered {
        reflect(name, source, true).unwrap();
        write_everywhere(name, source);
    }
}
