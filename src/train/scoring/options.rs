//! How a training is scored: options.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Domain, Value, config};
use crate::error::{Error, Result};
use crate::evaluation::metric::{Compute, Metric, metric};

use super::super::options::any_path;

/// Metrics that cost little and need nothing from elsewhere.
pub const USUAL: [&str; 2] = ["swd-raw", "prdc-pixels"];

/// The metric that is added where there is a network for features.
const USUAL_OF_FEATURES: &str = "fid";

config! {
    /// When and how the generator is scored during a training. Does not affect the training.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ScoreOptions;
    /// [`ScoreOptions`] with optional fields.
    pub struct PartialScoreOptions stored Changed;
    flags "Scores" {
        /// Real images from one score of the generator to the next, held against images of DATA; 0 for
        /// none. Scores are in log.jsonl, losses.png and report.html, with floors in floors.json
        evaluate_every: u64 = 0, "COUNT" { domain: Domain::Count };
        /// Metrics, of those that dcgan evaluate --help lists
        evaluate: MetricNames = MetricNames::default(), "LIST" {
            shown: Some("swd-raw,prdc-pixels, and fid with --features"),
        };
        /// Generated and real images to compare, if there are as many
        evaluate_samples: u64 = 1000, "COUNT" { domain: Domain::Count };
        /// Weights of a network, for fid, kid, is and prdc; see dcgan evaluate --help
        features: FeatureFile = FeatureFile::default(), "FILE" { shown: Some("none") };
        /// Keep the checkpoint with the best score by this metric as best.safetensors
        best: BestBy = BestBy::default(), "METRIC" { shown: Some("none") };
    }
}

/// Names of metrics; none for the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MetricNames(pub Vec<String>);

impl fmt::Display for MetricNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Value for MetricNames {
    fn read(text: &str, _: Domain) -> Result<Self, String> {
        let names = text.split(',').map(|name| {
            let name = name.trim();
            metric(name).map(|_| name.to_owned()).map_err(|what| format!("{name:?} {what}"))
        });
        names.collect::<Result<_, String>>().map(Self)
    }
}

/// The file of a network for features, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeatureFile(#[serde(with = "any_path")] pub Option<PathBuf>);

impl fmt::Display for FeatureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_deref().map_or(Ok(()), |path| path.display().fmt(f))
    }
}

impl Value for FeatureFile {
    fn read(text: &str, _: Domain) -> Result<Self, String> {
        // The run may be resumed from another folder.
        let path = Path::new(text);
        Ok(Self(Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))))
    }
}

/// The score that the best checkpoint is chosen by, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BestBy(pub Option<String>);

impl fmt::Display for BestBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl Value for BestBy {
    fn read(text: &str, _: Domain) -> Result<Self, String> {
        let found = metric(text).map_err(|what| format!("{text:?} {what}"))?;
        let names: Vec<&str> = found.outputs.iter().map(|output| output.name).collect();
        match names[..] {
            [name] => Ok(Self(Some(name.to_owned()))),
            _ if names.contains(&text) => Ok(Self(Some(text.to_owned()))),
            _ => Err(format!("{text} gives several scores: name one of {}", names.join(", "))),
        }
    }
}

impl ScoreOptions {
    /// Whether the training is scored at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.evaluate_every > 0
    }

    /// The metrics to compute, each once, and whether each was asked for by name.
    ///
    /// # Errors
    /// [`Error::Config`] for a metric that lacks a network's features, or cannot be computed in
    /// training.
    pub(super) fn metrics(&self) -> Result<Vec<(&'static Metric, bool)>> {
        let mut metrics: Vec<(&'static Metric, bool)> = Vec::new();
        let mut add = |name: &str, is_asked| {
            let found = metric(name).map_err(|what| {
                Error::config(if is_asked { "evaluate" } else { "best" }, format!("{name} {what}"))
            })?;
            match metrics.iter_mut().find(|(known, _)| known.name == found.name) {
                Some((_, asked)) => *asked |= is_asked,
                None => metrics.push((found, is_asked)),
            }
            Ok(())
        };
        if self.evaluate.0.is_empty() {
            let with_features = self.features.0.as_ref().map(|_| USUAL_OF_FEATURES);
            USUAL.into_iter().chain(with_features).try_for_each(|name| add(name, false))?;
        }
        self.evaluate.0.iter().chain(&self.best.0).try_for_each(|name| add(name, true))?;
        for (metric, _) in &metrics {
            match metric.compute {
                Compute::Network(_) if self.features.0.is_none() => {
                    let what = format!(
                        "is needed for {}: the weights of Inception-v3 or EfficientNet-Lite0",
                        metric.name
                    );
                    return Err(Error::config("features", what));
                }
                Compute::Seen(_) => {
                    let what = format!(
                        "{} needs images that are kept from the training; dcgan evaluate measures it \
                         afterwards",
                        metric.name
                    );
                    return Err(Error::config("evaluate", what));
                }
                Compute::Classes(..) => {
                    let what = format!(
                        "{} needs a classifier; dcgan evaluate measures it afterwards",
                        metric.name
                    );
                    return Err(Error::config("evaluate", what));
                }
                Compute::Images(_) | Compute::Network(_) => {}
            }
        }
        Ok(metrics)
    }

    /// Refuses options of scores without scores.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        self.check_bounds()?;
        if self.is_on() {
            return self.metrics().map(drop);
        }
        let default = Self::default();
        let needs = |field| {
            let what = "is for scores during the training: give `evaluate_every` too, such as 10k";
            Err(Error::config(field, what))
        };
        match () {
            () if self.best != default.best => needs("best"),
            () if self.evaluate != default.evaluate => needs("evaluate"),
            () if self.features != default.features => needs("features"),
            () if self.evaluate_samples != default.evaluate_samples => needs("evaluate_samples"),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn options(set: &[(&str, &str)]) -> ScoreOptions {
        let mut partial = PartialScoreOptions::default();
        for (name, value) in set {
            partial.set(name, value).unwrap().unwrap();
        }
        let mut options = ScoreOptions::default();
        partial.apply(&mut options);
        options
    }

    #[test]
    fn metrics_are_the_usual_ones_or_those_named_and_that_of_the_best() {
        let names = |set: &[(&str, &str)]| -> Vec<(&str, bool)> {
            let found = options(set).metrics().unwrap();
            found.into_iter().map(|(metric, asked)| (metric.name, asked)).collect()
        };
        assert_eq!(names(&[]), [("swd-raw", false), ("prdc-pixels", false)]);
        assert_eq!(names(&[("features", "x.pth")])[2], ("fid", false));
        let best = names(&[("best", "recall-pixels")]);
        assert_eq!(best, [("swd-raw", false), ("prdc-pixels", true)]);
        let named = names(&[("evaluate", "1-nn, colors"), ("best", "swd-raw")]);
        assert_eq!(named, [("1-nn", true), ("colors", true), ("swd-raw", true)]);
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let text = |set: &[(&str, &str)]| options(set).validate().unwrap_err().to_string();
        for field in ["best", "evaluate"] {
            assert!(text(&[(field, "swd-raw")]).contains("give `evaluate_every` too"));
        }
        let on = ("evaluate_every", "1k");
        assert!(text(&[on, ("best", "kid")]).starts_with("`features`: is needed for kid"));
        assert!(text(&[on, ("evaluate", "copies")]).contains("kept from the training"));
        options(&[on, ("best", "ms-ssim")]).validate().unwrap();
        let mut partial = PartialScoreOptions::default();
        let mut refused = |name, value| partial.set(name, value).unwrap().unwrap_err();
        assert!(
            refused("evaluate", "swd-raw,fidd").contains("\"fidd\" is not a metric; there are")
        );
        assert!(refused("best", "prdc-pixels").contains("name one of precision-pixels, recall"));
    }

    #[test]
    fn options_come_back_from_json_and_leave_out_what_was_not_asked_for() {
        let set = [
            ("evaluate_every", "10k"),
            ("evaluate", "colors"),
            ("features", "/weights/a b.pth"),
            ("best", "colors"),
        ];
        let options = options(&set);
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(
            json,
            r#"{"evaluate_every":10000,"evaluate":["colors"],"features":"/weights/a b.pth","best":"colors"}"#
        );
        assert_eq!(serde_json::from_str::<ScoreOptions>(&json).unwrap(), options);
        assert_eq!(serde_json::to_string(&ScoreOptions::default()).unwrap(), "{}");
    }
}
