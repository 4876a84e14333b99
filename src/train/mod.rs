//! Training loop, run directory, checkpoints, logging.

mod feed;
mod follow;
pub mod health;
#[cfg(feature = "cli")]
pub mod interrupt;
pub mod labeled;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod options;
mod panels;
#[cfg(feature = "cli")]
pub mod plot;
pub mod presets;
#[cfg(feature = "cli")]
pub mod progress;
pub mod report;
pub mod run;
pub mod scores;
pub mod scoring;
mod series;
#[cfg(feature = "cli")]
pub mod session;
mod snapshot;
mod stages;
pub mod tensorboard;
pub mod trainer;
pub mod writer;

pub use crate::gan::{ObjectiveConfig, PartialObjectiveConfig, PartialTrainConfig, TrainConfig};
pub use crate::model::checkpoint::{self, Checkpoint};
pub use crate::model::file::{self as model_file, ModelFile};
pub use crate::model::folder::{self, Folder};
pub use feed::Feed;
pub use follow::follow;
pub use health::{Finding, Health};
pub use labeled::Labeled;
pub use log::LogLine;
pub use metrics::Metrics;
pub use options::{Intervals, PartialIntervals};
pub use presets::{PRESETS, Preset, TrainOptions};
#[cfg(feature = "cli")]
pub use progress::Progress;
pub use run::Run;
pub use scores::Evaluated;
pub use scoring::options::{PartialScoreOptions, ScoreOptions};
pub use snapshot::Snapshot;
pub use stages::{StageState, StageStatus, missing_forerunner};
pub use trainer::{Batch, Images, Position, StageProgress, Trainer, first_images};
