//! Training systems: the networks, and the computations of a training step.
//!
//! | noun | what it is |
//! | --- | --- |
//! | [`System`] | networks by name, and the stages that train them |
//! | [`Stage`] | phases that end in a model others can start from |
//! | [`Phase`] | what one step records, at what batch and rates, and for how long |
//! | [`Update`] | losses that are minimized over the parameters of some networks |
//! | [`Step`] | a step being recorded: used by a family's functions |
//!
//! A **family** is a file in [`families`]: it names its networks and records a step. A step is a
//! list of groups of updates. Within a group all gradients are taken before anything is assigned;
//! groups run in order, so a later one reads what an earlier one assigned:
//!
//! ```text
//! let mut d = step.update(t, "discriminator", "lr_d")?;   // the parameters, as they are now
//! d.minimize(t, loss)?;                                   // gradients are taken here …
//! step.apply(t, [d])?;                                    // … and assigned here
//! ```

pub mod config;
pub mod draws;
pub mod families;
pub mod objective;
pub mod scalar;
pub mod scale;
mod stages;
mod states;
mod step;
mod system;
mod update;
pub(crate) mod validate;

pub use config::{PartialTrainConfig, TrainConfig};
pub use objective::{Family, ObjectiveConfig, PartialObjectiveConfig};
pub use scalar::{Curve, Scalar};
pub use stages::{StageImages, StageName};
pub use step::{Recorded, Recording, Step};
pub use system::{At, Edit, Phase, Recorder, Stage, System};
pub use update::Update;
