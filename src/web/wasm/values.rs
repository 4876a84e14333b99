//! The values of WGSL expressions, and how memory is addressed.
//!
//! A scalar is an integer, a float, or a boolean as 0 or 1. A vector of two to four of them is one
//! `v128`, whatever its length: of booleans, a mask; lanes past its length are arbitrary.

use naga::{Handle, ScalarKind, TypeInner, VectorSize};

use super::ir::{Builder, Id, Op, Pure, Type, Variable};

/// The type of a scalar or a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// How many scalars: 1 to 4.
    pub(super) lanes: u8,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    I32,
    U32,
    Bool,
}

impl Kind {
    /// The type of such a scalar.
    pub(super) const fn ty(self) -> Type {
        if matches!(self, Self::F32) { Type::F32 } else { Type::I32 }
    }

    /// The kind of a naga scalar of this many bytes.
    pub(super) const fn of(kind: ScalarKind, width: u8) -> Option<Self> {
        match (kind, width) {
            (ScalarKind::Float, 4) => Some(Self::F32),
            (ScalarKind::Sint, 4) => Some(Self::I32),
            (ScalarKind::Uint, 4) => Some(Self::U32),
            (ScalarKind::Bool, _) => Some(Self::Bool),
            _ => None,
        }
    }
}

/// How many lanes a vector has.
pub(super) const fn lanes(size: VectorSize) -> u8 {
    size as u8
}

impl Shape {
    pub(super) const fn scalar(kind: Kind) -> Self {
        Self { kind, lanes: 1 }
    }

    pub(super) const fn vector(kind: Kind, lanes: u8) -> Self {
        Self { kind, lanes }
    }

    /// The shape of a naga type, if it is a scalar or a vector of 32 bits.
    pub(super) fn of(inner: &TypeInner) -> Option<Self> {
        match *inner {
            TypeInner::Scalar(s) => Some(Self::scalar(Kind::of(s.kind, s.width)?)),
            TypeInner::Vector { size, scalar: s } => {
                Some(Self::vector(Kind::of(s.kind, s.width)?, lanes(size)))
            }
            _ => None,
        }
    }

    pub(super) const fn is_vector(self) -> bool {
        self.lanes > 1
    }

    /// The type of a value of this shape.
    pub(super) const fn ty(self) -> Type {
        if self.is_vector() { Type::V128 } else { self.kind.ty() }
    }

    pub(super) const fn with(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

/// A scalar or a vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) id: Id,
    pub(super) shape: Shape,
}

/// Where a pointer points.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pointer {
    /// To a local variable.
    Local(Variable, Shape),
    /// To a lane of one.
    Lane(Variable, Shape, u8),
    /// Into a storage buffer.
    Memory {
        /// The address.
        address: Id,
        /// What is there.
        ty: Handle<naga::Type>,
        /// Whether the kernel only reads the buffer.
        constant: bool,
    },
    /// To a lane of a vector in a storage buffer.
    Scalar { address: Id, kind: Kind, constant: bool },
}

/// What an expression stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Value(Value),
    Pointer(Pointer),
}

impl Builder {
    /// `base + stride · index`: as a sum of terms, of which those that change least often come first,
    /// so that loops add what they have to and no more.
    pub(super) fn address(&mut self, base: Id, index: Id, stride: u32) -> Id {
        let mut terms = Vec::new();
        let mut constant = 0;
        self.terms(index, stride, &mut terms, &mut constant);
        terms.sort_by_key(|&(id, _)| (self.depth_of(id), id));
        let mut address = base;
        for (id, factor) in terms {
            let term = self.times(id, factor);
            address = self.pure(Pure::I32Add, &[address, term]);
        }
        let constant = self.i32(constant);
        self.pure(Pure::I32Add, &[address, constant])
    }

    /// Splits `index · factor` into a sum of products and a constant. All of it is modulo 2³².
    fn terms(&self, index: Id, factor: u32, terms: &mut Vec<(Id, u32)>, constant: &mut u32) {
        let args = self.args(index);
        let by = args.get(1).and_then(|&id| self.constant(id));
        match (self.op(index), by) {
            (Op::I32(value), _) => *constant = constant.wrapping_add(value.wrapping_mul(factor)),
            (Op::Pure(Pure::I32Add), _) => {
                self.terms(args[0], factor, terms, constant);
                self.terms(args[1], factor, terms, constant);
            }
            (Op::Pure(Pure::I32Sub), _) => {
                self.terms(args[0], factor, terms, constant);
                self.terms(args[1], factor.wrapping_neg(), terms, constant);
            }
            (Op::Pure(Pure::I32Mul), Some(by)) => {
                self.terms(args[0], factor.wrapping_mul(by), terms, constant);
            }
            (Op::Pure(Pure::I32Shl), Some(by)) => {
                self.terms(args[0], factor.wrapping_shl(by), terms, constant);
            }
            // Nothing is shifted out, and the factor shifts back.
            (Op::Pure(Pure::I32ShrU), Some(by))
                if by < 32 && self.zeros(args[0]) >= by && factor.trailing_zeros() >= by =>
            {
                self.terms(args[0], factor >> by, terms, constant);
            }
            _ => match terms.iter_mut().find(|term| term.0 == index) {
                Some(term) => term.1 = term.1.wrapping_add(factor),
                None => terms.push((index, factor)),
            },
        }
    }

    /// `id · factor`, by a shift where that does.
    pub(super) fn times(&mut self, id: Id, factor: u32) -> Id {
        let (op, by) = match factor.is_power_of_two() {
            true => (Pure::I32Shl, factor.trailing_zeros()),
            false => (Pure::I32Mul, factor),
        };
        let by = self.i32(by);
        self.pure(op, &[id, by])
    }

    /// A value of every lane where a scalar is given.
    pub(super) fn spread(&mut self, value: Value, lanes: u8) -> Value {
        if value.shape.is_vector() || lanes == 1 {
            return value;
        }
        let id = match value.shape.kind {
            Kind::F32 => self.pure(Pure::F32x4Splat, &[value.id]),
            Kind::I32 | Kind::U32 => self.pure(Pure::I32x4Splat, &[value.id]),
            Kind::Bool => self.mask(value.id),
        };
        Value { id, shape: Shape { lanes, ..value.shape } }
    }

    /// A lane of a vector, or a scalar itself.
    pub(super) fn lane(&mut self, value: Value, lane: u8) -> Id {
        if !value.shape.is_vector() {
            return value.id;
        }
        let id = self.extract(value.shape.kind.ty(), value.id, lane);
        if value.shape.kind == Kind::Bool {
            let one = self.i32(1);
            return self.pure(Pure::I32And, &[id, one]);
        }
        id
    }

    /// A vector of scalars, or the only scalar itself.
    pub(super) fn vector(&mut self, kind: Kind, parts: &[Id]) -> Value {
        let shape = Shape::vector(kind, parts.len() as u8);
        if let [only] = parts {
            return Value { id: *only, shape };
        }
        let mut parts = parts.to_vec();
        if kind == Kind::Bool {
            let zero = self.i32(0);
            for part in &mut parts {
                *part = self.pure(Pure::I32Sub, &[zero, *part]);
            }
        }
        Value { id: self.compose(kind.ty(), &parts), shape }
    }
}
