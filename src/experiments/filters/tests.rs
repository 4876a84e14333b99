//! Compares guided gradients with their definition, computed value by value.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use image::RgbImage;

use super::*;
use crate::device::Device;
use crate::features::feature_layers;
use crate::models::Size;
use crate::models::{Architecture, ModelConfig};
use crate::nn::{BatchNorm, Conv, Layer};

const SIDE: usize = 16;

fn networks(network: Architecture) -> Networks {
    let size = Size { height: SIDE, width: SIDE };
    ModelConfig { network, size, channels: 3, nz: 4, ngf: 4, ndf: 4, ..ModelConfig::default() }
        .networks()
        .unwrap()
}

/// Large weights so that many units are active, and statistics unlike the untrained ones.
fn state(networks: &Networks) -> State {
    let mut state = State::new(&Device::Cpu);
    for param in networks.discriminator().unwrap().params(DISCRIMINATOR) {
        let value = match param.learned {
            true => {
                let initial = param.initial(5);
                let numbers = initial.f32s().iter().map(|x| x * 10.0).collect();
                Tensor::new(param.shape, numbers).unwrap()
            }
            false => Tensor::full(param.shape, 0.25),
        };
        state.set(&param.name, &value).unwrap();
    }
    state
}

fn images(n: usize) -> Vec<Vec<u8>> {
    let byte = |i: usize, at: usize| ((at * (2 * i + 3) * 7 + at / 48 * 31 * i) % 256) as u8;
    (0..n).map(|i| (0..SIDE * SIDE * 3).map(|at| byte(i, at)).collect()).collect()
}

/// The trace of a network of convolutions, batch norms and leaky ReLUs on one image, and the guided
/// gradient from one of its values: computed value by value, in 64 bits.
struct Naive<'a> {
    network: &'a Sequential,
    state: &'a State,
    slope: f64,
}

impl Naive<'_> {
    fn param(&self, layer: usize, name: &str) -> Vec<f64> {
        let tensor = self.state.get(&format!("{DISCRIMINATOR}.main.{layer}.{name}")).unwrap();
        tensor.f32s().iter().map(|&x| f64::from(x)).collect()
    }

    /// Calls `f(large, weight, small)` with the indices of all products of a convolution.
    fn products(&self, layer: usize, mut f: impl FnMut(usize, usize, usize)) {
        let Layer::Conv(Conv { spec, large, small, .. }) = self.network.layers[layer] else {
            return;
        };
        let [kh, kw] = spec.kernel;
        for (y, x) in (0..spec.small[0]).flat_map(|y| (0..spec.small[1]).map(move |x| (y, x))) {
            for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                let from = [
                    (y * spec.stride[0] + ky).wrapping_sub(spec.pad[0]),
                    (x * spec.stride[1] + kx).wrapping_sub(spec.pad[1]),
                ];
                if from[0] >= spec.large[0] || from[1] >= spec.large[1] {
                    continue;
                }
                for (l, s) in (0..large).flat_map(|l| (0..small).map(move |s| (l, s))) {
                    f(
                        (from[0] * spec.large[1] + from[1]) * large + l,
                        ((ky * kw + kx) * large + l) * small + s,
                        (y * spec.small[1] + x) * small + s,
                    );
                }
            }
        }
    }

    fn forward(&self, x: Vec<f64>, last: usize) -> Vec<Vec<f64>> {
        let mut outputs: Vec<Vec<f64>> = vec![x];
        for (i, layer) in self.network.layers[..=last].iter().enumerate() {
            let x = outputs.last().unwrap();
            let y = match *layer {
                Layer::Conv(Conv { spec, small, .. }) => {
                    let w = self.param(i, "weight");
                    let mut y = vec![0.0; spec.small[0] * spec.small[1] * small];
                    self.products(i, |l, k, s| y[s] += x[l] * w[k]);
                    y
                }
                Layer::BatchNorm(_) => {
                    let (factor, shift) = self.norm(i);
                    let c = factor.len();
                    x.iter().enumerate().map(|(j, x)| x * factor[j % c] + shift[j % c]).collect()
                }
                Layer::LeakyRelu(_) => {
                    x.iter().map(|&x| if x > 0.0 { x } else { self.slope * x }).collect()
                }
                _ => x.clone(),
            };
            outputs.push(y);
        }
        outputs
    }

    fn norm(&self, layer: usize) -> (Vec<f64>, Vec<f64>) {
        let Layer::BatchNorm(BatchNorm { eps, .. }) = self.network.layers[layer] else {
            unreachable!()
        };
        let [weight, bias, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(|name| self.param(layer, name));
        let factor: Vec<f64> =
            weight.iter().zip(&var).map(|(w, v)| w / (v + f64::from(eps)).sqrt()).collect();
        let shift = (0..factor.len()).map(|c| bias[c] - mean[c] * factor[c]).collect();
        (factor, shift)
    }

    fn guided(&self, outputs: &[Vec<f64>], last: usize, at: usize) -> Vec<f64> {
        let mut g = vec![0.0; outputs[last + 1].len()];
        g[at] = 1.0;
        for i in (0..=last).rev() {
            let x = &outputs[i];
            g = match self.network.layers[i] {
                Layer::Conv(_) => {
                    let w = self.param(i, "weight");
                    let mut gx = vec![0.0; x.len()];
                    self.products(i, |l, k, s| gx[l] += g[s] * w[k]);
                    gx
                }
                Layer::BatchNorm(_) => {
                    let (factor, _) = self.norm(i);
                    g.iter().enumerate().map(|(j, g)| g * factor[j % factor.len()]).collect()
                }
                Layer::LeakyRelu(_) => {
                    let both = |(&g, &x): (&f64, &f64)| if g > 0.0 && x > 0.0 { g } else { 0.0 };
                    g.iter().zip(x).map(both).collect()
                }
                _ => g,
            };
        }
        g
    }
}

#[test]
fn guided_gradients_are_those_of_the_definition() {
    for network in [Architecture::Dcgan, Architecture::Paper] {
        let networks = networks(network);
        let network = networks.discriminator().unwrap().clone();
        let level = *feature_layers(&networks).unwrap().last().unwrap();
        let wanted = Wanted { level, filters: vec![0] };
        let mut observer = Observer::new(&networks, state(&networks), vec![wanted], 2).unwrap();
        // More than a batch.
        let asked: Vec<(usize, Vec<u8>)> =
            images(11).into_iter().enumerate().map(|(i, p)| (i % level.size[2], p)).collect();
        let found = observer.explain(&level, &asked).unwrap();
        assert_eq!(found.len(), 11);
        let state = state(&networks);
        let naive = Naive { network: &network, state: &state, slope: 0.2 };
        let mut shown = 0;
        for ((filter, image), found) in asked.iter().zip(&found) {
            let x = image.iter().map(|&b| f64::from(b) / 127.5 - 1.0).collect();
            let outputs = naive.forward(x, level.output);
            let [h, w, c] = level.size;
            let map: Vec<f64> =
                (0..h * w).map(|i| outputs[level.output + 1][i * c + filter]).collect();
            let place = found.place[0] * w + found.place[1];
            assert!(map.iter().all(|&x| x <= map[place] + 1e-4), "{map:?} {place}");
            let wanted = naive.guided(&outputs, level.output, place * c + filter);
            let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            for (got, wanted) in found.gradient.iter().zip(&wanted) {
                let far = (f64::from(*got) - wanted).abs();
                assert!(far <= 1e-4 * largest, "{got} {wanted}");
            }
            shown += usize::from(largest > 0.0);
            assert_eq!(largest > 0.0, map[place] > 0.0, "silent, and yet it has a gradient");
            // The gradient is zero outside of the receptive field, and not at its ends.
            let [rows, columns] = observer.field(&level, found.place);
            for (at, &g) in found.gradient.iter().enumerate().filter(|(_, g)| **g != 0.0) {
                let (row, column) = ((at / 3 / SIDE) as isize, (at / 3 % SIDE) as isize);
                assert!((rows[0]..=rows[1]).contains(&row), "{row} {rows:?} {g}");
                assert!((columns[0]..=columns[1]).contains(&column), "{column} {columns:?}");
            }
        }
        assert!(shown > 4, "nearly all are silent");
    }
}

#[test]
fn a_place_sees_what_its_kernels_cover() {
    let network = networks(Architecture::Dcgan).discriminator().unwrap().clone();
    let feature_layers = feature_layers(&networks(Architecture::Dcgan)).unwrap();
    // 4x4 kernels, stride 2, padding 1: 4 pixels, then 10.
    let field =
        |level: usize, place| receptive_field(&network, feature_layers[level].output, place);
    assert_eq!(field(0, [0, 3]), [[-1, 2], [5, 8]]);
    assert_eq!(field(1, [0, 3]), [[-3, 6], [9, 18]]);
}

#[test]
fn the_strongest_are_found_whatever_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    for (i, image) in images(9).into_iter().enumerate() {
        let image = RgbImage::from_raw(SIDE as u32, SIDE as u32, image).unwrap();
        image.save(dir.path().join(format!("{i}.png"))).unwrap();
    }
    let source = Source::open(Some(dir.path())).unwrap();
    let prepare = Prepare { height: SIDE, width: SIDE, ..Prepare::default() };
    let networks = networks(Architecture::Dcgan);
    let feature_layers = feature_layers(&networks).unwrap();
    let wanted = vec![
        Wanted { level: feature_layers[1], filters: vec![5, 0] },
        Wanted { level: feature_layers[0], filters: vec![3] },
    ];
    let seen = |batch: usize, top: usize| {
        let observer = Observer::new(&networks, state(&networks), wanted.clone(), batch);
        let mut observers = [observer.unwrap()];
        let mut done = 0;
        let skipped = observe(&mut observers, &source, &prepare, top, |n| done += n).unwrap();
        assert!(skipped.is_empty() && done == 9);
        observers[0].answers().to_vec()
    };
    let all = seen(4, 99);
    // Compared with the network's own trace.
    let network = networks.discriminator().unwrap();
    let state = state(&networks);
    let naive = Naive { network, state: &state, slope: 0.2 };
    for (wanted, answers) in wanted.iter().zip(&all) {
        for (filter, answers) in wanted.filters.iter().zip(answers) {
            let mut largest: Vec<(usize, f64)> = Vec::new();
            for (i, image) in images(9).iter().enumerate() {
                let x = image.iter().map(|&b| f64::from(b) / 127.5 - 1.0).collect();
                let outputs = naive.forward(x, wanted.level.output);
                let map = outputs.last().unwrap().iter().skip(*filter);
                let map = map.step_by(wanted.level.size[2]);
                largest.push((i, map.copied().fold(f64::NEG_INFINITY, f64::max)));
            }
            let mean = largest.iter().map(|l| l.1).sum::<f64>() / 9.0;
            assert!((answers.mean() - mean).abs() < 1e-3 * (1.0 + mean.abs()));
            assert_eq!(answers.fired, largest.iter().filter(|l| l.1 > 0.0).count());
            largest.sort_by(|a, b| b.1.total_cmp(&a.1));
            assert_eq!(answers.seen, 9);
            for (got, wanted) in answers.strongest.iter().zip(&largest) {
                assert_eq!(got.item as usize, wanted.0);
                assert!((f64::from(got.strength) - wanted.1).abs() < 1e-3 * wanted.1.abs());
            }
        }
    }
    for (batch, top) in [(9, 3), (2, 3)] {
        for (few, all) in seen(batch, top).iter().flatten().zip(all.iter().flatten()) {
            assert_eq!(few.strongest.len(), 3);
            for (few, all) in few.strongest.iter().zip(&all.strongest) {
                assert_eq!(few.item, all.item);
                assert!((few.strength - all.strength).abs() < 1e-4 * (1.0 + all.strength.abs()));
            }
        }
    }
}
