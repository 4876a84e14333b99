//! Residual blocks (He, Zhang, Ren and Sun, arXiv 1512.03385).

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tape::{Tape, Var};

use super::onnx::Graph;
use super::param::Owned;
use super::pass::Walk;
use super::rule::LayerRule;
use super::size::{self, Around, Misfit};
use super::{BatchDependence, Layer, LayerRole, Reach, sequential};

/// `y = main(x) + shortcut(x)`; without layers a shortcut is `x` itself. Its layers are named `main.0`,
/// …, `shortcut.0`, … within it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// The layers of the main path.
    pub main: Vec<Layer>,
    /// The layers of the shortcut.
    pub shortcut: Vec<Layer>,
}

impl LayerRule for Residual {
    fn kind(&self) -> &'static str {
        "a residual block"
    }

    fn role(&self) -> LayerRole {
        LayerRole::Block
    }

    /// Its layers are asked separately.
    fn batch(&self) -> BatchDependence {
        BatchDependence::None
    }

    fn reach(&self) -> Reach {
        Reach::More
    }

    fn size(&self, at: [usize; 3], around: &mut Around<'_>) -> Result<[usize; 3], Misfit> {
        let main = size::part(("main", &self.main), at, around)?;
        let shortcut = size::part(("shortcut", &self.shortcut), at, around)?;
        if main != shortcut {
            let what = format!(
                "its main path makes images of {main:?} (height, width, channels), and its \
                 shortcut of {shortcut:?}"
            );
            return Err(what.into());
        }
        Ok(main)
    }

    fn params(&self, owned: &mut Owned<'_>) {
        owned.part("main", |owned| sequential::params(&self.main, owned));
        owned.part("shortcut", |owned| sequential::params(&self.shortcut, owned));
    }

    fn record(&self, t: &mut Tape, scope: &str, x: Var, walk: &mut Walk<'_>) -> Result<Var> {
        let y = sequential::part(t, scope, ("main", &self.main), x, walk)?;
        let short = sequential::part(t, scope, ("shortcut", &self.shortcut), x, walk)?;
        t.add(y, short)
    }

    fn onnx(
        &self,
        graph: &mut dyn Graph,
        scope: &str,
        x: String,
        at: [usize; 3],
    ) -> Result<String> {
        let mut part = |name: &str, layers: &[Layer]| {
            sequential::onnx_part(graph, scope, (name, layers), x.clone(), at)
        };
        let (main, shortcut) = (part("main", &self.main)?.0, part("shortcut", &self.shortcut)?.0);
        Ok(graph.node("Add", &[main, shortcut], &[]))
    }

    fn parts(&self) -> Vec<(&'static str, &[Layer])> {
        vec![("main", &self.main), ("shortcut", &self.shortcut)]
    }

    fn parts_mut(&mut self) -> Vec<&mut [Layer]> {
        vec![&mut self.main, &mut self.shortcut]
    }
}
