//! Networks on their way out, and back.

use super::*;

use dcgan::features::{Extractor, feature_layers};
use dcgan::model::seeded_latents;
use dcgan::models::Size;
use dcgan::models::{Architecture, ModelConfig, Norm};
use dcgan::nn::{Conv, Maxout, PixelBias};
use dcgan::ops::conv::ConvSpec;
use dcgan::weights::Said;
use dcgan::weights::export::{Export, Format};
use rten::Model;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use crate::cli::{Place, latest};

/// A model with drawn numbers everywhere, running statistics too.
pub(super) fn drawn(networks: Networks) -> ModelFile {
    networks.check().unwrap();
    let mut tensors = BTreeMap::new();
    for (i, param) in networks.params().into_iter().enumerate() {
        let shape = param.layout.file_shape(&param.shape);
        let mut numbers = vec![0.0; shape.iter().product()];
        dcgan::rng::Stream::new(7, "drawn", i as u32).fill_normal(&mut numbers);
        // Scales and variances; means of 1 would leave nothing above 0 to rectified features.
        let near_zero = ["bias", "running_mean"].iter().any(|end| param.name.ends_with(end));
        let near_one = !near_zero && shape.len() == 1;
        let scale = if near_one { 0.1 } else { 0.2 };
        numbers.iter_mut().for_each(|x| *x = scale * *x + f32::from(u8::from(near_one)));
        tensors.insert(param.name, Tensor::new(shape, numbers).unwrap());
    }
    let (sources, left_out, assumed) = (Vec::new(), Vec::new(), Vec::new());
    let said = Said::Everything;
    model(&Imported { networks, tensors, sources, left_out, assumed, said })
}

fn network(network: Architecture, height: usize, width: usize) -> ModelFile {
    let size = Size { height, width };
    let model =
        ModelConfig { network, size, channels: 3, nz: 6, ngf: 4, ndf: 4, ..ModelConfig::default() };
    drawn(model.networks().unwrap())
}

/// One whose weights are normalized, by `kinds` of the generator and of the discriminator.
fn normalized(kinds: [Parametrization; 2]) -> ModelFile {
    let mut model = network(Architecture::Dcgan, 16, 16).networks;
    for (role, kind) in [Role::Generator, Role::Discriminator].into_iter().zip(kinds) {
        for layer in &mut model.get_mut(role.into()).unwrap().layers {
            *layer = layer.clone().weighted(kind);
        }
    }
    drawn(model)
}

/// Models that differ in everything that an export must say.
fn models() -> Vec<(&'static str, ModelFile)> {
    let imported = |names: &[&str], keys: &[(Role, &str)], assumptions: &Assumptions| {
        model(&import_files(names, keys, assumptions))
    };
    let sides = Assumptions {
        g_sides: vec![[4, 3], [8, 6], [16, 12]],
        d_sides: vec![[16, 12], [8, 6], [4, 3], [1, 1]],
        ..Assumptions::default()
    };
    let late = Assumptions { pixels: Pixels::Unit, g_slope: 0.1, ..Assumptions::default() };
    let batch = Assumptions {
        statistics: Some(Statistics::Batch),
        latent_distribution: LatentDistribution::Uniform,
        ..sides.clone()
    };
    let models = [(Role::Generator, "models.0"), (Role::Discriminator, "models.1")];
    vec![
        ("pytorch", network(Architecture::Dcgan, 32, 32)),
        ("paper", network(Architecture::Paper, 24, 16)),
        ("mnist", network(Architecture::Mnist, 28, 28)),
        ("named", imported(&["named.pth"], &[], &sides)),
        ("late", imported(&["late_g.pth", "late_d.pth"], &[], &late)),
        ("nested", imported(&["nested.pth"], &models, &Assumptions::default())),
        ("normalized", normalized([Parametrization::Norm, Parametrization::Spectral])),
        ("fixed", normalized([Parametrization::NormFixed; 2])),
        ("batch statistics", imported(&["named.pth"], &[], &batch)),
    ]
}

#[test]
fn what_is_exported_comes_back_bit_for_bit() {
    for (name, model) in models() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for role in [Role::Generator, Role::Discriminator] {
            let path = dir.path().join(format!("{}.safetensors", role.name()));
            let export = Export::of(&model, role, Weights::default()).unwrap();
            export.save(&path, Format::Safetensors).unwrap();
            let once = fs::read(&path).unwrap();
            export.save(&path, Format::Safetensors).unwrap();
            assert!(once == fs::read(&path).unwrap(), "{name}: other bytes the second time");
            files.push(path);
        }
        let back = import(&files, &[], &Assumptions::default()).unwrap();
        assert_eq!(back.networks, model.networks, "{name}");
        assert!(back.said == Said::Everything && back.tensors == model.tensors, "{name}");
        // One of them is a model as well.
        let alone = import(&files[1..], &[], &Assumptions::default()).unwrap().networks;
        assert_eq!((alone.has(Role::Generator.into()), alone.nz), (false, 0));
        assert_eq!(alone.discriminator().unwrap(), model.networks.discriminator().unwrap());
    }
    // A .pth does not describe itself: what the shapes say is enough for the networks.
    for model in [network(Architecture::Dcgan, 32, 32), network(Architecture::Dcgan, 24, 24)] {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for role in [Role::Generator, Role::Discriminator] {
            let path = dir.path().join(format!("{}.pth", role.name()));
            Export::of(&model, role, Weights::default()).unwrap().save(&path, Format::Pth).unwrap();
            files.push(path);
        }
        let back = import(&files, &[], &Assumptions::default()).unwrap();
        assert_eq!(back.networks, model.networks);
        assert!(back.said == Said::Shapes && back.tensors == model.tensors);
    }
}

/// A .pth does not say how its weights are computed: they come back as what they come to.
#[test]
fn normalized_weights_in_pytorchs_files_come_back_as_plain_ones() {
    use Parametrization::{Norm, NormFixed, Spectral, SpectralParametrization};
    for kinds in [[Norm, Spectral], [Spectral, SpectralParametrization], [NormFixed, Norm]] {
        let original = normalized(kinds);
        let dir = tempfile::tempdir().unwrap();
        let files = [Role::Generator, Role::Discriminator].map(|role| {
            let path = dir.path().join(format!("{}.pth", role.name()));
            Export::of(&original, role, Weights::default())
                .unwrap()
                .save(&path, Format::Pth)
                .unwrap();
            path
        });
        let back = import(&files, &[], &Assumptions::default()).unwrap();
        assert!(
            back.tensors.keys().all(|name| !name.contains("weight_")),
            "{:?}",
            back.tensors.keys()
        );
        let back = model(&back);
        let z = seeded_latents(&[1, 2, 3], 6, LatentDistribution::Normal);
        let [wanted, got] = [&original, &back].map(|model| images(model, &Device::Cpu, &z, false));
        near(&format!("{kinds:?}: images"), got.f32s(), wanted.f32s());
        let [outputs, of_back] =
            [&original, &back].map(|model| judged(model, &Device::Cpu, &wanted));
        let last = |outputs: &[Tensor]| outputs.last().unwrap().f32s().to_vec();
        near(&format!("{kinds:?}: logits"), &last(&of_back), &last(&outputs));
    }
}

#[test]
fn what_no_graph_can_be_written_of_is_named() {
    let mut model = network(Architecture::Dcgan, 16, 16);
    let network = model.networks.get_mut(Role::Discriminator.into()).unwrap();
    network.layers[3] = Layer::layer_norm(8);
    let model = drawn(model.networks);
    let dir = tempfile::tempdir().unwrap();
    let export = Export::of(&model, Role::Discriminator, Weights::default()).unwrap();
    let error = export.save(&dir.path().join("d.onnx"), Format::Onnx).expect_err("no graph");
    assert!(error.to_string().contains("main.3\": is a group norm, which cannot"), "{error}");
    export.save(&dir.path().join("d.safetensors"), Format::Safetensors).unwrap();
}

#[test]
fn names_and_shapes_are_those_of_pytorchs_example() {
    let model = network(Architecture::Dcgan, 16, 16);
    let dir = tempfile::tempdir().unwrap();
    for (role, original) in
        [(Role::Generator, "plain_g.safetensors"), (Role::Discriminator, "plain_d.safetensors")]
    {
        let path = dir.path().join("out.safetensors");
        Export::of(&model, role, Weights::default())
            .unwrap()
            .save(&path, Format::Safetensors)
            .unwrap();
        let list = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<String> = file
                .iter()
                .map(|(name, view)| format!("{name} {:?} {:?}", view.dtype(), view.shape()))
                .collect();
            all.sort();
            all
        };
        assert_eq!(list(&path), list(&file(original)));
    }
}

/// `[n, h, w, c]` as ONNX has it.
pub(super) fn channels_first(x: &Tensor) -> NdTensor<f32, 4> {
    let &[n, h, w, c] = x.shape() else { panic!("{:?}", x.shape()) };
    NdTensor::from_data([n, h, w, c], x.f32s().to_vec()).permuted([0, 3, 1, 2]).to_tensor()
}

/// Runs a graph in another runtime: its outputs by the names asked for.
fn run_graph(bytes: Vec<u8>, input: (&str, rten::Value), outputs: &[&str]) -> Vec<Vec<f32>> {
    run_graph_on(bytes, vec![input], outputs)
}

/// The same with several inputs.
pub(super) fn run_graph_on(
    bytes: Vec<u8>,
    inputs: Vec<(&str, rten::Value)>,
    outputs: &[&str],
) -> Vec<Vec<f32>> {
    let graph = Model::load(bytes).unwrap();
    let ids: Vec<_> = outputs.iter().map(|name| graph.node_id(name).unwrap()).collect();
    let input = |(name, value): (&str, rten::Value)| (graph.node_id(name).unwrap(), value.into());
    let inputs = inputs.into_iter().map(input).collect();
    let values = graph.run(inputs, &ids, None).unwrap();
    let numbers = |value: rten::Value| {
        let tensor: rten_tensor::Tensor<f32> = value.try_into().unwrap();
        tensor.to_vec()
    };
    values.into_iter().map(numbers).collect()
}

#[track_caller]
pub(super) fn near(what: &str, got: &[f32], wanted: &[f32]) {
    within(NEAR, what, got, wanted);
}

/// The same with another limit.
#[track_caller]
pub(super) fn within(limit: f32, what: &str, got: &[f32], wanted: &[f32]) {
    let shape = [wanted.len()];
    assert_eq!(got.len(), wanted.len(), "{what}");
    let tensor = |numbers: &[f32]| Tensor::new(shape, numbers.to_vec()).unwrap();
    let far = distance(&tensor(got), &tensor(wanted));
    let largest = wanted.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
    assert!(far <= limit * largest, "{what} is off by {far}, where the largest is {largest}");
}

/// Checks that a generator's graph makes the images that are made here, and returns these.
#[track_caller]
pub(super) fn same_images(name: &str, model: &ModelFile) -> Tensor {
    let networks = &model.networks;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("graph.onnx");
    let export = Export::of(model, Role::Generator, Weights::default()).unwrap();
    export.save(&path, Format::Onnx).unwrap();
    let z = seeded_latents(&[1, 2, 3, 4, 5], networks.nz, networks.latent_distribution);
    let fake = images(model, &Device::Cpu, &z, false);
    let input = NdTensor::from_data([5, networks.nz], z.f32s().to_vec());
    let got = run_graph(fs::read(&path).unwrap(), ("z", input.into()), &["images"]);
    near(&format!("{name}: images"), &signed(networks, &got[0]), &channels_first(&fake).to_vec());
    fake
}

/// A graph's pixels in [−1, 1].
pub(super) fn signed(networks: &Networks, pixels: &[f32]) -> Vec<f32> {
    let unit = networks.pixels == Pixels::Unit;
    pixels.iter().map(|&x| if unit { 2.0 * x - 1.0 } else { x }).collect()
}

/// What a convolution has come to before the next one, pooled to 4x4: the paper's features.
fn pooled(x: &Tensor) -> Vec<Vec<f32>> {
    let &[n, h, w, c] = x.shape() else { panic!("{:?}", x.shape()) };
    let cell = |i: usize, side: usize| {
        let grid = side.min(4);
        i * side / grid..((i + 1) * side).div_ceil(grid)
    };
    let one = |i: usize| {
        let mut row = Vec::new();
        for f in 0..c {
            for (gy, gx) in (0..h.min(4)).flat_map(|y| (0..w.min(4)).map(move |x| (y, x))) {
                let mut most = f32::MIN;
                for (y, at) in cell(gy, h).flat_map(|y| cell(gx, w).map(move |x| (y, x))) {
                    most = most.max(x.f32s()[((i * h + y) * w + at) * c + f]);
                }
                row.push(most);
            }
        }
        row
    };
    (0..n).map(one).collect()
}

#[test]
fn graphs_give_in_another_runtime_what_they_give_here() {
    for (name, model) in models() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.onnx");
        let save = |role| {
            Export::of(&model, role, Weights::default())
                .unwrap()
                .save(&path, Format::Onnx)
                .unwrap();
            fs::read(&path).unwrap()
        };
        let networks = &model.networks;
        let fake = same_images(name, &model);
        let unit = networks.pixels == Pixels::Unit;
        let seen = if unit {
            let half = fake.f32s().iter().map(|x| 0.5 * x + 0.5).collect();
            Tensor::new(fake.shape(), half).unwrap()
        } else {
            fake.clone()
        };
        let outputs = judged(&model, &Device::Cpu, &fake);
        let input = ("images", channels_first(&seen).into());
        let got = run_graph(save(Role::Discriminator), input, &["logit", "features"]);
        near(&format!("{name}: logit"), &got[0], outputs.last().unwrap().f32s());
        let feature_layers = feature_layers(networks).unwrap();
        let parts: Vec<Vec<Vec<f32>>> =
            feature_layers.iter().map(|l| pooled(&outputs[l.output])).collect();
        let wanted: Vec<f32> =
            (0..5).flat_map(|i| parts.iter().flat_map(move |part| part[i].clone())).collect();
        near(&format!("{name}: features"), &got[1], &wanted);
    }
}

/// Layers that no graph of another program is read with: only written.
#[test]
fn graphs_of_all_other_networks_run_in_another_runtime() {
    let size = Size { height: 16, width: 16 };
    let model_config = |network| ModelConfig {
        network,
        size,
        channels: 3,
        nz: 6,
        ngf: 4,
        ndf: 4,
        norm_d: Norm::None,
        ..ModelConfig::default()
    };
    let pixel =
        ModelConfig { norm_g: Norm::Pixel, norm_d: Norm::Pixel, ..model_config(Architecture::Cnn) };
    let changed = |change: fn(&mut Vec<Layer>, &mut Vec<Layer>)| {
        let mut networks = model_config(Architecture::Cnn).networks().unwrap();
        let mut g = networks.generator().unwrap().clone();
        let d = networks.get_mut(model::Role::Discriminator).unwrap();
        change(&mut g.layers, &mut d.layers);
        networks.with(model::Role::Generator, g)
    };
    let of = |model_config: ModelConfig| model_config.networks().unwrap();
    let cases = [
        ("dense", of(model_config(Architecture::Mlp))),
        ("residual", of(model_config(Architecture::Resnet))),
        ("pixel norm", of(pixel)),
        (
            "norms without parameters",
            changed(|g, _| {
                for layer in g {
                    if let Layer::BatchNorm(norm) = layer {
                        norm.affine = false;
                    }
                }
            }),
        ),
        (
            "maxout",
            changed(|g, d| {
                // Three channels of six, and one logit of two.
                let at = g.len() - 2;
                if let Layer::Conv(Conv { small, .. }) = &mut g[at] {
                    *small = 6;
                }
                g.insert(at + 1, Layer::Maxout(Maxout { pieces: 2 }));
                if let Some(Layer::Conv(Conv { small, .. })) = d.last_mut() {
                    *small = 2;
                }
                d.push(Layer::Maxout(Maxout { pieces: 2 }));
            }),
        ),
        (
            "pixel bias",
            changed(|g, _| {
                g.insert(
                    g.len() - 1,
                    Layer::PixelBias(PixelBias { size: [16, 16, 3], log_odds: false }),
                );
            }),
        ),
    ];
    for (name, networks) in cases {
        let model = drawn(networks);
        let networks = &model.networks;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.onnx");
        let save = |role| {
            Export::of(&model, role, Weights::default())
                .unwrap()
                .save(&path, Format::Onnx)
                .unwrap();
            fs::read(&path).unwrap()
        };
        let fake = same_images(name, &model);
        let unit = networks.pixels == Pixels::Unit;
        let outputs = judged(&model, &Device::Cpu, &fake);
        let half = fake.f32s().iter().map(|x| if unit { 0.5 * x + 0.5 } else { *x }).collect();
        let seen = Tensor::new(fake.shape(), half).unwrap();
        let input = ("images", channels_first(&seen).into());
        let got = run_graph(save(Role::Discriminator), input, &["logit"]);
        near(&format!("{name}: logit"), &got[0], outputs.last().unwrap().f32s());
    }
}

/// What a graph is made from comes back out of it, layer by layer.
#[test]
fn graphs_come_back_as_what_they_are() {
    let mut all = models();
    let mut doubling = network(Architecture::Dcgan, 16, 16).networks;
    let generator = doubling.get_mut(Role::Generator.into()).unwrap();
    // Pixels are repeated before the last convolution, which then keeps the size.
    let spec = ConvSpec::down([16; 2], [3; 2], [1; 2], [1; 2]).unwrap();
    let last = generator.layers.len() - 2;
    generator.layers[last] = Layer::conv(spec, 4, 3, true);
    for (name, layer) in [("doubling", Layer::Upsample), ("bilinear", Layer::Bilinear)] {
        let mut doubling = doubling.clone();
        let generator = doubling.get_mut(Role::Generator.into()).unwrap();
        generator.layers.insert(last, layer);
        all.push((name, drawn(doubling)));
    }
    for (name, model) in all {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for role in [Role::Generator, Role::Discriminator] {
            let path = dir.path().join(format!("{}.onnx", role.name()));
            Export::of(&model, role, Weights::default())
                .unwrap()
                .save(&path, Format::Onnx)
                .unwrap();
            files.push(path);
        }
        let imported =
            import(&files, &[], &Assumptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((imported.said, imported.assumed.len()), (Said::Layers, 0), "{name}");
        let Networks { size, channels, nz, latent_distribution, pixels, .. } = model.networks;
        let back = super::model(&imported);
        let Networks { size: s, channels: c, nz: n, latent_distribution: l, pixels: p, .. } =
            back.networks;
        assert_eq!((s, c, n, l, p), (size, channels, nz, latent_distribution, pixels), "{name}");
        let z = seeded_latents(&[1, 2, 3, 4, 5], nz, latent_distribution);
        let drawn = [&model, &back].map(|model| images(model, &Device::Cpu, &z, false));
        near(&format!("{name}: images"), drawn[1].f32s(), drawn[0].f32s());
        let mut pixels = drawn[0].f32s().chunks(channels);
        let first = pixels.next();
        assert!(
            pixels.any(|pixel| Some(pixel) != first),
            "{name}: images of one color say nothing"
        );
        let said =
            [&model, &back].map(|model| judged(model, &Device::Cpu, &drawn[0]).pop().unwrap());
        near(&format!("{name}: logit"), said[1].f32s(), said[0].f32s());
    }
}

/// A graph's features are those of `dcgan features`: of networks whose norms stand behind activations,
/// and of those with a dense layer before the logit, too.
#[test]
fn graphs_have_the_features_that_are_computed_here() {
    for (name, model) in models() {
        let networks = &model.networks;
        let discriminator = networks.discriminator().unwrap();
        // Those that go by the statistics of batches get others here.
        if discriminator.needs_batch() {
            continue;
        }
        let Size { height, width } = networks.size;
        let shape = [5, height, width, networks.channels];
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>() as u64)
            .map(|i| ((i * 2_654_435_761) >> 9) as u8)
            .collect();
        let mut state = State::new(&Device::Cpu);
        model.load_discriminator(&mut state, Weights::default()).unwrap();
        let mut extractor = Extractor::new(networks, &mut state, 5).unwrap();
        let wanted = extractor.features(&mut state, &bytes).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("graph.onnx");
        let export = Export::of(&model, Role::Discriminator, Weights::default()).unwrap();
        export.save(&path, Format::Onnx).unwrap();
        let number = |&b: &u8| match networks.pixels {
            Pixels::Signed => f32::from(b) / 127.5 - 1.0,
            Pixels::Unit => f32::from(b) / 255.0,
        };
        let seen = Tensor::new(shape, bytes.iter().map(number).collect()).unwrap();
        let input = ("images", channels_first(&seen).into());
        let got = run_graph(fs::read(&path).unwrap(), input, &["features"]);
        assert_eq!(got[0].len(), 5 * extractor.width(), "{name}");
        near(&format!("{name}: features"), &got[0], &wanted);
    }
}

/// The weights of a network that are used: the average where there is one, be it of G or of D.
#[test]
fn every_command_takes_the_same_weights() {
    let plain = network(Architecture::Dcgan, 16, 16);
    let dir = tempfile::tempdir().unwrap();
    for averaged in [&["generator"][..], &["generator", "discriminator"], &[]] {
        let mut tensors = plain.tensors.clone();
        for (name, tensor) in &plain.tensors {
            if averaged.iter().any(|network| name.starts_with(network)) {
                let half = tensor.f32s().iter().map(|x| x * 0.5).collect();
                tensors.insert(format!("ema.{name}"), Tensor::new(tensor.shape(), half).unwrap());
            }
        }
        let path = dir.path().join("model.safetensors");
        save_imported(&path, &plain.networks, &tensors, "a test").unwrap();
        let model = ModelFile::load(&path).unwrap();
        for (network, role) in
            [("generator", Role::Generator), ("discriminator", Role::Discriminator)]
        {
            for raw in [false, true] {
                let average = averaged.contains(&network) && !raw;
                let weights = Weights::raw(raw);
                let used = if average { Weights::Averaged } else { Weights::Raw };
                assert_eq!(model.used(network, weights), used);
                let name = format!("{network}.main.0.weight");
                let file = if average { format!("ema.{name}") } else { name.clone() };
                let wanted = tensors[&file].f32s();
                // On a device …
                let mut state = State::new(&Device::Cpu);
                let kept = match role {
                    Role::Generator if average => "ema.generator.main.0.weight",
                    _ => &name,
                };
                match role {
                    Role::Generator => drop(model.load_generator(&mut state, weights).unwrap()),
                    Role::Discriminator => model.load_discriminator(&mut state, weights).unwrap(),
                }
                let mut numbers = state.get(kept).unwrap().f32s().to_vec();
                let mut sorted = wanted.to_vec();
                numbers.sort_by(f32::total_cmp);
                sorted.sort_by(f32::total_cmp);
                assert!(numbers == sorted, "{network}, raw: {raw}");
                // … and in an exported file.
                let out = dir.path().join("out.safetensors");
                Export::of(&model, role, weights).unwrap().save(&out, Format::Safetensors).unwrap();
                let bytes = fs::read(&out).unwrap();
                let written = SafeTensors::deserialize(&bytes).unwrap();
                let view = written.tensor("main.0.weight").unwrap();
                let written: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
                assert!(written == wanted, "{network}, raw: {raw}");
            }
        }
    }
}

#[test]
fn a_run_is_exported_and_imported_by_its_commands() {
    let place = Place::new();
    let cpu = ["--device", "cpu"];
    let plain = ["--preset", "dcgan", "--batch", "8", "--images", "80"];
    let run = place.train("runs", &[&cpu, &plain]);
    let run_path = run.to_str().unwrap();
    let export = |to: &str, out: &str, more: &[&str]| {
        place.dcgan(&[&["export", run_path, "--to", to, "--out", out], more]).ok().stdout
    };
    let said = export("safetensors", "g.safetensors", &[]);
    assert!(said.starts_with("wrote the generator of ") && said.ends_with("to g.safetensors\n"));
    export("pth", "d.pth", &["--network", "discriminator"]);
    export("onnx", "g.onnx", &[]);
    export("pth", "raw.pth", &["--raw"]);
    export("pth", "average.pth", &[]);

    let out = ["--out", "model.safetensors"];
    let said = place.dcgan(&[&["import", "average.pth", "d.pth"], &out]).ok().stdout;
    for words in [
        "generator      8 → 4x4x16 → 8x8x8 → 16x16x3; kernels 4, batch norm; ",
        "discriminator  16x16x3 → 8x8x8 → 4x4x16 → 1; kernels 4, batch norm; ",
        "assumed        normal latents (--latent-distribution), ReLU in the generator (--g-slope)",
        "the usual strides and paddings (--g-sides, --g-layers, --d-sides, --d-layers)",
        "wrote model.safetensors; make images with: dcgan sample model.safetensors\n",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    // The average is the generator of what was imported: the same images, bit for bit.
    let grid = |model: &str, name: &str| {
        place.dcgan(&[&["sample", model, "--grid", name, "--seeds", "0-15"], &cpu]).ok();
        fs::read(place.path(name)).unwrap()
    };
    let trained = grid(run_path, "run.png");
    assert!(grid("model.safetensors", "imported.png") == trained);
    place.dcgan(&[&["import", "g.safetensors", "--out", "alone.safetensors"]]).ok();
    assert!(grid("alone.safetensors", "alone.png") == trained);
    let said = place.dcgan(&[&["import", "raw.pth", "--out", "raw.safetensors"]]).ok().stdout;
    assert!(said.contains("wrote raw.safetensors"), "{said}");
    assert!(grid("raw.safetensors", "raw.png") != trained);

    // What a model does not have, and what it is not.
    let refused = |words: &[&str], code, wanted: &[&str]| {
        place.dcgan(&[words]).refused(code, wanted);
    };
    let network = ["--network", "discriminator"];
    let of_alone = ["export", "alone.safetensors", "--to", "onnx", "--out", "x.onnx"];
    refused(&[&of_alone[..], &network].concat(), 1, &["holds a generator alone"]);
    place.dcgan(&[&["import", "d.pth", "--out", "judge.safetensors"]]).ok();
    refused(&["sample", "judge.safetensors"], 1, &["holds a discriminator alone"]);
    for file in ["alone.safetensors", "d.pth"] {
        let wanted = ["--resume wants a run's folder", "dcgan import"];
        refused(&["train", "--resume", file], 1, &wanted);
    }
    // Weights that are no model yet: what makes one of them.
    fs::create_dir(place.path("npy")).unwrap();
    fs::write(place.path("npy/gen_params_0.npy"), "").unwrap();
    for file in ["d.pth", "g.safetensors", "g.onnx", "npy"] {
        for command in ["sample", "walk", "features", "export"] {
            let more: &[&str] = match command {
                "features" => &["--out", "f.npy"],
                "export" => &["--to", "pth", "--out", "x.pth"],
                _ => &[],
            };
            refused(&[&[command, file], more].concat(), 1, &[file, "dcgan import"]);
        }
    }
    let again = ["import", "model.safetensors", "--out", "y.safetensors"];
    refused(&again, 1, &["is already a model of this program"]);
    refused(&["import", "d.pth", "--out", "y.png"], 2, &["--out", "not a model's name"]);
    let onto = ["import", "g.safetensors", "--out", "g.safetensors"];
    refused(&onto, 2, &["--out", "is also an input"]);
    let itself = ["export", "model.safetensors", "--to", "pth", "--out", "model.safetensors"];
    refused(&itself, 2, &["--out", "is the model itself"]);
    for (flag, value) in [
        ("--g-sides", "4,x"),
        ("--d-slope", "-1"),
        ("--eps", "nan"),
        ("--latent-distribution", "cauchy"),
        ("--output", "relu"),
    ] {
        let words = ["import", "d.pth", "--out", "y.safetensors", flag, value];
        refused(&words, 2, &[flag]);
    }
    assert!(!place.path("y.safetensors").exists() && !place.path("x.onnx").exists());
    let model = ModelFile::load(&latest(&run)).unwrap();
    assert_eq!(model.used("generator", Weights::default()), Weights::Averaged);
}

/// Other networks than a GAN's two leave by their roles as well.
#[test]
fn an_encoder_is_exported() {
    let networks = network(Architecture::Dcgan, 16, 16).networks;
    let mut encoder = networks.discriminator().unwrap().clone();
    let Some(Layer::Conv(conv)) = encoder.layers.last_mut() else { panic!("no convolution") };
    conv.small = networks.nz;
    let model = drawn(networks.with(model::Role::Encoder, encoder));
    let dir = tempfile::tempdir().unwrap();
    let save = |role: model::Role, format, name: &str| {
        let path = dir.path().join(name);
        Export::of(&model, role, Weights::default()).unwrap().save(&path, format).unwrap();
        path
    };
    let roles = [model::Role::Generator, model::Role::Discriminator, model::Role::Encoder];
    let files = roles.map(|role| save(role, Format::Safetensors, &format!("{role}.safetensors")));
    let back = import(&files, &[], &Assumptions::default()).unwrap();
    assert!(back.networks == model.networks && back.tensors == model.tensors);

    // Its graph against the same layers and numbers as a discriminator.
    let encoder = model.networks.encoder().unwrap().clone();
    let heads = model.networks.nz - 1;
    let networks = Networks { heads, ..model.networks.clone() };
    let mut other = model.clone();
    other.networks = networks.with(model::Role::Discriminator, encoder);
    for (name, tensor) in &model.tensors {
        if let Some(rest) = name.strip_prefix("encoder.") {
            other.tensors.insert(format!("discriminator.{rest}"), tensor.clone());
        }
    }
    let z = seeded_latents(&[1, 2], model.networks.nz, LatentDistribution::Normal);
    let x = images(&model, &Device::Cpu, &z, false);
    let wanted = judged(&other, &Device::Cpu, &x).pop().unwrap();
    let graph = fs::read(save(model::Role::Encoder, Format::Onnx, "encoder.onnx")).unwrap();
    let got = run_graph(graph, ("images", channels_first(&x).into()), &["output"]);
    near("the encoder's output", &got[0], wanted.f32s());
}
