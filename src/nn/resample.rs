//! Layers that change the size of an image and have no parameters.

use serde::{Deserialize, Serialize};

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

/// One pixel of `height · width · channels` channels as an image of that size, the inverse of
/// [`super::Layer::Flatten`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unflatten {
    /// Rows of the image.
    pub height: usize,
    /// Its columns.
    pub width: usize,
    /// Its channels.
    pub channels: usize,
}

/// Each pixel four times: images of twice the side (nearest neighbor).
#[derive(Debug)]
pub(super) struct Upsample;

/// Images of twice the side by bilinear interpolation between the centers of pixels.
#[derive(Debug)]
pub(super) struct Bilinear;

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

impl LayerRule for Unflatten {
    fn kind(&self) -> &'static str {
        "a reshape to an image"
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

    fn size(&self, at: [usize; 3], _: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let image = [self.height, self.width, self.channels];
        let numbers = image.into_iter().try_fold(1_usize, usize::checked_mul);
        let numbers = numbers.ok_or_else(|| format!("makes images of {image:?}"))?;
        takes([1, 1, numbers], at)?;
        Ok(image)
    }

    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let n = t.shape(x).first().copied().unwrap_or_default();
        t.reshape(x, &[n, self.height, self.width, self.channels])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let image = graph.reshape(&x, &[0, self.height, self.width, self.channels]);
        Ok(graph.node("Transpose", &[image], &[Attribute::Ints("perm", &[0, 3, 1, 2])]))
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

/// For `x` `[n, m, d]`: `[n, 2m, d]`, where each element becomes two, a quarter of the way to its
/// neighbors; beyond the ends there is the last element again.
fn between(t: &mut Tape, x: Var) -> Result<Var> {
    let &[n, m, d] = t.shape(x) else { return Ok(x) };
    let (mut before, mut after) = (x, x);
    if m > 1 {
        let part = |t: &mut Tape, from, count| t.slice(x, &[0, from, 0], &[n, count, d]);
        let (first, but_last) = (part(t, 0, 1)?, part(t, 0, m - 1)?);
        let (last, but_first) = (part(t, m - 1, 1)?, part(t, 1, m - 1)?);
        before = t.concat(&[first, but_last], 1)?;
        after = t.concat(&[but_first, last], 1)?;
    }
    let own = t.affine(x, 0.75, 0.0)?;
    let half = |t: &mut Tape, neighbor| {
        let share = t.affine(neighbor, 0.25, 0.0)?;
        let sum = t.add(own, share)?;
        t.reshape(sum, &[n * m, 1, d])
    };
    let (first, second) = (half(t, before)?, half(t, after)?);
    let both = t.concat(&[first, second], 1)?;
    t.reshape(both, &[n, 2 * m, d])
}

impl LayerRule for Bilinear {
    fn kind(&self) -> &'static str {
        "a bilinear upsampling"
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

    /// For `x` `[n, h, w, c]`: `[n, 2h, 2w, c]`, as PyTorch's `Upsample(scale_factor=2,
    /// mode="bilinear")`.
    fn record(&self, t: &mut Tape, _: &str, x: Var, _: &mut Walk<'_>) -> Result<Var> {
        let &[n, h, w, c] = t.shape(x) else { return Ok(x) };
        let rows = t.reshape(x, &[n, h, w * c])?;
        let rows = between(t, rows)?;
        let columns = t.reshape(rows, &[n * 2 * h, w, c])?;
        let columns = between(t, columns)?;
        t.reshape(columns, &[n, 2 * h, 2 * w, c])
    }

    fn onnx(&self, graph: &mut dyn Graph, _: &str, x: String, _: [usize; 3]) -> Result<String> {
        let scales = graph.constant("scales", &Tensor::new([4], vec![1.0, 1.0, 2.0, 2.0])?);
        let inputs = [x, String::new(), scales];
        let how = [
            Attribute::Text("coordinate_transformation_mode", "half_pixel"),
            Attribute::Text("mode", "linear"),
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
