//! The function under construction: values that are computed once, in regions of structured control
//! flow.
//!
//! A [`Builder`] gives equal computations one value, folds constants, and moves what does not change
//! in a loop to before the loop: the engine that runs the WebAssembly does not.

use std::collections::HashMap;

use wasm_encoder::{Instruction, ValType};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    /// An integer, or a boolean as 0 or 1.
    I32,
    F32,
    /// Four lanes: of integers, floats, or booleans as masks.
    V128,
}

impl Type {
    pub(super) const fn encoded(self) -> ValType {
        match self {
            Self::I32 => ValType::I32,
            Self::F32 => ValType::F32,
            Self::V128 => ValType::V128,
        }
    }
}

/// A value of a [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(u32);

impl Id {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A variable: a value that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Variable(u32);

impl Variable {
    pub(super) const fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The target of a jump: the end of a block, or the start of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(u32);

/// A sequence of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region(u32);

impl Region {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

macro_rules! pure {
    ($($name:ident -> $result:ident),* $(,)?) => {
        /// The instructions that compute a value from others and have no operands of their own,
        /// under WebAssembly's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Pure { $($name),* }

        impl Pure {
            const fn result(self) -> Type {
                match self { $(Self::$name => Type::$result),* }
            }

            pub(super) const fn encoded(self) -> Instruction<'static> {
                match self { $(Self::$name => Instruction::$name),* }
            }
        }
    };
}

pure! {
    I32Add -> I32, I32Sub -> I32, I32Mul -> I32, I32DivU -> I32, I32DivS -> I32, I32RemU -> I32,
    I32RemS -> I32, I32And -> I32, I32Or -> I32, I32Xor -> I32, I32Shl -> I32, I32ShrU -> I32,
    I32ShrS -> I32, I32Eqz -> I32, I32Eq -> I32, I32Ne -> I32, I32LtU -> I32, I32LtS -> I32,
    I32LeU -> I32, I32LeS -> I32, I32ReinterpretF32 -> I32, I32TruncSatF32U -> I32,
    I32TruncSatF32S -> I32,
    F32Add -> F32, F32Sub -> F32, F32Mul -> F32, F32Div -> F32, F32Neg -> F32, F32Abs -> F32,
    F32Sqrt -> F32, F32Floor -> F32, F32Ceil -> F32, F32Trunc -> F32, F32Nearest -> F32,
    F32Copysign -> F32, F32Eq -> I32, F32Ne -> I32, F32Lt -> I32, F32Le -> I32,
    F32ReinterpretI32 -> F32, F32ConvertI32U -> F32, F32ConvertI32S -> F32,
    I32x4Splat -> V128, I32x4Add -> V128, I32x4Sub -> V128, I32x4Mul -> V128,
    I32x4Abs -> V128, I32x4Shl -> V128, I32x4ShrU -> V128, I32x4ShrS -> V128, I32x4Eq -> V128,
    I32x4Ne -> V128, I32x4LtU -> V128, I32x4LtS -> V128, I32x4LeU -> V128, I32x4LeS -> V128,
    I32x4MinU -> V128, I32x4MinS -> V128, I32x4MaxU -> V128, I32x4MaxS -> V128,
    I32x4TruncSatF32x4U -> V128, I32x4TruncSatF32x4S -> V128, I16x8ExtendLowI8x16U -> V128,
    I32x4ExtendLowI16x8U -> V128, I32x4AllTrue -> I32,
    F32x4Splat -> V128, F32x4Add -> V128, F32x4Sub -> V128, F32x4Mul -> V128, F32x4Div -> V128,
    F32x4Neg -> V128, F32x4Abs -> V128, F32x4Sqrt -> V128, F32x4Floor -> V128, F32x4Ceil -> V128,
    F32x4Trunc -> V128, F32x4Nearest -> V128, F32x4PMin -> V128, F32x4PMax -> V128,
    F32x4Eq -> V128, F32x4Ne -> V128, F32x4Lt -> V128, F32x4Le -> V128,
    F32x4ConvertI32x4U -> V128, F32x4ConvertI32x4S -> V128,
    V128And -> V128, V128AndNot -> V128, V128Or -> V128, V128Xor -> V128, V128Not -> V128,
    V128AnyTrue -> I32, V128Bitselect -> V128,
}

/// What computes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// A constant integer.
    I32(u32),
    /// A constant float, by its bits.
    F32(u32),
    /// A constant vector, by the bits of its lanes.
    V128([u32; 4]),
    /// A parameter of the function, an integer.
    Param(u32),
    /// An instruction.
    Pure(Pure),
    /// The first argument if the third is not 0, else the second: integers or floats.
    Select(Type),
    /// A lane of a vector.
    Extract(Type, u8),
    /// A vector with a lane replaced.
    Replace(Type, u8),
    /// Lanes of two vectors: 0 to 3 are those of the first, 4 to 7 those of the second.
    Shuffle([u8; 4]),
    /// The value at an address.
    Load(Type),
    /// The value of a variable at this place; the number makes each reading a value of its own.
    Read(Variable, u32),
}

/// A value: what computes it, from what, and where.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) args: Vec<Id>,
    pub(super) ty: Type,
    /// The region whose statements compute it.
    pub(super) region: Region,
}

/// A statement.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    /// Computes a value.
    Compute(Id),
    /// Sets a variable.
    Set(Variable, Id),
    /// Stores a value at an address.
    Store { address: Id, value: Id },
    /// Runs one of two regions.
    If { condition: Id, accept: Region, reject: Region },
    /// Runs a region; a jump to the label leaves it.
    Block { label: Label, body: Region },
    /// Runs a region; a jump to the label starts it again, and its end leaves the loop.
    Loop { label: Label, body: Region },
    /// Jumps.
    Jump(Label),
}

/// A region and its place.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) statements: Vec<Statement>,
    /// The region that contains it; the function's outermost contains itself.
    parent: Region,
    depth: u32,
    /// Whether it is run again and again.
    repeats: bool,
}

/// A function under construction.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) nodes: Vec<Node>,
    pub(super) regions: Vec<Body>,
    /// The types of the variables.
    pub(super) variables: Vec<Type>,
    /// Where statements are added.
    current: Region,
    /// The values computed by each operation, for finding equal ones.
    known: HashMap<(Op, Vec<Id>), Vec<Id>>,
    labels: u32,
    reads: u32,
    /// Integers that are known to be multiples of a power of two: how many low bits are 0.
    zeros: HashMap<Id, u32>,
}

/// The function's outermost region.
pub(super) const ROOT: Region = Region(0);

impl Builder {
    pub(super) fn new() -> Self {
        let root = Body { statements: Vec::new(), parent: ROOT, depth: 0, repeats: false };
        Self {
            nodes: Vec::new(),
            regions: vec![root],
            variables: Vec::new(),
            current: ROOT,
            known: HashMap::new(),
            labels: 0,
            reads: 0,
            zeros: HashMap::new(),
        }
    }

    pub(super) fn op(&self, id: Id) -> Op {
        self.nodes[id.index()].op
    }

    pub(super) fn args(&self, id: Id) -> &[Id] {
        &self.nodes[id.index()].args
    }

    pub(super) fn ty(&self, id: Id) -> Type {
        self.nodes[id.index()].ty
    }

    pub(super) fn variable(&mut self, ty: Type) -> Variable {
        self.variables.push(ty);
        Variable(self.variables.len() as u32 - 1)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// Opens a region within the current one, for statements that follow, and returns it and the one
    /// to go back to by [`Self::close`].
    pub(super) fn open(&mut self, repeats: bool) -> (Region, Region) {
        let parent = self.current;
        let depth = self.regions[parent.index()].depth + 1;
        self.regions.push(Body { statements: Vec::new(), parent, depth, repeats });
        self.current = Region(self.regions.len() as u32 - 1);
        (self.current, parent)
    }

    /// Goes back to the region in which another was opened.
    pub(super) fn close(&mut self, parent: Region) {
        self.current = parent;
    }

    /// Moves the statements of a region, which is open no more, to the end of the current one, which
    /// contains it.
    pub(super) fn dissolve(&mut self, region: Region) {
        let statements = std::mem::take(&mut self.regions[region.index()].statements);
        for statement in &statements {
            if let Statement::Compute(id) = *statement {
                self.nodes[id.index()].region = self.current;
            }
        }
        self.regions[self.current.index()].statements.extend(statements);
    }

    /// The number of instructions in a region that does nothing but compute values that could be
    /// computed anywhere.
    pub(super) fn cost(&self, region: Region) -> Option<usize> {
        let statements = &self.regions[region.index()].statements;
        let free = statements.iter().all(|statement| match *statement {
            Statement::Compute(id) => !matches!(self.op(id), Op::Load(_) | Op::Read(..)),
            _ => false,
        });
        free.then_some(statements.len())
    }

    pub(super) fn add(&mut self, statement: Statement) {
        self.regions[self.current.index()].statements.push(statement);
    }

    fn depth(&self, region: Region) -> u32 {
        self.regions[region.index()].depth
    }

    /// How deep a value lies in regions: values of small depths change less often.
    pub(super) fn depth_of(&self, id: Id) -> u32 {
        self.depth(self.nodes[id.index()].region)
    }

    /// Whether what `region` computes is there for the current region.
    fn reaches(&self, region: Region) -> bool {
        let mut at = self.current;
        while self.depth(at) > self.depth(region) {
            at = self.regions[at.index()].parent;
        }
        at == region
    }

    /// Where to compute a pure value of these arguments: before the outermost of the loops in which
    /// none of them changes, or here.
    fn place(&self, args: &[Id]) -> Region {
        let depth = args.iter().map(|&arg| self.depth_of(arg)).max().unwrap_or(0);
        let (mut at, mut place) = (self.current, self.current);
        while self.depth(at) > depth {
            let body = &self.regions[at.index()];
            at = body.parent;
            if body.repeats {
                place = at;
            }
        }
        place
    }

    fn push(&mut self, op: Op, args: Vec<Id>, ty: Type, region: Region) -> Id {
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(Node { op, args, ty, region });
        self.regions[region.index()].statements.push(Statement::Compute(id));
        id
    }

    /// The value of an operation, computed here or earlier.
    fn value(&mut self, op: Op, args: &[Id], ty: Type) -> Id {
        let key = (op, args.to_vec());
        let known = self.known.get(&key).into_iter().flatten().copied();
        let known = known.into_iter().find(|id| self.reaches(self.nodes[id.index()].region));
        if let Some(id) = known {
            return id;
        }
        let region = match op {
            Op::I32(_) | Op::F32(_) | Op::V128(_) | Op::Param(_) => ROOT,
            // Its address may be one only here.
            Op::Load(_) => self.current,
            _ => self.place(args),
        };
        let id = self.push(op, args.to_vec(), ty, region);
        self.known.entry(key).or_default().push(id);
        id
    }

    pub(super) fn i32(&mut self, value: u32) -> Id {
        self.value(Op::I32(value), &[], Type::I32)
    }

    pub(super) fn f32(&mut self, value: f32) -> Id {
        self.value(Op::F32(value.to_bits()), &[], Type::F32)
    }

    pub(super) fn v128(&mut self, lanes: [u32; 4]) -> Id {
        self.value(Op::V128(lanes), &[], Type::V128)
    }

    pub(super) fn param(&mut self, index: u32) -> Id {
        self.value(Op::Param(index), &[], Type::I32)
    }

    /// The current value of a variable.
    pub(super) fn read(&mut self, variable: Variable) -> Id {
        self.reads += 1;
        let ty = self.variables[variable.index()];
        self.push(Op::Read(variable, self.reads), Vec::new(), ty, self.current)
    }

    /// The value at an address that nothing writes.
    pub(super) fn load_constant(&mut self, address: Id, ty: Type) -> Id {
        self.value(Op::Load(ty), &[address], ty)
    }

    /// The value that is at an address now.
    pub(super) fn load(&mut self, address: Id, ty: Type) -> Id {
        self.push(Op::Load(ty), vec![address], ty, self.current)
    }

    /// The constant bits of a value: those of all lanes, if it is a vector.
    pub(super) fn constant(&self, id: Id) -> Option<u32> {
        match self.op(id) {
            Op::I32(bits) | Op::F32(bits) => Some(bits),
            Op::V128(lanes) => lanes.iter().all(|&lane| lane == lanes[0]).then_some(lanes[0]),
            _ => None,
        }
    }

    /// States that the low `bits` bits of an integer are 0.
    pub(super) fn set_zeros(&mut self, id: Id, bits: u32) {
        self.zeros.insert(id, bits);
    }

    /// How many low bits of an integer are known to be 0.
    pub(super) fn zeros(&self, id: Id) -> u32 {
        let args = self.args(id);
        let least = |args: &[Id]| args.iter().map(|&arg| self.zeros(arg)).min().unwrap_or(0);
        let known = match self.op(id) {
            Op::I32(bits) => bits.trailing_zeros(),
            Op::Pure(Pure::I32Add | Pure::I32Sub | Pure::I32Or | Pure::I32Xor) => least(args),
            Op::Pure(Pure::I32And) => self.zeros(args[0]).max(self.zeros(args[1])),
            Op::Pure(Pure::I32Mul) => self.zeros(args[0]) + self.zeros(args[1]),
            Op::Pure(Pure::I32Shl) => {
                self.zeros(args[0]) + self.constant(args[1]).unwrap_or(0) % 32
            }
            Op::Select(Type::I32) => least(&args[..2]),
            _ => self.zeros.get(&id).copied().unwrap_or(0),
        };
        known.min(32)
    }

    /// An instruction's value, computed now if all arguments are constants.
    pub(super) fn pure(&mut self, op: Pure, args: &[Id]) -> Id {
        match self.folded(op, args) {
            Some(id) => id,
            None => self.value(Op::Pure(op), args, op.result()),
        }
    }

    /// What an instruction amounts to, where it need not be run.
    fn folded(&mut self, op: Pure, args: &[Id]) -> Option<Id> {
        use Pure::{
            F32x4Splat, I32Add, I32And, I32DivU, I32Eq, I32Eqz, I32LtU, I32Mul, I32Ne, I32Or,
            I32RemU, I32Shl, I32ShrU, I32Sub, I32x4Splat, V128And, V128AndNot, V128Or,
        };
        let a = args.first().and_then(|&id| self.constant(id));
        let b = args.get(1).and_then(|&id| self.constant(id));
        let value = match (op, a, b) {
            (F32x4Splat | I32x4Splat, Some(a), _) => return Some(self.v128([a; 4])),
            (F32x4Splat | I32x4Splat, ..) => {
                // Without the way through a scalar.
                let Op::Extract(_, lane) = self.op(args[0]) else { return None };
                let vector = self.args(args[0])[0];
                return Some(self.shuffle(vector, vector, [lane; 4]));
            }
            (I32Add | I32Or, Some(0), _) | (I32Mul, Some(1), _) => return Some(args[1]),
            (I32Add | I32Sub | I32Or | I32Shl | I32ShrU, _, Some(0))
            | (I32Mul | I32DivU, _, Some(1)) => return Some(args[0]),
            (I32Mul | I32And, Some(0), _)
            | (I32Mul | I32And, _, Some(0))
            | (I32RemU, _, Some(1))
            | (I32DivU | I32RemU | I32Shl | I32ShrU, Some(0), _) => 0,
            (V128And, _, Some(0)) | (V128And | V128AndNot, Some(0), _) => {
                return Some(self.v128([0; 4]));
            }
            (V128And, _, Some(u32::MAX)) | (V128Or | V128AndNot, _, Some(0)) => {
                return Some(args[0]);
            }
            (V128Or, Some(0), _) | (V128And, Some(u32::MAX), _) => return Some(args[1]),
            (I32Eqz, Some(a), _) => u32::from(a == 0),
            (I32Add, Some(a), Some(b)) => a.wrapping_add(b),
            (I32Sub, Some(a), Some(b)) => a.wrapping_sub(b),
            (I32Mul, Some(a), Some(b)) => a.wrapping_mul(b),
            (I32DivU, Some(a), Some(b)) if b != 0 => a / b,
            (I32RemU, Some(a), Some(b)) if b != 0 => a % b,
            (I32And, Some(a), Some(b)) => a & b,
            (I32Or, Some(a), Some(b)) => a | b,
            (I32Shl, Some(a), Some(b)) => a.wrapping_shl(b),
            (I32ShrU, Some(a), Some(b)) => a.wrapping_shr(b),
            (I32Eq, Some(a), Some(b)) => u32::from(a == b),
            (I32Ne, Some(a), Some(b)) => u32::from(a != b),
            (I32LtU, Some(a), Some(b)) => u32::from(a < b),
            _ => return None,
        };
        Some(self.i32(value))
    }

    /// `accept` if the integer `condition` is not 0, else `reject`.
    pub(super) fn select(&mut self, accept: Id, reject: Id, condition: Id) -> Id {
        match self.constant(condition) {
            _ if accept == reject => return accept,
            Some(0) => return reject,
            Some(_) => return accept,
            None => {}
        }
        let ty = self.ty(accept);
        if ty != Type::V128 {
            return self.value(Op::Select(ty), &[accept, reject, condition], ty);
        }
        let mask = self.mask(condition);
        self.blend(accept, reject, mask)
    }

    /// A scalar boolean as a mask of all lanes.
    pub(super) fn mask(&mut self, boolean: Id) -> Id {
        let zero = self.i32(0);
        let ones = self.pure(Pure::I32Sub, &[zero, boolean]);
        self.pure(Pure::I32x4Splat, &[ones])
    }

    /// The lanes of `accept` where those of `mask` are set, else those of `reject`.
    pub(super) fn blend(&mut self, accept: Id, reject: Id, mask: Id) -> Id {
        if self.constant(reject) == Some(0) {
            return self.pure(Pure::V128And, &[accept, mask]);
        }
        if self.constant(accept) == Some(0) {
            return self.pure(Pure::V128AndNot, &[reject, mask]);
        }
        self.pure(Pure::V128Bitselect, &[accept, reject, mask])
    }

    /// Lanes of two vectors.
    pub(super) fn shuffle(&mut self, a: Id, b: Id, lanes: [u8; 4]) -> Id {
        if lanes == [0, 1, 2, 3] {
            return a;
        }
        self.value(Op::Shuffle(lanes), &[a, b], Type::V128)
    }

    /// A lane of a vector whose lanes have this type.
    pub(super) fn extract(&mut self, ty: Type, vector: Id, lane: u8) -> Id {
        match self.single(ty, vector, lane) {
            Some(id) => id,
            None => self.value(Op::Extract(ty, lane), &[vector], ty),
        }
    }

    /// A lane of a vector that is already a value, or a sum of such.
    fn single(&mut self, ty: Type, vector: Id, lane: u8) -> Option<Id> {
        let args = self.args(vector).to_vec();
        match self.op(vector) {
            Op::V128(lanes) => Some(match ty {
                Type::F32 => self.f32(f32::from_bits(lanes[lane as usize])),
                _ => self.i32(lanes[lane as usize]),
            }),
            Op::Pure(Pure::I32x4Splat | Pure::F32x4Splat) if self.ty(args[0]) == ty => {
                Some(args[0])
            }
            Op::Replace(of, at) if at == lane => (of == ty).then_some(args[1]),
            Op::Replace(..) => self.single(ty, args[0], lane),
            Op::Pure(Pure::I32x4Add) if ty == Type::I32 => {
                let a = self.single(ty, args[0], lane)?;
                let b = self.single(ty, args[1], lane)?;
                Some(self.pure(Pure::I32Add, &[a, b]))
            }
            _ => None,
        }
    }

    /// A vector of up to four scalars of one type; lanes past them are arbitrary.
    pub(super) fn compose(&mut self, ty: Type, parts: &[Id]) -> Id {
        let splat = if ty == Type::F32 { Pure::F32x4Splat } else { Pure::I32x4Splat };
        let constants: Option<Vec<u32>> = parts.iter().map(|&id| self.constant(id)).collect();
        if let Some(bits) = constants {
            let lane = |i: usize| bits.get(i).or(bits.last()).copied().unwrap_or(0);
            return self.v128([lane(0), lane(1), lane(2), lane(3)]);
        }
        if parts.iter().all(|&part| part == parts[0]) {
            return self.pure(splat, &[parts[0]]);
        }
        if let Some(id) = self.gathered(parts) {
            return id;
        }
        let first = self.pure(splat, &[parts[0]]);
        (1..).zip(&parts[1..]).fold(first, |vector, (lane, &part)| {
            if part == parts[0] {
                return vector;
            }
            self.value(Op::Replace(ty, lane), &[vector, part], Type::V128)
        })
    }

    /// A vector of scalars that are all lanes of vectors, by shuffles.
    fn gathered(&mut self, parts: &[Id]) -> Option<Id> {
        let mut from = Vec::new();
        for &part in parts {
            let Op::Extract(_, lane) = self.op(part) else { return None };
            from.push((self.args(part)[0], lane));
        }
        while from.len() < 4 {
            from.push(from[from.len() - 1]);
        }
        let first = from[0].0;
        let second = from.iter().map(|f| f.0).find(|&v| v != first).unwrap_or(first);
        if from.iter().all(|&(vector, _)| vector == first || vector == second) {
            let lane = |(vector, lane): (Id, u8)| if vector == first { lane } else { lane + 4 };
            let lanes = [lane(from[0]), lane(from[1]), lane(from[2]), lane(from[3])];
            return Some(self.shuffle(first, second, lanes));
        }
        let (low, at) = self.pair(from[0], from[1]);
        let (high, to) = self.pair(from[2], from[3]);
        Some(self.shuffle(low, high, [at, at + 1, to + 4, to + 5]))
    }

    /// A vector that holds two lanes side by side, and where: of neighboring lanes, the same vector,
    /// so that the transposition of a 4 × 4 matrix takes eight shuffles.
    fn pair(&mut self, (a, i): (Id, u8), (b, j): (Id, u8)) -> (Id, u8) {
        if i == j {
            let (even, odd) = (i & !1, i | 1);
            (self.shuffle(a, b, [even, even + 4, odd, odd + 4]), (i & 1) * 2)
        } else {
            (self.shuffle(a, b, [i, j + 4, i, j + 4]), 0)
        }
    }
}
