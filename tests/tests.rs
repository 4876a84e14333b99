//! One binary for all integration tests.
//!
//! - `ops`: every op, on every device, against plain loops in 64 bits
//! - `grad`: every gradient, and its gradient, against central differences
//! - `reference`: layers, losses and penalties against vectors made by PyTorch
//! - `program`: fusion, the memory plan, feeds, states, fetches
//! - `random_programs`: random tapes against the same loops

mod naive;
mod support;

mod grad;
mod ops;
mod program;
mod random_programs;
mod reference;
