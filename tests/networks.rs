//! Feature networks, resizing and scores against PyTorch, Pillow, scipy and torch-fidelity
//! (`assets/reference/make_networks.py` says how).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dcgan::device::Device;
use dcgan::error::{Error, Result};
use dcgan::evaluation::frechet::frechet_distance;
use dcgan::evaluation::inception_score::inception_score;
use dcgan::evaluation::kid::{Subsets, kernel_distance};
use dcgan::evaluation::networks::{FeatureCache, FeatureNetwork, Kind, Resize};
use dcgan::evaluation::{Features, ImageSet};
use safetensors::tensor::{Dtype, TensorView};

use super::support;

/// `count` integers that belong to a name, as the script draws them.
fn bits(name: &str, count: usize) -> impl Iterator<Item = u32> {
    let start = name
        .bytes()
        .fold(0x811c_9dc5_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |i| {
        let mut x = i.wrapping_mul(0x9e37_79b9).wrapping_add(start);
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    })
}

fn drawn(name: &str, count: usize, scale: f64, shift: f64) -> Vec<f32> {
    let unit = |x: u32| f64::from(x >> 8) / f64::from(1 << 23) - 1.0;
    bits(name, count).map(|x| (unit(x) * scale + shift) as f32).collect()
}

fn images(name: &str, [count, height, width]: [usize; 3]) -> ImageSet {
    let bytes = bits(name, count * height * width * 3).map(|x| (x >> 24) as u8).collect();
    ImageSet::new([height, width, 3], bytes).unwrap()
}

/// Tensors of a file by name: shapes and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights that the script draws for a network with these tensors.
pub(crate) fn weights(kind: Kind) -> Tensors {
    let one = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let inputs = |shape: &[usize]| shape[1..].iter().product::<usize>() as f64;
        let values = match shape.len() {
            4 => drawn(&name, count, (6.0 / inputs(&shape)).sqrt(), 0.0),
            2 => drawn(&name, count, (3.0 / inputs(&shape)).sqrt(), 0.0),
            _ if name.ends_with("running_var") => drawn(&name, count, 0.2, 1.0),
            _ if name.ends_with("weight") => drawn(&name, count, 0.1, 1.0),
            _ => drawn(&name, count, 0.1, 0.0),
        };
        (name, (shape, values))
    };
    kind.tensors().into_iter().map(one).collect()
}

pub(crate) fn write(folder: &Path, tensors: &Tensors) -> PathBuf {
    let path = folder.join("network.safetensors");
    let views = tensors.iter().map(|(name, (shape, values))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).unwrap())
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}

/// Runs to its end without a word.
fn quietly(_done: usize, _all: usize) -> Result<()> {
    Ok(())
}

/// The largest difference, as a part of the largest wanted value.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    got.iter().zip(want).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
}

/// Every 8th number, as the script keeps them.
fn thinned(features: &Features) -> Vec<f32> {
    features.values.chunks(features.width).flat_map(|row| row.iter().step_by(8)).copied().collect()
}

/// A network of drawn weights gives what PyTorch's network of these weights gives.
fn agrees(kind: Kind, name: &str, size: [usize; 3], devices: &[Device]) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &weights(kind));
    let images = images(name, size);
    let (want, _) = support::reference("networks");
    for device in devices {
        let mut network = FeatureNetwork::open(&path, device).unwrap();
        assert_eq!((network.kind(), network.bias().len()), (kind, kind.widths()[1]));
        let outputs = network.features(&images, &mut quietly).unwrap();
        for (part, got) in [("features", &outputs.features), ("logits", &outputs.logits)] {
            assert_eq!(got.count(), size[0]);
            let off = difference(&thinned(got), want[&format!("{name}/{part}")].f32s());
            println!("{name} {part} on {}: {off:e}", device.name());
            assert!(off < 1e-4, "{name}: {part} on {} are off by {off:e}", device.name());
        }
    }
}

#[test]
fn inception_gives_what_torch_fidelity_and_pytorch_fid_give() {
    // On a software GPU it would take a minute; the layers are checked there one by one.
    agrees(Kind::Inception, "inception", [2, 32, 24], &[Device::Cpu]);
}

#[test]
fn efficientnet_gives_what_pytorch_gives() {
    agrees(Kind::EfficientNetLite0, "efficientnet", [2, 40, 32], &support::devices());
}

#[test]
fn images_are_resized_as_the_originals_resize() {
    let (want, _) = support::reference("networks");
    let mut seen = 0;
    for (name, want) in want.iter().filter(|(name, _)| name.starts_with("resize/")) {
        let parts: Vec<&str> = name.split('/').collect();
        let resize = match parts[1] {
            "tf1" => Resize::TensorFlow,
            "pytorch" => Resize::PyTorch,
            _ => Resize::Clean,
        };
        let (height, width) = parts[2].split_once('x').unwrap();
        let [height, width, side] = [height, width, parts[3]].map(|x| x.parse::<usize>().unwrap());
        let image = images(&format!("resize {height}x{width}"), [1, height, width]);
        let got = resize.apply(&image.bytes, image.size, side);
        let step = if side == 299 { 7 } else { 1 };
        let rows = got.chunks(side * 3).step_by(step);
        let kept = rows.flat_map(|row| row.chunks(3).step_by(step)).flatten();
        let off = difference(&kept.copied().collect::<Vec<_>>(), want.f32s());
        assert!(off < 2e-6, "{name} is off by {off:e}");
        seen += 1;
    }
    assert_eq!(seen, 15);
}

/// Row-major `a · b` in 64 bits, rounded.
fn mixed(a: &[f32], mix: &[f32], width: usize) -> Vec<f32> {
    let row = |row: &[f32], c: usize| -> f64 {
        row.iter().enumerate().map(|(k, &x)| f64::from(x) * f64::from(mix[k * width + c])).sum()
    };
    a.chunks(width).flat_map(|r| (0..width).map(move |c| row(r, c) as f32)).collect()
}

#[test]
fn scores_are_those_of_scipy_and_torch_fidelity() {
    let (_, about) = support::reference("networks");
    for (name, count, width) in [("many", 60, 12), ("few", 10, 24), ("dependent", 60, 12)] {
        let mix = drawn(&format!("{name} mix"), width * width, 1.0, 0.0);
        let mut a = mixed(&drawn(&format!("{name} a"), count * width, 1.0, 0.0), &mix, width);
        let mut b = mixed(&drawn(&format!("{name} b"), count * width, 0.8, 0.1), &mix, width);
        if name == "dependent" {
            a.chunks_mut(width).for_each(|row| row[3] = 0.0);
            b.chunks_mut(width).for_each(|row| row[5] = row[6]);
        }
        let logits = Features::new(width, a.iter().map(|x| 4.0 * x).collect()).unwrap();
        let (a, b) = (Features::new(width, a).unwrap(), Features::new(width, b).unwrap());
        let near = |what: &str, got: f64, tolerance: f64| {
            let want = about["scores"][name][what].as_f64().unwrap();
            assert!(
                (got - want).abs() < tolerance * want.abs(),
                "{name} {what}: {got}, not {want}"
            );
        };
        for (a, b) in [(&a, &b), (&b, &a)] {
            near("frechet", frechet_distance(a, b).unwrap(), 1e-6);
            // All images in each subset: then the order of the draws does not matter.
            let subsets = Subsets { count: 3, size: count, ..Subsets::default() };
            let kid = kernel_distance(a, b, &subsets).unwrap();
            near("kid", kid.mean, 1e-5);
            assert!(kid.deviation < 1e-6);
        }
        near("is", inception_score(&logits, 1, 0).unwrap().mean, 1e-6);
    }
}

#[test]
fn scores_of_sets_whose_values_are_known() {
    // A point at each ± s_i of every axis around a mean: the covariance is diagonal.
    let cross = |mean: f32, scale: f32| {
        let point = |i: usize| {
            let s = scale * (1 + i / 2) as f32 * if i.is_multiple_of(2) { 1.0 } else { -1.0 };
            (0..4).map(move |c| if c == i / 2 { mean + s } else { mean })
        };
        Features::new(4, (0..8).flat_map(point).collect()).unwrap()
    };
    let (a, b) = (cross(1.0, 1.0), cross(3.0, 2.0));
    // Standard deviations √(2/7)·s and twice that; four axes of distance 2.
    let want = 4.0 * 4.0 + 2.0 / 7.0 * (1.0 + 4.0 + 9.0 + 16.0);
    assert!((frechet_distance(&a, &b).unwrap() - want).abs() < 1e-9);
    for set in [&a, &Features::new(5, drawn("same", 40, 1.0, 0.0)).unwrap()] {
        assert!(frechet_distance(set, set).unwrap().abs() < 1e-6);
    }
    // Alike sets: the diagonal, which is left out, makes it negative.
    let many = Features::new(8, drawn("kid", 8 * 300, 1.0, 0.0)).unwrap();
    let more = Features::new(8, drawn("kid again", 8 * 300, 1.0, 0.0)).unwrap();
    let subsets = Subsets { count: 20, size: 100, seed: 1 };
    let alike = kernel_distance(&many, &more, &subsets).unwrap();
    assert!(alike.mean.abs() < 0.02 && alike.deviation > 0.0, "{alike:?}");
    assert_eq!(kernel_distance(&many, &more, &subsets).unwrap(), alike);
    let other = Subsets { seed: 2, ..subsets };
    assert_ne!(kernel_distance(&many, &more, &other).unwrap(), alike);
    // Ten certain classes, equally often; then one for all.
    let certain = |class: fn(usize) -> usize| {
        let row = move |i: usize| (0..10).map(move |c| if c == class(i) { 90.0 } else { 0.0 });
        Features::new(10, (0..1000).flat_map(row).collect()).unwrap()
    };
    let all = inception_score(&certain(|i| i % 10), 10, 7).unwrap();
    assert!(all.mean > 9.0 && all.mean < 10.0 && all.deviation > 0.0, "{all:?}");
    assert!((inception_score(&certain(|i| i % 10), 1, 7).unwrap().mean - 10.0).abs() < 1e-9);
    assert!((inception_score(&certain(|_| 3), 10, 7).unwrap().mean - 1.0).abs() < 1e-9);
}

#[test]
fn what_scores_cannot_be_computed_of_is_said() {
    let set = |count: usize, width: usize| {
        Features::new(width, drawn("set", count * width, 1.0, 0.0)).unwrap()
    };
    let mut bad = set(5, 3);
    bad.values[4] = f32::NAN;
    let cases: [(Result<f64>, &str); 6] = [
        (frechet_distance(&set(1, 3), &set(5, 3)), "two images or more, and one set has 1"),
        (frechet_distance(&set(5, 4), &set(5, 3)), "4 features an image, the other 3"),
        (frechet_distance(&bad, &set(5, 3)), "not finite"),
        (
            kernel_distance(&set(5, 3), &set(9, 3), &Subsets::default()).map(|s| s.mean),
            "100 subsets of 1000 images cannot be drawn from a set of 5",
        ),
        (
            kernel_distance(&set(5, 3), &set(5, 4), &Subsets::default()).map(|s| s.mean),
            "3 features an image, the other 4",
        ),
        (inception_score(&set(5, 3), 10, 0).map(|s| s.mean), "5 images cannot be cut into 10"),
    ];
    for (result, words) in cases {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Metric { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn other_networks_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let small = |names: &[(&str, &[usize])]| -> Tensors {
        let tensor = |&(name, shape): &(&str, &[usize])| {
            (name.to_owned(), (shape.to_vec(), vec![0.5; shape.iter().product()]))
        };
        names.iter().map(tensor).collect()
    };
    let first: (&str, &[usize]) = ("Conv2d_1a_3x3.conv.weight", &[32, 3, 3, 3]);
    let mut lite1 = weights(Kind::EfficientNetLite0);
    lite1.insert("_blocks.16._bn0.bias".into(), (vec![3], vec![0.0; 3]));
    let mut wide = weights(Kind::EfficientNetLite0);
    wide.insert("_fc.bias".into(), (vec![999], vec![0.0; 999]));
    let mut poor = weights(Kind::EfficientNetLite0);
    poor.remove("_blocks.15._bn2.running_var");
    let mut spoiled = weights(Kind::EfficientNetLite0);
    spoiled.get_mut("_bn0.bias").unwrap().1[7] = f32::INFINITY;
    let cases: [(Tensors, &str); 9] = [
        (small(&[("main.0.weight", &[3, 3])]), "holds neither FID's Inception network"),
        (small(&[first, ("fc.weight", &[1000, 2048])]), "is torchvision's Inception"),
        (small(&[first, ("AuxLogits.fc.bias", &[3])]), "is torchvision's Inception"),
        (small(&[first, ("fc.weight", &[])]), "has no tensor Conv2d_1a_3x3.bn.bias"),
        (small(&[first]), "is not inception-2015-12-05: it has no tensor Conv2d_1a_3x3.bn.bias"),
        (lite1, "is not efficientnet-lite0, which has no tensor _blocks.16._bn0.bias"),
        (wide, "_fc.bias is [999], not [1000]"),
        (poor, "it has no tensor _blocks.15._bn2.running_var"),
        (spoiled, "values in _bn0.bias that are not finite"),
    ];
    for (tensors, words) in cases {
        let path = write(folder.path(), &tensors);
        let error = FeatureNetwork::open(&path, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("network.safetensors"), "{error}");
    }
}

#[test]
fn features_are_kept_by_content_and_damaged_ones_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &weights(Kind::EfficientNetLite0));
    let mut network = FeatureNetwork::open(&path, &Device::Cpu).unwrap();
    let place = folder.path().join("not yet there");
    let cache = FeatureCache::new(&place);
    let set = images("cache", [3, 8, 8]);
    let mut seen = Vec::new();
    let mut note = |done, all| {
        seen.push((done, all));
        Ok(())
    };
    let first = cache.features(&mut network, &set, &mut note).unwrap();
    assert!(!first.found && first.warning.is_none());
    assert_eq!((seen.first(), seen.last()), (Some(&(0, 3)), Some(&(3, 3))));
    let file = || {
        let mut files = std::fs::read_dir(&place).unwrap().map(|f| f.unwrap().path());
        (files.next().unwrap(), files.next().is_none())
    };
    let (kept, alone) = file();
    assert!(alone);
    let again = cache.features(&mut network, &set, &mut quietly).unwrap();
    assert!(again.found && again.outputs == first.outputs);

    // A turned bit, a file cut short, a file of another set under this name.
    let whole = std::fs::read(&kept).unwrap();
    let mut turned = whole.clone();
    let at = turned.len() - 100;
    turned[at] ^= 1;
    let other = images("another", [3, 8, 8]);
    let elsewhere = folder.path().join("elsewhere");
    FeatureCache::new(&elsewhere).features(&mut network, &other, &mut quietly).unwrap();
    let foreign = std::fs::read_dir(&elsewhere).unwrap().next().unwrap().unwrap().path();
    for bytes in [turned, whole[..whole.len() / 2].to_vec(), std::fs::read(&foreign).unwrap()] {
        std::fs::write(&kept, &bytes).unwrap();
        let mended = cache.features(&mut network, &set, &mut quietly).unwrap();
        assert!(!mended.found && mended.outputs == first.outputs);
        assert!(mended.warning.unwrap().contains("computed again"));
        assert_eq!(std::fs::read(&kept).unwrap(), whole);
    }

    // Another set, another way to resize and another file are other features.
    let mut network = network.with_resize(Resize::PyTorch);
    assert!(!cache.features(&mut network, &set, &mut quietly).unwrap().found);
    assert!(!cache.features(&mut network, &other, &mut quietly).unwrap().found);
    let mut changed = weights(Kind::EfficientNetLite0);
    changed.get_mut("_bn0.bias").unwrap().1[7] += 1.0;
    let path = write(folder.path(), &changed);
    let mut network = FeatureNetwork::open(&path, &Device::Cpu).unwrap();
    assert!(!cache.features(&mut network, &set, &mut quietly).unwrap().found);

    // Where nothing can be stored, there is a warning and there are features.
    let blocked = FeatureCache::new(&path.join("below a file"));
    let outputs = blocked.features(&mut network, &set, &mut quietly).unwrap();
    assert!(outputs.warning.is_some() && !outputs.found);
    // An error of the progress ends the work.
    let mut stop = |_, _| Err(Error::Lost("stopped".into()));
    assert!(network.features(&set, &mut stop).is_err());
    let colors = ImageSet::new([8, 8, 4], vec![0; 256]).unwrap();
    let error = network.features(&colors, &mut quietly).unwrap_err().to_string();
    assert!(error.contains("have 4 channels"), "{error}");
}
