//! A network in a file, and the ways to interpret it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::Networks;

use super::chain::{self, Chain, Known, Order, layers_flag};
use super::folding;
use super::graph::Graph;
use super::items::{self, Built, Context};
use super::modules::{self, Module};
use super::roles::{self, Role};
use super::{Assumptions, places, spelled};

/// A network in a file.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) role: Option<Role>,
    pub(super) average: bool,
    pub(super) path: PathBuf,
    /// The prefix of its tensors' names.
    pub(super) key: String,
    pub(super) body: Body,
}

/// What a file contains of a network.
#[derive(Debug)]
pub(super) enum Body {
    /// Tensors.
    Tensors {
        /// Its layers, in each order that may be the right one, the file's own first.
        orders: Vec<(Vec<Module>, bool)>,
        /// The names of all its layers, also those without tensors; empty if unknown.
        modules: BTreeSet<String>,
        /// Whether it was made by DCGAN's authors.
        authors: bool,
    },
    /// Every layer.
    Graph(Box<Graph>),
}

/// The layers of a part of a file; `None` if it has no convolution.
pub(super) fn candidate(
    path: &Path,
    part: roles::Part,
    ordered: bool,
) -> Result<Option<Candidate>> {
    let roles::Part { key, role, average, mut tensors, modules } = part;
    if !tensors.iter().any(|named| named.tensor.shape().len() == 4) {
        return Ok(None);
    }
    let fail = |what| Error::file(path, what);
    tensors = folding::fold(tensors).map_err(fail)?;
    let mut orders = Vec::new();
    if ordered {
        orders.push((modules::gather(tensors.clone()).map_err(fail)?, true));
    }
    modules::sort_naturally(&mut tensors);
    orders.push((modules::gather(tensors).map_err(fail)?, false));
    let body = Body::Tensors { orders, modules, authors: false };
    Ok(Some(Candidate { role, average, path: path.to_owned(), key, body }))
}

/// The error for a network that could be either.
const EITHER: &str = "may be a generator as well as a discriminator, by its shapes: --generator NAME or \
                      --discriminator NAME says which, where NAME is what its tensors' names begin with";

impl Candidate {
    /// This program's description of the network, if it wrote the graph.
    pub(super) fn about(&self) -> Option<&Networks> {
        match &self.body {
            Body::Graph(graph) => graph.about.as_ref(),
            Body::Tensors { .. } => None,
        }
    }

    /// The role of this network: by its name if possible, else by its shapes.
    pub(super) fn build(
        &self,
        assumptions: &Assumptions,
        image: Option<[usize; 2]>,
    ) -> Result<(Role, Built)> {
        let fail = |what: String| Error::file(&self.path, what);
        match &self.body {
            Body::Graph(graph) => {
                let (role, image) = (graph.role, graph.image);
                let (items, pixels) = graph.items().map_err(fail)?;
                // What a graph specifies is neither assumed nor overridden.
                let pixels = pixels.unwrap_or(assumptions.pixels);
                let assumptions = &Assumptions { pixels, ..Assumptions::default() };
                let context = Context { role, assumptions, image, authors: false };
                Ok((role, items::build(items, context).map_err(fail)?))
            }
            Body::Tensors { orders, modules, authors } => {
                let known = (assumptions, image, *authors);
                self.of_tensors(orders, modules, known).map_err(fail)
            }
        }
    }

    fn of_tensors(
        &self,
        orders: &[(Vec<Module>, bool)],
        modules: &BTreeSet<String>,
        (assumptions, image, authors): (&Assumptions, Option<[usize; 2]>, bool),
    ) -> Result<(Role, Built), String> {
        let Assumptions { g_layers, d_layers, .. } = assumptions;
        let context = |role| Context { role, assumptions, image, authors };
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
        Err(format!("{below}is not a DCGAN that can be imported: {}", complaints.join("; ")))
    }

    pub(super) fn second(&self, role: Role) -> Error {
        let name = role.name();
        let what = format!(
            "{} a second {name}: import one, or say with --{name} NAME which, where NAME is what \
             its tensors' names begin with",
            if self.key.is_empty() { "is".into() } else { format!("{} is", self.key) }
        );
        Error::file(&self.path, what)
    }
}
