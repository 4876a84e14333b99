//! The page on which boxes are drawn: one file, samples and all.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::cli::points::Point;
use crate::error::{Error, Result};
use crate::images::{png, single};
use crate::tensor::Tensor;

const PAGE: &str = include_str!("../../../assets/marks.html");
/// Placeholder for the data.
const DATA: &str = "{{DATA}}";

/// The page for samples `[n, h, w, c]` of a model that `model` describes; `command` is what to run
/// at the end.
pub(super) fn page(
    model: &str,
    command: &str,
    points: &[Point],
    images: &Tensor,
) -> Result<String> {
    let &[n, h, w, c] = images.shape() else {
        return Err(Error::Length { shape: vec![points.len(), 0, 0, 0], len: images.len() });
    };
    let mut samples = Vec::with_capacity(n);
    for (i, point) in points.iter().enumerate() {
        let image = single(images.f32s(), [n, h, w, c], i)?;
        let png = STANDARD.encode(png(Path::new(&point.key), &image)?);
        samples.push(json!({ "key": point.key, "name": point.name, "png": png }));
    }
    let data = json!({ "model": model, "command": command, "size": [w, h], "samples": samples });
    // Nothing inside a script tag may look like its end; in JSON, `<` occurs only in strings.
    let data = data.to_string().replace('<', "\\u003c");
    Ok(PAGE.replacen(DATA, &data, 1))
}
