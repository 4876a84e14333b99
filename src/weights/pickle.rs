//! Reads Python's pickle format, as far as tensors need it.
//!
//! A pickle is a program for a stack machine that may call any function of Python: loading one from
//! a stranger runs the stranger's code. This machine calls nothing. It knows the opcodes that
//! `torch.save` writes for dictionaries of tensors, emulates the few functions that rebuild a
//! tensor by storing their arguments, and refuses everything else by name. The opcodes are those of
//! CPython's `pickletools`.
//!
//! Containers live in one list and are referred to by index, so that a file that contains itself
//! creates no reference cycle; a file's work and memory are bounded by its length.

use std::collections::HashMap;
use std::rc::Rc;

use super::element::Element;

/// A value on the machine's stack.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `None`, and everything that is not needed here: floats, long integers, hooks.
    Nothing,
    Int(i64),
    Text(Rc<str>),
    Global(Global),
    /// The index of an [`Object`].
    Object(usize),
}

/// The functions and types that a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// Values larger than a word.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(View),
}

/// Data in a file of its own inside the archive.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// The file's name, without its folder.
    pub(super) key: Rc<str>,
    pub(super) element: Element,
}

/// A tensor: a view into a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Tensors with more axes than this are refused.
const AXES: usize = 8;

/// The tensors in a pickle.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// All tensors with the keys that lead to them, joined by dots, in the file's order.
    pub(super) tensors: Vec<(String, &'a View)>,
    /// The names of the layers that state dicts list beside their tensors (`_metadata`).
    pub(super) modules: Vec<String>,
}

/// All objects that a pickle built.
#[derive(Debug)]
pub(super) struct Unpickled {
    objects: Vec<Object>,
    root: Value,
    /// The state of each dictionary that has one.
    states: HashMap<usize, Value>,
    /// Bytes of the pickle.
    len: usize,
}

/// The maximum nesting of dictionaries.
const DEPTH: usize = 32;

const CONFUSING: &str =
    "is damaged or malicious: it contains itself, or the same parts over and over";

impl Unpickled {
    /// Collects its tensors and layer names.
    ///
    /// # Errors
    /// A message if the file contains itself, or the same parts over and over.
    pub(super) fn found(&self) -> Result<Found<'_>, String> {
        let mut found = Found::default();
        // A tensor takes more bytes than its name, even if two names lead to it.
        let mut budget = self.len.saturating_mul(16).saturating_add(4096);
        self.walk(&self.root, &mut Vec::new(), &mut budget, &mut found)?;
        Ok(found)
    }

    /// The element type of every storage, by its key.
    pub(super) fn storages(&self) -> HashMap<Rc<str>, Element> {
        let storages = self.objects.iter().filter_map(|object| match object {
            Object::Storage(Storage { key, element }) => Some((key.clone(), *element)),
            _ => None,
        });
        storages.collect()
    }

    /// The texts of a list of texts; `None` for anything else.
    pub(super) fn texts(&self) -> Option<Vec<Rc<str>>> {
        let Value::Object(at) = self.root else { return None };
        let Object::List(items) = &self.objects[at] else { return None };
        let text = |item: &Value| match item {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        };
        items.iter().map(text).collect()
    }

    /// The items of a dictionary; empty for anything else.
    fn items(&self, value: &Value) -> &[(Value, Value)] {
        match value {
            Value::Object(at) => match &self.objects[*at] {
                Object::Dict(items) => items,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// The names of layers in the `_metadata` of a dictionary; the search is charged to `budget`.
    fn metadata(&self, at: usize, budget: &mut usize) -> Result<Vec<&str>, String> {
        let Some(state) = self.states.get(&at) else { return Ok(Vec::new()) };
        let state = self.items(state);
        let is_listed =
            |(key, _): &&(Value, Value)| matches!(key, Value::Text(key) if **key == *"_metadata");
        let listed = state.iter().find(is_listed).map_or(&[][..], |(_, list)| self.items(list));
        *budget = budget.checked_sub(state.len() + listed.len()).ok_or(CONFUSING)?;
        let names = listed.iter().filter_map(|(key, _)| match key {
            Value::Text(text) if !text.is_empty() => Some(&**text),
            _ => None,
        });
        Ok(names.collect())
    }

    fn walk<'a>(
        &'a self,
        value: &'a Value,
        path: &mut Vec<String>,
        budget: &mut usize,
        found: &mut Found<'a>,
    ) -> Result<(), String> {
        let Value::Object(at) = value else { return Ok(()) };
        let cost = 1 + path.iter().map(|key| key.len() + 1).sum::<usize>();
        *budget = budget.checked_sub(cost).filter(|_| path.len() <= DEPTH).ok_or(CONFUSING)?;
        for name in self.metadata(*at, budget)? {
            *budget = budget.checked_sub(cost + name.len()).ok_or(CONFUSING)?;
            let mut full = path.join(".");
            full += if full.is_empty() { "" } else { "." };
            found.modules.push(full + name);
        }
        let mut below = |key: String, value: &'a Value, path: &mut Vec<String>| {
            path.push(key);
            let result = self.walk(value, path, budget, found);
            path.pop();
            result
        };
        match &self.objects[*at] {
            Object::Tensor(view) => found.tensors.push((path.join("."), view)),
            Object::Dict(items) => {
                for (key, value) in items {
                    let key = match key {
                        Value::Text(text) => text.to_string(),
                        Value::Int(number) => number.to_string(),
                        _ => continue,
                    };
                    below(key, value, path)?;
                }
            }
            Object::Tuple(items) | Object::List(items) => {
                for (i, value) in items.iter().enumerate() {
                    below(i.to_string(), value, path)?;
                }
            }
            Object::Storage(_) => {}
        }
        Ok(())
    }
}

/// Runs a pickle to its end.
///
/// # Errors
/// A message if it is cut short, damaged, or asks for anything but plain data and tensors.
pub(super) fn unpickle(bytes: &[u8]) -> Result<Unpickled, String> {
    Ok(unpickle_first(bytes)?.0)
}

/// Runs the pickle that `bytes` begin with; also returns what follows it.
///
/// # Errors
/// Those of [`unpickle`].
pub(super) fn unpickle_first(bytes: &[u8]) -> Result<(Unpickled, &[u8]), String> {
    let mut machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
        states: HashMap::new(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    let Machine { objects, states, rest, .. } = machine;
    let len = bytes.len() - rest.len();
    Ok((Unpickled { objects, root, states, len }, rest))
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Stack heights at the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
    states: HashMap<usize, Value>,
}

fn damaged() -> String {
    "is damaged: its pickle does not hold together".into()
}

impl Machine<'_> {
    /// Runs one opcode; false at the end.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return Ok(false),
            // PROTO, FRAME: ignored.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?.clone();
                self.stack.push(top);
            }
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Nothing),
            // BINFLOAT.
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Nothing);
            }
            b'J' => {
                let number = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            b'K' => {
                let [number] = self.array()?;
                self.stack.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            0x8a => {
                let len = usize::from(self.array::<1>()?[0]);
                self.long(len)?;
            }
            0x8b => {
                let len = self.length4()?;
                self.long(len)?;
            }
            b'X' => {
                let len = self.length4()?;
                self.text(len)?;
            }
            0x8c => {
                let len = usize::from(self.array::<1>()?[0]);
                self.text(len)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(len).map_err(|_| damaged())?)?;
            }
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Object::Tuple(items));
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Object::List(items));
            }
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(len).ok_or_else(damaged)?;
                let items = self.stack.split_off(start);
                self.push(Object::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(items)?;
            }
            b'q' => {
                let [at] = self.array()?;
                self.remember(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.array()?);
                self.remember(at)?;
            }
            0x94 => {
                let at = u32::try_from(self.memo.len()).map_err(|_| damaged())?;
                self.remember(at)?;
            }
            b'h' => {
                let [at] = self.array()?;
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.array()?);
                self.recall(at)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.stack.push(Value::Global(global(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(damaged());
                };
                self.stack.push(Value::Global(global(&module, &name)?));
            }
            b'R' => self.reduce()?,
            // The state of an OrderedDict, such as a state dict's _metadata.
            b'b' => {
                let state = self.pop()?;
                let Value::Object(at) = *self.top()? else { return Err(damaged()) };
                let Object::Dict(_) = self.objects[at] else { return Err(damaged()) };
                self.states.insert(at, state);
            }
            b'Q' => self.storage()?,
            other => return Err(refused_opcode(other)),
        }
        Ok(true)
    }

    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or("is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("is cut short")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length4(&mut self) -> Result<usize, String> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| damaged())
    }

    fn line(&mut self) -> Result<String, String> {
        let len = self.rest.iter().position(|&b| b == b'\n').ok_or("is cut short")?;
        let text = String::from_utf8_lossy(&self.rest[..len]).into_owned();
        self.rest = &self.rest[len + 1..];
        Ok(text)
    }

    fn text(&mut self, len: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.take(len)?).into();
        self.stack.push(Value::Text(text));
        Ok(())
    }

    /// A little-endian integer in two's complement; not needed here if longer than 64 bits.
    fn long(&mut self, len: usize) -> Result<(), String> {
        let bytes = self.take(len)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        let value = match number.get_mut(..len) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(number))
            }
            None => Value::Nothing,
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(damaged)
    }

    fn top(&self) -> Result<&Value, String> {
        self.stack.last().ok_or_else(damaged)
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or_else(damaged)?;
        if mark > self.stack.len() {
            return Err(damaged());
        }
        Ok(self.stack.split_off(mark))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn object(&self, value: &Value) -> Result<&Object, String> {
        match value {
            Value::Object(at) => Ok(&self.objects[*at]),
            _ => Err(damaged()),
        }
    }

    fn tuple(&self, value: &Value) -> Result<&[Value], String> {
        match self.object(value)? {
            Object::Tuple(items) => Ok(items),
            _ => Err(damaged()),
        }
    }

    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Value::Object(at) = *self.top()? else { return Err(damaged()) };
        let Object::List(list) = &mut self.objects[at] else { return Err(damaged()) };
        list.extend(items);
        Ok(())
    }

    fn set(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Value::Object(at) = *self.top()? else { return Err(damaged()) };
        let Object::Dict(dict) = &mut self.objects[at] else { return Err(damaged()) };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(damaged());
        }
        dict.extend(pairs.iter().map(|[key, value]| (key.clone(), value.clone())));
        Ok(())
    }

    fn remember(&mut self, at: u32) -> Result<(), String> {
        let top = self.top()?.clone();
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let value = self.memo.get(&at).ok_or_else(damaged)?.clone();
        self.stack.push(value);
        Ok(())
    }

    /// A call of an emulated function.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else { return Err(damaged()) };
        let arguments = self.tuple(&arguments)?;
        match (function, arguments) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::Size, [numbers]) => self.stack.push(numbers.clone()),
            (Global::RebuildParameter, [tensor, ..]) => {
                let Object::Tensor(_) = self.object(tensor)? else { return Err(damaged()) };
                self.stack.push(tensor.clone());
            }
            (Global::RebuildTensor, [storage, Value::Int(offset), shape, strides, ..]) => {
                let Object::Storage(storage) = self.object(storage)? else {
                    return Err(damaged());
                };
                let sizes = |value: &Value| {
                    let items = self.tuple(value)?.iter();
                    let size = |item: &Value| match item {
                        Value::Int(number) => usize::try_from(*number).ok(),
                        _ => None,
                    };
                    items.map(size).collect::<Option<Vec<usize>>>().ok_or_else(damaged)
                };
                let (shape, strides) = (sizes(shape)?, sizes(strides)?);
                if shape.len() != strides.len() || shape.len() > AXES {
                    return Err(damaged());
                }
                let offset = usize::try_from(*offset).map_err(|_| damaged())?;
                let view = View { storage: storage.clone(), offset, shape, strides };
                self.push(Object::Tensor(view));
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// `('storage', type, key, device, count)`, before PyTorch 1.6 followed by `None`, becomes a
    /// storage.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let (element, key) = match self.tuple(&id)? {
            // A part of another storage, as versions before 0.4 wrote.
            [_, _, _, _, _, Value::Object(_), ..] => return Err(damaged()),
            [Value::Text(word), Value::Global(Global::Storage(element)), Value::Text(key), ..]
                if **word == *"storage" =>
            {
                (*element, key.clone())
            }
            _ => return Err(damaged()),
        };
        self.push(Object::Storage(Storage { key, element }));
        Ok(())
    }
}

/// The functions and types that dictionaries of tensors use.
fn global(module: &str, name: &str) -> Result<Global, String> {
    let storage = |element| Ok(Global::Storage(element));
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch", "Size") => Ok(Global::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
        ("torch", "DoubleStorage") => storage(Element::F64),
        ("torch", "FloatStorage") => storage(Element::F32),
        ("torch", "HalfStorage") => storage(Element::F16),
        ("torch", "BFloat16Storage") => storage(Element::Bf16),
        ("torch", "LongStorage") => storage(Element::Other(8)),
        ("torch", "IntStorage") => storage(Element::Other(4)),
        ("torch", "ShortStorage") => storage(Element::Other(2)),
        ("torch", "CharStorage" | "ByteStorage" | "BoolStorage") => storage(Element::Other(1)),
        _ => Err(format!(
            "holds the Python object {:?}, which only running code could build; save tensors alone, \
             with torch.save(model.state_dict(), FILE)",
            shown(&format!("{module}.{name}"))
        )),
    }
}

/// A name from a file, shortened for display.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

fn refused_opcode(opcode: u8) -> String {
    let name = match opcode {
        0x81 => "NEWOBJ, which makes an object of any class",
        0x92 => "NEWOBJ_EX, which makes an object of any class",
        b'o' | b'i' => "OBJ or INST, which makes an object of any class",
        b'P' => "PERSID, which PyTorch does not write",
        0x82..=0x84 => "EXT, which stands for any function",
        b'C' | b'B' | b'T' | b'U' | 0x8e | 0x96 => "BYTES, which tensors do not need",
        0x8f..=0x91 => "SET, which tensors do not need",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' | b'd' => {
            "of protocol 0, which PyTorch does not write"
        }
        _ => "unknown to every version of Python",
    };
    format!(
        "holds the pickle opcode {opcode:#04x} {name}; save tensors alone, with \
         torch.save(model.state_dict(), FILE)"
    )
}
