//! The options of a run: `options.json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Domain, Stored, config, is_default};
use crate::data::{Fingerprint, Prepare, Reading};
use crate::error::{Error, Result};
use crate::gan::families;
use crate::human;
use crate::model::{Networks, Role, Weights, is_bundled};

use super::{ModelFile, ScoreOptions, TrainConfig, Trainer};

/// The first preview after the one of noise; further ones double until the interval is reached.
const FIRST_PREVIEW: u64 = 512;

/// All options of a run: `options.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The name of the preset; the resulting configuration is below.
    #[serde(default = "usual_preset")]
    pub preset: String,
    /// The model whose weights it started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// The hyperparameters.
    #[serde(rename = "recipe")]
    pub config: TrainConfig,
    /// The path of the images; empty for the bundled ones.
    #[serde(default, with = "any_path")]
    pub data: Option<PathBuf>,
    /// What was detected there.
    pub data_description: String,
    /// [`crate::data::Source::fingerprint`]: other images cannot continue the run.
    pub data_fingerprint: Fingerprint,
    /// The file of vectors of its captions, if another program made them.
    #[serde(default, with = "any_path", skip_serializing_if = "Option::is_none")]
    pub text_vectors: Option<PathBuf>,
    /// How they are read: the split, and where the classes come from.
    #[serde(default = "Reading::before")]
    pub data_reading: Reading,
    /// How every image is prepared.
    pub prepare: Prepare,
    /// Real images to see in total.
    pub images: u64,
    /// How often to report, preview and save, and what to keep.
    pub rhythm: Intervals,
    /// When and how the generator is scored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scores: ScoreOptions,
    /// The program's version.
    pub program: String,
    /// The device that the run was started on.
    pub device: String,
}

fn usual_preset() -> String {
    "dcgan".into()
}

/// The model whose weights a run started from, for reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file.
    pub path: String,
    /// Of its bytes, in hexadecimal.
    pub crc32: String,
    /// Training steps behind it; 0 if it was imported.
    pub step: u64,
    /// The networks loaded from it.
    pub networks: Vec<String>,
    /// Whether the generator's EMA was loaded too, rather than initialized from the generator.
    pub average: bool,
}

impl Origin {
    /// Describes a model that was just loaded.
    ///
    /// # Errors
    /// [`Error::File`] if it can no longer be read.
    pub fn of(model: &ModelFile) -> Result<Self> {
        let mut crc = flate2::Crc::new();
        crc.update(&model.bytes()?);
        let path = match is_bundled(&model.path) {
            true => model.path.clone(),
            false => std::path::absolute(&model.path).unwrap_or_else(|_| model.path.clone()),
        };
        let networks = &model.networks;
        let generator = networks.find(Role::Generator).map_or("", |(name, _)| name);
        Ok(Self {
            path: path.display().to_string(),
            crc32: format!("{:08x}", crc.sum()),
            step: model.step,
            networks: networks.iter().map(|(name, _)| name.to_owned()).collect(),
            average: model.used(generator, Weights::default()) == Weights::Averaged,
        })
    }
}

impl std::fmt::Display for Origin {
    /// `model.safetensors, step 500: generator with its moving average, discriminator`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path)?;
        if self.step > 0 {
            write!(f, ", step {}", self.step)?;
        }
        let average = if self.average { " and its moving average" } else { "" };
        let name = |name: &String| match name.as_str() {
            "generator" => format!("generator{average}"),
            name => name.to_owned(),
        };
        write!(f, ": {}", self.networks.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

config! {
    /// Intervals in real images seen, what to write, and what to keep. Does not affect the results.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Intervals;
    /// [`Intervals`] with optional fields.
    pub struct PartialIntervals stored Required;
    flags "Output" {
        /// Real images from one line of progress and log.jsonl to the next; 0 for the last one alone
        report_every: u64 = 640, "COUNT" { domain: Domain::Count };
        /// The same for previews (fakes-*.png); the first ones come sooner
        preview_every: u64 = 6400, "COUNT" { domain: Domain::Count, alias: Some("every") };
        /// The same for checkpoints
        save_every: u64 = 6400, "COUNT" { domain: Domain::Count };
        /// Also write event files for TensorBoard: numbers, previews and options
        tensorboard: bool = false, "true|false" { stored: Stored::Changed };
        /// Newest checkpoints to keep
        keep: usize = 2, "N" { rare: true, domain: Domain::from(1) };
        /// Of the older checkpoints keep one for every COUNT images; 0 for none
        ///
        /// The first at or after every multiple of it.
        keep_every: u64 = 0, "COUNT" { rare: true, domain: Domain::Count };
    }
}

impl Intervals {
    /// Whether a report is due between `before` and `now` images.
    #[must_use]
    pub fn reports(&self, before: u64, now: u64) -> bool {
        due(before, now, self.report_every)
    }

    /// The same for previews, which come early and often at first.
    #[must_use]
    pub fn previews(&self, before: u64, now: u64) -> bool {
        preview_due(before, now, self.preview_every)
    }

    /// The same for checkpoints.
    #[must_use]
    pub fn saves(&self, before: u64, now: u64) -> bool {
        due(before, now, self.save_every)
    }
}

/// Whether an event with interval `every` is due between `before` and `now`; 0 for never.
pub(super) fn due(before: u64, now: u64, every: u64) -> bool {
    now.checked_div(every) > before.checked_div(every)
}

/// The same for previews, which come early and often at first.
fn preview_due(before: u64, now: u64, every: u64) -> bool {
    let doubled = |&early: &u64| early.checked_mul(2);
    let mut early = std::iter::successors(Some(FIRST_PREVIEW), doubled).take_while(|&e| e < every);
    early.any(|early| before < early && early <= now) || due(before, now, every)
}

/// A path as JSON: text, or its bytes if it is not valid text.
pub(super) mod any_path {
    use std::path::PathBuf;

    #[cfg(not(unix))]
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    #[derive(Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(in crate::train) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let written = path.as_ref().map(|path| match path.to_str() {
            Some(text) => Written::Text(text.to_owned()),
            None => Written::Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
        });
        written.serialize(to)
    }

    pub(in crate::train) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(match Option::<Written>::deserialize(from)? {
            None => None,
            Some(Written::Text(text)) => Some(text.into()),
            #[cfg(unix)]
            Some(Written::Bytes(bytes)) => {
                let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
                Some(name.into())
            }
            #[cfg(not(unix))]
            Some(Written::Bytes(_)) => return Err(D::Error::custom("a path of another system")),
        })
    }
}

impl RunOptions {
    /// Validates all options and their combination.
    ///
    /// # Errors
    /// See [`TrainConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        let Self { config, images, .. } = self;
        self.prepare.check()?;
        self.scores.validate()?;
        if config.decay > 0 && config.decay_to == 0.0 && *images > config.decay {
            let what = format!(
                "the learning rates are 0 after {} images, and `images` asks for {images}: give \
                 both the same number",
                config.decay
            );
            return Err(Error::config("decay", what));
        }
        config.validate()
    }
}

/// What a training is: its data, networks, hyperparameters, device and memory, each with its name.
#[must_use]
pub fn facts(options: &RunOptions, trainer: &Trainer) -> Vec<(&'static str, String)> {
    let config = &options.config;
    let model = &config.model;
    let classes = match model.classes {
        classes if model.is_semi_supervised() => {
            format!(
                ", {} of each of {classes} classes",
                human::plural(config.labels_per_class, "label")
            )
        }
        0 => String::new(),
        classes => format!(", conditional on {classes} classes"),
    };
    let stages = trainer.system().stages.iter().filter_map(|stage| {
        let images = families::stage_images(config, &stage.name)?;
        Some(format!("{} {}", stage.name, human::count(images)))
    });
    let stages: Vec<String> = stages.collect();
    let mut facts = vec![
        ("data", options.data_description.clone()),
        (
            "networks",
            format!(
                "{} {}x{}x{}, nz {}{classes}; {} parameters",
                model.network,
                model.size.height,
                model.size.width,
                model.channels,
                trainer.system().model.nz,
                learned(&trainer.system().model)
            ),
        ),
        (
            "training",
            format!(
                "{} in batches of {}, seed {}",
                human::counted(options.images, "image"),
                config.batch,
                config.seed
            ),
        ),
        ("device", options.device.clone()),
        (
            "memory",
            format!(
                "{} planned ({} of them state)",
                human::bytes(trainer.memory().total()),
                human::bytes(trainer.memory().states)
            ),
        ),
    ];
    if !stages.is_empty() {
        facts.insert(3, ("stages", stages.join(", ")));
    }
    facts
}

/// The first lines of a training: its [`facts`].
#[must_use]
pub fn header(options: &RunOptions, trainer: &Trainer) -> String {
    let lines = facts(options, trainer);
    lines.into_iter().map(|(name, fact)| format!("{name:<10}{fact}")).collect::<Vec<_>>().join("\n")
}

/// `G 3.6M, D 2.8M and E 2.9M`: the number of trainable parameters of each network.
fn learned(networks: &Networks) -> String {
    let each = networks.iter().map(|(name, net)| {
        let short = match name == net.role.name() {
            true => name[..1].to_uppercase(),
            false => name.to_owned(),
        };
        format!("{short} {}", human::count(networks.learned(name) as u64))
    });
    let mut all: Vec<String> = each.collect();
    match all.pop() {
        Some(last) if all.is_empty() => last,
        Some(last) => format!("{} and {last}", all.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gan::Family;
    use crate::train::ObjectiveConfig;

    #[test]
    fn every_network_is_counted() {
        let of = |family| {
            let objective = ObjectiveConfig { family, ..ObjectiveConfig::default() };
            let networks = TrainConfig { objective, ..TrainConfig::default() }.networks();
            learned(&networks.expect("a usual recipe"))
        };
        assert_eq!(of(Family::Gan), "G 3.6M and D 2.8M");
        assert_eq!(of(Family::Vae), "G 3.6M and E 4.4M");
        assert_eq!(of(Family::VaeGan), "G 3.6M, D 2.8M and E 4.4M");
    }

    #[test]
    fn previews_come_early_then_regularly() {
        let steps: Vec<u64> = (0..40_000).step_by(64).collect();
        let previews: Vec<u64> =
            steps.windows(2).filter(|w| preview_due(w[0], w[1], 10_000)).map(|w| w[1]).collect();
        assert_eq!(previews, [512, 1024, 2048, 4096, 8192, 10_048, 20_032, 30_016]);
        assert!(!due(0, 64, 100) && due(64, 128, 100) && due(64, 1000, 100));
        assert!(!due(0, u64::MAX, 0) && !preview_due(0, u64::MAX, 0), "0 is for never");
        assert!(preview_due(0, 512, u64::MAX) && !preview_due(513, 514, u64::MAX));
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_comes_back() {
        use std::os::unix::ffi::OsStringExt as _;
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Options {
            #[serde(with = "any_path")]
            data: Option<PathBuf>,
        }
        let odd = std::ffi::OsString::from_vec(b"/data/\xff\xfe set".to_vec());
        for data in [None, Some(PathBuf::from("/data/a set")), Some(odd.into())] {
            let options = Options { data };
            let json = serde_json::to_string(&options).expect("any path can be written");
            assert_eq!(serde_json::from_str::<Options>(&json).expect("what was written"), options);
        }
        let json = serde_json::to_string(&Options { data: Some("/data/a set".into()) });
        assert_eq!(json.expect("text"), r#"{"data":"/data/a set"}"#);
    }
}
