//! `dcgan stages`: how far the stages of a training have come.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::Result;
use crate::human;
use crate::train::StageStatus;

use super::flags::JsonFlag;
use super::latents::open_model;
use super::output::{Align, table};

/// Print which stages of a training are done, running and to come
///
/// For trainings in stages, such as those of the preset stacked. A run that is being trained can be read
/// too: as of its newest checkpoint.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dcgan stages runs/00000-stacked-mnist-28\n  dcgan train mnist/ \
                        --preset stacked --stage g1 --from runs/00000-stacked-mnist-28"
)]
pub(super) struct Stages {
    /// A run's folder, or a checkpoint
    #[arg(value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    stages: Vec<StageStatus>,
}

impl Stages {
    pub(super) fn run(&self) -> Result<()> {
        let model = open_model(&self.run)?;
        let stages = StageStatus::all(&model)?;
        let head = ["stage", "state", "images", "of", "builds on"].map(str::to_owned);
        let row = |stage: &StageStatus| {
            vec![
                stage.name.clone(),
                stage.state.to_string(),
                human::count(stage.images),
                human::count(stage.planned),
                stage.needs.join(", "),
            ]
        };
        let rows: Vec<Vec<String>> =
            std::iter::once(head.into()).chain(stages.iter().map(row)).collect();
        let align = [Align::Left, Align::Left, Align::Right, Align::Right, Align::Left];
        self.json.print(&table(&align, &rows))?;
        let model = model.path.display().to_string();
        self.json.report(&Report { model, stages })
    }
}
