//! Flags of commands that read sets of images: which part of a set, and what its classes are.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::data::{LabelTable, Part, Reading, Source};
use crate::error::{Error, Result};

use super::flags::at_least;
use super::options::spell;
use super::output::tell;

/// `--part`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct PartFlag {
    /// Which part of DATA to use, if it has a training and a test part: folders named train and
    /// test (or val), train_set and val2017, and the like, or the files of IDX and CIFAR-10
    /// [default: train if there are both, else all]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "PART")]
    pub(super) part: Option<Part>,
}

/// `--class-level`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct ClassFlag {
    /// Level of folders that are the classes: 1 is the first below DATA [default: dataset.json if
    /// there is one, else the first level that separates images, apart from train and test]
    #[arg(long, value_name = "N", value_parser = at_least(1))]
    pub(super) class_level: Option<usize>,
}

/// `--labels` and `--label-column`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Images")]
pub(super) struct LabelFlags {
    /// Table with the class of each image: CSV with a column of file names, or an attribute file
    /// as of CelebA (list_attr_celeba.txt) [default: labels that DATA has itself, else its folders]
    #[arg(long, value_name = "FILE", conflicts_with = "class_level")]
    labels: Option<PathBuf>,
    /// Column of --labels that has the classes [default: the only one beside the file names]
    #[arg(long, value_name = "NAME", requires = "labels")]
    label_column: Option<String>,
}

impl LabelFlags {
    /// The table that is meant, if any.
    pub(super) fn table(&self) -> Option<LabelTable> {
        let column = self.label_column.clone();
        self.labels.clone().map(|file| LabelTable { file, column })
    }

    /// Adds the table to how a set is read; with that of a resumed run it must agree.
    pub(super) fn add(&self, reading: Reading, resumed: bool) -> Result<Reading> {
        let Some(mut table) = self.table() else { return Ok(reading) };
        if resumed {
            table.file = std::path::absolute(&table.file).unwrap_or(table.file);
            if reading.labels != Some(table) {
                let what = "the run was started with other labels; leave the flag out, or start a new \
                            run without --resume";
                return Err(Error::flag("--labels", what));
            }
            return Ok(reading);
        }
        Ok(Reading { labels: Some(table), ..reading })
    }
}

/// Both.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Images")]
pub(super) struct ReadingFlags {
    #[command(flatten)]
    pub(super) part: PartFlag,
    #[command(flatten)]
    pub(super) class: ClassFlag,
}

impl PartFlag {
    /// Opens a set whose classes do not matter, and prints its notes.
    pub(super) fn open(self, data: Option<&Path>) -> Result<Source> {
        ReadingFlags { part: self, class: ClassFlag::default() }.open(data)
    }
}

impl ClassFlag {
    /// Opens the part of a set that a command wants, or all of it where it has no parts.
    pub(super) fn open(self, data: &Path, part: Part, labels: &LabelFlags) -> Result<Source> {
        let class_level = self.class_level;
        let reading =
            |part| Reading { part, class_level, labels: labels.table(), ..Reading::default() };
        let source = Source::open_as(Some(data), &reading(Some(part)))
            .or_else(|_| Source::open_as(Some(data), &reading(None)))?;
        tell_notes(&source);
        Ok(source)
    }

    /// Opens the test part of a set, which must have one.
    pub(super) fn open_test(self, data: &Path) -> Result<Source> {
        let class_level = self.class_level;
        let reading = Reading { part: Some(Part::Test), class_level, ..Reading::default() };
        Source::open_as(Some(data), &reading)
    }
}

impl ReadingFlags {
    /// Opens a set and prints its notes.
    pub(super) fn open(self, data: Option<&Path>) -> Result<Source> {
        let source = Source::open_as(data, &self.reading(None)?)?;
        tell_notes(&source);
        Ok(source)
    }

    /// How to read a set; for a resumed run as before, with which the flags must agree.
    pub(super) fn reading(self, old: Option<Reading>) -> Result<Reading> {
        let (part, class_level) = (self.part.part, self.class.class_level);
        let Some(old) = old else {
            return Ok(Reading { part, class_level, ..Reading::default() });
        };
        let another = |flag, was: String| {
            let what = format!(
                "the run was started with {was}; leave the flag out, or start a new run without \
                 --resume"
            );
            Err(Error::flag(flag, what))
        };
        if part.is_some_and(|part| old.part != Some(part)) {
            return another("--part", old.part.unwrap_or(Part::All).to_string());
        }
        if class_level.is_some() && class_level != old.class_level {
            let was = old.class_level.map_or("no level of folders given".into(), |n| n.to_string());
            return another("--class-level", was);
        }
        Ok(old)
    }
}

/// Writes a set's notes to standard error.
pub(super) fn tell_notes(source: &Source) {
    for note in source.notes() {
        tell!("note: {}", spell(note));
    }
}
