//! Combines the networks of several files into one model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::names::averaged;
use crate::model::{self, Networks, Pixels, Size};
use crate::nn::{Heads, Layer};
use crate::tensor::Tensor;
use crate::text::TextEncoder;

use super::candidate::{Body, Candidate};
use super::roles::Role;
use super::{Assumptions, Imported, Named, Said};

/// Networks being combined into one model.
pub(super) struct Assembly {
    pub(super) assumptions: Assumptions,
    pub(super) left_out: Vec<String>,
    pub(super) sources: Vec<String>,
    pub(super) assumed: Vec<String>,
}

impl Assembly {
    pub(super) fn assemble(
        mut self,
        candidates: Vec<Candidate>,
        described: Vec<(PathBuf, Networks, Vec<Named>)>,
        paths: &[PathBuf],
    ) -> Result<Imported> {
        if !described.is_empty() {
            if let Some(other) = candidates.first() {
                let what = "does not describe its networks, as the other file does: import one \
                            kind at a time";
                return Err(Error::file(&other.path, what));
            }
            return self.described(described);
        }
        let mut tensors = BTreeMap::new();
        let mut networks = Networks {
            heads: 0,
            size: Size { height: 0, width: 0 },
            channels: 0,
            nz: 0,
            latent_distribution: self.assumptions.latent_distribution,
            pixels: self.assumptions.pixels,
            classes: Vec::new(),
            text: TextEncoder::default(),
            by_name: BTreeMap::new(),
            pipeline: model::Pipeline::default(),
            parts: Heads::default(),
        };

        let graphs = candidates.iter().filter(|c| matches!(c.body, Body::Graph(_))).count();
        let said = if graphs == candidates.len() { Said::Layers } else { Said::Shapes };
        if graphs > 0
            && let Some(other) = candidates.iter().find(|c| !matches!(c.body, Body::Graph(_)))
        {
            let what = "is not an ONNX graph like the other file: import one kind at a time";
            return Err(Error::file(&other.path, what));
        }
        let (mut generators, mut discriminators) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if let Some(about) = candidate.about() {
                (networks.latent_distribution, networks.pixels) =
                    (about.latent_distribution, about.pixels);
            }
            match candidate.build(&self.assumptions, None)? {
                (Role::Generator, built) => generators.push((candidate, built)),
                (Role::Discriminator, built) => discriminators.push((candidate, built)),
            }
        }
        // An average needs the weights themselves beside it.
        let plain = generators.iter().any(|(candidate, _)| !candidate.average);
        let mut seen = Vec::new();
        for (candidate, built) in generators {
            let name = Role::Generator.name();
            let is_average = candidate.average && plain;
            let prefix = if is_average { averaged(name) } else { name.to_owned() };
            let before = networks.get(model::Role::Generator);
            let same = before.is_none_or(|before| *before == built.network);
            if seen.contains(&prefix) || !same {
                return Err(candidate.second(Role::Generator));
            }
            seen.push(prefix.clone());
            let [height, width, channels] = built.output;
            networks.size = Size { height, width };
            networks.channels = channels;
            networks.nz = built.input[2];
            networks.pixels = match built.network.layers.last() {
                Some(Layer::Sigmoid) => Pixels::Unit,
                _ => Pixels::Signed,
            };
            self.assumed.extend(built.assumed);
            networks = networks.with(model::Role::Generator, built.network);
            self.add(&mut tensors, &candidate, &prefix, built.tensors);
        }
        let image = networks.has(model::Role::Generator).then_some(networks.size);
        // The program keeps an average of a discriminator only where that is a classifier.
        let plain = discriminators.iter().any(|(candidate, _)| !candidate.average);
        for (candidate, built) in discriminators {
            if plain && candidate.average {
                self.left_out.push(format!("{}, a moving average of D", candidate.key));
                continue;
            }
            if networks.has(model::Role::Discriminator) {
                return Err(candidate.second(Role::Discriminator));
            }
            let built = match image {
                Some(Size { height, width }) if built.input[..2] != [height, width] => {
                    candidate.build(&self.assumptions, Some([height, width]))?.1
                }
                _ => built,
            };
            let [height, width, channels] = built.input;
            let size = Size { height, width };
            if let Some(makes) = image
                && (size, channels) != (makes, networks.channels)
            {
                let what = format!(
                    "the discriminator takes images of {size} with {channels} channels, and the \
                     generator makes {makes} with {}: --g-sides and --d-sides say the sizes of \
                     their images, layer by layer, where the usual ones are wrong",
                    networks.channels
                );
                return Err(Error::file(&candidate.path, what));
            }
            (networks.size, networks.channels) = (size, channels);
            self.assumed.extend(built.assumed);
            networks = networks.with(model::Role::Discriminator, built.network);
            self.add(&mut tensors, &candidate, "discriminator", built.tensors);
        }
        if tensors.is_empty() {
            let path = paths.first().cloned().unwrap_or_default();
            let what = "holds no convolution: neither a generator nor a discriminator is in it";
            return Err(Error::file(path, what));
        }
        networks.check().map_err(|what| Error::file(&paths[0], what))?;
        let Self { sources, left_out, assumed, .. } = self;
        Ok(Imported { networks, tensors, sources, left_out, assumed, said })
    }

    fn add(
        &mut self,
        tensors: &mut BTreeMap<String, Tensor>,
        candidate: &Candidate,
        prefix: &str,
        own: BTreeMap<String, Tensor>,
    ) {
        tensors.extend(own.into_iter().map(|(name, t)| (format!("{prefix}.{name}"), t)));
        let below = match &*candidate.key {
            "" => String::new(),
            key => format!(", {key}"),
        };
        self.sources.push(format!("{prefix} from {}{below}", name_of(&candidate.path)));
    }

    /// Adds networks from files that describe them.
    fn described(mut self, files: Vec<(PathBuf, Networks, Vec<Named>)>) -> Result<Imported> {
        let mut whole: Option<Networks> = None;
        let mut tensors = BTreeMap::new();
        let last = files.last().map_or_else(PathBuf::new, |(path, ..)| path.clone());
        for (path, networks, own) in files {
            let fail = |what: String| Error::file(&path, what);
            // A file of this kind holds one network.
            let Some(role) = networks.iter().next().map(|(_, net)| net.role) else {
                return Err(fail("describes no network".into()));
            };
            let own: BTreeMap<String, Tensor> =
                own.into_iter().map(|n| (format!("{role}.{}", n.name), n.tensor)).collect();
            for param in networks.params() {
                let wanted = param.layout.file_shape(&param.shape);
                match own.get(&param.name) {
                    Some(tensor) if tensor.shape() == wanted => {
                        tensors.insert(param.name, tensor.clone());
                    }
                    _ => {
                        let what = format!(
                            "is damaged: {} is missing or not of shape {wanted:?}, as its \
                             description says",
                            param.name
                        );
                        return Err(fail(what));
                    }
                }
            }
            self.sources.push(format!("{role} from {}", name_of(&path)));
            whole = Some(match whole {
                None => networks,
                Some(mut whole) => {
                    let same = (whole.size, whole.channels, whole.pixels)
                        == (networks.size, networks.channels, networks.pixels);
                    if !same {
                        return Err(fail("is for different images than the file before it".into()));
                    }
                    if whole.has(role) {
                        return Err(fail(format!("is a second {role}: import one")));
                    }
                    if role.takes_latents() {
                        whole.nz = networks.nz;
                        whole.latent_distribution = networks.latent_distribution;
                    }
                    whole.heads = whole.heads.max(networks.heads);
                    whole.by_name.extend(networks.by_name);
                    whole
                }
            });
        }
        let networks = whole.expect("there is at least one file");
        networks.check().map_err(|what| Error::file(last, what))?;
        let Self { sources, left_out, assumed, .. } = self;
        Ok(Imported { networks, tensors, sources, left_out, assumed, said: Said::Everything })
    }
}

/// A file's name without its folder, for privacy.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
