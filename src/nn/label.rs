//! Layers that are told the class of a picture.

use crate::error::{Error, Result};
use crate::tape::{Tape, Var};

/// `x` `[n, h, w, c]` with the class of each picture behind its channels.
pub(super) fn append_label(
    t: &mut Tape,
    prefix: &str,
    x: Var,
    labels: Option<Var>,
    classes: usize,
) -> Result<Var> {
    let labels = labels.ok_or_else(|| Error::Tensor {
        name: prefix.into(),
        what: format!(
            "is conditional: it has to be told which of its {classes} classes a picture is of, \
             which this use of it does not"
        ),
    })?;
    let told = t.shape(labels);
    if told.len() != 2 || told[1] != classes {
        let what = format!("the network knows {classes} classes");
        return Err(Error::Shape { op: "label", what, shapes: vec![told.to_vec()] });
    }
    t.append(x, labels)
}
