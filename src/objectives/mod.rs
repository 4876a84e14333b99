//! What the two networks minimize: losses of the discriminator's scores, penalties on its slopes,
//! and terms of the weights themselves. Any loss goes with any penalty and any network.

mod loss;
mod penalty;
mod weights;

pub use loss::{Loss, Output, bce_with_logits, cross_entropy, log_sum_exp};
pub use penalty::{Penalized, Penalty};
pub use weights::{historical_averaging, historical_mean, orthogonal, weight_decay};
