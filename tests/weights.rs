//! Weights that travel: files that PyTorch wrote give what PyTorch's networks give; what is exported
//! comes back bit for bit and runs elsewhere; files that are damaged or made to harm are refused in
//! one sentence (`assets/reference/torch_files.py` made the files).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dcgan::device::{Device, State};
use dcgan::model::{self, ModelFile, Networks, Pixels, Sampler, Weights, save_imported};
use dcgan::models::LatentDistribution;
use dcgan::nn::{BatchNorm, Layer, Mode, Parametrization, Pass, Statistics};
use dcgan::program::{Choices, Options, Program};
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Tensor};
use dcgan::weights::{Assumptions, Imported, Role, import};
use safetensors::SafeTensors;

use crate::support;

mod damage;
mod exports;
mod mutations;
mod pipelines;
mod theano;
mod unsaid;

/// How far outputs may be from PyTorch's.
const NEAR: f32 = 1e-5;

fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/assets/reference/torch").into()
}

fn file(name: &str) -> PathBuf {
    folder().join(name)
}

/// What PyTorch's networks give.
fn expected(folder: &Path) -> BTreeMap<String, Tensor> {
    let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.tensors().into_iter().map(|(name, view)| {
        let data = bytemuck::pod_collect_to_vec(view.data());
        (name, Tensor::new(view.shape(), data).unwrap())
    });
    tensors.collect()
}

fn import_files(names: &[&str], keys: &[(Role, &str)], assumptions: &Assumptions) -> Imported {
    let paths: Vec<PathBuf> = names.iter().map(|name| file(name)).collect();
    import(&paths, keys, assumptions).unwrap_or_else(|error| panic!("{names:?}: {error}"))
}

/// The imported networks, written as a model file and read again.
fn model(imported: &Imported) -> ModelFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    save_imported(&path, &imported.networks, &imported.tensors, "a test").unwrap();
    ModelFile::load(&path).unwrap()
}

/// The largest difference.
#[track_caller]
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let pairs = a.f32s().iter().zip(b.f32s());
    // A NaN is no small difference.
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |most, d| if d <= most { most } else { d })
}

/// Images of a generator as [`Sampler`] gives them.
fn images(model: &ModelFile, device: &Device, z: &Tensor, raw: bool) -> Tensor {
    let mut state = State::new(device);
    let used = model.load_generator(&mut state, Weights::raw(raw)).unwrap();
    let mut sampler =
        Sampler::new(&model.networks, &state, used, z.shape()[0], &Choices::default()).unwrap();
    sampler.sample(&mut state, z).unwrap()
}

/// What each layer of a discriminator gives on images in [−1, 1].
fn judged(model: &ModelFile, device: &Device, x: &Tensor) -> Vec<Tensor> {
    let mut state = State::new(device);
    model.load_discriminator(&mut state, Weights::default()).unwrap();
    let mut tape = Tape::new();
    let mut input = tape.feed("x", x.shape(), DType::F32).unwrap();
    if model.networks.pixels == Pixels::Unit {
        input = tape.affine(input, 0.5, 0.5).unwrap();
    }
    let network = model.discriminator().unwrap();
    let outputs =
        network.record(&mut tape, "discriminator", input, &Pass::new(Mode::Eval)).unwrap();
    for (i, &output) in outputs.each().iter().enumerate() {
        tape.fetch(&format!("{i:03}"), output).unwrap();
    }
    let mut program = Program::compile(&tape, &state, &Options::default()).unwrap();
    let fetched = program.call(&mut state, &[("x", x)]).unwrap();
    fetched.into_values().collect()
}

/// Runs the imported networks on every device against what PyTorch's gave.
#[track_caller]
fn agrees(folder: &Path, case: &str, imported: &Imported) {
    let expected = expected(folder);
    let model = model(imported);
    for device in support::devices() {
        let name = device.name();
        if model.networks.has(model::Role::Generator) {
            let (z, fake) = (&expected[&format!("{case}/z")], &expected[&format!("{case}/fake")]);
            let far = distance(&images(&model, &device, z, false), fake);
            println!("{case}: the generator on {name} is off by {far}");
            assert!(far <= NEAR, "{case}: the generator on {name} is off by {far}");
        }
        if model.networks.has(model::Role::Discriminator) {
            let x = &expected[&format!("{case}/x")];
            let logits = judged(&model, &device, x).pop().unwrap();
            let logits = Tensor::new([x.shape()[0]], logits.f32s().to_vec()).unwrap();
            let far = distance(&logits, &expected[&format!("{case}/logits")]);
            println!("{case}: the discriminator on {name} is off by {far}");
            assert!(far <= NEAR, "{case}: the discriminator on {name} is off by {far}");
        }
    }
}

#[test]
fn state_dicts_give_what_pytorch_gives() {
    let usual = Assumptions::default();
    let late = Assumptions {
        g_slope: 0.1,
        d_slope: 0.1,
        eps: Some(0.8),
        pixels: Pixels::Unit,
        ..Assumptions::default()
    };
    let sides = Assumptions {
        g_sides: vec![[4, 3], [8, 6], [16, 12]],
        d_sides: vec![[16, 12], [8, 6], [4, 3], [1, 1]],
        ..Assumptions::default()
    };
    let models = [(Role::Generator, "models.0"), (Role::Discriminator, "models.1")];
    let one = [(Role::Generator, "models.0")];
    type Keys<'a> = &'a [(Role, &'a str)];
    let cases: &[(&str, &[&str], Keys<'_>, &Assumptions)] = &[
        ("plain", &["plain_g.pth", "plain_d.pth"], &[], &usual),
        ("plain", &["plain_d.safetensors", "plain_g.safetensors"], &[], &usual),
        ("plain", &["plain_g.safetensors"], &[], &usual),
        ("plain", &["plain_d.pth"], &[], &usual),
        // The format before PyTorch 1.6.
        ("plain", &["legacy_g.pth"], &[], &usual),
        ("plain", &["views_g.pth", "channels_last_d.pth"], &[], &usual),
        ("together", &["together.tar"], &[], &usual),
        ("half", &["half_g.pth"], &[], &usual),
        ("half", &["half_g.safetensors"], &[], &usual),
        ("bfloat16", &["bfloat16_g.pth"], &[], &usual),
        ("bfloat16", &["bfloat16_g.safetensors"], &[], &usual),
        ("double", &["double_g.pth"], &[], &usual),
        ("double", &["double_g.safetensors"], &[], &usual),
        ("named", &["named.pth"], &[], &sides),
        ("named", &["named_g.safetensors", "named_d.safetensors"], &[], &sides),
        ("nested", &["nested.pth"], &models, &usual),
        ("nested", &["nested.pth"], &one, &usual),
        ("nested", &["nested.pth"], &[], &usual),
        ("nested", &["nested_d.safetensors"], &[], &usual),
        ("late", &["late_g.pth", "late_d.pth"], &[], &late),
    ];
    for (case, names, keys, assumptions) in cases {
        let imported = import_files(names, keys, assumptions);
        let left_out: &[&str] = match *case {
            "together" => &["optimizerG_state_dict, 21 tensors of an optimizer"],
            _ => &[],
        };
        assert_eq!(imported.left_out, left_out, "{names:?}");
        agrees(&folder(), case, &imported);
    }
}

/// Networks of the example's own size, which are too large to be kept:
/// `torch_files.py --real FOLDER` makes them.
#[test]
#[ignore = "needs DCGAN_REAL_FILES, a folder that torch_files.py --real made"]
fn networks_of_the_real_size_give_what_pytorch_gives() {
    let folder = PathBuf::from(std::env::var_os("DCGAN_REAL_FILES").unwrap());
    for kind in ["pth", "safetensors"] {
        let paths = ["g", "d"].map(|name| folder.join(format!("plain_{name}.{kind}")));
        let imported = import(&paths, &[], &Assumptions::default()).unwrap();
        assert_eq!(imported.networks.size.height, 64);
        agrees(&folder, "plain", &imported);
    }
}

#[test]
fn shapes_and_numbers_say_the_architecture() {
    let usual = Assumptions::default();
    let Networks { size, channels, nz, latent_distribution, pixels, .. } =
        import_files(&["plain_g.pth"], &[], &usual).networks;
    assert_eq!((size.height, size.width, channels, nz), (16, 16, 3, 6));
    assert_eq!((latent_distribution, pixels), (LatentDistribution::Normal, Pixels::Signed));

    // The numbering of the file stays, so that what is exported fits where it came from.
    let late = import_files(&["late_d.pth"], &[], &usual).networks.discriminator().unwrap().clone();
    let kinds: Vec<&str> = late
        .layers
        .iter()
        .map(|layer| match layer {
            Layer::Conv(_) => "conv",
            Layer::BatchNorm(_) => "norm",
            Layer::LeakyRelu(_) => "leaky",
            Layer::Identity => "-",
            _ => "?",
        })
        .collect();
    let wanted = ["conv", "leaky", "-", "conv", "leaky", "-", "norm", "-", "conv"];
    assert_eq!(kinds, wanted);

    // A norm of 96 numbers between a linear layer and 8 channels of 4x3 pixels.
    let sides = Assumptions { g_sides: vec![[4, 3], [8, 6], [16, 12]], ..usual.clone() };
    let named =
        import_files(&["named_g.safetensors"], &[], &sides).networks.generator().unwrap().clone();
    let cells = Layer::BatchNorm(BatchNorm { cells: [4, 3], ..BatchNorm::new(8) });
    assert_eq!(named.layers[1], cells);
}

#[test]
fn what_cannot_be_imported_is_said_in_one_sentence() {
    let usual = Assumptions::default();
    type Case<'a> = (&'a [&'a str], &'a [(Role, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            &["module_g.pth"],
            &[],
            &["Python object", "only running code could build", "model.state_dict()"],
        ),
        (&["plain_g.pth", "plain_g.safetensors"], &[], &["is a second generator"]),
        (&["plain_g.pth", "late_d.pth"], &[], &["takes images of 8", "generator makes 16"]),
        (&["plain_g.pth"], &[(Role::Generator, "netG")], &["no tensor below \"netG\"", "main.0"]),
        (&["named_g.safetensors"], &[], &["12 pixels, which are not a square", "--g-sides"]),
        (&["expected.safetensors"], &[], &["beside/fake is not part of a convolution"]),
        (&["nothing.pth"], &[], &["cannot be read"]),
    ];
    for (names, keys, words) in cases {
        let paths: Vec<PathBuf> = names.iter().map(|name| file(name)).collect();
        let text = import(&paths, keys, &usual).unwrap_err().to_string();
        for word in *words {
            assert!(text.contains(word), "{names:?}: no {word:?} in: {text}");
        }
        assert!(!text.contains("Some(") && !text.contains(". "), "{text}");
    }
    let given = Assumptions { g_sides: vec![[4, 4]], ..usual.clone() };
    let text = import(&[file("plain_g.pth")], &[], &given).unwrap_err().to_string();
    assert!(text.contains("has 3 convolutions, so --g-sides wants as many sizes, not 1"), "{text}");
    let given = Assumptions { g_sides: vec![[4, 4], [8, 8], [10, 16]], ..usual.clone() };
    let text = import(&[file("plain_g.pth")], &[], &given).unwrap_err().to_string();
    assert!(text.contains("main.6: no kernel of 4 goes from 10 to 8 pixels"), "{text}");
}
