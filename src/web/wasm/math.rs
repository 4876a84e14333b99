//! Operators and built-in functions of WGSL on values.

use naga::{BinaryOperator, MathFunction, RelationalFunction, UnaryOperator};

use super::ir::{Builder, Id, Pure, Type};
use super::values::{Kind, Shape, Value};

/// What is not supported, in words.
type Result<T> = std::result::Result<T, String>;

/// Two instructions for the same: on scalars and on vectors.
type Both = [Pure; 2];

impl Builder {
    /// The instruction for scalars or for vectors.
    fn both(&mut self, shape: Shape, op: Both, args: &[Id]) -> Id {
        self.pure(op[usize::from(shape.is_vector())], args)
    }

    /// A float of this shape.
    fn float(&mut self, shape: Shape, value: f32) -> Id {
        match shape.is_vector() {
            true => self.v128([value.to_bits(); 4]),
            false => self.f32(value),
        }
    }

    /// An integer of this shape.
    fn integer(&mut self, shape: Shape, value: u32) -> Id {
        if shape.is_vector() { self.v128([value; 4]) } else { self.i32(value) }
    }

    /// `accept` where `condition`, of as many lanes, holds, else `reject`.
    fn choose(&mut self, shape: Shape, accept: Id, reject: Id, condition: Id) -> Id {
        match shape.is_vector() {
            true => self.blend(accept, reject, condition),
            false => self.select(accept, reject, condition),
        }
    }

    /// The same of each lane, where there is no instruction for vectors.
    fn each(&mut self, values: &[Value], shape: Shape, f: impl Fn(&mut Self, &[Id]) -> Id) -> Id {
        let mut parts = Vec::new();
        for lane in 0..shape.lanes {
            let args: Vec<Id> = values.iter().map(|&value| self.lane(value, lane)).collect();
            parts.push(f(self, &args));
        }
        self.vector(shape.kind, &parts).id
    }

    /// A unary operator.
    pub(super) fn unary(&mut self, op: UnaryOperator, value: Value) -> Result<Value> {
        let Value { id, shape } = value;
        let id = match (op, shape.kind) {
            (UnaryOperator::Negate, Kind::F32) => {
                self.both(shape, [Pure::F32Neg, Pure::F32x4Neg], &[id])
            }
            (UnaryOperator::Negate, Kind::I32 | Kind::U32) => {
                let zero = self.integer(shape, 0);
                self.both(shape, [Pure::I32Sub, Pure::I32x4Sub], &[zero, id])
            }
            (UnaryOperator::LogicalNot, Kind::Bool) => {
                self.both(shape, [Pure::I32Eqz, Pure::V128Not], &[id])
            }
            (UnaryOperator::BitwiseNot, Kind::I32 | Kind::U32) => {
                let ones = self.integer(shape, u32::MAX);
                self.both(shape, [Pure::I32Xor, Pure::V128Xor], &[id, ones])
            }
            _ => return Err(format!("the operator {op:?} of {shape:?}")),
        };
        Ok(Value { id, shape })
    }

    /// A binary operator. A scalar beside a vector counts for all its lanes.
    pub(super) fn binary(&mut self, op: BinaryOperator, a: Value, b: Value) -> Result<Value> {
        use BinaryOperator as B;
        let lanes = a.shape.lanes.max(b.shape.lanes);
        if matches!(op, B::ShiftLeft | B::ShiftRight) {
            let a = self.spread(a, lanes);
            return self.shift(op, a, b);
        }
        let (a, b) = (self.spread(a, lanes), self.spread(b, lanes));
        let shape = a.shape;
        let unsupported = || format!("the operator {op:?} of {shape:?} and {:?}", b.shape);
        if a.shape != b.shape {
            return Err(unsupported());
        }
        let args = [a.id, b.id];
        let turned = [b.id, a.id];
        let same = |id| Value { id, shape };
        let boolean = |id| Value { id, shape: shape.with(Kind::Bool) };
        use Kind::{Bool, F32, I32, U32};
        Ok(match (op, shape.kind) {
            (B::Add, F32) => same(self.both(shape, [Pure::F32Add, Pure::F32x4Add], &args)),
            (B::Subtract, F32) => same(self.both(shape, [Pure::F32Sub, Pure::F32x4Sub], &args)),
            (B::Multiply, F32) => same(self.both(shape, [Pure::F32Mul, Pure::F32x4Mul], &args)),
            (B::Divide, F32) => same(self.both(shape, [Pure::F32Div, Pure::F32x4Div], &args)),
            (B::Add, I32 | U32) => same(self.both(shape, [Pure::I32Add, Pure::I32x4Add], &args)),
            (B::Subtract, I32 | U32) => {
                same(self.both(shape, [Pure::I32Sub, Pure::I32x4Sub], &args))
            }
            (B::Multiply, I32 | U32) => {
                same(self.both(shape, [Pure::I32Mul, Pure::I32x4Mul], &args))
            }
            (B::Divide | B::Modulo, I32 | U32) => {
                let op = match (op, shape.kind) {
                    (B::Divide, U32) => Pure::I32DivU,
                    (B::Modulo, U32) => Pure::I32RemU,
                    (B::Divide, _) => Pure::I32DivS,
                    _ => Pure::I32RemS,
                };
                let quotient = |this: &mut Self, args: &[Id]| this.quotient(op, args[0], args[1]);
                same(self.each(&[a, b], shape, quotient))
            }
            (B::And | B::LogicalAnd, Bool) | (B::And, I32 | U32) => {
                same(self.both(shape, [Pure::I32And, Pure::V128And], &args))
            }
            (B::InclusiveOr | B::LogicalOr, Bool) | (B::InclusiveOr, I32 | U32) => {
                same(self.both(shape, [Pure::I32Or, Pure::V128Or], &args))
            }
            (B::ExclusiveOr, I32 | U32) | (B::NotEqual, Bool) => {
                same(self.both(shape, [Pure::I32Xor, Pure::V128Xor], &args))
            }
            (B::Equal, F32) => boolean(self.both(shape, [Pure::F32Eq, Pure::F32x4Eq], &args)),
            (B::NotEqual, F32) => boolean(self.both(shape, [Pure::F32Ne, Pure::F32x4Ne], &args)),
            (B::Less, F32) => boolean(self.both(shape, [Pure::F32Lt, Pure::F32x4Lt], &args)),
            (B::LessEqual, F32) => boolean(self.both(shape, [Pure::F32Le, Pure::F32x4Le], &args)),
            (B::Greater, F32) => boolean(self.both(shape, [Pure::F32Lt, Pure::F32x4Lt], &turned)),
            (B::GreaterEqual, F32) => {
                boolean(self.both(shape, [Pure::F32Le, Pure::F32x4Le], &turned))
            }
            (B::Equal, _) => boolean(self.both(shape, [Pure::I32Eq, Pure::I32x4Eq], &args)),
            (B::NotEqual, _) => boolean(self.both(shape, [Pure::I32Ne, Pure::I32x4Ne], &args)),
            (B::Less, U32) => boolean(self.both(shape, [Pure::I32LtU, Pure::I32x4LtU], &args)),
            (B::Less, I32) => boolean(self.both(shape, [Pure::I32LtS, Pure::I32x4LtS], &args)),
            (B::LessEqual, U32) => boolean(self.both(shape, [Pure::I32LeU, Pure::I32x4LeU], &args)),
            (B::LessEqual, I32) => boolean(self.both(shape, [Pure::I32LeS, Pure::I32x4LeS], &args)),
            (B::Greater, U32) => boolean(self.both(shape, [Pure::I32LtU, Pure::I32x4LtU], &turned)),
            (B::Greater, I32) => boolean(self.both(shape, [Pure::I32LtS, Pure::I32x4LtS], &turned)),
            (B::GreaterEqual, U32) => {
                boolean(self.both(shape, [Pure::I32LeU, Pure::I32x4LeU], &turned))
            }
            (B::GreaterEqual, I32) => {
                boolean(self.both(shape, [Pure::I32LeS, Pure::I32x4LeS], &turned))
            }
            _ => return Err(unsupported()),
        })
    }

    /// `a / b` or `a % b`. As in WGSL, `a / 0` is `a` and `a % 0` is 0: WebAssembly would stop.
    fn quotient(&mut self, op: Pure, a: Id, b: Id) -> Id {
        if self.constant(b).is_some_and(|b| b != 0 && b != u32::MAX) {
            return self.pure(op, &[a, b]);
        }
        let zero = self.pure(Pure::I32Eqz, &[b]);
        let mut divisor = self.pure(Pure::I32Or, &[b, zero]);
        if op == Pure::I32DivS {
            // The smallest integer over -1 is itself, too.
            let [smallest, minus_one, one] = [1 << 31, u32::MAX, 1].map(|value| self.i32(value));
            let is_smallest = self.pure(Pure::I32Eq, &[a, smallest]);
            let is_minus_one = self.pure(Pure::I32Eq, &[b, minus_one]);
            let both = self.pure(Pure::I32And, &[is_smallest, is_minus_one]);
            divisor = self.select(one, divisor, both);
        }
        self.pure(op, &[a, divisor])
    }

    /// `a << b` or `a >> b`.
    fn shift(&mut self, op: BinaryOperator, a: Value, b: Value) -> Result<Value> {
        let shape = a.shape;
        let op = match (op, shape.kind) {
            (BinaryOperator::ShiftLeft, Kind::I32 | Kind::U32) => [Pure::I32Shl, Pure::I32x4Shl],
            (_, Kind::U32) => [Pure::I32ShrU, Pure::I32x4ShrU],
            (_, Kind::I32) => [Pure::I32ShrS, Pure::I32x4ShrS],
            _ => return Err(format!("a shift of {shape:?}")),
        };
        // Vectors are shifted by one number.
        let by = match self.constant(b.id) {
            Some(bits) => Some(self.i32(bits)),
            None => (!b.shape.is_vector()).then_some(b.id),
        };
        let id = match by {
            Some(by) => self.both(shape, op, &[a.id, by]),
            None => self.each(&[a, b], shape, |this, args| this.pure(op[0], args)),
        };
        Ok(Value { id, shape })
    }

    /// `accept` where `condition` holds, else `reject`.
    pub(super) fn select_value(&mut self, accept: Value, reject: Value, condition: Value) -> Value {
        let shape = accept.shape;
        let id = match condition.shape.is_vector() {
            true => self.blend(accept.id, reject.id, condition.id),
            false => self.select(accept.id, reject.id, condition.id),
        };
        Value { id, shape }
    }

    /// Whether all or any lanes of a boolean are true.
    pub(super) fn relational(&mut self, fun: RelationalFunction, value: Value) -> Result<Value> {
        let Value { mut id, shape } = value;
        if shape.is_vector() {
            let lane = |i: u8, in_use, rest| if i < shape.lanes { in_use } else { rest };
            id = match fun {
                RelationalFunction::All => {
                    let rest = self.v128([0, 1, 2, 3].map(|i| lane(i, 0, u32::MAX)));
                    let all = self.pure(Pure::V128Or, &[id, rest]);
                    self.pure(Pure::I32x4AllTrue, &[all])
                }
                RelationalFunction::Any => {
                    let in_use = self.v128([0, 1, 2, 3].map(|i| lane(i, u32::MAX, 0)));
                    let any = self.pure(Pure::V128And, &[id, in_use]);
                    self.pure(Pure::V128AnyTrue, &[any])
                }
                _ => return Err(format!("the function {fun:?}")),
            };
        } else if !matches!(fun, RelationalFunction::All | RelationalFunction::Any) {
            return Err(format!("the function {fun:?}"));
        }
        Ok(Value { id, shape: Shape::scalar(Kind::Bool) })
    }

    /// The same number as another type.
    pub(super) fn convert(&mut self, value: Value, to: Kind) -> Value {
        let Value { id, shape } = value;
        let id = match (shape.kind, to) {
            (Kind::F32, Kind::U32) => {
                self.both(shape, [Pure::I32TruncSatF32U, Pure::I32x4TruncSatF32x4U], &[id])
            }
            (Kind::F32, Kind::I32) => {
                self.both(shape, [Pure::I32TruncSatF32S, Pure::I32x4TruncSatF32x4S], &[id])
            }
            (Kind::U32, Kind::F32) => {
                self.both(shape, [Pure::F32ConvertI32U, Pure::F32x4ConvertI32x4U], &[id])
            }
            (Kind::I32, Kind::F32) => {
                self.both(shape, [Pure::F32ConvertI32S, Pure::F32x4ConvertI32x4S], &[id])
            }
            (Kind::F32, Kind::Bool) => {
                let zero = self.float(shape, 0.0);
                self.both(shape, [Pure::F32Ne, Pure::F32x4Ne], &[id, zero])
            }
            (Kind::I32 | Kind::U32, Kind::Bool) => {
                let zero = self.integer(shape, 0);
                self.both(shape, [Pure::I32Ne, Pure::I32x4Ne], &[id, zero])
            }
            (Kind::Bool, Kind::F32) if !shape.is_vector() => self.pure(Pure::F32ConvertI32U, &[id]),
            (Kind::Bool, Kind::F32) => {
                let one = self.float(shape, 1.0);
                self.pure(Pure::V128And, &[id, one])
            }
            (Kind::Bool, Kind::I32 | Kind::U32) if shape.is_vector() => {
                let one = self.integer(shape, 1);
                self.pure(Pure::V128And, &[id, one])
            }
            _ => id,
        };
        Value { id, shape: shape.with(to) }
    }

    /// The same bits as another type.
    pub(super) fn reinterpret(&mut self, value: Value, to: Kind) -> Value {
        let Value { id, shape } = value;
        let id = match (shape.is_vector(), shape.kind.ty(), to.ty()) {
            (false, Type::F32, Type::I32) => self.pure(Pure::I32ReinterpretF32, &[id]),
            (false, Type::I32, Type::F32) => self.pure(Pure::F32ReinterpretI32, &[id]),
            _ => id,
        };
        Value { id, shape: shape.with(to) }
    }

    /// A built-in function.
    pub(super) fn math(&mut self, fun: MathFunction, args: &[Value]) -> Result<Value> {
        use Kind::{F32, I32, U32};
        use MathFunction as M;
        let lanes = args.iter().map(|arg| arg.shape.lanes).max().unwrap_or(1);
        let args: Vec<Value> = args.iter().map(|&arg| self.spread(arg, lanes)).collect();
        let Value { id, shape } = args[0];
        let arg = |i: usize| args[i].id;
        let id = match (fun, shape.kind) {
            (M::Abs, F32) => self.both(shape, [Pure::F32Abs, Pure::F32x4Abs], &[id]),
            (M::Abs, U32) => id,
            (M::Min | M::Max, _) => self.extreme(fun == M::Max, shape, id, arg(1))?,
            (M::Clamp, _) => {
                let low = self.extreme(true, shape, id, arg(1))?;
                self.extreme(false, shape, low, arg(2))?
            }
            (M::Floor, F32) => self.both(shape, [Pure::F32Floor, Pure::F32x4Floor], &[id]),
            (M::Ceil, F32) => self.both(shape, [Pure::F32Ceil, Pure::F32x4Ceil], &[id]),
            (M::Trunc, F32) => self.both(shape, [Pure::F32Trunc, Pure::F32x4Trunc], &[id]),
            (M::Round, F32) => self.both(shape, [Pure::F32Nearest, Pure::F32x4Nearest], &[id]),
            (M::Sqrt, F32) => self.both(shape, [Pure::F32Sqrt, Pure::F32x4Sqrt], &[id]),
            (M::Fma, F32) => {
                let product = self.mul(shape, id, arg(1));
                self.plus(shape, product, arg(2))
            }
            (M::Exp, F32) => self.exp(shape, id),
            (M::Tanh, F32) => self.tanh(shape, id),
            (M::Dot, F32) if shape.is_vector() => {
                let product = Value { id: self.mul(shape, id, arg(1)), shape };
                let scalar = Shape::scalar(F32);
                let mut sum = self.lane(product, 0);
                for lane in 1..shape.lanes {
                    let term = self.lane(product, lane);
                    sum = self.plus(scalar, sum, term);
                }
                return Ok(Value { id: sum, shape: scalar });
            }
            (M::Unpack4xU8, U32) if !shape.is_vector() => {
                let bytes = self.pure(Pure::I32x4Splat, &[id]);
                let shorts = self.pure(Pure::I16x8ExtendLowI8x16U, &[bytes]);
                let id = self.pure(Pure::I32x4ExtendLowI16x8U, &[shorts]);
                return Ok(Value { id, shape: Shape::vector(U32, 4) });
            }
            (M::Abs, I32) if shape.is_vector() => self.pure(Pure::I32x4Abs, &[id]),
            _ => return Err(format!("the function {fun:?} of {shape:?}")),
        };
        Ok(Value { id, shape })
    }

    /// `max(a, b)` or `min(a, b)`; where `a` is NaN, `a`.
    fn extreme(&mut self, max: bool, shape: Shape, a: Id, b: Id) -> Result<Id> {
        let op = match (shape.kind, max) {
            (Kind::F32, true) => [Pure::F32Lt, Pure::F32x4PMax],
            (Kind::F32, false) => [Pure::F32Lt, Pure::F32x4PMin],
            (Kind::U32, true) => [Pure::I32LtU, Pure::I32x4MaxU],
            (Kind::U32, false) => [Pure::I32LtU, Pure::I32x4MinU],
            (Kind::I32, true) => [Pure::I32LtS, Pure::I32x4MaxS],
            (Kind::I32, false) => [Pure::I32LtS, Pure::I32x4MinS],
            (Kind::Bool, _) => return Err("the extremes of booleans".into()),
        };
        if shape.is_vector() {
            return Ok(self.pure(op[1], &[a, b]));
        }
        let other = if max { [a, b] } else { [b, a] };
        let other = self.pure(op[0], &other);
        Ok(self.select(b, a, other))
    }

    fn plus(&mut self, shape: Shape, a: Id, b: Id) -> Id {
        self.both(shape, [Pure::F32Add, Pure::F32x4Add], &[a, b])
    }

    fn minus(&mut self, shape: Shape, a: Id, b: Id) -> Id {
        self.both(shape, [Pure::F32Sub, Pure::F32x4Sub], &[a, b])
    }

    fn mul(&mut self, shape: Shape, a: Id, b: Id) -> Id {
        self.both(shape, [Pure::F32Mul, Pure::F32x4Mul], &[a, b])
    }

    /// `c[0] + x (c[1] + x (c[2] + …))`.
    fn polynomial(&mut self, shape: Shape, x: Id, c: &[f32]) -> Id {
        let mut sum = self.float(shape, c[c.len() - 1]);
        for &c in c[..c.len() - 1].iter().rev() {
            let product = self.mul(shape, sum, x);
            let c = self.float(shape, c);
            sum = self.plus(shape, product, c);
        }
        sum
    }

    /// `eˣ`, with the bits of [`crate::math::exp`].
    fn exp(&mut self, shape: Shape, x: Id) -> Id {
        use crate::math::{EXP, EXP_RANGE, EXP_ROUND, LN_2};
        let [low, high] = EXP_RANGE.map(|end| self.float(shape, end));
        let x = self.both_extremes(shape, x, low, high);
        let round = self.float(shape, EXP_ROUND);
        let log2_e = self.float(shape, std::f32::consts::LOG2_E);
        let turns = self.mul(shape, x, log2_e);
        let shifted = self.plus(shape, turns, round);
        let n = self.minus(shape, shifted, round);
        let mut r = x;
        for part in LN_2 {
            let part = self.float(shape, part);
            let part = self.mul(shape, n, part);
            r = self.minus(shape, r, part);
        }
        let square = self.mul(shape, r, r);
        let sum = self.polynomial(shape, r, &EXP);
        let product = self.mul(shape, square, sum);
        let power = self.plus(shape, product, r);
        let one = self.float(shape, 1.0);
        let power = self.plus(shape, power, one);
        // 2ⁿ by its exponent.
        let float = Value { id: shifted, shape };
        let bits = self.reinterpret(float, Kind::U32);
        let bias = self.integer(shape, 127);
        let exponent = self.both(shape, [Pure::I32Add, Pure::I32x4Add], &[bits.id, bias]);
        let by = self.i32(23);
        let exponent = self.both(shape, [Pure::I32Shl, Pure::I32x4Shl], &[exponent, by]);
        let exponent = Value { id: exponent, shape: shape.with(Kind::U32) };
        let two_to_n = self.reinterpret(exponent, Kind::F32);
        self.mul(shape, power, two_to_n.id)
    }

    /// `x` between two floats; NaN where it is.
    fn both_extremes(&mut self, shape: Shape, x: Id, low: Id, high: Id) -> Id {
        let floats = "floats have extremes";
        let x = self.extreme(true, shape, x, low).expect(floats);
        self.extreme(false, shape, x, high).expect(floats)
    }

    /// `tanh x`, with the bits of [`crate::math::tanh`].
    fn tanh(&mut self, shape: Shape, x: Id) -> Id {
        use crate::math::{TANH, TANH_NEAR};
        let square = self.mul(shape, x, x);
        let sum = self.polynomial(shape, square, &TANH);
        let cube = self.mul(shape, x, square);
        let rest = self.mul(shape, cube, sum);
        let near = self.plus(shape, x, rest);

        let [one, two, end] = [1.0, 2.0, TANH_NEAR].map(|value| self.float(shape, value));
        let size = self.both(shape, [Pure::F32Abs, Pure::F32x4Abs], &[x]);
        let double = self.mul(shape, two, size);
        let power = self.exp(shape, double);
        let sum = self.plus(shape, power, one);
        let fraction = self.both(shape, [Pure::F32Div, Pure::F32x4Div], &[two, sum]);
        let far = self.minus(shape, one, fraction);
        let far = match shape.is_vector() {
            // It is not negative: only the sign is missing.
            true => {
                let sign = self.v128([1 << 31; 4]);
                let sign = self.pure(Pure::V128And, &[x, sign]);
                self.pure(Pure::V128Or, &[far, sign])
            }
            false => self.pure(Pure::F32Copysign, &[far, x]),
        };
        let is_near = self.both(shape, [Pure::F32Lt, Pure::F32x4Lt], &[size, end]);
        self.choose(shape, near, far, is_near)
    }
}
