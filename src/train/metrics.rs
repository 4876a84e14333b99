//! The metrics of a training step: numbers under names, in the order in which the step reports them.
//!
//! A step reports what it measures with `report`; the log, the progress line, the plot and the
//! health checks read this map, so a new metric is one `report` call.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::evaluation::metric::of_score;
use crate::tensor::Tensor;

/// What a metric measures, judged by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The loss that an update minimizes: `loss_…`.
    Loss,
    /// The Euclidean norm of an update's gradient: `grad_norm_…`.
    GradNorm,
    /// A score of the generator: [`crate::evaluation::metric::of_score`].
    Score,
    /// Anything else.
    Other,
}

/// The prefixes of those names.
const LOSS: &str = "loss_";
const GRAD_NORM: &str = "grad_norm_";

/// The loss scale of 16-bit training: not a loss.
const LOSS_SCALE: &str = "loss_scale";

/// The networks by the last letter of a metric's name.
const NETWORKS: [(&str, &str); 8] = [
    ("d", "discriminator"),
    ("g", "generator"),
    ("e", "encoder"),
    ("class", "classifier"),
    ("d1", "feature_discriminator"),
    ("g1", "feature_generator"),
    ("dn", "structure_discriminator"),
    ("gn", "structure_generator"),
];

impl Kind {
    /// What the metric called `name` measures.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            LOSS_SCALE => Self::Other,
            _ if name.starts_with(LOSS) => Self::Loss,
            _ if name.starts_with(GRAD_NORM) => Self::GradNorm,
            _ if of_score(name).is_some() => Self::Score,
            _ => Self::Other,
        }
    }
}

/// The network of a loss or gradient norm, by the end of its name: `generator` for `loss_g`.
#[must_use]
pub fn owner(name: &str) -> &str {
    let rest = name.strip_prefix(LOSS).or_else(|| name.strip_prefix(GRAD_NORM)).unwrap_or(name);
    NETWORKS.iter().find(|(short, _)| *short == rest).map_or(rest, |(_, network)| network)
}

/// The metrics of one step, or means over several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<(String, f32)>);

impl Metrics {
    /// The metrics `names` among a step's fetches, all scalars.
    pub(super) fn fetched(names: &[String], fetched: &BTreeMap<String, Tensor>) -> Self {
        let first = |tensor: &Tensor| tensor.try_f32s().ok()?.first().copied();
        let value = |name: &String| Some((name.clone(), first(fetched.get(name)?)?));
        Self(names.iter().filter_map(value).collect())
    }

    /// The metric called `name`, if it was measured.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f32> {
        self.0.iter().find(|(known, _)| known == name).map(|&(_, value)| value)
    }

    /// The metric called `name`; NaN if it was not measured.
    #[must_use]
    pub fn value(&self, name: &str) -> f32 {
        self.get(name).unwrap_or(f32::NAN)
    }

    /// Sets the metric called `name`; a new one is appended.
    pub fn set(&mut self, name: &str, value: f32) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// All metrics, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f32)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Means over several steps, each over the steps that measured it.
    #[must_use]
    pub fn mean(steps: &[Self]) -> Self {
        let mut sums: Vec<(String, f32, usize)> = Vec::new();
        for (name, value) in steps.iter().flat_map(Self::iter) {
            match sums.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + value, *count + 1),
                None => sums.push((name.to_owned(), value, 1)),
            }
        }
        Self(sums.into_iter().map(|(name, sum, count)| (name, sum / count as f32)).collect())
    }

    /// The first metric that is NaN or infinite.
    #[must_use]
    pub fn non_finite(&self) -> Option<(&str, f32)> {
        self.iter().find(|(_, value)| !value.is_finite())
    }
}

impl<const N: usize> From<[(&str, f32); N]> for Metrics {
    fn from(metrics: [(&str, f32); N]) -> Self {
        Self(metrics.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

impl Serialize for Metrics {
    /// As a map. JSON has no NaN and no infinity: both become `null`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Metrics {
    /// From a map; `null` reads as NaN, and other non-numbers are skipped.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Metrics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from names to numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metrics, A::Error> {
                let mut all = Metrics::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    match value {
                        Value::Null => all.set(&name, f32::NAN),
                        Value::Number(number) => {
                            all.set(&name, number.as_f64().unwrap_or(f64::NAN) as f32);
                        }
                        _ => {}
                    }
                }
                Ok(all)
            }
        }

        from.deserialize_map(Numbers)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn means_are_over_the_steps_that_measured() {
        let steps = [
            Metrics::from([("loss_d", 1.0), ("loss_g", 4.0)]),
            Metrics::from([("loss_d", 2.0), ("loss_g", 8.0), ("penalty", 0.5)]),
        ];
        let mean = Metrics::from([("loss_d", 1.5), ("loss_g", 6.0), ("penalty", 0.5)]);
        assert_eq!(Metrics::mean(&steps), mean);
        assert_eq!(Metrics::mean(&[]), Metrics::default());
        assert_eq!((mean.get("slope"), mean.value("slope").is_nan()), (None, true));
    }

    #[test]
    fn the_order_of_the_reports_survives_json() {
        let metrics = Metrics::from([("z", 1.5), ("a", f32::NAN), ("loss_d", 0.812)]);
        let json = serde_json::to_string(&metrics).unwrap();
        assert_eq!(json, r#"{"z":1.5,"a":null,"loss_d":0.812}"#);
        let back: Metrics = serde_json::from_str(&json).unwrap();
        let names: Vec<&str> = back.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a", "loss_d"]);
        assert_eq!(back.non_finite().unwrap().0, "a");
        assert_eq!(back.value("loss_d"), 0.812);
        let other: Metrics = serde_json::from_str(r#"{"x":1,"y":[2],"z":"3"}"#).unwrap();
        assert_eq!(other, Metrics::from([("x", 1.0)]));
    }

    #[test]
    fn names_say_what_is_measured() {
        let kinds = ["loss_e", "loss_scale", "grad_norm_g", "d_real", "swd-raw"].map(Kind::of);
        assert_eq!(kinds, [Kind::Loss, Kind::Other, Kind::GradNorm, Kind::Other, Kind::Score]);
        let owners = ["loss_d", "grad_norm_g", "loss_kl", "penalty"].map(owner);
        assert_eq!(owners, ["discriminator", "generator", "kl", "penalty"]);
    }
}
