//! Expressions.

use super::Vm;
use crate::chat::jinja::args::{Args, required};
use crate::chat::jinja::error::{Quoted, Result, fail};
use crate::chat::jinja::filters;
use crate::chat::jinja::functions;
use crate::chat::jinja::host::Host;
use crate::chat::jinja::meter::Items;
use crate::chat::jinja::methods;
use crate::chat::jinja::ops;
use crate::chat::jinja::predicates;
use crate::chat::jinja::slice;
use crate::chat::jinja::syntax::{Arguments, Comparison, Expr, Operator, Step};
use crate::chat::jinja::value::{Dict, Missing, Reason, Value};

impl<'t> Vm<'t> {
    pub(super) fn eval(&mut self, expr: &'t Expr) -> Result<Value> {
        self.meter.descend()?;
        match expr {
            Expr::Constant(at) => Ok(self.constants[*at as usize].clone()),
            Expr::Name(symbol) => self.lookup(*symbol),
            Expr::Path(value, steps) => {
                let mut value = self.eval(value)?;
                for step in steps {
                    value = self.step(value, step)?;
                }
                Ok(value)
            }
            Expr::List(items) => Value::list(self.items(items)?),
            Expr::Tuple(items) => Value::tuple(self.items(items)?),
            Expr::Dict(entries) => self.dict(entries),
            Expr::Concat(parts) => {
                let parts = self.items(parts)?;
                ops::concat(&self.meter, parts.iter())
            }
            Expr::Chain(first, rest) => {
                let mut value = self.eval(first)?;
                for (operator, operand) in rest {
                    let operand = self.eval(operand)?;
                    value = self.binary(*operator, &value, &operand)?;
                }
                Ok(value)
            }
            Expr::Negative(value) => {
                let value = self.eval(value)?;
                self.defined(&value)?;
                ops::negative(&self.meter, &value)
            }
            Expr::Positive(value) => {
                let value = self.eval(value)?;
                self.defined(&value)?;
                ops::positive(&value)
            }
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value)?.is_true())),
            Expr::And(items) => self.first_that(items, false),
            Expr::Or(items) => self.first_that(items, true),
            Expr::Compare(first, rest) => self.compare(first, rest),
            Expr::If(condition) => {
                if self.eval(&condition.test)?.is_true() {
                    return self.eval(&condition.then);
                }
                match &condition.otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::Undefined(Missing::Because(Reason::NoElse))),
                }
            }
            Expr::Captured => Ok(self.captured.clone().unwrap_or(Value::None)),
        }
    }

    #[inline(never)]
    fn items(&mut self, expressions: &'t [Expr]) -> Result<Items<Value>> {
        let mut items = Items::new(&self.meter);
        items.reserve(expressions.len())?;
        for expression in expressions {
            items.push(self.eval(expression)?)?;
        }
        Ok(items)
    }

    #[inline(never)]
    fn dict(&mut self, entries: &'t [(Expr, Expr)]) -> Result<Value> {
        let mut dict = Dict::new(&self.meter)?;
        for (key, value) in entries {
            let key = self.eval(key)?;
            dict.insert(key, self.eval(value)?)?;
        }
        dict.finish()
    }

    /// The first value that is as true as `wanted`, or the last.
    #[inline(never)]
    fn first_that(&mut self, items: &'t [Expr], wanted: bool) -> Result<Value> {
        let mut value = Value::None;
        for item in items {
            value = self.eval(item)?;
            if value.is_true() == wanted {
                break;
            }
        }
        Ok(value)
    }

    fn binary(&mut self, operator: Operator, a: &Value, b: &Value) -> Result<Value> {
        if !(operator == Operator::Remainder && matches!(a, Value::Str(_))) {
            self.defined(a)?;
            self.defined(b)?;
        }
        ops::binary(&self.meter, operator, a, b)
    }

    #[inline(never)]
    fn compare(&mut self, first: &'t Expr, rest: &'t [(Comparison, Expr)]) -> Result<Value> {
        let mut left = self.eval(first)?;
        for (comparison, right) in rest {
            let right = self.eval(right)?;
            if !self.holds(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    #[inline(never)]
    pub(super) fn step(&mut self, value: Value, step: &'t Step) -> Result<Value> {
        match step {
            Step::Attribute(symbol) => {
                let name = self.names[symbol.0 as usize].clone();
                match self.find_attribute(&value, &name)? {
                    Some(value) => Ok(value),
                    None => Ok(Value::Undefined(Missing::Attribute(value.kind(), *symbol))),
                }
            }
            Step::Item(key) => {
                let key = self.eval(key)?;
                self.item(&value, &key)
            }
            Step::Slice(parts) => {
                let mut bounds = [const { Value::None }; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        *bound = self.eval(part)?;
                    }
                }
                self.defined(&value)?;
                slice::slice(&self.meter, &value, &bounds)
            }
            Step::Call(arguments) => {
                let args = self.arguments(arguments)?;
                self.call(&value, args)
            }
            Step::Filter(number, arguments) => {
                let args = self.arguments(arguments)?;
                filters::apply(self, *number, &value, &args)
            }
            Step::Test { number, negated, arguments } => {
                let args = self.arguments(arguments)?;
                Ok(Value::Bool(predicates::apply(self, *number, &value, &args)? != *negated))
            }
            Step::Unknown(what, name) => fail!("there is no {what} {}", Quoted(self.name(*name))),
        }
    }

    pub(super) fn arguments(&mut self, arguments: &'t Arguments) -> Result<Args> {
        let mut args = Args::new(&self.meter);
        for argument in &arguments.positional {
            args.positional.push(self.eval(argument)?)?;
        }
        for (name, argument) in &arguments.named {
            let value = self.eval(argument)?;
            args.named.push((self.names[name.0 as usize].clone(), value))?;
        }
        if let Some(more) = &arguments.more {
            let more = self.eval(more)?;
            let mut cursor = self.iterate(&more)?;
            while let Some(value) = cursor.next(&self.meter)? {
                args.positional.push(value)?;
            }
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(map) = self.eval(more)? else { fail!("`**` needs a dict") };
            for (name, value) in map.entries() {
                let Value::Str(name) = name else { fail!("the names of arguments are strings") };
                if args.named.iter().any(|(other, _)| other.is(name)) {
                    fail!("the argument {} is given twice", Quoted(name));
                }
                self.meter.work(args.named.len() / 16)?;
                args.named.push((name.clone(), value.clone()))?;
            }
        }
        Ok(args)
    }

    /// Calls a value.
    pub fn call(&mut self, callee: &Value, args: Args) -> Result<Value> {
        self.meter.descend()?;
        self.defined(callee)?;
        match callee {
            Value::Macro(macro_) => self.call_macro(macro_, args),
            Value::Method(method) => methods::call(self, &method.0, method.1, &args),
            Value::Function(function) => functions::call(self, *function, &args),
            Value::Joiner(joiner) => {
                args.none("joiner")?;
                if joiner.used.replace(true) { Ok(joiner.separator.clone()) } else { Value::text(&self.meter, "") }
            }
            Value::Loop(loop_) => {
                let [items] = args.bind("loop", ["iterable"])?;
                if !self.program.loops[loop_.id].recursive {
                    fail!("a loop must be `recursive` to be called");
                }
                let items = required(items, "loop", "iterable")?;
                let scope = self.alive(&[loop_.scope]);
                let (id, depth0) = (loop_.id, loop_.depth0 + 1);
                let (_, text) = self.nested(|vm| vm.capture(|vm| vm.iterate_over(id, &items, depth0, scope)))?;
                Ok(Value::Str(text))
            }
            Value::Block(id) => {
                args.none("a block")?;
                Ok(Value::Str(self.capture(|vm| vm.block(*id, true))?.1))
            }
            other => fail!("{} cannot be called", other.kind().name()),
        }
    }
}
