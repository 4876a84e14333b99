//! Layers against their formulas.

use dcgan::nn::{Layer, Mode, PixelBias, Sequential};

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
