//! Training and what surrounds it: run folders, checkpoints, the log, and what is told on the way.

pub mod checkpoint;
pub mod draws;
pub mod folder;
pub mod health;
#[cfg(feature = "cli")]
pub mod interrupt;
pub mod labelled;
pub mod log;
pub mod method;
pub mod metrics;
pub mod model_file;
pub mod options;
#[cfg(feature = "cli")]
pub mod plot;
pub mod presets;
#[cfg(feature = "cli")]
pub mod progress;
pub mod recipe;
pub mod run;
pub mod scale;
mod schedule;
#[cfg(feature = "cli")]
pub mod session;
pub mod step;
pub mod trainer;
mod validate;
pub mod writer;

pub use checkpoint::Checkpoint;
pub use folder::Folder;
pub use health::{Finding, Health};
pub use labelled::Labelled;
pub use log::LogLine;
pub use method::{Method, MethodOptions};
pub use metrics::Metrics;
pub use model_file::ModelFile;
pub use options::{Rhythm, RhythmOptions};
pub use presets::{PRESETS, Preset, TrainOptions};
#[cfg(feature = "cli")]
pub use progress::Progress;
pub use recipe::{Recipe, RecipeOptions};
pub use run::Run;
pub use trainer::{Trainer, first_pictures};
