//! Places layers among those without tensors: what the numbers of a `Sequential` show about
//! activations, norms and dropout.

use std::collections::{BTreeMap, BTreeSet};

use crate::nn::Layer;

use super::chain::{Block, layers_flag};
use super::items::{Item, Norm};
use super::roles::Role;

/// The layers of a chain with the layers between them, and the assumptions as text. `modules` are
/// the names of all layers of the network, also those without tensors, if a file lists them.
///
/// # Errors
/// A message that names the flag that decides, if something is ambiguous.
pub(super) fn arrange(
    blocks: Vec<Block>,
    role: Role,
    slope: f32,
    modules: &BTreeSet<String>,
) -> Result<(Vec<Item>, Vec<String>), String> {
    let places = Places::of(&blocks, modules);
    let mut assumed = places.check(&blocks, role)?;
    let flag = layers_flag(role);
    let last = blocks.len().saturating_sub(1);
    let activation = || Item::Plain(Layer::leaky_relu(slope));
    let mut items: Vec<Item> = Vec::new();
    for (i, mut block) in blocks.into_iter().enumerate() {
        places.skip_to(&mut items, places.of_block(i));
        let norm = block.norm.take();
        items.push(Item::Weights(Box::new(block)));
        let Some(norm) = norm else {
            if i < last && places.room(&items, i) {
                items.push(activation());
            }
            continue;
        };
        let late = places.lateness(i);
        if late == Lateness::Unsure {
            assumed.push(format!("{} normalizes the output of an activation ({flag})", norm.key));
        }
        let late = late != Lateness::Early;
        if late {
            items.push(activation());
        }
        places.skip_to(&mut items, places.of_norm(i));
        items.push(Item::Norm(Norm::of(norm)));
        if !late && places.room(&items, i) {
            items.push(activation());
        }
    }
    Ok((items, assumed))
}

/// Whether a norm comes after the activation of the layer that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    Early,
    Late,
    /// It does if the layer before it is its activation.
    Unsure,
}

/// A place in a `Sequential`: its name, and the index.
type Place = (String, usize);

/// The places of a layer and its norm.
#[derive(Clone, Debug)]
struct Spot {
    own: Place,
    norm: Option<Place>,
    /// Whether it is a linear layer, which needs a flattened image.
    linear: bool,
}

/// The places of layers in the file's numbering.
struct Places {
    /// Empty if the names contain no indices, or activations are not counted.
    spots: Vec<Spot>,
    /// Whether all of them are in one `Sequential`, whose numbering is kept.
    one: bool,
    /// The largest index of each `Sequential`, if a file also lists layers without tensors.
    ends: BTreeMap<String, usize>,
}

impl Places {
    fn of(blocks: &[Block], modules: &BTreeSet<String>) -> Self {
        let place = |key: &str| {
            let (prefix, last) = key.rsplit_once('.').unwrap_or(("", key));
            Some((prefix.to_owned(), last.parse::<usize>().ok()?))
        };
        let spot = |block: &Block| {
            let norm = match &block.norm {
                None => None,
                Some(norm) => Some(place(&norm.key)?),
            };
            Some(Spot { own: place(&block.key)?, norm, linear: block.linear })
        };
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for (prefix, number) in modules.iter().filter_map(|key| place(key)) {
            let end = ends.entry(prefix).or_default();
            *end = number.max(*end);
        }
        let none = Self { spots: Vec::new(), one: false, ends: BTreeMap::new() };
        let Some(spots) = blocks.iter().map(spot).collect::<Option<Vec<Spot>>>() else {
            return none;
        };
        let all: Vec<&Place> =
            spots.iter().flat_map(|spot| [Some(&spot.own), spot.norm.as_ref()]).flatten().collect();
        let pairs = || all.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let one = all.windows(2).all(|pair| pair[0].0 == pair[1].0);
        let rising = pairs().all(|pair| pair[0].1 < pair[1].1);
        // Without gaps, indices count no activations; large ones are not indices.
        let gaps = pairs().any(|pair| pair[1].1 > pair[0].1 + 1);
        let near = all.iter().all(|(_, number)| *number < 16 * (all.len() + 1));
        if rising && gaps && near { Self { spots, one, ends } } else { none }
    }

    fn of_block(&self, i: usize) -> Option<usize> {
        self.spots.get(i).filter(|_| self.one).map(|spot| spot.own.1)
    }

    fn of_norm(&self, i: usize) -> Option<usize> {
        let norm = self.spots.get(i).filter(|_| self.one)?.norm.as_ref()?;
        Some(norm.1)
    }

    /// How many layers without tensors are between two places; `None` if they are not in one
    /// `Sequential`.
    fn between(first: &Place, second: &Place) -> Option<usize> {
        (first.0 == second.0).then(|| second.1 - first.1 - 1)
    }

    /// Whether there is a layer without tensors between the convolution and its norm, and, except
    /// for flattening, none between the norm and the next convolution: then it is the activation.
    fn lateness(&self, i: usize) -> Lateness {
        let Some(Spot { own, norm: Some(norm), .. }) = self.spots.get(i) else {
            return Lateness::Early;
        };
        if Self::between(own, norm).unwrap_or(0) == 0 {
            return Lateness::Early;
        }
        let next = self.spots.get(i + 1);
        let flattens = usize::from(next.is_some_and(|next| next.linear));
        let behind = match next.and_then(|next| Self::between(norm, &next.own)) {
            Some(behind) => Some(behind),
            None => self.ends.get(&norm.0).map(|&end| end.saturating_sub(norm.1)),
        };
        match behind {
            Some(behind) if behind <= flattens => Lateness::Late,
            Some(_) => Lateness::Early,
            None => Lateness::Unsure,
        }
    }

    /// Fills up to a place with identity layers, such as dropout after training.
    fn skip_to(&self, items: &mut Vec<Item>, place: Option<usize>) {
        if let Some(place) = place {
            let missing = place.saturating_sub(items.len());
            items.extend((0..missing).map(|_| Item::Plain(Layer::Identity)));
        }
    }

    /// Whether there is an activation before the layer after the `i`th.
    fn room(&self, items: &[Item], i: usize) -> bool {
        let (Some(spot), Some(next)) = (self.spots.get(i), self.spots.get(i + 1)) else {
            return true;
        };
        if self.one {
            return items.len() < next.own.1;
        }
        let last = spot.norm.as_ref().unwrap_or(&spot.own);
        Self::between(last, &next.own) != Some(0)
    }

    /// Lists what is assumed about the layers without tensors.
    fn check(&self, blocks: &[Block], role: Role) -> Result<Vec<String>, String> {
        let flag = layers_flag(role);
        let mut assumed = Vec::new();
        let plain = |block: &&Block| role == Role::Generator && !block.up && !block.linear;
        if let Some(block) = blocks.iter().find(plain) {
            assumed.push(format!("{} keeps the size of its images ({flag})", block.key));
        }
        if self.spots.is_empty() {
            if blocks.iter().any(|block| block.norm.is_some()) {
                assumed.push(format!("norms come before activations ({flag})"));
            }
            return Ok(assumed);
        }
        let mut dropout = false;
        for (i, pair) in self.spots.windows(2).enumerate() {
            let [spot, next] = pair else { continue };
            let last = spot.norm.as_ref().unwrap_or(&spot.own);
            let Some(behind) = Self::between(last, &next.own) else { continue };
            let before = spot.norm.as_ref().and_then(|norm| Self::between(&spot.own, norm));
            let reshapes = match role {
                Role::Generator => spot.linear,
                Role::Discriminator => next.linear,
            };
            let all = behind + before.unwrap_or(0);
            if all <= 1 + usize::from(reshapes) {
                continue;
            }
            if plain(&&blocks[i + 1]) {
                return Err(format!(
                    "between {} and {} are {all} layers without tensors, one of which may enlarge \
                     images: {flag} names them, as in {flag} \
                     linear,norm,upsample,conv,norm,relu,upsample,conv,tanh",
                    blocks[i].key,
                    blocks[i + 1].key
                ));
            }
            dropout = true;
        }
        if dropout {
            assumed.push(format!("other layers without tensors are dropout ({flag})"));
        }
        Ok(assumed)
    }
}
