//! Groups tensors into the layers that own them.

use crate::tensor::Tensor;

use super::Named;

/// A layer with its tensors, by their PyTorch names.
#[derive(Clone, Debug)]
pub(super) struct Module {
    /// Its name in the network.
    pub(super) key: String,
    pub(super) kind: Kind,
}

/// The kind of a layer, by the shapes of its tensors.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A convolution in either direction, `[small, large, kh, kw]`, or a linear layer
    /// `[out, in]`.
    Linear { weight: Tensor, bias: Option<Tensor> },
    /// A batch norm; each part may be missing.
    Norm { affine: Option<[Tensor; 2]>, running: Option<[Tensor; 2]> },
}

impl Module {
    /// Channels of a norm; 0 for other layers.
    pub(super) fn norm_len(&self) -> usize {
        match &self.kind {
            Kind::Norm { affine, running } => {
                affine.as_ref().or(running.as_ref()).map_or(0, |[tensor, _]| tensor.len())
            }
            Kind::Linear { .. } => 0,
        }
    }

    /// The number at the end of its name.
    pub(super) fn number(&self) -> Option<usize> {
        let digits = self.key.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        self.key[digits..].parse().ok()
    }
}

/// Groups the tensors of a network into its layers, in file order.
///
/// # Errors
/// A message that names a tensor that is not part of a DCGAN.
pub(super) fn gather(tensors: Vec<Named>) -> Result<Vec<Module>, String> {
    struct Slots {
        key: String,
        weight: Option<Tensor>,
        bias: Option<Tensor>,
        mean: Option<Tensor>,
        var: Option<Tensor>,
    }
    let mut all: Vec<Slots> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for Named { name, tensor } in tensors {
        let (key, own) = name.rsplit_once('.').unwrap_or(("", &name));
        if own == "num_batches_tracked" {
            continue;
        }
        if name.contains("parametrizations.") {
            return Err(format!(
                "{name} belongs to a parametrization other than spectral and weight norm; remove it first, \
                 with torch.nn.utils.parametrize.remove_parametrizations(layer, \"weight\")"
            ));
        }
        if let Some(i) = tensor.f32s().iter().position(|x| !x.is_finite()) {
            return Err(format!("number {i} of {name} is not finite: the network is unusable"));
        }
        let at = *places.entry(key.to_owned()).or_insert_with(|| {
            let key = key.to_owned();
            all.push(Slots { key, weight: None, bias: None, mean: None, var: None });
            all.len() - 1
        });
        let slots = &mut all[at];
        match own {
            "weight" => slots.weight = Some(tensor),
            "bias" => slots.bias = Some(tensor),
            "running_mean" => slots.mean = Some(tensor),
            "running_var" => slots.var = Some(tensor),
            _ => {
                return Err(format!(
                    "{name} is not part of a convolution, a linear layer or a batch norm, which is \
                     all that a DCGAN has"
                ));
            }
        }
    }
    let modules = all.into_iter().map(|Slots { key, weight, bias, mean, var }| {
        let ranks = [&weight, &bias, &mean, &var].map(|t| t.as_ref().map(|t| t.shape().len()));
        let kind = match (weight, bias, mean, var) {
            (Some(weight), bias, None, None)
                if matches!(ranks[0], Some(2 | 4)) && matches!(ranks[1], None | Some(1)) =>
            {
                Kind::Linear { weight, bias }
            }
            (Some(weight), None, None, None) if weight.shape().len() == 1 => {
                return Err(format!(
                    "{key} has one weight a channel and no bias, as PReLU has, which is not \
                     supported"
                ));
            }
            (weight, bias, mean, var)
                if ranks.iter().all(|rank| matches!(rank, None | Some(1)))
                    && weight.is_some() == bias.is_some()
                    && mean.is_some() == var.is_some() =>
            {
                let lens = [&weight, &bias, &mean, &var].map(|t| t.as_ref().map(Tensor::len));
                let mut lens = lens.into_iter().flatten();
                let first = lens.next();
                if first.is_none() || !lens.all(|len| Some(len) == first) {
                    return Err(format!("the tensors of {key} differ in length"));
                }
                Kind::Norm {
                    affine: weight.zip(bias).map(Into::into),
                    running: mean.zip(var).map(Into::into),
                }
            }
            (weight, ..) => {
                let shape =
                    weight.map_or_else(String::new, |w| format!(", weight {:?}", w.shape()));
                return Err(format!(
                    "{key} is neither a 2-D convolution nor a linear layer nor a batch norm{shape}"
                ));
            }
        };
        Ok(Module { key, kind })
    });
    modules.collect()
}

/// Sorts names with numbers in natural order: `conv2` before `conv10`.
pub(super) fn sort_naturally(tensors: &mut [Named]) {
    tensors.sort_by_cached_key(|named| {
        let segments = named.name.split('.').map(|segment| {
            let text = segment.trim_end_matches(|c: char| c.is_ascii_digit());
            let number: u64 = segment[text.len()..].parse().unwrap_or(0);
            (text.to_owned(), number)
        });
        segments.collect::<Vec<_>>()
    });
}
