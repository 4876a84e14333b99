//! Measures the cost of a gradient penalty: the time of one update of DCGAN's discriminator with
//! and without WGAN-GP's penalty, on the same networks, measured alternately.
//!
//! ```text
//! cargo run --release --example penalty_cost -- [DEVICE] [BATCH]
//! ```

use std::time::Instant;

use dcgan::device::Device;
use dcgan::error::Result;
use dcgan::models::{ModelConfig, Norm};
use dcgan::objectives::{Loss, Penalty};
use dcgan::program::Options;
use dcgan::train::{ObjectiveConfig, TrainConfig, Trainer};

/// Steps that are timed at a time, and the number of turns for each kind.
const STEPS: usize = 3;
const TURNS: usize = 5;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let device = Device::open(words.next().or(Some("cpu".into())).as_deref(), false)?;
    let batch: usize = words.next().and_then(|word| word.parse().ok()).unwrap_or(16);
    println!(
        "DCGAN 64x64 without a norm in the discriminator, batch {batch}, on {}",
        device.name()
    );

    // A step with two discriminator updates minus a step with one is one update.
    let trainer = |penalty, n_critic| {
        let model_config = ModelConfig { norm_d: Norm::None, ..ModelConfig::default() };
        let penalty_weight = if penalty == Penalty::None { 0.0 } else { 10.0 };
        let loss = Loss::Wasserstein;
        let objective = ObjectiveConfig {
            loss,
            penalty,
            penalty_weight,
            n_critic,
            ..ObjectiveConfig::default()
        };
        let config = TrainConfig { batch, objective, ema: 0, ..TrainConfig::new(model_config) };
        Trainer::new(config, &device, &Options::default())
    };
    let mut trainers = Vec::new();
    for penalty in [Penalty::None, Penalty::Gp] {
        for n_critic in [1, 2] {
            trainers.push((trainer(penalty, n_critic)?, f64::INFINITY));
        }
    }
    for _ in 0..TURNS {
        for (trainer, best) in &mut trainers {
            let images: Vec<u8> = (0..trainer.config().step_images() * 64 * 64 * 3)
                .map(|i| (i * 31 % 251) as u8)
                .collect();
            trainer.step(images.clone())?;
            trainer.finish()?;
            let start = Instant::now();
            for _ in 0..STEPS {
                trainer.step(images.clone())?;
            }
            trainer.finish()?;
            *best = best.min(start.elapsed().as_secs_f64() / STEPS as f64);
        }
    }
    let ms: Vec<f64> = trainers.iter().map(|(_, seconds)| 1e3 * seconds).collect();
    let [plain, penalized] = [ms[1] - ms[0], ms[3] - ms[2]];
    println!("one update without the penalty  {plain:8.1} ms");
    println!("one update with the penalty     {penalized:8.1} ms");
    println!("ratio                           {:8.2}", penalized / plain);
    Ok(())
}
