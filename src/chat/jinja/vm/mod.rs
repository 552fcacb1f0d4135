//! Runs the tree of a template.
//!
//! Scopes are a stack of frames, each of which knows the frame around it; the first holds the variables of the whole
//! template. A macro sees the scope in which it was written, and not that of its caller. That scope is still on the
//! stack wherever a macro can be called, unless it was carried out of it: then it sees what is left of what was around
//! it.
//!
//! An error ends the rendering, so that nothing is tidied up on its way.

mod access;
mod expressions;
mod loops;
mod macros;

use super::args::Args;
use super::error::{Quoted, Result, fail};
use super::functions;
use super::host::Host;
use super::meter::{Buffer, Heap, Items, Meter};
use super::print;
use super::syntax::{Body, Constant, Expr, Program, Special, Stmt, StmtKind, Symbol, Target};
use super::value::{Loop, Missing, Namespace, ScopeChain, Str, Text, Value};
use std::mem;
use std::rc::Rc;

/// Deepest nesting of calls of macros, loops and blocks; about that of Python.
const MAX_CALLS: usize = 200;

/// A rendering.
pub struct Vm<'t> {
    program: &'t Program,
    meter: Meter,
    constants: Vec<Value>,
    /// The names of the program as strings.
    names: Vec<Str>,
    specials: Special<Option<Symbol>>,
    loop_name: Option<Symbol>,
    /// The variables of the whole template, by their symbols.
    globals: Vec<Option<Value>>,
    /// What the outermost scope hides. Blocks see it, which are not inside of that scope.
    withheld: Vec<(Symbol, Value)>,
    frames: Vec<Frame>,
    /// The innermost scope, as its place among the frames.
    scope: usize,
    frames_made: u64,
    calls: usize,
    out: Buffer,
    /// The text of the innermost filter or set block.
    captured: Option<Value>,
    /// What could hold itself; emptied at the end.
    namespaces: Items<Rc<Heap<Namespace>>>,
    loops: Vec<Rc<Heap<Loop>>>,
}

/// A scope on the stack.
struct Frame {
    number: u64,
    /// The place of the scope around it.
    parent: usize,
    variables: Items<(Symbol, Value)>,
}

/// What comes after a statement.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'t> Vm<'t> {
    /// A rendering of `program`, whose variables are set by `variable`.
    pub fn new(
        program: &'t Program,
        meter: Meter,
        mut variable: impl FnMut(&Meter, &str) -> Result<Option<Value>>,
    ) -> Result<Self> {
        let constants = program.constants.iter().map(|constant| literal(&meter, constant)).collect::<Result<_>>()?;
        let names = program.names.iter().map(|name| Text::new(&meter, name)).collect::<Result<Vec<_>>>()?;
        let mut globals = Vec::new();
        for name in &program.names {
            globals.push(match (&**name, variable(&meter, name)?) {
                ("self", _) => Some(Value::Template),
                (_, Some(value)) => Some(value),
                (name, None) => functions::global(name),
            });
        }
        let withheld = |symbol: &Symbol| Some((*symbol, globals[symbol.0 as usize].take()?));
        let withheld = program.hidden[0].iter().filter_map(withheld).collect();
        let symbol = |name: &str| program.names.iter().position(|known| &**known == name).map(|at| Symbol(at as u32));
        let specials = Special { caller: symbol("caller"), kwargs: symbol("kwargs"), varargs: symbol("varargs") };
        let outermost = Frame { number: 0, parent: 0, variables: Items::new(&meter) };
        Ok(Self {
            program,
            constants,
            names,
            specials,
            loop_name: symbol("loop"),
            globals,
            withheld,
            frames: vec![outermost],
            scope: 0,
            frames_made: 0,
            calls: 0,
            out: Buffer::new(&meter),
            captured: None,
            namespaces: Items::new(&meter),
            loops: Vec::new(),
            meter,
        })
    }

    /// Runs the whole template.
    pub fn render(mut self) -> Result<String> {
        self.run(&self.program.body)?;
        Ok(mem::replace(&mut self.out, Buffer::new(&self.meter)).into_parts().0)
    }

    // Scopes

    fn enter(&mut self, parent: usize) {
        self.frames_made += 1;
        self.frames.push(Frame { number: self.frames_made, parent, variables: Items::new(&self.meter) });
        self.scope = self.frames.len() - 1;
    }

    /// Runs `body` in a scope of its own inside of the one at `parent`.
    fn scoped<T>(&mut self, parent: usize, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let scope = self.scope;
        self.enter(parent);
        let result = body(self)?;
        self.frames.pop();
        self.scope = scope;
        Ok(result)
    }

    fn assign(&mut self, symbol: Symbol, value: Value) -> Result<()> {
        if self.scope == 0 {
            self.globals[symbol.0 as usize] = Some(value);
            return Ok(());
        }
        let variables = &mut self.frames[self.scope].variables;
        self.meter.work(variables.len() / 16)?;
        match variables.iter_mut().find(|(other, _)| *other == symbol) {
            Some((_, slot)) => *slot = value,
            None => variables.push((symbol, value))?,
        }
        Ok(())
    }

    fn lookup(&self, symbol: Symbol) -> Result<Value> {
        let mut place = self.scope;
        let mut passed = 0;
        let mut found = None;
        while place != 0 && found.is_none() {
            let frame = &self.frames[place];
            let at = frame.variables.iter().position(|(other, _)| *other == symbol);
            passed += at.unwrap_or(frame.variables.len());
            found = at.map(|at| &frame.variables[at].1);
            place = frame.parent;
        }
        self.meter.work(passed / 16)?;
        let found = found.or(self.globals[symbol.0 as usize].as_ref());
        Ok(found.cloned().unwrap_or(Value::Undefined(Missing::Name(symbol))))
    }

    /// The present scope and those around it.
    fn scope_chain(&self) -> ScopeChain {
        let mut chain = Vec::new();
        let mut place = self.scope;
        while place != 0 {
            chain.push((place, self.frames[place].number));
            place = self.frames[place].parent;
        }
        chain
    }

    /// The innermost scope of a chain that is still there.
    fn alive(&self, chain: &[(usize, u64)]) -> usize {
        let there = |(place, number): &(usize, u64)| self.frames.get(*place).is_some_and(|f| f.number == *number);
        chain.iter().find(|scope| there(scope)).map_or(0, |(place, _)| *place)
    }

    /// Runs `body` and returns what it printed.
    fn capture<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, Str)> {
        let out = mem::replace(&mut self.out, Buffer::new(&self.meter));
        let result = body(self)?;
        let text = mem::replace(&mut self.out, out).finish()?;
        Ok((result, text))
    }

    /// Counts a call of what may call itself.
    fn nested<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.calls == MAX_CALLS {
            fail!("macros call each other more than {MAX_CALLS} deep");
        }
        self.calls += 1;
        let result = body(self)?;
        self.calls -= 1;
        Ok(result)
    }

    // Statements

    /// Hides what the scope of a body hides, in the scope that has been entered for it.
    fn hide(&mut self, body: &Body) -> Result<()> {
        let program = self.program;
        let hidden = &program.hidden[body.scope];
        hidden.iter().try_for_each(|symbol| self.assign(*symbol, Value::Undefined(Missing::Name(*symbol))))
    }

    /// Runs a body in the scope that has been entered for it.
    fn run_body(&mut self, body: &'t Body) -> Result<Flow> {
        self.hide(body)?;
        self.run(&body.statements)
    }

    fn run(&mut self, body: &'t [Stmt]) -> Result<Flow> {
        for statement in body {
            let flow = self.statement(&statement.kind).map_err(|error| error.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &'t StmtKind) -> Result<Flow> {
        self.meter.descend()?;
        match statement {
            StmtKind::Text(text) => self.out.push_str(text)?,
            StmtKind::Print(value) => {
                let value = self.eval(value)?;
                if let Value::Loop(loop_) = &value {
                    // It prints how long it is.
                    self.loop_length(loop_)?;
                }
                print::text(&value, &mut self.out)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.eval(test)?.is_true() {
                        return self.run(body);
                    }
                }
                return self.run(otherwise);
            }
            StmtKind::For(id) => return self.for_loop(*id),
            StmtKind::Set(target, value) => {
                self.check_target(target)?;
                let value = self.eval(value)?;
                self.assign_to(target, value)?;
            }
            StmtKind::SetBlock(target, filter, body) => {
                let (flow, value) = self.filtered(filter, body)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                self.check_target(target)?;
                self.assign_to(target, value)?;
            }
            StmtKind::Filter(filter, body) => {
                let (flow, value) = self.filtered(filter, body)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                print::text(&value, &mut self.out)?;
            }
            StmtKind::With(values, body) => return self.with(values, body),
            StmtKind::Macro(name, id) => {
                let value = self.new_macro(*id)?;
                self.assign(*name, value)?;
            }
            StmtKind::Call(call, id) => self.call_with_body(call, *id)?,
            StmtKind::Block(id) => self.block(*id, false)?,
            StmtKind::Generation(id) => {
                let value = self.new_macro(*id)?;
                let value = self.call(&value, Args::new(&self.meter))?;
                print::text(&value, &mut self.out)?;
            }
            StmtKind::AutoEscape(on, body) => {
                if self.eval(on)?.is_true() {
                    fail!("`autoescape` is not supported");
                }
                return self.scoped(self.scope, |vm| vm.run_body(body));
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Foreign(tag) => fail!("`{tag}` needs another template, and there is none"),
        }
        Ok(Flow::Next)
    }

    #[inline(never)]
    fn with(&mut self, values: &'t [(Target, Expr)], body: &'t Body) -> Result<Flow> {
        // The values see the scope outside.
        let outside = values.iter().map(|(_, value)| self.eval(value)).collect::<Result<Vec<_>>>()?;
        self.scoped(self.scope, |vm| {
            vm.hide(body)?;
            for ((target, _), value) in values.iter().zip(outside) {
                vm.assign_to(target, value)?;
            }
            vm.run(&body.statements)
        })
    }

    /// The text of a body, through filters.
    #[inline(never)]
    fn filtered(&mut self, filter: &'t Expr, body: &'t Body) -> Result<(Flow, Value)> {
        self.scoped(self.scope, |vm| {
            let (flow, text) = vm.capture(|vm| vm.run_body(body))?;
            if flow != Flow::Next {
                return Ok((flow, Value::None));
            }
            let outer = vm.captured.replace(Value::Str(text));
            let value = vm.eval(filter)?;
            vm.captured = outer;
            Ok((flow, value))
        })
    }

    /// Checks that attributes are set of namespaces only, and not those of Python's own.
    fn check_target(&mut self, target: &Target) -> Result<()> {
        match target {
            Target::Name(_) => Ok(()),
            Target::Attribute(object, attribute) => {
                if !matches!(self.lookup(*object)?, Value::Namespace(_)) {
                    fail!("attributes can be set of namespaces only, which {} is not", Quoted(self.name(*object)));
                }
                Namespace::check(self.name(*attribute))
            }
            Target::Tuple(targets) => targets.iter().try_for_each(|target| self.check_target(target)),
        }
    }

    #[inline(never)]
    fn assign_to(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(symbol) => self.assign(*symbol, value),
            Target::Attribute(object, attribute) => match self.lookup(*object)? {
                Value::Namespace(namespace) => {
                    let name = self.names[attribute.0 as usize].clone();
                    namespace.set(&self.meter, name, value)
                }
                _ => fail!("attributes can be set of namespaces only"),
            },
            Target::Tuple(targets) => {
                let mut cursor = self.iterate(&value)?;
                for target in targets {
                    match cursor.next(&self.meter)? {
                        Some(item) => self.assign_to(target, item)?,
                        None => fail!("there are fewer values than the {} names for them", targets.len()),
                    }
                }
                match cursor.next(&self.meter)? {
                    None => Ok(()),
                    Some(_) => fail!("there are more values than the {} names for them", targets.len()),
                }
            }
        }
    }

    fn block(&mut self, id: usize, alone: bool) -> Result<()> {
        let block = &self.program.blocks[id];
        if block.required && !alone {
            fail!("the block {} must be filled by another template", Quoted(self.name(block.name)));
        }
        let parent = if block.scoped && !alone { self.scope } else { 0 };
        self.nested(|vm| {
            vm.scoped(parent, |vm| {
                for at in 0..vm.withheld.len() {
                    let (symbol, value) = vm.withheld[at].clone();
                    if vm.globals[symbol.0 as usize].is_none() {
                        vm.assign(symbol, value)?;
                    }
                }
                vm.run_body(&block.body)
            })
        })?;
        Ok(())
    }

    fn name(&self, symbol: Symbol) -> &'t str {
        &self.program.names[symbol.0 as usize]
    }
}

impl Drop for Vm<'_> {
    fn drop(&mut self) {
        // One at a time: what a namespace holds may be others.
        for namespace in self.namespaces.iter() {
            let meter = self.meter.clone();
            drop(namespace.attributes.replace(Items::new(&meter)));
        }
        for loop_ in &self.loops {
            drop(loop_.state.take());
        }
    }
}

fn literal(meter: &Meter, constant: &Constant) -> Result<Value> {
    Ok(match constant {
        Constant::None => Value::None,
        Constant::Bool(value) => Value::Bool(*value),
        Constant::Int(value) => Value::integer(meter, value.clone())?,
        Constant::Float(value) => Value::Float(*value),
        Constant::Text(text) => Value::text(meter, text)?,
    })
}
