//! Layers in the order in which they follow one another, found by their channels: each takes as
//! many as the one before it gives.

use crate::tensor::Tensor;

use super::modules::{Kind, Module};
use super::roles::Role;

/// A convolution or linear layer with what belongs to it.
#[derive(Debug)]
pub(super) struct Block {
    /// Its name in the file.
    pub(super) key: String,
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    /// The direction: from small pictures to large ones.
    pub(super) up: bool,
    /// Channels that it takes.
    pub(super) from: usize,
    /// Channels that it gives; a generator's linear layer gives pictures of so many.
    pub(super) to: usize,
    /// The norm of what it gives.
    pub(super) norm: Option<Module>,
    /// Whether it is a linear layer.
    pub(super) linear: bool,
}

impl Block {
    /// Height and width of its kernel; a linear layer has none of its own.
    pub(super) fn kernel(&self) -> Option<[usize; 2]> {
        match *self.weight.shape() {
            [_, _, h, w] => Some([h, w]),
            _ => None,
        }
    }

    /// Whether a norm of `len` numbers fits what it gives.
    fn takes_norm(&self, len: usize) -> bool {
        // After a generator's linear layer, before the numbers are seen as a picture.
        len == self.to || (self.linear && self.up && len == self.weight.shape()[0])
    }
}

/// The layers of a network of this role, in order.
///
/// # Errors
/// A sentence that says which layer does not follow which.
pub(super) fn chain(modules: &[Module], role: Role) -> Result<Vec<Block>, String> {
    let mut layers: Vec<Weights<'_>> = modules.iter().filter_map(Weights::of).collect();
    // A generator begins with its linear layer, a discriminator ends with it.
    layers.sort_by_key(|layer| (layer.shape().len() == 2) == (role == Role::Discriminator));
    let mut blocks = match convolutions(&layers, role) {
        Ok(blocks) => blocks,
        // Names that say nothing of the order: the channels may.
        Err(what) => {
            let linked = linked(&layers, role).ok_or(what.clone())?;
            convolutions(&linked, role).map_err(|_| what)?
        }
    };
    attach_norms(&mut blocks, modules)?;
    if blocks.last().is_some_and(|block| block.norm.is_some()) {
        return Err(format!("its last layer is normalised, which no {} is", role.name()));
    }
    Ok(blocks)
}

/// The weights `[small, large, kh, kw]` or `[out, in]` of a module.
#[derive(Clone, Copy)]
struct Weights<'a> {
    module: &'a Module,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl<'a> Weights<'a> {
    fn of(module: &'a Module) -> Option<Self> {
        match &module.kind {
            Kind::Linear { weight, bias } => Some(Self { module, weight, bias: bias.as_ref() }),
            Kind::Norm { .. } => None,
        }
    }

    fn shape(&self) -> &'a [usize] {
        self.weight.shape()
    }

    /// Channels that it takes and gives, where all convolutions go the way that is usual for the
    /// role; none of a linear layer.
    fn ends(&self, role: Role) -> Option<[usize; 2]> {
        match (self.shape(), role) {
            (&[small, large, _, _], Role::Generator) => Some([small, large]),
            (&[small, large, _, _], Role::Discriminator) => Some([large, small]),
            _ => None,
        }
    }
}

/// The layers in the one order in which each takes the channels that the one before it gives; none
/// where there are several such orders, or none.
fn linked<'a>(layers: &[Weights<'a>], role: Role) -> Option<Vec<Weights<'a>>> {
    let (linear, mut rest): (Vec<_>, Vec<_>) =
        layers.iter().copied().partition(|layer| layer.ends(role).is_none());
    let mut order: Vec<Weights<'a>> = Vec::new();
    while !rest.is_empty() {
        let follows = |i: &usize| {
            let [takes, _] = rest[*i].ends(role).unwrap_or_default();
            match order.last().and_then(|last| last.ends(role)) {
                Some([_, gives]) => takes == gives,
                // The first takes what no other gives.
                None => rest
                    .iter()
                    .all(|other| other.ends(role).is_none_or(|[_, gives]| gives != takes)),
            }
        };
        let next: Vec<usize> = (0..rest.len()).filter(follows).collect();
        let &[next] = &next[..] else { return None };
        order.push(rest.remove(next));
    }
    match role {
        Role::Generator => Some([linear, order].concat()),
        Role::Discriminator => Some([order, linear].concat()),
    }
}

fn convolutions(layers: &[Weights<'_>], role: Role) -> Result<Vec<Block>, String> {
    let last = layers.len().saturating_sub(1);
    let mut blocks: Vec<Block> = Vec::new();
    for (i, &Weights { module, weight, bias }) in layers.iter().enumerate() {
        let shape = weight.shape();
        if shape.iter().any(|&s| s == 0) {
            return Err(format!("{} has no numbers: its shape is {shape:?}", module.key));
        }
        let linear = shape.len() == 2;
        let has = blocks.last().map(|block| block.to);
        let (small, large) = (shape[0], shape[1]);
        let (up, from, to) = match (role, linear) {
            (Role::Generator, true) if i == 0 => {
                let channels = channels_after(small, &layers[1..])?;
                (true, large, channels)
            }
            (Role::Discriminator, true) if i == last && i > 0 => {
                let channels = has.unwrap_or(0);
                if channels == 0 || large % channels != 0 {
                    let what = format!(
                        "{} takes {large} numbers, which are no pictures of the {channels} \
                         channels before it",
                        module.key
                    );
                    return Err(what);
                }
                (false, channels, small)
            }
            (_, true) => {
                return Err(format!(
                    "{} is a linear layer in the middle of a {}, which no DCGAN has",
                    module.key,
                    role.name()
                ));
            }
            (Role::Generator, false) if has.is_none_or(|has| has == small) => (true, small, large),
            (Role::Generator, false) => (false, large, small),
            (Role::Discriminator, false) => (false, large, small),
        };
        if let Some(previous) = blocks.last().filter(|previous| previous.to != from) {
            return Err(format!(
                "{} gives {} channels, and {}, which seems to follow, takes {from}",
                previous.key, previous.to, module.key
            ));
        }
        let wanted = if linear { small } else { to };
        if let Some(bias) = bias.filter(|bias| bias.len() != wanted) {
            return Err(format!("{} has {} biases for {wanted} outputs", module.key, bias.len()));
        }
        let (weight, bias) = (weight.clone(), bias.cloned());
        let key = module.key.clone();
        blocks.push(Block { key, weight, bias, up, from, to, norm: None, linear });
    }
    let (Some(first), Some(end)) = (blocks.first(), blocks.last()) else {
        return Err("holds no convolution".into());
    };
    let channels = match role {
        Role::Generator => end.to,
        Role::Discriminator => first.from,
    };
    if blocks.len() < 2 {
        return Err(format!("has a single layer, {}", first.key));
    }
    if ![1, 3, 4].contains(&channels) {
        return Err(format!(
            "as a {} it would have pictures of {channels} channels; 1, 3 and 4 can be used",
            role.name()
        ));
    }
    if role == Role::Discriminator && end.to != 1 {
        return Err(format!("as a discriminator it would give {} numbers, not one", end.to));
    }
    if role == Role::Generator && !blocks.iter().skip(1).any(|block| block.up) {
        return Err("as a generator it would have no transposed convolution; one that enlarges \
                    pictures by repeating pixels is not supported"
            .into());
    }
    Ok(blocks)
}

/// The channels of the picture that `rows` numbers are seen as: those that the next layer takes.
fn channels_after(rows: usize, rest: &[Weights<'_>]) -> Result<usize, String> {
    let shape = rest.first().map_or(&[][..], Weights::shape);
    let fits = |channels: usize| {
        channels > 0 && rows.is_multiple_of(channels) && side(rows / channels).is_some()
    };
    match *shape {
        [small, ..] if fits(small) => Ok(small),
        [_, large, ..] if fits(large) => Ok(large),
        [small, ..] if small > 0 && rows.is_multiple_of(small) => Ok(small),
        _ => Err(format!(
            "its first layer gives {rows} numbers, which are no pictures for the next one"
        )),
    }
}

/// The side of a square of so many pixels.
pub(super) fn side(pixels: usize) -> Option<usize> {
    let side = pixels.isqrt();
    (side * side == pixels).then_some(side)
}

/// Gives each norm to the layer that it follows: by its place, else by the number in its name, else
/// by its channels, taken in order.
fn attach_norms(blocks: &mut [Block], modules: &[Module]) -> Result<(), String> {
    let norms: Vec<&Module> = modules.iter().filter(|m| m.norm_len() > 0).collect();
    let by_place = || {
        let mut owners = Vec::new();
        let mut owner = None;
        for module in modules {
            match Weights::of(module) {
                Some(_) => owner = blocks.iter().position(|block| block.key == module.key),
                None => owners.push(owner?),
            }
        }
        Some(owners)
    };
    let by_number = || {
        let number = |key: &str| {
            let digits = key.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            key[digits..].parse::<usize>().ok()
        };
        let owner = |norm: &&Module| {
            let wanted = norm.number()?;
            blocks.iter().position(|block| number(&block.key) == Some(wanted))
        };
        norms.iter().map(owner).collect::<Option<Vec<usize>>>()
    };
    let by_channels = || {
        let mut next = 0;
        let owner = |norm: &&Module| {
            let len = norm.norm_len();
            let found = next + blocks[next..].iter().position(|block| block.takes_norm(len))?;
            next = found + 1;
            Some(found)
        };
        norms.iter().map(owner).collect::<Option<Vec<usize>>>()
    };
    let fits = |owners: &Vec<usize>| {
        let mut seen = vec![false; blocks.len()];
        owners.iter().zip(&norms).all(|(&owner, norm)| {
            !std::mem::replace(&mut seen[owner], true) && blocks[owner].takes_norm(norm.norm_len())
        })
    };
    let owners = [by_place(), by_number(), by_channels()].into_iter().flatten().find(fits);
    let Some(owners) = owners else {
        let keys: Vec<&str> = norms.iter().map(|norm| &*norm.key).collect();
        return Err(format!(
            "its batch norms ({}) do not fit the layers before them",
            keys.join(", ")
        ));
    };
    let norms: Vec<Module> = norms.into_iter().cloned().collect();
    for (owner, norm) in owners.into_iter().zip(norms) {
        blocks[owner].norm = Some(norm);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(key: &str, shape: &[usize]) -> Module {
        let weight = Tensor::full(shape, 0.0);
        Module { key: key.into(), kind: Kind::Linear { weight, bias: None } }
    }

    fn keys(modules: &[Module], role: Role) -> Result<Vec<String>, String> {
        let blocks = chain(modules, role)?;
        Ok(blocks.into_iter().map(|block| block.key).collect())
    }

    #[test]
    fn channels_say_the_order_where_names_do_not() {
        let modules = [
            layer("a_last", &[4, 3, 4, 4]),
            layer("middle", &[8, 4, 4, 4]),
            layer("project", &[8 * 16, 6]),
        ];
        let wanted: Vec<String> = ["project", "middle", "a_last"].map(Into::into).into();
        assert_eq!(keys(&modules, Role::Generator), Ok(wanted));
        let modules = [
            layer("four", &[1, 8, 4, 4]),
            layer("one", &[4, 3, 4, 4]),
            layer("two", &[8, 4, 4, 4]),
        ];
        let wanted: Vec<String> = ["one", "two", "four"].map(Into::into).into();
        assert_eq!(keys(&modules, Role::Discriminator), Ok(wanted));
        // Two layers that could follow.
        let modules =
            [layer("a", &[8, 3, 4, 4]), layer("b", &[6, 8, 4, 4]), layer("c", &[8, 3, 4, 4])];
        let error = keys(&modules, Role::Generator).expect_err("two could be last");
        assert!(error.contains("which seems to follow"), "{error}");
    }
}
