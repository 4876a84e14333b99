//! The DCGAN paper's experiments on trained networks (arXiv 1511.06434, sections 5 and 6), as
//! functions of latents and pictures; `crate::cli` makes figures of them.

pub mod classify;
