//! What several tests need.

use dcgan::device::Device;

/// Every device that tests run on.
pub fn devices() -> Vec<Device> {
    vec![Device::Cpu]
}
