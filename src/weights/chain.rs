//! Finds the order of layers by their channels: each layer's inputs match the outputs of the one
//! before.

use crate::tensor::Tensor;

use super::modules::{Kind, Module};
use super::norms;
use super::roles::Role;
use super::sizes::Geometry;

/// The information that orders the layers of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Their names, or their places in the file.
    Names,
    /// Their channels.
    Channels,
}

/// A convolution or linear layer with its norm.
#[derive(Debug)]
pub(super) struct Block {
    /// Its name in the file.
    pub(super) key: String,
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    /// The direction: whether from small images to large ones.
    pub(super) up: bool,
    /// Input channels.
    pub(super) from: usize,
    /// Output channels; those of a generator's linear layer are the channels of its images.
    pub(super) to: usize,
    /// The norm of its output.
    pub(super) norm: Option<Module>,
    /// Whether it is a linear layer.
    pub(super) linear: bool,
    /// Its stride and padding, if known.
    pub(super) geometry: Option<Geometry>,
    /// Height and width of the image that a linear layer's output is reshaped to, if known.
    pub(super) seen: Option<[usize; 2]>,
}

impl Block {
    /// Height and width of its kernel; a linear layer has no kernel.
    pub(super) fn kernel(&self) -> Option<[usize; 2]> {
        match *self.weight.shape() {
            [_, _, h, w] => Some([h, w]),
            _ => None,
        }
    }

    /// Whether a norm of `len` channels fits its output.
    pub(super) fn takes_norm(&self, len: usize) -> bool {
        // After a generator's linear layer, before the reshape to an image.
        len == self.to || (self.linear && self.up && len == self.weight.shape()[0])
    }
}

/// What is known about the order of a file's layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether they come in the order in which the network was made.
    pub(super) ordered: bool,
    /// Whether they are the authors', whose convolutions all double or halve.
    pub(super) authors: bool,
}

/// A network's layers in order.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) blocks: Vec<Block>,
    /// What was assumed on the way, as text.
    pub(super) assumed: Vec<String>,
}

/// The layers of a network of this role: in the file's order, or, where names do not show the
/// order, chained by their channels.
///
/// # Errors
/// A message that names the layers that do not fit each other.
pub(super) fn chain(
    modules: &[Module],
    role: Role,
    order: Order,
    known: Known,
) -> Result<Chain, String> {
    let flag = layers_flag(role);
    let mut layers: Vec<Weights<'_>> = modules.iter().filter_map(Weights::of).collect();
    if let Some(layer) = layers.iter().find(|layer| is_residual(&layer.module.key)) {
        return Err(format!(
            "{} is, by its name, of a residual network, whose shortcuts no tensor shows; if it is \
             not, {flag} lists the layers",
            layer.module.key
        ));
    }
    // A generator begins with its linear layer, a discriminator ends with it.
    layers.sort_by_key(|layer| (layer.shape().len() == 2) == (role == Role::Discriminator));
    match order {
        Order::Channels => {
            layers = linked(&layers, role).ok_or("has no unique order of its layers")?;
        }
        Order::Names => {
            let keys = layers.iter().filter(|layer| layer.shape().len() == 4);
            let keys: Vec<&str> = keys.map(|layer| &*layer.module.key).collect();
            // Alphabetical order does not show the order of layers.
            if !known.ordered && !count_up(&keys) && linked(&layers, role).is_none() {
                return Err(format!(
                    "neither names nor channels show the order of its layers ({}): {flag} \
                     does, as conv={}",
                    keys.join(", "),
                    keys[0]
                ));
            }
        }
    }
    let mut blocks = convolutions(&layers, role)?;
    // Read backwards, every discriminator is a generator from a single number.
    if order == Order::Channels && blocks[0].from == 1 && role == Role::Generator {
        return Err("takes a single number".into());
    }
    let mut assumed = Vec::new();
    if role == Role::Generator && !known.authors {
        resolve_squares(&mut blocks, &mut assumed)?;
    }
    norms::attach(&mut blocks, modules, known, flag, &mut assumed)?;
    if blocks.last().is_some_and(|block| block.norm.is_some()) {
        return Err(format!("its last layer is normalized, unlike a {}'s", role.name()));
    }
    Ok(Chain { blocks, assumed })
}

/// The flag that specifies a network's layers.
pub(super) fn layers_flag(role: Role) -> &'static str {
    match role {
        Role::Generator => "--g-layers",
        Role::Discriminator => "--d-layers",
    }
}

/// The words in a name: `extra-layers-0:64:conv` has five.
fn words(key: &str) -> Vec<String> {
    let words = key.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect()
}

/// Whether a name indicates residual blocks.
fn is_residual(key: &str) -> bool {
    const RESIDUAL: [&str; 8] =
        ["res", "resblock", "resblocks", "resnet", "residual", "shortcut", "skip", "bypass"];
    let bare =
        |word: &String| RESIDUAL.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit()));
    words(key).iter().any(bare)
}

/// Whether the numbers in these names count up: `conv9`, `conv10`.
pub(super) fn count_up(keys: &[&str]) -> bool {
    let split = |segment: &str| {
        let text = segment.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        (segment[..text].to_owned(), segment[text..].parse::<u64>().ok())
    };
    keys.windows(2).all(|pair| {
        let differ = pair[0].split('.').zip(pair[1].split('.')).find(|(a, b)| a != b);
        differ.is_some_and(|(a, b)| {
            let ((a, one), (b, two)) = (split(a), split(b));
            a == b && one.is_some() && two.is_some() && one < two
        })
    })
}

/// Decides whether convolutions with as many inputs as outputs are transposed: by their kernels,
/// since one of even size keeps no size; else by their names, if the names of all others are
/// conclusive.
fn resolve_squares(blocks: &mut [Block], assumed: &mut Vec<String>) -> Result<(), String> {
    // `convt`, `deconv2`, `conv_transpose`; `None` for names that do not describe convolutions.
    let transposed = |key: &str| {
        let words = words(key);
        let is = |word: &String| {
            ["convt", "deconv", "tconv", "transconv"].iter().any(|known| word.starts_with(known))
        };
        let pair = |pair: &[String]| pair[0].starts_with("conv") && pair[1].starts_with("trans");
        match words.iter().any(is) || words.windows(2).any(pair) {
            true => Some(true),
            false => words.iter().any(|word| word.starts_with("conv")).then_some(false),
        }
    };
    let is_square = |i: usize, block: &Block| {
        let odd = block.kernel().is_some_and(|kernel| kernel.iter().all(|k| k % 2 == 1));
        i > 0 && !block.linear && block.from == block.to && odd
    };
    let others = blocks.iter().enumerate().filter(|(i, block)| !is_square(*i, block));
    let others: Vec<&Block> =
        others.map(|(_, block)| block).filter(|block| !block.linear).collect();
    let tell = others.iter().any(|block| block.up)
        && others.iter().all(|block| transposed(&block.key) == Some(block.up));
    for (i, block) in blocks.iter_mut().enumerate() {
        if !is_square(i, block) {
            continue;
        }
        match transposed(&block.key).filter(|_| tell) {
            Some(up) => {
                let what = if up { "a transposed convolution" } else { "a convolution" };
                assumed.push(format!("{} is {what}, by its name (--g-layers)", block.key));
                block.up = up;
            }
            None => {
                return Err(format!(
                    "{} takes {} channels and outputs as many, so that its shape does not show \
                     whether it is a convolution or a transposed one: specify it, as in --g-layers \
                     linear,norm,upsample,conv,norm,relu,upsample,conv,tanh",
                    block.key, block.from
                ));
            }
        }
    }
    Ok(())
}

/// The weights `[small, large, kh, kw]` or `[out, in]` of a module.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    module: &'a Module,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl<'a> Weights<'a> {
    pub(super) fn of(module: &'a Module) -> Option<Self> {
        match &module.kind {
            Kind::Linear { weight, bias } => Some(Self { module, weight, bias: bias.as_ref() }),
            Kind::Norm { .. } => None,
        }
    }

    fn shape(&self) -> &'a [usize] {
        self.weight.shape()
    }

    /// Its input and output channels, if all convolutions have the role's usual direction; `None`
    /// for a linear layer.
    fn ends(&self, role: Role) -> Option<[usize; 2]> {
        match (self.shape(), role) {
            (&[small, large, _, _], Role::Generator) => Some([small, large]),
            (&[small, large, _, _], Role::Discriminator) => Some([large, small]),
            _ => None,
        }
    }
}

/// The layers in the only order in which each takes the channels that the one before outputs;
/// `None` if there are several such orders, or none.
fn linked<'a>(layers: &[Weights<'a>], role: Role) -> Option<Vec<Weights<'a>>> {
    let (linear, mut rest): (Vec<_>, Vec<_>) =
        layers.iter().copied().partition(|layer| layer.ends(role).is_none());
    let mut order: Vec<Weights<'a>> = Vec::new();
    while !rest.is_empty() {
        let follows = |i: &usize| {
            let [takes, _] = rest[*i].ends(role).unwrap_or_default();
            match order.last().and_then(|last| last.ends(role)) {
                Some([_, gives]) => takes == gives,
                // The first takes what no other outputs.
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
        if shape.contains(&0) {
            return Err(format!("{} has no values: its shape is {shape:?}", module.key));
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
                        "{} takes {large} values, which do not fit images of the {channels} \
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
        let (norm, geometry, seen) = (None, None, None);
        blocks.push(Block { key, weight, bias, up, from, to, norm, linear, geometry, seen });
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
        return Err(format!("it would have images of {channels} channels; 1, 3 and 4 can be used"));
    }
    if role == Role::Discriminator && end.to != 1 {
        return Err(format!("it would give {} numbers, not one", end.to));
    }
    if role == Role::Generator && !blocks.iter().skip(1).any(|block| block.up) {
        return Err("it would have no transposed convolution: --g-layers must enlarge its \
                    images, as in --g-layers linear,norm,upsample,conv,norm,relu,conv,tanh"
            .into());
    }
    Ok(blocks)
}

/// The channels of the image that `rows` values are reshaped to: those that the next layer takes.
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
            "its first layer outputs {rows} values, which do not fit the next one's images"
        )),
    }
}

/// The side of a square with this many pixels.
pub(super) fn side(pixels: usize) -> Option<usize> {
    let side = pixels.isqrt();
    (side * side == pixels).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERED: Known = Known { ordered: true, authors: false };
    const SORTED: Known = Known { ordered: false, authors: false };

    fn layer(key: &str, shape: &[usize]) -> Module {
        let weight = Tensor::full(shape, 0.0);
        Module { key: key.into(), kind: Kind::Linear { weight, bias: None } }
    }

    fn keys(modules: &[Module], role: Role) -> Result<Vec<String>, String> {
        let chain = chain(modules, role, Order::Channels, ORDERED)?;
        Ok(chain.blocks.into_iter().map(|block| block.key).collect())
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
        let by_names = chain(&modules, Role::Generator, Order::Names, ORDERED);
        let by_names = by_names.expect_err("a_last is last");
        assert!(by_names.contains("middle, which seems to follow, takes"), "{by_names}");

        let modules = [
            layer("four", &[1, 8, 4, 4]),
            layer("one", &[4, 3, 4, 4]),
            layer("two", &[8, 4, 4, 4]),
        ];
        let wanted: Vec<String> = ["one", "two", "four"].map(Into::into).into();
        assert_eq!(keys(&modules, Role::Discriminator), Ok(wanted));
        let backwards = keys(&modules, Role::Generator).expect_err("it is a discriminator");
        assert_eq!(backwards, "takes a single number");

        // Two layers that could follow.
        let modules =
            [layer("a", &[8, 3, 4, 4]), layer("b", &[6, 8, 4, 4]), layer("c", &[8, 3, 4, 4])];
        let error = keys(&modules, Role::Generator).expect_err("two could be last");
        assert_eq!(error, "has no unique order of its layers");
    }

    #[test]
    fn names_count_up_or_say_nothing_of_the_order() {
        assert!(count_up(&["main.0", "main.3", "main.10"]));
        assert!(count_up(&["net.0.0", "net.1.0", "net.2"]));
        assert!(count_up(&["conv9", "conv10"]));
        assert!(!count_up(&["final", "initial"]));
        assert!(!count_up(&["conv1", "deconv2"]));
        assert!(!count_up(&["a.1", "b.2"]));

        // Two layers of the same shape: in alphabetical order either may come first.
        let of = |names: [&str; 2]| {
            [
                layer("0", &[6, 4, 4, 4]),
                layer(names[0], &[4, 4, 4, 4]),
                layer(names[1], &[4, 4, 4, 4]),
                layer("z9", &[4, 3, 4, 4]),
            ]
        };
        let order = |names, known| chain(&of(names), Role::Generator, Order::Names, known);
        let error = order(["fine", "coarse"], SORTED).expect_err("either could be first");
        assert!(error.contains("neither names nor channels show the order"), "{error}");
        assert!(error.contains("--g-layers"), "{error}");
        assert!(order(["fine", "coarse"], ORDERED).is_ok());
    }

    #[test]
    fn squares_are_resolved_by_their_names_or_not_at_all() {
        let of = |names: [&str; 3], kernel: usize| {
            let modules = [
                layer(names[0], &[6, 4, 4, 4]),
                layer(names[1], &[4, 4, kernel, kernel]),
                layer(names[2], &[4, 3, 4, 4]),
            ];
            let chain = chain(&modules, Role::Generator, Order::Names, ORDERED)?;
            Ok::<_, String>((chain.blocks[1].up, chain.assumed.len()))
        };
        // A kernel of even size keeps no size.
        assert_eq!(of(["0", "3", "6"], 4), Ok((true, 0)));
        for names in [["0", "3", "6"], ["conv1", "conv2", "conv3"], ["convt1", "middle", "convt3"]]
        {
            let error = of(names, 3).expect_err("either could be");
            assert!(error.contains("takes 4 channels and outputs as many"), "{error}");
            assert!(error.contains("--g-layers"), "{error}");
        }
        assert_eq!(of(["a:convt", "b:conv", "c:convt"], 3), Ok((false, 1)));
        assert_eq!(of(["conv_transpose1", "conv2", "conv_transpose3"], 3), Ok((false, 1)));
        assert_eq!(of(["deconv1", "deconv2", "deconv3"], 3), Ok((true, 1)));
        let residual = of(["0", "res_block.0", "6"], 3).expect_err("a shortcut may be there");
        assert!(residual.contains("of a residual network"), "{residual}");
    }
}
