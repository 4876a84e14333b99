//! Layers against their formulas.

use dcgan::nn::{BatchNorm, Layer, Maxout, Mode, PixelBias, Sequential, Statistics};

use super::checked::check;

#[test]
fn every_pixel_has_a_bias_of_its_own() {
    let size = [2, 3, 4];
    let network =
        Sequential { layers: vec![Layer::PixelBias(PixelBias { size, log_odds: false })] };
    let params = network.params("n");
    assert_eq!((params.len(), &*params[0].name), (1, "n.main.0.bias"));
    assert_eq!(params[0].layout.file_shape(&params[0].shape), [4, 2, 3]);
    assert!(params[0].initial(1).f32s().iter().all(|&x| x == 0.0));
    check(&network, Mode::Train, &[("x", &[5, 2, 3, 4])], |sources| {
        let bias = &sources["n.main.0.bias"];
        sources["x"].iter().enumerate().map(|(i, x)| x + bias[i % 24]).collect()
    });
    let error = network.sizes([3, 2, 4]).expect_err("another size");
    assert!(error.contains("layer main.0: takes images of [2, 3, 4]"), "{error}");
}

#[test]
fn maxout_is_the_largest_of_neighboring_channels() {
    for pieces in [2, 3] {
        let network = Sequential { layers: vec![Layer::Maxout(Maxout { pieces })] };
        check(&network, Mode::Eval, &[("x", &[2, 3, 1, 12])], |sources| {
            let groups = sources["x"].chunks(pieces);
            groups.map(|group| group.iter().fold(f64::MIN, |most, &x| most.max(x))).collect()
        });
    }
    for (pieces, wanted) in [
        (5, "layer main.0: 12 channels cannot be cut into groups of 5"),
        (0, "layer main.0: takes the largest of 0 channels"),
        (1, "layer main.0: takes the largest of 1 channels"),
    ] {
        let network = Sequential { layers: vec![Layer::Maxout(Maxout { pieces })] };
        let error = network.sizes([3, 1, 12]).expect_err(wanted);
        assert!(error.starts_with(wanted), "{error}");
    }
}

/// `(x − mean) / √(var + ε)`, with the statistics of the batch, of each channel or of each number of an
/// image, or the running ones.
#[test]
fn batch_norm_without_parameters_only_normalizes() {
    let eps = 0.1;
    let of = |cells, statistics| {
        let norm = BatchNorm { channels: 3, cells, eps, statistics, affine: false };
        Sequential { layers: vec![Layer::BatchNorm(norm)] }
    };
    let names = |network: &Sequential| -> Vec<String> {
        network.params("n").into_iter().map(|p| p.name).collect()
    };
    let running = of([1, 1], Statistics::Running);
    assert_eq!(names(&running), ["n.main.0.running_mean", "n.main.0.running_var"]);
    assert_eq!(names(&of([1, 1], Statistics::Batch)), [""; 0]);

    let shape = [4, 2, 1, 3];
    let whitened = |x: &[f64], kinds: usize| -> Vec<f64> {
        let moments = |kind: usize| {
            let own = || x.iter().skip(kind).step_by(kinds);
            let count = own().count() as f64;
            let mean = own().sum::<f64>() / count;
            (mean, own().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
        };
        let moments: Vec<(f64, f64)> = (0..kinds).map(moments).collect();
        let one = |(i, x): (usize, &f64)| {
            let (mean, var) = moments[i % kinds];
            (x - mean) / (var + f64::from(eps)).sqrt()
        };
        x.iter().enumerate().map(one).collect()
    };
    for (cells, kinds) in [([1, 1], 3), ([2, 1], 6)] {
        let batch = of(cells, Statistics::Batch);
        for mode in [Mode::Train, Mode::Eval] {
            check(&batch, mode, &[("x", &shape)], |sources| whitened(&sources["x"], kinds));
        }
        let running = of(cells, Statistics::Running);
        check(&running, Mode::Train, &[("x", &shape)], |sources| whitened(&sources["x"], kinds));
    }
    check(&running, Mode::Eval, &[("x", &shape)], |sources| {
        let [mean, var] = ["mean", "var"].map(|own| &sources[&format!("n.main.0.running_{own}")]);
        let one = |(i, x): (usize, &f64)| (x - mean[i % 3]) / (var[i % 3] + f64::from(eps)).sqrt();
        sources["x"].iter().enumerate().map(one).collect()
    });
}
