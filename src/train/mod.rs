//! Training and what surrounds it: run folders, checkpoints, the log, and what is told on the way.

pub mod checkpoint;
pub mod draws;
pub mod folder;
pub mod health;
pub mod interrupt;
pub mod labelled;
pub mod log;
pub mod method;
pub mod model_file;
pub mod options;
pub mod plot;
pub mod progress;
pub mod run;
pub mod scale;
mod schedule;
pub mod session;
pub mod step;
pub mod trainer;
pub mod writer;

pub use checkpoint::Checkpoint;
pub use folder::Folder;
pub use health::{Finding, Health};
pub use labelled::Labelled;
pub use log::LogLine;
pub use method::Method;
pub use model_file::ModelFile;
pub use progress::Progress;
pub use run::Run;
pub use trainer::{Metrics, Recipe, Trainer, first_pictures};
