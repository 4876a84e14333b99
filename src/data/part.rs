//! The parts of a set: for training, and held out.

use serde::{Deserialize, Serialize};

use super::table::LabelTable;
use crate::config::{is_default, named};

/// Which part of a set that comes in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The training part: of image files those below a folder named `train`, `training`, `train_set`,
    /// `train2017` or the like.
    Train,
    /// The test part: of image files those below a folder named `test`, `testing` or the like, or,
    /// where there is none, `val`, `valid`, `validation`, `dev` or `eval`.
    Test,
    /// All there is.
    All,
}
named!(Part);

/// How a set is read: which part of it, and what its classes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which part; `None` for the training part if another is held out, else for all.
    pub part: Option<Part>,
    /// Which level of folders is the classes, from 1 below DATA; `None` for what the set itself
    /// specifies, or the first level that tells its images apart.
    pub class_level: Option<usize>,
    /// A table that has the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelTable>,
    /// As it was before parts and levels were known, for runs that were started then: all image files,
    /// classes by the innermost folder, every number up to the largest label a class.
    #[serde(default, skip_serializing_if = "is_default")]
    pub before: bool,
}

impl Reading {
    /// Of a part.
    #[must_use]
    pub fn of(part: Part) -> Self {
        Self { part: Some(part), ..Self::default() }
    }

    /// How sets were read before parts and levels were known.
    #[must_use]
    pub fn before() -> Self {
        Self { before: true, ..Self::default() }
    }
}

/// Words that say in a folder's name which part it holds.
const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 2] = ["test", "testing"];
const VALIDATION: [&str; 6] = ["val", "valid", "validation", "dev", "eval", "evaluation"];

/// Words that stand beside them and say no more, as in `train_set`, `val2017` and `trainA`.
const FILLERS: [&str; 12] = [
    "set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "seg", "split", "a",
    "b",
];

/// What a folder named so holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Train,
    Test,
    Validation,
}

fn side_of(folder: &str) -> Option<Side> {
    let mut side = None;
    for word in words(folder) {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        let said = match () {
            () if is(&TRAIN) => Side::Train,
            () if is(&TEST) => Side::Test,
            () if is(&VALIDATION) => Side::Validation,
            () if is(&FILLERS) => continue,
            // Another word says that it is something else: a test tube.
            () => return None,
        };
        if side.replace(said).is_some() {
            return None;
        }
    }
    side
}

/// The words of a folder's name: runs of letters, of which a capital behind a small one begins anew.
fn words(folder: &str) -> impl Iterator<Item = &str> {
    let runs = folder.split(|c: char| c.is_ascii_digit() || " _-.".contains(c));
    runs.flat_map(|run| {
        let small = |at: usize| run[..at].ends_with(|c: char| c.is_lowercase());
        let cut = run.char_indices().find(|&(at, c)| c.is_uppercase() && small(at));
        let (word, more) = run.split_at(cut.map_or(run.len(), |(at, _)| at));
        [word, more].into_iter().filter(|word| !word.is_empty())
    })
}

/// The folders that a name leads to, from the outermost.
pub(super) fn folders(name: &str) -> impl Iterator<Item = &str> {
    let (outer, inner) = container(name).unwrap_or(("", name));
    let folders = |name: &'_ str| name.rfind('/').unwrap_or(0);
    let (outer, inner) = (&outer[..folders(outer)], &inner[..folders(inner)]);
    let mut path = Vec::new();
    for part in outer.split('/').chain(inner.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.into_iter()
}

fn side(name: &str) -> Option<Side> {
    folders(name).find_map(side_of).or_else(|| side_of_container(container(name)?.0))
}

/// What a file of images named so holds, by any word of its name: `imagenet-train-000001.tar`,
/// `test-00000-of-00001.parquet`.
fn side_of_container(file: &str) -> Option<Side> {
    let file = file.rsplit('/').next().unwrap_or(file);
    words(file).find_map(side_of)
}

/// Endings of files that hold the images of a set, or a part of them.
const CONTAINERS: [&str; 6] = ["tar", "tgz", "gz", "parquet", "mdb", "lmdb"];

/// The file that an image lies in with others, and its name in there: `a/b.tar` and `c/d.png` of
/// `a/b.tar:c/d.png`.
pub(super) fn container(name: &str) -> Option<(&str, &str)> {
    name.match_indices(':').map(|(at, _)| (&name[..at], &name[at + 1..])).find(|(outer, _)| {
        let ending = outer.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        ending.is_some_and(|ending| CONTAINERS.contains(&ending.as_str()))
    })
}

/// The parts of a list of image files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    train: usize,
    test: usize,
    validation: usize,
}

impl Parts {
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut parts = Self::default();
        for name in names {
            match side(name) {
                Some(Side::Train) => parts.train += 1,
                Some(Side::Test) => parts.test += 1,
                Some(Side::Validation) => parts.validation += 1,
                None => {}
            }
        }
        parts
    }

    /// Whether there is something to train on and something that is held out.
    pub(super) fn are_there(self) -> bool {
        self.train > 0 && self.test + self.validation > 0
    }

    /// Images that are held out.
    pub(super) fn held_out(self) -> usize {
        self.test + self.validation
    }

    /// Whether a file belongs to a part.
    pub(super) fn has(self, part: Part, name: &str) -> bool {
        match part {
            Part::All => true,
            Part::Train => side(name) == Some(Side::Train),
            Part::Test if self.test > 0 => side(name) == Some(Side::Test),
            Part::Test => side(name) == Some(Side::Validation),
        }
    }

    /// The folders of a name that may be classes, each with its level from 1: all but the one that
    /// says which part it is.
    pub(super) fn class_folders(self, name: &str) -> impl Iterator<Item = (usize, &str)> {
        let mut found = !self.are_there();
        (1..).zip(folders(name)).filter(move |(_, folder)| {
            let is_part = !found && side_of(folder).is_some();
            found |= is_part;
            !is_part
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_folders_of_which_there_are_two() {
        let parts = |names: &[&str]| Parts::of(names.iter().copied());
        let both = parts(&["x/Train/a/1.png", "x/test/a/1.png", "x/val/a/1.png", "0.png"]);
        assert_eq!(both, Parts { train: 1, test: 1, validation: 1 });
        assert!(both.are_there());
        assert!(both.has(Part::Train, "TRAINING/1.png") && !both.has(Part::Train, "train.png"));
        assert!(both.has(Part::Test, "a/test/1.png") && !both.has(Part::Test, "val/1.png"));
        let folders: Vec<_> = both.class_folders("x//test/./test/1.png").collect();
        assert_eq!(folders, [(1, "x"), (3, "test")]);

        let validation = parts(&["train/1.png", "val/1.png"]);
        assert!(validation.are_there() && validation.has(Part::Test, "val/1.png"));

        // A class of locomotives.
        let vehicles = parts(&["bus/1.png", "train/1.png"]);
        assert!(!vehicles.are_there());
        assert_eq!(vehicles.class_folders("train/1.png").next(), Some((1, "train")));
    }
}
