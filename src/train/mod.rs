//! Training and what surrounds it: run folders, checkpoints, the log, and what is told on the way.

pub mod checkpoint;
pub mod folder;
pub mod health;
pub mod interrupt;
pub mod log;
pub mod plot;
pub mod progress;
pub mod run;
pub mod step;

pub use checkpoint::Checkpoint;
pub use folder::Folder;
pub use health::{Finding, Health};
pub use log::LogLine;
pub use progress::Progress;
pub use run::Run;
