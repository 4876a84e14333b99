//! From statements of naga's IR to regions: calls are inlined, and variables become values wherever
//! their value is known.
//!
//! Where control flow joins, a variable is a variable of the WebAssembly function: it is set before
//! the joint on every way there, and read after it. Between joints, its value is known.

use std::collections::HashMap;

use naga::{
    AddressSpace, Block, BuiltIn, Expression, Function, GlobalVariable, Handle, LocalVariable,
    Module, StorageAccess,
};

use super::ir::{Builder, Id, Label, Op, Pure, Region, Statement, Type, Variable};
use super::values::{Kind, Meaning, Pointer, Shape, Value};

/// What is not supported, in words.
type Result<T> = std::result::Result<T, String>;

/// A function that is being inlined.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) function: &'a Function,
    pub(super) arguments: Vec<Value>,
    pub(super) locals: HashMap<Handle<LocalVariable>, (Variable, Shape)>,
    pub(super) meanings: HashMap<Handle<Expression>, Meaning>,
    /// Where `return` leads, and the variable that it sets.
    end: Label,
    result: Option<(Variable, Shape)>,
    /// The loops around the current statement.
    loops: Vec<Loop>,
}

/// A loop.
#[derive(Clone, Debug)]
struct Loop {
    /// Where `break` and `continue` lead.
    leave: Label,
    next: Label,
    /// The variables that it assigns.
    assigned: Vec<Variable>,
}

/// A kernel on its way to WebAssembly.
#[derive(Debug)]
pub(super) struct Lowering<'a> {
    pub(super) module: &'a Module,
    pub(super) builder: Builder,
    /// The parameter that holds the address of each buffer, and whether it is only read.
    buffers: HashMap<Handle<GlobalVariable>, (Id, bool)>,
    /// The value of each variable here.
    values: Vec<Id>,
    /// Whether nothing runs here, as control went elsewhere.
    left: bool,
}

/// The most instructions of either way of an `if` that are computed in any case, to save the jump.
const CHEAP: usize = 8;

/// Builds the function of a kernel: its parameters are those of [`super::compile`].
pub(super) fn lower(module: &Module) -> Result<(Builder, u32)> {
    let [entry] = module.entry_points.as_slice() else {
        return Err("more than one entry point".into());
    };
    let mut builder = Builder::new();
    let mut bound = Vec::new();
    for (handle, variable) in module.global_variables.iter() {
        match (variable.space, &variable.binding) {
            (AddressSpace::Storage { access }, Some(place)) => {
                bound.push((place.binding, handle, !access.contains(StorageAccess::STORE)));
            }
            (space, _) => return Err(format!("a variable in {space:?}")),
        }
    }
    bound.sort_unstable_by_key(|&(binding, ..)| binding);
    let buffers =
        (0..).zip(&bound).map(|(i, &(_, handle, constant))| (handle, (builder.param(i), constant)));
    let buffers: HashMap<_, _> = buffers.collect();
    let first = bound.len() as u32;
    let [x, y, z, start, end] = [0, 1, 2, 3, 4].map(|i| builder.param(first + i));
    let mut lowering = Lowering { module, builder, buffers, values: Vec::new(), left: false };
    lowering.groups(entry, [x, y, z], [start, end])?;
    Ok((lowering.builder, first + 5))
}

impl<'a> Lowering<'a> {
    /// The loop over workgroups `start..end` of `count` and, within it, over invocations.
    fn groups(
        &mut self,
        entry: &'a naga::EntryPoint,
        count: [Id; 3],
        [start, end]: [Id; 2],
    ) -> Result<()> {
        let size = entry.workgroup_size;
        let invocations = size[0] * size[1] * size[2];
        self.counted(start, end, |this, group| {
            let b = &mut this.builder;
            let x = b.pure(Pure::I32RemU, &[group, count[0]]);
            let line = b.pure(Pure::I32DivU, &[group, count[0]]);
            let y = b.pure(Pure::I32RemU, &[line, count[1]]);
            let z = b.pure(Pure::I32DivU, &[line, count[1]]);
            let [zero, invocations] = [0, invocations].map(|value| b.i32(value));
            this.counted(zero, invocations, |this, lane| {
                this.invocation(entry, count, [x, y, z], lane)
            })
        })
    }

    /// A loop that runs `body` with a number that counts from `start` to before `end`.
    fn counted(
        &mut self,
        start: Id,
        end: Id,
        body: impl FnOnce(&mut Self, Id) -> Result<()>,
    ) -> Result<()> {
        let b = &mut self.builder;
        let (start_known, end_known) = (b.constant(start), b.constant(end));
        if let (Some(start_known), Some(end_known)) = (start_known, end_known)
            && start_known.checked_add(1) == Some(end_known)
        {
            return body(self, start);
        }
        let counter = b.variable(Type::I32);
        let (leave, again) = (b.label(), b.label());
        self.values.push(start);
        b.add(Statement::Set(counter, start));
        let (block, outside) = b.open(false);
        let (inside, around) = b.open(true);
        let number = b.read(counter);
        let done = b.pure(Pure::I32LeU, &[end, number]);
        self.jump_if(done, leave);
        body(self, number)?;
        let b = &mut self.builder;
        let one = b.i32(1);
        let next = b.pure(Pure::I32Add, &[number, one]);
        b.add(Statement::Set(counter, next));
        b.add(Statement::Jump(again));
        b.close(around);
        b.add(Statement::Loop { label: again, body: inside });
        b.close(outside);
        b.add(Statement::Block { label: leave, body: block });
        Ok(())
    }

    fn jump_if(&mut self, condition: Id, label: Label) {
        let (accept, outside) = self.builder.open(false);
        self.builder.add(Statement::Jump(label));
        self.builder.close(outside);
        let (reject, outside) = self.builder.open(false);
        self.builder.close(outside);
        self.builder.add(Statement::If { condition, accept, reject });
    }

    /// One invocation of an entry point.
    fn invocation(
        &mut self,
        entry: &'a naga::EntryPoint,
        count: [Id; 3],
        group: [Id; 3],
        lane: Id,
    ) -> Result<()> {
        let [width, height, _] = entry.workgroup_size;
        let b = &mut self.builder;
        let [width_id, height_id] = [width, height].map(|value| b.i32(value));
        let line = b.pure(Pure::I32DivU, &[lane, width_id]);
        let local = [
            if height == 1 && entry.workgroup_size[2] == 1 {
                lane
            } else {
                b.pure(Pure::I32RemU, &[lane, width_id])
            },
            b.pure(Pure::I32RemU, &[line, height_id]),
            b.pure(Pure::I32DivU, &[line, height_id]),
        ];
        let mut arguments = Vec::new();
        for argument in &entry.function.arguments {
            let b = &mut self.builder;
            let three = |b: &mut Builder, parts: [Id; 3]| b.vector(Kind::U32, &parts);
            arguments.push(match argument.binding {
                Some(naga::Binding::BuiltIn(BuiltIn::WorkGroupId)) => three(b, group),
                Some(naga::Binding::BuiltIn(BuiltIn::NumWorkGroups)) => three(b, count),
                Some(naga::Binding::BuiltIn(BuiltIn::LocalInvocationId)) => three(b, local),
                Some(naga::Binding::BuiltIn(BuiltIn::LocalInvocationIndex)) => {
                    Value { id: lane, shape: Shape::scalar(Kind::U32) }
                }
                Some(naga::Binding::BuiltIn(BuiltIn::GlobalInvocationId)) => {
                    let global = [0, 1, 2].map(|i| {
                        let first = b.times(group[i], entry.workgroup_size[i]);
                        b.pure(Pure::I32Add, &[first, local[i]])
                    });
                    three(b, global)
                }
                ref other => return Err(format!("the argument {other:?}")),
            });
        }
        self.inlined(&entry.function, arguments)?;
        self.left = false;
        Ok(())
    }

    /// A function's statements on these arguments, and its result.
    fn inlined(&mut self, function: &'a Function, arguments: Vec<Value>) -> Result<Option<Value>> {
        let end = self.builder.label();
        let mut locals = HashMap::new();
        for (handle, local) in function.local_variables.iter() {
            locals.insert(handle, self.new_variable(local.ty)?);
        }
        let ty = function.result.as_ref().map(|result| result.ty);
        let result = ty.map(|ty| self.new_variable(ty)).transpose()?;
        let meanings = HashMap::new();
        let mut frame =
            Frame { function, arguments, locals, meanings, end, result, loops: Vec::new() };
        for (handle, local) in function.local_variables.iter() {
            if let Some(init) = local.init {
                let init = self.value(&mut frame, init)?;
                let (variable, _) = frame.locals[&handle];
                self.values[variable.index()] = init.id;
            }
        }
        let (body, outside) = self.builder.open(false);
        let last = self.block(&mut frame, &function.body)?;
        if !self.jumps_to(body, end) {
            self.builder.close(outside);
            self.builder.dissolve(body);
            self.left = false;
            return Ok(last);
        }
        if let (Some((variable, _)), Some(last)) = (result, last) {
            self.builder.add(Statement::Set(variable, last.id));
        }
        self.builder.close(outside);
        self.builder.add(Statement::Block { label: end, body });
        self.left = false;
        Ok(result.map(|(variable, shape)| {
            let id = self.builder.read(variable);
            self.values[variable.index()] = id;
            Value { id, shape }
        }))
    }

    /// Whether a region jumps to a label.
    fn jumps_to(&self, region: Region, label: Label) -> bool {
        let statements = &self.builder.regions[region.index()].statements;
        statements.iter().any(|statement| match *statement {
            Statement::Jump(to) => to == label,
            Statement::If { accept, reject, .. } => {
                self.jumps_to(accept, label) || self.jumps_to(reject, label)
            }
            Statement::Block { body, .. } | Statement::Loop { body, .. } => {
                self.jumps_to(body, label)
            }
            Statement::Compute(_) | Statement::Set(..) | Statement::Store { .. } => false,
        })
    }

    /// A variable of a type, which is 0.
    fn new_variable(&mut self, ty: Handle<naga::Type>) -> Result<(Variable, Shape)> {
        let zero = self.zero(ty)?;
        let variable = self.builder.variable(zero.shape.ty());
        self.values.push(zero.id);
        Ok((variable, zero.shape))
    }

    /// The value of a variable here.
    pub(super) fn current(&self, variable: Variable) -> Id {
        self.values[variable.index()]
    }

    /// The pointer to a buffer.
    pub(super) fn buffer(&self, variable: Handle<GlobalVariable>) -> Result<Pointer> {
        let (address, constant) = self.buffers[&variable];
        let ty = self.module.global_variables[variable].ty;
        Ok(Pointer::Memory { address, ty, constant })
    }

    /// The statements of a block. The `return` that ends a function's body is not a jump: its value
    /// comes back.
    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block) -> Result<Option<Value>> {
        let is_body = std::ptr::eq(block, &raw const frame.function.body);
        for (i, statement) in block.iter().enumerate() {
            if self.left {
                break;
            }
            if let naga::Statement::Return { value } = *statement
                && is_body
                && i + 1 == block.len()
            {
                return value.map(|value| self.value(frame, value)).transpose();
            }
            self.statement(frame, statement)?;
        }
        Ok(None)
    }

    fn statement(&mut self, frame: &mut Frame<'a>, statement: &'a naga::Statement) -> Result<()> {
        match *statement {
            naga::Statement::Emit(ref range) => {
                for expression in range.clone() {
                    self.meaning(frame, expression)?;
                }
            }
            naga::Statement::Block(ref block) => {
                self.block(frame, block)?;
            }
            naga::Statement::If { condition, ref accept, ref reject } => {
                let condition = self.value(frame, condition)?.id;
                match self.builder.constant(condition) {
                    Some(0) => self.block(frame, reject)?,
                    Some(_) => self.block(frame, accept)?,
                    None => {
                        self.branches(frame, condition, [accept, reject])?;
                        None
                    }
                };
            }
            naga::Statement::Loop { ref body, ref continuing, break_if } => {
                self.repeated(frame, body, continuing, break_if)?;
            }
            naga::Statement::Break | naga::Statement::Continue => {
                let Some(around) = frame.loops.last().cloned() else {
                    return Err("a jump out of a switch".into());
                };
                self.set_all(&around.assigned);
                let leaves = matches!(*statement, naga::Statement::Break);
                let label = if leaves { around.leave } else { around.next };
                self.builder.add(Statement::Jump(label));
                self.left = true;
            }
            naga::Statement::Return { value } => {
                if let (Some((variable, _)), Some(value)) = (frame.result, value) {
                    let value = self.value(frame, value)?;
                    self.builder.add(Statement::Set(variable, value.id));
                }
                self.builder.add(Statement::Jump(frame.end));
                self.left = true;
            }
            naga::Statement::Store { pointer, value } => {
                let pointer = self.pointer(frame, pointer)?;
                let value = self.value(frame, value)?;
                self.store(pointer, value)?;
            }
            naga::Statement::Call { function, ref arguments, result } => {
                let arguments: Result<Vec<Value>> =
                    arguments.iter().map(|&argument| self.value(frame, argument)).collect();
                let value = self.inlined(&self.module.functions[function], arguments?)?;
                if let (Some(result), Some(value)) = (result, value) {
                    frame.meanings.insert(result, Meaning::Value(value));
                }
            }
            ref other => return Err(format!("the statement {other:?}")),
        }
        Ok(())
    }

    fn store(&mut self, pointer: Pointer, value: Value) -> Result<()> {
        let address = match pointer {
            Pointer::Local(variable, _) => {
                self.values[variable.index()] = value.id;
                return Ok(());
            }
            Pointer::Lane(variable, shape, lane) => {
                let vector = Value { id: self.current(variable), shape };
                let mut parts: Vec<Id> =
                    (0..shape.lanes).map(|i| self.builder.lane(vector, i)).collect();
                parts[lane as usize] = value.id;
                self.values[variable.index()] = self.builder.vector(shape.kind, &parts).id;
                return Ok(());
            }
            Pointer::Memory { address, ty, .. } => {
                self.stored(ty)?;
                address
            }
            Pointer::Scalar { address, .. } => address,
        };
        self.builder.add(Statement::Store { address, value: value.id });
        Ok(())
    }

    /// Sets variables to their values here.
    fn set_all(&mut self, variables: &[Variable]) {
        for &variable in variables {
            let value = self.current(variable);
            // One that was read and not assigned since still holds it.
            if !matches!(self.builder.op(value), Op::Read(of, _) if of == variable) {
                self.builder.add(Statement::Set(variable, value));
            }
        }
    }

    /// Reads variables, behind a joint.
    fn read_all(&mut self, variables: &[Variable]) {
        for &variable in variables {
            self.values[variable.index()] = self.builder.read(variable);
        }
    }

    /// The ways of an `if`.
    fn branches(
        &mut self,
        frame: &mut Frame<'a>,
        condition: Id,
        blocks: [&'a Block; 2],
    ) -> Result<()> {
        let before = self.values.clone();
        let mut ways = Vec::new();
        for block in blocks {
            let (region, outside) = self.builder.open(false);
            self.block(frame, block)?;
            self.builder.close(outside);
            let mut after = std::mem::replace(&mut self.values, before.clone());
            // Those of functions inlined in it are not seen elsewhere.
            let new = after.split_off(before.len().min(after.len()));
            self.values.extend(new);
            ways.push((region, after, std::mem::take(&mut self.left)));
        }
        // All lists of values are as long as the longest.
        let [(accept, yes, yes_left), (reject, no, no_left)] = ways.as_slice() else {
            unreachable!("an if has two ways")
        };
        let differ = |i: usize| match (yes_left, no_left) {
            (false, false) => yes[i] != no[i],
            (true, false) => no[i] != before[i],
            (false, true) => yes[i] != before[i],
            (true, true) => false,
        };
        let changed: Vec<Variable> =
            (0..before.len()).filter(|&i| differ(i)).map(Variable::new).collect();
        let costs = [*accept, *reject].map(|way| self.builder.cost(way));
        let cheap = costs.iter().all(|cost| cost.is_some_and(|cost| cost <= CHEAP));
        if cheap && !yes_left && !no_left {
            self.builder.dissolve(*accept);
            self.builder.dissolve(*reject);
            for variable in changed {
                let [a, b] = [yes, no].map(|values| values[variable.index()]);
                self.values[variable.index()] = self.builder.select(a, b, condition);
            }
            return Ok(());
        }
        for (region, values, left) in &ways {
            if *left {
                continue;
            }
            for &variable in &changed {
                let value = values[variable.index()];
                if !matches!(self.builder.op(value), Op::Read(of, _) if of == variable) {
                    let statements = &mut self.builder.regions[region.index()].statements;
                    statements.push(Statement::Set(variable, value));
                }
            }
        }
        let (accept, reject) = (*accept, *reject);
        self.left = *yes_left && *no_left;
        self.builder.add(Statement::If { condition, accept, reject });
        self.read_all(&changed);
        Ok(())
    }

    fn repeated(
        &mut self,
        frame: &mut Frame<'a>,
        body: &'a Block,
        continuing: &'a Block,
        break_if: Option<Handle<Expression>>,
    ) -> Result<()> {
        let mut assigned = Vec::new();
        for block in [body, continuing] {
            stored(frame, block, &mut assigned);
        }
        assigned.sort_unstable();
        assigned.dedup();
        self.set_all(&assigned);
        let steps: Vec<_> =
            assigned.iter().map(|&v| self.steps_of_two(frame, v, [body, continuing])).collect();
        let (leave, again, next) =
            (self.builder.label(), self.builder.label(), self.builder.label());
        frame.loops.push(Loop { leave, next, assigned: assigned.clone() });

        let (block, outside) = self.builder.open(false);
        let (inside, around) = self.builder.open(true);
        self.read_all(&assigned);
        for (&variable, step) in assigned.iter().zip(steps) {
            let id = self.current(variable);
            self.builder.set_zeros(id, step);
        }
        let (first, in_loop) = self.builder.open(false);
        self.block(frame, body)?;
        let ends = !std::mem::take(&mut self.left);
        if self.jumps_to(first, next) {
            if ends {
                self.set_all(&assigned);
            }
            self.builder.close(in_loop);
            self.builder.add(Statement::Block { label: next, body: first });
            self.read_all(&assigned);
        } else {
            self.builder.close(in_loop);
            self.builder.dissolve(first);
            self.left = !ends;
        }
        if !self.left {
            self.block(frame, continuing)?;
            self.set_all(&assigned);
            if let Some(condition) = break_if {
                let condition = self.value(frame, condition)?;
                self.jump_if(condition.id, leave);
            }
            self.builder.add(Statement::Jump(again));
        }
        self.builder.close(around);
        self.builder.add(Statement::Loop { label: again, body: inside });
        self.builder.close(outside);
        self.builder.add(Statement::Block { label: leave, body: block });
        self.left = false;
        self.read_all(&assigned);
        frame.loops.pop();
        Ok(())
    }

    /// How many low bits of an integer variable stay 0 in a loop that assigns it only in its step, a
    /// constant.
    fn steps_of_two(
        &mut self,
        frame: &mut Frame<'a>,
        variable: Variable,
        [body, continuing]: [&'a Block; 2],
    ) -> u32 {
        let start = self.builder.zeros(self.current(variable));
        let mut assigned = Vec::new();
        stored(frame, body, &mut assigned);
        if start == 0 || assigned.contains(&variable) {
            return 0;
        }
        let expressions = &frame.function.expressions;
        let is_it = |frame: &Frame<'_>, at: Handle<Expression>| matches!(expressions[at], Expression::LocalVariable(l) if frame.locals[&l].0 == variable);
        let mut zeros = start;
        for statement in continuing.iter() {
            match *statement {
                naga::Statement::Emit(_) => {}
                naga::Statement::Store { pointer, value } if is_it(frame, pointer) => {
                    let Expression::Binary { op: naga::BinaryOperator::Add, left, right } =
                        expressions[value]
                    else {
                        return 0;
                    };
                    let Expression::Load { pointer } = expressions[left] else { return 0 };
                    let literal = matches!(expressions[right], Expression::Literal(_));
                    if !is_it(frame, pointer) || !literal {
                        return 0;
                    }
                    match self.value(frame, right) {
                        Ok(step) => zeros = zeros.min(self.builder.zeros(step.id)),
                        Err(_) => return 0,
                    }
                }
                naga::Statement::Store { .. } => {}
                _ => return 0,
            }
        }
        zeros
    }
}

/// Adds the variables of a function that a block assigns.
fn stored(frame: &Frame<'_>, block: &Block, found: &mut Vec<Variable>) {
    for statement in block.iter() {
        match statement {
            naga::Statement::Store { pointer, .. } => {
                let mut at = *pointer;
                loop {
                    match frame.function.expressions[at] {
                        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                            at = base;
                        }
                        Expression::LocalVariable(local) => {
                            found.push(frame.locals[&local].0);
                            break;
                        }
                        _ => break,
                    }
                }
            }
            naga::Statement::Block(block) => stored(frame, block, found),
            naga::Statement::If { accept, reject, .. } => {
                stored(frame, accept, found);
                stored(frame, reject, found);
            }
            naga::Statement::Loop { body, continuing, .. } => {
                stored(frame, body, found);
                stored(frame, continuing, found);
            }
            naga::Statement::Switch { cases, .. } => {
                cases.iter().for_each(|case| stored(frame, &case.body, found));
            }
            _ => {}
        }
    }
}
