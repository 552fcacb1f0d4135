//! Macros: making them, and calling them.

use super::Vm;
use crate::chat::jinja::args::Args;
use crate::chat::jinja::error::{Quoted, Result, fail};
use crate::chat::jinja::meter::{Heap, Items};
use crate::chat::jinja::print;
use crate::chat::jinja::syntax::{Expr, Macro as MacroBody, Step};
use crate::chat::jinja::value::{Dict, Macro, Missing, Reason, Text, Value};

impl<'t> Vm<'t> {
    pub(super) fn new_macro(&mut self, id: usize) -> Result<Value> {
        let name = self.program.macros[id].name.map(|name| self.names[name.0 as usize].clone());
        let scope = self.scope_chain();
        let bytes = size_of_val(&*scope);
        Ok(Value::Macro(self.meter.put(Macro { id, name, scope }, bytes)?))
    }

    #[inline(never)]
    pub(super) fn call_with_body(&mut self, call: &'t Expr, id: usize) -> Result<()> {
        let Expr::Path(value, steps) = call else { fail!("`call` needs the call of a macro") };
        let Some((Step::Call(arguments), steps)) = steps.split_last() else {
            fail!("`call` needs the call of a macro")
        };
        let mut callee = self.eval(value)?;
        for step in steps {
            callee = self.step(callee, step)?;
        }
        let mut args = self.arguments(arguments)?;
        let caller = self.new_macro(id)?;
        args.named.push((Text::new(&self.meter, "caller")?, caller))?;
        let value = self.call(&callee, args)?;
        print::text(&value, &mut self.out)
    }

    pub(super) fn call_macro(&mut self, macro_: &Heap<Macro>, args: Args) -> Result<Value> {
        let program = self.program;
        let body = &program.macros[macro_.id];
        let scope = self.alive(&macro_.scope);
        let text = self.nested(|vm| {
            vm.scoped(scope, |vm| {
                vm.hide(&body.body)?;
                vm.bind(body, args)?;
                Ok(vm.capture(|vm| vm.run(&body.body.statements))?.1)
            })
        })?;
        Ok(Value::Str(text))
    }

    /// Gives the parameters of a macro their values.
    #[inline(never)]
    fn bind(&mut self, body: &'t MacroBody, args: Args) -> Result<()> {
        let name = body.name.map_or("caller", |name| self.name(name));
        let Args { positional, mut named } = args;
        let mut given = positional.iter().cloned();
        let mut defaults = Vec::new();
        for (parameter, default) in &body.parameters {
            self.meter.work(named.len() / 16)?;
            let value = match given.next() {
                Some(value) => Some(value),
                None => {
                    let known = self.name(*parameter);
                    let at = named.iter().position(|(name, _)| name.is(known));
                    at.map(|at| named.remove(at).1)
                }
            };
            if value.is_none() {
                defaults.push((*parameter, default));
            }
            self.assign(*parameter, value.unwrap_or(Value::Undefined(Missing::Parameter(*parameter))))?;
        }
        if body.uses.caller
            && let Some(symbol) = self.specials.caller
        {
            let at = named.iter().position(|(name, _)| name.is("caller"));
            let none = Value::Undefined(Missing::Because(Reason::NoCaller));
            self.assign(symbol, at.map_or(none, |at| named.remove(at).1))?;
        }
        if body.uses.kwargs
            && let Some(symbol) = self.specials.kwargs
        {
            let mut kwargs = Dict::new(&self.meter)?;
            for (name, value) in named.drain(..) {
                kwargs.insert(Value::Str(name), value)?;
            }
            self.assign(symbol, kwargs.finish()?)?;
        } else if let Some((unknown, _)) = named.first() {
            fail!("the macro {} has no parameter {}", Quoted(name), Quoted(unknown));
        }
        if body.uses.varargs
            && let Some(symbol) = self.specials.varargs
        {
            let mut rest = Items::new(&self.meter);
            for value in given {
                rest.push(value)?;
            }
            self.assign(symbol, Value::tuple(rest)?)?;
        } else if positional.len() > body.parameters.len() {
            fail!("the macro {} takes at most {} arguments", Quoted(name), body.parameters.len());
        }
        for (parameter, default) in defaults {
            if let Some(default) = default {
                let value = self.eval(default)?;
                self.assign(parameter, value)?;
            }
        }
        Ok(())
    }
}
