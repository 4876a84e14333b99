//! One network of a model, ready to be written for other programs.

use crate::error::Result;
use crate::model::{ModelFile, Net, Networks, Role, Weights};
use crate::nn::{Param, Sequential};
use crate::tensor::Tensor;

/// One network of a model with its tensors, ready to be written.
#[derive(Debug)]
pub struct Export<'a> {
    pub(super) role: Role,
    pub(super) network: &'a Sequential,
    /// What the model is, without the other networks.
    pub(super) about: Networks,
    /// Parameters with their tensors as files hold them, without the network's name.
    pub(super) params: Vec<(Param, &'a Tensor)>,
    /// Training steps done.
    pub(super) steps: u64,
}

impl<'a> Export<'a> {
    /// The network of this role, by the weights that [`ModelFile::used`] says.
    ///
    /// # Errors
    /// [`crate::error::Error::File`] where the model has no such network, is conditional, or its numbers
    /// are not finite.
    pub fn of(model: &'a ModelFile, role: impl Into<Role>, weights: Weights) -> Result<Self> {
        let role = role.into();
        model.unconditional(
            "and PyTorch's DCGAN example, whose names and layouts are exported, cannot be told them",
        )?;
        let (name, network) = model.find(role)?;
        let net = Net::new(role, network.clone());
        let by_name = [(role.name().to_owned(), net)].into();
        let mut about = Networks { by_name, ..model.networks.clone() };
        if !role.takes_latents() && role != Role::Encoder {
            about.nz = 0;
        }
        if role != Role::Discriminator {
            about.heads = 0;
        }
        let prefix = format!("{name}.");
        let params = model.weights(name, weights)?.into_iter().map(|(param, tensor)| {
            let name = param.name.trim_start_matches(&prefix).to_owned();
            (Param { name, ..param }, tensor)
        });
        Ok(Self { role, network, about, params: params.collect(), steps: model.step })
    }
}
