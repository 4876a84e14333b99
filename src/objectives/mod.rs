//! The training objectives of the two networks: losses of the discriminator's scores, gradient
//! penalties, and terms of the weights. Any loss can be combined with any penalty and network.

mod loss;
mod penalty;
mod weights;

pub use loss::{Loss, Output, bce_with_logits, cross_entropy, log_sum_exp};
pub use penalty::{Penalized, Penalty};
pub use weights::{historical_averaging, historical_mean, orthogonal, weight_decay};
