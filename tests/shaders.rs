//! Every kernel renders, validates, passes the lints, and is written for every back end.

use dcgan::shaders::reflect;

use crate::kernels;
use crate::support::write_everywhere;

#[test]
fn every_kernel_is_written_for_all_back_ends() {
    for kernel in kernels::all() {
        reflect(&kernel.name, &kernel.source, true).unwrap();
        write_everywhere(&kernel.name, &kernel.source);
    }
}
