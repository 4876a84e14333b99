//! The messages of an ONNX file (onnx/onnx.proto) that graphs of layers need.

use std::collections::HashMap;

use crate::protobuf::{Field, fields};
use crate::tensor::{Tensor, elements};
use crate::weights::element::Element;

/// A constant.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Floats(Tensor),
    Ints(Vec<i64>),
}

/// A node of a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) op: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: HashMap<String, Attribute>,
}

/// An attribute of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Attribute {
    pub(super) float: Option<f32>,
    pub(super) int: Option<i64>,
    pub(super) text: Option<String>,
    pub(super) ints: Vec<i64>,
    pub(super) tensor: Option<Constant>,
}

pub(super) fn damaged() -> String {
    "is damaged, or not an ONNX graph".into()
}

/// The first field of a message with this number.
pub(super) fn find(bytes: &[u8], number: u64) -> Option<Field<'_>> {
    fields(bytes)?.into_iter().find(|field| field.0 == number).map(|field| field.1)
}

/// A node.
pub(super) fn node(bytes: &[u8]) -> Result<Node, String> {
    let mut node = Node::default();
    for (number, field) in fields(bytes).ok_or_else(damaged)? {
        let text = || field.text().ok_or_else(damaged);
        match number {
            1 => node.inputs.push(text()?),
            2 => node.outputs.push(text()?),
            4 => node.op = text()?,
            5 => {
                let (name, attribute) = attribute(field.bytes().ok_or_else(damaged)?)?;
                node.attributes.insert(name, attribute);
            }
            _ => {}
        }
    }
    Ok(node)
}

/// An attribute with its name.
fn attribute(bytes: &[u8]) -> Result<(String, Attribute), String> {
    let (mut name, mut attribute) = (String::new(), Attribute::default());
    for (number, field) in fields(bytes).ok_or_else(damaged)? {
        match (number, field) {
            (1, field) => name = field.text().ok_or_else(damaged)?,
            (2, Field::Four(bytes)) => attribute.float = Some(f32::from_le_bytes(bytes)),
            (3, field) => attribute.int = field.int(),
            (4, field) => attribute.text = field.text(),
            (5, Field::Bytes(bytes)) => attribute.tensor = constant(bytes)?.1,
            (8, field) => attribute.ints.extend(field.ints().ok_or_else(damaged)?),
            _ => {}
        }
    }
    Ok((name, attribute))
}

/// A constant with its name; `None` for a type that no layer needs.
pub(super) fn constant(bytes: &[u8]) -> Result<(String, Option<Constant>), String> {
    let (mut name, mut kind, mut dims) = (String::new(), 0, Vec::new());
    let mut raw: Option<&[u8]> = None;
    let (mut floats, mut ints) = (Vec::new(), Vec::new());
    for (number, field) in fields(bytes).ok_or_else(damaged)? {
        match (number, field) {
            (1, field) => {
                for size in field.ints().ok_or_else(damaged)? {
                    dims.push(usize::try_from(size).map_err(|_| damaged())?);
                }
            }
            (2, field) => kind = field.int().ok_or_else(damaged)?,
            (4, Field::Four(bytes)) => floats.push(f32::from_le_bytes(bytes)),
            (4, Field::Bytes(bytes)) => {
                floats.extend(Element::F32.floats(bytes).unwrap_or_default());
            }
            (7, field) => ints.extend(field.ints().ok_or_else(damaged)?),
            (8, field) => name = field.text().ok_or_else(damaged)?,
            (9, field) => raw = field.bytes(),
            (13, _) | (14, Field::Int(1)) => {
                return Err("keeps its numbers in a file of their own; write it anew with all of \
                            them in one (onnx.save(model, FILE, save_as_external_data=False))"
                    .into());
            }
            _ => {}
        }
    }
    // TensorProto.DataType
    let element = match kind {
        1 => Element::F32,
        10 => Element::F16,
        11 => Element::F64,
        16 => Element::Bf16,
        7 => {
            let raw = raw.map(|raw| raw.as_chunks().0.iter().map(|&x| i64::from_le_bytes(x)));
            let all = raw.map_or(ints, Iterator::collect);
            return Ok((name, Some(Constant::Ints(all))));
        }
        _ => return Ok((name, None)),
    };
    let numbers = match raw {
        Some(raw) => element.floats(raw).ok_or_else(damaged)?,
        None => floats,
    };
    if elements(&dims) != Some(numbers.len()) {
        return Err(format!(
            "is damaged: {name} does not have as many values as its shape {dims:?}"
        ));
    }
    if let Some(i) = numbers.iter().position(|x| !x.is_finite()) {
        return Err(format!("number {i} of {name} is not finite: the network is unusable"));
    }
    let tensor = Tensor::new(dims, numbers).map_err(|e| e.to_string())?;
    Ok((name, Some(Constant::Floats(tensor))))
}

/// An input or output with its shape; `None` for sizes that vary.
pub(super) fn value(bytes: &[u8]) -> Result<(String, Vec<Option<usize>>), String> {
    let name = find(bytes, 1).and_then(Field::text).ok_or_else(damaged)?;
    let message = |bytes, number| find(bytes, number).and_then(Field::bytes);
    let shape = message(bytes, 2).and_then(|kind| message(kind, 1)).and_then(|t| message(t, 2));
    let dims = fields(shape.unwrap_or_default()).ok_or_else(damaged)?;
    let size = |field: Field<'_>| {
        let size = find(field.bytes()?, 1)?.int()?;
        usize::try_from(size).ok().filter(|&size| size > 0)
    };
    let dims = dims.into_iter().filter(|(number, _)| *number == 1);
    Ok((name, dims.map(|(_, field)| size(field)).collect()))
}
