//! Weights that travel: networks from PyTorch and from DCGAN's authors, and networks for PyTorch
//! and ONNX.
//!
//! ```text
//! file ──read──▶ named tensors ──part──▶ one network each ──gather──▶ layers
//!      ──chain──▶ layers in order ──arrange──▶ what stands between them ──build──▶ a network
//! ```
//!
//! What shapes do not say is spelled out by the user, assumed and said to be, or refused with the name
//! of the flag that says it. An ONNX graph says all of it.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `torch`, `pickle` | `.pth`, `.pt`: a zip archive and a pickle, of which nothing is executed |
//! | `npy` | the authors' files: Theano's order of axes and direction of kernels |
//! | `element` | element types |
//! | `roles` | which names are the generator's |
//! | `modules`, `chain` | layers, and which follows which, by their channels |
//! | `places` | activations, norms and dropout, by the numbers of a `Sequential` |
//! | `sizes` | sizes of pictures, strides and paddings |
//! | [`spelled`], [`architecture`] | layers that a user spells out; what else shapes do not say |
//! | `graph` | ONNX graphs |
//! | `items` | layers become a network |
//! | [`export`], `onnx` | the way out |
//!
//! Whatever is in a file, reading it neither panics nor takes memory out of proportion to the
//! file's length.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::files;
use crate::models::{Networks, Pixels, Size};
use crate::nn::{Layer, Statistics};
use crate::tensor::Tensor;
use crate::train::checkpoint::{self, VERSION_KEY};
use crate::train::step;

pub mod architecture;
mod chain;
mod element;
pub mod export;
mod graph;
mod items;
mod modules;
mod npy;
mod onnx;
mod pickle;
mod places;
mod protobuf;
mod roles;
mod sizes;
pub mod spelled;
mod torch;

pub use architecture::Assumptions;
pub use roles::Role;
pub use spelled::Spelled;

use chain::{Chain, Known, Order, layers_flag};
use element::Element;
use graph::Graph;
use items::{Built, Context};
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
    /// What was assumed beside [`Assumptions`], with the flags that say it.
    pub assumed: Vec<String>,
    /// How much the files said themselves.
    pub said: Said,
}

/// How much of a network a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Names and shapes.
    Shapes,
    /// Every layer.
    Layers,
    /// All of it.
    Everything,
}

/// One network out of a file.
#[derive(Debug)]
struct Candidate {
    role: Option<Role>,
    average: bool,
    path: PathBuf,
    /// The name in front of its tensors.
    key: String,
    body: Body,
}

/// What a file says of a network.
#[derive(Debug)]
enum Body {
    /// Tensors.
    Tensors {
        /// Its layers, in each order that may be the right one, the file's own first.
        orders: Vec<(Vec<Module>, bool)>,
        /// The names of all its layers, those without tensors too; empty where they are not known.
        modules: BTreeSet<String>,
        /// Whether it is by DCGAN's authors.
        authors: bool,
    },
    /// Every layer.
    Graph(Box<Graph>),
}

/// Imports the networks that `paths` hold together: files of PyTorch, ONNX graphs, or the authors'
/// `.npy` files or a folder of them. `keys` are the names under which networks stand in a file, where
/// names and shapes do not say.
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

/// The layers of a part of a file; none where it has no convolution.
fn candidate(path: &Path, part: roles::Part, ordered: bool) -> Result<Option<Candidate>> {
    let roles::Part { key, role, average, mut tensors, modules } = part;
    if !tensors.iter().any(|named| named.tensor.shape().len() == 4) {
        return Ok(None);
    }
    let fail = |what| Error::file(path, what);
    let mut orders = Vec::new();
    if ordered {
        orders.push((modules::gather(tensors.clone()).map_err(fail)?, true));
    }
    modules::sort_naturally(&mut tensors);
    orders.push((modules::gather(tensors).map_err(fail)?, false));
    let body = Body::Tensors { orders, modules, authors: false };
    Ok(Some(Candidate { role, average, path: path.to_owned(), key, body }))
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
    /// Tensors; `ordered` if they come in the order of the layers. `modules` are the names of layers
    /// as far as the file lists them, `others` tensors that no layer has, in words.
    Tensors { tensors: Vec<Named>, modules: Vec<String>, others: Vec<String>, ordered: bool },
    /// An ONNX graph.
    Graph(Box<Graph>),
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
        let torch::Archived { tensors, modules, others } = torch::read(&bytes).map_err(fail)?;
        return Ok(Contents::Tensors { tensors, modules, others, ordered: true });
    }
    if graph::looks_like_one(&bytes) {
        return Ok(Contents::Graph(Box::new(Graph::read(&bytes).map_err(fail)?)));
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
            "is neither a safetensors file nor one of torch.save (.pth, .pt) nor an ONNX graph: \
                    these can be imported, and the .npy files of DCGAN's authors"
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
        let (modules, others) = (Vec::new(), Vec::new());
        return Ok(Contents::Tensors { tensors, modules, others, ordered: false });
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
    assumed: Vec<String>,
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

        let graphs = candidates.iter().filter(|c| matches!(c.body, Body::Graph(_))).count();
        let said = if graphs == candidates.len() { Said::Layers } else { Said::Shapes };
        if graphs > 0
            && let Some(other) = candidates.iter().find(|c| !matches!(c.body, Body::Graph(_)))
        {
            let what = "is no ONNX graph, as the other file is: import one kind at a time";
            return Err(Error::file(&other.path, what));
        }
        let (mut generators, mut discriminators) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if let Some(about) = candidate.about() {
                (networks.latent_law, networks.pixels) = (about.latent_law, about.pixels);
            }
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
            networks.pixels = match built.network.layers.last() {
                Some(Layer::Sigmoid) => Pixels::Unit,
                _ => Pixels::Signed,
            };
            self.assumed.extend(built.assumed);
            networks.generator = Some(built.network);
            self.add(&mut tensors, &candidate, &prefix, built.tensors);
        }
        let picture = networks.generator.as_ref().map(|_| networks.size);
        // The program has an average of a discriminator where that is a classifier alone.
        let plain = discriminators.iter().any(|(candidate, _)| !candidate.average);
        for (candidate, built) in discriminators {
            if plain && candidate.average {
                self.left_out.push(format!("{}, a moving average of D", candidate.key));
                continue;
            }
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
            self.assumed.extend(built.assumed);
            networks.discriminator = Some(built.network);
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

    /// Networks out of files that describe them.
    fn described(mut self, files: Vec<(PathBuf, Networks, Vec<Named>)>) -> Result<Imported> {
        let mut whole: Option<Networks> = None;
        let mut tensors = BTreeMap::new();
        let last = files.last().map_or_else(PathBuf::new, |(path, ..)| path.clone());
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
        networks.check().map_err(|what| Error::file(last, what))?;
        let Self { sources, left_out, assumed, .. } = self;
        Ok(Imported { networks, tensors, sources, left_out, assumed, said: Said::Everything })
    }
}

/// That a network could be both.
const EITHER: &str = "may be a generator as well as a discriminator, by its shapes: --generator NAME or \
                      --discriminator NAME says which, where NAME is what its tensors' names begin with";

impl Candidate {
    /// What this program wrote of the network, where it wrote the graph.
    fn about(&self) -> Option<&Networks> {
        match &self.body {
            Body::Graph(graph) => graph.about.as_ref(),
            Body::Tensors { .. } => None,
        }
    }

    /// The network that this is: by its name where that says so, else by its shapes.
    fn build(
        &self,
        assumptions: &Assumptions,
        picture: Option<[usize; 2]>,
    ) -> Result<(Role, Built)> {
        let fail = |what: String| Error::file(&self.path, what);
        match &self.body {
            Body::Graph(graph) => {
                let (role, picture) = (graph.role, graph.picture);
                let (items, pixels) = graph.items().map_err(fail)?;
                // What a graph says is not assumed, nor overridden.
                let pixels = pixels.unwrap_or(assumptions.pixels);
                let assumptions = &Assumptions { pixels, ..Assumptions::default() };
                let context = Context { role, assumptions, picture, authors: false };
                Ok((role, items::build(items, context).map_err(fail)?))
            }
            Body::Tensors { orders, modules, authors } => {
                let known = (assumptions, picture, *authors);
                self.of_tensors(orders, modules, known).map_err(fail)
            }
        }
    }

    fn of_tensors(
        &self,
        orders: &[(Vec<Module>, bool)],
        modules: &BTreeSet<String>,
        (assumptions, picture, authors): (&Assumptions, Option<[usize; 2]>, bool),
    ) -> Result<(Role, Built), String> {
        let Assumptions { g_layers, d_layers, .. } = assumptions;
        let context = |role| Context { role, assumptions, picture, authors };
        let spelled = |role: &Role| match role {
            Role::Generator => g_layers,
            Role::Discriminator => d_layers,
        };
        let roles: &[Role] = match self.role {
            Some(Role::Generator) => &[Role::Generator],
            Some(Role::Discriminator) => &[Role::Discriminator],
            None => &[Role::Generator, Role::Discriminator],
        };
        let mut complaints = Vec::new();
        let mut fits = Vec::new();
        for &role in roles.iter().filter(|role| !spelled(role).is_empty()) {
            // In the file's own order.
            match spelled::items(spelled(&role), &orders[0].0, role, layers_flag(role)) {
                Ok(items) => fits.push((role, items)),
                Err(what) => complaints.push(format!("as a {}, {what}", role.name())),
            }
        }
        if fits.len() > 1 {
            return Err(EITHER.into());
        }
        if let Some((role, items)) = fits.pop() {
            return Ok((role, items::build(items, context(role))?));
        }
        let roles: Vec<Role> =
            roles.iter().copied().filter(|role| spelled(role).is_empty()).collect();
        let most = complaints.len() + roles.len();
        let ways = [Order::Names, Order::Channels];
        for (order, (layers, ordered)) in
            ways.into_iter().flat_map(|order| orders.iter().map(move |way| (order, way)))
        {
            let known = Known { ordered: *ordered, authors };
            let chains: Vec<_> = roles
                .iter()
                .map(|&role| (role, chain::chain(layers, role, order, known)))
                .collect();
            if let [(_, Ok(_)), (_, Ok(_))] = &chains[..] {
                return Err(EITHER.into());
            }
            for (role, chain) in chains {
                match chain {
                    Ok(Chain { blocks, mut assumed }) => {
                        let slope = match role {
                            Role::Generator => assumptions.g_slope,
                            Role::Discriminator => assumptions.d_slope,
                        };
                        let (items, more) = places::arrange(blocks, role, slope, modules)?;
                        assumed.extend(more);
                        let built = items::build(items, context(role))?;
                        return Ok((role, Built { assumed, ..built }));
                    }
                    Err(what) => complaints.push(format!("as a {}, {what}", role.name())),
                }
            }
        }
        let below = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        complaints.truncate(most);
        Err(format!("{below}is no DCGAN that can be imported: {}", complaints.join("; ")))
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
