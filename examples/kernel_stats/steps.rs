//! The training steps whose kernels are analyzed.

use dcgan::models::{Architecture, Conditioning, ModelConfig, Norm, Size};
use dcgan::nn::Parametrization;
use dcgan::objectives::{Loss, Penalty};
use dcgan::program::Precision;
use dcgan::train::{ObjectiveConfig, TrainConfig};

use super::Result;

/// A training step by name.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) config: TrainConfig,
    pub(crate) precision: Precision,
}

/// All of them.
pub(crate) fn steps() -> Result<Vec<Step>> {
    let dcgan = ModelConfig::default();
    let size = Size { height: 32, width: 32 };
    let critic = ModelConfig { norm_d: Norm::Layer, ..dcgan };
    let spectral = |network| ModelConfig {
        size,
        weight_d: Parametrization::Spectral,
        norm_d: Norm::None,
        ..ModelConfig::usual(network, None)
    };
    let plain = ObjectiveConfig::default();
    let wasserstein = ObjectiveConfig {
        loss: Loss::Wasserstein,
        penalty: Penalty::Gp,
        penalty_weight: 10.0,
        n_critic: 2,
        ..plain
    };
    let hinge = ObjectiveConfig { loss: Loss::Hinge, ..plain };
    let attention = ModelConfig {
        attention: 32,
        weight_g: Parametrization::Spectral,
        weight_d: Parametrization::Spectral,
        norm_d: Norm::None,
        ..dcgan
    };
    let classes = ModelConfig {
        classes: 10,
        conditioning: Conditioning::Projection,
        norm_g: Norm::Conditional,
        ..spectral(Architecture::Resnet)
    };
    let (wide, half) = (Precision::F32, Precision::F16);
    let table = [
        ("dcgan 64, batch 16", dcgan, plain, 16, wide),
        ("dcgan 64, batch 128", dcgan, plain, 128, wide),
        ("dcgan 64, batch 128, f16", dcgan, plain, 128, half),
        ("wgan-gp 64, batch 64", critic, wasserstein, 64, wide),
        ("sagan 64, batch 64", attention, hinge, 64, wide),
        ("sngan 32, batch 64", spectral(Architecture::Cnn), hinge, 64, wide),
        ("sngan-resnet projection 32, batch 64", classes, hinge, 64, wide),
    ];
    let step = |(name, model, objective, batch, precision): (
        _,
        ModelConfig,
        ObjectiveConfig,
        usize,
        Precision,
    )| {
        let config = TrainConfig { batch, objective, precision, ..TrainConfig::new(model) };
        Step { name, config, precision }
    };
    Ok(table.map(step).into())
}
