//! placeholder until the kernels land
use super::*;
pub(super) fn conv2d(_: &ConvSpec, _: &Site, _: &Caps) -> Result<Lowered> {
    unreachable!()
}
pub(super) fn conv_transpose2d(_: &ConvSpec, _: &Site, _: &Caps) -> Result<Lowered> {
    unreachable!()
}
pub(super) fn conv_weight_grad(_: &ConvSpec, _: &Site, _: &Caps) -> Result<Lowered> {
    unreachable!()
}
