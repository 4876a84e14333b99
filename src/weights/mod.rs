//! Import and export of weights: networks from PyTorch and from DCGAN's authors, and networks for
//! PyTorch and ONNX.
//!
//! ```text
//! file ──read──▶ named tensors ──part──▶ one network each ──gather──▶ layers
//!      ──chain──▶ layers in order ──arrange──▶ layers between them ──build──▶ a network
//! ```
//!
//! What shapes do not show is specified by the user, assumed and reported, or refused with the name
//! of the flag that decides. An ONNX graph specifies everything.
//!
//! | module | contents |
//! | --- | --- |
//! | `torch`, `pickle` | `.pth`, `.pt`: a zip archive and a pickle, never executed |
//! | `npy` | the authors' files: Theano's order of axes and direction of kernels |
//! | `element` | element types |
//! | `roles` | which tensors belong to the generator |
//! | `modules`, `chain`, `norms` | layers, and their order by their channels |
//! | `places` | activations, norms and dropout, by the numbers of a `Sequential` |
//! | `sizes` | sizes of images, strides and paddings |
//! | [`spelled`], [`architecture`] | layers specified by the user; what else shapes do not show |
//! | `graph` | ONNX graphs |
//! | `items` | networks built from layers |
//! | `candidate`, `assembly` | the ways to interpret a file; networks combined into one model |
//! | [`export`], `onnx` | export |
//!
//! [`read_state_dict`] reads the tensors alone, for networks that are built layer by layer.
//!
//! Whatever a file contains, reading it neither panics nor takes memory out of proportion to the
//! file's length.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files;
use crate::model::Networks;
use crate::model::checkpoint::{self, VERSION_KEY};
use crate::model::file::MODEL;
use crate::nn::Statistics;
use crate::tensor::Tensor;

pub mod architecture;
mod assembly;
mod candidate;
mod chain;
mod element;
pub mod export;
mod folding;
mod graph;
mod items;
mod modules;
mod norms;
mod npy;
mod onnx;
mod outgoing;
mod pickle;
mod places;
mod roles;
mod sizes;
pub mod spelled;
mod torch;

pub use architecture::Assumptions;
pub use roles::Role;
pub use spelled::Spelled;

use assembly::Assembly;
use candidate::{Body, Candidate, candidate};
use element::Element;
use graph::Graph;

/// A tensor with its name in a file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
}

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The networks.
    pub networks: Networks,
    /// Their tensors, as model files store and name them.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file, and the part of it, that each network is from.
    pub sources: Vec<String>,
    /// What was left out, as messages.
    pub left_out: Vec<String>,
    /// What was assumed besides [`Assumptions`], with the flags that change it.
    pub assumed: Vec<String>,
    /// How much the files specify.
    pub said: Said,
}

/// How much of a network a file specifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Names and shapes.
    Shapes,
    /// Every layer.
    Layers,
    /// Everything.
    Everything,
}

/// Imports the networks in `paths`: PyTorch files, ONNX graphs, or the authors' `.npy` files or a
/// folder of them. `keys` are the names of networks within a file, where names and shapes are
/// ambiguous.
///
/// # Errors
/// [`Error::File`] with one sentence on why a file cannot be imported, and what would work.
pub fn import(
    paths: &[PathBuf],
    keys: &[(Role, &str)],
    assumptions: &Assumptions,
) -> Result<Imported> {
    let mut assumptions = assumptions.clone();
    let paths = expanded(paths)?;
    let is_npy = |path: &PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
    let mut candidates = Vec::new();
    let mut described = Vec::new();
    let mut left_out = Vec::new();
    if paths.iter().any(is_npy) {
        if let Some(other) = paths.iter().find(|path| !is_npy(path)) {
            let what = "is not a .npy file like the others: import one kind at a time";
            return Err(Error::file(other, what));
        }
        assumptions.eps.get_or_insert(npy::EPS);
        assumptions.statistics.get_or_insert(Statistics::Batch);
        for npy::Family { role, modules, path } in npy::read(&paths)? {
            let (key, orders, modules) = (String::new(), vec![(modules, true)], BTreeSet::new());
            let body = Body::Tensors { orders, modules, authors: true };
            candidates.push(Candidate { role, average: false, path, key, body });
        }
    } else {
        for path in &paths {
            match read(path)? {
                Contents::Described(networks, tensors) => {
                    described.push((path.clone(), *networks, tensors));
                }
                Contents::Graph(graph) => {
                    let (role, path, key) = (Some(graph.role), path.clone(), String::new());
                    let body = Body::Graph(graph);
                    candidates.push(Candidate { role, average: false, path, key, body });
                }
                Contents::Tensors { tensors, modules, others, ordered } => {
                    let fail = |what| Error::file(path, what);
                    let parted = roles::part(tensors, &modules, keys).map_err(fail)?;
                    left_out.extend(parted.left_out.into_iter().chain(others));
                    for part in parted.parts {
                        let names = (part.tensors.len(), part.name_of_first());
                        match candidate(path, part, ordered)? {
                            Some(candidate) => candidates.push(candidate),
                            None => left_out.push(format!("{} tensors, {} …", names.0, names.1)),
                        }
                    }
                }
            }
        }
    }
    let (sources, assumed) = (Vec::new(), Vec::new());
    Assembly { assumptions, left_out, sources, assumed }.assemble(candidates, described, &paths)
}

/// Every tensor of floats in a state dict of PyTorch (`torch.save(model.state_dict(), "net.pth")`) or in a
/// safetensors file, by its name: for networks that are built layer by layer, see
/// [`crate::nn::Sequential::load_state_dict`].
///
/// # Errors
/// [`Error::File`] with one sentence on why it cannot be read.
pub fn read_state_dict(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    Ok(read_state_dict_and(path, |_| ())?.0)
}

/// The same, with the result of `look` for the file's bytes.
pub(crate) fn read_state_dict_and<T>(
    path: &Path,
    look: impl FnOnce(&[u8]) -> T,
) -> Result<(BTreeMap<String, Tensor>, T)> {
    let bytes = read_bytes(path)?;
    let seen = look(&bytes);
    let tensors = match parse(path, &bytes)? {
        Contents::Tensors { tensors, .. } | Contents::Described(_, tensors) => tensors,
        Contents::Graph(_) => {
            return Err(Error::file(path, "is an ONNX graph, which holds no state dict"));
        }
    };
    Ok((tensors.into_iter().map(|Named { name, tensor }| (name, tensor)).collect(), seen))
}

/// Replaces folders by the `.npy` files in them.
fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let fail = |e| Error::file(path, files::cannot("be read", &e));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let file = entry.map_err(fail)?.path();
            if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
                found.push(file);
            }
        }
        if found.is_empty() {
            let what = "is a folder without .npy files; files of PyTorch are given by their names";
            return Err(Error::file(path, what));
        }
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// The content of a file.
enum Contents {
    /// Tensors; `ordered` if they come in the order of the layers. `modules` are the names of
    /// layers as far as the file lists them, `others` describes tensors that no layer uses.
    Tensors { tensors: Vec<Named>, modules: Vec<String>, others: Vec<String>, ordered: bool },
    /// An ONNX graph.
    Graph(Box<Graph>),
    /// A network exported by this program, with its tensors as model files name them.
    Described(Box<Networks>, Vec<Named>),
}

fn read(path: &Path) -> Result<Contents> {
    parse(path, &read_bytes(path)?)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::file(path, files::cannot("be read", &e)))
}

/// What `bytes`, read from `path`, hold.
fn parse(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let fail = |what: String| Error::file(path, what);
    if let Some(what) = torch::old_format(bytes) {
        return Err(fail(what));
    }
    if bytes.starts_with(b"PK") || torch::is_legacy(bytes) {
        let archived =
            if torch::is_legacy(bytes) { torch::read_legacy(bytes) } else { torch::read(bytes) };
        let torch::Archived { tensors, modules, others } = archived.map_err(fail)?;
        return Ok(Contents::Tensors { tensors, modules, others, ordered: true });
    }
    if graph::looks_like_one(bytes) {
        return Ok(Contents::Graph(Box::new(Graph::read(bytes).map_err(fail)?)));
    }
    if bytes.is_empty() {
        return Err(fail("is empty".into()));
    }
    safetensors(bytes).map_err(fail)
}

/// The tensors of a safetensors file.
fn safetensors(bytes: &[u8]) -> Result<Contents, String> {
    if bytes.get(8) != Some(&b'{') {
        return Err(
            "is neither a safetensors file nor one of torch.save (.pth, .pt) nor an ONNX graph: \
                    these can be imported, and the .npy files of DCGAN's authors"
                .into(),
        );
    }
    let damaged = |_| "is a damaged safetensors file, or cut short".to_owned();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.contains_key(VERSION_KEY) {
        return Err("is already a model of this program: dcgan sample takes it as it is".into());
    }
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    checkpoint::verify(&metadata.clone().into_iter().collect(), &file)?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let element = match view.dtype() {
            Dtype::F64 => Element::F64,
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            _ => continue,
        };
        let Some(values) = element.floats(view.data()) else { continue };
        let tensor = Tensor::new(view.shape(), values).map_err(|e| e.to_string())?;
        tensors.push(Named { name: name.to_owned(), tensor });
    }
    let Some(description) = metadata.get(MODEL) else {
        let (modules, others) = (Vec::new(), Vec::new());
        return Ok(Contents::Tensors { tensors, modules, others, ordered: false });
    };
    let networks: Networks = serde_json::from_str(description)
        .map_err(|_| format!("is damaged: its metadata {MODEL:?} cannot be read"))?;
    networks.check().map_err(|what| format!("is damaged: it describes {what}"))?;
    Ok(Contents::Described(Box::new(networks), tensors))
}
