//! From expressions of naga's IR to values.

use naga::{Expression, Handle, Literal, TypeInner};

use super::ir::Type;
use super::lower::{Frame, Lowering};
use super::values::{Kind, Meaning, Pointer, Shape, Value, lanes};

/// What is not supported, in words.
type Result<T> = std::result::Result<T, String>;

impl<'a> Lowering<'a> {
    /// What an expression of a function stands for, computed at its first use.
    pub(super) fn meaning(
        &mut self,
        frame: &mut Frame<'a>,
        expression: Handle<Expression>,
    ) -> Result<Meaning> {
        if let Some(&meaning) = frame.meanings.get(&expression) {
            return Ok(meaning);
        }
        let meaning = self.evaluate(frame, &frame.function.expressions[expression])?;
        frame.meanings.insert(expression, meaning);
        Ok(meaning)
    }

    /// The value of an expression.
    pub(super) fn value(
        &mut self,
        frame: &mut Frame<'a>,
        expression: Handle<Expression>,
    ) -> Result<Value> {
        match self.meaning(frame, expression)? {
            Meaning::Value(value) => Ok(value),
            Meaning::Pointer(_) => Err("a pointer that is used as a value".into()),
        }
    }

    /// The pointer that an expression is.
    pub(super) fn pointer(
        &mut self,
        frame: &mut Frame<'a>,
        expression: Handle<Expression>,
    ) -> Result<Pointer> {
        match self.meaning(frame, expression)? {
            Meaning::Pointer(pointer) => Ok(pointer),
            Meaning::Value(_) => Err("a value that is used as a pointer".into()),
        }
    }

    /// The value of a constant.
    pub(super) fn constant(&mut self, expression: Handle<Expression>) -> Result<Value> {
        let expression = &self.module.global_expressions[expression];
        match *expression {
            Expression::Literal(literal) => self.literal(literal),
            Expression::Constant(constant) => self.constant(self.module.constants[constant].init),
            Expression::ZeroValue(ty) => self.zero(ty),
            Expression::Splat { size, value } => {
                let value = self.constant(value)?;
                Ok(self.builder.spread(value, lanes(size)))
            }
            Expression::Compose { ref components, .. } => {
                let parts: Result<Vec<Value>> =
                    components.iter().map(|&part| self.constant(part)).collect();
                Ok(self.composed(&parts?))
            }
            ref other => Err(format!("the constant {other:?}")),
        }
    }

    fn literal(&mut self, literal: Literal) -> Result<Value> {
        let (kind, id) = match literal {
            Literal::F32(value) => (Kind::F32, self.builder.f32(value)),
            Literal::U32(value) => (Kind::U32, self.builder.i32(value)),
            Literal::I32(value) => (Kind::I32, self.builder.i32(value as u32)),
            Literal::Bool(value) => (Kind::Bool, self.builder.i32(u32::from(value))),
            other => return Err(format!("the literal {other:?}")),
        };
        Ok(Value { id, shape: Shape::scalar(kind) })
    }

    /// The shape of a type.
    pub(super) fn shape(&self, ty: Handle<naga::Type>) -> Result<Shape> {
        let inner = &self.module.types[ty].inner;
        Shape::of(inner).ok_or_else(|| format!("the type {inner:?}"))
    }

    /// The zero of a type.
    pub(super) fn zero(&mut self, ty: Handle<naga::Type>) -> Result<Value> {
        let shape = self.shape(ty)?;
        let id = match shape.ty() {
            Type::I32 => self.builder.i32(0),
            Type::F32 => self.builder.f32(0.0),
            Type::V128 => self.builder.v128([0; 4]),
        };
        Ok(Value { id, shape })
    }

    /// A vector of scalars and shorter vectors.
    fn composed(&mut self, parts: &[Value]) -> Value {
        let mut scalars = Vec::new();
        for &part in parts {
            scalars.extend((0..part.shape.lanes).map(|lane| self.builder.lane(part, lane)));
        }
        self.builder.vector(parts[0].shape.kind, &scalars)
    }

    /// What an expression stands for.
    fn evaluate(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Result<Meaning> {
        let value = match *expression {
            Expression::Literal(literal) => self.literal(literal)?,
            Expression::Constant(constant) => {
                self.constant(self.module.constants[constant].init)?
            }
            Expression::ZeroValue(ty) => self.zero(ty)?,
            Expression::FunctionArgument(index) => frame.arguments[index as usize],
            Expression::GlobalVariable(variable) => {
                return Ok(Meaning::Pointer(self.buffer(variable)?));
            }
            Expression::LocalVariable(local) => {
                let (variable, shape) = frame.locals[&local];
                return Ok(Meaning::Pointer(Pointer::Local(variable, shape)));
            }
            Expression::Access { base, index } => {
                let index = self.value(frame, index)?;
                return match self.meaning(frame, base)? {
                    Meaning::Pointer(pointer) => self.element(pointer, index).map(Meaning::Pointer),
                    Meaning::Value(value) => Ok(Meaning::Value(self.dynamic_lane(value, index))),
                };
            }
            Expression::AccessIndex { base, index } => match self.meaning(frame, base)? {
                Meaning::Pointer(pointer) => {
                    let index = self.literal(Literal::U32(index))?;
                    return self.element(pointer, index).map(Meaning::Pointer);
                }
                Meaning::Value(value) => Value {
                    id: self.builder.lane(value, index as u8),
                    shape: Shape::scalar(value.shape.kind),
                },
            },
            Expression::Splat { size, value } => {
                let value = self.value(frame, value)?;
                self.builder.spread(value, lanes(size))
            }
            Expression::Swizzle { size, vector, pattern } => {
                let vector = self.value(frame, vector)?;
                let parts = &pattern[..lanes(size) as usize];
                let parts: Vec<_> =
                    parts.iter().map(|&part| self.builder.lane(vector, part as u8)).collect();
                self.builder.vector(vector.shape.kind, &parts)
            }
            Expression::Compose { ref components, .. } => {
                let parts: Result<Vec<Value>> =
                    components.iter().map(|&part| self.value(frame, part)).collect();
                self.composed(&parts?)
            }
            Expression::Load { pointer } => {
                let pointer = self.pointer(frame, pointer)?;
                self.load(pointer)?
            }
            Expression::Unary { op, expr } => {
                let value = self.value(frame, expr)?;
                self.builder.unary(op, value)?
            }
            Expression::Binary { op, left, right } => {
                let (left, right) = (self.value(frame, left)?, self.value(frame, right)?);
                self.builder.binary(op, left, right)?
            }
            Expression::Select { condition, accept, reject } => {
                let accept = self.value(frame, accept)?;
                let reject = self.value(frame, reject)?;
                let condition = self.value(frame, condition)?;
                self.builder.select_value(accept, reject, condition)
            }
            Expression::Relational { fun, argument } => {
                let argument = self.value(frame, argument)?;
                self.builder.relational(fun, argument)?
            }
            Expression::Math { fun, arg, arg1, arg2, arg3 } => {
                let args = [Some(arg), arg1, arg2, arg3].into_iter().flatten();
                let args: Result<Vec<Value>> = args.map(|arg| self.value(frame, arg)).collect();
                self.builder.math(fun, &args?)?
            }
            Expression::As { expr, kind, convert } => {
                let value = self.value(frame, expr)?;
                let to = Kind::of(kind, convert.unwrap_or(4));
                let to =
                    to.ok_or_else(|| format!("a conversion to {kind:?} of {convert:?} bytes"))?;
                match convert {
                    Some(_) => self.builder.convert(value, to),
                    None => self.builder.reinterpret(value, to),
                }
            }
            ref other => return Err(format!("the expression {other:?}")),
        };
        Ok(Meaning::Value(value))
    }

    /// The pointer to an element of what a pointer points to.
    fn element(&mut self, pointer: Pointer, index: Value) -> Result<Pointer> {
        let known = self.builder.constant(index.id);
        match pointer {
            Pointer::Local(variable, shape) if shape.is_vector() => match known {
                Some(lane) => Ok(Pointer::Lane(variable, shape, lane as u8)),
                None => Err("a computed lane of a variable".into()),
            },
            Pointer::Memory { address, ty, constant } => {
                let module = self.module;
                match module.types[ty].inner {
                    TypeInner::Array { base, stride, .. } => {
                        let address = self.builder.address(address, index.id, stride);
                        Ok(Pointer::Memory { address, ty: base, constant })
                    }
                    TypeInner::Vector { scalar, .. } => {
                        let kind = Kind::of(scalar.kind, scalar.width);
                        let kind = kind.ok_or_else(|| format!("the type {scalar:?}"))?;
                        let address = self.builder.address(address, index.id, 4);
                        Ok(Pointer::Scalar { address, kind, constant })
                    }
                    ref other => Err(format!("an element of {other:?}")),
                }
            }
            other => Err(format!("an element of {other:?}")),
        }
    }

    /// A lane whose number is computed.
    fn dynamic_lane(&mut self, vector: Value, index: Value) -> Value {
        let mut id = self.builder.lane(vector, 0);
        for lane in 1..vector.shape.lanes {
            let other = self.builder.lane(vector, lane);
            let number = self.builder.i32(u32::from(lane));
            let is = self.builder.pure(super::ir::Pure::I32Eq, &[index.id, number]);
            id = self.builder.select(other, id, is);
        }
        Value { id, shape: Shape::scalar(vector.shape.kind) }
    }

    /// The value that a pointer points to.
    fn load(&mut self, pointer: Pointer) -> Result<Value> {
        let (address, shape, constant) = match pointer {
            Pointer::Local(variable, shape) => {
                return Ok(Value { id: self.current(variable), shape });
            }
            Pointer::Lane(variable, shape, lane) => {
                let vector = Value { id: self.current(variable), shape };
                let id = self.builder.lane(vector, lane);
                return Ok(Value { id, shape: Shape::scalar(shape.kind) });
            }
            Pointer::Memory { address, ty, constant } => (address, self.stored(ty)?, constant),
            Pointer::Scalar { address, kind, constant } => (address, Shape::scalar(kind), constant),
        };
        let id = match constant {
            true => self.builder.load_constant(address, shape.ty()),
            false => self.builder.load(address, shape.ty()),
        };
        Ok(Value { id, shape })
    }

    /// The shape of what is in a buffer: a scalar or four of them.
    pub(super) fn stored(&self, ty: Handle<naga::Type>) -> Result<Shape> {
        let shape = self.shape(ty)?;
        if shape.kind == Kind::Bool || !matches!(shape.lanes, 1 | 4) {
            return Err(format!("a buffer of {shape:?}"));
        }
        Ok(shape)
    }
}
