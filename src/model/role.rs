//! The role of a network in a model.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of a network. Reports, exports and checks of a description depend on it; how a network
/// is trained does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// From latents to images.
    Generator,
    /// From images to a logit or score.
    Discriminator,
    /// From images to latents.
    Encoder,
    /// From latents to images, for latents of an encoder.
    Decoder,
    /// From images to the logits of classes.
    Classifier,
}

impl Role {
    /// All roles, in the order of reports.
    pub const ALL: [Self; 5] =
        [Self::Generator, Self::Discriminator, Self::Encoder, Self::Decoder, Self::Classifier];

    /// Its name, which is also the usual name of a network of this role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Discriminator => "discriminator",
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::Classifier => "classifier",
        }
    }

    /// Whether its input is a latent vector; else it is an image.
    #[must_use]
    pub const fn takes_latents(self) -> bool {
        matches!(self, Self::Generator | Self::Decoder)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
