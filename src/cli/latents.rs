//! Latents from NumPy files, and what commands on latents share.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use npyz::WriterBuilder as _;

use crate::error::{Error, Result};
use crate::experiments::Generator;
use crate::files;
use crate::sample::BATCH;
use crate::tensor::Tensor;
use crate::train::folder;
use crate::train::model_file::ModelFile;

use super::flags::DeviceFlag;

/// Float32 `[n, nz]` from a NumPy file; `flag` is what it was given to.
pub(super) fn read_latents(path: &Path, nz: usize, flag: &str) -> Result<Tensor> {
    let fail = |what: String| Error::file(path, what);
    let file = File::open(path).map_err(|e| fail(files::cannot("be read", &e)))?;
    let npy = npyz::NpyFile::new(BufReader::new(file))
        .map_err(|_| fail(format!("is no NumPy file; {flag} wants one with float32 [n, {nz}]")))?;
    let shape: Vec<usize> = npy.shape().iter().map(|&s| s as usize).collect();
    let ordered = npy.order() == npyz::Order::C;
    let holds = format!(
        "{} of shape {shape:?}{}",
        npy.dtype().descr(),
        if ordered { "" } else { " in Fortran order" }
    );
    let wrong = || {
        fail(format!(
            "holds {holds}; {flag} wants '<f4' (float32) of shape [n, {nz}] in C order for this \
             model"
        ))
    };
    if shape.len() != 2 || shape[1] != nz || shape[0] == 0 || !ordered {
        return Err(wrong());
    }
    let numbers = npy.data::<f32>().map_err(|_| wrong())?;
    let numbers: io::Result<Vec<f32>> = numbers.collect();
    let numbers = numbers.map_err(|_| fail("ends too early: write it anew".into()))?;
    if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
        return Err(fail(format!("row {} holds a number that is not finite", at / nz)));
    }
    Tensor::new(shape, numbers)
}

/// A float tensor as a NumPy file.
pub(super) fn write_npy(path: &Path, tensor: &Tensor) -> Result<()> {
    files::write_atomic(path, |out| {
        let shape: Vec<u64> = tensor.shape().iter().map(|&s| s as u64).collect();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(&shape).writer(out).begin_nd()?;
        writer.extend(tensor.f32s().iter().copied())?;
        writer.finish()
    })
}

/// A trained model, and how to run it.
#[derive(Debug, Args)]
pub(super) struct ModelFlags {
    /// A run's folder (its newest checkpoint is taken), a checkpoint, or an imported model
    #[arg(value_name = "MODEL")]
    pub(super) path: PathBuf,
    /// The generator's weights as they are, rather than their moving average
    #[arg(long)]
    pub(super) raw: bool,
    #[command(flatten)]
    pub(super) device: DeviceFlag,
}

impl ModelFlags {
    /// The model's file, of which nothing is on a device yet.
    pub(super) fn load(&self) -> Result<ModelFile> {
        ModelFile::load(&folder::resolve(&self.path)?)
    }

    /// Its generator, ready to run.
    pub(super) fn generator(&self, model: &ModelFile) -> Result<Generator> {
        warn_of_batches(model)?;
        Generator::new(model, &self.device.open(false)?, self.raw)
    }

    /// What a figure says of the model: its name and how far it was trained.
    pub(super) fn describe(&self, model: &ModelFile) -> String {
        describe(&self.path, model)
    }
}

/// Says so where a generator's pictures depend on one another.
pub(super) fn warn_of_batches(model: &ModelFile) -> Result<()> {
    if model.generator()?.needs_batch() {
        eprintln!(
            "note: the batch norm of this generator uses the statistics of each {BATCH} pictures: \
             a picture also depends on the others beside it"
        );
    }
    Ok(())
}

/// What a figure says of a model that was given as `path`: its name and how far it was trained.
pub(super) fn describe(path: &Path, model: &ModelFile) -> String {
    let name = |path: &Path| {
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into())
    };
    let named = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match model.step {
        0 => name(&named),
        step => format!("{}, step {step}", name(&named)),
    }
}

/// A file of one of these kinds, by its name's ending.
pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// `path`, which `flag` named and which must end in `.ending`.
pub(super) fn named<'a>(flag: &'static str, path: &'a Path, ending: &str) -> Result<&'a Path> {
    if has_ending(path, ending) {
        return Ok(path);
    }
    let what = format!("{} is no name of a file that ends in .{ending}", path.display());
    Err(Error::flag(flag, what))
}
