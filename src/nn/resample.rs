//! Layers that change the size of an image and have no parameters.

use crate::error::Result;
use crate::tape::{Tape, Var};
use crate::tensor::Tensor;

use super::onnx::{Attribute, Graph};
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{Around, Misfit, takes};
use super::{BatchDependence, LayerRole, Reach};

/// An image `[h, w, c]` as one pixel of `h · w · c` channels, in that order.
#[derive(Debug)]
pub(super) struct Flatten;

/// Each pixel four times: images of twice the side (nearest neighbor).
#[derive(Debug)]
pub(super) struct Upsample;

/// The mean of each square of 2×2 pixels: images of half the side.
#[derive(Debug)]
pub(super) struct AveragePool;

/// The largest value of each square of 2×2 pixels: images of half the side.
#[derive(Debug)]
pub(super) struct MaxPool;

/// The sum of all pixels, one pixel.
#[derive(Debug)]
pub(super) struct SumPool;

impl LayerRule for Flatten {
    fn kind(&self) -> &'static str {
        "a flattening"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        Ok([1, 1, h * w * c])
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let shape = t.shape(x).to_vec();
        t.reshape(x, &[shape[0], 1, 1, shape[1..].iter().product()])
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        _: &str,
        x: String,
        [h, w, c]: [usize; 3],
    ) -> Result<String> {
        let x = graph.node("Transpose", &[x], &[Attribute::Ints("perm", &[0, 2, 3, 1])]);
        Ok(graph.reshape(&x, &[0, h * w * c, 1, 1]))
    }
}

impl LayerRule for Upsample {
    fn kind(&self) -> &'static str {
        "an upsampling"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        Ok([2 * h, 2 * w, c])
    }

    /// For `x` `[n, h, w, c]`: `[n, 2h, 2w, c]`.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
        let pixels = t.reshape(x, &[n * h, 1, w, 1, c])?;
        let large = t.broadcast_to(pixels, &[n * h, 2, w, 2, c])?;
        t.reshape(large, &[n, 2 * h, 2 * w, c])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let scales = graph.constant("scales", &Tensor::new([4], vec![1.0, 1.0, 2.0, 2.0])?);
        // Between them is the region of interest, which this kind of resizing does not use.
        let inputs = [x, String::new(), scales];
        let how = [
            Attribute::Text("coordinate_transformation_mode", "asymmetric"),
            Attribute::Text("mode", "nearest"),
            Attribute::Text("nearest_mode", "floor"),
        ];
        Ok(graph.node("Resize", &inputs, &how))
    }
}

impl LayerRule for AveragePool {
    fn kind(&self) -> &'static str {
        "an average pool"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Window { kernel: [2, 2], stride: [2, 2], pad: [0, 0] }
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        takes([h / 2 * 2, w / 2 * 2, c], [h, w, c])?;
        Ok([h / 2, w / 2, c])
    }

    /// For `x` `[n, 2h, 2w, c]`: `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
        let squares = t.reshape(x, &[n * h / 2, 2, w / 2, 2, c])?;
        let mean = t.mean(squares, &[1, 3])?;
        t.reshape(mean, &[n, h / 2, w / 2, c])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let squares =
            [Attribute::Ints("kernel_shape", &[2, 2]), Attribute::Ints("strides", &[2, 2])];
        Ok(graph.node("AveragePool", &[x], &squares))
    }
}

impl LayerRule for MaxPool {
    fn kind(&self) -> &'static str {
        "a max pool"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::Window { kernel: [2, 2], stride: [2, 2], pad: [0, 0] }
    }

    fn size(&self, [h, w, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        takes([h / 2 * 2, w / 2 * 2, c], [h, w, c])?;
        Ok([h / 2, w / 2, c])
    }

    /// For `x` `[n, 2h, 2w, c]`: `[n, h, w, c]`.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[_, h, w, _] = t.shape(x) else { return Ok(x) };
        t.max_pool(x, [h / 2, w / 2])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let squares =
            [Attribute::Ints("kernel_shape", &[2, 2]), Attribute::Ints("strides", &[2, 2])];
        Ok(graph.node("MaxPool", &[x], &squares))
    }
}

impl LayerRule for SumPool {
    fn kind(&self) -> &'static str {
        "a sum pool"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Other
    }

    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, [_, _, c]: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        Ok([1, 1, c])
    }

    /// For `x` `[n, h, w, c]`: `[n, 1, 1, c]`.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[n, _, _, c] = t.shape(x) else { return Ok(x) };
        let sum = t.sum(x, &[1, 2])?;
        t.reshape(sum, &[n, 1, 1, c])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let axes = graph.shape(&[2, 3]);
        Ok(graph.node("ReduceSum", &[x, axes], &[Attribute::Int("keepdims", 1)]))
    }
}
