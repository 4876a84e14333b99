//! The range of pixel values in the networks.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

/// The range of pixel values in the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Black is −1, white is 1: generators that end in tanh.
    Signed,
    /// Black is 0, white is 1: generators that end in a sigmoid.
    Unit,
}

impl Pixels {
    /// Bytes converted to this range.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn of_bytes(self, t: &mut Tape, bytes: Var) -> Result<Var> {
        let x = t.from_u8(bytes)?;
        self.of_signed(t, x)
    }

    /// Values in [−1, 1] converted to this range.
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn of_signed(self, t: &mut Tape, x: Var) -> Result<Var> {
        match self {
            Self::Signed => Ok(x),
            Self::Unit => t.affine(x, 0.5, 0.5),
        }
    }

    /// Values in this range converted to [−1, 1].
    ///
    /// # Errors
    /// Errors of recording the ops.
    pub fn to_signed(self, t: &mut Tape, x: Var) -> Result<Var> {
        match self {
            Self::Signed => Ok(x),
            Self::Unit => t.affine(x, 2.0, -1.0),
        }
    }
}
