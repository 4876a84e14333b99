//! The weights that DCGAN's authors published (github.com/Newmu/dcgan_code): one NumPy file for each
//! tensor, in the order of the layers, as Theano keeps them.
//!
//! Theano's convolution is the mathematical one, which flips the kernel; everyone else's is a
//! correlation. So every kernel is rotated by 180 degrees here. A matrix is `[in, out]`. Two
//! vectors after a matrix or kernel are the scale and shift of a batch norm, which has no running
//! statistics: it always uses those of the batch.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::npy::{self, Flaw, Header};
use crate::tensor::Tensor;

use super::modules::{Kind, Module};
use super::roles::{Role, role_of};

/// The ε of the authors' batch norm.
pub(super) const EPS: f32 = 1e-8;

/// The layers of one network, and the role that its file names suggest.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) role: Option<Role>,
    pub(super) modules: Vec<Module>,
    /// One of its files.
    pub(super) path: PathBuf,
}

/// Reads files of one tensor each; those named after another network are kept apart.
///
/// # Errors
/// [`Error::File`] that names the file that is not such a tensor.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Family>> {
    let mut paths = paths.to_vec();
    paths.sort_by_key(|path| natural(path));
    let mut roles: Vec<(Option<Role>, Vec<PathBuf>)> = Vec::new();
    for path in paths {
        let role = role_of(&path.file_name().unwrap_or_default().to_string_lossy());
        match roles.iter_mut().find(|(known, _)| *known == role) {
            Some((_, paths)) => paths.push(path),
            None => roles.push((role, vec![path])),
        }
    }
    let family = |(role, paths): (Option<Role>, Vec<PathBuf>)| {
        let modules = layers(&paths)?;
        Ok(Family { role, modules, path: paths[0].clone() })
    };
    roles.into_iter().map(family).collect()
}

/// The layers in the files, in order.
fn layers(paths: &[PathBuf]) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    // The scale of a norm, until its shift is read.
    let mut scale: Option<(&PathBuf, Tensor)> = None;
    for path in paths {
        let fail = |what: String| Error::file(path, what);
        let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tensor = tensor(path)?;
        if let Some(i) = tensor.f32s().iter().position(|x| !x.is_finite()) {
            return Err(fail(format!("number {i} is not finite: the network is unusable")));
        }
        let kind = match (scale.take(), tensor.shape()) {
            (None, [_]) => {
                scale = Some((path, tensor));
                continue;
            }
            (Some((_, scale)), [len]) if scale.len() == *len => {
                Kind::Norm { affine: Some([scale, tensor]), running: None }
            }
            (Some((path, _)), _) => return Err(alone(path)),
            (None, _) => Kind::Linear { weight: weight(&tensor).map_err(fail)?, bias: None },
        };
        modules.push(Module { key, kind });
    }
    match scale {
        Some((path, _)) => Err(alone(path)),
        None => Ok(modules),
    }
}

fn alone(path: &Path) -> Error {
    let what = "holds the scale of a batch norm, and the file after it does not hold its shift, \
                a vector of the same length";
    Error::file(path, what)
}

/// A matrix or a kernel, rotated to the usual orientation.
fn weight(tensor: &Tensor) -> Result<Tensor, String> {
    let turned = match *tensor.shape() {
        [from, to] => Tensor::new([to, from], transposed(tensor.f32s(), from, to)),
        [a, b, kh, kw] => {
            let kernel = |h: usize, w: usize| h == w && h <= 11;
            if !kernel(kh, kw) && kernel(a, b) {
                return Err(format!(
                    "has shape {:?}, as TensorFlow orders a kernel [h, w, in, out]; weights of \
                     Theano, [small, large, h, w], can be imported",
                    tensor.shape()
                ));
            }
            // Rotating a plane by 180 degrees reverses its values.
            let planes = tensor.f32s().chunks((kh * kw).max(1));
            let turned = planes.flat_map(|plane| plane.iter().rev().copied()).collect();
            Tensor::new(tensor.shape(), turned)
        }
        _ => {
            let shape = tensor.shape();
            return Err(format!("has shape {shape:?}; a layer has one, two or four axes"));
        }
    };
    turned.map_err(|e| e.to_string())
}

fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| numbers[r * columns + c])).collect()
}

/// Reads one tensor of floats.
fn tensor(path: &Path) -> Result<Tensor> {
    let fail = |what: String| Error::file(path, what);
    let why = |flaw| match flaw {
        Flaw::Io(error) => files::cannot("be read", &error),
        Flaw::NoArray => "is not a NumPy file, or is damaged".into(),
        Flaw::CutShort => "is cut short".into(),
        Flaw::NoFloats => "holds no floats".into(),
    };
    let file = npy::open(path).map_err(|flaw| fail(why(flaw)))?;
    let Header { descr, fortran, shape } = file.header.clone();
    if !matches!(descr.as_deref(), Some("<f4" | "<f8")) {
        let holds = file.header.element();
        return Err(fail(format!("holds {holds}; '<f4' and '<f8' (floats) can be imported")));
    }
    if fortran {
        return Err(fail("is in Fortran order; save it with numpy.ascontiguousarray".into()));
    }
    Tensor::new(shape, file.floats().map_err(|flaw| fail(why(flaw)))?)
}

/// A key for natural order: 9 before 10.
fn natural(path: &Path) -> Vec<(String, u64)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = Vec::new();
    let mut rest = &name[..];
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(text);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at(digits);
        parts.push((text.to_owned(), digits.parse().unwrap_or(0)));
        rest = after;
    }
    parts
}
