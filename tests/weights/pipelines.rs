//! Graphs of whole models: with classes, with texts, of several networks.

use super::exports::{channels_first, drawn, run_graph_on, signed, within};
use super::*;

use dcgan::gan::{Family, ObjectiveConfig, TrainConfig};
use dcgan::model::seeded_latents;
use dcgan::models::{Architecture, Conditioning, ModelConfig, Size};
use dcgan::text::TextEncoder;
use dcgan::weights::export::{has_pipeline, save_pipeline};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

/// A model of a family, with drawn numbers everywhere.
fn of(family: Family, network: Architecture, change: impl Fn(&mut ModelConfig)) -> ModelFile {
    // The other runtime goes wrong on transposed convolutions of one pixel with padding.
    let side = if network == Architecture::Stacked { 28 } else { 16 };
    let usual = ModelConfig::usual(network, Some(Size { height: side, width: side }));
    let mut model = ModelConfig { nz: 8, ngf: 4, ndf: 4, ..usual };
    change(&mut model);
    let names = |classes| (0..classes).map(|i| format!("class {i}")).collect();
    let config = TrainConfig {
        objective: ObjectiveConfig { family, ..ObjectiveConfig::default() },
        classes: names(model.classes),
        text: if model.text > 0 {
            TextEncoder::of_width(model.text)
        } else {
            TextEncoder::default()
        },
        ..TrainConfig::new(model)
    };
    drawn(config.networks().unwrap())
}

/// Graphs in another runtime make the images that the models make here.
#[test]
fn graphs_of_whole_models_give_in_another_runtime_what_they_give_here() {
    let conditional = |network, conditioning| {
        of(Family::Gan, network, |model| {
            (model.conditioning, model.classes) = (conditioning, 3);
        })
    };
    let models = [
        ("labels", conditional(Architecture::Dcgan, Conditioning::Concat)),
        ("conditional batch norm", conditional(Architecture::Resnet, Conditioning::Projection)),
        ("text", of(Family::IntCls, Architecture::Dcgan, |model| model.text = 40)),
        (
            "StackGAN",
            of(Family::StackGan, Architecture::Dcgan, |model| {
                (model.text, model.text_augment) = (40, 6);
            }),
        ),
        ("pyramid", of(Family::Lapgan, Architecture::Lapgan, |model| model.classes = 3)),
        ("stacked", of(Family::Stacked, Architecture::Stacked, |model| model.classes = 3)),
        ("normals", of(Family::SsGan, Architecture::SsGan, |_| ())),
    ];
    for (name, model) in models {
        assert!(has_pipeline(&model), "{name}");
        let networks = &model.networks;
        let kinds = networks.labels() as u32;
        let labels: Vec<u32> = (0..5).filter_map(|i: u32| i.checked_rem(kinds)).collect();
        let z = seeded_latents(&[1, 2, 3, 4, 5], networks.nz, networks.latent_distribution);
        let mut state = State::new(&Device::Cpu);
        let used = model.load_generator(&mut state, Weights::default()).unwrap();
        let mut sampler = Sampler::new(networks, &state, used, 5, &Choices::default()).unwrap();
        let wanted = sampler.sample_labeled(&mut state, &z, &labels).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.onnx");
        save_pipeline(&model, Weights::default(), &path).unwrap();
        let matrix = |x: &Tensor| {
            let &[n, width] = x.shape() else { panic!("{:?}", x.shape()) };
            NdTensor::from_data([n, width], x.f32s().to_vec())
        };
        let mut inputs = vec![("z", matrix(&z).into())];
        if let Some((condition, _)) = networks.condition() {
            let conditions = networks.conditions(&labels).unwrap().unwrap();
            inputs.push((condition, matrix(&conditions).into()));
        }
        let got = run_graph_on(fs::read(&path).unwrap(), inputs, &["images"]);
        // Normals are divided by their lengths, which enlarges rounding errors where they are short.
        let limit = if name == "normals" { 10.0 * NEAR } else { NEAR };
        within(limit, name, &signed(networks, &got[0]), &channels_first(&wanted).to_vec());
    }
}

/// A generator in the middle of a fade, of one network without conditions.
#[test]
fn a_network_that_grows_is_written_as_it_is_now() {
    let model = of(Family::Progressive, Architecture::Progressive, |_| ());
    assert!(!has_pipeline(&model));
    super::exports::same_images("growing", &model);
}
