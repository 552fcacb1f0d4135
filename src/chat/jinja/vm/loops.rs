//! Loops, and the variable `loop`.

use super::{Flow, Vm};
use crate::chat::jinja::error::Result;
use crate::chat::jinja::host::Host;
use crate::chat::jinja::meter::{Heap, Items};
use crate::chat::jinja::value::{Cursor, List, Loop, LoopState, Missing, Reason, Seq, Value};
use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

impl<'t> Vm<'t> {
    #[inline(never)]
    pub(super) fn for_loop(&mut self, id: usize) -> Result<Flow> {
        let program = self.program;
        let node = &program.loops[id];
        let items = self.eval(&node.items)?;
        if node.recursive {
            let (flow, text) = self.capture(|vm| vm.iterate_over(id, &items, 0, vm.scope))?;
            self.out.push_str(&text)?;
            return Ok(flow);
        }
        self.iterate_over(id, &items, 0, self.scope)
    }

    pub(super) fn iterate_over(&mut self, id: usize, items: &Value, depth0: usize, scope: usize) -> Result<Flow> {
        let program = self.program;
        let node = &program.loops[id];
        let length = if node.test.is_none() { items.len() } else { None };
        let state = LoopState { source: self.iterate(items)?, length, ..LoopState::default() };
        let number = self.frames[scope].number;
        let loop_ = self.meter.put(Loop { id, scope: (scope, number), depth0, state: RefCell::new(state) }, 0)?;
        self.loops.push(loop_.clone());
        let mut completed = false;
        while let Some(item) = self.next_item(&loop_)? {
            let flow = self.scoped(scope, |vm| {
                vm.hide(&node.body)?;
                if let Some(name) = vm.loop_name {
                    vm.assign(name, Value::Loop(loop_.clone()))?;
                }
                vm.assign_to(&node.target, item)?;
                vm.run(&node.body.statements)
            })?;
            match flow {
                Flow::Next => completed = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        self.loops.pop();
        loop_.state.take();
        // As in the reference, `else` belongs to a loop whose body never came to its end.
        if completed || node.otherwise.statements.is_empty() {
            return Ok(Flow::Next);
        }
        self.scoped(scope, |vm| vm.run_body(&node.otherwise))
    }

    /// The next item of a loop, which begins with it.
    fn next_item(&mut self, loop_: &Heap<Loop>) -> Result<Option<Value>> {
        let looked = loop_.state.borrow_mut().next.take();
        let item = match looked {
            Some(item) => item,
            None => self.advance(loop_)?,
        };
        let mut state = loop_.state.borrow_mut();
        if let Some(item) = &item {
            state.begun += 1;
            state.previous = state.current.replace(item.clone());
        }
        Ok(item)
    }

    /// Takes the next item from the source of a loop.
    fn advance(&mut self, loop_: &Heap<Loop>) -> Result<Option<Value>> {
        let program = self.program;
        let node = &program.loops[loop_.id];
        let mut source = mem::take(&mut loop_.state.borrow_mut().source);
        let mut item = source.next(&self.meter)?;
        if let Some(test) = &node.test {
            while let Some(value) = &item {
                let parent = self.alive(&[loop_.scope]);
                let value = value.clone();
                let passes = self.scoped(parent, |vm| {
                    vm.assign_to(&node.target, value)?;
                    Ok(vm.eval(test)?.is_true())
                })?;
                if passes {
                    break;
                }
                item = source.next(&self.meter)?;
            }
        }
        loop_.state.borrow_mut().source = source;
        Ok(item)
    }

    /// The next item of a loop without taking it.
    fn peek(&mut self, loop_: &Heap<Loop>) -> Result<Option<Value>> {
        let looked = loop_.state.borrow().next.clone();
        match looked {
            Some(item) => Ok(item),
            None => {
                let item = self.advance(loop_)?;
                loop_.state.borrow_mut().next = Some(item.clone());
                Ok(item)
            }
        }
    }

    /// The number of items of a loop; reads them all, where it cannot be told.
    pub(super) fn loop_length(&mut self, loop_: &Heap<Loop>) -> Result<usize> {
        let known = loop_.state.borrow().length;
        if let Some(length) = known {
            return Ok(length);
        }
        let mut rest = Items::new(&self.meter);
        while let Some(item) = self.advance(loop_)? {
            rest.push(item)?;
        }
        let rest: List = Seq::finish(rest, false)?;
        let mut state = loop_.state.borrow_mut();
        let length = rest.len() + state.begun + usize::from(matches!(state.next, Some(Some(_))));
        state.source = Cursor::List(rest, 0);
        state.length = Some(length);
        Ok(length)
    }

    /// An attribute of `loop`.
    #[inline(never)]
    pub(super) fn loop_attribute(&mut self, loop_: &Rc<Heap<Loop>>, name: &str) -> Result<Option<Value>> {
        let begun = loop_.state.borrow().begun as i64;
        let int = |value: i64| Ok(Some(Value::Int(value)));
        match name {
            "index" => int(begun),
            "index0" => int(begun - 1),
            "first" => Ok(Some(Value::Bool(begun == 1))),
            "last" => Ok(Some(Value::Bool(self.peek(loop_)?.is_none()))),
            "length" => int(self.loop_length(loop_)? as i64),
            "revindex" => int(self.loop_length(loop_)? as i64 - begun + 1),
            "revindex0" => int(self.loop_length(loop_)? as i64 - begun),
            "depth" => int(loop_.depth0 as i64 + 1),
            "depth0" => int(loop_.depth0 as i64),
            "previtem" => {
                let none = Value::Undefined(Missing::Because(Reason::NoPrevious));
                let previous = loop_.state.borrow().previous.clone();
                Ok(Some(if begun > 1 { previous.unwrap_or(none) } else { none }))
            }
            "nextitem" => {
                let none = Value::Undefined(Missing::Because(Reason::NoNext));
                Ok(Some(self.peek(loop_)?.unwrap_or(none)))
            }
            "cycle" => Value::method(&self.meter, &Value::Loop(loop_.clone()), "cycle").map(Some),
            "changed" => Value::method(&self.meter, &Value::Loop(loop_.clone()), "changed").map(Some),
            _ => Ok(None),
        }
    }
}
