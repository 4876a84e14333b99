//! Input and output sizes of layers: the common parts. Each layer has its own rule in its file.

use crate::tensor::elements;

use super::Layer;
use super::pass::LABELS;

/// Maximum width of images and channels of networks: larger values mean a damaged description.
pub(super) const WIDEST: usize = 1 << 16;
/// Maximum entries of one image inside a network.
const LARGEST: usize = 1 << 26;
/// Maximum number of layers.
const DEEPEST: usize = 1 << 14;

/// Why layers do not fit.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// Whether the message already names the layer, as for nested layers.
    named: bool,
    what: String,
}

impl From<String> for Misfit {
    fn from(what: String) -> Self {
        Self { named: false, what }
    }
}

impl From<Misfit> for String {
    fn from(misfit: Misfit) -> Self {
        misfit.what
    }
}

/// The context of a layer whose size is computed.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    /// Its name in the network.
    pub(super) name: String,
    /// Whether there is a reference batch.
    pub(super) reference: bool,
    /// The network's side inputs, `[h, w, c]` by name.
    pub(super) sides: &'a [(&'a str, [usize; 3])],
}

impl Around<'_> {
    /// The size of the side input of this name.
    pub(super) fn side(&self, input: &str) -> Result<[usize; 3], String> {
        let found = self.sides.iter().find(|(name, _)| *name == input);
        found.map(|(_, size)| *size).ok_or_else(|| {
            let names: Vec<&str> = self.sides.iter().map(|(name, _)| *name).collect();
            let given = if names.is_empty() { "none".into() } else { names.join(", ") };
            format!("takes the side input {input:?}; those of the network are: {given}")
        })
    }
}

/// The size of the output of the layers of a part called `name` of the layer at hand.
pub(super) fn part(
    (name, layers): (&str, &[Layer]),
    at: [usize; 3],
    around: &mut Around<'_>,
) -> Result<[usize; 3], Misfit> {
    let whole = around.name.clone();
    let sizes = all(layers, &format!("{whole}.{name}"), at, around)?;
    // Its layers were at hand meanwhile.
    around.name = whole;
    Ok(sizes.last().copied().unwrap_or(at))
}

/// The output size `[h, w, c]` of each of the layers called `scope.0`, … for an image of size
/// `input`.
pub(super) fn all(
    layers: &[Layer],
    scope: &str,
    input: [usize; 3],
    around: &mut Around<'_>,
) -> Result<Vec<[usize; 3]>, Misfit> {
    let named = |what: String| Misfit { named: true, what };
    if layers.len() > DEEPEST {
        let count = layers.len();
        return Err(named(format!("{scope} has {count} layers, and at most {DEEPEST} can be")));
    }
    fits(input).map_err(named)?;
    let mut at = input;
    let mut all = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let name = format!("{scope}.{i}");
        around.name.clone_from(&name);
        at = one(layer, at, around).map_err(|misfit| match misfit.named {
            true => misfit,
            false => named(format!("layer {name}: {}", misfit.what)),
        })?;
        all.push(at);
    }
    Ok(all)
}

/// The output size of one layer.
fn one(layer: &Layer, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
    let rule = layer.rule();
    match rule.classes() {
        Some(0) => return Err("there are no classes".to_owned().into()),
        Some(classes) if classes > WIDEST => {
            return Err(format!("there are {classes} classes").into());
        }
        _ => {}
    }
    if around.reference && rule.side_input().is_some() {
        let what = match rule.classes() {
            Some(_) => "a network with a reference batch cannot be conditioned on classes",
            None => "a network with a reference batch cannot have side inputs",
        };
        return Err(what.to_owned().into());
    }
    if let (Some(classes), Ok(size)) = (rule.classes(), around.side(LABELS))
        && size != [1, 1, classes]
    {
        let what = format!("is conditioned on {classes} classes, and labels are of {}", size[2]);
        return Err(what.into());
    }
    let to = rule.size(at, around)?;
    fits(to)?;
    Ok(to)
}

/// Whether images of this height, width and number of channels are allowed.
fn fits(image: [usize; 3]) -> Result<(), String> {
    let numbers = elements(&image).is_some_and(|n| (1..=LARGEST).contains(&n));
    if numbers && image.iter().all(|&x| x <= WIDEST) {
        return Ok(());
    }
    Err(format!("there would be images of {image:?} (height, width, channels)"))
}

/// Refuses images `at` if a layer takes another size.
pub(super) fn takes(wanted: [usize; 3], at: [usize; 3]) -> Result<(), String> {
    if wanted == at {
        return Ok(());
    }
    Err(format!("takes images of {wanted:?} (height, width, channels) and gets {at:?}"))
}

/// Refuses a value of a description that is not positive.
pub(super) fn positive(what: &str, number: f32) -> Result<(), String> {
    if number > 0.0 && number.is_finite() { Ok(()) } else { Err(format!("its {what} is {number}")) }
}

/// Refuses a negative value of a description.
pub(super) fn not_negative(what: &str, number: f32) -> Result<(), String> {
    if number >= 0.0 && number.is_finite() {
        Ok(())
    } else {
        Err(format!("its {what} is {number}"))
    }
}
