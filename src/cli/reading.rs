//! Flags of commands that read sets of images: which part of a set, and what its classes are.

use std::path::Path;

use clap::Args;

use crate::data::{Part, Reading, Source};
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
    pub(super) fn open(self, data: &Path, part: Part) -> Result<Source> {
        let reading = |part| Reading { part, class_level: self.class_level, before: false };
        let source = Source::open_as(Some(data), &reading(Some(part)))
            .or_else(|_| Source::open_as(Some(data), &reading(None)))?;
        tell_notes(&source);
        Ok(source)
    }

    /// Opens the test part of a set, which must have one.
    pub(super) fn open_test(self, data: &Path) -> Result<Source> {
        let reading =
            Reading { part: Some(Part::Test), class_level: self.class_level, before: false };
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
        let Some(old) = old else { return Ok(Reading { part, class_level, before: false }) };
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
