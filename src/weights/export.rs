//! Exports networks: as PyTorch state dicts, and as ONNX.
//!
//! Names and layouts are those of PyTorch's DCGAN example, `main.0.weight` and so on, so that its
//! networks take them with `load_state_dict(strict=True)`.

use std::io::{Cursor, Write};
use std::path::Path;

use safetensors::tensor::Dtype;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint::{self, Raw};
use crate::model::file::described;
use crate::model::{ModelFile, Weights};
use crate::nn::Param;

pub use super::outgoing::Export;

use super::{MODEL, onnx};

/// The export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    /// A state dict, with metadata that lets it be imported again.
    Safetensors,
    /// A state dict as torch.save writes it.
    Pth,
    /// A graph that runs without this program.
    Onnx,
}

/// Whether a model makes images by more than a generator of latents: of several networks, or with
/// classes or texts. [`save_pipeline`] writes those.
#[must_use]
pub fn has_pipeline(model: &ModelFile) -> bool {
    model.networks.pipeline.0.len() > 1 || model.networks.condition().is_some()
}

/// Writes all networks with which a model makes images as one ONNX graph, from latents and classes or
/// texts to images.
///
/// # Errors
/// [`Error::File`] where the file cannot be written, or weights are not finite; [`Error::Tensor`] for a
/// layer that cannot be written.
pub fn save_pipeline(model: &ModelFile, weights: Weights, path: &Path) -> Result<()> {
    files::write_bytes(path, &onnx::pipeline(model, weights)?)
}

impl Export<'_> {
    /// Writes the network in this format.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be written.
    pub fn save(&self, path: &Path, format: Format) -> Result<()> {
        match format {
            Format::Safetensors => {
                let about = described(&self.about);
                let strings = [("format", "pt"), (MODEL, &*about)].into();
                let entries = self.state_dict();
                files::write_atomic(path, |out| checkpoint::write_raw(out, &entries, &strings))
            }
            Format::Pth => {
                let bytes = self.archive().map_err(|e| Error::file(path, e))?;
                files::write_bytes(path, &bytes)
            }
            Format::Onnx => files::write_bytes(path, &onnx::graph(self)?),
        }
    }

    /// All tensors of the PyTorch state dict, in its order.
    fn state_dict(&self) -> Vec<Raw<'_>> {
        let mut entries = Vec::new();
        for (name, layer) in self.network.each() {
            let own = format!("{name}.");
            // A layer's own tensors; those of nested layers come with these.
            let within: Vec<String> =
                layer.parts().iter().map(|(part, _)| format!("{own}{part}.")).collect();
            let is_own = |p: &Param| {
                p.name.starts_with(&own) && !within.iter().any(|part| p.name.starts_with(part))
            };
            for (param, tensor) in self.params.iter().filter(|(p, _)| is_own(p)) {
                entries.push(Raw {
                    name: param.name.clone(),
                    dtype: Dtype::F32,
                    shape: tensor.shape().to_vec(),
                    bytes: checkpoint::little_endian(tensor),
                });
            }
            if layer.counts_batches() {
                entries.push(Raw {
                    name: format!("{own}num_batches_tracked"),
                    dtype: Dtype::I64,
                    shape: Vec::new(),
                    bytes: self.steps.to_le_bytes().to_vec().into(),
                });
            }
        }
        entries
    }

    /// The archive that `torch.save(state_dict, FILE)` writes; the same network always gives the
    /// same bytes.
    fn archive(&self) -> zip::result::ZipResult<Vec<u8>> {
        let entries = self.state_dict();
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        // PyTorch maps such files into memory, and wants the data aligned to 64 bytes.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .with_alignment(64);
        let mut add = |name: &str, bytes: &[u8]| {
            zip.start_file(format!("archive/{name}"), options)?;
            Ok::<_, zip::result::ZipError>(zip.write_all(bytes)?)
        };
        add("data.pkl", &pickle(&entries))?;
        add("byteorder", b"little")?;
        for (i, entry) in entries.iter().enumerate() {
            add(&format!("data/{i}"), &entry.bytes)?;
        }
        add("version", b"3\n")?;
        Ok(zip.finish()?.into_inner())
    }
}

/// The pickle of an `OrderedDict` of tensors, with each storage named by its index.
fn pickle(entries: &[Raw<'_>]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    fn int(out: &mut Vec<u8>, number: usize) {
        out.push(b'J');
        out.extend((number as i32).to_le_bytes());
    }
    fn tuple(out: &mut Vec<u8>, numbers: &[usize]) {
        out.push(b'(');
        numbers.iter().for_each(|&number| int(out, number));
        out.push(b't');
    }
    const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    // Protocol 2, an OrderedDict, and its items after a mark.
    let mut out = [b"\x80\x02", ORDERED_DICT, b"("].concat();
    for (i, Raw { name, dtype, shape, .. }) in entries.iter().enumerate() {
        let storage = if *dtype == Dtype::I64 { "LongStorage" } else { "FloatStorage" };
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{storage}\n").as_bytes());
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        int(&mut out, shape.iter().product());
        out.extend(b"tQ");
        int(&mut out, 0);
        tuple(&mut out, shape);
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        tuple(&mut out, &strides);
        // No gradient, no hooks; the tensor.
        out.push(0x89);
        out.extend(ORDERED_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}
