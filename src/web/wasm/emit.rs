//! From regions to the instructions of a WebAssembly function.

use std::collections::HashMap;

use wasm_encoder::{BlockType, Function, Instruction, MemArg, MemArgTarget, ValType};

use super::ir::{Builder, Id, Label, Op, ROOT, Region, Statement, Type, Variable};

/// Encodes a function with this many parameters, all integers.
pub(super) fn encode(builder: &Builder, params: u32) -> Function {
    let used = Used::of(builder);
    let mut locals: Vec<ValType> = Vec::new();
    let mut local = |ty: Type| {
        locals.push(ty.encoded());
        params + locals.len() as u32 - 1
    };
    let variables = builder.variables.iter().zip(&used.variables);
    let variables = variables.map(|(&ty, &live)| live.then(|| local(ty))).collect();
    let nodes = builder.nodes.iter().enumerate();
    let nodes = nodes.map(|(i, node)| used.kept(builder, i).then(|| local(node.ty))).collect();
    let function = Function::new_with_locals_types(locals);
    let mut encoder = Encoder { builder, nodes, variables, function, labels: Vec::new() };
    encoder.region(ROOT);
    encoder.push(&Instruction::End);
    encoder.function
}

/// What is needed, and where.
struct Used {
    /// How often each value is used, and a region in which it is.
    nodes: Vec<(u32, Region)>,
    /// Which variables are read.
    variables: Vec<bool>,
}

impl Used {
    fn of(builder: &Builder) -> Self {
        let mut used = Self {
            nodes: vec![(0, ROOT); builder.nodes.len()],
            variables: vec![false; builder.variables.len()],
        };
        let mut sets: HashMap<Variable, Vec<(Id, Region)>> = HashMap::new();
        let mut needed = Vec::new();
        let mut regions = vec![ROOT];
        while let Some(region) = regions.pop() {
            for statement in &builder.regions[region.index()].statements {
                match *statement {
                    Statement::Compute(_) | Statement::Jump(_) => {}
                    Statement::Set(variable, id) => {
                        sets.entry(variable).or_default().push((id, region));
                    }
                    Statement::Store { address, value } => {
                        needed.extend([(address, region), (value, region)]);
                    }
                    Statement::If { condition, accept, reject } => {
                        needed.push((condition, region));
                        regions.extend([accept, reject]);
                    }
                    Statement::Block { body, .. } | Statement::Loop { body, .. } => {
                        regions.push(body);
                    }
                }
            }
        }
        while let Some((id, region)) = needed.pop() {
            let (count, place) = &mut used.nodes[id.index()];
            (*count, *place) = (*count + 1, region);
            if *count > 1 {
                continue;
            }
            let node = &builder.nodes[id.index()];
            needed.extend(node.args.iter().map(|&arg| (arg, node.region)));
            if let Op::Read(variable, _) = node.op
                && !std::mem::replace(&mut used.variables[variable.index()], true)
            {
                needed.extend(sets.remove(&variable).into_iter().flatten());
            }
        }
        used
    }

    /// Whether a value is kept in a local variable, instead of being computed where it is used.
    fn kept(&self, builder: &Builder, index: usize) -> bool {
        let (count, region) = self.nodes[index];
        let node = &builder.nodes[index];
        match node.op {
            _ if count == 0 => false,
            Op::I32(_) | Op::F32(_) | Op::V128([0, 0, 0, 0]) | Op::Param(_) => false,
            Op::V128(_) | Op::Load(_) | Op::Read(..) => true,
            _ => count > 1 || region != node.region,
        }
    }
}

struct Encoder<'a> {
    builder: &'a Builder,
    /// The local variable of each value that is kept, and of each variable.
    nodes: Vec<Option<u32>>,
    variables: Vec<Option<u32>>,
    function: Function,
    /// The labels of the blocks around the current instruction.
    labels: Vec<Option<Label>>,
}

impl Encoder<'_> {
    fn push(&mut self, instruction: &Instruction<'_>) {
        self.function.instruction(instruction);
    }

    /// How many blocks out a label is.
    fn out(&self, label: Label) -> u32 {
        let out = self.labels.iter().rev().position(|&at| at == Some(label));
        out.expect("jumps lead out of blocks around them") as u32
    }

    fn region(&mut self, region: Region) {
        let builder = self.builder;
        for statement in &builder.regions[region.index()].statements {
            match *statement {
                Statement::Compute(id) => {
                    if let Some(local) = self.nodes[id.index()] {
                        self.compute(id);
                        self.push(&Instruction::LocalSet(local));
                    }
                }
                Statement::Set(variable, id) => {
                    if let Some(local) = self.variables[variable.index()] {
                        self.value(id);
                        self.push(&Instruction::LocalSet(local));
                    }
                }
                Statement::Store { address, value } => {
                    self.value(address);
                    self.value(value);
                    self.push(&match builder.ty(value) {
                        Type::I32 => Instruction::I32Store(place(2)),
                        Type::F32 => Instruction::F32Store(place(2)),
                        Type::V128 => Instruction::V128Store(place(4)),
                    });
                }
                Statement::If { condition, accept, reject } => {
                    self.branches(condition, accept, reject);
                }
                Statement::Block { label, body } => {
                    self.nested(&Instruction::Block(BlockType::Empty), Some(label), body);
                    self.push(&Instruction::End);
                }
                Statement::Loop { label, body } => {
                    self.nested(&Instruction::Loop(BlockType::Empty), Some(label), body);
                    self.push(&Instruction::End);
                }
                Statement::Jump(label) => {
                    let out = self.out(label);
                    self.push(&Instruction::Br(out));
                }
            }
        }
    }

    fn nested(&mut self, start: &Instruction<'_>, label: Option<Label>, body: Region) {
        self.push(start);
        self.labels.push(label);
        self.region(body);
        self.labels.pop();
    }

    fn branches(&mut self, condition: Id, accept: Region, reject: Region) {
        let [yes, no] = [accept, reject].map(|region| self.effects(region));
        match (yes.as_slice(), no.as_slice()) {
            ([], []) => {}
            ([Statement::Jump(label)], []) => {
                let out = self.out(*label);
                self.value(condition);
                self.push(&Instruction::BrIf(out));
            }
            ([], [Statement::Jump(label)]) => {
                let out = self.out(*label);
                self.value(condition);
                self.push(&Instruction::I32Eqz);
                self.push(&Instruction::BrIf(out));
            }
            ([], _) => {
                self.value(condition);
                self.push(&Instruction::I32Eqz);
                self.nested(&Instruction::If(BlockType::Empty), None, reject);
                self.push(&Instruction::End);
            }
            _ => {
                self.value(condition);
                self.nested(&Instruction::If(BlockType::Empty), None, accept);
                if !no.is_empty() {
                    self.nested(&Instruction::Else, None, reject);
                }
                self.push(&Instruction::End);
            }
        }
    }

    /// The statements of a region that do more than compute values that nothing needs.
    fn effects(&self, region: Region) -> Vec<Statement> {
        let statements = self.builder.regions[region.index()].statements.iter();
        let matters = |statement: &&Statement| match **statement {
            Statement::Compute(id) => self.nodes[id.index()].is_some(),
            Statement::Set(variable, _) => self.variables[variable.index()].is_some(),
            _ => true,
        };
        statements.filter(matters).cloned().collect()
    }

    /// Pushes a value.
    fn value(&mut self, id: Id) {
        match self.nodes[id.index()] {
            Some(local) => self.push(&Instruction::LocalGet(local)),
            None => self.compute(id),
        }
    }

    /// Pushes a value that is computed here.
    fn compute(&mut self, id: Id) {
        let node = &self.builder.nodes[id.index()];
        for &arg in &node.args {
            self.value(arg);
        }
        self.push(&match node.op {
            Op::I32(value) => Instruction::I32Const(value as i32),
            Op::F32(bits) => Instruction::F32Const(f32::from_bits(bits).into()),
            Op::V128(lanes) => Instruction::V128Const(
                lanes.iter().rev().fold(0, |bits, &lane| bits << 32 | i128::from(lane)),
            ),
            Op::Param(index) => Instruction::LocalGet(index),
            Op::Pure(op) => op.encoded(),
            Op::Select(_) => Instruction::Select,
            Op::Extract(Type::F32, lane) => Instruction::F32x4ExtractLane(lane),
            Op::Extract(_, lane) => Instruction::I32x4ExtractLane(lane),
            Op::Replace(Type::F32, lane) => Instruction::F32x4ReplaceLane(lane),
            Op::Replace(_, lane) => Instruction::I32x4ReplaceLane(lane),
            Op::Shuffle(lanes) => {
                let byte = |i: usize| lanes[i / 4] * 4 + (i % 4) as u8;
                Instruction::I8x16Shuffle(std::array::from_fn(byte))
            }
            Op::Load(Type::I32) => Instruction::I32Load(place(2)),
            Op::Load(Type::F32) => Instruction::F32Load(place(2)),
            Op::Load(Type::V128) => Instruction::V128Load(place(4)),
            Op::Read(variable, _) => {
                let local = self.variables[variable.index()];
                Instruction::LocalGet(local.expect("a variable that is read has a place"))
            }
        });
    }
}

/// The address on the stack, a multiple of a power of two.
const fn place(align: u32) -> MemArg {
    MemArg { offset: 0, align, target: MemArgTarget::Memory(0), ordering: None }
}
