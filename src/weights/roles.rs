//! Which tensors of a file are the generator's and which the discriminator's, by their names.

use std::collections::BTreeMap;

use super::Named;

/// Which of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The one that makes pictures.
    Generator,
    /// The one that judges them.
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

/// The tensors of what seems to be one network.
#[derive(Debug)]
pub(super) struct Part {
    /// The name in front of all of theirs; may be empty.
    pub(super) key: String,
    /// What the name says, if anything.
    pub(super) role: Option<Role>,
    /// Whether it is a moving average of a network.
    pub(super) average: bool,
    /// The tensors, without the key.
    pub(super) tensors: Vec<Named>,
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

/// Whether one of the words of `segment` is among `known`.
fn says(segment: &str, known: &[&str]) -> bool {
    let words = segment.split(|c: char| !c.is_ascii_alphanumeric());
    words.map(str::to_ascii_lowercase).any(|word| known.contains(&&*word))
}

/// The network that `netG_state_dict`, `200_gen_params_01` or `critic` speak of.
pub(super) fn role_of(segment: &str) -> Option<Role> {
    match (says(segment, GENERATOR), says(segment, DISCRIMINATOR)) {
        (true, false) => Some(Role::Generator),
        (false, true) => Some(Role::Discriminator),
        _ => None,
    }
}

/// Whether a name belongs to an optimiser, whose moments have the shapes of weights.
fn is_optimiser(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase();
    ["optim", "sched", "scaler"].iter().any(|word| segment.contains(word))
}

/// Parts the tensors of a file into networks. `keys` are names under which a network stands, where
/// the user gave them.
///
/// # Errors
/// A sentence where a given key is not there.
pub(super) fn part(tensors: Vec<Named>, keys: &[(Role, &str)]) -> Result<Vec<Part>, String> {
    let mut known: Vec<String> = tensors.iter().map(|t| parent(&t.name)).collect();
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut rest = Vec::new();
    'tensors: for named in tensors {
        for (role, key) in keys {
            let below = named.name.strip_prefix(*key);
            if let Some(name) = below.and_then(|name| name.strip_prefix('.')) {
                let named = Named { name: unwrapped(name), tensor: named.tensor };
                add(&mut parts, &mut order, (*key).to_owned(), Some(*role), named);
                continue 'tensors;
            }
        }
        if named.name.split('.').any(is_optimiser) {
            continue;
        }
        let name = unwrapped(&named.name);
        let named = Named { name: name.clone(), tensor: named.tensor };
        // The last segment is the parameter's own name, the one before its layer's.
        let segments: Vec<&str> = name.split('.').collect();
        let inner = segments.len().saturating_sub(2);
        let Some(at) = segments[..inner].iter().position(|s| role_of(s).is_some()) else {
            rest.push(named);
            continue;
        };
        let role = role_of(segments[at]);
        if keys.iter().any(|(given, _)| Some(*given) == role) {
            continue;
        }
        let key = segments[..=at].join(".");
        let named = Named { name: segments[at + 1..].join("."), tensor: named.tensor };
        add(&mut parts, &mut order, key, role, named);
    }
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
        let tensors = tensors.collect();
        parts.push(Part { key: String::new(), role: Some(role), average: false, tensors });
    }
    if !rest.is_empty() {
        parts.push(Part { key: String::new(), role: None, average: false, tensors: rest });
    }
    Ok(parts)
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
    let part = Part { key: key.clone(), role, average, tensors: Vec::new() };
    parts.entry(key).or_insert(part).tensors.push(named);
}

/// A name without the `module` that PyTorch's `DataParallel` puts into it.
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
        let parts = part(names.iter().map(named).collect(), keys)?;
        let line = |part: Part| {
            let role = part.role.map_or("?", Role::name);
            let average = if part.average { " average" } else { "" };
            let names: Vec<String> = part.tensors.into_iter().map(|t| t.name).collect();
            format!("{role}{average} {:?}: {}", part.key, names.join(" "))
        };
        Ok(parts.into_iter().map(line).collect())
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
                ],
            ),
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
            // A layer's own name is no network's.
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
