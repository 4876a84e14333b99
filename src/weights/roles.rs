//! Assigns the tensors of a file to the generator and the discriminator, by their names.

use std::collections::{BTreeMap, BTreeSet};

use super::Named;

/// The two networks that can be imported from other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The one that generates images.
    Generator,
    /// The one that judges images.
    Discriminator,
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Discriminator => "discriminator",
        }
    }
}

impl From<Role> for crate::model::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Generator => Self::Generator,
            Role::Discriminator => Self::Discriminator,
        }
    }
}

/// The tensors of a candidate network.
#[derive(Debug)]
pub(super) struct Part {
    /// Their common prefix; may be empty.
    pub(super) key: String,
    /// The role that the name indicates, if any.
    pub(super) role: Option<Role>,
    /// Whether it is a moving average of a network.
    pub(super) average: bool,
    /// The tensors, without the prefix.
    pub(super) tensors: Vec<Named>,
    /// The names of all its layers, without the prefix, if the file lists them.
    pub(super) modules: BTreeSet<String>,
}

/// The parts of a file.
#[derive(Debug)]
pub(super) struct Parted {
    pub(super) parts: Vec<Part>,
    /// Descriptions of tensors that belong to no network.
    pub(super) left_out: Vec<String>,
}

impl Part {
    /// The name of its first tensor.
    pub(super) fn name_of_first(&self) -> String {
        self.tensors.first().map_or_else(String::new, |named| named.name.clone())
    }
}

const GENERATOR: &[&str] = &["g", "netg", "gnet", "gen", "generator", "modelg", "gmodel"];
const DISCRIMINATOR: &[&str] =
    &["d", "netd", "dnet", "dis", "disc", "discrim", "discriminator", "critic", "modeld", "dmodel"];
const AVERAGE: &[&str] = &["ema", "avg", "average", "averaged", "shadow"];

/// Whether one of the words in `segment` is in `known`.
fn says(segment: &str, known: &[&str]) -> bool {
    let words = segment.split(|c: char| !c.is_ascii_alphanumeric());
    words.map(str::to_ascii_lowercase).any(|word| known.contains(&&*word))
}

/// The network that names such as `netG_state_dict`, `200_gen_params_01` or `critic` refer to.
pub(super) fn role_of(segment: &str) -> Option<Role> {
    match (says(segment, GENERATOR), says(segment, DISCRIMINATOR)) {
        (true, false) => Some(Role::Generator),
        (false, true) => Some(Role::Discriminator),
        _ => None,
    }
}

/// Whether a name belongs to an optimizer, whose moments have the shapes of weights.
fn is_optimizer(segment: &str) -> bool {
    const MOMENTS: [&str; 6] =
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg", "momentum_buffer"];
    let segment = segment.to_ascii_lowercase();
    ["optim", "sched", "scaler"].iter().any(|word| segment.contains(word))
        || says(&segment, &["opt", "adam", "rmsprop", "sgd"])
        || MOMENTS.contains(&&*segment)
}

/// The last parts of the names of layers' tensors.
const OWN: [&str; 5] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];

/// Common names for latents and images stored beside networks.
const BESIDE: &[&str] = &[
    "noise",
    "z",
    "latent",
    "latents",
    "fixed",
    "sample",
    "samples",
    "image",
    "images",
    "imgs",
    "loss",
    "losses",
    "epoch",
    "step",
    "iteration",
    "rng",
    "seed",
    "labels",
];

/// Whether a tensor outside of layers belongs to no network: by its name, or because it is beside
/// networks that each have a name of their own.
fn is_beside(name: &str, networks: bool) -> bool {
    let (own, networks) = match name.split_once('.') {
        // In a network, but in none of its layers.
        Some((first, own)) if role_of(first).is_some() => (own, false),
        _ => (name, networks),
    };
    let in_layer = OWN.contains(&own) || own.starts_with("weight_") || own.starts_with("original");
    !own.contains('.') && !in_layer && (networks || says(own, BESIDE))
}

/// Describes a tensor.
fn shown(name: &str, named: &Named) -> String {
    format!("{name} {:?}", named.tensor.shape())
}

/// Splits the tensors of a file into networks. `modules` are the names of layers that the file
/// lists; `keys` are the user's prefixes for networks.
///
/// # Errors
/// A message if a given key does not exist.
pub(super) fn part(
    tensors: Vec<Named>,
    modules: &[String],
    keys: &[(Role, &str)],
) -> Result<Parted, String> {
    let mut left_out = Vec::new();
    let mut moments: BTreeMap<String, usize> = BTreeMap::new();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    let mut known: Vec<String> = tensors.iter().map(|t| parent(&t.name)).collect();
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut rest = Vec::new();
    'tensors: for named in tensors {
        for (role, key) in keys {
            let below = named.name.strip_prefix(*key);
            if let Some(name) = below.and_then(|name| name.strip_prefix('.')) {
                let named = Named { name: unwrapped(name), tensor: named.tensor };
                if is_beside(&named.name, false) {
                    left_out.push(shown(&format!("{key}.{}", named.name), &named));
                    continue 'tensors;
                }
                add(&mut parts, &mut order, (*key).to_owned(), Some(*role), named);
                continue 'tensors;
            }
        }
        if named.name.split('.').any(is_optimizer) {
            let first = named.name.split('.').next().unwrap_or_default();
            *moments.entry(first.to_owned()).or_default() += 1;
            continue;
        }
        let name = unwrapped(&named.name);
        let named = Named { name: name.clone(), tensor: named.tensor };
        // The last segment is the parameter's own name, the one before it the layer's.
        let segments: Vec<&str> = name.split('.').collect();
        let inner = segments.len().saturating_sub(2);
        let Some(at) = segments[..inner].iter().position(|s| role_of(s).is_some()) else {
            rest.push(named);
            continue;
        };
        let role = role_of(segments[at]);
        let key = segments[..=at].join(".");
        if keys.iter().any(|(given, _)| Some(*given) == role) {
            *others.entry(key).or_default() += 1;
            continue;
        }
        let named = Named { name: segments[at + 1..].join("."), tensor: named.tensor };
        if is_beside(&named.name, false) {
            left_out.push(shown(&name, &named));
            continue;
        }
        add(&mut parts, &mut order, key, role, named);
    }
    let networks = !parts.is_empty();
    rest.retain(|named: &Named| {
        let beside = is_beside(&named.name, networks);
        if beside {
            left_out.push(shown(&named.name, named));
        }
        !beside
    });
    left_out.extend(others.into_iter().map(|(key, count)| format!("{key}, {count} tensors")));
    left_out.extend(moments.into_iter().map(|(key, count)| match count {
        1 => format!("{key}, a tensor of an optimizer"),
        _ => format!("{key}, {count} tensors of an optimizer"),
    }));
    for (role, key) in keys {
        if !parts.contains_key(*key) {
            known.dedup();
            known.truncate(6);
            return Err(format!(
                "holds no tensor below {key:?}, where --{} wants its network; there are {}",
                role.name(),
                known.join(", ")
            ));
        }
    }
    let mut parts: Vec<Part> = order.into_iter().filter_map(|key| parts.remove(&key)).collect();
    // Blocks called g1, gen_2 and so on are one network.
    for role in [Role::Generator, Role::Discriminator] {
        let same = |part: &Part| part.role == Some(role) && !part.average;
        if parts.iter().filter(|part| same(part)).count() < 2 {
            continue;
        }
        let (blocks, others): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(same);
        parts = others;
        let tensors = blocks.into_iter().flat_map(|block| {
            block.tensors.into_iter().map(move |named| Named {
                name: format!("{}.{}", block.key, named.name),
                tensor: named.tensor,
            })
        });
        let (tensors, modules) = (tensors.collect(), BTreeSet::new());
        parts.push(Part { key: String::new(), role: Some(role), average: false, tensors, modules });
    }
    if !rest.is_empty() {
        let (key, modules) = (String::new(), BTreeSet::new());
        parts.push(Part { key, role: None, average: false, tensors: rest, modules });
    }
    for part in &mut parts {
        let below = |name: &String| -> Option<String> {
            let name = match keys.iter().any(|(_, key)| *key == part.key) {
                true => unwrapped(name.strip_prefix(&part.key)?.strip_prefix('.')?),
                false if part.key.is_empty() => unwrapped(name),
                false => unwrapped(name).strip_prefix(&part.key)?.strip_prefix('.')?.to_owned(),
            };
            Some(name)
        };
        part.modules = modules.iter().filter_map(below).collect();
    }
    Ok(Parted { parts, left_out })
}

fn add(
    parts: &mut BTreeMap<String, Part>,
    order: &mut Vec<String>,
    key: String,
    role: Option<Role>,
    named: Named,
) {
    if !parts.contains_key(&key) {
        order.push(key.clone());
    }
    let average = key.split('.').any(|segment| says(segment, AVERAGE));
    let (tensors, modules) = (Vec::new(), BTreeSet::new());
    let part = Part { key: key.clone(), role, average, tensors, modules };
    parts.entry(key).or_insert(part).tensors.push(named);
}

/// Removes the `module` that PyTorch's `DataParallel` adds to names.
fn unwrapped(name: &str) -> String {
    name.split('.').filter(|s| *s != "module" && *s != "_orig_mod").collect::<Vec<_>>().join(".")
}

/// The name of the layer that a tensor belongs to.
fn parent(name: &str) -> String {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn parts(names: &[&str], keys: &[(Role, &str)]) -> Result<Vec<String>, String> {
        let named = |name: &&str| Named { name: (*name).into(), tensor: Tensor::full([1], 0.0) };
        let Parted { parts, left_out } = part(names.iter().map(named).collect(), &[], keys)?;
        let left_out = left_out.into_iter().map(|what| format!("- {what}"));
        let line = |part: Part| {
            let role = part.role.map_or("?", Role::name);
            let average = if part.average { " average" } else { "" };
            let names: Vec<String> = part.tensors.into_iter().map(|t| t.name).collect();
            format!("{role}{average} {:?}: {}", part.key, names.join(" "))
        };
        Ok(parts.into_iter().map(line).chain(left_out).collect())
    }

    #[test]
    fn names_tell_the_networks_apart() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["main.0.weight", "main.1.bias"], &["? \"\": main.0.weight main.1.bias"]),
            (&["module.main.0.weight"], &["? \"\": main.0.weight"]),
            (
                &[
                    "netG_state_dict.module.main.0.weight",
                    "netD_state_dict.main.0.weight",
                    "optimizerG_state_dict.state.0.exp_avg",
                ],
                &[
                    "generator \"netG_state_dict\": main.0.weight",
                    "discriminator \"netD_state_dict\": main.0.weight",
                    "- optimizerG_state_dict, a tensor of an optimizer",
                ],
            ),
            (
                &["netG.0.weight", "fixed_noise", "best", "opt_d.state.0.square_avg", "netG.z"],
                &[
                    "generator \"netG\": 0.weight",
                    "- fixed_noise [1]",
                    "- best [1]",
                    "- netG.z [1]",
                    "- opt_d, a tensor of an optimizer",
                ],
            ),
            // Alone, a tensor with a neutral name may be a part of the network.
            (&["0.weight", "z", "const"], &["? \"\": 0.weight const", "- z [1]"]),
            (
                &["state_dict.G.l1.0.weight", "state_dict.critic.0.weight"],
                &[
                    "generator \"state_dict.G\": l1.0.weight",
                    "discriminator \"state_dict.critic\": 0.weight",
                ],
            ),
            (
                &["G_ema.0.weight", "G.0.weight"],
                &["generator average \"G_ema\": 0.weight", "generator \"G\": 0.weight"],
            ),
            (
                &["gen_1.0.weight", "gen_2.0.weight"],
                &["generator \"\": gen_1.0.weight gen_2.0.weight"],
            ),
            // A layer's own name is not a network's.
            (&["d.weight", "g.weight"], &["? \"\": d.weight g.weight"]),
        ];
        for (names, wanted) in cases {
            assert_eq!(parts(names, &[]).expect("no keys"), *wanted);
        }
    }

    #[test]
    fn a_key_that_was_given_decides() {
        let names = ["models.0.main.0.weight", "models.1.main.0.weight"];
        let keys = [(Role::Generator, "models.0"), (Role::Discriminator, "models.1")];
        let wanted =
            ["generator \"models.0\": main.0.weight", "discriminator \"models.1\": main.0.weight"];
        assert_eq!(parts(&names, &keys).expect("both are there"), wanted);
        let error = parts(&names, &[(Role::Generator, "netG")]).expect_err("there is none");
        assert_eq!(
            error,
            "holds no tensor below \"netG\", where --generator wants its network; there are \
             models.0.main.0, models.1.main.0"
        );
    }
}
