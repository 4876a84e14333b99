//! The kernels that are no ops: they render, validate, and every back end can be written.

use dcgan::shaders::{reflect, render};
use minijinja::context;

use crate::support::write_everywhere;

#[test]
fn every_kernel_is_written_for_all_back_ends() {
    let mut rendered = vec![
        ("canary", render("canary", &context! {}).unwrap()),
        ("peak_fma", render("peak_fma", &context! { invocations => 256 }).unwrap()),
        ("check_math", render("check_math", &context! {}).unwrap()),
    ];
    for kind in ["uniform", "normal", "bits"] {
        for len in [1, 64, 1001] {
            let context = context! { kind, len, stream => 0x811c_9dc5_u32 };
            rendered.push(("random", render("random", &context).unwrap()));
        }
    }
    for (name, source) in rendered {
        reflect(name, &source, false).unwrap();
        write_everywhere(name, &source);
    }
}
