//! Layers against their formulas.

use dcgan::nn::{Layer, Maxout, Mode, PixelBias, Sequential};

use super::checked::check;

#[test]
fn every_pixel_has_a_bias_of_its_own() {
    let size = [2, 3, 4];
    let network = Sequential { layers: vec![Layer::PixelBias(PixelBias { size })] };
    let params = network.params("n");
    assert_eq!((params.len(), &*params[0].name), (1, "n.main.0.bias"));
    assert_eq!(params[0].layout.file_shape(&params[0].shape), [4, 2, 3]);
    assert!(params[0].initial(1).f32s().iter().all(|&x| x == 0.0));
    check(&network, Mode::Train, &[("x", &[5, 2, 3, 4])], |sources| {
        let bias = &sources["n.main.0.bias"];
        sources["x"].iter().enumerate().map(|(i, x)| x + bias[i % 24]).collect()
    });
    let error = network.sizes([3, 2, 4]).expect_err("another size");
    assert!(error.contains("layer main.0: takes pictures of [2, 3, 4]"), "{error}");
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
