#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::augment::Augment;
use crate::models::{Codes, Conditioning, Minibatch, Network, Norm, Size};
use crate::objectives::Loss;
use crate::train::{PRESETS, RecipeOptions};

/// The field that a recipe is refused for.
fn refused(recipe: &Recipe) -> &'static str {
    let Err(Error::Config { field, what }) = recipe.validate() else {
        panic!("{recipe:?} is not refused")
    };
    assert!(!what.contains("--"), "the library knows no flags: {what}");
    assert!(RecipeOptions::fields().iter().any(|known| known.name == field), "{field}");
    // A step is recorded of none of them.
    assert!(recipe.tape().is_err());
    field
}

#[test]
fn methods_that_do_not_go_together_are_refused_by_field() {
    let usual = Method::default();
    let gp = Method { penalty: Penalty::Gp, penalty_weight: 10.0, ..usual };
    let of = |method| Recipe { method, ..Recipe::default() };
    for (field, method) in [
        ("smooth", Method { loss: Loss::Hinge, smooth: 0.1, ..usual }),
        ("smooth", Method { smooth: 1.0, ..usual }),
        ("penalty", gp),
        ("penalty_weight", Method { penalty_weight: 10.0, ..usual }),
        ("penalty_weight", Method { penalty_weight: 0.0, ..gp }),
        ("penalty_weight", Method { penalty_weight: -1.0, ..gp }),
        ("clip_weights", Method { clip_weights: f32::NAN, ..usual }),
        ("augment_p", Method { augment_p: 1.5, ..usual }),
        ("augment_p", Method { augment_p: 0.5, ..usual }),
        ("ada", Method { ada: 1.5, augment: Augment::ALL, ..usual }),
        ("ada", Method { ada: 0.6, ..usual }),
        ("ada", Method { ada: 0.6, augment_p: 0.5, augment: Augment::ALL, ..usual }),
        ("ada", Method { ada: 0.6, loss: Loss::Wasserstein, augment: Augment::ALL, ..usual }),
        ("beta1", Method { beta1: 1.0, ..usual }),
        ("epsilon", Method { epsilon: 0.0, ..usual }),
        ("n_critic", Method { n_critic: 0, ..usual }),
        ("n_critic", Method { n_critic: 101, ..usual }),
        ("micro_batch", Method { micro_batch: 24, ..usual }),
        ("micro_batch", Method { micro_batch: 1, ..usual }),
        ("micro_batch", Method { micro_batch: 128, ..usual }),
    ] {
        assert_eq!(refused(&of(method)), field);
    }
    for micro_batch in [2, 32, 64] {
        of(Method { micro_batch, ..usual }).validate().unwrap();
    }
    let model = Design { norm_d: Norm::Layer, ..Design::default() };
    Recipe { method: gp, ..Recipe::new(model) }.validate().unwrap();
}

#[test]
fn networks_that_cannot_be_built_are_refused_by_field() {
    let usual = Design::default();
    let (mlp, resnet) = (Design::usual(Network::Mlp, None), Design::usual(Network::Resnet, None));
    let told = Design { classes: 10, ..usual };
    let codes = Codes { categories: 10, numbers: 2 };
    for (field, model) in [
        ("nz", Design { nz: 0, ..usual }),
        ("ngf", Design { ngf: 1 << 20, ..usual }),
        ("channels", Design { channels: 2, ..usual }),
        ("size", Design { size: Size { height: 100, width: 64 }, ..usual }),
        ("classes", Design { classes: 1 << 20, ..usual }),
        ("attention", Design { attention: 7, ..usual }),
        ("attention", Design { attention: 8, ..mlp }),
        ("codes", Design { codes, nz: 12, ..usual }),
        ("codes", Design { codes, conditioning: Conditioning::Auxiliary, ..told }),
        ("codes", Design { codes, minibatch: Minibatch::Discrimination, ..usual }),
        ("norm_g", Design { norm_g: Norm::Conditional, ..usual }),
        ("norm_g", Design { norm_g: Norm::Virtual, ..told }),
        ("norm_g", Design { norm_g: Norm::Virtual, ..resnet }),
        ("norm_d", Design { norm_d: Norm::Virtual, ..usual }),
        ("conditioning", Design { classes: 10, ..resnet }),
    ] {
        assert_eq!(refused(&Recipe::new(model)), field);
        assert!(model.generator().is_err() || model.discriminator().is_err());
    }
}

#[test]
fn classes_labels_and_batches_go_together() {
    let usual = Recipe::default();
    let semi = Design { classes: 10, conditioning: Conditioning::Semi, ..usual.model };
    let few = Recipe { labels_per_class: 5, ..Recipe::new(semi) };
    few.validate().unwrap();
    for (field, recipe) in [
        ("labels_per_class", Recipe { labels_per_class: 5, ..usual.clone() }),
        ("labels_per_class", Recipe::new(semi)),
        (
            "labels_per_class",
            Recipe { method: Method { n_critic: 2, ..few.method }, ..few.clone() },
        ),
        ("classes", Recipe { classes: vec!["cat".into()], ..few }),
        ("batch", Recipe { batch: 1, ..usual.clone() }),
        ("lr_g", Recipe { lr_g: 0.0, ..usual.clone() }),
        ("lr_d", Recipe { lr_d: f64::NAN, ..usual }),
    ] {
        assert_eq!(refused(&recipe), field);
    }
}

#[test]
fn every_preset_is_a_recipe() {
    for preset in PRESETS {
        let mut recipe = Recipe::preset(preset.name).unwrap();
        if preset.options().recipe.conditioning().unwrap().is_some() {
            recipe.model.classes = 10;
        }
        recipe.validate().unwrap();
        for name in preset.aliases {
            assert_eq!(Recipe::preset(name).unwrap().batch, recipe.batch);
        }
    }
    let wgan = Recipe::preset("wgan-gp").unwrap();
    assert_eq!((wgan.lr_g, wgan.method.n_critic, wgan.model.norm_d), (1e-4, 5, Norm::Layer));
    let error = Recipe::preset("stylegan").unwrap_err().to_string();
    assert!(error.contains("`preset`: there is no preset \"stylegan\"; there are dcgan, paper"));
}
