//! A network of a model, prepared for export.

use crate::error::{Error, Result};
use crate::model::{ModelFile, Net, Networks, Role, Weights};
use crate::nn::{Param, Sequential};
use crate::tensor::Tensor;

/// A network of a model with its tensors, prepared for export.
#[derive(Debug)]
pub struct Export<'a> {
    pub(super) role: Role,
    pub(super) network: &'a Sequential,
    /// The model's description without the other networks.
    pub(super) about: Networks,
    /// Parameters with their tensors as stored in files, without the network's name.
    pub(super) params: Vec<(Param, &'a Tensor)>,
    /// Training steps so far.
    pub(super) steps: u64,
}

impl<'a> Export<'a> {
    /// The network of this role, with the weights that [`ModelFile::used`] selects.
    ///
    /// # Errors
    /// [`crate::error::Error::File`] if the model has no such network, is conditional, has
    /// non-finite weights, or generates images by several networks.
    pub fn of(model: &'a ModelFile, role: impl Into<Role>, weights: Weights) -> Result<Self> {
        let role = role.into();
        model.unconditional(
            "and PyTorch's DCGAN example, whose names and layouts are exported, has no classes",
        )?;
        let (name, network) = model.find(role)?;
        if role.takes_latents() && model.networks.pipeline.0.len() > 1 {
            let what = "makes images by several networks in turn, and such a file holds one: export all \
                        of them with --to onnx, or with --to model, which this program reads";
            return Err(Error::file(&model.path, what));
        }
        let net = Net::new(role, network.clone());
        let by_name = [(role.name().to_owned(), net)].into();
        // The pipeline and its values are those of other networks.
        let (pipeline, parts) = Default::default();
        let mut about = Networks { by_name, pipeline, parts, ..model.networks.clone() };
        if !role.takes_latents() && role != Role::Encoder {
            about.nz = 0;
        }
        if role != Role::Discriminator {
            about.heads = 0;
        }
        let params = params_of(model, name, weights)?;
        Ok(Self { role, network, about, params, steps: model.step })
    }
}

/// The parameters of the network called `network` with their tensors as stored in files, without the
/// network's name.
///
/// # Errors
/// [`crate::error::Error::File`] for non-finite weights.
pub(super) fn params_of<'a>(
    model: &'a ModelFile,
    network: &str,
    weights: Weights,
) -> Result<Vec<(Param, &'a Tensor)>> {
    let prefix = format!("{network}.");
    let own = model.weights(network, weights)?.into_iter().map(|(param, tensor)| {
        let name = param.name.trim_start_matches(&prefix).to_owned();
        (Param { name, ..param }, tensor)
    });
    Ok(own.collect())
}
