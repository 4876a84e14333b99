//! Layers that a user specifies as in Python source: `linear,norm,upsample,conv,tanh`.

use std::fmt;
use std::str::FromStr;

use crate::nn::Layer;

use super::chain::Block;
use super::items::{Item, Norm};
use super::modules::{Kind, Module};
use super::roles::Role;
use super::sizes::Geometry;

/// One layer, as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Spelled {
    word: Word,
    /// The name of its tensors in the file; without it, the next layer of its kind.
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Linear,
    Conv { up: bool, geometry: Option<Geometry> },
    Norm { eps: Option<f32> },
    Plain(Layer),
}

/// The available words, for help and errors.
const WORDS: &str = "linear, conv or conv:STRIDE:PADDING, deconv or \
                     deconv:STRIDE:PADDING:OUTPUT_PADDING (transposed), norm or norm:EPS, relu, \
                     leaky:SLOPE, tanh, sigmoid, upsample, pool (the mean of 2x2), dropout and reshape";

impl FromStr for Spelled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a layer; use {WORDS}");
        let (spelled, name) = match text.split_once('=') {
            Some((spelled, name)) => (spelled.trim(), Some(name.trim().to_owned())),
            None => (text.trim(), None),
        };
        let mut parts = spelled.split(':');
        let word = parts.next().unwrap_or_default();
        let numbers: Option<Vec<f32>> = parts.map(|number| number.parse().ok()).collect();
        let numbers = numbers.ok_or_else(wrong)?;
        if numbers.iter().any(|x| !(x.is_finite() && *x >= 0.0)) {
            return Err(wrong());
        }
        let whole = |x: f32| (x.fract() == 0.0 && x <= 64.0).then_some(x as usize);
        let geometry = |stride: f32, pad: f32, more: f32| {
            let (stride, pad, more) = (whole(stride)?, whole(pad)?, whole(more)?);
            (stride > 0).then_some(Geometry {
                stride: [stride; 2],
                pad: [pad; 2],
                output_pad: [more as isize; 2],
            })
        };
        let word = match (word, &numbers[..]) {
            ("linear", []) => Word::Linear,
            ("conv", []) => Word::Conv { up: false, geometry: None },
            ("deconv" | "convt", []) => Word::Conv { up: true, geometry: None },
            ("conv", &[stride, pad]) => {
                let geometry = Some(geometry(stride, pad, 0.0).ok_or_else(wrong)?);
                Word::Conv { up: false, geometry }
            }
            ("deconv" | "convt", &[stride, pad, ref more @ ..]) if more.len() < 2 => {
                let more = more.first().copied().unwrap_or(0.0);
                let geometry = Some(geometry(stride, pad, more).ok_or_else(wrong)?);
                Word::Conv { up: true, geometry }
            }
            ("norm" | "bn", []) => Word::Norm { eps: None },
            ("norm" | "bn", &[eps]) => Word::Norm { eps: Some(eps) },
            ("relu", []) => Word::Plain(Layer::relu()),
            ("leaky", &[slope]) => Word::Plain(Layer::leaky_relu(slope)),
            ("tanh", []) => Word::Plain(Layer::Tanh),
            ("sigmoid", []) => Word::Plain(Layer::Sigmoid),
            ("upsample", []) => Word::Plain(Layer::Upsample),
            ("pool", []) => Word::Plain(Layer::AveragePool),
            ("dropout" | "reshape" | "flatten" | "identity", []) => Word::Plain(Layer::Identity),
            _ => return Err(wrong()),
        };
        let has_tensors = !matches!(word, Word::Plain(_));
        match name {
            Some(name) if name.is_empty() || !has_tensors => Err(wrong()),
            name => Ok(Self { word, name }),
        }
    }
}

/// The kinds of layers with tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Linear,
    Conv,
    Norm,
}

impl Sort {
    fn of(module: &Module) -> Self {
        match &module.kind {
            Kind::Norm { .. } => Self::Norm,
            Kind::Linear { weight, .. } if weight.shape().len() == 2 => Self::Linear,
            Kind::Linear { .. } => Self::Conv,
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear layer",
            Self::Conv => "convolution",
            Self::Norm => "norm",
        })
    }
}

/// The layers in `spelled`, with the tensors of `modules`, which come in file order.
///
/// # Errors
/// A message if the file lacks these layers, or one does not fit the one before it.
pub(super) fn items(
    spelled: &[Spelled],
    modules: &[Module],
    role: Role,
    flag: &str,
) -> Result<Vec<Item>, String> {
    let mut left: Vec<&Module> = modules.iter().collect();
    let mut take = |sort: Sort, name: Option<&str>, taken: &[&str]| {
        let found = left.iter().position(|module| match name {
            Some(name) => module.key == name,
            // Modules that other words name are never the next of a kind.
            None => Sort::of(module) == sort && !taken.contains(&&*module.key),
        });
        match found.map(|at| left.remove(at)) {
            Some(module) if Sort::of(module) == sort => Ok(module.clone()),
            Some(module) => Err(format!("{} is a {}, not a {sort}", module.key, Sort::of(module))),
            None => Err(match name {
                Some(name) => format!("has no layer {name:?}, which {flag} names"),
                None => format!("has fewer {sort}s than {flag} names"),
            }),
        }
    };
    let named: Vec<&str> = spelled.iter().filter_map(|spelled| spelled.name.as_deref()).collect();
    let last = spelled.iter().rposition(|s| !matches!(s.word, Word::Plain(_) | Word::Norm { .. }));
    let mut items = Vec::new();
    for (i, Spelled { word, name }) in spelled.iter().enumerate() {
        let name = name.as_deref();
        items.push(match word {
            Word::Plain(layer) => Item::Plain(layer.clone()),
            Word::Norm { eps } => {
                Item::Norm(Norm { eps: *eps, ..Norm::of(take(Sort::Norm, name, &named)?) })
            }
            Word::Linear => {
                let fits = match role {
                    Role::Generator => items.iter().all(|item| matches!(item, Item::Plain(_))),
                    Role::Discriminator => Some(i) == last,
                };
                if !fits {
                    return Err(format!(
                        "has a linear layer in the middle, by {flag}; a {} of linear layers cannot \
                         be imported",
                        role.name()
                    ));
                }
                Item::Weights(Box::new(block(take(Sort::Linear, name, &named)?, role, None, None)?))
            }
            Word::Conv { up, geometry } => {
                let module = take(Sort::Conv, name, &named)?;
                Item::Weights(Box::new(block(module, role, Some(*up), *geometry)?))
            }
        });
    }
    if let Some(module) = left.first() {
        let sort = Sort::of(module);
        return Err(format!("has the {sort} {}, which {flag} does not name", module.key));
    }
    follow(&mut items, role)?;
    Ok(items)
}

/// A layer with weights; the channels of a linear one are filled in later.
fn block(
    module: Module,
    role: Role,
    up: Option<bool>,
    geometry: Option<Geometry>,
) -> Result<Block, String> {
    let Module { key, kind: Kind::Linear { weight, bias } } = module else {
        return Err("is not a layer with weights".into());
    };
    let linear = up.is_none();
    let up = up.unwrap_or(role == Role::Generator);
    if weight.shape().contains(&0) {
        return Err(format!("{key} has no values: its shape is {:?}", weight.shape()));
    }
    let (small, large) = (weight.shape()[0], weight.shape()[1]);
    let (from, to) = match (linear, up) {
        // `[out, in]`: the size of its other side is not known yet.
        (true, true) => (large, 0),
        (true, false) => (0, small),
        (false, true) => (small, large),
        (false, false) => (large, small),
    };
    let norm = None;
    Ok(Block { key, weight, bias, up, from, to, norm, linear, geometry, seen: None })
}

/// Checks that each layer fits the one before it, and fills in the channels of linear layers.
pub(super) fn follow(items: &mut [Item], role: Role) -> Result<(), String> {
    let takes: Vec<usize> = items
        .iter()
        .filter_map(|item| match item {
            Item::Weights(block) => Some(block.from),
            _ => None,
        })
        .collect();
    let mut before: Option<(String, usize)> = None;
    let mut number = 0;
    for item in items {
        let Item::Weights(block) = item else { continue };
        number += 1;
        if block.linear && role == Role::Generator {
            let rows = block.weight.shape()[0];
            block.to = takes.get(number).copied().unwrap_or(0);
            if block.to == 0 || !rows.is_multiple_of(block.to) {
                return Err(format!(
                    "{} outputs {rows} values, which do not fit images of the {} channels that the \
                     next layer takes",
                    block.key, block.to
                ));
            }
        } else if block.linear {
            let (numbers, channels) = (block.weight.shape()[1], before.as_ref().map_or(0, |b| b.1));
            block.from = channels;
            if channels == 0 || !numbers.is_multiple_of(channels) {
                return Err(format!(
                    "{} takes {numbers} values, which do not fit images of the {channels} channels \
                     before it",
                    block.key
                ));
            }
        }
        if let Some((key, gives)) = before.filter(|(_, gives)| *gives != block.from) {
            return Err(format!(
                "{key} gives {gives} channels, and {}, which follows, takes {}",
                block.key, block.from
            ));
        }
        let wanted = if block.linear { block.weight.shape()[0] } else { block.to };
        if let Some(bias) = block.bias.as_ref().filter(|bias| bias.len() != wanted) {
            return Err(format!("{} has {} biases for {wanted} outputs", block.key, bias.len()));
        }
        before = Some((block.key.clone(), block.to));
    }
    match before {
        None => Err("holds no convolution".into()),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Spelled, String> {
        text.parse()
    }

    #[test]
    fn words_are_read() {
        let geometry = |stride, pad, more| {
            Some(Geometry { stride: [stride; 2], pad: [pad; 2], output_pad: [more; 2] })
        };
        for (text, word, name) in [
            ("linear", Word::Linear, None),
            (" conv ", Word::Conv { up: false, geometry: None }, None),
            ("conv:2:1", Word::Conv { up: false, geometry: geometry(2, 1, 0) }, None),
            ("deconv:2:1", Word::Conv { up: true, geometry: geometry(2, 1, 0) }, None),
            ("convt:2:2:1", Word::Conv { up: true, geometry: geometry(2, 2, 1) }, None),
            (
                "deconv:1:0=main.3",
                Word::Conv { up: true, geometry: geometry(1, 0, 0) },
                Some("main.3"),
            ),
            ("norm:0.8=bn", Word::Norm { eps: Some(0.8) }, Some("bn")),
            ("leaky:0.2", Word::Plain(Layer::leaky_relu(0.2)), None),
        ] {
            let wanted = Spelled { word, name: name.map(str::to_owned) };
            assert_eq!(parsed(text), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "convolution",
            "conv:2",
            "conv:0:1",
            "conv:1.5:0",
            "conv:2:1:1",
            "leaky",
            "leaky:-1",
            "norm:nan",
            "relu=main.2",
            "conv=",
            "deconv:1:2:3:4",
            "conv:99:0",
            "conv:x:1",
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains("deconv:STRIDE:PADDING:OUTPUT_PADDING"), "{error}");
        }
    }
}
