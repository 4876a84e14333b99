//! The DCGAN paper's experiments on trained networks (arXiv 1511.06434, sections 5 and 6), as
//! functions of latents and images, independent of figures.

pub mod arithmetic;
pub mod classify;
pub mod dedup;
pub mod directions;
pub mod errors;
pub mod filters;
pub mod forget;
pub mod invert;
pub mod neighbors;
pub mod one_nn;
pub mod reconstruct;
pub mod walk;
