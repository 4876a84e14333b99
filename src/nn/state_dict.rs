//! Tensors of a network by PyTorch's names and in PyTorch's order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::tensor::Tensor;

use super::{Parametrization, Sequential};

/// Tensors of `torch.nn.utils.parametrizations` and our names for them, both after the layer's
/// name.
static PARAMETRIZED: [[&str; 2]; 5] = [
    ["parametrizations.weight.original", "weight_orig"],
    ["parametrizations.weight.0._u", "weight_u"],
    ["parametrizations.weight.0._v", "weight_v"],
    ["parametrizations.weight.original0", "weight_g"],
    ["parametrizations.weight.original1", "weight_v"],
];

/// The counter of PyTorch's batch norms, which ours do not have.
const COUNTER: &str = "num_batches_tracked";

/// The prefix of the layer and its tensor's own name: `main.0.` and `weight`.
fn split(name: &str) -> (&str, &str) {
    let at = name.rfind('.').map_or(0, |at| at + 1);
    name.split_at(at)
}

/// Our name for PyTorch's tensor `name`.
pub(crate) fn ours(name: &str) -> String {
    let found = PARAMETRIZED.iter().find_map(|[theirs, ours]| {
        let layer = name.strip_suffix(theirs)?;
        (layer.is_empty() || layer.ends_with('.')).then(|| format!("{layer}{ours}"))
    });
    found.unwrap_or_else(|| name.to_owned())
}

/// Converts between PyTorch's `state_dict` and states of a device. Names are already PyTorch's
/// (`main.0.weight`); the order of weights in memory differs:
///
/// ```text
///                            in a state_dict          on the device
/// Conv2d                     [out, in, kh, kw]        [kh, kw, in, out]
/// ConvTranspose2d            [in, out, kh, kw]        [kh, kw, out, in]
/// Linear                     [out, in]                [1, 1, in, out]
/// Linear on a flattened map  [out, in · h · w]        [h, w, in, out]
/// ```
///
/// ```
/// use std::collections::BTreeMap;
///
/// use dcgan::device::{Device, State};
/// use dcgan::nn::{Layer, Sequential};
/// use dcgan::ops::conv::ConvSpec;
/// use dcgan::tensor::Tensor;
///
/// # fn main() -> dcgan::error::Result<()> {
/// // nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(2))
/// let conv = ConvSpec::down([8, 8], [3, 3], [1, 1], [1, 1]).expect("it fits");
/// let layers = vec![Layer::conv(conv, 1, 2, true), Layer::relu(), Layer::batch_norm(2)];
/// let network = Sequential { layers };
/// let weight = Tensor::new([2, 1, 3, 3], (0..18).map(|i| i as f32).collect())?;
/// let mut state_dict = BTreeMap::from([("0.weight".to_owned(), weight)]);
/// for (name, value) in [
///     ("0.bias", 0.1),
///     ("2.weight", 1.0),
///     ("2.bias", 0.0),
///     ("2.running_mean", 0.0),
///     ("2.running_var", 1.0),
/// ] {
///     state_dict.insert(name.to_owned(), Tensor::full([2], value));
/// }
///
/// let mut state = State::new(&Device::Cpu);
/// for (name, value) in network.load_state_dict("generator", &state_dict)? {
///     state.set(&name, &value)?; // generator.main.0.weight, …
/// }
/// assert_eq!(state.get("generator.main.0.weight")?.shape(), [3, 3, 1, 2]);
///
/// let back = network.state_dict("generator", |name| state.get(name))?;
/// assert_eq!(back["main.0.weight"], state_dict["0.weight"]);
/// # Ok(())
/// # }
/// ```
impl Sequential {
    /// The states of the network called `prefix` from PyTorch's `state_dict`: values in the device's order
    /// under the names of states, for [`crate::device::State::set`] or
    /// [`crate::train::Trainer::set_states`].
    ///
    /// Names may have any common prefix before the layers' numbers (`0.weight`, `main.0.weight`,
    /// `module.net.0.weight`). Weights that PyTorch computes from others may be those of
    /// `torch.nn.utils` or of `torch.nn.utils.parametrizations`, if the layer here has the same
    /// [`Parametrization`]. Counters called `num_batches_tracked` are ignored.
    ///
    /// # Errors
    /// [`Error::Tensor`] as with `load_state_dict(strict=True)`: if a tensor is missing, has
    /// another shape or element type, or belongs to no layer.
    pub fn load_state_dict(
        &self,
        prefix: &str,
        state_dict: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<(String, Tensor)>> {
        let given: BTreeMap<String, (&str, &Tensor)> = state_dict
            .iter()
            .filter(|(name, _)| split(name).1 != COUNTER)
            .map(|(name, tensor)| (ours(name), (name.as_str(), tensor)))
            .collect();
        let params = self.params(prefix);
        let scope = format!("{prefix}.main.").len();
        let tails: Vec<&str> = params.iter().map(|p| &p.name[scope..]).collect();
        let root = root(&tails, &given);
        let mut used = BTreeSet::new();
        let mut states = Vec::with_capacity(params.len());
        for param in &params {
            let name = format!("{root}{}", &param.name[scope..]);
            let Some(&(theirs, tensor)) = given.get(&name) else {
                let what = "is missing in the state_dict".into();
                return Err(Error::Tensor { name, what });
            };
            let value = param.layout.from_file(theirs, tensor, &param.shape)?;
            states.push((param.name.clone(), value));
            used.insert(name);
        }
        if let Some((_, (theirs, _))) = given.iter().find(|(name, _)| !used.contains(*name)) {
            let what = "belongs to no layer of this network".into();
            return Err(Error::Tensor { name: (*theirs).into(), what });
        }
        Ok(states)
    }

    /// PyTorch's `state_dict` of the network called `prefix`: names begin with `main.`, as in a
    /// module with `self.main = nn.Sequential(…)`. `get` returns the state of a name. With
    /// [`Parametrization::SpectralParametrization`] names are those of `torch.nn.utils.parametrizations`,
    /// else those of `torch.nn.utils`. Counters called `num_batches_tracked`, which PyTorch sets if
    /// missing, are omitted.
    ///
    /// # Errors
    /// Those of `get`; [`Error::Tensor`] if a state does not belong to this network.
    pub fn state_dict(
        &self,
        prefix: &str,
        mut get: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let parametrized: BTreeSet<String> = self
            .kernels(prefix)
            .into_iter()
            .filter(|(_, kernel)| kernel.weight == Parametrization::SpectralParametrization)
            .map(|(scope, _)| format!("{scope}."))
            .collect();
        let mut all = BTreeMap::new();
        for param in self.params(prefix) {
            let value = get(&param.name)?;
            if value.shape() != param.shape {
                let what = format!("has shape {:?}, not {:?}", value.shape(), param.shape);
                return Err(Error::Tensor { name: param.name, what });
            }
            let (layer, own) = split(&param.name);
            let theirs = PARAMETRIZED[..3].iter().find(|[_, ours]| *ours == own);
            let own = match theirs {
                Some([theirs, _]) if parametrized.contains(layer) => *theirs,
                _ => own,
            };
            let name = format!("{layer}{own}").split_off(prefix.len() + 1);
            all.insert(name, param.layout.to_file(&value)?);
        }
        Ok(all)
    }
}

/// The prefix of the names of `given` before `tails`, shared by most of them.
fn root<'a, T>(tails: &[&str], given: &'a BTreeMap<String, T>) -> &'a str {
    let before = |tail: &&str| {
        let tail = *tail;
        given.keys().filter_map(move |name| name.strip_suffix(tail)).collect::<Vec<_>>()
    };
    let mut roots: BTreeSet<&str> = tails.iter().flat_map(before).collect();
    roots.retain(|root| root.is_empty() || root.ends_with('.'));
    let known = |root: &&str| {
        let has = |tail: &&&str| given.contains_key(&format!("{root}{tail}"));
        (tails.iter().filter(has).count(), Reverse(root.len()))
    };
    roots.into_iter().max_by_key(known).unwrap_or("main.")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::nn::{Layer, Residual};
    use crate::ops::conv::ConvSpec;

    /// Layers of every order, and every way of computing weights.
    fn network() -> Sequential {
        let up = ConvSpec::down([8, 8], [4, 4], [2, 2], [1, 1]).unwrap();
        let same = ConvSpec::down([8, 8], [3, 3], [1, 1], [1, 1]).unwrap();
        let conv = |weight| Layer::conv(same, 3, 3, true).weighted(weight);
        let shortcut = vec![conv(Parametrization::Plain)];
        let main = vec![Layer::relu(), conv(Parametrization::Norm)];
        Sequential {
            layers: vec![
                Layer::project([4, 4], 2, 5, true),
                Layer::batch_norm(2),
                Layer::conv_transpose(up, 3, 2, false),
                Layer::Residual(Residual { main, shortcut }),
                conv(Parametrization::Spectral),
                conv(Parametrization::SpectralParametrization),
            ],
        }
    }

    fn states(network: &Sequential) -> BTreeMap<String, Tensor> {
        let params = network.params("d").into_iter();
        params.map(|p| (p.name.clone(), p.initial(3))).collect()
    }

    #[test]
    fn there_and_back_under_any_root() {
        let network = network();
        let states = states(&network);
        let get = |name: &str| Ok(states[name].clone());
        let dict = network.state_dict("d", get).unwrap();
        let shape = |name: &str| dict[name].shape().to_vec();
        assert_eq!(shape("main.0.weight"), [32, 5]);
        assert_eq!(shape("main.2.weight"), [2, 3, 4, 4]);
        assert_eq!(shape("main.3.main.1.weight_g"), [3, 1, 1, 1]);
        assert_eq!(shape("main.4.weight_v"), [27]);
        assert_eq!(shape("main.5.parametrizations.weight.original"), [3, 3, 3, 3]);
        assert_eq!(shape("main.5.parametrizations.weight.0._u"), [3]);
        let moved = [
            ("main.4.weight_orig", "main.4.parametrizations.weight.original"),
            ("main.4.weight_u", "main.4.parametrizations.weight.0._u"),
            ("main.4.weight_v", "main.4.parametrizations.weight.0._v"),
            ("main.3.main.1.weight_g", "main.3.main.1.parametrizations.weight.original0"),
            ("main.3.main.1.weight_v", "main.3.main.1.parametrizations.weight.original1"),
        ];
        let newer = |name: &str| {
            let found = moved.iter().find(|(old, _)| *old == name);
            found.map_or(name, |(_, new)| new).to_owned()
        };
        for root in ["", "main.", "module.net."] {
            for new in [false, true] {
                let renamed = dict.iter().map(|(name, tensor)| {
                    let name = if new { newer(name) } else { name.clone() };
                    (format!("{root}{}", &name["main.".len()..]), tensor.clone())
                });
                let mut renamed: BTreeMap<String, Tensor> = renamed.collect();
                renamed.insert(format!("{root}1.num_batches_tracked"), Tensor::full([], 7.0));
                let loaded = network.load_state_dict("d", &renamed).unwrap();
                assert_eq!(loaded.into_iter().collect::<BTreeMap<_, _>>(), states, "{root}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let network = network();
        let states = states(&network);
        let dict = network.state_dict("d", |name| Ok(states[name].clone())).unwrap();
        let error = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let mut dict = dict.clone();
            change(&mut dict);
            network.load_state_dict("d", &dict).unwrap_err().to_string()
        };
        let one = || Tensor::full([3], 1.0);
        let missing = error(&|dict| drop(dict.remove("main.4.bias")));
        assert_eq!(missing, "tensor \"main.4.bias\": is missing in the state_dict");
        let first = error(&|dict| drop(dict.remove("main.0.weight")));
        assert_eq!(first, "tensor \"main.0.weight\": is missing in the state_dict");
        let more = error(&|dict| drop(dict.insert("main.6.bias".into(), one())));
        assert_eq!(more, "tensor \"main.6.bias\": belongs to no layer of this network");
        let shape = error(&|dict| drop(dict.insert("main.1.bias".into(), one())));
        assert!(shape.starts_with("tensor \"main.1.bias\": has shape [3]"), "{shape}");
        let bytes = || Tensor::with_data([2], crate::tensor::Data::U8(vec![0; 2])).unwrap();
        let bytes = error(&|dict| drop(dict.insert("main.1.bias".into(), bytes())));
        assert_eq!(bytes, "tensor \"main.1.bias\": holds U8, not F32");
    }
}
