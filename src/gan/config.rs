//! Training configuration.

use crate::config::Stored::Required;
use crate::config::{Domain, config};
use crate::error::{Error, Result};
use crate::gan::{Recording, System, families};
use crate::models::{ClassCondition, Conditioning, ModelConfig, Networks, PartialModelConfig};
use crate::program::Precision;
use crate::tape::Tape;
use crate::text::TextEncoder;

use super::objective::{ObjectiveConfig, PartialObjectiveConfig};
use super::stages::{StageImages, StageName};

config! {
    /// All hyperparameters of a training: with the images and the device, they determine its
    /// results.
    #[derive(Clone, Debug, PartialEq)]
    pub struct TrainConfig;
    /// [`TrainConfig`] with optional fields.
    pub struct PartialTrainConfig stored Changed;
    nested {
        /// The networks.
        model: ModelConfig as PartialModelConfig;
    }
    flat {
        /// How the networks are trained.
        objective: ObjectiveConfig as PartialObjectiveConfig;
    }
    flags "Training" {
        /// Images in a batch, at least 2
        batch: usize = 64, "N" {
            stored: Required,
            domain: Domain::from(2),
            shown: Some("64; dcgan-paper and dcgan-mnist: 128; mlp: 100"),
            order: Some(1),
        };
        /// Random seed
        ///
        /// For initial weights, latents, the order of images, flips and crops.
        seed: u64 = 0, "N" {
            stored: Required,
            domain: Domain::Whole(0, u64::MAX),
            order: Some(2),
        };
        /// The generator's learning rate
        lr_g: f64 = 2e-4, "RATE" { stored: Required, domain: RATES, order: Some(3) };
        /// The discriminator's learning rate
        lr_d: f64 = 2e-4, "RATE" { stored: Required, domain: RATES, order: Some(4) };
        /// Warm up the learning rates from 0 over this many images; 0 disables it
        warm_up: u64 = 0, "COUNT" { rare: true, domain: Domain::Count };
        /// Decay the learning rates linearly to 0 until this many images were seen; 0 disables it
        decay: u64 = 0, "COUNT" { rare: true, domain: Domain::Count };
        /// With `decay`, decay the learning rates to RATE instead of 0, and then keep it
        decay_to: f64 = 0.0, "RATE" { rare: true, domain: Domain::NonNegative };
        /// With `decay`, the curve's exponent: below 1 the rates fall fastest at the start, above
        /// it at the end; 1 for a straight line
        decay_power: f64 = 1.0, "EXPONENT" { rare: true, domain: Domain::Positive("0.75") };
        /// With `optimizer` sgd, let the momentum rise linearly from `beta1` to this value
        momentum_to: f64 = 0.0, "BETA" { rare: true, domain: Domain::Fraction };
        /// Over this many images; 0 for a constant momentum
        momentum_rise: u64 = 0, "COUNT" { rare: true, domain: Domain::Count };
        /// For a training in stages (`family` stacked, stackgan, progressive, lapgan): train this stage alone, from a model in which the
        /// stages before it are done; else all stages in turn
        stage: StageName = StageName::default(), "NAME" { rare: true, shown: Some("all in turn") };
        /// For the same: real images for which stages are trained, such as encoder=300k,g1=1M; the last
        /// one goes on until all images were seen
        stage_images: StageImages = StageImages::default(), "LIST" { rare: true,
            shown: Some("those of the family"),
        };
        /// Half-life of the generator's moving average (EMA), in images; 0 for none
        ema: u64 = 10_000, "COUNT" { stored: Required, domain: Domain::Count };
        /// How a GPU keeps activations and their gradients: in 16 bits they take half the memory and
        /// half the traffic; arithmetic and parameters stay in 32, and losses are scaled
        precision: Precision = Precision::F32, "f32|f16" { rare: true };
    }
    flags "Networks" {
        /// Semi-supervised: use N labels of each class of DATA, and no others; the discriminator learns
        /// to classify, which dcgan errors measures
        labels_per_class: u64 = 0, "N" { rare: true,
            domain: Domain::Count,
            shown: Some("0, none"),
            order: Some(3),
        };
    }
    others {
        /// The class names that the networks know, by label; empty if there are no classes, or they
        /// are named by their numbers.
        classes: Vec<String> = Vec::new(), { flag: Some("--conditional") };
        /// Makes vectors of texts, for networks conditioned on them; empty if they are not.
        text: TextEncoder = TextEncoder::default(), { flag: Some("--family") };
    }
}

/// Learning rates.
const RATES: Domain = Domain::Positive("0.0002 or 2e-4");

impl PartialTrainConfig {
    /// How new networks are conditioned on classes or learn them from few labels, if at all.
    ///
    /// # Errors
    /// [`Error::Config`] if both are set.
    pub fn conditioning(&self) -> Result<Option<Conditioning>> {
        let few = self.labels_per_class.is_some_and(|n| n > 0);
        let conditional = self.model.conditional.and_then(ClassCondition::conditioning);
        if few && conditional.is_some() {
            let what = "the networks are either conditioned on every class or learn them from few \
                        labels: leave this or `labels_per_class` out";
            return Err(Error::config("conditioning", what));
        }
        Ok(conditional.or(few.then_some(Conditioning::Semi)))
    }

    /// The configuration of these networks with these options; unset ones get the network's
    /// defaults.
    #[must_use]
    pub fn of(&self, model: ModelConfig) -> TrainConfig {
        let mut config =
            TrainConfig { objective: self.objective.objective(), ..TrainConfig::new(model) };
        self.apply(&mut config);
        config
    }

    /// The configuration of new networks with these options; unset ones get the network's defaults.
    /// For networks with classes the kind of conditioning is set, but not the number of classes:
    /// the data determine `model.classes`.
    ///
    /// # Errors
    /// See [`PartialTrainConfig::conditioning`].
    pub fn config(&self) -> Result<TrainConfig> {
        let conditioning = self.conditioning()?.unwrap_or_default();
        Ok(self.of(ModelConfig { conditioning, ..self.model.config() }))
    }
}

/// The length of such vectors.
const ANY_TEXT: usize = 1024;

/// The most images of a step or training: integers up to here are exact in 64-bit floats.
const LARGEST: usize = 1 << 28;
const MOST_SEEN: u64 = 1 << 53;

impl TrainConfig {
    /// A network's configuration with default settings.
    #[must_use]
    pub fn new(model: ModelConfig) -> Self {
        Self { batch: model.network.batch(), model, ..Self::default() }
    }

    /// The same for measurements and checks without captions: a family that needs texts gets an
    /// encoder of words that mean nothing.
    #[must_use]
    pub fn with_any_text(self) -> Self {
        if !self.objective.family.has_text() || self.model.text > 0 {
            return self;
        }
        let text = TextEncoder::of_width(ANY_TEXT);
        Self { model: ModelConfig { text: text.width(), ..self.model }, text, ..self }
    }

    /// Real images that one step sees.
    #[must_use]
    pub fn step_images(&self) -> usize {
        self.batch * self.objective.n_critic
    }

    /// Real images in `steps` steps; `None` on overflow, a sign of invalid numbers.
    #[must_use]
    pub fn seen(&self, steps: u64) -> Option<u64> {
        let batch = self.batch.checked_mul(self.objective.n_critic).filter(|&n| n <= LARGEST)?;
        steps.checked_mul(batch as u64).filter(|&n| n < MOST_SEEN)
    }

    /// Both networks in full, with the names of their classes.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is invalid, or the number of class names is wrong.
    pub fn networks(&self) -> Result<Networks> {
        let networks = families::networks(self)?;
        if self.classes.is_empty() {
            return Ok(networks);
        }
        if self.classes.len() != self.model.classes {
            let what = format!("{} classes have {} names", self.model.classes, self.classes.len());
            return Err(Error::config("classes", what));
        }
        match self.model.is_conditional() {
            true => Ok(Networks { classes: self.classes.clone(), ..networks }),
            false => Ok(networks),
        }
    }

    /// The networks and the phases that train them.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is invalid, or its options cannot be combined.
    pub fn system(&self) -> Result<System> {
        self.validate()?;
        families::system(self, self.networks()?)
    }

    /// The steps of all phases as tapes, in order.
    ///
    /// # Errors
    /// See [`TrainConfig::system`].
    pub fn tapes(&self) -> Result<Vec<Tape>> {
        let system = self.system()?;
        let phases = system.stages.iter().flat_map(|stage| &stage.phases);
        phases
            .map(|phase| {
                let mut tape = Tape::new();
                system.record(&mut tape, phase, Recording::default())?;
                Ok(tape)
            })
            .collect()
    }

    /// The first step as a tape.
    ///
    /// # Errors
    /// See [`TrainConfig::system`].
    pub fn tape(&self) -> Result<Tape> {
        self.system()?.tape(Recording::default())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::models::Architecture;
    use crate::objectives::Loss;

    /// Files written by versions 0.1.
    const OLD: [&str; 3] = [
        r#"{"model":{"network":"dcgan","size":{"height":16,"width":16},"channels":3,"nz":100,"ngf":8,
            "ndf":8},"batch":8,"seed":0,"lr_d":0.0002,"lr_g":0.0002,"loss":"non-saturating",
            "smooth":0.0,"beta1":0.5,"beta2":0.999,"ema":10000}"#,
        r#"{"model":{"network":"resnet","size":{"height":32,"width":32},"channels":3,"nz":128,"ngf":8,
            "ndf":8,"classes":2,"conditioning":"projection","norm_g":"conditional","norm_d":"none",
            "weight_d":"spectral"},"batch":64,"seed":1,"lr_d":0.0002,"lr_g":0.0002,"warm_up":100,
            "loss":"hinge","smooth":0.0,"class_weight":2.0,"n_critic":5,"optimizer":"rmsprop",
            "beta1":0.0,"beta2":0.9,"epsilon":0.5,"ema":0,"classes":["cat","dog"]}"#,
        r#"{"model":{"network":"mlp","size":{"height":28,"width":28},"channels":1,"nz":100,"ngf":500,
            "ndf":1000,"classes":10,"conditioning":"semi","norm_d":"none","codes":"0+2"},"batch":100,
            "seed":0,"lr_d":0.003,"lr_g":0.003,"loss":"non-saturating","smooth":0.0,
            "feature_matching":true,"augment":"color,cutout","augment_p":0.5,"beta1":0.5,"beta2":0.999,
            "ema":693000,"labels_per_class":10,"precision":"f16"}"#,
    ];

    #[test]
    fn files_are_read_and_written_as_before() {
        for old in OLD {
            let config: TrainConfig = serde_json::from_str(old).unwrap();
            let before: serde_json::Value = serde_json::from_str(old).unwrap();
            assert_eq!(serde_json::to_value(&config).unwrap(), before);
        }
        // From before there was anything but DCGAN.
        let old = r#"{"model":{"preset":"paper","size":{"height":8,"width":8},"channels":1,"nz":1,
                      "ngf":1,"ndf":1},"batch":2,"seed":0,"lr_d":1,"lr_g":1,"ema":0}"#;
        let config: TrainConfig = serde_json::from_str(old).unwrap();
        assert_eq!(config.model.network, Architecture::Paper);
        assert_eq!(config.objective.loss, Loss::NonSaturating);
        let lacking = old.replace(r#""batch":2,"#, "");
        assert!(serde_json::from_str::<TrainConfig>(&lacking).is_err());
    }

    #[test]
    fn options_are_laid_over_what_is_usual() {
        let mut options = PartialTrainConfig::default();
        assert_eq!(options.config().unwrap(), TrainConfig::default());
        for (name, text) in [("network", "mlp"), ("penalty", "gp"), ("seed", "7")] {
            options.set(name, text).unwrap().unwrap();
        }
        let config = options.config().unwrap();
        let usual = TrainConfig::new(ModelConfig::usual(Architecture::Mlp, None));
        assert_eq!((config.model, config.batch, config.seed), (usual.model, 100, 7));
        assert_eq!(config.objective.penalty_weight, 10.0);
        options.set("conditional", "auxiliary").unwrap().unwrap();
        assert_eq!(options.config().unwrap().model.conditioning, Conditioning::Auxiliary);
        options.labels_per_class = Some(5);
        assert!(matches!(options.config(), Err(Error::Config { field: "conditioning", .. })));
        options.model.conditional = None;
        assert_eq!(options.config().unwrap().model.conditioning, Conditioning::Semi);
    }
}
