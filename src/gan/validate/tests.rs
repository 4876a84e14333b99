#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::augment::Augment;
use crate::models::{Architecture, Codes, Conditioning, Minibatch, Norm, Size};
use crate::objectives::Loss;
use crate::train::{PRESETS, PartialTrainConfig, Preset};

/// The field that a configuration is refused for.
fn refused(config: &TrainConfig) -> &'static str {
    let Err(Error::Config { field, what }) = config.validate() else {
        panic!("{config:?} is not refused")
    };
    assert!(!what.contains("--"), "the library knows no flags: {what}");
    assert!(PartialTrainConfig::fields().iter().any(|known| known.name == field), "{field}");
    // No step can be recorded for it.
    assert!(config.tape().is_err());
    field
}

#[test]
fn methods_that_do_not_go_together_are_refused_by_field() {
    let usual = ObjectiveConfig::default();
    let gp = ObjectiveConfig { penalty: Penalty::Gp, penalty_weight: 10.0, ..usual };
    let of = |objective| TrainConfig { objective, ..TrainConfig::default() };
    for (field, objective) in [
        ("smooth", ObjectiveConfig { loss: Loss::Hinge, smooth: 0.1, ..usual }),
        ("smooth", ObjectiveConfig { smooth: 1.0, ..usual }),
        ("penalty", gp),
        ("penalty_weight", ObjectiveConfig { penalty_weight: 10.0, ..usual }),
        ("penalty_weight", ObjectiveConfig { penalty_weight: 0.0, ..gp }),
        ("penalty_weight", ObjectiveConfig { penalty_weight: -1.0, ..gp }),
        ("clip_weights", ObjectiveConfig { clip_weights: f32::NAN, ..usual }),
        ("augment_p", ObjectiveConfig { augment_p: 1.5, ..usual }),
        ("augment_p", ObjectiveConfig { augment_p: 0.5, ..usual }),
        ("ada", ObjectiveConfig { ada: 1.5, augment: Augment::ALL, ..usual }),
        ("ada", ObjectiveConfig { ada: 0.6, ..usual }),
        ("ada", ObjectiveConfig { ada: 0.6, augment_p: 0.5, augment: Augment::ALL, ..usual }),
        (
            "ada",
            ObjectiveConfig { ada: 0.6, loss: Loss::Wasserstein, augment: Augment::ALL, ..usual },
        ),
        ("beta1", ObjectiveConfig { beta1: 1.0, ..usual }),
        ("epsilon", ObjectiveConfig { epsilon: 0.0, ..usual }),
        ("n_critic", ObjectiveConfig { n_critic: 0, ..usual }),
        ("n_critic", ObjectiveConfig { n_critic: 101, ..usual }),
        ("micro_batch", ObjectiveConfig { micro_batch: 24, ..usual }),
        ("micro_batch", ObjectiveConfig { micro_batch: 1, ..usual }),
        ("micro_batch", ObjectiveConfig { micro_batch: 128, ..usual }),
    ] {
        assert_eq!(refused(&of(objective)), field);
    }
    for micro_batch in [2, 32, 64] {
        of(ObjectiveConfig { micro_batch, ..usual }).validate().unwrap();
    }
    let model = ModelConfig { norm_d: Norm::Layer, ..ModelConfig::default() };
    TrainConfig { objective: gp, ..TrainConfig::new(model) }.validate().unwrap();
}

#[test]
fn networks_that_cannot_be_built_are_refused_by_field() {
    let usual = ModelConfig::default();
    let (mlp, resnet) = (
        ModelConfig::usual(Architecture::Mlp, None),
        ModelConfig::usual(Architecture::Resnet, None),
    );
    let conditional = ModelConfig { classes: 10, ..usual };
    let codes = Codes { categories: 10, numbers: 2 };
    for (field, model) in [
        ("nz", ModelConfig { nz: 0, ..usual }),
        ("ngf", ModelConfig { ngf: 1 << 20, ..usual }),
        ("channels", ModelConfig { channels: 2, ..usual }),
        ("size", ModelConfig { size: Size { height: 100, width: 64 }, ..usual }),
        ("classes", ModelConfig { classes: 1 << 20, ..usual }),
        ("attention", ModelConfig { attention: 7, ..usual }),
        ("attention", ModelConfig { attention: 8, ..mlp }),
        ("codes", ModelConfig { codes, nz: 12, ..usual }),
        ("codes", ModelConfig { codes, conditioning: Conditioning::Auxiliary, ..conditional }),
        ("codes", ModelConfig { codes, minibatch: Minibatch::Discrimination, ..usual }),
        ("norm_g", ModelConfig { norm_g: Norm::Conditional, ..usual }),
        ("norm_g", ModelConfig { norm_g: Norm::Virtual, ..conditional }),
        ("norm_g", ModelConfig { norm_g: Norm::Virtual, ..resnet }),
        ("norm_d", ModelConfig { norm_d: Norm::Virtual, ..usual }),
        ("conditioning", ModelConfig { classes: 10, ..resnet }),
    ] {
        assert_eq!(refused(&TrainConfig::new(model)), field);
        assert!(model.generator().is_err() || model.discriminator().is_err());
    }
}

#[test]
fn classes_labels_and_batches_go_together() {
    let usual = TrainConfig::default();
    let semi = ModelConfig { classes: 10, conditioning: Conditioning::Semi, ..usual.model };
    let few = TrainConfig { labels_per_class: 5, ..TrainConfig::new(semi) };
    few.validate().unwrap();
    for (field, config) in [
        ("labels_per_class", TrainConfig { labels_per_class: 5, ..usual.clone() }),
        ("labels_per_class", TrainConfig::new(semi)),
        (
            "labels_per_class",
            TrainConfig {
                objective: ObjectiveConfig { n_critic: 2, ..few.objective },
                ..few.clone()
            },
        ),
        ("classes", TrainConfig { classes: vec!["cat".into()], ..few }),
        ("batch", TrainConfig { batch: 1, ..usual.clone() }),
        ("lr_g", TrainConfig { lr_g: 0.0, ..usual.clone() }),
        ("lr_d", TrainConfig { lr_d: f64::NAN, ..usual }),
    ] {
        assert_eq!(refused(&config), field);
    }
}

#[test]
fn every_preset_is_a_recipe() {
    for preset in PRESETS {
        let mut config = TrainConfig::preset(preset.name).unwrap();
        if preset.options().config.conditioning().unwrap().is_some() {
            config.model.classes = 10;
        }
        config = config.with_any_text();
        config.validate().unwrap();
        for name in preset.aliases {
            assert_eq!(TrainConfig::preset(name).unwrap().batch, config.batch);
        }
    }
    let wgan = TrainConfig::preset("wgan-gp").unwrap();
    assert_eq!((wgan.lr_g, wgan.objective.n_critic, wgan.model.norm_d), (1e-4, 5, Norm::Layer));
    let error = TrainConfig::preset("stylegan").unwrap_err().to_string();
    assert!(error.contains("`preset`: there is no preset \"stylegan\"; there are fast, dcgan"));
}

#[test]
fn the_usual_preset_gives_way_to_flags_that_choose_something_else() {
    let usual = |options: &[(&str, &str)]| {
        let mut given = PartialTrainConfig::default();
        for (name, value) in options {
            given.set(name, value).unwrap().unwrap();
        }
        Preset::usual(&given).map(|preset| preset.name)
    };
    assert_eq!(usual(&[]), Some("fast"));
    let of_images = [("size", "32"), ("ngf", "16"), ("conditional", "concat"), ("channels", "1")];
    let of_training = [
        ("batch", "16"),
        ("lr_g", "1e-4"),
        ("beta1", "0"),
        ("n_critic", "2"),
        ("augment", "color"),
    ];
    for option in of_images.into_iter().chain(of_training) {
        assert_eq!(usual(&[option]), Some("fast"), "{option:?}");
    }
    for option in [
        ("network", "resnet"),
        ("norm_d", "layer"),
        ("weight_d", "plain"),
        ("loss", "wasserstein"),
        ("penalty", "gp"),
        ("family", "vae"),
        ("codes", "10+2"),
        ("labels_per_class", "10"),
    ] {
        assert_eq!(usual(&[option]), None, "{option:?}");
    }
}
