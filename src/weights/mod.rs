//! Weights that travel: networks from PyTorch and from DCGAN's authors, and networks for PyTorch
//! and ONNX.
//!
//! ```text
//! file ──read──▶ named tensors ──part──▶ one network each ──gather──▶ layers
//!      ──chain──▶ layers in order ──build──▶ a network that runs here
//! ```
//!
//! | module | what it knows |
//! | --- | --- |
//! | `torch`, `pickle` | `.pth`, `.pt`: a zip archive and a pickle, of which nothing is executed |
//! | `npy` | the authors' files: Theano's order of axes and direction of kernels |
//! | `element` | element types |
//! | `roles` | which names are the generator's |
//! | `modules`, `chain` | layers, and which follows which, by their channels |
//! | [`architecture`] | sizes, activations, numbering: what shapes say and what is assumed |
//! | [`export`], `onnx` | the way out |
//!
//! Whatever is in a file, reading it neither panics nor takes memory out of proportion to the
//! file's length.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files;
use crate::models::Networks;
use crate::models::Size;
use crate::nn::Statistics;
use crate::tensor::Tensor;
use crate::train::checkpoint::{self, VERSION_KEY};
use crate::train::step;

pub mod architecture;
mod chain;
mod element;
pub mod export;
mod modules;
mod npy;
mod onnx;
mod pickle;
mod protobuf;
mod roles;
mod torch;

pub use architecture::Assumptions;
pub use roles::Role;

use architecture::Built;
use chain::Order;
use element::Element;
use modules::Module;

/// A tensor with its name in a file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
}

/// The metadata key under which an exported file describes its network: a [`Networks`] as JSON.
pub const DESCRIPTION: &str = "dcgan.model";

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// The networks.
    pub networks: Networks,
    /// Their tensors, as model files hold and name them.
    pub tensors: BTreeMap<String, Tensor>,
    /// Which file, and which part of it, each network is from.
    pub sources: Vec<String>,
    /// What was left out, as sentences.
    pub left_out: Vec<String>,
    /// Whether the file itself described the network, so that nothing was assumed.
    pub described: bool,
}

/// One network out of a file.
#[derive(Debug)]
struct Candidate {
    role: Option<Role>,
    average: bool,
    path: PathBuf,
    /// The name in front of its tensors.
    key: String,
    /// Its layers, in each order that may be the right one.
    orders: Vec<Vec<Module>>,
}

/// Imports the networks that `paths` hold together: files of PyTorch, or the authors' `.npy` files
/// or a folder of them. `keys` are the names under which networks stand in a file, where names and
/// shapes do not say.
///
/// # Errors
/// [`Error::File`] with one sentence that says why a file cannot be imported, and what would work.
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
            let what = "is no .npy file, as the others are: import one kind at a time";
            return Err(Error::file(other, what));
        }
        assumptions.eps.get_or_insert(npy::EPS);
        assumptions.statistics.get_or_insert(Statistics::Batch);
        for npy::Family { role, modules, path } in npy::read(&paths)? {
            let (key, orders) = (String::new(), vec![modules]);
            candidates.push(Candidate { role, average: false, path, key, orders });
        }
    } else {
        for path in &paths {
            match read(path)? {
                Contents::Described(networks, tensors) => {
                    described.push((path.clone(), *networks, tensors));
                }
                Contents::Tensors { tensors, ordered } => {
                    let fail = |what| Error::file(path, what);
                    for part in roles::part(tensors, keys).map_err(fail)? {
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
    Assembly { assumptions, left_out, sources: Vec::new() }.assemble(candidates, described, &paths)
}

/// The layers of a part of a file; none where it has no convolution.
fn candidate(path: &Path, part: roles::Part, ordered: bool) -> Result<Option<Candidate>> {
    let roles::Part { key, role, average, mut tensors } = part;
    if !tensors.iter().any(|named| named.tensor.shape().len() == 4) {
        return Ok(None);
    }
    let fail = |what| Error::file(path, what);
    let mut orders = Vec::new();
    if ordered {
        orders.push(modules::gather(tensors.clone()).map_err(fail)?);
    }
    modules::sort_naturally(&mut tensors);
    orders.push(modules::gather(tensors).map_err(fail)?);
    Ok(Some(Candidate { role, average, path: path.to_owned(), key, orders }))
}

/// Folders replaced by the `.npy` files in them.
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

/// What a file holds.
enum Contents {
    /// Tensors; `ordered` if they come in the order of the layers.
    Tensors { tensors: Vec<Named>, ordered: bool },
    /// A network that this program exported, with its tensors as model files name them.
    Described(Box<Networks>, Vec<Named>),
}

fn read(path: &Path) -> Result<Contents> {
    let fail = |what: String| Error::file(path, what);
    let bytes = std::fs::read(path).map_err(|e| fail(files::cannot("be read", &e)))?;
    if let Some(what) = torch::old_format(&bytes) {
        return Err(fail(what));
    }
    if bytes.starts_with(b"PK") {
        let tensors = torch::read(&bytes).map_err(fail)?;
        return Ok(Contents::Tensors { tensors, ordered: true });
    }
    if bytes.is_empty() {
        return Err(fail("is empty".into()));
    }
    safetensors(&bytes).map_err(fail)
}

/// The tensors of a safetensors file.
fn safetensors(bytes: &[u8]) -> Result<Contents, String> {
    if bytes.get(8) != Some(&b'{') {
        return Err(
            "is neither a safetensors file nor one of torch.save (.pth, .pt): these can be \
                    imported, and the .npy files of DCGAN's authors"
                .into(),
        );
    }
    let damaged = |_| "is a damaged safetensors file, or cut short".to_owned();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if metadata.contains_key(VERSION_KEY) {
        return Err("is a model of this program already: dcgan sample takes it as it is".into());
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
    let Some(description) = metadata.get(DESCRIPTION) else {
        return Ok(Contents::Tensors { tensors, ordered: false });
    };
    let networks: Networks = serde_json::from_str(description)
        .map_err(|_| format!("is damaged: its metadata {DESCRIPTION:?} cannot be read"))?;
    networks.check().map_err(|what| format!("is damaged: it describes {what}"))?;
    Ok(Contents::Described(Box::new(networks), tensors))
}

/// A file's name without its folder, which is nobody else's matter.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Networks on their way into one model.
struct Assembly {
    assumptions: Assumptions,
    left_out: Vec<String>,
    sources: Vec<String>,
}

impl Assembly {
    fn assemble(
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
            latent_law: self.assumptions.latent_law,
            pixels: self.assumptions.pixels,
            classes: Vec::new(),
            generator: None,
            discriminator: None,
        };

        let (mut generators, mut discriminators) = (Vec::new(), Vec::new());
        for candidate in candidates {
            match candidate.build(&self.assumptions, None)? {
                (Role::Generator, built) => generators.push((candidate, built)),
                (Role::Discriminator, built) => discriminators.push((candidate, built)),
            }
        }
        // Only with the weights themselves is an average an average.
        let plain = generators.iter().any(|(candidate, _)| !candidate.average);
        let mut seen = Vec::new();
        for (candidate, built) in generators {
            let averaged = candidate.average && plain;
            let name = Role::Generator.name();
            let prefix = if averaged { step::averaged(name) } else { name.to_owned() };
            let same = networks.generator.as_ref().is_none_or(|g| *g == built.network);
            if seen.contains(&prefix) || !same {
                return Err(candidate.second(Role::Generator));
            }
            seen.push(prefix.clone());
            let [height, width, channels] = built.output;
            networks.size = Size { height, width };
            networks.channels = channels;
            networks.nz = built.input[2];
            networks.generator = Some(built.network);
            self.add(&mut tensors, &candidate, &prefix, built.tensors);
        }
        let picture = networks.generator.as_ref().map(|_| networks.size);
        for (candidate, built) in discriminators {
            if networks.discriminator.is_some() {
                return Err(candidate.second(Role::Discriminator));
            }
            let built = match picture {
                Some(Size { height, width }) if built.input[..2] != [height, width] => {
                    candidate.build(&self.assumptions, Some([height, width]))?.1
                }
                _ => built,
            };
            let [height, width, channels] = built.input;
            let size = Size { height, width };
            if let Some(makes) = picture
                && (size, channels) != (makes, networks.channels)
            {
                let what = format!(
                    "the discriminator takes pictures of {size} with {channels} channels, and the \
                     generator makes {makes} with {}: --g-sides and --d-sides say the sizes of \
                     their pictures, layer by layer, where the usual ones are wrong",
                    networks.channels
                );
                return Err(Error::file(&candidate.path, what));
            }
            (networks.size, networks.channels) = (size, channels);
            networks.discriminator = Some(built.network);
            self.add(&mut tensors, &candidate, "discriminator", built.tensors);
        }
        if tensors.is_empty() {
            let path = paths.first().cloned().unwrap_or_default();
            let what = "holds no convolution: neither a generator nor a discriminator is in it";
            return Err(Error::file(path, what));
        }
        networks.check().map_err(|what| Error::file(&paths[0], what))?;
        let Self { sources, left_out, .. } = self;
        Ok(Imported { networks, tensors, sources, left_out, described: false })
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

    /// Networks out of files that describe them.
    fn described(mut self, files: Vec<(PathBuf, Networks, Vec<Named>)>) -> Result<Imported> {
        let mut whole: Option<Networks> = None;
        let mut tensors = BTreeMap::new();
        for (path, networks, own) in files {
            let fail = |what: String| Error::file(&path, what);
            let role =
                if networks.generator.is_some() { Role::Generator } else { Role::Discriminator };
            let own: BTreeMap<String, Tensor> = own
                .into_iter()
                .map(|n| (format!("{}.{}", role.name(), n.name), n.tensor))
                .collect();
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
            self.sources.push(format!("{} from {}", role.name(), name_of(&path)));
            whole = Some(match whole {
                None => networks,
                Some(mut whole) => {
                    let same = (whole.size, whole.channels, whole.pixels)
                        == (networks.size, networks.channels, networks.pixels);
                    if !same {
                        return Err(fail("is for other pictures than the file before it".into()));
                    }
                    let taken = match role {
                        Role::Generator => whole.generator.is_some(),
                        Role::Discriminator => whole.discriminator.is_some(),
                    };
                    if taken {
                        return Err(fail(format!("is a second {}: import one", role.name())));
                    }
                    if role == Role::Generator {
                        whole.nz = networks.nz;
                        whole.latent_law = networks.latent_law;
                        whole.generator = networks.generator;
                    } else {
                        whole.discriminator = networks.discriminator;
                    }
                    whole
                }
            });
        }
        let networks = whole.expect("there is at least one file");
        let Self { sources, left_out, .. } = self;
        Ok(Imported { networks, tensors, sources, left_out, described: true })
    }
}

impl Candidate {
    /// The network that this is: by its name where that says so, else by its shapes.
    fn build(
        &self,
        assumptions: &Assumptions,
        picture: Option<[usize; 2]>,
    ) -> Result<(Role, Built)> {
        let fail = |what: String| Error::file(&self.path, what);
        let roles: &[Role] = match self.role {
            Some(Role::Generator) => &[Role::Generator],
            Some(Role::Discriminator) => &[Role::Discriminator],
            None => &[Role::Generator, Role::Discriminator],
        };
        let mut complaints = Vec::new();
        let ways = [Order::Names, Order::Channels];
        for (order, modules) in
            ways.into_iter().flat_map(|order| self.orders.iter().map(move |m| (order, m)))
        {
            let chains: Vec<_> =
                roles.iter().map(|&role| (role, chain::chain(modules, role, order))).collect();
            if let [(_, Ok(_)), (_, Ok(_))] = &chains[..] {
                let what = "may be a generator as well as a discriminator, by its shapes: \
                            --generator NAME or --discriminator NAME says which, where NAME is \
                            what its tensors' names begin with";
                return Err(fail(what.into()));
            }
            for (role, chain) in chains {
                match chain {
                    Ok(blocks) => {
                        let built = architecture::build(blocks, role, assumptions, picture);
                        return Ok((role, built.map_err(fail)?));
                    }
                    Err(what) => complaints.push(format!("as a {}, {what}", role.name())),
                }
            }
        }
        let below = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        complaints.truncate(roles.len());
        Err(fail(format!("{below}is no DCGAN that can be imported: {}", complaints.join("; "))))
    }

    fn second(&self, role: Role) -> Error {
        let name = role.name();
        let what = format!(
            "{} a second {name}: import one, or say with --{name} NAME which, where NAME is what \
             its tensors' names begin with",
            if self.key.is_empty() { "is".into() } else { format!("{} is", self.key) }
        );
        Error::file(&self.path, what)
    }
}
